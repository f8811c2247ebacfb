"""`docker-images check`: thresholds over the list, as monitoring plugins have them.

One line on stdout with performance data, and an exit status of 0 to 3. What can be measured is one
table. Refuses to know how an engine is asked.
"""

import argparse
import re
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from docker_images.cli.arguments import checked, which_engine, which_images
from docker_images.cli.ask import ask_one
from docker_images.cli.table import write
from docker_images.cli.words import counted, size, span
from docker_images.errors import DockerImagesError
from docker_images.images.models import ImageSummary
from docker_images.text import printable

__all__ = ["arguments", "run"]

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
WORST_FIRST = (CRITICAL, WARNING, UNKNOWN, OK)


class Measure(NamedTuple):
    """One number of a list, and how it is written."""

    of: Callable[[Sequence[ImageSummary]], int | None]
    """The number; None where nobody knows."""
    unit: str
    """As performance data have it: `""` for a count, `"B"` or `"s"`."""
    help: str


def _age(images: Sequence[ImageSummary], choose: Callable[[list[int]], int]) -> int | None:
    dated = [image.created for image in images if image.created_at and image.created > 0]
    return int(time.time()) - choose(dated) if dated else None


def _unused(images: Sequence[ImageSummary], of: Callable[[ImageSummary], int]) -> int | None:
    if any(image.in_use is None for image in images):
        return None
    return sum(of(image) for image in images if not image.in_use)


OF_CONTAINERS = ("unused", "unused_size")
"""What is measured only where a threshold names it, because the engine is asked for more."""

MEASURES = {
    "images": Measure(len, "", "how many images"),
    "dangling": Measure(
        lambda images: sum(image.is_dangling for image in images),
        "",
        "how many without a tag or digest",
    ),
    "size": Measure(
        lambda images: sum(image.size for image in images), "B", "the sum of their sizes"
    ),
    "dangling_size": Measure(
        lambda images: sum(image.size for image in images if image.is_dangling),
        "B",
        "the sum of the sizes of dangling images",
    ),
    "unused": Measure(
        lambda images: _unused(images, lambda _: 1), "", "how many are not used by any container"
    ),
    "unused_size": Measure(
        lambda images: _unused(images, lambda image: image.size),
        "B",
        "the sum of the sizes of unused images",
    ),
    "newest": Measure(
        lambda images: _age(images, max), "s", "how long ago the newest image was made"
    ),
    "oldest": Measure(
        lambda images: _age(images, min), "s", "how long ago the oldest image was made"
    ),
}


class Threshold(NamedTuple):
    """`dangling>20`: what is not to be."""

    name: str
    above: bool
    limit: int
    text: str

    def crossed(self, value: int) -> bool:
        """Whether the value is on the wrong side."""
        return value > self.limit if self.above else value < self.limit


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    names = "\n".join(f"  {name:<15}{measure.help}" for name, measure in MEASURES.items())
    parser.epilog = (
        f"what can be measured:\n{names}\n\n"
        "exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, also if the engine cannot be reached"
    )
    which_engine(parser, timeout=10.0)
    which_images(parser)
    group = parser.add_argument_group("thresholds")
    for option in ("--warning", "--critical"):
        group.add_argument(
            option,
            action="append",
            default=[],
            type=checked(_threshold),
            metavar="THRESHOLD",
            help="such as 'dangling>20', 'size>50GB', 'images<1', 'newest>7d'; can be repeated",
        )


_FACTORS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def _threshold(text: str) -> Threshold:
    parts = re.fullmatch(r"\s*(\w+)\s*([<>])\s*(\S+)\s*", text)
    if parts is None or parts[1] not in MEASURES:
        raise ValueError(
            f"{text!r} is not a threshold; write NAME>LIMIT or NAME<LIMIT, where NAME is one of "
            f"{', '.join(MEASURES)}"
        )
    name, sign, limit = parts.groups()
    return Threshold(name, sign == ">", _limit(limit, MEASURES[name].unit), f"{sign} {limit}")


def _limit(text: str, unit: str) -> int:
    if unit == "s" and not text.isdecimal():
        return int(span(text).total_seconds())
    number = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text, re.ASCII)
    factor = _FACTORS.get(number[2].lower()) if number and (unit == "B" or not number[2]) else None
    if number is None or factor is None:
        example = "50GB" if unit == "B" else "20"
        raise ValueError(f"{text!r} is not a limit; write it as {example}")
    return int(Decimal(number[1]) * factor)


def run(options: argparse.Namespace) -> int:
    """Measure, print the line, and return its status."""
    named = {threshold.name for threshold in (*options.warning, *options.critical)}
    containers = not named.isdisjoint(OF_CONTAINERS)
    try:
        images = ask_one(options, containers=containers)
    except DockerImagesError as error:
        write([_line(UNKNOWN, str(error)) + "\n"])
        return UNKNOWN
    values = {
        name: measure.of(images)
        for name, measure in MEASURES.items()
        if containers or name not in OF_CONTAINERS
    }
    found: list[tuple[int, str]] = []
    for status, thresholds in ((CRITICAL, options.critical), (WARNING, options.warning)):
        for threshold in thresholds:
            value = values[threshold.name]
            if value is None:
                found.append((UNKNOWN, f"{threshold.name} is not known"))
            elif threshold.crossed(value):
                shown = _written(value, MEASURES[threshold.name].unit)
                found.append((status, f"{threshold.name} {shown} {threshold.text}"))
    worst = next((status for status in WORST_FIRST if any(status == one for one, _ in found)), OK)
    summary = ", ".join(text for status, text in found if status == worst) or (
        f"{counted(len(images), 'image')}, {values['dangling']} dangling, {size(values['size'])}"
    )
    data = " ".join(
        _performance(name, value, options) for name, value in values.items() if value is not None
    )
    write([f"{_line(worst, summary)} | {data}\n"])
    return worst


def _line(status: int, text: str) -> str:
    # What follows a bar is performance data.
    return f"IMAGES {WORDS[status]} - {printable(text, 2000).replace('|', '/')}"


def _written(value: int, unit: str) -> str:
    return size(value) if unit == "B" else f"{value}{unit}"


def _performance(name: str, value: int, options: argparse.Namespace) -> str:
    unit = MEASURES[name].unit
    ranges = (_range(name, thresholds) for thresholds in (options.warning, options.critical))
    least = "" if unit == "s" else "0"  # a clock may be ahead
    return ";".join((f"{name}={value}{unit}", *ranges, least))


def _range(name: str, thresholds: Sequence[Threshold]) -> str:
    """The range of good values, as monitoring plugins write it: `20`, `1:`, `1:20`."""
    lows = [one.limit for one in thresholds if one.name == name and not one.above]
    highs = [one.limit for one in thresholds if one.name == name and one.above]
    low = f"{max(lows)}:" if lows else ""
    return low + (str(min(highs)) if highs else "")
