"""What a watch takes in place of polls, on a real dockerd: requests, CPU of engine and client.

    PYTHONPATH=tests python -m tests.benchmarks.watch --seconds 1800

Three times Docker 28.5 with the containerd store and 300 images, at the same time, so that all have
the same machine: one is polled, one is watched, and nobody asks the third. First nothing happens
there, then a tag comes and goes every twenty seconds. Each client is a process of its own, and is
measured from half a minute after its first list on. CPU time is that of dockerd and all its
children, and of the client. Half an hour of each takes 65 minutes.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import engines

from docker_images import DockerClient

ENGINE = "docker 28.5 containerd"
IMAGES = 300
EVERY = 5.0
"""Seconds from the begin of one poll to that of the next."""
CHANGES_EVERY = 20.0
SETTLED = 30.0
DAY = 86_400


def begin() -> None:
    """Say that what follows is to be measured."""
    print("begin", flush=True)


async def watching(host: str, seconds: float) -> dict[str, float]:
    async with DockerClient(host) as client, client.watch_images() as watch:
        with anyio.move_on_after(SETTLED):
            async for _ in watch:
                pass
        begin()
        lists, cpu = watch.lists + watch.reconnects, time.process_time()
        with anyio.move_on_after(seconds):
            async for _ in watch:
                pass
        lists = watch.lists + watch.reconnects - lists
        return {"requests": lists, "own": time.process_time() - cpu}


async def polling(host: str, seconds: float) -> dict[str, float]:
    async with DockerClient(host) as client:
        await client.list_images()
        await anyio.sleep(SETTLED)
        begin()
        begun, cpu, count = anyio.current_time(), time.process_time(), 0
        while (now := anyio.current_time()) < begun + seconds:
            await client.list_images()
            count += 1
            await anyio.sleep_until(now + EVERY)
        return {"requests": count, "own": time.process_time() - cpu}


async def nothing(host: str, seconds: float) -> dict[str, float]:
    await anyio.sleep(SETTLED)
    begin()
    await anyio.sleep(seconds)
    return {"requests": 0, "own": 0.0}


CLIENTS = {"nobody asks": nothing, "polled every 5 s": polling, "watched": watching}


@contextmanager
def changing(host: str, busy: bool) -> Iterator[None]:
    """A tag that comes and goes, or nothing."""
    over = threading.Event()

    def change() -> None:
        there = False
        while busy and not over.wait(CHANGES_EVERY):
            there = not there
            if there:
                target = "/v1.40/images/many/000:1/tag?repo=busy&tag=1"
                engines.call(host, "POST", target)
            else:
                engines.call(host, "DELETE", "/v1.40/images/busy:1")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(host: str, folder: Path, kind: str, busy: bool, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.watch", "--client", kind, "--host", host]
    with changing(host, busy):
        client = subprocess.Popen(
            [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
        )
        assert client.stdout is not None
        client.stdout.readline()
        before, begun = engines.cpu_of(folder), time.monotonic()
        said = client.communicate()[0]
        took = time.monotonic() - begun
    found = {**json.loads(said), "engine": engines.cpu_of(folder) - before}
    return {
        "engine is": "busy" if busy else "idle",
        "client": kind,
        "seconds": round(took, 1),
        **{name: round(value, 3) for name, value in found.items()},
        **{f"{name} a day": round(value * DAY / took) for name, value in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--host", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        found = anyio.run(CLIENTS[arguments.client], arguments.host, arguments.seconds)
        print(json.dumps(found))
        return
    with ExitStack() as stack:
        folders = {kind: stack.enter_context(engines.folder()) for kind in CLIENTS}
        hosts = {
            kind: stack.enter_context(engines.start(ENGINE, folder))
            for kind, folder in folders.items()
        }
        together(lambda kind: engines.fill(hosts[kind], many=IMAGES), CLIENTS)
        for busy in (False, True):

            def run(kind: str, busy: bool = busy) -> None:
                found = measure(hosts[kind], folders[kind], kind, busy, arguments.seconds)
                print(json.dumps(found), flush=True)

            together(run, CLIENTS)


def together(function: Callable[[str], object], kinds: Iterable[str]) -> None:
    """Call it with each of them, at the same time."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(function, kinds))


if __name__ == "__main__":
    main()
