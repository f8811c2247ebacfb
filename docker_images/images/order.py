"""The order of a list: newest first, then by id, then by size. The same list, the same order.

Engines give none: Docker sorts by the second and shuffles images of the same second with every
answer, Podman does not sort. Sorting 50 000 images takes 20 ms, which no event loop should wait
for, so the work is done in steps, while the list comes in and at its end. Pure.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from math import inf
from operator import attrgetter, eq, gt
from typing import Any

from docker_images.images.models import ImageSummary

__all__ = ["OrderedImages"]

_created = attrgetter("created")
_id = attrgetter("id")
_id_and_size = attrgetter("id", "size")

_Sorted = Callable[[list[ImageSummary]], list[ImageSummary]]

# Images handled in one step: a quarter of a millisecond.
STEP = 2048


class OrderedImages:
    """Takes slices of a list as they come, and gives the list in order.

        images.add(slice_)
        for _ in images.settle():
            ...  # one step is done
        return images.result

    A slice is looked at while it is at hand: looking at 1000 images later takes a tenth of a
    millisecond. As long as each image is older than the one before, as most of Docker's are, no
    more has to be done. Otherwise the slice is sorted. A step's worth of slices makes a run, joined
    to the one before if it follows it in time. Of several runs, the same period of each makes a
    step of the list.
    """

    def __init__(self) -> None:
        self._loose: list[ImageSummary] = []
        self._in_order = True  # the slices among them
        self._runs: list[list[ImageSummary]] = []
        self._settled = 0  # so many images at the start are each older than the one before,
        self._oldest = inf  # the last of them is from this time; -inf when no more will follow

    @property
    def result(self) -> list[ImageSummary]:
        """All images."""
        return self._runs[0] if self._runs else []

    def add(self, images: list[ImageSummary]) -> None:
        """Take a slice."""
        if not images:
            return
        if self._oldest > images[0].created and _descends(images):
            self._oldest = images[-1].created
            self._settled += len(images)
        else:
            self._oldest = -inf
            images.sort(key=_created, reverse=True)
        loose = self._loose
        if loose and loose[-1].created < images[0].created:
            self._in_order = False
        loose += images
        if len(loose) >= STEP:
            self._begin_run()

    def settle(self) -> Iterator[None]:
        """Finish the work, a step at a time."""
        self._begin_run()
        if len(self._runs) > 1:
            runs, self._runs, self._settled = self._runs, [[]], 0
            for step in _merge(runs, _age, _sorted_by_time):
                self._runs[0] += step
                yield
        images = self.result
        for begin, end in _same_second(images, max(0, self._settled - 1)):
            if begin < end:
                yield from _settle(images, begin, end)
            yield

    def _begin_run(self) -> None:
        run, self._loose = self._loose, []
        if not self._in_order:
            run.sort(key=_created, reverse=True)
            self._in_order, self._settled = True, 0
        runs = self._runs
        if run and runs and runs[-1][-1].created >= run[0].created:
            runs[-1] += run
        elif run:
            runs.append(run)


def _descends(images: list[ImageSummary]) -> bool:
    """Whether each image is older than the one before."""
    times = [image.created for image in images]
    return all(map(gt, times, times[1:]))


def _age(image: ImageSummary) -> int:
    return -image.created


def _merge(
    runs: list[list[ImageSummary]], rank: Callable[[ImageSummary], Any], order: _Sorted
) -> Iterator[list[ImageSummary]]:
    """Runs that each ascend in rank, as one, a step at a time."""
    # Of every so many images of each run one is looked at; as many of those as there are runs are
    # the images of one step, more or less.
    every = max(1, STEP // len(runs))
    ranks = sorted(rank(image) for run in runs for image in run[every::every])
    starts = [0] * len(runs)
    for last in [*ranks[:: len(runs)], None]:
        step: list[ImageSummary] = []
        for number, (run, start) in enumerate(zip(runs, starts, strict=True)):
            end = len(run) if last is None else bisect_left(run, last, start, key=rank)
            step += run[start:end]
            starts[number] = end
        yield order(step)


def _same_second(images: list[ImageSummary], start: int) -> Iterator[tuple[int, int]]:
    """Where images of the same second stand; an empty place at the end of each step."""
    while start < len(images) - 1:
        times = [image.created for image in images[start : start + STEP]]
        equal = bytes(map(eq, times, times[1:])) + b"\0"  # as old as the next?
        stop = start + len(times) - 1  # the last is looked at again, beside its next
        last = 0
        while (first := equal.find(1, last)) >= 0:
            last = equal.find(0, first)
            end = start + last + 1
            if last == len(times) - 1:  # it may go on beyond what this step looks at
                end = bisect_right(images, -times[first], end, key=_age)
            yield start + first, end
            stop = max(stop, end)
        start = stop
        yield stop, stop


def _settle(images: list[ImageSummary], begin: int, end: int) -> Iterator[None]:
    """Order the images of one second. Reproducible builds give all images the same one."""
    if end - begin <= STEP:
        images[begin:end] = _sorted_by_id(images[begin:end])
        return
    runs = []
    for start in range(begin, end, STEP):
        runs.append(_sorted_by_id(images[start : min(start + STEP, end)]))
        yield
    for step in _merge(runs, _id, _sorted_by_id):
        images[begin : begin + len(step)] = step
        begin += len(step)
        yield


def _sorted_by_time(images: list[ImageSummary]) -> list[ImageSummary]:
    images.sort(key=_created, reverse=True)
    return images


def _sorted_by_id(images: list[ImageSummary]) -> list[ImageSummary]:
    images.sort(key=_id)
    if len(set(map(_id, images))) < len(images):
        images.sort(key=_id_and_size)  # Docker 24 and 25 list an id once a platform
    return images
