"""Many engines, asked the same question at the same time.

Refuses to know how an engine is asked: its client does.
"""

from collections.abc import Iterator, Mapping
from types import EllipsisType
from typing import Any, TypedDict, TypeVar, Unpack, cast

import anyio

from docker_images import arguments
from docker_images.client import DockerClient
from docker_images.errors import DockerImagesError
from docker_images.images.models import ImageSummary
from docker_images.query import FiltersArgument, LabelArgument, ReferenceArgument, UntilArgument

__all__ = ["Question", "gather_images"]

K = TypeVar("K")


class Question(TypedDict, total=False):
    """The keywords of `DockerClient.list_images`."""

    all: bool
    dangling: bool | None
    label: LabelArgument | None
    exclude_label: LabelArgument | None
    reference: ReferenceArgument | None
    before: str | None
    since: str | None
    until: UntilArgument | None
    filters: FiltersArgument | None
    shared_size: bool
    manifests: bool
    identity: bool
    containers: bool
    timeout: float | EllipsisType | None


async def gather_images(
    clients: Mapping[K, DockerClient], **question: Unpack[Question]
) -> dict[K, list[ImageSummary] | DockerImagesError]:
    """Ask several engines the same question, all at the same time.

        answers = await gather_images({"prod-1": client, "prod-2": other}, dangling=True)

    The result has the keys and the order of `clients`. If an engine cannot be reached, its entry
    is the `DockerImagesError`, and nothing is raised. All calls start together, so this returns
    when the slowest one has answered or timed out. The clients stay open.

    Args:
        clients: the engines to ask; each answer gets the key of its client.
        **question: the keywords of `DockerClient.list_images`; each call has the deadline of its
            client, or `timeout`.

    Raises:
        TypeError: for an argument of the wrong type; running calls are cancelled first.
        ValueError: for an argument with an impossible value; running calls are cancelled first.
        RuntimeError: if a client is closed; the other calls are cancelled first.
    """
    takes = "a mapping of DockerClient objects"
    if not isinstance(clients, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise arguments.wrong("clients", takes, clients)
    for client in clients.values():
        if not hasattr(client, "list_images"):
            raise arguments.wrong("clients", takes, client)
    asked = cast("Question", _reusable(question))
    answers: dict[K, list[ImageSummary] | DockerImagesError] = {}
    bugs: list[Exception] = []

    async def ask(key: K, client: DockerClient) -> None:
        try:
            answers[key] = await client.list_images(**asked)
        except DockerImagesError as error:
            answers[key] = error.with_traceback(None)  # which would hold on to `answers`: a cycle
        except Exception as bug:  # noqa: BLE001 - raised below
            bugs.append(bug)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for key, client in clients.items():
            group.start_soon(ask, key, client)
    if bugs:
        raise bugs[0]  # by itself, not in the group that a task group would make of it
    return {key: answers[key] for key in clients}


def _reusable(value: Any) -> Any:
    """The value with tuples instead of iterators, which only the first engine would see."""
    if isinstance(value, Iterator):
        return tuple(value)
    if isinstance(value, Mapping):
        return {key: _reusable(one) for key, one in value.items()}
    return value
