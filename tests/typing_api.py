"""What a type checker must accept, and must refuse. Never run: `make check` has mypy read it.

Under `warn_unused_ignores` a wrong call that passes is an error, like a right one that does not.
"""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from docker_images import ApiVersion, DockerClient, EngineInfo, ImageSummary, OCIDescriptor
from docker_images.metrics import ImagesCollector


async def right(client: DockerClient) -> None:
    images = await client.list_images()
    assert_type(images, list[ImageSummary])
    assert_type(await client.ping(), EngineInfo)
    assert_type(client.api_version, ApiVersion | None)
    image = images[0]
    assert_type(image.repo_tags, tuple[str, ...])
    assert_type(image.labels, dict[str, str])
    assert_type(image.created_at, datetime | None)
    assert_type(image.shared_size, int | None)
    assert_type(image.in_use, bool | None)
    assert_type(image.descriptor, OCIDescriptor | None)
    await client.list_images(label="a", exclude_label={"a": "b", "c": None}, reference={"x", "y"})
    await client.list_images(label=["a", {"b": "c"}], reference=iter(["x"]), dangling=None)
    await client.list_images(until=timedelta(days=1), before="x", since="y", timeout=None)
    await client.list_images(until=datetime.now(UTC), filters={"label": ["a"], "dangling": True})
    await client.list_images(until=1.5, all=True, shared_size=True, manifests=True, timeout=5)
    async with client.watch_images(containers=True) as watch:
        ImagesCollector({"prod-1": watch}, repositories=20)


async def wrong(client: DockerClient, image: ImageSummary) -> None:
    await client.list_images("alpine")  # type: ignore[call-arg, arg-type]
    await client.list_images(name="alpine")  # type: ignore[call-arg]
    await client.list_images(label={"a": 1})  # type: ignore[dict-item]
    await client.list_images(label=1)  # type: ignore[arg-type]
    await client.list_images(reference={"a": "b"})  # type: ignore[arg-type]
    await client.list_images(dangling="true")  # type: ignore[arg-type]
    await client.list_images(until="10m")  # type: ignore[arg-type]
    await client.list_images(before=["a"])  # type: ignore[arg-type]
    await client.list_images(filters={"label": {"a": 1}})  # type: ignore[dict-item]
    await client.list_images(timeout="5")  # type: ignore[arg-type]
    ImagesCollector({"prod-1": client})  # type: ignore[dict-item]
    image.size = 1  # type: ignore[misc]
    DockerClient(api_version=1.47)  # type: ignore[arg-type]
