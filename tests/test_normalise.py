"""One meaning on every engine: nulls, placeholders and sentinels, and one order."""

import json
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_images.models import ImageSummary
from docker_images.normalise import OrderedImages, normalise

DIGEST = "sha256:" + "0123456789abcdef" * 4
HEX = "0123456789abcdef" * 4


def read(row: dict[str, Any], *, shared_size: bool = False) -> ImageSummary:
    image = msgspec.json.decode(json.dumps({"Id": DIGEST, **row}), type=ImageSummary)
    normalise([image], shared_size=shared_size)
    return image


@pytest.mark.parametrize(
    ("row", "attribute", "meaning"),
    [
        pytest.param({"RepoTags": None}, "repo_tags", (), id="tags null"),
        pytest.param({"RepoTags": []}, "repo_tags", (), id="tags empty"),
        pytest.param({}, "repo_tags", (), id="tags missing"),
        pytest.param({"RepoTags": ["<none>:<none>"]}, "repo_tags", (), id="tags <none>"),
        pytest.param({"RepoTags": ["a:1"]}, "repo_tags", ("a:1",), id="tags"),
        pytest.param(
            {"RepoTags": [f"a@{DIGEST}", "a:1"]},
            "repo_tags",
            (f"a@{DIGEST}", "a:1"),
            id="a digest among the tags stays where it is",
        ),
        pytest.param(
            {"RepoTags": ["<none>:<none>", "a:1"]},
            "repo_tags",
            ("<none>:<none>", "a:1"),
            id="<none> beside a tag is no placeholder",
        ),
        pytest.param({"RepoDigests": None}, "repo_digests", (), id="digests null"),
        pytest.param({}, "repo_digests", (), id="digests missing"),
        pytest.param({"RepoDigests": ["<none>@<none>"]}, "repo_digests", (), id="digests <none>"),
        pytest.param(
            {"RepoDigests": [DIGEST]}, "repo_digests", (DIGEST,), id="a bare digest stays"
        ),
        pytest.param({"Labels": None}, "labels", {}, id="labels null"),
        pytest.param({}, "labels", {}, id="labels missing"),
        pytest.param({"Labels": {"a": ""}}, "labels", {"a": ""}, id="labels"),
        pytest.param({"Containers": -1}, "containers", None, id="containers not counted"),
        pytest.param({}, "containers", None, id="containers missing"),
        pytest.param({"Containers": None}, "containers", None, id="containers null"),
        pytest.param({"Containers": 0}, "containers", 0, id="no container"),
        pytest.param({"Containers": 3}, "containers", 3, id="containers"),
        pytest.param({"ParentId": ""}, "parent_id", "", id="no parent"),
        pytest.param({}, "parent_id", "", id="parent missing"),
        pytest.param({"ParentId": HEX}, "parent_id", DIGEST, id="Podman's bare parent"),
        pytest.param({"ParentId": DIGEST}, "parent_id", DIGEST, id="parent"),
        pytest.param({"VirtualSize": 7}, "virtual_size", 7, id="virtual size"),
        pytest.param({}, "virtual_size", None, id="virtual size missing"),
        pytest.param({"Manifests": None}, "manifests", None, id="manifests null"),
        pytest.param({"Manifests": []}, "manifests", (), id="asked for, and there is none"),
        pytest.param({"Descriptor": None}, "descriptor", None, id="descriptor null"),
        pytest.param({"Created": -62135596800}, "created", -62135596800, id="created stays"),
    ],
)
def test_a_field_means(row: dict[str, Any], attribute: str, meaning: object) -> None:
    assert getattr(read(row), attribute) == meaning


@pytest.mark.parametrize(
    ("sent", "asked", "meaning"),
    [
        pytest.param({"SharedSize": -1}, True, None, id="asked, not computed"),
        pytest.param({"SharedSize": 0}, True, 0, id="asked, nothing is shared"),
        pytest.param({"SharedSize": 5}, True, 5, id="asked"),
        pytest.param({}, True, None, id="asked, but missing"),
        pytest.param({"SharedSize": None}, True, None, id="asked, but null"),
        pytest.param({"SharedSize": -1}, False, None, id="not asked"),
        pytest.param({"SharedSize": 0}, False, None, id="not asked: Podman's 0"),
        pytest.param({"SharedSize": 5}, False, None, id="not asked, but told"),
    ],
)
def test_a_shared_size_is_told_where_it_was_asked_for_and_computed(
    sent: dict[str, Any], asked: bool, meaning: int | None
) -> None:
    assert read(sent, shared_size=asked).shared_size == meaning


def test_the_degraded_entry_of_the_containerd_store_reads() -> None:
    # moby daemon/containerd/image_list.go:440@b985e23, as seen on Docker 28 and master.
    image = read(
        {
            "Containers": -1,
            "Created": 0,
            "Labels": None,
            "ParentId": "",
            "RepoDigests": [DIGEST],
            "RepoTags": ["demo/broken:1"],
            "SharedSize": -1,
            "Size": 0,
        },
        shared_size=True,
    )
    assert image == ImageSummary(
        id=DIGEST, repo_tags=("demo/broken:1",), repo_digests=(DIGEST,), created=0
    )
    assert not image.is_dangling
    assert image.created_at is not None


def test_a_podman_2_row_without_most_keys_reads() -> None:
    assert read({"Created": 5, "Digests": ["x"], "ReadOnly": True}) == ImageSummary(
        id=DIGEST, created=5
    )


# Order.


def an_image(created: int, id: str, size: int = 0) -> ImageSummary:
    return ImageSummary(id=id, created=created, size=size)


def ordered(slices: list[list[ImageSummary]]) -> list[ImageSummary]:
    images = OrderedImages()
    for slice_ in slices:
        images.add(list(slice_))
    return images.finish()


@pytest.mark.parametrize(
    "slices",
    [
        pytest.param([], id="nothing"),
        pytest.param([[], []], id="empty slices"),
        pytest.param([["3a", "2a", "1a"]], id="one slice, sorted"),
        pytest.param([["1a", "3a", "2a"]], id="one slice, not sorted"),
        pytest.param([["2b", "2a"], ["2d", "2c"]], id="all of one second"),
        pytest.param([["3a", "2c"], ["2b", "1a"]], id="a second over a seam"),
        pytest.param([["3a", "2c"], ["2b"], ["2a"], ["2d", "1a"]], id="a second over slices"),
        pytest.param([["3b", "2c"], ["2b", "1z"], ["1y", "0a"]], id="two seams"),
        pytest.param([["1a"], ["2a"]], id="the newest comes last"),
        pytest.param([["2b"], ["2a"], ["3a"]], id="a seam, then disorder"),
        pytest.param([["2b", "1b"], [], ["1a"]], id="an empty slice at a seam"),
    ],
)
def test_slices_come_to_one_order(slices: list[list[str]]) -> None:
    found = ordered([[an_image(int(name[0]), name) for name in slice_] for slice_ in slices])
    names = [name for slice_ in slices for name in slice_]
    assert [image.id for image in found] == sorted(names, key=lambda name: (-int(name[0]), name))


def test_of_one_id_the_smaller_comes_first() -> None:
    # The containerd store of Docker 24 and 25 lists an image once a platform, under one id.
    assert [image.size for image in ordered([[an_image(1, "a", 9)], [an_image(1, "a", 3)]])] == [
        3,
        9,
    ]


@given(
    st.lists(
        st.lists(
            st.builds(
                an_image,
                st.integers(0, 3),
                st.sampled_from(["a", "b", "sha256:c"]),
                st.integers(0, 2),
            ),
            max_size=8,
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_the_order_is_that_of_one_plain_sort_however_the_list_is_cut(
    slices: list[list[ImageSummary]], nearly_sorted: bool
) -> None:
    if nearly_sorted:  # as Docker sends them: by time, and by chance within a second
        flat = sorted(
            (image for slice_ in slices for image in slice_), key=lambda image: -image.created
        )
        starts = [0]
        for slice_ in slices:
            starts.append(starts[-1] + len(slice_))
        slices = [flat[start:end] for start, end in pairwise(starts)]
    flat = [image for slice_ in slices for image in slice_]
    expected = sorted(flat, key=lambda image: (-image.created, image.id, image.size))
    assert ordered(slices) == expected


def test_the_order_does_not_depend_on_the_order_it_came_in() -> None:
    images = [an_image(number // 7, f"sha256:{number * 7919 % 1000}") for number in range(500)]
    orders = set()
    for seed in range(5):
        shuffled = list(images)
        Random(seed).shuffle(shuffled)
        slices = [shuffled[start : start + 90] for start in range(0, len(shuffled), 90)]
        orders.add(tuple(image.id for image in ordered(slices)))
    assert len(orders) == 1
