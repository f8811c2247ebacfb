"""One blocking call, for scripts and threads.

Refuses to know how an engine is asked: that is the client's.
"""

from types import EllipsisType

from anyio.from_thread import start_blocking_portal

from docker_images.client import DockerClient
from docker_images.images.models import ImageSummary
from docker_images.query import FiltersArgument, LabelArgument, ReferenceArgument, UntilArgument

__all__ = ["list_images"]


def list_images(
    host: str | None = None,
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

    `host` and `context` are those of `DockerClient`, and everything else is that of its
    `list_images`, which also says what is raised. Each call runs an event loop of its own in a
    thread, connects and closes again; it blocks until the answer is there. Inside a running event
    loop that blocks the loop: use `DockerClient` there, as does whoever asks often.
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
