"""docker_images.cleanup: a plan that cannot hurt."""

import random
import re
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_images import (
    CleanupPlan,
    CleanupReason,
    DockerClient,
    ImageSummary,
    OCIDescriptor,
    plan_cleanup,
)
from docker_images.testing import FakeEngine, image

PAGE = (Path(__file__).parent.parent / "docs/cleanup.md").read_text()
NOW = datetime(2026, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)
DIGEST = f"sha256:{'a' * 64}"


def an_image(id_: str, *tags: str, days: int | None = 10, **more: Any) -> ImageSummary:
    """An unused image, made some days ago; None where nobody said when."""
    created = 0 if days is None else int((NOW - days * DAY).timestamp())
    known: dict[str, Any] = {"containers": 0, "created": created, "size": 100} | more
    return ImageSummary(id=f"sha256:{id_}", repo_tags=tags, **known)


def in_containerd(*tags: str, **more: Any) -> ImageSummary:
    """Where the id is the digest that names point to."""
    names = tuple(f"{tag.rpartition(':')[0]}@{DIGEST}" for tag in tags)
    return an_image(DIGEST.removeprefix("sha256:"), *tags, repo_digests=names, **more)


def plan(*images: ImageSummary, **policy: Any) -> CleanupPlan:
    return plan_cleanup(images, now=NOW, **policy)


def why_kept(plan: CleanupPlan) -> list[str]:
    return [one.reason.name for one in plan.keep]


ALL_GO = {"only_reference": "*"}


# ── What goes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "names", "reason"),
    [
        ({"dangling_only": True}, ("sha256:d",), "DANGLING"),
        ({"older_than": 15 * DAY}, ("web:1", "db:1"), "OLD"),
        ({"older_than": NOW - 15 * DAY}, ("web:1", "db:1"), "OLD"),
        ({"keep_latest": 1}, ("web:1", "web:2"), "SUPERSEDED"),
        ({"keep_latest": 1, "older_than": 15 * DAY}, ("web:1",), "SUPERSEDED"),
        ({"only_reference": "web"}, ("web:1", "web:2", "web:3"), "NAMED"),
        ({"only_reference": "web", "keep_reference": "web:[13]"}, ("web:2",), "NAMED"),
        ({"only_reference": ["web:1", "db"], "keep_latest": 1}, (), ""),
    ],
)
def test_every_criterion_that_is_given_must_agree(
    policy: dict[str, Any], names: tuple[str, ...], reason: str
) -> None:
    found = plan(
        an_image("1", "web:1", days=30),
        an_image("2", "web:2", days=10),
        an_image("3", "web:3", days=5),
        an_image("4", "db:1", days=30),
        an_image("d", days=5),
        **policy,
    )
    assert found.names == names
    assert {one.reason.name for one in found.remove} == ({reason} if reason else set())


def test_repositories_of_two_registries_are_two() -> None:
    found = plan(
        an_image("1", "ghcr.io/team/web:1", days=9),
        an_image("2", "registry.example.com:5000/team/web:1", days=8),
        an_image("3", "team/web:1", days=7),
        an_image("4", "localhost/team/web:1", days=6),
        keep_latest=1,
    )
    assert found.names == ()
    assert why_kept(found) == ["LATEST"] * 4


def test_of_those_made_at_one_moment_none_is_the_latest_so_all_are_kept() -> None:
    same = [an_image(f"{number}", f"web:{number}") for number in range(4)]
    assert plan(*same, an_image("5", "web:5", days=11), keep_latest=2).names == ("web:5",)


def test_an_image_without_a_date_is_kept_and_not_counted() -> None:
    undated = an_image("1", "web:1", days=None)
    found = plan(undated, an_image("2", "web:2"), an_image("3", "web:3", days=11), keep_latest=1)
    assert (found.names, why_kept(found)) == (("web:3",), ["AGE_UNKNOWN", "LATEST"])


@pytest.mark.parametrize("created", [-62135596800, 0, 1, 315532801])
def test_a_placeholder_is_no_date(created: int) -> None:
    found = plan(an_image("1", "web:1", created=created), older_than=DAY)
    assert why_kept(found) == ["AGE_UNKNOWN"]


# ── What is kept ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        (an_image("1", "web:1", containers=1), ALL_GO, "IN_USE"),
        (an_image("1", "web:1", containers=None), ALL_GO, "USE_UNKNOWN"),
        (an_image("1", "web:1", labels={"keep": ""}), ALL_GO | {"keep_label": "keep"}, "LABEL"),
        (
            an_image("1", "web:1", labels={"a": "b"}),
            ALL_GO | {"keep_label": {"a": "b", "c": None}},
            "LABEL",
        ),
        (an_image("1", "web:1"), ALL_GO | {"keep_images": [an_image("1")]}, "CHOSEN"),
        (an_image("1", "web:1"), {"dangling_only": True}, "NOT_DANGLING"),
        (an_image("1", repo_digests=(f"web@{DIGEST}",)), {"dangling_only": True}, "NOT_DANGLING"),
        (an_image("1", "web:1"), {"older_than": 11 * DAY}, "RECENT"),
        (an_image("1"), {"keep_latest": 1}, "NO_NAME"),
        (an_image("1"), ALL_GO, "NO_NAME"),
        (an_image("1", "web:1"), {"only_reference": "db"}, "OTHER_NAME"),
        (an_image("1", "web:1"), ALL_GO | {"keep_reference": ["db", "web"]}, "REFERENCE"),
        (
            an_image("1", "localhost/web:1"),
            {"older_than": DAY, "keep_reference": "web"},
            "REFERENCE",
        ),
        (an_image("1", "localhost/web:1"), {"only_reference": "web"}, "OTHER_NAME"),
        (an_image("1", "--force"), {"older_than": DAY}, "NAME_UNREADABLE"),
        (an_image("1", "web:1\n--force"), {"older_than": DAY}, "NAME_UNREADABLE"),
        (an_image("1 --force"), {"dangling_only": True}, "NAME_UNREADABLE"),
    ],
)
def test_what_keeps_an_image(image: ImageSummary, policy: dict[str, Any], reason: str) -> None:
    found = plan(image, **policy)
    assert (found.remove, why_kept(found)) == ((), [reason])
    assert (found.frees_at_least, found.frees_at_most) == (0, 0)


def test_what_a_kept_image_was_built_on_is_kept_at_any_distance() -> None:
    found = plan(
        an_image("1", "web:1", containers=1, parent_id="sha256:2"),
        an_image("2", parent_id="sha256:3"),
        an_image("3"),
        an_image("4"),
        older_than=DAY,
    )
    assert (found.names, why_kept(found)) == (("sha256:4",), ["IN_USE", "PARENT", "PARENT"])


@pytest.mark.parametrize(
    ("base", "policy", "kept"),
    [
        ({"days": None}, {"older_than": DAY}, ["AGE_UNKNOWN", "CHILD", "CHILD"]),
        (
            {"labels": {"a": ""}},
            {"older_than": DAY, "keep_label": "a"},
            ["LABEL", "CHILD", "CHILD"],
        ),
        ({"containers": 1}, {"older_than": DAY}, ["IN_USE"]),  # what is in use is not taken along
        ({}, {"only_reference": "*"}, ["NO_NAME", "NO_NAME"]),
    ],
)
def test_what_podman_might_take_along_keeps_what_was_built_on_it(
    base: dict[str, Any], policy: dict[str, Any], kept: list[str]
) -> None:
    images = (
        an_image("1", **base),
        an_image("2", parent_id="sha256:1"),
        an_image("3", "web:1", parent_id="sha256:2"),
    )
    assert why_kept(plan(*images, **policy)) == kept


def test_an_image_with_a_name_is_not_taken_along() -> None:
    base = an_image("1", "base:1", days=None)
    found = plan(base, an_image("2", "web:1", parent_id="sha256:1"), older_than=DAY)
    assert (found.names, why_kept(found)) == (("web:1",), ["AGE_UNKNOWN"])


def test_an_image_goes_before_what_it_was_built_on() -> None:
    found = plan(
        an_image("1"),
        an_image("2", parent_id="sha256:1"),
        an_image("3", "web:1", parent_id="sha256:2"),
        older_than=DAY,
    )
    assert found.names == ("web:1", "sha256:2", "sha256:1")


def test_parents_in_a_circle_end() -> None:
    circle = an_image("1", parent_id="sha256:2"), an_image("2", parent_id="sha256:1")
    assert len(plan(*circle, older_than=DAY).names) == 2


@pytest.mark.parametrize(
    ("policy", "unmatched"),
    [
        ({"keep_reference": "web"}, ()),
        ({"keep_reference": "wbe"}, (("keep_reference", "wbe"),)),
        ({"keep_reference": iter(["web:1", "db"])}, (("keep_reference", "db"),)),
        ({"keep_reference": f"ghcr.io/web@{DIGEST}"}, ()),
        ({"only_reference": ["web:[1-9]", "db:?"]}, (("only_reference", "db:?"),)),
        ({"keep_label": ["a", "a=b", "a=c"]}, (("keep_label", "a=c"),)),
        (
            {"keep_label": {"a": None, "b": None, "c": "d"}},
            (("keep_label", "b"), ("keep_label", "c=d")),
        ),
    ],
)
def test_what_matches_nothing_is_told(
    policy: dict[str, Any], unmatched: tuple[tuple[str, str], ...]
) -> None:
    digests = (f"web@{DIGEST}", f"ghcr.io/web@{DIGEST}")
    found = plan(
        an_image("1", "web:1", labels={"a": "b"}, repo_digests=digests), older_than=DAY, **policy
    )
    assert found.unmatched == unmatched


# ── Names ───────────────────────────────────────────────────────────────────────────────────────


def test_an_image_some_of_whose_names_are_kept_stays_and_loses_the_others() -> None:
    image = an_image("1", "web:1", "web:stable", "old/web:1")
    found = plan(image, older_than=DAY, keep_reference="web:stable")
    (removed,) = found.remove
    assert (removed.names, removed.whole, found.keep) == (("web:1", "old/web:1"), False, ())
    assert found.frees_at_most == 0


def test_digests_are_named_where_no_tag_of_their_repository_is() -> None:
    image = an_image("1", "web:1", repo_digests=(f"web@{DIGEST}", f"ghcr.io/web@{DIGEST}"))
    assert plan(image, older_than=DAY).names == ("web:1", f"ghcr.io/web@{DIGEST}")


def test_entries_of_one_id_are_one_image() -> None:
    one, two = an_image("1", "web:1"), an_image("1", "web:1", size=50)
    found = plan(one, two, older_than=DAY)
    assert (found.names, len(found.remove), found.frees_at_most) == (("web:1",), 2, 150)
    used = plan(one, an_image("1", "web:1", containers=2), older_than=DAY)
    assert why_kept(used) == ["IN_USE", "IN_USE"]


# ── What it frees ───────────────────────────────────────────────────────────────────────────────


INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize(
    ("more", "least", "most"),
    [
        ({}, None, 100),
        ({"shared_size": 30}, 70, 100),
        ({"shared_size": 130}, 0, 100),
    ],
)
def test_it_frees_what_is_not_shared_at_least_where_that_is_known(
    more: dict[str, Any], least: int | None, most: int
) -> None:
    found = plan(an_image("1", "web:1", **more), an_image("2", "db:1", days=0), older_than=DAY)
    assert (found.frees_at_least, found.frees_at_most) == (least, most)


@pytest.mark.parametrize(
    ("descriptor", "most"),
    [
        (OCIDescriptor(media_type=MANIFEST, size=7), 100),
        (OCIDescriptor(media_type=INDEX, size=7), 107),  # Docker 28.5: not in its size
        (None, None),  # Docker 26.1: nor are attestations
    ],
)
def test_in_the_containerd_store_nobody_knows_what_is_shared(
    descriptor: OCIDescriptor | None, most: int | None
) -> None:
    image = in_containerd("web:1", descriptor=descriptor, shared_size=30)
    found = plan(image, older_than=DAY)
    assert (found.frees_at_least, found.frees_at_most) == (None, most)


def test_an_image_that_is_in_the_list_twice_is_freed_once() -> None:
    image = an_image("1", "web:1", shared_size=30)
    found = plan(image, image, **ALL_GO)
    assert (found.frees_at_least, found.frees_at_most) == (70, 100)
    assert (found.names, len(found.remove)) == (("web:1",), 2)


def test_what_frees_nothing_is_known_in_every_store() -> None:
    found = plan(in_containerd("web:1", containers=1), older_than=DAY)
    assert (found.frees_at_least, found.frees_at_most) == (0, 0)


def test_a_list_without_any_name_may_be_of_any_store() -> None:
    found = plan(an_image("1", shared_size=30), dangling_only=True)
    assert (found.frees_at_least, found.frees_at_most) == (None, None)


# ── Arguments ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "error", "text"),
    [
        ({}, ValueError, "nothing says which images can be removed"),
        ({"keep_reference": "web", "keep_label": "a"}, ValueError, "nothing says"),
        ({"keep_latest": 0}, ValueError, "keep_latest= must be 1 or more"),
        ({"keep_latest": True}, TypeError, "keep_latest="),
        ({"older_than": 5}, TypeError, "older_than="),
        ({"older_than": -DAY}, ValueError, "negative"),
        ({"older_than": datetime(2026, 1, 1)}, ValueError, "older_than= .* time zone"),
        ({"older_than": DAY, "now": datetime(2026, 1, 1)}, ValueError, "now= .* time zone"),
        ({"older_than": DAY, "now": 5}, TypeError, "now="),
        ({"dangling_only": 1}, TypeError, "dangling_only="),
        ({"only_reference": "["}, ValueError, "only_reference= has a bad pattern"),
        ({"only_reference": []}, ValueError, "only_reference= is empty"),
        ({"only_reference": b"web"}, TypeError, "only_reference="),
        ({"dangling_only": True, "keep_reference": ""}, ValueError, "keep_reference="),
        ({"dangling_only": True, "keep_reference": {"a": 1}}, TypeError, "keep_reference="),
        ({"dangling_only": True, "keep_label": {"a": 1}}, TypeError, "keep_label="),
        ({"dangling_only": True, "keep_label": [1]}, TypeError, "keep_label="),
        ({"dangling_only": True, "keep_images": "sha256:1"}, TypeError, "keep_images="),
        ({"dangling_only": True, "keep_images": ["sha256:1"]}, TypeError, "keep_images="),
    ],
)
def test_bad_arguments_are_refused(
    policy: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        plan_cleanup([], **policy)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (None, "images= takes an iterable of ImageSummary objects, not NoneType"),
        (an_image("1"), "images= takes an iterable of ImageSummary objects, not ImageSummary"),
        ({"prod-1": [an_image("1")]}, "images= takes ImageSummary objects, not str"),
        ([[an_image("1")]], "images= takes ImageSummary objects, not list"),
    ],
    ids=["none", "one", "several engines", "a list of lists"],
)
def test_what_is_no_list_of_images_is_refused(images: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        plan_cleanup(images, dangling_only=True)


# ── The page about it ───────────────────────────────────────────────────────────────────────────


def test_the_page_shows_a_program_and_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    first, printed, more = re.findall(r"^```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    program = f"{first}{more}assert 'db:1' not in plan.names\n"
    present = time.time()

    async def main(host: str) -> None:
        names: dict[str, Any] = {}
        exec(f"async def run(client):\n{textwrap.indent(program, '    ')}", names)
        async with DockerClient(host) as client:
            await names["run"](client)

    def made(name: str, days: int, **more: Any) -> Any:
        return image(name, created=int(present - days * 86400), size=100, **more)

    images = [made(f"shop/web:{number}", days=100 - 20 * number) for number in (1, 2, 3)]
    images += [made("shop/web:4", days=1), made("db:1", days=300, labels={"keep": "yes"})]
    images[1].containers = 1
    with FakeEngine(images) as engine:
        anyio.run(main, engine.host)
    assert capsys.readouterr().out == printed


# ── What holds for any list and any policy ──────────────────────────────────────────────────────

IDS = [f"sha256:{number}" for number in range(8)]
NAMES = [f"{name}:{tag}" for name in ("web", "ghcr.io/web", "db") for tag in (1, 2, 3)]


@st.composite
def stores(draw: st.DrawFn) -> list[ImageSummary]:
    """A store: each name belongs to one image, and no image was built on itself."""
    ids = IDS[: draw(st.integers(0, len(IDS)))]
    owner = {name: draw(st.sampled_from([None, *ids])) for name in NAMES}
    return [
        ImageSummary(
            id=id_,
            parent_id=draw(st.sampled_from(["", *ids[:number]])),
            repo_tags=tuple(name for name in NAMES if owner[name] == id_),
            created=draw(st.sampled_from([0, 1, 1_700_000_000, 1_760_000_000, 1_769_000_000])),
            containers=draw(st.sampled_from([0, 0, 0, 1, None])),
            labels=draw(st.sampled_from([{}, {}, {"keep": "yes"}])),
            size=draw(st.integers(0, 9)),
        )
        for number, id_ in enumerate(ids)
    ]


criteria = {
    "keep_latest": st.integers(1, 3),
    "older_than": st.sampled_from([DAY, 100 * DAY]),
    "dangling_only": st.just(True),
    "only_reference": st.sampled_from(["web", "*", "ghcr.io/*", ["db:1", "web:2"]]),
}
protections = {
    "keep_reference": st.sampled_from(["web:1", ["db", "ghcr.io/web:*"]]),
    "keep_label": st.sampled_from(["keep", "keep=yes", "keep=no"]),
}
policies = st.fixed_dictionaries({}, optional=criteria | protections).filter(
    criteria.keys().__and__
)


@given(stores(), policies)
def test_each_image_is_in_one_half_and_unknown_is_kept(
    images: list[ImageSummary], policy: dict[str, Any]
) -> None:
    found = plan(*images, **policy)
    halves = [one.image.id for one in (*found.remove, *found.keep)]
    assert sorted(halves) == sorted(image.id for image in images)
    for one in found.remove:
        image = one.image
        assert image.in_use is False
        assert one.names == (image.id,) or {*one.names} <= {*image.repo_tags}
        assert one.whole == (len(one.names) == max(1, len(image.repo_tags)))
        if "older_than" in policy or "keep_latest" in policy:
            assert image.created > 1
        if policy.get("keep_label") in ("keep", "keep=yes"):
            assert not image.labels
        if policy.get("keep_reference") == "web:1":
            assert "web:1" not in one.names


@given(stores(), policies)
def test_an_engine_removes_exactly_what_the_plan_shows(
    images: list[ImageSummary], policy: dict[str, Any]
) -> None:
    found = plan(*images, **policy)
    store = {image.id: {*image.repo_tags} for image in images}
    parents = {image.id: image.parent_id for image in images}
    for name in found.names:  # as `docker rmi --no-prune` goes about it
        id_ = name if name in store else next(one for one, tags in store.items() if name in tags)
        store[id_].discard(name)
        if not store[id_]:
            assert id_ not in [parents[one] for one in store], "a conflict: it has children"
            del store[id_]
    whole = {one.image.id for one in found.remove if one.whole}
    assert {*store} == {image.id for image in images} - whole


@given(stores(), policies, st.data())
def test_what_really_goes_is_within_the_range(
    images: list[ImageSummary], policy: dict[str, Any], data: st.DataObject
) -> None:
    layers = {image.id: data.draw(st.sets(st.integers(0, 6))) for image in images}
    count = Counter(layer for some in layers.values() for layer in some)

    def bytes_of(some: Iterable[int]) -> int:
        return sum(10**layer for layer in some)

    sized = [
        msgspec.structs.replace(
            image,
            size=bytes_of(layers[image.id]),
            shared_size=bytes_of(layer for layer in layers[image.id] if count[layer] > 1),
        )
        for image in images
    ]
    found = plan(*sized, **policy)
    if found.frees_at_least is None or found.frees_at_most is None:
        assert not any(image.repo_tags for image in images)
        return
    gone = {one.image.id for one in found.remove if one.whole}
    left = {layer for id_, some in layers.items() if id_ not in gone for layer in some}
    assert found.frees_at_least <= bytes_of(count.keys() - left) <= found.frees_at_most


@given(stores(), st.integers(1, 3))
def test_the_latest_of_each_repository_stay(images: list[ImageSummary], count: int) -> None:
    gone = {*plan(*images, keep_latest=count).names}
    for repository in ("web:", "ghcr.io/web:", "db:"):
        dated = {
            image.id: [tag for tag in image.repo_tags if tag.startswith(repository)]
            for image in sorted(images, key=lambda image: -image.created)
            if image.created > 1
        }
        latest = [tags for tags in dated.values() if tags][:count]
        assert gone.isdisjoint(tag for tags in latest for tag in tags)


@given(stores(), policies, policies)
def test_whatever_is_added_to_a_policy_less_goes(
    images: list[ImageSummary], policy: Mapping[str, Any], more: Mapping[str, Any]
) -> None:
    assert {*plan(*images, **{**more, **policy}).names} <= {*plan(*images, **policy).names}


@given(stores(), policies, st.randoms())
def test_the_order_of_the_list_does_not_matter(
    images: list[ImageSummary], policy: dict[str, Any], chance: random.Random
) -> None:
    names = {*plan(*images, **policy).names}
    chance.shuffle(images)
    assert {*plan(*images, **policy).names} == names


def test_each_reason_has_one_text_of_its_own() -> None:
    assert len({reason.value for reason in CleanupReason}) == len(CleanupReason.__members__)
