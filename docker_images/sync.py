"""One blocking call, for scripts and threads.

Refuses to know how an engine is asked: the client does.
"""

from __future__ import annotations  # as in `client`

from types import EllipsisType

from anyio.from_thread import start_blocking_portal

from docker_images.client import DockerClient
from docker_images.endpoint.hosts import Host
from docker_images.images.models import ImageSummary
from docker_images.query import FiltersArgument, LabelArgument, ReferenceArgument, UntilArgument

__all__ = ["list_images"]


def list_images(
    host: Host | None = None,
    *,
    context: str | None = None,
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
    """List the images of an engine, from code that is not async.

        from docker_images import sync

        for image in sync.list_images(dangling=True):
            print(image.short_id)

    Each call runs its own event loop in a thread, connects, lists and closes the connection. It
    blocks until the answer is there. Inside a running event loop that would block the loop: use
    `DockerClient` there, and also if you list often. Raises the same errors as `DockerClient` and
    its `list_images`.

    Args:
        host: the engine's address, as in `DockerClient`.
        context: the docker context that names the engine, as in `DockerClient`.
        all: as in `DockerClient.list_images`, like all following arguments.
        dangling: as in `list_images`.
        label: as in `list_images`.
        exclude_label: as in `list_images`.
        reference: as in `list_images`.
        before: as in `list_images`.
        since: as in `list_images`.
        until: as in `list_images`.
        filters: as in `list_images`.
        shared_size: as in `list_images` (API 1.42).
        manifests: as in `list_images` (API 1.47).
        identity: as in `list_images` (API 1.54).
        containers: as in `list_images`.
        timeout: seconds for the call, 60 by default; None for no limit.
    """
    client = DockerClient(host, context=context)

    async def ask() -> list[ImageSummary]:
        async with client:
            return await client.list_images(
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
                timeout=timeout,
            )

    with start_blocking_portal() as portal:
        return portal.call(ask)
