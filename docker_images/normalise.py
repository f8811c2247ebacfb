"""One meaning on every engine: what nulls, placeholders and sentinels stand for, and one order.

Knows the habits of engines (`GET /images/json` of Docker 1.12 to 29 and of Podman). Pure.
"""

from collections.abc import Iterable
from operator import attrgetter, eq
from typing import Any, cast

from docker_images.models import ImageSummary

__all__ = ["OrderedImages", "normalise"]

# Below API 1.43 an image without any name has these instead of nothing.
# moby daemon/server/router/image/image_routes.go:519@b985e23
_NO_TAG = ("<none>:<none>",)
_NO_DIGEST = ("<none>@<none>",)

# The types are frozen for their users; here, before anybody has seen the object, their slots are
# set. A descriptor's `__set__` takes half the time of `msgspec.structs.force_setattr`.
_set_tags = ImageSummary.__dict__["repo_tags"].__set__
_set_digests = ImageSummary.__dict__["repo_digests"].__set__
_set_labels = ImageSummary.__dict__["labels"].__set__
_set_containers = ImageSummary.__dict__["containers"].__set__
_set_shared_size = ImageSummary.__dict__["shared_size"].__set__
_set_parent_id = ImageSummary.__dict__["parent_id"].__set__


def normalise(images: Iterable[ImageSummary], *, shared_size: bool) -> None:
    """Give every value its one meaning, in place.

    `shared_size`: whether it was asked for; Podman up to 5.5 sends 0 where nobody asked.
    """
    for image in cast("Iterable[Any]", images):  # nulls, which the types do not admit
        # null for an empty list or map is a habit of every engine.
        if not image.repo_tags or image.repo_tags == _NO_TAG:
            _set_tags(image, ())
        if not image.repo_digests or image.repo_digests == _NO_DIGEST:
            _set_digests(image, ())
        if image.labels is None:
            _set_labels(image, {})
        # -1 is Docker's "not counted".
        if image.containers == -1:
            _set_containers(image, None)
        if image.shared_size is not None and (not shared_size or image.shared_size < 0):
            _set_shared_size(image, None)
        # Podman leaves the algorithm out.
        if image.parent_id and ":" not in image.parent_id:
            _set_parent_id(image, "sha256:" + image.parent_id)


_created = attrgetter("created")
_identity = attrgetter("id", "size")


class OrderedImages:
    """Images in their order, newest first, then by id, then by size, as slices come in.

    Docker's lists come sorted by time, but images of the same second stand in random order, which
    changes with every answer. So each slice is sorted when it comes, and slices that follow one
    another in time are only joined. Podman's lists are not sorted: there one sort ends it all.
    """

    def __init__(self) -> None:
        self._images: list[ImageSummary] = []
        self._in_order = True
        self._seams: list[int] = []  # where slices meet in the middle of a second

    def add(self, images: list[ImageSummary]) -> None:
        """Take over a slice."""
        if not images:
            return
        if len(images) > 1:
            _sort(images)
        if self._images:
            before, after = self._images[-1].created, images[0].created
            if before < after:
                self._in_order = False
            elif before == after:
                self._seams.append(len(self._images))
        self._images += images

    def finish(self) -> list[ImageSummary]:
        """The whole list, in order."""
        images = self._images
        if not self._in_order:
            _sort(images)
            return images
        end = 0
        for seam in self._seams:
            if seam >= end:
                start = end = seam
                while start and images[start - 1].created == images[seam].created:
                    start -= 1
                while end < len(images) and images[end].created == images[seam].created:
                    end += 1
                images[start:end] = sorted(images[start:end], key=_identity)
        return images


def _sort(images: list[ImageSummary]) -> None:
    # One sort by a tuple of all three takes five times as long as this sort by time and a look for
    # equal ones, which runs in C.
    images.sort(key=_created, reverse=True)
    times = list(map(_created, images))
    equal = [*map(eq, times, times[1:]), False]  # as old as the next one?
    end = 0
    while (start := _find(equal, end)) >= 0:
        end = equal.index(False, start) + 1
        images[start:end] = sorted(images[start:end], key=_identity)


def _find(equal: list[bool], start: int) -> int:
    try:
        return equal.index(True, start)
    except ValueError:
        return -1
