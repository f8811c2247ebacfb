"""The same behaviour of real Docker, real Podman and the embedded engine, and on every loop.

What is expected comes from the engine's own raw JSON, read by `http.client` and `json`.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import engines
import pytest

from docker_images import ApiVersion, DockerClient, EngineResponseError, ImageSummary
from docker_images.testing import FakeEngine, demo_images

pytestmark = pytest.mark.anyio

LOOPS = {"asyncio": "asyncio", "uvloop": ("asyncio", {"use_uvloop": True}), "trio": "trio"}
WAYS = [
    ("asyncio", "dockerd"),
    ("trio", "dockerd"),
    ("uvloop", "podman"),
    ("trio", "podman"),
    ("uvloop", "fake docker 28.5 containerd"),
    ("asyncio", "fake podman 4"),
]
"""On which loop each engine is asked: each one on its own, and each loop by a real engine."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" in metafunc.fixturenames:
        metafunc.parametrize(("anyio_backend", "host"), WAYS, indirect=True)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return LOOPS[request.param]


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where an engine with images of every kind listens."""
    with ExitStack() as stack:
        if request.param.startswith("fake "):
            name = request.param.removeprefix("fake ")
            yield stack.enter_context(FakeEngine(demo_images(), name)).host
        else:
            yield request.getfixturevalue(request.param)


@pytest.fixture
async def client(host: str) -> AsyncIterator[DockerClient]:
    async with DockerClient(host) as client:
        yield client


def raw(host: str, query: str = "") -> list[dict[str, Any]]:
    """What the engine says, read by somebody else."""
    # 1.40 is the oldest version that all of them accept.
    answer = engines.call(host, "GET", f"/v1.40/images/json{query}")
    assert answer.status == 200
    listed: list[dict[str, Any]] = json.loads(answer.body)
    return listed


def expected(image: dict[str, Any]) -> dict[str, Any]:
    """The design's table of meanings, in plain Python."""
    parent = image["ParentId"]
    tags, digests = image["RepoTags"] or [], image["RepoDigests"] or []
    return {
        "id": image["Id"],
        "parent_id": parent if not parent or ":" in parent else f"sha256:{parent}",
        "repo_tags": tuple(tag for tag in tags if tag != "<none>:<none>"),
        "repo_digests": tuple(digest for digest in digests if digest != "<none>@<none>"),
        "created": image["Created"],
        "size": image["Size"],
        "labels": image["Labels"] or {},
        "shared_size": None,
    }


def told(image: ImageSummary, names: Any) -> dict[str, Any]:
    return {name: getattr(image, name) for name in names}


@pytest.mark.parametrize(("every", "query"), [(False, ""), (True, "?all=1")])
async def test_every_image_says_what_the_engine_says(
    client: DockerClient, host: str, every: bool, query: str
) -> None:
    wanted = [expected(image) for image in raw(host, query)]
    images = await client.list_images(all=every)
    assert len(wanted) > 4
    key = json.dumps
    found = [told(image, wanted[0]) for image in images]
    assert sorted(map(key, found)) == sorted(map(key, wanted))


async def test_the_order_is_newest_first_then_by_id_and_the_same_each_time(
    client: DockerClient,
) -> None:
    first = await client.list_images(all=True)
    assert first == sorted(first, key=lambda image: (-image.created, image.id, image.size))
    assert await client.list_images(all=True) == first


async def test_dangling_splits_the_list_in_two(client: DockerClient) -> None:
    everything = await client.list_images()
    dangling = await client.list_images(dangling=True)
    others = await client.list_images(dangling=False)
    assert dangling
    assert others
    assert all(image.is_dangling for image in dangling)
    assert not any(image.is_dangling for image in others)
    assert {image.id for image in dangling} | {image.id for image in others} == {
        image.id for image in everything
    }


async def test_labels_select(client: DockerClient) -> None:
    everything = await client.list_images()
    key, value = next((key, value) for image in everything for key, value in image.labels.items())
    with_label = [image for image in everything if image.labels.get(key) == value]
    assert await client.list_images(label={key: value}) == with_label
    assert await client.list_images(label=f"{key}={value}") == with_label
    without = [image for image in everything if image not in with_label]
    assert await client.list_images(exclude_label={key: value}) == without


async def test_references_select_by_the_familiar_name(client: DockerClient) -> None:
    everything = await client.list_images()
    image = next(image for image in everything if image.repo_tags)
    name = str(image.references[0])
    assert image in await client.list_images(reference=name)
    assert await client.list_images(reference="no/such:image") == []


async def test_until_selects_by_the_time_of_creation(client: DockerClient) -> None:
    everything = await client.list_images()
    dated = sorted(image.created for image in everything if image.created > 0)
    moment = datetime.fromtimestamp(dated[len(dated) // 2], UTC)
    older = [image for image in everything if 0 < image.created < moment.timestamp()]
    assert older
    assert await client.list_images(until=moment) == older
    # What nobody dated is not older than anything.
    assert await client.list_images(until=timedelta(days=365 * 200)) == []


async def test_an_unknown_image_to_compare_with_is_the_engines_refusal(
    client: DockerClient,
) -> None:
    with pytest.raises(EngineResponseError) as caught:
        await client.list_images(before="no/such:image")
    assert caught.value.status in (404, 500)
    assert "no/such:image" in caught.value.message
    assert str(caught.value).endswith("; name an image that this engine has")


async def test_ping_and_the_list_agree_on_the_version(client: DockerClient) -> None:
    info = await client.ping()
    await client.list_images()
    assert info.name in ("Docker", "Podman")
    assert info.api_version is not None
    assert client.api_version == min(info.api_version, ApiVersion(1, 55))


async def test_a_hundred_calls_at_once_get_the_same_answer(client: DockerClient) -> None:
    first = await client.list_images()
    answers: list[list[ImageSummary]] = []

    async def ask() -> None:
        answers.append(await client.list_images())

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    assert answers == [first] * 100


# Real engines in states of their own.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["docker", "podman"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_real_engine_without_images_and_with_300(
    kind: str,
) -> None:
    with engines.folder() as folder, engines.start(engines.at_hand(kind), folder) as host:
        async with DockerClient(host, timeout=600) as client:  # Podman on vfs takes its time
            assert await client.list_images(all=True) == []
            await anyio.to_thread.run_sync(lambda: engines.fill(host, many=300))
            images = await client.list_images(all=True)  # Podman takes its time for each
            wanted = {image["Id"]: expected(image) for image in raw(host, "?all=1")}
            assert [told(image, wanted[image.id]) for image in images] == [
                wanted[image.id] for image in images
            ]
            numbers = [int(image.labels["number"]) for image in images if "number" in image.labels]
            assert numbers == sorted(range(300), reverse=True)
