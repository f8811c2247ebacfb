"""`containers=True`: who uses which image, on every engine; unknown stays unknown."""

from typing import Any

import anyio
import engines
import pytest

from docker_images import DockerClient, ImageSummary
from docker_images.testing import FakeEngine, image

pytestmark = pytest.mark.anyio

FOREIGN = "sha256:" + "f" * 64
PLATFORM = "sha256:" + "e" * 64


def paths(engine: FakeEngine) -> list[str]:
    return [request.path for request in engine.requests]


def a_manifest(*containers: str) -> dict[str, Any]:
    return {
        "ID": PLATFORM,
        "Descriptor": {"digest": PLATFORM, "mediaType": "x", "size": 1},
        "Available": True,
        "Size": {"Content": 1, "Total": 1},
        "Kind": "image",
        "ImageData": {"Platform": {}, "Size": {"Unpacked": 1}, "Containers": list(containers)},
    }


async def in_use(host: str, **question: Any) -> dict[str, bool | None]:
    async with DockerClient(host) as client:
        images = await client.list_images(containers=True, **question)
    return {str(one.references[0]) if one.references else "": one.in_use for one in images}


@pytest.mark.parametrize("name", ["docker 20", "docker 25", "docker 25 containerd", "docker 28"])
async def test_every_engine_says_what_is_in_use(anyio_backend: str, name: str) -> None:
    with FakeEngine([image("web:1", containers=2), image("db:1")], engine=name) as engine:
        assert await in_use(engine.host) == {"web:1": True, "db:1": False}


async def test_nothing_more_is_asked_where_the_list_counts_or_nobody_wants_to_know(
    anyio_backend: str,
) -> None:
    with FakeEngine([image("web:1", containers=2)], engine="docker 28") as engine:
        await in_use(engine.host)
        assert paths(engine)[-1] == "/images/json"
    with FakeEngine([image("web:1", containers=2)], engine="docker 25") as engine:
        async with DockerClient(engine.host) as client:
            (found,) = await client.list_images()
        assert found.in_use is None
        assert "/containers/json" not in paths(engine)


async def test_of_a_graph_driver_a_container_of_an_image_that_is_gone_changes_nothing(
    anyio_backend: str,
) -> None:
    # An image without any name was removed by force: its id is in no filtered list.
    held = [image("web:1", labels={"a": "b"}), image(containers=1)]
    with FakeEngine(held, engine="docker 20") as engine:
        assert await in_use(engine.host, label="a") == {"web:1": False}


async def test_the_container_of_one_platform_counts_for_its_image(anyio_backend: str) -> None:
    held = [
        image("multi:1", containers=1, manifests=[a_manifest("c1")]),
        image("web:1"),
    ]
    with FakeEngine(held, engine="docker 28 containerd") as engine:
        async with DockerClient(engine.host, api_version="1.50") as client:
            images = await client.list_images(containers=True)
    assert {str(one.references[0]): one.in_use for one in images} == {
        "multi:1": True,
        "web:1": False,
    }
    assert not any(one.manifests for one in images)


async def test_what_nobody_can_tell_stays_unknown(anyio_backend: str) -> None:
    # Docker 25 names a manifest as the image of a container, and no manifests in the list.
    held = [
        image("multi:1", containers=1, manifests=[a_manifest("c1")]),
        image("used:1", containers=1),
        image("web:1"),
    ]
    with FakeEngine(held, engine="docker 25 containerd") as engine:
        assert await in_use(engine.host) == {"multi:1": None, "used:1": True, "web:1": None}


@pytest.mark.parametrize("name", engines.NAMES)
def test_a_live_engine_agrees_with_its_containers(live: engines.Live, name: str) -> None:
    host = live.host(name)
    containers = engines.call(host, "GET", "/v1.40/containers/json?all=1").json()
    used = {one["ImageID"].removeprefix("sha256:") for one in containers}
    images = anyio.run(listed, host)
    assert used
    assert {one.id.removeprefix("sha256:") for one in images if one.in_use} == used
    assert not [one for one in images if one.in_use is None]


async def listed(host: str) -> list[ImageSummary]:
    async with DockerClient(host) as client:
        return await client.list_images(all=True, containers=True)


# A watch


@pytest.mark.parametrize(
    ("name", "asked", "of_new"),
    [
        ("docker 20.10", 1, None),
        ("docker 26.1", 1, None),
        ("docker 28.5", 0, 3),
        ("podman 5.8", 0, 3),
    ],
)
async def test_a_watch_asks_for_containers_at_the_resync_only(
    anyio_backend: str, name: str, asked: int, of_new: int | None
) -> None:
    with FakeEngine([image("web:1", containers=2)], name) as engine:
        async with DockerClient(engine.host) as client:
            async with client.watch_images(containers=True) as watch:
                for number in range(3):
                    engine.images.add(image(f"new:{number}", containers=3))
                    with anyio.fail_after(60):
                        await anext(watch)
                counts = {
                    one.repo_tags[0].rpartition("/")[2]: one.containers for one in watch.images
                }
                assert counts == {"web:1": 2, **{f"new:{number}": of_new for number in range(3)}}
            assert [one.path for one in engine.requests].count("/containers/json") == asked


async def test_at_the_resync_a_watch_counts_anew(anyio_backend: str) -> None:
    with FakeEngine([image("web:1")], "docker 26.1") as engine:
        async with (
            DockerClient(engine.host) as client,
            client.watch_images(containers=True, resync_interval=0.1) as watch,
        ):
            engine.images["web:1"].containers = 5
            with anyio.fail_after(60):
                while watch.images[0].containers != 5:
                    with anyio.move_on_after(0.1):
                        await anext(watch)
