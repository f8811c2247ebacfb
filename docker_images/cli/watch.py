"""`docker-images watch`: a line for each change, for people or for programs, until it is ended.

Knows how an update is written. Refuses to know when there is one.
"""

import argparse
import logging
import sys
from functools import partial
from typing import Any

import anyio

from docker_images.cli.arguments import Named, question, which_engine, which_images
from docker_images.cli.ask import logged_by
from docker_images.cli.ending import until_ended
from docker_images.cli.forms import encoded
from docker_images.cli.words import say, shown, size
from docker_images.client import DockerClient
from docker_images.images.models import ImageSummary
from docker_images.watch import ImagesUpdate, ImagesWatch

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    which_engine(parser, demo=False)
    which_images(parser)
    parser.add_argument("--jsonl", action="store_true", help="one JSON object an update")
    parser.add_argument(
        "--resync-interval",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="list this often without any event (300)",
    )
    parser.add_argument(
        "--poll-interval",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="list this often where the engine refuses its events (30)",
    )
    parser.epilog = "exit status: 1 and 2 as for the list, 130 for ctrl-c, 143 for SIGTERM"


def run(options: argparse.Namespace) -> int:
    """Watch until somebody ends it; the exit status."""
    with logged_by(logging.NullHandler()):  # an outage is told as an update
        return anyio.run(until_ended, partial(_watch, options))


async def _watch(options: argparse.Namespace) -> None:
    named = (options.engines or [Named()])[0]
    write = _json if options.jsonl else _lines
    client = DockerClient(named.host, context=named.context, timeout=options.timeout)
    async with (
        client,
        client.watch_images(
            **question(options),
            resync_interval=options.resync_interval,
            poll_interval=options.poll_interval,
        ) as watch,
    ):
        if options.jsonl:
            assert watch.updated_at is not None
            _print(encoded({"at": watch.updated_at, "images": watch.images}))
        else:
            say(f"watching {len(watch.images)} images of {client.endpoint}")
        async for update in watch:
            write(update, watch)


# ── For people ──────────────────────────────────────────────────────────────────────────────────


def _lines(update: ImagesUpdate, watch: ImagesWatch) -> None:
    at = update.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if update.error is not None:
        _print(f"{at}  !  {shown(str(update.error))}")
        return
    for image in update.removed:
        _print(f"{at}  -  {_told(image)}")
    for image in update.added:
        _print(f"{at}  +  {_told(image)}")
    for before, after in update.changed:
        came = [f"+{tag}" for tag in after.repo_tags if tag not in before.repo_tags]
        went = [f"-{tag}" for tag in before.repo_tags if tag not in after.repo_tags]
        _print(f"{at}  ~  {_told(after)}  {shown(' '.join((*came, *went)))}".rstrip())
    if not (update.added or update.removed or update.changed):
        _print(f"{at}  =  the engine answers again; nothing changed")


def _told(image: ImageSummary) -> str:
    names = ", ".join(map(str, image.references[: len(image.repo_tags)])) or "<none>"
    return f"{shown(image.short_id)}  {shown(names)}  {size(image.size)}"


# ── For programs ────────────────────────────────────────────────────────────────────────────────


def _json(update: ImagesUpdate, watch: ImagesWatch) -> None:
    error = update.error
    told: dict[str, Any] = {
        "at": update.at,
        "added": update.added,
        "removed": update.removed,
        "changed": [{"before": before, "after": after} for before, after in update.changed],
        "tag_changes": update.tag_changes,
        "error": error and {"reason": error.reason, "message": str(error)},
    }
    _print(encoded(told))


def _print(line: str) -> None:
    # Each line at once: whoever reads a pipe wants to know now.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()
