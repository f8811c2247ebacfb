"""`docker-images watch`: a line for each change, for people or for programs, until it is ended.

Knows how an update is written. Refuses to know when there is one.
"""

import argparse
import logging
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio

from docker_images.cli.arguments import Named, how_often, question, which_engine, which_images
from docker_images.cli.ask import logged_by, patience
from docker_images.cli.ending import until_ended
from docker_images.cli.forms import write_value
from docker_images.cli.table import hanging, write
from docker_images.cli.words import counted, say, shown, size
from docker_images.client import DockerClient
from docker_images.images.models import ImageSummary
from docker_images.watch import ImagesUpdate

__all__ = ["arguments", "for_people", "for_programs", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    which_engine(parser, demo=False)
    which_images(parser)
    parser.add_argument("--jsonl", action="store_true", help="one JSON object per update")
    how_often(parser)
    parser.epilog = "exit status: 1 and 2 as for list, 130 after Ctrl-C, 143 after SIGTERM"


def run(options: argparse.Namespace) -> int:
    """Watch until somebody ends it; the exit status."""
    with logged_by(logging.NullHandler()):  # an outage is told as an update
        return anyio.run(until_ended, partial(_watch, options))


async def _watch(options: argparse.Namespace) -> None:
    named = (options.engines or [Named()])[0]
    write_update = for_programs if options.jsonl else for_people
    client = DockerClient(named.host, context=named.context, timeout=options.timeout)
    watch = client.watch_images(
        **question(options),
        resync_interval=options.resync_interval,
        poll_interval=options.poll_interval,
    )
    async with client, AsyncExitStack() as stack:
        with patience(options):
            await stack.enter_async_context(watch)
        if options.jsonl:
            assert watch.updated_at is not None
            write_value({"at": watch.updated_at, "images": watch.images})
            sys.stdout.flush()
        else:
            say(f"watching {counted(len(watch.images), 'image')} of {client.endpoint}")
        async for update in watch:
            write_update(update)
            sys.stdout.flush()  # at once: whoever reads a pipe wants to know now


# ── For people ──────────────────────────────────────────────────────────────────────────────────


def for_people(update: ImagesUpdate) -> None:
    """A line a change."""
    at = update.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")

    def tell(sign: str, text: str, image: ImageSummary | None = None) -> None:
        start, text = f"{at}  {sign}  ", shown(text)
        if image is not None:
            names = ", ".join(map(str, image.references[: len(image.repo_tags)])) or "<none>"
            start += f"{shown(image.short_id)}  "
            text = f"{shown(names)}  {size(image.size)}  {text}".rstrip()
        write(hanging(start, text))

    if update.error is not None:
        tell("!", str(update.error))
        return
    for image in update.removed:
        tell("-", "", image)
    for image in update.added:
        tell("+", "", image)
    for before, after in update.changed:
        came = [f"+{tag}" for tag in after.repo_tags if tag not in before.repo_tags]
        went = [f"-{tag}" for tag in before.repo_tags if tag not in after.repo_tags]
        tell("~", " ".join((*came, *went)), after)
    if not (update.added or update.removed or update.changed):
        tell("=", "the engine answers again; nothing changed")


# ── For programs ────────────────────────────────────────────────────────────────────────────────


def for_programs(update: ImagesUpdate) -> None:
    """One object."""
    error = update.error
    told: dict[str, Any] = {
        "at": update.at,
        "added": update.added,
        "removed": update.removed,
        "changed": [{"before": before, "after": after} for before, after in update.changed],
        "tag_changes": update.tag_changes,
        "error": error and {"reason": error.reason, "message": str(error)},
    }
    write_value(told)
