"""What a question becomes: what the engine is asked, and what is answered from its list.

Knows which questions every engine answers alike, and answers the others from the list. All
arguments are checked here, before anything is sent. Pure: no I/O, and no API version is compared;
`Asked.options` names what only some engines can do.

How engines differ, as measured on them or read in their source:

* `reference` looks at the familiar name below Docker 29.5, then also at the canonical one, and
  takes the other tags out of the answer; `until` is unknown below Docker 25 and means the time of
  the pull with the containerd store; `label!` is refused by Docker's graph drivers. None is sent.
* `dangling=true` with the containerd store also names tagged images that once were untagged, and
  takes their tags out of the answer (moby `daemon/containerd/image_list.go`, API 1.56); Podman and
  Docker leave out intermediate images even when asked for all. So only `dangling=false` is sent,
  whose answer is never too small.
* `label` with several values means any of them on Podman before 5, `k=` any value on every Podman,
  and `*` in a key is a pattern on newer ones: always at least what we mean, so it is sent and then
  applied again. `!=` in a label negates on Podman and with Docker's containerd store, which also
  refuses more than 4096 bytes: such a label is not sent.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, cast
from urllib.parse import quote

import msgspec

from docker_images import arguments
from docker_images.arguments import Label, has_label
from docker_images.images.models import ImageSummary
from docker_images.text import keyword

__all__ = [
    "Asked",
    "FiltersArgument",
    "LabelArgument",
    "Option",
    "Query",
    "ReferenceArgument",
    "UntilArgument",
    "build_query",
]

# Any iterable is accepted. The types do not say so, because a dict is an iterable of its keys, and
# a type checker should find a dict with the wrong values.
_Label: TypeAlias = str | Mapping[str, str | None]
LabelArgument: TypeAlias = _Label | Sequence[_Label] | AbstractSet[str] | Iterator[_Label]
"""`"key"`, `"key=value"`, `{"key": "value"}`, `{"key": None}` for any value, or several."""
ReferenceArgument: TypeAlias = str | Sequence[str] | AbstractSet[str] | Iterator[str]
"""A name or a pattern, or several of these."""
UntilArgument: TypeAlias = datetime | timedelta | float
"""An aware datetime, a timedelta (ago), or seconds since 1970."""
FiltersArgument: TypeAlias = Mapping[
    str, str | bool | Sequence[str] | AbstractSet[str] | Iterator[str]
]
"""Filters of the engine, such as `{"label": ["a", "b"]}`."""

Option: TypeAlias = Literal["shared_size", "manifests", "identity"]
"""A keyword of `list_images` that only some engines support."""


Condition: TypeAlias = Callable[[ImageSummary, bool], bool]
"""What is answered from the list: whether an image stays, and whether Podman listed it."""


class Asked(msgspec.Struct, frozen=True):
    """What an engine is asked for: one list."""

    all: bool = False
    """Whether intermediate images are asked for."""
    filters: dict[str, list[str]] = {}
    """The engine's own filters."""
    options: tuple[Option, ...] = ()
    """What engines that cannot do it would silently ignore."""

    @property
    def params(self) -> str:
        """The query string of the request, encoded, without a `?`; `""` for the plain list."""
        if not (self.all or self.filters or self.options):
            return ""
        params = ["all=1"] if self.all else []
        if self.filters:
            # The only form that every engine reads: Podman before 4.5.1 joins the values of a list.
            body = {key: dict.fromkeys(values, True) for key, values in self.filters.items()}
            params.append(f"filters={quote(msgspec.json.encode(body), safe='')}")
        params += dict.fromkeys(flag for option in self.options for flag in _FLAGS[option])
        return "&".join(params)


_FLAGS = {
    "shared_size": ("shared-size=1",),
    "manifests": ("manifests=1",),
    "identity": ("manifests=1", "identity=1"),
}


class Query(msgspec.Struct, frozen=True):
    """One question, ready to be asked of any engine. Made for one call."""

    asked: Asked = Asked()
    """What the engine is asked for."""
    conditions: tuple[Condition, ...] = ()
    """What is answered from the list: an image stays that meets all of these."""
    dangling: bool | None = None
    """As given."""
    references: tuple[str, ...] = ()
    """The names and patterns of `reference`, as given."""
    unwanted: tuple[str, ...] = ()
    """The labels of `exclude_label` that an engine can be asked for, as it writes them."""
    containers: bool = False
    """Whether the containers of each image are to be counted."""

    def select(self, images: list[ImageSummary], *, podman: bool = False) -> list[ImageSummary]:
        """The images of the answer: of a whole list, or of a slice of one, in the same order."""
        for holds in self.conditions:
            images = [image for image in images if holds(image, podman)]
        return images

    def with_filters(self, **filters: list[str]) -> "Query":
        """The same list with other filters of the engine, and nothing answered from it."""
        return Query(msgspec.structs.replace(self.asked, filters=filters))


def build_query(
    *,
    all: bool = False,
    dangling: bool | None = None,
    label: LabelArgument | None = None,
    exclude_label: LabelArgument | None = None,
    reference: ReferenceArgument | None = None,
    before: str | None = None,
    since: str | None = None,
    until: UntilArgument | None = None,
    filters: FiltersArgument | None = None,
    shared_size: bool = False,
    manifests: bool = False,
    identity: bool = False,
    containers: bool = False,
    now: Callable[[], float] = time.time,
) -> Query:
    """Check the arguments of `list_images` and say what they ask.

    `label`: an image has all of them. `exclude_label`: an image that has any of them is left out.
    `reference`: some tag or digest of an image matches some pattern. `before`, `since`: an image
    was created before or after this one, which the engine must know. `until`: an image was created
    before this moment, to the second; an image of which nobody said when it was made is left
    out. `filters` goes to the engine as it is, with all that engines make of it.

    An argument of the wrong type is a `TypeError`. A `ValueError` is: an empty text, text that is
    no Unicode, no reference at all, a bad pattern, a naive datetime, a negative or infinite time,
    and what is given both as a keyword and in `filters`. `now` is the clock for a timedelta.
    """
    flags: tuple[tuple[Option, bool], ...] = (
        ("shared_size", shared_size),
        ("manifests", manifests),
        ("identity", identity),
    )
    for argument, flag in (("all", all), ("containers", containers), *flags):
        if flag is not True and flag is not False:
            raise arguments.wrong(argument, "True or False", flag)
    if dangling is not None:
        arguments.flag("dangling", dangling)
    asked: dict[str, list[str]] = {}
    if filters is not None:
        asked = _engine_filters(
            filters,
            dangling=dangling,
            label=label,
            reference=reference,
            before=before,
            since=since,
            until=until,
        )
    wanted = [] if label is None else arguments.labels("label", label)
    unwanted = [] if exclude_label is None else arguments.labels("exclude_label", exclude_label)
    references = [] if reference is None else arguments.texts("reference", reference)
    if dangling is False:
        asked["dangling"] = ["false"]
    if wanted and (sent := _sent(wanted)):
        asked["label"] = sent
    for argument, anchor in (("before", before), ("since", since)):
        if anchor is not None:
            asked[argument] = [arguments.text(argument, anchor)]

    conditions: list[Condition] = []
    if dangling is not None:
        conditions.append(lambda image, _: image.is_dangling is dangling)
    if wanted:
        conditions.append(_has_all(wanted))
    if unwanted:
        conditions.append(_has_none(unwanted))
    if until is not None:
        conditions.append(_is_older(until, now))
    if references:  # last, because it costs most
        conditions.append(_is_called(references))
    return Query(
        asked=Asked(all, asked, tuple([option for option, flag in flags if flag])),
        conditions=tuple(conditions),
        dangling=dangling,
        references=tuple(references),
        unwanted=tuple(_sent(unwanted)) if unwanted else (),
        containers=containers,
    )


def _engine_filters(filters: object, **given: object) -> dict[str, list[str]]:
    """The engine's own filters, none of which is given as a keyword as well."""
    if not isinstance(filters, Mapping):
        raise arguments.wrong("filters", "a mapping of str to str, bool or an iterable", filters)
    asked: dict[str, list[str]] = {}
    for key, value in cast("Mapping[object, object]", filters).items():
        name = arguments.text("filters", key)
        if isinstance(value, bool):
            asked[name] = ["true" if value else "false"]
        elif value == "":
            asked[name] = [""]
        else:
            asked[name] = arguments.texts(f"filters[{name!r}]", value)
    for argument, value in given.items():
        if value is not None and argument in asked:
            twice = f"as {keyword(argument)} and in {keyword('filters')}"
            raise ValueError(f"{argument} is given twice: {twice}")
    return asked


def _sent(labels: list[Label]) -> list[str]:
    """The labels that an engine can be asked for, as it writes them."""
    return [text for label in labels if (text := _label_text(label)) is not None]


def _label_text(label: Label) -> str | None:
    """The label as engines read it; None where some engine would read something else."""
    key, value = label
    text = key if value is None else f"{key}={value}"
    if "=" in key or key.endswith("!") or "!=" in text or len(text.encode()) > 4096:
        return None
    return text


# Conditions. They close over what they need and look it up once.


def _has_all(labels: list[Label]) -> Condition:
    # Docker's own answer is final: the containerd store matches the labels of every platform, and
    # the list shows those of one. Podman's is looked at again.
    unsent = [label for label in labels if _label_text(label) is None]

    def holds(image: ImageSummary, podman: bool) -> bool:
        return all(has_label(image.labels, label) for label in (labels if podman else unsent))

    return holds


def _has_none(labels: list[Label]) -> Condition:
    return lambda image, _: not any(has_label(image.labels, label) for label in labels)


def _is_older(until: object, now: Callable[[], float]) -> Condition:
    # A time that nobody told is not "older than".
    if isinstance(until, timedelta):  # it moves on, as long as the question is asked
        ago = arguments.ago("until", until)
        return lambda image, _: 0 < image.created < now() - ago
    if isinstance(until, datetime):
        until = arguments.timestamp("until", until)
    if isinstance(until, bool) or not isinstance(until, int | float):
        raise arguments.wrong(
            "until", "an aware datetime, a timedelta or seconds since 1970", until
        )
    if isinstance(until, float) and not math.isfinite(until):
        raise ValueError(f"{keyword('until')} is not a time: {until}")
    bound = until
    return lambda image, _: 0 < image.created < bound


def _is_called(references: list[str]) -> Condition:
    on_docker = arguments.matcher("reference", references, podman=False)
    on_podman = arguments.matcher("reference", references, podman=True)

    def holds(image: ImageSummary, podman: bool) -> bool:
        matches = on_podman if podman else on_docker
        return matches(image.repo_tags) or matches(image.repo_digests)

    return holds
