"""What engines are known to do and no recording shows, from their sources and from live engines.

The citations are of moby; "seen" means on a running engine.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest

from docker_images.testing import ENGINE_NAMES, FakeImage, image
from docker_images.testing.answers import Answer, answer, read_request
from docker_images.testing.filters import go_match
from docker_images.testing.images import Images
from docker_images.testing.shapes import shape_named, version_of, version_text

NOW = 1_800_000_000
HELD = (
    image("alpine:3.20", created=1_700_000_000, labels={"a": "b"}),
    image("web:1", "registry.example.com/web:1", created=1_600_000_000, labels={"a": "c"}),
    image("api:1", created=1_500_000_000),
)


def ask(
    engine: str, path: str = "", images: tuple[Any, ...] = HELD, filters: object = None
) -> Answer:
    shape = shape_named(engine)
    target = f"/v{version_text(shape.api)}/images/json?{path}"
    if filters is not None:
        target += f"&filters={quote(json.dumps(filters))}"
    return answer(shape, tuple(Images(images)), read_request(shape, "GET", target), NOW)


def first_tags(answered: Answer) -> list[str]:
    assert answered.status == 200, answered.body
    return [(row["RepoTags"] or [""])[0] for row in json.loads(answered.body)]


def message(answered: Answer) -> tuple[int, str]:
    return answered.status, json.loads(answered.body)["message"]


# Seen: 28 finds nothing, master one image. (daf25751d5)
@pytest.mark.parametrize(
    ("engine", "found"),
    [
        ("docker 20.10", []),
        ("docker 28.5", []),
        ("docker 28.5 containerd", []),
        ("docker master", ["alpine:3.20"]),
        ("docker master containerd", ["alpine:3.20"]),
    ],
)
def test_a_reference_filter_knows_whole_names_since_master(engine: str, found: list[str]) -> None:
    whole = {"reference": {"docker.io/library/alpine": True}}
    assert first_tags(ask(engine, filters=whole)) == found


# Seen: `label!=a=b` finds nothing on 28, and 8 images on master. (d994daf576)
@pytest.mark.parametrize(
    ("engine", "found"),
    [
        ("docker 28.5 containerd", ["web:1"]),
        ("docker master containerd", ["web:1", "api:1"]),
    ],
)
def test_a_negated_value_misses_images_without_the_label(engine: str, found: list[str]) -> None:
    assert first_tags(ask(engine, filters={"label!": ["a=b"]})) == found


def test_the_containerd_store_reads_a_negation_inside_a_value() -> None:
    listed = first_tags(ask("docker master containerd", filters={"label": ["a!=b"]}))
    assert listed == ["web:1", "api:1"]
    assert first_tags(ask("docker master", filters={"label": ["a!=b"]})) == []


# `filter` is read below API 1.41 up to 28, below 1.25 since 29. (image_routes.go:482)
@pytest.mark.parametrize(
    ("engine", "target", "found"),
    [
        ("docker 28.5", "/v1.40/images/json?filter=alpine", 1),
        ("docker 28.5", "/v1.41/images/json?filter=alpine", 3),
        ("docker master", "/v1.40/images/json?filter=alpine", 3),
    ],
)
def test_the_singular_filter_is_for_old_clients(engine: str, target: str, found: int) -> None:
    shape = shape_named(engine)
    answered = answer(shape, HELD, read_request(shape, "GET", target), NOW)
    assert len(json.loads(answered.body)) == found


# Seen. (`referenceStore.References` sorts)
@pytest.mark.parametrize("engine", [name for name in ENGINE_NAMES if "docker" in name])
def test_docker_sorts_names_by_the_whole_name(engine: str) -> None:
    held = (image("web:2", "registry.example.com/web:1", "alpine:1", "127.0.0.1:5000/web:1"),)
    (row,) = json.loads(ask(engine, images=held).body)
    assert row["RepoTags"] == [
        *("127.0.0.1:5000/web:1", "alpine:1", "web:2", "registry.example.com/web:1")
    ]


# Seen on both stores of master.
@pytest.mark.parametrize("engine", ["docker master", "docker master containerd"])
def test_identity_requires_manifests(engine: str) -> None:
    told = (400, "conflicting options: identity requires manifests=1")
    assert message(ask(engine, "identity=1")) == told
    assert ask(engine, "identity=1&manifests=1").status == 200
    assert ask("docker 28.5 containerd", "identity=1").status == 200


UNREADABLE = 'failed to parse value as time or duration: "junk"'


# Seen on 25, 28 and master.
@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("docker 25", (500, UNREADABLE)),
        ("docker 28.5 containerd", (500, UNREADABLE)),
        (
            "docker master",
            (400, f"invalid value for 'until' filter: {UNREADABLE}"),
        ),
    ],
)
def test_a_time_that_cannot_be_read(engine: str, told: tuple[int, str]) -> None:
    assert message(ask(engine, filters={"until": ["junk"]})) == told


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1650000000", 2),
        ("1550000000.5", 1),
        ("2021-01-01", 2),
        ("2021-01-01T00:00:00Z", 2),
        ("2021-01-01T00:00:00+02:00", 2),
        ("45000h", 2),
        ("1h30m", 3),
        ("-10s", 3),
    ],
)
def test_until_takes_seconds_times_and_durations(value: str, found: int) -> None:
    assert len(first_tags(ask("docker 28.5", filters={"until": [value]}))) == found


# Seen: until is when the image was made on a graph driver, when it was got on containerd.
def test_until_means_the_time_of_getting_to_the_containerd_store() -> None:
    held = tuple(image(f"a:{n}", created=1) for n in range(2))
    held[0].loaded, held[1].loaded = 5, 50
    until = {"until": ["10"]}
    assert first_tags(ask("docker 28.5 containerd", images=held, filters=until)) == ["a:0"]
    assert first_tags(ask("docker 28.5", images=held, filters=until)) == ["a:0", "a:1"]


# Seen. (`GetBoolOrDefault`, parse.go:182)
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], "invalid filter 'dangling'"),
        (["true", "false"], "invalid filter 'dangling=[true false]'"),
        (["maybe"], "invalid filter 'dangling=[maybe]'"),
    ],
)
def test_dangling_is_one_boolean_since_24(values: list[str], told: str) -> None:
    assert message(ask("docker 25", filters={"dangling": values})) == (400, told)


def test_dangling_is_also_1_or_0_since_24() -> None:
    assert first_tags(ask("docker 25", filters={"dangling": ["1"]})) == []
    assert len(first_tags(ask("docker 25", filters={"dangling": ["0"]}))) == 3


# Seen: 20.10 shows the year 1, later ones 1970; nothing is before or after such an image since 25.
@pytest.mark.parametrize(
    ("engine", "created", "before"),
    [("docker 20.10", -62135596800, 1), ("docker 25", 0, 0), ("docker master containerd", 0, 0)],
)
def test_an_image_that_does_not_say_when_it_was_made(
    engine: str, created: int, before: int
) -> None:
    held = (image("undated:1", created=None), image("dated:1", created=5))
    assert json.loads(ask(engine, images=held).body)[-1]["Created"] == created
    listed = first_tags(ask(engine, images=held, filters={"before": ["dated:1"]}))
    assert len(listed) == before


# Seen on 28 and master: an index without anything that runs.
@pytest.mark.parametrize("engine", ["docker 28.5 containerd", "docker master containerd"])
def test_an_image_without_anything_that_runs_is_listed_with_gaps(engine: str) -> None:
    digest = "sha256:" + "d" * 64
    wire = {"Id": digest, "RepoTags": ["empty:1"], "RepoDigests": [digest], "Labels": None}
    answered = ask(engine, "manifests=1&shared-size=1", images=(wire,))
    (row,) = json.loads(answered.body)
    assert (row["Containers"], row["SharedSize"], row["Labels"]) == (-1, -1, None)
    assert row["RepoDigests"] == [digest]
    assert row["RepoTags"] == ["empty:1"]
    assert "Manifests" not in row


# Seen: an image pulled by digest has the digest among its tags there.
def test_the_containerd_store_lists_a_digest_among_the_tags() -> None:
    name = "alpine@sha256:" + "a" * 64
    held: tuple[FakeImage, ...] = (image(digests=[name]),)
    assert first_tags(ask("docker 28.5 containerd", images=held)) == [name]
    (row,) = json.loads(ask("docker 28.5", images=held).body)
    assert (row["RepoTags"], row["RepoDigests"]) == ([], [name])


# Before API 1.24 errors are plain text, on every Docker. (server.go:102)
def test_errors_are_plain_text_for_the_oldest_clients() -> None:
    shape = shape_named("docker 20.10")
    request = read_request(shape, "GET", "/v1.23/images/json?filters=%7B%22no%22%3A%5B%5D%7D")
    answered = answer(shape, HELD, request, NOW)
    assert (answered.status, answered.body) == (400, b"Invalid filter 'no'\n")
    assert ("Content-Type", "text/plain; charset=utf-8") in answered.headers


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        # The table of Go's own path.Match tests (src/path/match_test.go), and none of ours.
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[x\\-]", "-", True),
        ("[x\\-]", "z", False),
        ("[\\-x]", "a", False),
        ("*x", "xxx", True),
        ("[z-a]", "m", False),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[-x]", "x", None),
        ("\\", "a", None),
        ("[a-b-c]", "a", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "ab", None),
    ],
)
def test_patterns_are_those_of_go(pattern: str, name: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(ValueError, match="syntax error in pattern"):
            go_match(pattern, name)
    else:
        assert go_match(pattern, name) is matches


@pytest.mark.parametrize(
    ("text", "version"),
    [("1.47", (1, 47)), ("1", (1,)), ("1.", (1,)), ("1.0", (1,)), ("1.41.9", (1, 41, 9))],
)
def test_versions_are_read_as_go_reads_them(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version
