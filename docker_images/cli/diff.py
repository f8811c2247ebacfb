"""`docker-images diff`: what changed since a list was kept, with the statuses of diff(1).

Knows how a kept list is read, and what each change is called. Refuses to know what a change is:
`docker_images.diff` does.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from docker_images.cli.arguments import which_engine, which_images
from docker_images.cli.ask import ask_one
from docker_images.cli.rows import Found, rows_of
from docker_images.cli.words import UNKNOWN, UsageError, shown
from docker_images.diff import ImageChanges, diff_images
from docker_images.images.models import ImageSummary
from docker_images.images.normalise import normalise
from docker_images.text import printable

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.epilog = "exit status: 0 if nothing changed, 1 if something changed, 2 for an error"
    parser.add_argument(
        "kept",  # not "before", which is an option that asks the engine
        metavar="BEFORE.json",
        help="a list saved with --json or --jsonl; - is stdin",
    )
    parser.add_argument(
        "later", metavar="AFTER.json", nargs="?", help="a later list; default: ask the engine"
    )
    which_engine(parser)
    which_images(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what changed; the exit status is 1 where anything did."""
    before = _read(options.kept)
    if options.later is None:
        manifests = any(image.manifests is not None for image in before)
        after = ask_one(options, wish=("manifests",) if manifests else ())
    else:
        after = _read(options.later)
    changes = diff_images(before, after)
    if options.json:
        from docker_images.cli.forms import write_value

        write_value(changes)
    elif changes:
        _print(changes)
    return 1 if changes else 0


def _read(name: str) -> list[ImageSummary]:
    """A list as `--json` and `--jsonl` print it, or as an engine sends it."""
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
    try:
        if text.lstrip()[:1] == b"[":
            images = msgspec.json.decode(text, type=list[ImageSummary])
        else:
            images = msgspec.json.Decoder(ImageSummary).decode_lines(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} does not contain a list of images: {printable(str(error))}; "
            f"create one with docker-images --json > {name}"
        ) from None
    normalise(images, shared_size=True)
    return images


def _print(changes: ImageChanges) -> None:
    from docker_images.cli.table import Column, show

    columns = [
        Column("IMAGE", "1", name=True),
        Column("CHANGE"),
        Column("BEFORE", "33"),
        Column("AFTER", "33"),
    ]
    show(columns, list(_rows(changes)))


def _rows(changes: ImageChanges) -> Iterator[list[str]]:
    """A name, what happened to it, and the short ids of its image before and after."""
    gone = {image.id for image in changes.removed}
    moved = {name: ids for name, ids in changes.tag_changes.items() if all(ids)}
    for name, (old, new) in moved.items():
        yield [shown(name), "replaced" if old in gone else "moved", _short(old), _short(new)]
    told = {*moved}
    for change, images in (("added", changes.added), ("removed", changes.removed)):
        for image in images:
            ids = (None, image.id) if change == "added" else (image.id, None)
            for name in _names(image):
                told.add(name)
                if name not in moved:
                    yield [shown(name), change, *map(_short, ids)]
    for name, (old, new) in changes.tag_changes.items():
        if name not in told:
            yield [shown(name), "tagged" if new else "untagged", _short(old), _short(new)]
    for was, image in changes.changed:
        if was.repo_tags == image.repo_tags:
            yield [shown(_names(image)[0]), "changed", _short(image.id), _short(image.id)]


def _names(image: ImageSummary) -> list[str]:
    return [
        (f"{row.repository}:{row.tag}" if row.tag else row.repository) or "<none>"
        for row in rows_of(Found(None, image))
    ]


def _short(id_: str | None) -> str:
    return UNKNOWN if id_ is None else shown(id_.rpartition(":")[2][:12])
