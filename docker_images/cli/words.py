"""What the command says: sizes, ages and times as people write them, and one line for an error.

Nothing that passes `shown` can steer a terminal. Refuses to know where a value comes from.
"""

import math
import re
import sys
from contextlib import suppress
from datetime import datetime, timedelta

from docker_images.text import printable

__all__ = ["PROG", "UNKNOWN", "UsageError", "age", "counted", "moment", "say", "shown", "size"]

PROG = "docker-images"
UNKNOWN = "-"


class UsageError(Exception):
    """The command line cannot work; the text says why, and the next step."""


def say(text: str) -> None:
    """One line on stderr."""
    stderr = getattr(sys, "stderr", None)
    if stderr is not None:
        with suppress(OSError):  # nobody reads; the status still tells
            print(f"{PROG}: {printable(text, 2000)}", file=stderr, flush=True)


def shown(text: str) -> str:
    """All of the text, on one line, without what a terminal would obey."""
    return printable(text, limit=len(text))


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(bytes_: int | None) -> str:
    """Three digits and a decimal unit, as the docker command has it: `7.8MB`, `187MB`."""
    if bytes_ is None:
        return UNKNOWN
    number, units = float(bytes_), iter(("kB", "MB", "GB", "TB", "PB", "EB"))
    unit = "B"
    while abs(number) >= 999.5 and (larger := next(units, None)):
        number, unit = number / 1000, larger
    digits = max(0, 2 - int(math.log10(abs(number)))) if abs(number) >= 1 else 0
    text = f"{number:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + unit


def age(created: datetime | None, now: float) -> str:
    """How long ago, in docker's words; `-` where nobody said when, `in …` for a time to come."""
    if created is None or created.timestamp() == 0:
        return UNKNOWN
    seconds = now - created.timestamp()
    told = _duration(abs(seconds))
    return f"{told} ago" if seconds >= 0 else f"in {told[0].lower()}{told[1:]}"


def _duration(seconds: float) -> str:
    """As `HumanDuration` of docker/go-units has it."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 2:
        return "1 second"
    if seconds < 60:
        return f"{int(seconds)} seconds"
    if seconds < 120:
        return "About a minute"
    if seconds < 3600:
        return f"{int(seconds / 60)} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for unit, length, end in _UNITS:
        if hours < end:
            return f"{hours // length} {unit}"
    return f"{int(seconds / 3600) // (365 * 24)} years"


_UNITS = (
    ("hours", 1, 48),
    ("days", 24, 14 * 24),
    ("weeks", 7 * 24, 60 * 24),
    ("months", 30 * 24, 2 * 365 * 24),
)
"""What a unit is called, its hours, and from how many on a larger one is used."""


_AGE = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.ASCII)
_SPAN = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str) -> datetime | timedelta | float:
    """A moment, an age, or seconds since 1970, as `list_images(until=…)` takes them.

    A date alone is the midnight with which it begins here. Anything else is a `ValueError` whose
    text says what to write.
    """
    try:
        if re.fullmatch(r"-?\d+(?:\.\d+)?", text, re.ASCII):
            return float(text)
        if _AGE.fullmatch(text):
            return span(text)
        when = datetime.fromisoformat(text)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return when.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a time; write 2026-01-31T00:00:00Z, 2026-01-31, seconds since 1970, "
            "or an age such as 24h or 7d"
        ) from None
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add Z for UTC, or an offset such as +02:00")
    return when


def span(text: str) -> timedelta:
    """A length of time such as `24h`, `1w3d`; a `ValueError` for anything else."""
    if not _AGE.fullmatch(text):
        raise ValueError(f"{text!r} is not an age; write it as 24h, 7d or 1w3d")
    parts = re.findall(r"([\d.]+)([smhdw])", text)
    try:
        return timedelta(seconds=sum(float(count) * _SPAN[unit] for count, unit in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than 999999999 days") from None
