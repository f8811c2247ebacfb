"""What a question becomes: what the engine is asked, and what is answered from its list.

Knows which question every engine answers alike, and takes upon itself those that they do not. All
arguments are checked here, before anything is sent. Pure: no I/O, and no API version is compared;
`Query.options` names what only some engines can do.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from itertools import compress
from typing import Literal, TypeAlias, cast, get_args
from urllib.parse import quote

import msgspec

from docker_images.images.models import ImageSummary
from docker_images.images.references import reference_test

__all__ = [
    "FiltersArgument",
    "LabelArgument",
    "Option",
    "Query",
    "ReferenceArgument",
    "UntilArgument",
    "build_query",
]

# Any iterable is taken. These do not say so, because a dict is an iterable of its keys, and a type
# checker should find a dict of the wrong values.
_Label: TypeAlias = str | Mapping[str, str | None]
LabelArgument: TypeAlias = _Label | Sequence[_Label] | AbstractSet[str] | Iterator[_Label]
"""`"key"`, `"key=value"`, `{"key": "value"}`, `{"key": None}` for any value, or several such."""
ReferenceArgument: TypeAlias = str | Sequence[str] | AbstractSet[str] | Iterator[str]
"""A name or a pattern, or several."""
UntilArgument: TypeAlias = datetime | timedelta | float
"""A moment, a time ago, or seconds since 1970."""
FiltersArgument: TypeAlias = Mapping[
    str, str | bool | Sequence[str] | AbstractSet[str] | Iterator[str]
]
"""The engine's own filters."""

Option: TypeAlias = Literal["shared_size", "manifests", "identity"]
"""A keyword of `list_images` that takes an engine able to do it."""


class Query(msgspec.Struct, frozen=True):
    """One question, ready to be asked of any engine. Made for one call."""

    params: str = ""
    """The query string of the request, encoded, without a `?`; `""` for the plain list."""
    options: tuple[Option, ...] = ()
    """What was asked for that engines which cannot do it would silently ignore."""
    tests: tuple[Callable[[ImageSummary], bool], ...] = ()
    """What is answered from the list: an image stays that passes all of these."""
    docker_tests: tuple[Callable[[ImageSummary], bool], ...] = ()
    """What is answered from a list that is not Podman's."""
    podman_tests: tuple[Callable[[ImageSummary], bool], ...] = ()
    """What is answered from the list of Podman only. Docker's own answer to `label` is final: the
    containerd store matches the labels of every platform, and the list shows those of one."""
    all: bool = False
    """Whether intermediate images are asked for."""
    dangling: bool | None = None
    """As given."""
    references: tuple[str, ...] = ()
    """The names and patterns of `reference`, as given."""
    asked: dict[str, list[str]] = {}
    """The engine's filters, as in `params`."""
    unwanted: tuple[str, ...] = ()
    """The labels of `exclude_label` that an engine can be asked for, as it writes them."""
    containers: bool = False
    """Whether the containers of each image are to be counted."""

    def select(self, images: list[ImageSummary], *, podman: bool = False) -> list[ImageSummary]:
        """The images of the answer: of a whole list, or of a slice of one, in the same order."""
        for test in (*self.tests, *(self.podman_tests if podman else self.docker_tests)):
            images = [image for image in images if test(image)]
        return images

    def with_filters(self, **filters: list[str]) -> "Query":
        """The same options, other filters of the engine, and nothing answered from the list."""
        params = _params(self.all, filters, self.options)
        return Query(params=params, options=self.options, all=self.all, asked=filters)


_FLAGS = {
    "shared_size": ("shared-size=1",),
    "manifests": ("manifests=1",),
    "identity": ("manifests=1", "identity=1"),
}


def _params(all: bool, asked: Mapping[str, list[str]], options: Sequence[str]) -> str:
    if not (all or asked or options):
        return ""
    params = ["all=1"] if all else []
    if asked:
        # The only form that every engine reads: Podman before 4.5.1 joins the values of a list.
        body = {key: dict.fromkeys(values, True) for key, values in asked.items()}
        params.append(f"filters={quote(msgspec.json.encode(body), safe='')}")
    params += dict.fromkeys(flag for option in options for flag in _FLAGS[option])
    return "&".join(params)


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
    flags = (("all", all), ("shared_size", shared_size), ("manifests", manifests))
    for argument, flag in (*flags, ("identity", identity), ("containers", containers)):
        if flag is not True and flag is not False:
            raise _wrong(argument, "True or False", flag)

    asked: dict[str, list[str]] = {}
    if filters is not None:
        asked = _filters(filters)
        given: dict[str, object] = {"dangling": dangling, "label": label, "reference": reference}
        given |= {"before": before, "since": since, "until": until}
        for argument, value in given.items():
            if value is not None and argument in asked:
                raise ValueError(f"{argument} is given twice: as {argument}= and in filters=")

    tests: list[Callable[[ImageSummary], bool]] = []
    docker_tests: list[Callable[[ImageSummary], bool]] = []
    podman_tests: list[Callable[[ImageSummary], bool]] = []
    if dangling is not None:
        if dangling is not True and dangling is not False:
            raise _wrong("dangling", "True, False or None", dangling)
        if not dangling:
            asked["dangling"] = ["false"]
        tests.append(_dangling_test(dangling))
    if label is not None and (labels := _labels("label", label)):
        if texts := [text for text in map(_label_text, labels) if text is not None]:
            asked["label"] = texts
        if unsent := [pair for pair in labels if _label_text(pair) is None]:
            tests.append(_label_test(unsent))
        podman_tests.append(_label_test(labels))
    unwanted: list[str] = []
    if exclude_label is not None and (labels := _labels("exclude_label", exclude_label)):
        unwanted = [text for text in map(_label_text, labels) if text is not None]
        tests.append(_exclude_label_test(labels))
    if until is not None:
        tests.append(_until_test(_bound(until, now)))
    references: list[str] = []
    if reference is not None:  # last, because it costs most
        references = _texts("reference", reference)
        docker_tests.append(_reference_test(references, podman=False))
        podman_tests.append(_reference_test(references, podman=True))
    if before is not None:
        asked["before"] = [_text("before", before)]
    if since is not None:
        asked["since"] = [_text("since", since)]

    options: tuple[Option, ...] = ()
    if shared_size or manifests or identity:
        flagged = (shared_size, manifests, identity)
        options = tuple(compress(get_args(Option), flagged))
    return Query(
        params=_params(all, asked, options),
        options=options,
        tests=tuple(tests),
        docker_tests=tuple(docker_tests),
        podman_tests=tuple(podman_tests),
        all=all,
        dangling=dangling,
        references=tuple(references),
        asked=asked,
        unwanted=tuple(unwanted),
        containers=containers,
    )


# Arguments. Anything can come from a caller without a type checker, so each says what it takes.


def _wrong(argument: str, takes: str, value: object) -> TypeError:
    return TypeError(f"{argument}= takes {takes}, not {type(value).__name__}")


def _unicode(argument: str, text: str) -> str:
    """The text as a plain `str` that UTF-8 can encode."""
    plain = str.__str__(text)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{argument}= holds a lone surrogate: {plain!a:.80}") from None
    return plain


def _text(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(argument, "a str", value)
    if not value:
        raise ValueError(f"{argument}= is an empty text")
    return _unicode(argument, value)


def _each(argument: str, takes: str, value: object) -> Iterable[object]:
    """What an iterable holds; bytes would hold numbers."""
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise _wrong(argument, takes, value)
    return cast("Iterable[object]", value)


def _texts(argument: str, value: object) -> list[str]:
    """One text or several, at least one: none would silently ask for all, or for nothing."""
    takes = "a str or an iterable of str"
    if isinstance(value, str):
        return [_text(argument, value)]
    if isinstance(value, Mapping):
        raise TypeError(f"{argument}= takes {takes}, not a mapping")
    if not (texts := [_text(argument, item) for item in _each(argument, takes, value)]):
        raise ValueError(f"{argument}= is empty; leave it out where nothing is to be asked")
    return texts


_LabelPair: TypeAlias = tuple[str, str | None]
"""A key, and its value or None for any."""


def _labels(argument: str, value: object) -> list[_LabelPair]:
    takes = "a str, a mapping of str to str or None, or an iterable of these"
    items: Iterable[object] = _each(argument, takes, value)
    if isinstance(value, (str, Mapping)):
        items = [cast("str | Mapping[object, object]", value)]
    pairs: list[_LabelPair] = []
    for item in items:
        if isinstance(item, str):
            key, equals, content = _text(argument, item).partition("=")
            pairs.append((key, content if equals else None))
        elif isinstance(item, Mapping):
            pairs += _label_pairs(argument, cast("Mapping[object, object]", item))
        else:
            raise _wrong(argument, takes, item)
    if any(not key for key, _ in pairs):
        raise ValueError(f"{argument}= needs a key before the '='")
    return pairs


def _label_pairs(argument: str, labels: Mapping[object, object]) -> Iterator[_LabelPair]:
    for key, value in labels.items():
        if value is None:
            yield _text(argument, key), None
        elif isinstance(value, str):
            yield _text(argument, key), _unicode(argument, value)
        else:
            raise TypeError(
                f"{argument}= takes a str or None as the value of a label, "
                f"not {type(value).__name__}"
            )


def _label_text(pair: _LabelPair) -> str | None:
    """The label as engines read it; None where some engine would read something else."""
    key, value = pair
    text = key if value is None else f"{key}={value}"
    if "=" in key or key.endswith("!") or "!=" in text or len(text.encode()) > 4096:
        return None
    return text


def _bound(until: object, now: Callable[[], float]) -> Callable[[], float]:
    """The moment of `until`; a time ago moves on, as long as the question is asked."""
    seconds = _seconds(until, now)
    if isinstance(until, timedelta):
        ago = until.total_seconds()
        return lambda: now() - ago
    return lambda: seconds


def _seconds(until: object, now: Callable[[], float]) -> float:
    if isinstance(until, datetime):
        if until.utcoffset() is None:
            raise ValueError("until= is a datetime without a time zone; give it one, such as UTC")
        return (until - _EPOCH).total_seconds()
    if isinstance(until, timedelta):
        if until < timedelta():
            raise ValueError("until= is a negative timedelta; it says how long ago")
        return now() - until.total_seconds()
    if isinstance(until, bool) or not isinstance(until, (int, float)):
        raise _wrong("until", "an aware datetime, a timedelta or seconds since 1970", until)
    if isinstance(until, float) and not math.isfinite(until):
        raise ValueError(f"until= is not a moment: {until}")
    return until


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _filters(filters: object) -> dict[str, list[str]]:
    if not isinstance(filters, Mapping):
        raise _wrong("filters", "a mapping of str to str, bool or an iterable of str", filters)
    asked: dict[str, list[str]] = {}
    for key, value in cast("Mapping[object, object]", filters).items():
        name = _text("filters", key)
        if isinstance(value, bool):
            asked[name] = ["true" if value else "false"]
        elif value == "":
            asked[name] = [""]
        else:
            asked[name] = _texts(f"filters[{name!r}]", value)
    return asked


# Tests over one image. They close over what they need and look it up once.


def _dangling_test(wanted: bool) -> Callable[[ImageSummary], bool]:
    return lambda image: image.is_dangling is wanted


def _label_test(labels: list[_LabelPair]) -> Callable[[ImageSummary], bool]:
    def test(image: ImageSummary) -> bool:
        found = image.labels
        for key, value in labels:
            if key not in found or (value is not None and found[key] != value):
                return False
        return True

    return test


def _exclude_label_test(labels: list[_LabelPair]) -> Callable[[ImageSummary], bool]:
    def test(image: ImageSummary) -> bool:
        found = image.labels
        for key, value in labels:
            if key in found and (value is None or found[key] == value):
                return False
        return True

    return test


def _until_test(bound: Callable[[], float]) -> Callable[[ImageSummary], bool]:
    # A time that nobody told is not "older than".
    return lambda image: 0 < image.created < bound()


def _reference_test(patterns: list[str], *, podman: bool) -> Callable[[ImageSummary], bool]:
    try:
        matches = reference_test(patterns, podman=podman)
    except ValueError as error:
        raise ValueError(f"reference= has a {error}") from None
    return lambda image: matches(image.repo_tags) or matches(image.repo_digests)
