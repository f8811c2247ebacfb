"""What arguments may be: a caller without a type checker may pass anything, so each is checked.

Pure. Refuses to know what is done with an argument, and which function takes it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from math import inf, isfinite
from typing import TypeAlias, cast

from docker_images.images.models import ImageSummary
from docker_images.images.references import reference_test
from docker_images.text import by_option, keyword

__all__ = [
    "Label",
    "ago",
    "each",
    "flag",
    "has_label",
    "images",
    "labels",
    "limit",
    "matcher",
    "number",
    "seconds",
    "text",
    "texts",
    "timestamp",
    "wrong",
]

Label: TypeAlias = tuple[str, str | None]
"""A key, and its value or None for any."""


def wrong(argument: str, takes: str, value: object) -> TypeError:
    """The error for an argument of the wrong type."""
    return TypeError(f"{keyword(argument)} takes {takes}, not {type(value).__name__}")


def flag(argument: str, value: object) -> bool:
    """True or False, and nothing that is as good as one of them."""
    if not isinstance(value, bool):
        raise wrong(argument, "True or False", value)
    return value


def text(argument: str, value: object) -> str:
    """A text that is not empty, as a plain `str` that UTF-8 can encode."""
    if not isinstance(value, str):
        raise wrong(argument, "a str", value)
    if not value:
        raise ValueError(f"{keyword(argument)} is an empty string")
    return _unicode(argument, value)


def _unicode(argument: str, value: str) -> str:
    plain = str.__str__(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{keyword(argument)} contains a lone surrogate: {plain!a:.80}") from None
    return plain


def texts(argument: str, value: object) -> list[str]:
    """One text or several, at least one: none would silently ask for all, or for nothing."""
    if isinstance(value, str):
        return [text(argument, value)]
    if isinstance(value, Mapping):
        raise wrong(argument, "a str or an iterable of str", cast("object", value))
    found = [text(argument, one) for one in each(argument, "a str or an iterable of str", value)]
    if not found:
        raise ValueError(f"{keyword(argument)} is empty; leave it out, or name something")
    return found


def each(argument: str, takes: str, value: object) -> Iterable[object]:
    """What an iterable holds; a text would hold characters, bytes numbers."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise wrong(argument, takes, value)
    return cast("Iterable[object]", value)


def images(argument: str, value: object) -> Iterator[ImageSummary]:
    """The images of an iterable, each of them checked."""
    takes = "an iterable of ImageSummary objects"
    for one in each(argument, takes, value):
        if not isinstance(one, ImageSummary):
            raise wrong(argument, "ImageSummary objects", one)
        yield one


def labels(argument: str, value: object) -> list[Label]:
    """What `"key"`, `"key=value"`, `{"key": "value"}`, or several such name."""
    takes = "a str, a mapping of str to str or None, or an iterable of these"
    one = isinstance(value, str | Mapping)
    items: Iterable[object] = (
        [cast("str | Mapping[object, object]", value)] if one else each(argument, takes, value)
    )
    pairs: list[Label] = []
    for item in items:
        if isinstance(item, str):
            key, equals, content = text(argument, item).partition("=")
            pairs.append((key, content if equals else None))
        elif isinstance(item, Mapping):
            pairs += _label_pairs(argument, cast("Mapping[object, object]", item))
        else:
            raise wrong(argument, takes, item)
    if any(not key for key, _ in pairs):
        raise ValueError(f"{keyword(argument)} needs a key before the '='")
    return pairs


def _label_pairs(argument: str, mapping: Mapping[object, object]) -> Iterator[Label]:
    for key, value in mapping.items():
        if not isinstance(value, str | None):
            raise wrong(argument, "a str or None as the value of a label", value)
        yield text(argument, key), None if value is None else _unicode(argument, value)


def has_label(found: Mapping[str, str], label: Label) -> bool:
    """Whether the labels of an image hold this one."""
    key, value = label
    return key in found and value in (None, found[key])


def matcher(argument: str, patterns: list[str], *, podman: bool) -> Callable[[Iterable[str]], bool]:
    """`reference_test`, whose error names the argument."""
    try:
        return reference_test(patterns, podman=podman)
    except ValueError as error:
        raise ValueError(f"{keyword(argument)} has a {error}") from None


def number(argument: str, value: object, *, least: int) -> int:
    """A whole number, so large at least."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(argument, "an int", value)
    if value < least:
        raise ValueError(f"{keyword(argument)} must be {least} or more, not {value}")
    return value


def timestamp(argument: str, moment: datetime) -> float:
    """Seconds since 1970 of an aware datetime."""
    if moment.utcoffset() is None:
        raise ValueError(
            f"{keyword(argument)} is a datetime without a time zone; give it one, such as UTC"
        )
    return moment.timestamp()


def ago(argument: str, span: timedelta) -> float:
    """The seconds of a time ago."""
    if span < timedelta():
        raise ValueError(f"{keyword(argument)} is a negative timedelta; it says how long ago")
    return span.total_seconds()


def limit(argument: str, value: object) -> float | None:
    """The seconds that something may take; None for no limit."""
    instead = "" if by_option.get() else "; None means no limit"
    return None if value is None else seconds(argument, value, instead)


def seconds(argument: str, value: object, instead: str = "") -> float:
    """A length of time: positive and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(argument, "a number of seconds", value)
    try:
        found = float(value)
    except OverflowError:
        found = inf
    if not (isfinite(found) and found > 0):
        raise ValueError(f"{keyword(argument)} must be positive and finite, not {value}{instead}")
    return found
