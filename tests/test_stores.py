"""Images that went wrong once, in every store that can hold them.

Each engine of the table holds what `engines.fill_more` pulls, renames and runs. What a store makes
of it stands in the expectations: they follow from what was pulled, and from how a store keeps it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import engines
import pytest
from facts import fact

from docker_images import DockerClient, ImageSummary

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=engines.quickly())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(name: str, live: engines.Live) -> AsyncIterator[DockerClient]:
    async with DockerClient(live.host(name, more=True)) as client:
        yield client


def made(images: list[ImageSummary]) -> list[str]:
    """What the images were made as, sorted; those that were not pulled say nothing."""
    return sorted(image.labels["made"] for image in images if "made" in image.labels)


def tagged(images: list[ImageSummary], name: str) -> ImageSummary:
    (found,) = (image for image in images if name in map(str, image.references))
    return found


async def test_whatever_a_store_holds_is_listed(client: DockerClient, name: str) -> None:
    # Other stores keep the first platform of a name as an image of its own, without the name.
    platforms = ["whole"] if fact(name, "store") == "containerd" else ["whole", "whole"]
    listed = made(await client.list_images())
    assert listed == sorted(["digest", "foreign", "half", "moved", "undated", *platforms])


async def test_what_is_no_image_is_listed_where_a_store_holds_it(
    client: DockerClient, name: str
) -> None:
    found = await client.list_images(reference="more/chart")
    assert len(found) == (fact(name, "a chart") == "listed")
    for chart in found:
        assert [str(tag) for tag in chart.tags] == ["more/chart:1"]
        assert (chart.created_at, chart.labels, chart.is_dangling) == (None, {}, False)
        assert chart in await client.list_images()
        assert chart not in await client.list_images(until=timedelta())


@pytest.mark.parametrize(
    ("reference", "on_docker", "on_podman"),
    [
        ("x", {"x:1"}, {"x:1", "localhost/x:1"}),
        ("x:1", {"x:1"}, {"x:1", "localhost/x:1"}),
        ("docker.io/x", {"x:1"}, {"x:1"}),
        ("library/x", {"x:1"}, {"x:1"}),
        ("localhost/x", {"localhost/x:1"}, {"localhost/x:1"}),
        ("localhost/x:1", {"localhost/x:1"}, {"localhost/x:1"}),
        ("near", {"near:1"}, {"localhost/near:1"}),
        ("docker.io/near", {"near:1"}, set()),
    ],
)
async def test_localhost_is_a_registry_of_its_own_and_podmans_home(
    client: DockerClient, name: str, reference: str, on_docker: set[str], on_podman: set[str]
) -> None:
    images = await client.list_images(reference=reference)
    expected = on_podman if fact(name, "store") == "podman" else on_docker
    assert expected <= {str(tag) for image in images for tag in image.tags}
    assert all(expected & {*map(str, image.tags)} for image in images)


async def test_what_nobody_dated_has_no_time_where_the_engine_says_so(
    client: DockerClient, name: str
) -> None:
    undated = tagged(await client.list_images(), "more/undated:1")
    assert (undated.created_at is None) is (fact(name, "not dated") != "loading")


async def test_a_tag_that_moved_belongs_to_one_image(client: DockerClient) -> None:
    images = await client.list_images()
    assert tagged(images, "more/moved:1") == tagged(images, "more/half:1")
    assert made(await client.list_images(reference="more/moved")) == ["half"]


async def test_an_image_with_only_a_digest_has_a_name(client: DockerClient) -> None:
    (image,) = [one for one in await client.list_images() if one.labels.get("made") == "digest"]
    assert {reference.tag for reference in image.references} == {None}
    assert all(reference.digest for reference in image.references)
    assert not image.is_dangling
    assert image not in await client.list_images(dangling=True)


async def test_labels_are_those_of_every_platform_that_is_there(
    client: DockerClient, name: str
) -> None:
    tests = await client.list_images(label="stage=test")
    others = await client.list_images(exclude_label="stage=test")
    assert made(tests) == ["foreign", "whole"]
    assert "foreign" not in made(others)
    # The other platform of `whole` is an image of its own in other stores.
    assert ("whole" in made(others)) is (fact(name, "store") != "containerd")
    assert len(tests) + len(others) == len(await client.list_images())


async def test_containers_count_whether_they_run_or_not(client: DockerClient) -> None:
    images = await client.list_images(containers=True)
    used = tagged(images, "more/half:1")
    assert used.containers == 2
    assert [image.in_use for image in images] == [image is used for image in images]


async def test_the_platforms_that_are_there_are_told_apart(client: DockerClient, name: str) -> None:
    if "manifests" not in fact(name, "options"):
        pytest.skip(f"{name} tells no platforms")
    images = await client.list_images(manifests=True)
    there = {image.labels["made"]: image.available_platforms for image in images if image.labels}
    assert {key: sorted(map(str, value)) for key, value in there.items()} == {
        **{one: ["linux/amd64"] for one in ("digest", "half", "moved", "undated")},
        "foreign": ["linux/arm64"],
        "whole": ["linux/amd64", "linux/arm64"],
    }
    for image in images:
        kinds = [manifest.kind for manifest in image.manifests or ()]
        assert kinds.count("attestation") == (2 if image.labels else 0)
