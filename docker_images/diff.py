"""What changed between two lists of images. Pure.

Refuses to know where the lists come from, and what anybody does about the difference.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, filterfalse

import msgspec
from msgspec.structs import replace

from docker_images import arguments
from docker_images.images.models import ImageSummary
from docker_images.images.references import Reference

__all__ = ["ImageChanges", "diff_images", "diff_steps"]

# Images handled in one step: a millisecond, or two where all of them differ.
STEP = 512
# Entries of one id that are matched, which takes the square of their number. There is one for each
# platform of an image; with more of them a hostile engine would hold up the event loop.
MATCHED = 128

_ById = dict[str, list[ImageSummary]]
_Pair = tuple[ImageSummary, ImageSummary]


class ImageChanges(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between a list of images and a later one; false if there are none.

    Differences in how many containers use an image (`containers`, and the ids in its `manifests`)
    and in how much it shares (`shared_size`) are ignored.
    """

    added: tuple[ImageSummary, ...] = ()
    """Images that only the later list has, in its order."""
    removed: tuple[ImageSummary, ...] = ()
    """Images that only the earlier list has, in its order."""
    changed: tuple[tuple[ImageSummary, ImageSummary], ...] = ()
    """Images of both lists that differ, before and after. A new build of a tag does not change an
    image: it is another image, with another id."""
    tag_changes: dict[str, tuple[str | None, str | None]] = {}
    """Each tag that moved to another image, with the id before and the id now.

    For example `{"shop/web:latest": ("sha256:…", "sha256:…")}`. The first id is None for a new tag,
    the second for a tag that is gone. Tags are in familiar form, as docker prints them."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.tag_changes)


def diff_images(before: Iterable[ImageSummary], after: Iterable[ImageSummary]) -> ImageChanges:
    """Compare two lists of one engine, such as two answers to the same question.

    Images are matched by id. Docker 24 and 25 list an image of several platforms several times with
    the same id: of these, equal entries are matched first, and the rest in order. This is a pure
    function of the two lists; no engine is asked.

    Args:
        before: the earlier list.
        after: the later list.

    Raises:
        TypeError: for an argument of the wrong type.
    """
    lists = arguments.images("before", before), arguments.images("after", after)
    return next(changes for changes in diff_steps(*lists) if changes is not None)


def diff_steps(
    before: Iterable[ImageSummary], after: Iterable[ImageSummary]
) -> Iterator[ImageChanges | None]:
    """As `diff_images`, but None after each step of a millisecond or two; at the end, the changes.

    For event loops: 50 000 images take longer than a loop should wait.
    """
    olds: _ById = {}
    news: _ById = {}
    for images, by_id in ((before, olds), (after, news)):
        for number, image in enumerate(images, 1):
            by_id.setdefault(image.id, []).append(image)
            if number % STEP == 0:
                yield None
    added: list[ImageSummary] = []
    removed: list[ImageSummary] = []
    changed: list[_Pair] = []
    tags_before: dict[str, str] = {}  # of the images that differ
    tags_after: dict[str, str] = {}
    for number, (id_, now) in enumerate(news.items(), 1):
        was = olds.get(id_, [])
        if was != now:
            gone, pairs, new = _paired(was, now)
            added += new
            removed += gone
            changed += pairs
            tags_before |= _tags(was)
            tags_after |= _tags(now)
        if number % STEP == 0:
            yield None
    for number, (id_, was) in enumerate(olds.items(), 1):
        if id_ not in news:
            removed += was
            tags_before |= _tags(was)
        if number % STEP == 0:
            yield None
    tag_changes: dict[str, tuple[str | None, str | None]] = {}
    new_tags = filterfalse(tags_before.__contains__, tags_after)
    for number, tag in enumerate(chain(tags_before, new_tags), 1):
        id_before, id_after = tags_before.get(tag), tags_after.get(tag)
        if id_before != id_after:
            tag_changes[str(Reference.parse(tag))] = id_before, id_after
        if number % STEP == 0:
            yield None
    yield ImageChanges(
        added=tuple(added), removed=tuple(removed), changed=tuple(changed), tag_changes=tag_changes
    )


def _tags(images: Iterable[ImageSummary]) -> dict[str, str]:
    """Which image each tag belongs to."""
    return {tag: image.id for image in images for tag in image.repo_tags}


def _paired(
    was: list[ImageSummary], now: list[ImageSummary]
) -> tuple[list[ImageSummary], list[_Pair], list[ImageSummary]]:
    """Entries of one id: those that are gone, those that differ, and those that are new."""
    if len(was) + len(now) > MATCHED:
        return was, [], now
    old, new = list(was), list(now)
    for image in was:
        if image in new:
            new.remove(image)
            old.remove(image)
    pairs = list(zip(old, new, strict=False))
    differing = [pair for pair in pairs if _settled(pair[0]) != _settled(pair[1])]
    return old[len(pairs) :], differing, new[len(pairs) :]


def _settled(image: ImageSummary) -> ImageSummary:
    """The image without what changes with containers and with other images."""
    manifests = image.manifests
    if manifests is not None:
        manifests = tuple(
            replace(one, image_data=replace(one.image_data, containers=()))
            if one.image_data is not None
            else one
            for one in manifests
        )
    return replace(image, containers=None, shared_size=None, manifests=manifests)
