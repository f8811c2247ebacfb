"""The order of a list: newest first, then by id, then by size, however it came and was cut."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_images.images.models import ImageSummary
from docker_images.images.order import STEP, OrderedImages


def an_image(created: int, id: str, size: int = 0) -> ImageSummary:
    return ImageSummary(id=id, created=created, size=size)


def ordered(slices: list[list[ImageSummary]]) -> list[ImageSummary]:
    images = OrderedImages()
    for slice_ in slices:
        images.add(list(slice_))
    for _ in images.settle():
        pass
    return images.result


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
            max_size=5,
        ),
        max_size=30,
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
    assert ordered(slices) == expected(flat)


def expected(images: list[ImageSummary]) -> list[ImageSummary]:
    return sorted(images, key=lambda image: (-image.created, image.id, image.size))


LONG = 3 * STEP + 7


@pytest.mark.parametrize("seconds", [1, 2, 3, 700, LONG], ids=lambda n: f"{n} different seconds")
@pytest.mark.parametrize(
    ("ids", "nearly_sorted", "cut"),
    [
        pytest.param(3, True, 90, id="few ids, by time"),
        pytest.param(10**6, False, 90, id="many ids, shuffled"),
        pytest.param(3, False, STEP, id="few ids, shuffled"),
        pytest.param(10**6, True, STEP, id="many ids, by time"),
        pytest.param(10**6, False, LONG, id="in one piece, shuffled"),
    ],
)
def test_a_long_list_is_ordered_as_one_plain_sort_would(
    seconds: int, ids: int, nearly_sorted: bool, cut: int
) -> None:
    chance = Random(seconds)
    images = [
        an_image(chance.randrange(seconds), f"sha256:{chance.randrange(ids)}", chance.randrange(9))
        for _ in range(LONG)
    ]
    if nearly_sorted:
        images.sort(key=lambda image: -image.created)
    slices = [images[start : start + cut] for start in range(0, LONG, cut)]
    assert ordered(slices) == expected(images)


def test_two_lists_of_the_same_seconds_become_one() -> None:
    lists = [[an_image(-number, name) for number in range(2 * STEP)] for name in "ba"]
    assert ordered(lists) == expected(lists[0] + lists[1])


def test_the_order_does_not_depend_on_the_order_it_came_in() -> None:
    images = [an_image(number // 7, f"sha256:{number * 7919 % 1000}") for number in range(500)]
    orders = set()
    for seed in range(5):
        shuffled = list(images)
        Random(seed).shuffle(shuffled)
        slices = [shuffled[start : start + 90] for start in range(0, len(shuffled), 90)]
        orders.add(tuple(image.id for image in ordered(slices)))
    assert len(orders) == 1


class Counted:
    """An image that counts how often it is looked at."""

    looks = 0

    def __init__(self, created: int, id: str) -> None:
        self._created, self._id, self.size = created, id, 0

    @property
    def created(self) -> int:
        Counted.looks += 1
        return self._created

    @property
    def id(self) -> str:
        Counted.looks += 1
        return self._id


@pytest.mark.parametrize("seconds", [1, 5, 10**9], ids=lambda n: f"{n} different seconds")
@pytest.mark.parametrize("order", ["newest first", "shuffled", "oldest first", "in two halves"])
def test_no_step_looks_at_more_than_a_part_of_the_list(order: str, seconds: int) -> None:
    count = 12 * STEP
    images: list[Any] = [Counted(-number % seconds, f"{number:06}") for number in range(count)]
    images.sort(key=lambda image: (-image.created, image.id))
    expected = [image.id for image in images]
    if order == "shuffled":
        Random(1).shuffle(images)
    elif order == "oldest first":
        images.reverse()
    elif order == "in two halves":
        images = images[count // 2 :] + images[: count // 2]
    list_ = OrderedImages()

    def steps() -> Iterator[None]:
        for start in range(0, count, 90):
            list_.add(images[start : start + 90])
            yield
        yield from list_.settle()

    looks = []
    Counted.looks = 0
    for _ in steps():
        looks.append(Counted.looks)
        Counted.looks = 0
    looks.append(Counted.looks)
    # All of a second, that is a fifth of these lists, may be put side by side in one step.
    assert max(looks) < (6 if seconds != 5 else 6 + 12 / 5) * STEP
    assert [image.id for image in list_.result] == expected


@pytest.mark.parametrize("cut", [90, STEP])
def test_what_comes_newest_first_is_looked_at_once(cut: int) -> None:
    count = 3 * STEP
    images: list[Any] = [Counted(-number, f"{number:06}") for number in range(count)]
    Counted.looks = 0
    ordered([images[start : start + cut] for start in range(0, count, cut)])
    seams = count // cut + 1
    assert Counted.looks <= count + 4 * seams
