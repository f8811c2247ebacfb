"""The order of a list: newest first, then by id, then by size. The same list, the same order.

Engines give none: Docker sorts by the second and shuffles images of the same second with every
answer, Podman does not sort. Sorting 50 000 images takes 20 ms, which no event loop should wait
for, so the work is done in steps, while the list comes in and at its end. Pure.
"""

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter, eq

from docker_images.models import ImageSummary

__all__ = ["OrderedImages"]

_created = attrgetter("created")
_id = attrgetter("id")
_id_and_size = attrgetter("id", "size")

# Images handled in one step: a quarter of a millisecond.
STEP = 2048
# Runs that are merged at once: the more, the fewer times each image is looked at.
FAN = 8


class OrderedImages:
    """Takes slices of a list as they come, and gives the list in order.

        images.add(slice_)
        for _ in images.settle():
            ...  # one step is done
        return images.result

    A slice that follows the one before in time, as all of Docker's do, is only joined to it. Else
    it begins a new run, and eight runs of about the same length are merged into one, by a sort that
    finds them in order: so no step handles the whole list more than once.
    """

    def __init__(self) -> None:
        self._runs: list[list[ImageSummary]] = []

    @property
    def result(self) -> list[ImageSummary]:
        """All images."""
        return self._runs[0] if self._runs else []

    def add(self, images: list[ImageSummary]) -> None:
        """Take over a slice."""
        if not images:
            return
        images.sort(key=_created, reverse=True)
        runs = self._runs
        if runs and runs[-1][-1].created >= images[0].created:
            runs[-1] += images
            return
        runs.append(images)
        while len(runs) >= FAN and len(runs[-FAN]) < FAN // 2 * len(runs[-1]):
            self._merge()

    def settle(self) -> Iterator[None]:
        """Finish the work, a step at a time."""
        while len(self._runs) > 1:
            self._merge()
            yield
        images = self.result
        for begin, end in _same_second(images):
            if begin < end:
                yield from _settle(images, begin, end)
            yield

    def _merge(self) -> None:
        merged = list(chain.from_iterable(self._runs[-FAN:]))
        merged.sort(key=_created, reverse=True)
        self._runs[-FAN:] = [merged]


def _same_second(images: list[ImageSummary]) -> Iterator[tuple[int, int]]:
    """Where images of the same second stand; an empty place at the end of each step."""
    start = 0
    while start < len(images) - 1:
        times = list(map(_created, images[start : start + STEP]))
        equal = [*map(eq, times, times[1:]), False]  # as old as the next?
        stop = start + len(times) - 1  # the last is looked at again, beside its next
        last = 0
        while (first := _find(equal, last)) >= 0:
            last = equal.index(False, first)
            end = start + last + 1
            while end < len(images) and images[end].created == times[first]:
                end += 1  # beyond what this step looks at
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
    if end - begin > STEP:
        for start in range(begin, end, STEP):
            stop = min(start + STEP, end)
            images[start:stop] = _sorted(images[start:stop])
            yield
    images[begin:end] = _sorted(images[begin:end])


def _sorted(images: list[ImageSummary]) -> list[ImageSummary]:
    images.sort(key=_id)
    if len(set(map(_id, images))) < len(images):
        images.sort(key=_id_and_size)  # Docker 24 and 25 list an id once a platform
    return images
