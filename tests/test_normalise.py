"""One meaning on every engine: what nulls, placeholders and sentinels stand for."""

import json
from typing import Any

import msgspec
import pytest

from docker_images.images.models import ImageSummary
from docker_images.images.normalise import normalise

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
        pytest.param(
            {"VirtualSize": 7}, "virtual_size", None, id="virtual size, of no such version"
        ),
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
    assert image.created_at is None


def test_a_podman_2_row_without_most_keys_reads() -> None:
    assert read({"Created": 5, "Digests": ["x"], "ReadOnly": True}) == ImageSummary(
        id=DIGEST, created=5
    )
