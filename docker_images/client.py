"""The client: the arguments of a call, its deadline, and the lifetime of what it uses."""

from __future__ import annotations  # `help` then shows the names of types, not what they stand for

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from types import EllipsisType
from typing import TYPE_CHECKING, Self, TypeVar, TypeVarTuple

import httpx

from docker_images import arguments
from docker_images.address import Endpoint
from docker_images.endpoint.hosts import (
    Host,
    check_arguments,
    check_host,
    host_text,
    resolve_endpoint,
)
from docker_images.engine.engine import Engine
from docker_images.engine.questions import answer
from docker_images.engine.responses import EngineInfo
from docker_images.engine.versions import ApiVersion, Pin, pin_in
from docker_images.images.models import ImageSummary
from docker_images.query import (
    FiltersArgument,
    LabelArgument,
    ReferenceArgument,
    UntilArgument,
    build_query,
)
from docker_images.text import keyword
from docker_images.transport import CallersTransport, EngineTransport
from docker_images.transport.deadline import TimeLimitError, stage, time_limit
from docker_images.transport.failures import timed_out
from docker_images.transport.pool import MAX_RESPONSE_BYTES
from docker_images.transport.threads import in_thread

if TYPE_CHECKING:
    from docker_images.watch import ImagesWatch

__all__ = ["DockerClient"]

_log = logging.getLogger("docker_images")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DockerClient:
    """Lists the images of one engine, from any task, event loop and thread.

        async with DockerClient() as client:
            images = await client.list_images()

    Arguments are checked here; environment variables and docker's configuration are read at the
    first use. You can create a client at import time, and use it in several event loops, one after
    the other or at the same time. It only sends `GET` requests.

    Args:
        host: the engine's address, as in `docker --host`: `"unix:///run/podman/podman.sock"`,
            `"tcp://engine.example:2376"`, `"ssh://me@engine.example"`; a path object is the path
            of a socket. Without `host` and `context`, it is the engine that the docker command
            would talk to.
        context: the docker context that names the engine, as in `docker --context`.
        api_version: an API version such as `"1.47"`, which is then used without negotiation, as
            with `DOCKER_API_VERSION`.
        timeout: seconds for a whole call, from finding the engine to the last byte; None for no
            limit.
        connect_timeout: seconds for a new connection (TCP, TLS, a proxy; over ssh until the first
            answer to `/_ping`); None for no limit other than `timeout`.
        max_response_bytes: how long the body of an answer can be.
        transport: used instead of ours; an object with httpx's
            `async def handle_async_request(request)`. Requests go to `http://docker/…`. The client
            does not close it.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument with an impossible value. For an address this is an
            `EndpointError`, a subclass of `ValueError`.
    """

    _engine: Engine | None = None  # found at first use

    def __init__(
        self,
        host: Host | None = None,
        *,
        context: str | None = None,
        api_version: str | ApiVersion | None = None,
        timeout: float | None = 60.0,
        connect_timeout: float | None = 10.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        host = host_text(host)
        check_arguments(host, context)
        if host is not None:
            check_host(host)
        if transport is not None and (host is not None or context is not None):
            raise ValueError("transport already leads to an engine; leave out host and context")
        if transport is not None and not hasattr(transport, "handle_async_request"):
            raise TypeError(
                f"transport must have the method handle_async_request, as in httpx: {transport!r}"
            )
        if api_version is not None and not isinstance(api_version, ApiVersion):
            if not isinstance(api_version, str):
                raise arguments.wrong("api_version", "a str such as '1.47'", api_version)
            try:
                api_version = ApiVersion.parse(api_version)
            except ValueError as error:
                raise ValueError(f"{keyword('api_version')} is {error}") from None
        self._host, self._context = host, context
        self._pin = Pin(api_version, "api_version=") if api_version else None
        self._timeout = arguments.limit("timeout", timeout)
        self._connect_timeout = arguments.limit("connect_timeout", connect_timeout)
        self._max_response_bytes = arguments.number(
            "max_response_bytes", max_response_bytes, least=1
        )
        self._transport = transport
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Running calls can finish; new ones raise `RuntimeError`.

        Connections that belong to other event loops are closed at the next call there, with the
        loop, or with the client. You can close a client twice. A transport that was passed in stays
        open.
        """
        self._closed = True
        if self._engine is not None:
            await self._engine.transport.aclose()

    def __getstate__(self) -> dict[str, object]:
        """A copy, also in another process, has the arguments, and connections of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}

    def __repr__(self) -> str:
        known = self._engine.endpoint.host if self._engine is not None else self._host
        host = f"host={known!r}" if known else f"context={self._context!r}"
        if not known and not self._context:
            host = "engine not looked up yet" if self._transport is None else "transport=…"
        return f"<DockerClient {host}, {'closed' if self._closed else 'open'}>"

    @property
    def endpoint(self) -> Endpoint:
        """The engine's address and where it came from.

        If it is used before the first call, it reads docker's configuration right away, even in an
        event loop. Calls read it in a thread.

        Raises:
            EndpointError: if no usable engine is configured.
        """
        if self._engine is None:
            self._set(self._resolve())
        assert self._engine is not None
        return self._engine.endpoint

    @property
    def api_version(self) -> ApiVersion | None:
        """The API version in use, pinned or negotiated; None before the first answer."""
        engine = self._engine
        if engine is None:
            return self._pin.version if self._pin else None
        if engine.pin is not None:
            return engine.pin.version
        return engine.version if engine.newest else None

    @property
    def engine(self) -> EngineInfo | None:
        """The engine that answered last; None before the first answer."""
        return self._engine.info if self._engine is not None else None

    async def ping(self, *, timeout: float | EllipsisType | None = ...) -> EngineInfo:
        """Ask the engine for its name, version, newest API version and operating system.

        Args:
            timeout: seconds for this call, instead of those of the client; None for no limit.

        Raises:
            DockerImagesError: if the engine cannot be reached or refuses, as in `list_images`.
            RuntimeError: if the client is closed.
        """
        return await self._within(timeout, Engine.ping)

    async def list_images(
        self,
        *,
        all: bool = False,
        dangling: bool | None = None,
        label: LabelArgument | None = None,
        exclude_label: LabelArgument | None = None,
        reference: ReferenceArgument | None = None,
        before: str | None = None,
        since: str | None = None,
        until: UntilArgument | None = None,
        filters: FiltersArgument | None = None,
        shared_size: bool = False,
        manifests: bool = False,
        identity: bool = False,
        containers: bool = False,
        timeout: float | EllipsisType | None = ...,
    ) -> list[ImageSummary]:
        """List the images of the engine, newest first, then by id, then by size.

            images = await client.list_images(label={"stage": "prod"}, dangling=False)

        The same question gets the same answer on every engine. The list has the images that match
        all arguments; without arguments, these are all images that `docker images` shows. Every
        engine and API version supports an argument, unless its description says otherwise.

        Args:
            all: also list the intermediate images of the classic builder.
            dangling: True for images without a tag or digest, False for the others, None for both.
            label: `"key"`, `"key=value"`, `{"key": "value"}`, `{"key": None}` for any value, or
                several of these. Images must have all of them.
            exclude_label: like `label`. Images must have none of them.
            reference: a name, or a pattern such as `"ghcr.io/team/*:1.*"`, or several. One of them
                must match one name of the image, in its short or full form. A `*` does not match a
                `/`. The result has all names of the image.
            before: the id or name of an image; list those that were created before it.
            since: the id or name of an image; list those that were created after it.
            until: list images created before this: an aware datetime, a timedelta (ago), or seconds
                since 1970. Images whose time is unknown are left out.
            filters: filters of the engine, such as `{"label": ["a", "b"]}`, passed on unchanged.
                Their meaning may depend on the engine.
            shared_size: include `shared_size`, the bytes that an image shares with others (API
                1.42, Docker 23; not Podman). This takes the engine some time.
            manifests: include `manifests`, what an image is made of (API 1.47, Docker 27.2, with
                the containerd image store).
            identity: include where an image came from, in its manifests, which are then included,
                too (API 1.54, Docker 29.3, with the containerd image store).
            containers: include `containers`, and so `in_use`, on every engine. Podman, and Docker
                since API 1.51, count them in the list; others are also asked for their containers.
            timeout: seconds for this call, instead of those of the client; None for no limit.

        Raises:
            TypeError: for an argument of the wrong type, before anything is sent.
            ValueError: for an argument with an impossible value, before anything is sent.
            UnsupportedByEngineError: if the engine would ignore an option, or cannot answer.
            EndpointError: if no usable engine is configured.
            EngineConnectionError: if the engine cannot be reached, or closes the connection.
            EngineTimeoutError: if the time runs out.
            EngineResponseError: if the engine answers with an error, for example because it does
                not have the image of `before`.
            ApiVersionError: if library and engine share no API version.
            ResponseFormatError: if the answer is not that of an engine.
            RuntimeError: if the client is closed.
        """
        query = build_query(
            all=all,
            dangling=dangling,
            label=label,
            exclude_label=exclude_label,
            reference=reference,
            before=before,
            since=since,
            until=until,
            filters=filters,
            shared_size=shared_size,
            manifests=manifests,
            identity=identity,
            containers=containers,
        )
        return await self._within(timeout, answer, query)

    def watch_images(
        self,
        *,
        all: bool = False,
        dangling: bool | None = None,
        label: LabelArgument | None = None,
        exclude_label: LabelArgument | None = None,
        reference: ReferenceArgument | None = None,
        before: str | None = None,
        since: str | None = None,
        until: UntilArgument | None = None,
        filters: FiltersArgument | None = None,
        shared_size: bool = False,
        manifests: bool = False,
        identity: bool = False,
        containers: bool = False,
        timeout: float | EllipsisType | None = ...,
        resync_interval: float = 300.0,
        poll_interval: float = 30.0,
    ) -> ImagesWatch:
        """Watch the images: a list, and an update whenever it changes.

            async with client.watch_images(label={"stage": "prod"}) as watch:
                print(len(watch.images), "images")
                async for update in watch:
                    print(update.added, update.removed, update.tag_changes, update.error)

        Events of the engine wake the watch, and a list decides what has changed. While nothing
        happens, the watch only asks for a list from time to time, to find changes that the engine
        did not report. If the engine goes away, there is one update with `error`; when it is back,
        the next update says what has changed. Entering the watch lists once, and raises what
        `list_images` raises.

        Args:
            all: as in `list_images`, like all arguments down to `containers`.
            dangling: as in `list_images`.
            label: as in `list_images`.
            exclude_label: as in `list_images`.
            reference: as in `list_images`.
            before: as in `list_images`.
            since: as in `list_images`.
            until: as in `list_images`; a timedelta moves on while the watch runs.
            filters: as in `list_images`.
            shared_size: as in `list_images`; a change of it is not an update.
            manifests: as in `list_images`.
            identity: as in `list_images`.
            containers: as in `list_images`; a change of it is not an update. Engines that do not
                count containers in the list are asked for them only at a resync, so newer images
                have None.
            timeout: seconds for each list, instead of those of the client; None for no limit.
            resync_interval: seconds between two lists if nothing happens.
            poll_interval: seconds between two lists if the engine, or a proxy in front of it,
                refuses events.

        Raises:
            TypeError: for an argument of the wrong type.
            ValueError: for an argument with an impossible value.
        """
        from docker_images.watch import ImagesWatch  # a list needs none of it
        from docker_images.watch.source import EngineSource

        query = build_query(
            all=all,
            dangling=dangling,
            label=label,
            exclude_label=exclude_label,
            reference=reference,
            before=before,
            since=since,
            until=until,
            filters=filters,
            shared_size=shared_size,
            manifests=manifests,
            identity=identity,
            containers=containers,
        )
        if timeout is not ...:
            arguments.limit("timeout", timeout)
        resync_interval = arguments.seconds("resync_interval", resync_interval)
        return ImagesWatch(
            # A resync comes after 80 to 100 % of its interval.
            EngineSource(
                partial(self._within, timeout), query, count_interval=resync_interval * 0.8
            ),
            resync_interval=resync_interval,
            poll_interval=arguments.seconds("poll_interval", poll_interval),
        )

    async def _within(
        self,
        timeout: float | EllipsisType | None,
        call: Callable[[Engine, *Ts], Awaitable[T]],
        *args: *Ts,
    ) -> T:
        """Make a call under its deadline."""
        if self._closed:
            await self.aclose()  # what belongs to this event loop
            raise RuntimeError("this client is closed; create another one")
        seconds = self._timeout if timeout is ... else arguments.limit("timeout", timeout)
        try:
            with time_limit(seconds):
                return await call(self._engine or await self._find(), *args)
        except TimeLimitError as limit:
            passed = TimeLimitError(limit.seconds, keyword("timeout"))  # no traceback, so no cycle
        endpoint = self._engine.endpoint if self._engine is not None else None
        raise timed_out(passed, endpoint)

    async def _find(self) -> Engine:
        stage.set("reading docker's configuration")
        if self._transport is not None:
            return self._set(self._resolve())
        return self._set(await in_thread(resolve_endpoint, None, self._host, self._context))

    def _resolve(self) -> Endpoint:
        if self._transport is None:
            return resolve_endpoint(None, self._host, self._context)
        return Endpoint(
            kind="tcp", host="http://docker", source="transport=", hostname="docker", port=80
        )

    def _set(self, endpoint: Endpoint) -> Engine:
        """The engine that is asked from now on: the first one, where threads find one together."""
        if self._engine is not None:
            return self._engine
        transport = (
            EngineTransport(endpoint, max_response_bytes=self._max_response_bytes)
            if self._transport is None
            else CallersTransport(endpoint, self._transport)
        )
        found = Engine(
            transport,
            self._pin or pin_in(os.environ),
            connect_timeout=self._connect_timeout,
            max_response_bytes=self._max_response_bytes,
        )
        # One step, and no lock: a process that is forked meanwhile could never take it.
        engine: Engine = self.__dict__.setdefault("_engine", found)
        if engine is found:
            for warning in endpoint.warnings:
                _log.warning("%s", warning)
        return engine
