"""One blocking call, for scripts and threads.

Refuses to know how an engine is asked: that is the client's.
"""

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
    """The images of an engine, from code that is not async.

        from docker_images import sync

        for image in sync.list_images(dangling=True):
            print(image.short_id)

    Each call runs an event loop of its own in a thread, connects and closes again; it blocks until
    the answer is there. Inside a running event loop that blocks the loop: use `DockerClient` there,
    as does whoever asks often. It raises what `DockerClient` and its `list_images` raise.

    Args:
        host: the engine's address, as in `DockerClient`.
        context: the docker context that names the engine, as in `DockerClient`.
        all: as in `DockerClient.list_images`, and so are the others.
        dangling: as there.
        label: as there.
        exclude_label: as there.
        reference: as there.
        before: as there.
        since: as there.
        until: as there.
        filters: as there.
        shared_size: as there (API 1.42).
        manifests: as there (API 1.47).
        identity: as there (API 1.54).
        containers: as there.
        timeout: seconds for the call, 60 where it is not given; None for no limit.
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
