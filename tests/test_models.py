"""What an image says of itself: its types, and the helpers that users otherwise write wrong."""

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import docker_images
from docker_images import (
    BuildIdentity,
    Identity,
    ImageManifestSummary,
    ImageProperties,
    ImageSummary,
    ManifestSize,
    OCIDescriptor,
    OCIPlatform,
    SignatureIdentity,
    SignatureTimestamp,
    UnpackedSize,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


def image(**fields: Any) -> ImageSummary:
    return ImageSummary(id=DIGEST, **fields)


# Time.


@pytest.mark.parametrize(
    ("created", "moment"),
    [
        pytest.param(0, None, id="nobody said, to Docker 25 and later"),
        pytest.param(1, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), id="a second later"),
        pytest.param(-1, None, id="negative"),
        pytest.param(1714979289, datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), id="a day"),
        pytest.param(-62135596800, None, id="year 1: Go's zero time, nobody said"),
        pytest.param(-62135596799, None, id="a second after it"),
        pytest.param(-62167219200, None, id="year 0"),
        pytest.param(
            253402300799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="the end of year 9999"
        ),
        pytest.param(253402300800, None, id="year 10000"),
        pytest.param(10**40, None, id="no time at all"),
        pytest.param(-(10**40), None, id="nor this"),
    ],
)
def test_created_at_is_a_time_or_none_and_never_raises(
    created: int, moment: datetime | None
) -> None:
    assert image(created=created).created_at == moment
    assert image(created=created).created == created


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param("2024-05-06T07:08:09Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), id="UTC"),
        pytest.param(
            "2024-05-06T09:08:09+02:00", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), id="an offset"
        ),
        pytest.param(
            "2026-11-21T23:10:22.079633105Z",
            datetime(2026, 11, 21, 23, 10, 22, 79633, tzinfo=UTC),
            id="nanoseconds",
        ),
        pytest.param(
            "2024-05-06T07:08:09.1Z", datetime(2024, 5, 6, 7, 8, 9, 100000, tzinfo=UTC), id="tenths"
        ),
        pytest.param("0001-01-01T00:00:00Z", None, id="Go's zero time"),
        pytest.param("2024-05-06T07:08:09", None, id="no time zone"),
        pytest.param("", None, id="nothing"),
        pytest.param("yesterday", None, id="nonsense"),
        pytest.param("99999-01-01T00:00:00Z", None, id="too late"),
    ],
)
def test_a_time_inside_an_identity_is_text_and_a_datetime(
    text: str, moment: datetime | None
) -> None:
    assert BuildIdentity(created_at=text).created_at_datetime == moment
    assert SignatureTimestamp(timestamp=text).timestamp_datetime == moment
    assert BuildIdentity(created_at=text).created_at == text


# Names.


@pytest.mark.parametrize(
    ("tags", "digests", "dangling"),
    [
        pytest.param((), (), True, id="no name"),
        pytest.param(("a:1",), (), False, id="a tag"),
        pytest.param((), (f"a@{DIGEST}",), False, id="a digest"),
        pytest.param((), (DIGEST,), True, id="a digest without a name refers to nothing"),
        pytest.param(("a:1",), (DIGEST,), False, id="degraded, with its tag"),
        pytest.param((f"a@{DIGEST}",), (), False, id="a digest among the tags"),
    ],
)
def test_an_image_dangles_where_nothing_refers_to_it(
    tags: tuple[str, ...], digests: tuple[str, ...], dangling: bool
) -> None:
    assert image(repo_tags=tags, repo_digests=digests).is_dangling is dangling


@pytest.mark.parametrize(
    ("id_", "short"),
    [
        pytest.param(DIGEST, "0123456789ab", id="Docker"),
        pytest.param(DIGEST.removeprefix("sha256:"), "0123456789ab", id="Podman 3.0, bare"),
        pytest.param("sha512:" + "f" * 128, "f" * 12, id="another algorithm"),
        pytest.param("abc", "abc", id="short already"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_short_id_is_what_docker_images_shows(id_: str, short: str) -> None:
    assert ImageSummary(id=id_).short_id == short


def test_a_name_that_is_told_twice_is_one_reference_and_keeps_its_tag() -> None:
    whole = f"team/app:1@{DIGEST}"
    found = image(repo_tags=("web:1", "web:1", whole), repo_digests=(whole, DIGEST, DIGEST))
    assert list(map(str, found.references)) == ["web:1", whole, DIGEST]
    assert [name.tag for name in found.tags] == ["1", "1"]


def test_an_image_as_plain_data_has_the_keys_of_the_engine() -> None:
    found = image(repo_tags=("web:1",), created=5)
    assert found.to_dict() == msgspec.json.decode(msgspec.json.encode(found))
    assert found.to_dict()["RepoTags"] == ["web:1"]


def test_references_are_every_tag_and_every_digest_in_their_order() -> None:
    found = image(
        repo_tags=("docker.io/library/alpine:3", "localhost/web:1", f"team/app@{DIGEST}"),
        repo_digests=(f"registry.example.com:5000/team/app@{DIGEST}", DIGEST),
    ).references
    assert [
        (reference.registry, reference.path, reference.tag, reference.digest) for reference in found
    ] == [
        ("docker.io", "alpine", "3", None),
        ("localhost", "web", "1", None),
        ("docker.io", "team/app", None, DIGEST),
        ("registry.example.com:5000", "team/app", None, DIGEST),
        ("", "", None, DIGEST),
    ]
    assert [str(reference) for reference in found][:3] == [
        "alpine:3",
        "localhost/web:1",
        f"team/app@{DIGEST}",
    ]


# What an image is made of.

AMD64 = OCIPlatform(architecture="amd64", os="linux")
ARM = OCIPlatform(architecture="arm", os="linux", variant="v7")
NOWHERE = OCIPlatform(architecture="unknown", os="unknown")


def manifest(
    kind: str = "image",
    *,
    platform: OCIPlatform = AMD64,
    available: bool = True,
    content: int = 0,
    unpacked: int = 0,
    containers: tuple[str, ...] = (),
) -> ImageManifestSummary:
    data = ImageProperties(
        platform=platform, size=UnpackedSize(unpacked=unpacked), containers=containers
    )
    return ImageManifestSummary(
        kind=kind,
        available=available,
        size=ManifestSize(content=content, total=content + unpacked),
        image_data=data if kind == "image" else None,
    )


MULTI = (
    manifest(content=100, unpacked=900),
    manifest("attestation", content=7),
    manifest(platform=ARM, available=False, content=10),
    manifest("unknown", content=5),
    manifest("sbom-of-2031", content=3),
)


def test_platforms_are_those_of_the_images_not_of_attestations() -> None:
    assert image(manifests=MULTI).platforms == (AMD64, ARM)
    assert image(manifests=MULTI).available_platforms == (AMD64,)
    assert image(manifests=()).platforms == ()
    assert image().platforms == image().available_platforms == ()


def test_sizes_are_summed_over_all_that_is_present_and_come_to_the_size_of_the_image() -> None:
    found = image(manifests=MULTI)
    assert (found.content_size, found.unpacked_size) == (125, 900)
    assert (image(manifests=()).content_size, image(manifests=()).unpacked_size) == (0, 0)
    assert (image().content_size, image().unpacked_size) == (None, None)


@pytest.mark.parametrize(
    ("containers", "manifests", "used"),
    [
        pytest.param(0, None, False, id="none"),
        pytest.param(2, None, True, id="two"),
        pytest.param(None, None, None, id="nobody counted"),
        pytest.param(None, (manifest(containers=("c",)),), True, id="named by a manifest"),
        pytest.param(None, (manifest(),), None, id="named by no manifest"),
        pytest.param(None, (manifest("attestation"),), None, id="no image in it"),
    ],
)
def test_an_image_is_in_use_where_a_container_is_counted_or_named(
    containers: int | None, manifests: tuple[ImageManifestSummary, ...] | None, used: bool | None
) -> None:
    assert image(containers=containers, manifests=manifests).in_use is used


@pytest.mark.parametrize(
    ("platform", "text"),
    [
        pytest.param(AMD64, "linux/amd64", id="plain"),
        pytest.param(ARM, "linux/arm/v7", id="variant"),
        pytest.param(
            OCIPlatform(os="windows", architecture="amd64", os_version="10.0.17763.1"),
            "windows/amd64",
            id="Windows",
        ),
        pytest.param(NOWHERE, "unknown/unknown", id="attestation"),
        pytest.param(OCIPlatform(), "", id="nothing, as an index without platforms has"),
    ],
)
def test_a_platform_reads_as_docker_pull_takes_it(platform: OCIPlatform, text: str) -> None:
    assert str(platform) == text


# Values.

FROZEN: list[Any] = [
    getattr(docker_images, name)
    for name in docker_images.__all__
    if getattr(getattr(docker_images, name), "__module__", "") == "docker_images.images.models"
]


@pytest.mark.parametrize("type_", FROZEN)
def test_every_type_is_frozen_and_of_no_interest_to_the_garbage_collector(type_: Any) -> None:
    assert type_.__struct_config__.frozen
    assert not type_.__struct_config__.gc
    value = type_(id="x") if type_ is ImageSummary else type_()
    with pytest.raises(AttributeError):
        setattr(value, msgspec.structs.fields(type_)[0].name, "changed")


def test_images_are_equal_by_value_and_hashed_by_id() -> None:
    one, same, other = image(size=1), image(size=1), image(size=2)
    assert one == same
    assert one != other
    assert hash(one) == hash(same) == hash(other)
    assert {one, same, other} == {one, other}
    assert {one: "x"}[image(size=1)] == "x"


def test_an_image_can_be_copied_pickled_and_changed_in_a_copy() -> None:
    one = image(repo_tags=("a:1",), labels={"a": "b"}, manifests=MULTI)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == copy.copy(one) == one
    assert msgspec.structs.replace(one, size=3).size == 3


def test_an_image_without_anything_is_written_with_everything_but_none() -> None:
    assert json.loads(msgspec.json.encode(image())) == {
        "Id": DIGEST,
        "ParentId": "",
        "RepoTags": [],
        "RepoDigests": [],
        "Created": 0,
        "Size": 0,
        "Labels": {},
    }
    assert msgspec.to_builtins(image(containers=0)).keys() == {
        *("Id", "ParentId", "RepoTags", "RepoDigests", "Created", "Size", "Labels", "Containers")
    }


def test_two_images_do_not_share_an_empty_dict() -> None:
    assert image().labels is not image().labels
    assert OCIDescriptor().annotations is not OCIDescriptor().annotations


# Nested types, from JSON. Go writes null for an empty list or map, unless told to leave it out.

EMPTY: list[Any] = [
    pytest.param(ImageProperties, ["Containers"], id="ImageData"),
    pytest.param(OCIDescriptor, ["urls", "annotations"], id="Descriptor"),
    pytest.param(OCIPlatform, ["os.features"], id="Platform"),
    pytest.param(Identity, ["Signature", "Pull", "Build"], id="Identity"),
    pytest.param(SignatureIdentity, ["Timestamps", "Warnings"], id="Signature"),
]


@pytest.mark.parametrize(("type_", "keys"), EMPTY)
def test_null_for_a_list_or_a_map_is_an_empty_one(type_: Any, keys: list[str]) -> None:
    empty = type_()
    for key in keys:
        found = msgspec.json.decode(json.dumps({key: None}), type=type_)
        assert found == empty
        assert json.loads(msgspec.json.encode(found))[key] in ([], {})


@pytest.mark.parametrize("type_", [type_ for type_ in FROZEN if type_ is not ImageSummary])
def test_no_nested_type_needs_a_key_or_minds_one_it_does_not_know(type_: Any) -> None:
    assert msgspec.json.decode(b'{"Key-of-2031":{"a":[1,null]}}', type=type_) == type_()


def test_kinds_and_types_of_the_future_are_kept_as_they_are() -> None:
    found = msgspec.json.decode(b'{"Kind":"sbom","ID":"x"}', type=ImageManifestSummary)
    assert (found.kind, found.image_data, found.attestation_data) == ("sbom", None, None)
    signature = msgspec.json.decode(b'{"SignatureType":"bundle-v9"}', type=SignatureIdentity)
    assert signature.signature_type == "bundle-v9"
