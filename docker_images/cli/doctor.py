"""`docker-images doctor`: which engine is asked and why, and what is found there.

Knows what is worth a line, and what counts as a failure. Other engines on the machine are named
and never connected to. Refuses to know how a line is printed.
"""

import argparse
import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

import anyio

from docker_images.address import Endpoint, without_password
from docker_images.cli.arguments import Named, which_engine
from docker_images.cli.ask import logged_by, patience
from docker_images.cli.table import hanging, write
from docker_images.client import DockerClient
from docker_images.endpoint.discover import suggestions
from docker_images.endpoint.hosts import considered
from docker_images.engine.engine import Engine
from docker_images.engine.versions import NEWEST, OLDEST, ApiVersion, pin_in
from docker_images.errors import (
    DockerImagesError,
    EndpointError,
    EngineConnectionError,
    EngineTimeoutError,
    UnsupportedByEngineError,
)
from docker_images.images.models import ImageSummary
from docker_images.query import build_query
from docker_images.text import keyword, printable
from docker_images.transport import EngineTransport
from docker_images.transport.deadline import TimeLimitError, stage, time_limit
from docker_images.transport.failures import OTHERS, timed_out
from docker_images.transport.threads import FILES, in_thread

__all__ = ["Mark", "Tell", "arguments", "examine", "run"]

T = TypeVar("T")

Mark: TypeAlias = Literal["ok", "--", "! ", "!!"]
"""Good, for information, odd, and what makes the examination fail."""

MARKS: dict[Mark, str] = {"ok": "ok", "--": "information", "! ": "odd", "!!": "failed"}

Tell: TypeAlias = Callable[[Mark, str, str], None]
"""Takes the mark, the name and the result of one check."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    which_engine(parser, demo=False)
    parser.add_argument("--json", action="store_true", help="one JSON object, at the end")


def run(options: argparse.Namespace) -> int:
    """Print each finding; the exit status is 1 where images cannot be listed."""
    checks: list[dict[str, str]] = []

    def tell(mark: Mark, check: str, result: str) -> None:
        result = printable(result, 2000)
        if options.json:
            checks.append({"mark": MARKS[mark], "check": check, "result": result})
        else:
            wipe()
            write(hanging(f"{mark}  {check:<14}  ", result))

    named = options.engines[0] if options.engines else Named()
    call = partial(
        examine, tell, os.environ, host=named.host, context=named.context, timeout=options.timeout
    )
    # The examination tells the warnings itself.
    with logged_by(logging.NullHandler()), patience(options) as wipe:
        found = anyio.run(call)
    if options.json:
        print(json.dumps({"ok": found, "checks": checks}, indent=2))
    return 0 if found else 1


NO_IMAGE = "docker-images/doctor"


async def examine(
    tell: Tell, env: Mapping[str, str], *, host: str | None, context: str | None, timeout: float
) -> bool:
    """Tell each finding as soon as there is one; returns whether images can be listed.

    `timeout`, in seconds, is for each request. Raises `TypeError` and `ValueError` for arguments
    that cannot be right.
    """
    client = DockerClient(host, context=context, timeout=timeout)
    endpoint: Endpoint | None = None
    found = False
    try:
        for source, value, won in await _read(timeout, lambda: considered(env, host, context)):
            name, _, place = source.partition(" of ")
            place = f" in {place}" if place else ""
            if won:
                tell("ok", name, f"{value}{place}")
            elif value and source == "default":
                tell("--", name, value)
            else:
                tell("--", name, f"{value}{place}, not used" if value else f"not set{place}")
        endpoint = await _read(timeout, lambda: client.endpoint)
    except (EndpointError, EngineTimeoutError) as error:
        tell("!!", "endpoint", str(error))
    else:
        tell("ok", "endpoint", _described(endpoint))
        for warning in endpoint.warnings:
            tell("! ", "configuration", warning)
        async with client:
            found = await _engine(tell, env, client, timeout)
    try:
        for line in await _read(timeout, lambda: suggestions(env, endpoint)):
            tell("--", "other engine", line)
    except EngineTimeoutError as error:
        tell("! ", "other engine", str(error))
    return found


async def _read(timeout: float, function: Callable[[], T]) -> T:
    """What a function finds in files, which may lie on a dead mount.

    Raises `EngineTimeoutError`.
    """
    stage.set(FILES)
    try:
        with time_limit(timeout, keyword("timeout")):
            return await in_thread(function)
    except TimeLimitError as limit:
        raise timed_out(limit, None) from None


async def _engine(tell: Tell, env: Mapping[str, str], client: DockerClient, timeout: float) -> bool:
    newest = None
    try:
        info = await client.ping()
    except (EngineConnectionError, EngineTimeoutError) as error:
        tell("!!", "engine", _brief(error))
        return False
    except DockerImagesError as error:
        # A proxy may let nothing pass but the list.
        tell("! ", "engine", _brief(error))
    else:
        newest = info.api_version
        tell("ok", "engine", f"{info} on {info.os_type}" if info.os_type else str(info))
    try:
        images = await client.list_images()
    except DockerImagesError as error:
        tell("!!", "images", _brief(error))
        return False
    pin = pin_in(env)
    how = f"pinned by {pin.source}" if pin else "negotiated"
    there = _range(await _oldest(client.endpoint, timeout), newest)
    here = _range(OLDEST, NEWEST)
    tell("ok", "API versions", f"engine {there}, library {here}; {how}: {client.api_version}")
    tell("ok", "images", str(len(images)))
    await _abilities(tell, client, images, timeout)
    return True


async def _abilities(
    tell: Tell, client: DockerClient, images: list[ImageSummary], timeout: float
) -> None:
    """What this engine can tell beyond the list."""
    for option in ("shared_size", "manifests", "identity"):
        # The engine's own filter: it has nothing to compute for an image that is not there.
        asked: dict[str, Any] = {option: True, "filters": {"reference": NO_IMAGE}}
        try:
            await client.list_images(**asked)
        except UnsupportedByEngineError as error:
            tell("--", "cannot", f"{option}: that needs {error.needed}, and it has {error.found}")
        except DockerImagesError as error:
            tell("! ", "cannot", f"{option}: {_brief(error)}")
        else:
            if option == "shared_size" or any(image.descriptor for image in images):
                tell("ok", "can", option)
            else:
                store = "that needs the containerd image store, and it has "
                found = "another image store" if images else "no image that would show it"
                tell("--", "cannot" if images else "may", f"{option}: {store}{found}")
    try:
        if all(image.containers is None for image in images):
            await client.list_images(containers=True)
    except DockerImagesError as error:
        tell("! ", "cannot", f"containers: {_brief(error)}")
    else:
        tell("ok", "can", "containers")
    try:
        with anyio.fail_after(timeout):
            await _events(client.endpoint)
    except (DockerImagesError, TimeoutError) as error:
        why = _brief(error) if isinstance(error, DockerImagesError) else "no answer in time"
        tell("--", "cannot", f"events: {why}; watch_images() lists every 30 s instead")
    else:
        tell("ok", "can", "events")


async def _events(endpoint: Endpoint) -> None:
    """Ask for the events of a second that is long over; raises what goes wrong."""
    transport = EngineTransport(endpoint)
    try:
        engine = Engine(transport)
        await engine.list(build_query(filters={"reference": NO_IMAGE}))  # in which version?
        body = await engine.open("/events", "since=1&until=2")
        await body.aclose()
    finally:
        await transport.aclose()


async def _oldest(endpoint: Endpoint, timeout: float) -> ApiVersion | None:
    transport = EngineTransport(endpoint)
    try:
        with anyio.move_on_after(timeout):
            return await Engine(transport).oldest()
    except DockerImagesError:
        pass  # the newest is known without it
    finally:
        await transport.aclose()
    return None


def _range(oldest: ApiVersion | None, newest: ApiVersion | None) -> str:
    if newest is None:
        return f"{oldest} and up" if oldest else "unknown"
    return f"{oldest} to {newest}" if oldest else f"up to {newest}"


def _described(endpoint: Endpoint) -> str:
    parts = [endpoint.host]
    if endpoint.tls is not None:
        tls = endpoint.tls
        trust = tls.ca or "the system's certificates"
        parts.append(f"TLS verified with {trust}" if tls.verify else "TLS without verification")
        if tls.cert:
            parts.append(f"client certificate {tls.cert}")
    elif endpoint.kind == "tcp":
        parts.append("not encrypted")
    if endpoint.proxy:
        parts.append(f"through the proxy {without_password(endpoint.proxy)}")
    if endpoint.headers:
        parts.append("headers " + " ".join(name for name, _ in endpoint.headers))
    return ", ".join(parts)


def _brief(error: DockerImagesError) -> str:
    """What an error says, without the other engines, which have lines of their own here."""
    return str(error).partition(OTHERS)[0]
