"""Watches an engine through random faults, and prints whether anything grows, leaks or is wrong.

    PYTHONPATH=. python tests/watch_soak.py --seconds 600 --backend trio

A fake engine in a process of its own changes all the time, stops, restarts, and breaks its streams
and lists in every way. One watch lives as long as the soak; others are left again and again, at any
moment. The figures are those of the client alone.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import anyio
import soak
from test_watch_rests import Life

from docker_images import DockerClient, DockerImagesError, ImagesUpdate
from docker_images.testing import FakeEngine, faults, image

LEAVERS = 5
INTERVALS = {"resync_interval": 5.0, "poll_interval": 1.0}


def serve(seed: int) -> None:
    """Be an engine until stdin says that it shall be a good one, and then until it ends."""
    draw = random.Random(seed)
    engine = FakeEngine([image("web:1")])
    over = False

    def listen() -> None:
        nonlocal over
        sys.stdin.readline()
        over = True

    Thread(target=listen, daemon=True).start()
    with engine:
        life = Life(engine, draw)
        print(engine.host, flush=True)
        while not over:
            match draw.randrange(60):
                case 0:
                    life.break_streams()
                case 1:
                    life.break_streams()
                    engine.restart()
                case 2:
                    engine.stop()
                    time.sleep(draw.random() * 0.5)
                    engine.start()
                case 3:
                    broken = [
                        faults.error(draw.choice([404, 500, 503]), path="/images/json"),
                        faults.truncated(path="/images/json"),
                        faults.reset(path="/images/json"),
                    ]
                    engine.faults.insert(0, draw.choice(broken))
                    time.sleep(draw.random() * 0.3)
                    engine.faults.clear()
                case _:
                    life.change()
            engine.requests.clear()
            time.sleep(draw.random() * 0.05)
        engine.faults.clear()
        engine.restart()
        print("good", flush=True)
        sys.stdin.read()


@contextmanager
def serving(seed: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """The engine's host, and what makes a good one of it."""
    command = [sys.executable, __file__, "--serve", str(seed)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def be_good() -> None:
            asked.write("be good\n")
            asked.flush()
            told.readline()

        try:
            yield told.readline().strip(), be_good
        finally:
            process.kill()


async def watching(
    client: DockerClient, tally: Counter[str], follow: Callable[[ImagesUpdate], object], name: str
) -> None:
    """Follow a watch for as long as one may; the first list may fail."""
    while True:
        try:
            async with client.watch_images(**INTERVALS) as watch:
                async for update in watch:
                    tally[f"{name}: {'outages' if update.error else 'updates'}"] += 1
                    follow(update)
        except DockerImagesError:
            tally[f"{name}: not entered"] += 1
            await anyio.sleep(0.05)


async def leaving(client: DockerClient, tally: Counter[str], draw: random.Random) -> None:
    while True:
        with anyio.move_on_after(draw.random() ** 4 * 5):
            await watching(client, tally, lambda _: None, "left")
        tally["left"] += 1


async def soaked(seconds: float, seed: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Watch for some seconds; what was counted, and the figures before, during and after."""
    draw = random.Random(seed)
    tally: Counter[str] = Counter()
    series: list[dict[str, int]] = []
    before = soak.figures()
    with serving(seed) as (host, be_good):
        client = DockerClient(host)
        last: list[ImagesUpdate] = []

        def follow(update: ImagesUpdate) -> None:
            last[:] = [update]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watching, client, tally, follow, "kept")
            for _ in range(LEAVERS):
                tasks.start_soon(leaving, client, tally, draw)
            begun = anyio.current_time()
            while (past := anyio.current_time() - begun) < seconds:
                await anyio.sleep(min(seconds - past, max(seconds / 20, 1)))
                series.append(soak.figures())
                say(f"{past:8.0f} s  {series[-1]}  {tally.total()} counted")
            await anyio.to_thread.run_sync(be_good)
            there = await client.list_images()
            with anyio.move_on_after(60):
                while not last or last[-1].images != there or last[-1].error:  # noqa: ASYNC110
                    await anyio.sleep(0.1)
            right = bool(last) and last[-1].images == there
            tasks.cancel_scope.cancel()
        await client.aclose()
    after = soak.figures()
    return {
        "before": before,
        "during": series,
        "after": after,
        "right": right,
        "tally": dict(sorted(tally.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    print(f"seed {arguments.seed}, {arguments.seconds:g} s on {arguments.backend}")
    uvloop = arguments.backend == "uvloop"
    result = anyio.run(
        *(soaked, arguments.seconds, arguments.seed),
        backend="asyncio" if uvloop else arguments.backend,
        backend_options={"use_uvloop": True} if uvloop else {},
    )
    result.pop("during")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
