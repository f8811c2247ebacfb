"""`docker-images metrics`: the series of `docker_images.metrics`, once.

Refuses to know the series, and how a list is made.
"""

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import anyio

from docker_images.cli.arguments import Named, which_engine
from docker_images.cli.ask import Warnings, clients_of, gather_wishes, logged_by, patience
from docker_images.cli.words import UsageError, say
from docker_images.client import DockerClient
from docker_images.errors import DockerImagesError, EndpointError
from docker_images.images.models import ImageSummary

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from docker_images.metrics import Watched

__all__ = ["WISHES", "arguments", "limit", "name_of", "registry_of", "run"]

WISHES = ("shared_size", "containers")
"""What is asked of those engines only that can tell it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    which_engine(parser, several=True)
    limit(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="file to write, such as /var/lib/node_exporter/docker_images.prom; it is replaced "
        "as a whole",
    )


def limit(parser: argparse.ArgumentParser) -> None:
    """`--repositories`."""
    parser.add_argument(
        "--repositories",
        type=int,
        default=0,
        metavar="N",
        help="also count each of the N largest repositories, and all others together",
    )


def registry_of(watches: "Mapping[str, Watched]", repositories: int) -> "CollectorRegistry":
    """What prometheus_client reads these watches from."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise UsageError(
            "metrics need prometheus_client; install it: pip install 'docker-images[metrics]'"
        ) from None
    from docker_images.metrics import ImagesCollector

    registry = CollectorRegistry()
    registry.register(ImagesCollector(watches, repositories=repositories))
    return registry


class _Once(NamedTuple):
    """One list, as a watch would have it."""

    images: Sequence[ImageSummary]
    updated_at: datetime | None
    error: DockerImagesError | None
    list_seconds: float
    lists: int = 1
    closed: bool = False
    events: int = 0
    reconnects: int = 0


def run(options: argparse.Namespace) -> int:
    """Print the series of each engine; the exit status is 1 where one of them failed."""
    told: dict[str, Watched] = {}
    registry = registry_of(told, options.repositories)  # what is missing is found before
    with logged_by(Warnings(logging.WARNING)), patience(options):
        told |= anyio.run(_ask, options)
    errors = [one.error for one in told.values() if one.error is not None]
    for error in errors:
        say(str(error))
    if options.output is None:
        from prometheus_client import generate_latest

        from docker_images.cli.forms import write_text

        write_text(generate_latest(registry).decode())
    else:
        from prometheus_client import write_to_textfile

        write_to_textfile(options.output, registry)
    return 1 if errors else 0


async def _ask(options: argparse.Namespace) -> dict[str, _Once]:
    answers: dict[str, _Once] = {}

    async def ask(name: str, named: Named, client: DockerClient) -> None:
        began = time.monotonic()
        (answer,) = (await gather_wishes({named: client}, {}, WISHES)).values()
        if isinstance(answer, DockerImagesError):
            answers[name] = _Once((), None, answer, 0.0, lists=0)
        else:
            answers[name] = _Once(answer, datetime.now(UTC), None, time.monotonic() - began)

    async with clients_of(options) as clients:
        names = {named: _name(named, client, options) for named, client in clients.items()}
        async with anyio.create_task_group() as tasks:
            for named, client in clients.items():
                tasks.start_soon(ask, names[named], named, client)
    return {name: answers[name] for name in names.values()}


def _name(named: Named, client: DockerClient, options: argparse.Namespace) -> str:
    try:
        return name_of(named, client, options)
    except EndpointError:
        return str(named) or "default"


def name_of(named: Named, client: DockerClient, options: argparse.Namespace) -> str:
    """What the command line calls an engine, otherwise its address: the label `engine`.

    Raises `EndpointError` where no engine is named.
    """
    host = client.endpoint.host
    return "demo" if options.demo else str(named) or host
