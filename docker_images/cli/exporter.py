"""`docker-images exporter`: serves what watches know to Prometheus, until it is ended.

Keeps a watch of each engine, also of one that is down, and answers `/metrics` and `/-/healthy` from
memory. Refuses to know the series, and when a watch lists.
"""

import argparse
import logging
import random
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import anyio

from docker_images.cli.arguments import checked, how_often, which_engine
from docker_images.cli.ask import Warnings, clients_of, logged_by
from docker_images.cli.ending import until_ended
from docker_images.cli.metrics import WISHES, limit, name_of, registry_of
from docker_images.cli.serve import address, serving
from docker_images.cli.words import counted, say
from docker_images.client import DockerClient
from docker_images.errors import (
    DockerImagesError,
    EngineResponseError,
    UnsupportedByEngineError,
)
from docker_images.watch.schedule import Backoff

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from docker_images.metrics import Watched
    from docker_images.watch import ImagesWatch

__all__ = ["arguments", "keep", "run"]

LISTEN = "127.0.0.1:19587"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    which_engine(parser, several=True)
    parser.add_argument(
        "--listen",
        type=checked(address),
        default=LISTEN,
        metavar="ADDRESS",  # zsh would take a colon for the end of it
        help=f"where to serve /metrics and /-/healthy ({LISTEN}), without a password or TLS",
    )
    limit(parser)
    how_often(parser)
    parser.epilog = "exit status: 1 and 2 as for list, 130 after Ctrl-C, 143 after SIGTERM"


def run(options: argparse.Namespace) -> int:
    """Serve until somebody ends it; the exit status."""
    watches: dict[str, Watched] = {}
    registry = registry_of(watches, options.repositories)
    with logged_by(Warnings(logging.WARNING)), ExitStack() as stack:
        try:
            url = stack.enter_context(serving(options.listen, _application(registry)))
        except OSError as error:
            host, port = options.listen
            why = error.strerror or error
            say(f"cannot listen on {host} port {port}: {why}; name another with --listen HOST:PORT")
            return 1
        return anyio.run(until_ended, partial(_export, options, watches, url))


async def _export(options: argparse.Namespace, watches: "dict[str, Watched]", url: str) -> None:
    async with clients_of(options) as clients:
        # What names no engine is a mistake, and not an engine that is down.
        names = {named: name_of(named, client, options) for named, client in clients.items()}
        for named, client in clients.items():
            watches[names[named]] = _watch_of(client, WISHES, options)
        say(f"serving {url}/metrics for {counted(len(clients), 'engine')}")
        async with anyio.create_task_group() as tasks:
            for named, client in clients.items():
                tasks.start_soon(keep, names[named], client, watches, options)


def _watch_of(
    client: DockerClient, wishes: Collection[str], options: argparse.Namespace
) -> "ImagesWatch":
    return client.watch_images(
        shared_size="shared_size" in wishes,
        containers="containers" in wishes,
        resync_interval=options.resync_interval,
        poll_interval=options.poll_interval,
    )


async def keep(
    name: str, client: DockerClient, watches: "dict[str, Watched]", options: argparse.Namespace
) -> None:
    """Keep a watch of one engine forever, and ask for no more than the engine can tell."""
    wishes = set(WISHES)
    backoff, down = Backoff(), False
    while True:
        watches[name] = watch = _watch_of(client, wishes, options)
        try:
            async with watch:
                if down:
                    say(f"{name} answers")
                backoff, down = Backoff(), False
                async for update in watch:
                    if update.error is None and down:
                        say(f"{name} answers again")
                    elif update.error is not None and _too_much(update.error) in wishes:
                        raise update.error
                    down = update.error is not None
                    del update  # it has a list, which the next one may replace without an update
        except DockerImagesError as error:
            if (refused := _too_much(error)) in wishes:
                wishes.remove(refused)
                continue
            wishes = set(WISHES)
            if not down:
                say(f"warning: {error}")
            down = True
            await anyio.sleep(backoff.next(random.random()))  # noqa: S311 - nothing secret


def _too_much(error: DockerImagesError) -> str:
    """What was asked that the engine, or a proxy before it, does not tell; `""` otherwise."""
    if isinstance(error, UnsupportedByEngineError):
        return error.option
    if isinstance(error, EngineResponseError) and error.status in (401, 403, 404, 405, 501):
        return "containers"  # the one other request; proxies may let only lists through
    return ""


# ── What is served ──────────────────────────────────────────────────────────────────────────────


def _application(registry: "CollectorRegistry") -> WSGIApplication:
    from prometheus_client import make_wsgi_app

    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/metrics":
            return metrics(environ, start_response)
        healthy = path == "/-/healthy" and method in ("GET", "HEAD")
        status, text = ("200 OK", b"healthy\n") if healthy else ("404 Not Found", b"not found\n")
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        start_response(status, [*headers, ("Content-Length", str(len(text)))])
        return [text if method != "HEAD" else b""]

    return answer
