"""Which images can be removed, and why. Pure; deletes nothing.

If in doubt, an image is kept. Refuses to know where the list comes from, and who removes what.
"""

import enum
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, cast

import msgspec

from docker_images import arguments
from docker_images.arguments import Label, has_label
from docker_images.images.models import ImageSummary
from docker_images.images.references import Reference
from docker_images.images.store import in_containerd
from docker_images.text import keyword

__all__ = [
    "CleanupPlan",
    "CleanupReason",
    "KeptImage",
    "RemovedImage",
    "freed_at_least",
    "freed_at_most",
    "plan_cleanup",
    "summed",
]

LabelsToKeep: TypeAlias = str | Iterable[str] | Mapping[str, str | None]

OLDEST_DATE = datetime(2013, 1, 1, tzinfo=UTC).timestamp()
"""Docker was released in March 2013. Older dates are placeholders: Nix writes 1970 and one second,
buildpacks write 1980."""


class CleanupReason(enum.Enum):
    """Why an image is kept or removed; the value is the text for people."""

    IN_USE = "a container uses it"
    USE_UNKNOWN = "it is unknown whether a container uses it"
    NAME_UNREADABLE = "its id or one of its names looks invalid"
    LABEL = "it has a label that is kept"
    CHOSEN = "it is one of the images to keep"
    NOT_DANGLING = "a tag or a digest refers to it"
    AGE_UNKNOWN = "it is unknown when it was made"
    RECENT = "it is not old enough"
    NO_NAME = "it has no name, and the plan is about names"
    REFERENCE = "its name is kept"
    OTHER_NAME = "its name is not one that can be removed"
    LATEST = "it is one of the latest of its repository"
    PARENT = "an image that is kept was built on it"
    CHILD = "it was built on an unnamed image that is kept, which might be removed with it"

    DANGLING = "no tag and no digest refers to it"
    SUPERSEDED = "its repository has enough newer images"
    OLD = "it is old enough"
    NAMED = "its name is one that can be removed"


_MIGHT_GO_ALONG = {
    CleanupReason.LABEL,
    CleanupReason.CHOSEN,
    CleanupReason.AGE_UNKNOWN,
    CleanupReason.RECENT,
    CleanupReason.CHILD,
}
"""Podman 4.3 does not have `noprune`: together with an image it removes the unnamed images that it
was built on, up to one in use. An image that is kept only because it has no name is no loss."""


class KeptImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that stays, with all its names."""

    image: ImageSummary
    """The image."""
    reason: CleanupReason
    """Why it stays. If there are several reasons, the first that was found."""


class RemovedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that can be removed, or some of its names."""

    image: ImageSummary
    """The image."""
    names: tuple[str, ...]
    """Arguments for `docker rmi`: names as the engine writes them, or the id if there are none."""
    reason: CleanupReason
    """Why it can be removed."""
    whole: bool
    """Whether the image itself is removed. False: only these names, because others are kept."""


class CleanupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What can be removed and what stays. Each image of the list is in one of the two."""

    remove: tuple[RemovedImage, ...]
    """In the order in which they can be removed: an image comes before those it was built on."""
    keep: tuple[KeptImage, ...]
    """In the order of the list."""
    frees_at_least: int | None
    """Bytes, as `docker system df` counts images. None if it cannot be known: if the list was made
    without `shared_size=True`, or if the engine has the containerd store, whose images share more
    than `shared_size` counts."""
    frees_at_most: int | None
    """Bytes: the sum of the sizes of the images that are removed. None if it cannot be known: the
    containerd store before Docker 28 counts neither attestations nor the index of an image of
    several platforms."""

    unmatched: tuple[tuple[str, str], ...] = ()
    """Patterns and labels that match no image of the list, perhaps because of a typo, each with its
    argument: `("keep_reference", "shop/wbe")`."""

    @property
    def names(self) -> tuple[str, ...]:
        """What to pass to `docker rmi --no-prune`, in this order."""
        return tuple(dict.fromkeys(name for one in self.remove for name in one.names))


class _Policy(msgspec.Struct, frozen=True):
    """The arguments, checked."""

    keep_latest: int | None
    before: float | None
    dangling_only: bool
    only: Callable[[Iterable[str]], bool] | None
    kept: Callable[[Iterable[str]], bool] | None
    labels: list[Label]
    ids: set[str]

    @property
    def by_name(self) -> bool:
        """Whether a name decides, so that an image without one is kept."""
        return self.keep_latest is not None or self.only is not None

    @property
    def reason(self) -> CleanupReason:
        """Why an image that nothing keeps is removed."""
        if self.dangling_only:
            return CleanupReason.DANGLING
        if self.keep_latest is not None:
            return CleanupReason.SUPERSEDED
        return CleanupReason.OLD if self.before is not None else CleanupReason.NAMED


class _Image:
    """All entries of one id: Docker 24 and 25 list an image once for each of its platforms."""

    def __init__(self, entries: list[ImageSummary]) -> None:
        self.entries = entries
        self.parent = next((entry.parent_id for entry in entries if entry.parent_id), "")
        self.tags = _united(entry.repo_tags for entry in entries)
        digests = _united(entry.repo_digests for entry in entries)
        self.digests = [digest for digest in digests if "@" in digest]
        # An engine removes a digest together with the last tag of its repository.
        tagged = {_repository(tag) for tag in self.tags}
        self.names = self.tags + [name for name in self.digests if _repository(name) not in tagged]
        dates = {entry.created for entry in entries}
        self.created = max(dates) if min(dates) >= OLDEST_DATE else None

    def different(self) -> list[ImageSummary]:
        """The entries, equal ones once: lists may have been joined, but nothing is freed twice."""
        found: list[ImageSummary] = []
        for entry in self.entries:
            if entry not in found[:100]:  # more than any image has platforms
                found.append(entry)
        return found

    def kept_by(self, policy: _Policy) -> CleanupReason | None:
        """What keeps the image whatever its names are."""
        in_use = {entry.in_use for entry in self.entries}
        if True in in_use:
            return CleanupReason.IN_USE
        if None in in_use:
            return CleanupReason.USE_UNKNOWN
        if not _readable(self.entries[0].id) or not all(map(_is_name, self.tags + self.digests)):
            return CleanupReason.NAME_UNREADABLE
        if any(has_label(entry.labels, one) for one in policy.labels for entry in self.entries):
            return CleanupReason.LABEL
        if self.entries[0].id in policy.ids:
            return CleanupReason.CHOSEN
        if policy.dangling_only and (self.tags or self.digests):
            return CleanupReason.NOT_DANGLING
        ages = policy.before is not None or (policy.keep_latest is not None and self.names)
        if ages and self.created is None:
            return CleanupReason.AGE_UNKNOWN
        if policy.before is not None and cast("int", self.created) >= policy.before:
            return CleanupReason.RECENT
        return CleanupReason.NO_NAME if policy.by_name and not self.names else None

    def judged_by(
        self, policy: _Policy, bounds: Mapping[str, int]
    ) -> tuple[CleanupReason | None, list[str]]:
        """What keeps the image, or None and the names that go."""
        reason = self.kept_by(policy)
        if reason is not None or not self.names:
            return reason, [self.entries[0].id]
        reasons = {name: self.name_kept_by(name, policy, bounds) for name in self.names}
        going = [name for name, kept in reasons.items() if kept is None]
        return (None if going else next(filter(None, reasons.values()))), going

    def name_kept_by(
        self, name: str, policy: _Policy, bounds: Mapping[str, int]
    ) -> CleanupReason | None:
        """What keeps one of its names."""
        if policy.kept is not None and (policy.kept([name]) or policy.kept(self.digests)):
            return CleanupReason.REFERENCE
        if policy.only is not None and not policy.only([name]):
            return CleanupReason.OTHER_NAME
        bound = bounds.get(_repository(name))
        if bound is not None and cast("int", self.created) >= bound:
            return CleanupReason.LATEST
        return None


def plan_cleanup(
    images: Iterable[ImageSummary],
    *,
    keep_latest: int | None = None,
    older_than: timedelta | datetime | None = None,
    dangling_only: bool = False,
    only_reference: str | Iterable[str] | None = None,
    keep_reference: str | Iterable[str] | None = None,
    keep_label: LabelsToKeep | None = None,
    keep_images: Iterable[ImageSummary] = (),
    now: datetime | None = None,
) -> CleanupPlan:
    """Say which images can be removed. Nothing is deleted.

        images = await client.list_images(all=True, containers=True)
        plan = plan_cleanup(images, keep_latest=3, older_than=timedelta(days=30))

    There are four criteria: `keep_latest`, `older_than`, `dangling_only` and `only_reference`. An
    image is removed only if all that are given agree. Some images are always kept: those that are
    or might be in use; those without a date, if dates matter; those without a name, if names
    matter; and those that a kept image was built on. An image with several names is removed if all
    of them can go; otherwise only some names are.

    Args:
        images: the whole list of one engine, made with `all=True, containers=True`.
        keep_latest: keep this many images of each repository, the newest ones.
        older_than: remove images made longer ago than this timedelta, or before this aware
            datetime.
        dangling_only: remove only images without a tag or digest.
        only_reference: remove only images whose names match this pattern, or one of several, as
            with `reference` in `list_images`. Names that do not match are ignored altogether.
        keep_reference: keep images with such a name; below `localhost/`, also if the pattern does
            not have that part.
        keep_label: keep images with such a label: `"key"`, `"key=value"`, several of these, or a
            mapping such as `{"key": "value"}` with None for any value. One match is enough.
        keep_images: keep these, for example the answer to another question: a list shows the labels
            of one platform, and `list_images(all=True, label="keep")` looks at all platforms.
        now: the time that a timedelta counts from, an aware datetime; None for the present.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: for an argument with an impossible value, and if none of the four criteria is
            given, because that would mean everything.
    """
    if keep_latest is None and older_than is None and not dangling_only and only_reference is None:
        raise ValueError(
            f"nothing says which images can be removed; give {keyword('keep_latest')}, "
            f"{keyword('older_than')}, {keyword('dangling_only', 'True')} "
            f"or {keyword('only_reference')}"
        )
    only = [] if only_reference is None else arguments.texts("only_reference", only_reference)
    kept = [] if keep_reference is None else arguments.texts("keep_reference", keep_reference)
    if keep_latest is not None:
        arguments.number("keep_latest", keep_latest, least=1)
    policy = _Policy(
        keep_latest=keep_latest,
        before=_moment(older_than, now),
        dangling_only=arguments.flag("dangling_only", dangling_only),
        only=_names_test("only_reference", only) if only else None,
        kept=_names_test("keep_reference", kept) if kept else None,
        labels=[] if keep_label is None else arguments.labels("keep_label", keep_label),
        ids={one.id for one in arguments.images("keep_images", keep_images)},
    )
    by_id: dict[str, list[ImageSummary]] = {}
    for image in arguments.images("images", images):
        by_id.setdefault(image.id, []).append(image)
    known = {id_: _Image(entries) for id_, entries in by_id.items()}
    bounds = _bounds(known.values(), policy)
    keep: dict[str, CleanupReason] = {}
    remove: dict[str, list[str]] = {}
    for id_, one in known.items():
        reason, going = one.judged_by(policy, bounds)
        if reason is None:
            remove[id_] = going
        else:
            keep[id_] = reason
    untagged = {id_ for id_, names in remove.items() if len(names) < len(known[id_].names)}
    depths = _depths(known)
    for id_ in sorted(remove.keys() - untagged, key=depths.__getitem__):
        parent = known[id_].parent
        if keep.get(parent) in _MIGHT_GO_ALONG and not known[parent].names:
            keep[id_] = CleanupReason.CHILD
            del remove[id_]
    for parent in _ancestors([*keep, *untagged], known):
        if parent in remove and parent not in untagged:
            keep[parent] = CleanupReason.PARENT
            del remove[parent]
    unmatched = _unmatched(known.values(), only, kept, policy.labels)
    return _plan(known, keep, remove, untagged, policy.reason, depths, unmatched)


def _plan(
    known: Mapping[str, _Image],
    keep: Mapping[str, CleanupReason],
    remove: Mapping[str, list[str]],
    untagged: set[str],
    reason: CleanupReason,
    depths: Mapping[str, int],
    unmatched: Iterable[tuple[str, str]],
) -> CleanupPlan:
    gone = [entry for id_ in remove if id_ not in untagged for entry in known[id_].different()]
    containerd = in_containerd(entry for one in known.values() for entry in one.entries)
    return CleanupPlan(
        remove=tuple(
            RemovedImage(image=entry, names=names, reason=reason, whole=id_ not in untagged)
            for id_ in sorted(remove, key=depths.__getitem__, reverse=True)
            for names in [tuple(remove[id_])]
            for entry in known[id_].entries
        ),
        keep=tuple(
            KeptImage(image=entry, reason=keep[id_])
            for id_, one in known.items()
            if id_ in keep
            for entry in one.entries
        ),
        frees_at_least=summed(freed_at_least(image, containerd) for image in gone),
        frees_at_most=summed(freed_at_most(image, containerd) for image in gone),
        unmatched=tuple(unmatched),
    )


def _unmatched(
    images: Iterable[_Image], only: Iterable[str], kept: Iterable[str], labels: Iterable[Label]
) -> Iterator[tuple[str, str]]:
    """The patterns and labels that nothing has."""
    judged = [name for image in images for name in image.names]
    named = [name for image in images for name in image.tags + image.digests]
    for argument, patterns, names in (
        ("only_reference", only, judged),
        ("keep_reference", kept, named),
    ):
        for pattern in patterns:
            if not _names_test(argument, [pattern])(names):
                yield argument, pattern
    for key, value in labels:
        entries = (entry for image in images for entry in image.entries)
        if not any(has_label(entry.labels, (key, value)) for entry in entries):
            yield "keep_label", key if value is None else f"{key}={value}"


def freed_at_least(image: ImageSummary, containerd: bool | None) -> int | None:
    """Bytes that only this image has; None if unknown, see `CleanupPlan`.

    `containerd` is what `in_containerd` says of the whole list. Docker 26.1: of two images of one
    layer `SharedSize` counts what is unpacked, and `Size` also the archive that it came from.
    """
    if image.shared_size is None or containerd is not False:
        return None
    return max(image.size - image.shared_size, 0)


def freed_at_most(image: ImageSummary, containerd: bool | None) -> int | None:
    """Bytes that this image has, and may share; None if unknown.

    Docker 28.5: the index of an image of several platforms goes with it, and is not in its `Size`.
    Docker 26.1: nor are attestations, and nothing tells of either.
    """
    of = image.descriptor
    if containerd is not False and of is None:
        return None
    index = of.size if of is not None and of.media_type in _INDEXES else 0
    return max(image.size, 0) + max(index, 0)


def summed(sizes: Iterable[int | None]) -> int | None:
    """The sum; None where one of them is not known."""
    known = list(sizes)
    return None if None in known else sum(cast("list[int]", known))


_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def _bounds(images: Iterable[_Image], policy: _Policy) -> dict[str, int]:
    """For each repository, the date of the last image to keep; of one date all are kept."""
    if policy.keep_latest is None:
        return {}
    dates: dict[str, list[int]] = {}
    for image in images:
        if image.created is not None:
            names = [name for name in image.names if policy.only is None or policy.only([name])]
            for repository in {_repository(name) for name in names}:
                dates.setdefault(repository, []).append(image.created)
    return {
        repository: sorted(found, reverse=True)[: policy.keep_latest][-1]
        for repository, found in dates.items()
    }


def _ancestors(ids: Iterable[str], known: Mapping[str, _Image]) -> set[str]:
    """What these images were built on, at any distance."""
    found: set[str] = set()
    for id_ in ids:
        parent = known[id_].parent
        while parent in known and parent not in found:
            found.add(parent)
            parent = known[parent].parent
    return found


def _depths(known: Mapping[str, _Image]) -> dict[str, int]:
    """On how many images each was built."""
    depths: dict[str, int] = {}
    for id_ in known:
        line: dict[str, None] = {}
        here = id_
        while here in known and here not in depths and here not in line:
            line[here] = None
            here = known[here].parent
        depth = depths.get(here, 0)
        for one in reversed(line):
            depth += 1
            depths[one] = depth
    return depths


def _repository(name: str) -> str:
    """Registry and path of a name: what docker's REPOSITORY column tells apart."""
    return Reference.parse(name).repository


def _united(names: Iterable[tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))


def _readable(id_: str) -> bool:
    return re.fullmatch(r"(?:[a-z0-9]+:)?[0-9a-f]+", id_) is not None


def _is_name(name: str) -> bool:
    """Whether docker would read it as a name, and a command line as no option."""
    reference = Reference.parse(name)
    return bool(reference.registry) and (reference.tag or reference.digest) is not None


# Arguments.


def _moment(older_than: object, now: object) -> float | None:
    """Seconds since 1970 before which an image is old enough."""
    if now is not None and not isinstance(now, datetime):
        raise arguments.wrong("now", "an aware datetime", now)
    present = time.time() if now is None else arguments.timestamp("now", now)
    if older_than is None:
        return None
    if isinstance(older_than, datetime):
        return arguments.timestamp("older_than", older_than)
    if isinstance(older_than, timedelta):
        return present - arguments.ago("older_than", older_than)
    raise arguments.wrong("older_than", "a timedelta or an aware datetime", older_than)


def _names_test(argument: str, patterns: list[str]) -> Callable[[Iterable[str]], bool]:
    # Whose list it is nobody says: on Podman `web` may mean `localhost/web`, so it is kept too.
    return arguments.matcher(argument, patterns, podman=argument == "keep_reference")
