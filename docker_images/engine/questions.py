"""A whole question: as few and as cheap requests as are sure to give the right answer.

Knows what one list does not tell, and which narrower list would do. Refuses to know how a list is
asked for and read (`engine`), and what a question means (`query`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

import anyio
import msgspec
from msgspec.structs import force_setattr

from docker_images.engine.engine import Engine
from docker_images.engine.versions import SINCE, ApiVersion, has
from docker_images.errors import DockerImagesError, EngineResponseError
from docker_images.images.models import ImageSummary
from docker_images.images.normalise import normalise
from docker_images.images.references import Reference, is_pattern
from docker_images.images.store import in_containerd
from docker_images.query import Asked, Query
from docker_images.transport.deadline import stage

__all__ = ["answer", "narrow_filters"]

Images = list[ImageSummary]
Filters = dict[str, list[str]]

MAX_LOOKUPS = 16
"""Images of a narrow list to look up; with more of them the whole list is asked."""
LOOKUPS_AT_ONCE = 4
LONGEST = 4096
"""Characters of a narrow question: nginx refuses more than 8 KiB, and the whole list takes none."""


async def answer(engine: Engine, query: Query) -> Images:
    """The images of the answer, in order; raises as `Engine.list` does."""
    filters: Filters = {}
    images: Images | None = None
    if query.references or query.dangling:
        filters, images = await _ask_narrowly(engine, query)
    if images is None:
        images = await engine.list(query)
    if "before" in query.asked.filters or "since" in query.asked.filters:
        await _check_anchors(engine, query, images)
    if query.unwanted and in_containerd(images):
        images = await _without_unwanted(engine, query, filters, images)
    if query.containers and any(image.containers is None for image in images):
        await _count_containers(engine, query, images)
    return images


# ── The narrow list ─────────────────────────────────────────────────────────────────────────────


RULES: dict[str, str | None] = {
    "all": None,  # what it adds to a filtered list is not known of every version
    "dangling": "descriptors",  # the store calls more images dangling than we do, and no fewer
    "name": "descriptors",  # its familiar form has been compared since Docker 1.13
    "pattern": "canonical names",  # ours is held against canonical names as well
    "library/": None,  # docker.io/ is left out before it, which the engine does not know
    "digest": None,  # the list shows digests that are not in the store
    "other": None,  # it is no name, and what an engine makes of it is its own
}
"""From which row of `SINCE` on the containerd store's own filter lets through every image that ours
would, and why; None for never. Below API 1.48, and on other stores, all is asked widely."""


def narrow_filters(query: Query, version: ApiVersion) -> Filters | None:
    """Filters for a list that holds at least the images of the answer; None where none is sure to.

    `version`: what the engine speaks.
    """

    def is_narrow(what: str) -> bool:
        since = RULES[what]
        return since is not None and has(version, since)

    narrow: Filters = {}
    if query.asked.all and not is_narrow("all"):
        return None
    if query.dangling and is_narrow("dangling"):
        narrow["dangling"] = ["true"]
    if query.references and all(is_narrow(_sort_of(text)) for text in query.references):
        narrow["reference"] = list(dict.fromkeys(map(_spelled, query.references)))
    filters = {**query.asked.filters, **narrow}
    return filters if narrow and len(Asked(filters=filters).params) <= LONGEST else None


def _sort_of(reference: str) -> str:
    """What is said of it in `RULES`."""
    if is_pattern(reference):
        return "library/" if reference.startswith("library/") else "pattern"
    name = Reference.parse(reference)
    if name.digest is not None:
        return "digest"
    return "name" if name.registry else "other"


def _spelled(reference: str) -> str:
    """How the engine is asked for a name or pattern."""
    return reference if is_pattern(reference) else str(Reference.parse(reference))


async def _ask_narrowly(engine: Engine, query: Query) -> tuple[Filters, Images | None]:
    """The filters and the images of a narrow list that gives the answer; otherwise None."""
    # A client that knows nothing yet asks as it would ask the oldest engine that can tell.
    filters = narrow_filters(query, engine.speaks or SINCE["descriptors"])
    if filters is None or engine.describes is False or engine.refuses_lookups:
        return {}, None
    images = await engine.list(query.with_filters(**filters))
    # What Docker does not find is not there; Podman finds names in another way.
    if engine.describes is None and not images:
        return filters, images
    few = engine.describes and len(images) <= MAX_LOOKUPS
    if few and all(map(_is_id, images)) and await _name(engine, images):
        return filters, query.select(images)
    return {}, None


def _is_id(image: ImageSummary) -> bool:
    """Whether an image can be asked for by its id, and that leads to no other path."""
    return re.fullmatch(r"[a-z0-9]+:[0-9a-f]+", image.id) is not None


class _Names(msgspec.Struct):
    """What `GET /images/{id}/json` tells of an image's names."""

    repo_tags: tuple[str, ...] | None = msgspec.field(default=None, name="RepoTags")
    repo_digests: tuple[str, ...] | None = msgspec.field(default=None, name="RepoDigests")


_FORBIDDING = (401, 403, 405, 407, 501)
"""The status with which something before an engine refuses look-ups, and will again."""


async def _name(engine: Engine, images: Images) -> bool:
    """Give the images of a narrow list all their names; False where that is not possible."""
    turns = anyio.CapacityLimiter(LOOKUPS_AT_ONCE)
    whole = True
    failed: DockerImagesError | None = None

    async def look_up(image: ImageSummary, scope: anyio.CancelScope) -> None:
        nonlocal whole, failed
        async with turns:
            try:
                found = await engine.get(f"/images/{image.id}/json", type=_Names)
            except EngineResponseError as error:
                # The image may be gone, or never have been one: the whole list knows.
                engine.refuses_lookups = error.status in _FORBIDDING
                whole = False
            except DockerImagesError as error:
                failed = error
            else:
                # Of an image in several repositories the list tells one digest: which one, its
                # names do not say.
                whole = whole and len(found.repo_digests or ()) < 2
                force_setattr(image, "repo_tags", found.repo_tags)
                # Of what is no image, such as a chart, lists tell the digest alone.
                if all("@" in digest for digest in image.repo_digests):
                    force_setattr(image, "repo_digests", found.repo_digests)
        if failed or not whole:
            scope.cancel()

    stage.set("looking up the names of images")  # what the tasks set, only they see
    async with anyio.create_task_group() as tasks:
        for image in images:
            tasks.start_soon(look_up, image, tasks.cancel_scope)
    if failed:
        try:
            raise failed  # alone: what a task group raises is a group
        finally:
            failed = None  # its traceback holds this frame
    normalise(images, shared_size=True)
    return whole


# ── What one list does not tell ─────────────────────────────────────────────────────────────────


async def _without_unwanted(
    engine: Engine, query: Query, filters: Filters, images: Images
) -> Images:
    """Leave out what the engine says has an excluded label, on whichever platform."""
    for label in query.unwanted:
        asked = {**filters, "label": [label]}
        with_label = await engine.list(Query(Asked(query.asked.all, asked)))
        with_it = {image.id for image in with_label}
        images = [image for image in images if image.id not in with_it]
    return images


class _Container(msgspec.Struct):
    image_id: str = msgspec.field(default="", name="ImageID")


async def _count_containers(engine: Engine, query: Query, images: Images) -> None:
    """Count the containers of each image, where the list did not.

    moby daemon/list.go@b985e23: `ImageID` is the image that a container was made from; with the
    containerd store it can be the manifest of one platform.
    """
    found = await engine.get("/containers/json", "all=1", type=list[_Container])
    ids = (one.image_id for one in found)
    counts = Counter(id_ if ":" in id_ else f"sha256:{id_}" for id_ in ids if id_)
    unresolved = counts.keys() - {image.id for image in images}
    unknown = False
    if unresolved and in_containerd(images) is not False:
        unknown = await _resolve(engine, counts, unresolved)
    for image in images:
        if image.containers is None:
            count = counts[image.id]
            force_setattr(image, "containers", None if unknown and not count else count)


async def _resolve(engine: Engine, counts: Counter[str], unresolved: Iterable[str]) -> bool:
    """Find the images of containers whose id is in no list yet; whether some stay unknown."""
    whole = await engine.list(Query(Asked(all=True)))
    if not in_containerd(whole):
        return False  # a container of an image that was removed by force
    left = set(unresolved) - {image.id for image in whole}
    if left and engine.speaks is not None and has(engine.speaks, "manifests"):
        for image in await engine.list(Query(Asked(all=True, options=("manifests",)))):
            for manifest in image.manifests or ():
                if manifest.id in left:
                    counts[image.id] += counts[manifest.id]
                    left.discard(manifest.id)
    return bool(left)


# ── Anchors without a time ──────────────────────────────────────────────────────────────────────


async def _check_anchors(engine: Engine, query: Query, images: Images) -> None:
    """Refuse `before` and `since` where they are no filter: the anchor is in its own answer.

    Docker from 25 on lists everything where the anchor has no time:
    moby daemon/containerd/image_list.go@b985e23.
    """
    for option in ("before", "since"):
        for anchor in query.asked.filters.get(option, ()):
            shown = images
            if query.conditions or len(query.asked.filters) > 1:  # something else may hide it
                alone = Query(Asked(query.asked.all, {option: [anchor]}))
                shown = await engine.list(alone)
            if any(map(_is_anchor(anchor), shown)):
                needed = "an image that says when it was made"
                found, step = "an image without a time", "name another image"
                raise engine.unsupported(option, found, needed, repr(anchor), step)


def _is_anchor(anchor: str) -> Callable[[ImageSummary], bool]:
    """Whether an engine finds an image by this id, beginning of an id, or name."""
    name = Reference.parse(anchor)
    if name.tag is None and name.digest is None:
        name = msgspec.structs.replace(name, tag="latest")
    # As Docker and as Podman write it: to take the names of all images apart takes 6 µs an image.
    names = {str(name), name.canonical}
    begin = anchor if len(anchor) >= 4 else "-"

    def is_called(image: ImageSummary) -> bool:
        if image.id == anchor or image.id.partition(":")[2].startswith(begin):
            return True
        return not (names.isdisjoint(image.repo_tags) and names.isdisjoint(image.repo_digests))

    return is_called
