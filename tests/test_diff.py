"""What changed between two lists."""

import random
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_images import ImageChanges, ImageSummary, diff_images
from docker_images.images.models import ImageManifestSummary, ImageProperties


def an_image(digest: str, *tags: str, **more: object) -> ImageSummary:
    return ImageSummary(id=digest, repo_tags=tags, **more)  # type: ignore[arg-type]


def test_equal_lists_have_no_difference_which_is_false() -> None:
    images = [an_image("a", "web:1"), an_image("b")]
    assert diff_images(images, list(images)) == ImageChanges()
    assert not diff_images(images, images)


def test_what_came_and_went_is_told_in_the_order_of_its_list() -> None:
    a, b, c, d = map(an_image, "abcd")
    changes = diff_images([a, b, c], [d, b])
    assert (changes.added, changes.removed, changes.changed) == ((d,), (a, c), ())


def test_an_image_that_differs_is_told_as_it_was_and_as_it_is() -> None:
    before, after = an_image("a", "web:1", size=1), an_image("a", "web:1", size=2)
    changes = diff_images([before], [after])
    assert changes.changed == ((before, after),)
    assert changes.tag_changes == {}


def test_a_tag_that_moves_is_told_with_both_ids() -> None:
    changes = diff_images([an_image("a", "web:1")], [an_image("a"), an_image("b", "web:1")])
    assert changes.tag_changes == {"web:1": ("a", "b")}


def test_a_tag_that_is_new_or_gone_has_no_id_before_or_now() -> None:
    changes = diff_images(
        [an_image("a", "docker.io/library/old:1")], [an_image("a", "ghcr.io/team/new:1")]
    )
    assert changes.tag_changes == {"ghcr.io/team/new:1": (None, "a"), "old:1": ("a", None)}


def test_who_uses_an_image_and_what_it_shares_is_no_difference() -> None:
    def used(*ids: str) -> tuple[ImageManifestSummary, ...]:
        return (ImageManifestSummary(id="m", image_data=ImageProperties(containers=ids)),)

    before = an_image("a", containers=1, shared_size=2, manifests=used("c"))
    after = an_image("a", containers=2, shared_size=3, manifests=used("c", "d"))
    assert not diff_images([before], [after])


def test_entries_of_one_id_are_paired_with_their_equals_then_in_order() -> None:
    one, two, three = (an_image("a", size=size) for size in (1, 2, 3))
    assert diff_images([one, two], [two, one]) == ImageChanges()
    assert diff_images([one, two], [two, three]).changed == ((one, three),)
    assert diff_images([one, two], [two]).removed == (one,)
    assert diff_images([one], [one, three]).added == (three,)


some = st.lists(
    st.builds(
        lambda digest, tags, size: an_image(digest, *tags, size=size),
        st.sampled_from("abcdef"),
        st.lists(st.sampled_from(["x:1", "y:1", "z:1"]), unique=True, max_size=2),
        st.integers(0, 1),
    ),
    max_size=6,
)


@settings(deadline=None, derandomize=True)
@given(some, some)
def test_the_changes_lead_from_one_list_to_the_other(
    before: list[ImageSummary], after: list[ImageSummary]
) -> None:
    changes = diff_images(before, after)
    left = list(before)
    for image in changes.removed:
        left.remove(image)
    for was, now in changes.changed:
        left[left.index(was)] = now
    left += changes.added
    assert sorted(map(msgspec.json.encode, left)) == sorted(map(msgspec.json.encode, after))


def test_a_long_list_is_compared_in_steps() -> None:
    from docker_images.diff import diff_steps

    draw = random.Random(1)
    before = [an_image(f"{number}", size=draw.randrange(2)) for number in range(5000)]
    after = [an_image(f"{number}", size=draw.randrange(2)) for number in range(2000, 7000)]
    steps = list(diff_steps(before, after))
    assert len(steps) > 20
    assert steps[-1] == diff_images(before, after)
    assert len(diff_images(before, after).added) == 2000


def test_the_tags_of_a_long_list_are_compared_in_steps_too() -> None:
    from docker_images.diff import STEP, diff_steps

    before = [an_image(f"{number}", f"web:{number}") for number in range(3000)]
    after = [an_image("other", *[f"web:{number}" for number in range(1500)])]
    taken = [0]

    def count(frame: Any, event: str, function: Any) -> None:
        taken[-1] += event == "call" and frame.f_code.co_name == "parse"

    steps: list[ImageChanges | None] = []
    sys.setprofile(count)
    for step in diff_steps(before, after):
        steps.append(step)
        taken.append(0)
    sys.setprofile(None)
    changes = steps[-1]
    assert changes is not None
    assert (len(changes.tag_changes), sum(taken)) == (3000, 3000)
    assert max(taken) <= STEP
    assert changes.tag_changes["web:7"] == ("7", "other")
    assert changes.tag_changes["web:1500"] == ("1500", None)


def test_more_entries_of_one_id_than_any_image_has_platforms_are_not_matched() -> None:
    # That takes the square of their number, in a watch while the event loop waits.
    before = tuple(an_image("a", size=size) for size in range(100))
    after = tuple(reversed(before))
    changes = diff_images(before, after)
    assert (changes.removed, changes.changed, changes.added) == (before, (), after)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (None, "before= takes an iterable of ImageSummary objects, not NoneType"),
        ({"prod-1": [an_image("a")]}, "before= takes ImageSummary objects, not str"),
    ],
)
def test_what_is_no_list_is_refused(before: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        diff_images(before, [])


@pytest.mark.parametrize("kind", [tuple, iter])
def test_any_iterable_is_taken(kind: type) -> None:
    assert diff_images(kind([an_image("a")]), kind([an_image("a")])) == ImageChanges()
