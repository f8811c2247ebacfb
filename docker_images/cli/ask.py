"""From options to images: asks the engines that the command line names, and nobody else.

On a terminal a wait longer than a second shows that it goes on. Refuses to know what is shown.
"""

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias

import anyio

from docker_images.cli.arguments import Named, question
from docker_images.cli.words import PROG, UsageError, say
from docker_images.client import DockerClient
from docker_images.errors import DockerImagesError, EngineResponseError, UnsupportedByEngineError
from docker_images.fleet import gather_images
from docker_images.images.models import ImageSummary
from docker_images.images.store import in_containerd
from docker_images.text import printable

__all__ = [
    "Warnings",
    "ask_each",
    "ask_one",
    "clients_of",
    "gather_wishes",
    "logged_by",
    "patience",
]

Images: TypeAlias = list[ImageSummary]
Answers: TypeAlias = dict[Named, Images | DockerImagesError]


class Answered(NamedTuple):
    """What an engine answered."""

    engine: str | None
    """Its name, where several were asked."""
    images: Images
    labelled: dict[str, Images]
    """For each label that was asked about, the images that it finds by it."""


def ask_each(
    options: argparse.Namespace,
    *,
    wish: Collection[str] = (),
    labels: Collection[str] = (),
    **more: bool,
) -> tuple[list[Answered], int]:
    """Those engines that answer, in the order of the command line, and the exit status.

    Where several were asked, one that fails is a line on stderr, and the status is 1. The only one
    raises what `list_images` raises. `wish` names what is asked of those engines only that can tell
    it. `labels` are asked about where a list may not show all that an image has.
    """
    with logged_by(Warnings(logging.WARNING)), patience(options):
        answers, labelled = anyio.run(_ask, options, question(options) | more, tuple(wish), labels)
    answered: list[Answered] = []
    status = 0
    for named, answer in answers.items():
        if not isinstance(answer, DockerImagesError):
            name = str(named) if len(answers) > 1 else None
            answered.append(Answered(name, answer, labelled[named]))
        elif len(answers) == 1:
            raise answer
        else:
            say(str(answer))
            status = 1
    return answered, status


def ask_one(options: argparse.Namespace, *, wish: Collection[str] = (), **more: bool) -> Images:
    """What the one engine answers; raises what `list_images` raises."""
    ((_, images, _),), _ = ask_each(options, wish=wish, labels=(), **more)
    return images


async def _ask(
    options: argparse.Namespace,
    asked: dict[str, Any],
    wish: tuple[str, ...],
    labels: Collection[str],
) -> tuple[Answers, dict[Named, dict[str, Images]]]:
    async with clients_of(options) as clients:
        answers = await gather_wishes(clients, asked, wish)
        labelled: dict[Named, dict[str, Images]] = {named: {} for named in clients}
        for label in labels:
            # A list of the containerd store shows the labels of one platform, its filter knows all.
            some = {
                named: clients[named]
                for named, answer in answers.items()
                if not isinstance(answer, DockerImagesError) and in_containerd(answer) is not False
            }
            for named, found in (await gather_images(some, all=True, label=label)).items():
                if isinstance(found, DockerImagesError):
                    answers[named] = found
                else:
                    labelled[named][label] = found
        return answers, labelled


@asynccontextmanager
async def clients_of(options: argparse.Namespace) -> AsyncIterator[dict[Named, DockerClient]]:
    """A client for each engine that the command line names, in its order."""
    async with AsyncExitStack() as stack:
        engines = list(dict.fromkeys(options.engines or [Named()]))
        if options.demo:
            demo = await stack.enter_async_context(_demo_engine())
            engines = [Named(host=demo.host)]
        clients: dict[Named, DockerClient] = {}
        for named in engines:
            client = DockerClient(named.host, context=named.context, timeout=options.timeout)
            clients[named] = await stack.enter_async_context(client)
        yield clients


async def gather_wishes(
    clients: dict[Named, DockerClient], asked: dict[str, Any], wish: tuple[str, ...]
) -> Answers:
    """All answers; an engine that refuses a wish is asked again without it."""
    answers = await gather_images(clients, **(asked | dict.fromkeys(wish, True)))
    again: dict[str, dict[Named, DockerClient]] = {}
    for named, answer in answers.items():
        refused = _refused(answer)
        if refused in wish:
            again.setdefault(refused, {})[named] = clients[named]
    for refused, some in again.items():
        answers |= await gather_wishes(some, asked, tuple(one for one in wish if one != refused))
    return answers


def _refused(answer: Images | DockerImagesError) -> str:
    """The option that an engine refuses, if that may be why it fails."""
    if isinstance(answer, UnsupportedByEngineError):
        return answer.option
    # What stands before the engine may refuse to tell of containers.
    return "containers" if isinstance(answer, EngineResponseError) else ""


def _demo_engine() -> Any:
    try:
        from docker_images.testing import FakeEngine, demo_images
    except ImportError:
        raise UsageError(
            "--demo needs h11; install it: pip install 'docker-images[testing]'"
        ) from None
    images = demo_images(time.time())
    for image, known in zip(images, demo_images(), strict=True):
        image.id, image.parent = known.id, known.parent  # the same each time, as the ages are
    return FakeEngine(images)


class Warnings(logging.Handler):
    """Prints what the library warns of, such as a config.json that cannot be read."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one warning."""
        say(f"warning: {record.getMessage()}")


@contextmanager
def logged_by(handler: logging.Handler) -> Iterator[None]:
    """Let `handler` have the library's log for a while."""
    log = logging.getLogger("docker_images")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def patience(options: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """While this waits for longer than a second, and somebody looks, show that it goes on.

    What it yields is called before anything else is written: it wipes the line, and the wait begins
    anew.
    """
    stderr = sys.stderr
    if stderr is None or not stderr.isatty():
        yield lambda: None
        return
    whom = ", ".join(dict.fromkeys(map(str, options.engines or ()))) or "the engine"
    over, turn = threading.Event(), threading.Lock()
    began, shown = time.monotonic(), False

    def tell() -> None:
        nonlocal shown
        while not over.wait(1 - (time.monotonic() - began) % 1):
            with turn:
                if seconds := int(time.monotonic() - began):
                    text = printable(f"{PROG}: waiting for {whom} … {seconds} s", 200)
                    stderr.write(f"\r{text[: _columns() - 1]}")
                    stderr.flush()
                    shown = True

    def wipe() -> None:
        nonlocal began, shown
        with turn:
            if shown:
                stderr.write(f"\r{' ' * (_columns() - 1)}\r")
                stderr.flush()
            began, shown = time.monotonic(), False

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield wipe
    finally:
        over.set()
        thread.join()
        wipe()


def _columns() -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80
