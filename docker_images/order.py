"""The order of a list: newest first, then by id, then by size. The same list, the same order.

Engines give none: Docker sorts by the second and shuffles images of the same second with every
answer, Podman does not sort. Sorting 50 000 images takes 20 ms, which no event loop should wait
for, so the work is done in steps, while the list comes in and at its end. Pure.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from operator import attrgetter, eq
from typing import Any

from docker_images.models import ImageSummary

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

    A slice is sorted while it is at hand: looking at 1000 images later takes a tenth of a
    millisecond. A step's worth of slices makes a run, joined to the one before if it follows it in
    time, as all of Docker's do. Of several runs, the same period of each makes a step of the list.
    """

    def __init__(self) -> None:
        self._loose: list[ImageSummary] = []
        self._in_order = True  # the slices among them
        self._runs: list[list[ImageSummary]] = []

    @property
    def result(self) -> list[ImageSummary]:
        """All images."""
        return self._runs[0] if self._runs else []

    def add(self, images: list[ImageSummary]) -> None:
        """Take a slice."""
        if not images:
            return
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
            runs, self._runs = self._runs, [[]]
            for step in _merge(runs, _age, _sorted_by_time):
                self._runs[0] += step
                yield
        images = self.result
        if len(images) > 1:
            for begin, end in _same_second(images):
                if begin < end:
                    yield from _settle(images, begin, end)
                yield

    def _begin_run(self) -> None:
        run, self._loose = self._loose, []
        if not self._in_order:
            run.sort(key=_created, reverse=True)
            self._in_order = True
        runs = self._runs
        if run and runs and runs[-1][-1].created >= run[0].created:
            runs[-1] += run
        elif run:
            runs.append(run)


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


def _same_second(images: list[ImageSummary]) -> Iterator[tuple[int, int]]:
    """Where images of the same second stand; an empty place at the end of each step."""
    start = 0
    while start < len(images) - 1:
        times = [image.created for image in images[start : start + STEP]]
        equal = [*map(eq, times, times[1:]), False]  # as old as the next?
        stop = start + len(times) - 1  # the last is looked at again, beside its next
        last = 0
        while (first := _find(equal, last)) >= 0:
            last = equal.index(False, first)
            end = start + last + 1
            if last == len(times) - 1:  # it may go on beyond what this step looks at
                end = bisect_right(images, -times[first], end, key=_age)
            yield start + first, end
            stop = max(stop, end)
        start = stop
        yield stop, stop


def _find(equal: list[bool], start: int) -> int:
    try:
        return equal.index(True, start)
    except ValueError:
        return -1


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
