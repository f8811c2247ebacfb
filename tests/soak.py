"""Polls engines through random faults, and prints whether anything grows, leaks or is wrong.

    PYTHONPATH=. python tests/soak.py --seconds 3600 --backend trio

One client polls an engine that lies, breaks off, hangs and is killed every few seconds to come back
in another version; another one polls a real engine (`--host`, or a dockerd of its own where there
is one) over a wire that breaks. Both are asked by several tasks, some of which give up half-way.
The engines live in processes of their own: the figures are those of the client alone.
"""

import argparse
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import anyio
import anyio.lowlevel
import engines
import hostile
from anyio.abc import TaskStatus
from hostile import Peer

from docker_images import DockerClient, DockerImagesError, ImageSummary

AGENTS = 6
"""Tasks that poll each engine at once."""

# ── The engines, in processes of their own ──────────────────────────────────────────────────────


def liar(minor: int, chance: random.Random) -> hostile.Script:
    """An engine of API 1.`minor` that does one request in three an injustice."""
    version = {"Api-Version": f"1.{minor}"}

    def script(peer: Peer) -> None:
        while request := peer.request():
            if int(request.split(b"/v1.")[1].split(b"/")[0]) > minor:
                peer.send(hostile.OLD.replace(b"1.41", b"1.%d" % minor))
                continue
            chunks = chance.choice([None, 100, 5000])
            good = hostile.answer(
                hostile.images(chance.choice([1, 3, 300])), headers=version, chunks=chunks
            )
            match chance.randrange(30):
                case 0:
                    return
                case 1:
                    peer.reset()
                    return
                case 2:
                    peer.send(good[: chance.randrange(len(good))])
                    return
                case 3:
                    peer.send(good[: chance.randrange(len(good))])
                    peer.wait(5)
                    return
                case 4:
                    peer.wait(5)
                    return
                case 5:
                    peer.send(chance.randbytes(200))
                    return
                case 6:
                    peer.send(hostile.answer(b'{"message":"no"}', "500 Oops", version))
                case 7:
                    peer.send(hostile.answer(b"null", headers=version))
                case 8:
                    peer.send(good + good)
                case 9:
                    peer.send(good)
                    peer.wait(0.01)
                    peer.send(b"unasked")
                case _:
                    peer.send(good)

    return script


def breaking(host: str, chance: random.Random) -> hostile.Script:
    """A wire to a real engine that breaks now and then."""
    forward = hostile.forwarding(host)

    def script(peer: Peer) -> None:
        if chance.random() < 0.3:
            seconds = chance.random() * 0.2
            Timer(seconds, peer.hang_up).start()
        forward(peer)

    return script


def serve(kind: str, path: str, told: str, seed: int) -> None:
    """Be an engine until stdin ends."""
    chance = random.Random(seed)
    script = liar(int(told), chance) if kind == "liar" else breaking(told, chance)
    with hostile.serving(script, path=Path(path)):
        sys.stdin.read()


def start(kind: str, path: Path, told: str, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--serve", kind, str(path), told, str(seed)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=here)


def stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.send_signal(signal.SIGKILL)
    process.wait()


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


async def restarting(
    kind: str,
    path: Path,
    told: Callable[[], str],
    chance: random.Random,
    tally: Counter[str],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Keep an engine running that is killed every now and then; started once it listens."""
    while True:
        process = start(kind, path, told(), chance.randrange(2**32))
        try:
            while not listens(path):
                if process.poll() is not None:
                    raise RuntimeError(f"the engine {kind} ended with {process.returncode}")
                await anyio.sleep(0.02)
            if not tally[f"{kind}: killed"]:
                task_status.started()
            await anyio.sleep(1 + chance.random() * 4)
        finally:
            stop(process)
        tally[f"{kind}: killed"] += 1
        if chance.random() < 0.5:
            await anyio.Path(path).unlink(missing_ok=True)
        await anyio.sleep(chance.random() * 0.3)


# ── The agents ──────────────────────────────────────────────────────────────────────────────────


async def agent(
    name: str,
    client: DockerClient,
    right: Callable[[list[ImageSummary]], bool],
    chance: random.Random,
    tally: Counter[str],
    said: dict[str, str],
) -> None:
    """Poll for ever; count what comes of it, and keep what the last error of each kind said."""
    while True:
        try:
            with anyio.CancelScope() as scope:
                if chance.random() < 0.1:
                    scope.deadline = anyio.current_time() + chance.random() * 0.01
                found = await client.list_images(timeout=0.5)
                tally[f"{name}: lists" if right(found) else f"{name}: WRONG LISTS"] += 1
            if scope.cancelled_caught:
                tally[f"{name}: cancelled"] += 1
        except Exception as error:
            foreign = "" if isinstance(error, DockerImagesError) else "FOREIGN "
            kind = f"{name}: {foreign}{type(error).__name__}"
            tally[kind] += 1
            said[kind] = str(error)
        await anyio.sleep(chance.random() * 0.02)


def figures() -> dict[str, int]:
    """What must not grow."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    sockets = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            sockets += os.readlink(entry).startswith("socket:")
    return {
        "descriptors": hostile.descriptors(),
        "sockets": sockets,
        "KiB": resident // 1024,
        "tasks": len(anyio.get_running_tasks()),
        "objects": len(gc.get_objects()),
    }


async def soak(
    seconds: float,
    host: str | None,
    seed: int,
    say: Callable[[str], None],
    enough: Callable[[Counter[str]], bool] = lambda _: True,
) -> dict[str, Any]:
    """Poll for some seconds, and until that was enough; what was counted and said, and the figures.

    The seconds begin when all engines listen.
    """
    chance = random.Random(seed)
    tally: Counter[str] = Counter()
    said: dict[str, str] = {}
    series: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory(prefix="di-") as folder:
        before = figures()
        async with anyio.create_task_group() as tasks:
            paths = {"liar": Path(folder) / "liar.sock"}
            told: dict[str, Callable[[], str]] = {"liar": lambda: str(chance.choice([41, 44, 55]))}
            rights: dict[str, Callable[[list[ImageSummary]], bool]] = {
                "liar": lambda found: (
                    bool(found) and [image.id for image in found] == hostile.ids(len(found))
                )
            }
            if host is not None:
                listed = engines.call(host, "GET", "/v1.41/images/json").json()
                wanted = sorted(image["Id"] for image in listed)
                paths["real"] = Path(folder) / "real.sock"
                told["real"] = lambda: host
                rights["real"] = lambda found: sorted(image.id for image in found) == wanted
            clients = {name: DockerClient(f"unix://{path}") for name, path in paths.items()}
            for name, path in paths.items():
                await tasks.start(restarting, name, path, told[name], chance, tally)
            for name, client in clients.items():
                for _ in range(AGENTS):
                    tasks.start_soon(agent, name, client, rights[name], chance, tally, said)
            begun = anyio.current_time()
            while (past := anyio.current_time() - begun) < seconds or not enough(tally):
                await anyio.sleep(min(max(seconds - past, 0.1), max(seconds / 20, 1)))
                series.append(figures())
                say(f"{past:8.0f} s  {series[-1]}  {sum(tally.values())} polls")
            tasks.cancel_scope.cancel()
        for client in clients.values():
            await client.aclose()
        after = figures()
    return {
        "before": before,
        "during": series,
        "after": after,
        "tally": dict(sorted(tally.items())),
        "said": said,
    }


def bad(result: dict[str, Any]) -> list[str]:
    """What is wrong with a result."""
    found = [
        f"{name}: {result['said'].get(name, '')}"
        for name in result["tally"]
        if "WRONG" in name or "FOREIGN" in name
    ]
    before, after = result["before"], result["after"]
    return found + [
        f"{name} grew from {before[name]} to {after[name]}"
        for name in ("descriptors", "sockets", "tasks")
        if after[name] > before[name]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--host", help="a real engine; one of our own where left out")
    parser.add_argument("--no-engine", action="store_true", help="leave the real engine out")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        kind, path, told, seed = arguments.serve
        serve(kind, path, told, int(seed))
        return
    with ExitStack() as stack:
        host = arguments.host
        if host is None and not arguments.no_engine:
            host = engines.Live(stack).host(engines.at_hand("docker"))
        print(f"seed {arguments.seed}, {arguments.seconds:g} s on {arguments.backend}")
        result = anyio.run(
            soak, arguments.seconds, host, arguments.seed, print, backend=arguments.backend
        )
    print(
        json.dumps({name: result[name] for name in ("before", "after", "tally", "said")}, indent=2)
    )
    if problems := bad(result):
        sys.exit(f"BAD: {problems}")
    print("nothing leaked, nothing was wrong")


if __name__ == "__main__":
    main()
