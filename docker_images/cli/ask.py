"""From options to images: asks the engines that the command line names, and nobody else.

On a terminal a wait longer than a second shows that it goes on. Refuses to know what is shown.
"""

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any, TypeAlias

import anyio

from docker_images.cli.arguments import Named, question
from docker_images.cli.words import PROG, UsageError, say
from docker_images.client import DockerClient
from docker_images.errors import DockerImagesError, EngineResponseError, UnsupportedByEngineError
from docker_images.images.models import ImageSummary
from docker_images.text import printable

__all__ = ["Answers", "ask", "ask_one", "logged_by", "patience"]


Answers: TypeAlias = dict[Named, list[ImageSummary] | DockerImagesError]


def ask(options: argparse.Namespace, *, wish: Collection[str] = (), **more: bool) -> Answers:
    """What each engine answers, in the order of the command line.

    `wish` names what is asked of those engines only that can tell it.
    """
    engines = list(dict.fromkeys(options.engines or [Named()]))
    names = ", ".join(map(str, engines))
    with logged_by(_Warnings(logging.WARNING)), patience(names):
        return anyio.run(_ask, engines, options, question(options) | more, wish)


def ask_one(
    options: argparse.Namespace, *, wish: Collection[str] = (), **more: bool
) -> list[ImageSummary]:
    """What the one engine answers; raises what `list_images` raises."""
    (answer,) = ask(options, wish=wish, **more).values()
    if isinstance(answer, DockerImagesError):
        raise answer
    return answer


async def _ask(
    engines: list[Named], options: argparse.Namespace, asked: dict[str, Any], wish: Collection[str]
) -> Answers:
    async with AsyncExitStack() as stack:
        if options.demo:
            demo = await stack.enter_async_context(_demo_engine())
            engines = [Named(host=demo.host)]
        clients = {
            named: DockerClient(named.host, context=named.context, timeout=options.timeout)
            for named in engines
        }
        answers: Answers = {named: [] for named in engines}

        async def one(named: Named) -> None:
            async with clients[named] as client:
                try:
                    answers[named] = await _list(client, asked, wish)
                except DockerImagesError as error:
                    answers[named] = error

        if len(engines) == 1:
            await one(engines[0])
        else:
            async with anyio.create_task_group() as group:
                for named in engines:
                    group.start_soon(one, named)
        return answers


async def _list(
    client: DockerClient, asked: dict[str, Any], wish: Collection[str]
) -> list[ImageSummary]:
    left = list(wish)
    while True:
        try:
            return await client.list_images(**(asked | dict.fromkeys(left, True)))
        except UnsupportedByEngineError as error:
            if error.option not in left:
                raise
            left.remove(error.option)
        except EngineResponseError:
            if "containers" not in left:
                raise
            left.remove("containers")  # what stands before the engine may refuse to tell of them


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


class _Warnings(logging.Handler):
    """Prints what the library warns of, such as a config.json that cannot be read."""

    def emit(self, record: logging.LogRecord) -> None:
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
def patience(whom: str) -> Iterator[None]:
    """While this lasts longer than a second, and somebody looks, show that it goes on."""
    stderr = sys.stderr
    if stderr is None or not stderr.isatty():
        yield
        return
    over = threading.Event()

    def tell() -> None:
        seconds = 0
        while not over.wait(1):
            seconds += 1
            text = printable(f"{PROG}: waiting for {whom or 'the engine'} … {seconds} s", 200)
            stderr.write(f"\r{text[: _columns() - 1]}")
            stderr.flush()
        if seconds:
            stderr.write(f"\r{' ' * (_columns() - 1)}\r")
            stderr.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _columns() -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80
