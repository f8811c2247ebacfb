"""A watch of a live engine: random changes of every kind, cuts of the stream, restarts.

`DOCKER_IMAGES_RESTS` sets how many rests each engine has; the figures in docs/watching.md come from
100. The engine and whoever changes it belong to the main thread, the watch to another.
"""

import io
import json
import os
import random
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import ceil
from typing import Any

import engines
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hostile import Peer, Server, serving
from msgspec.structs import replace

from docker_images import DockerClient, ImageSummary, ImagesUpdate, ImagesWatch
from docker_images.errors import DockerImagesError

pytestmark = pytest.mark.slow

RESTS = int(os.environ.get("DOCKER_IMAGES_RESTS", "3"))
PATIENCE = 60.0
"""Seconds after which a change that was told to nobody counts as missed; a busy machine is slow."""
TAGS = 3000
"""More than a stream holds that nobody reads."""
LIST = "/v1.40/images/json"

# What an engine tells nobody, by the beginning of its name: docs/watching.md has the same table.
SILENT = {
    "podman": {"import without a name"},
    "docker": {"plain build without a name"},
    "docker 26.1 containerd": {"prune"},
}


class Cutting:
    """A wire to an engine whose stream of events can be cut, at any byte."""

    def __init__(self, host: str) -> None:
        self._path = host.removeprefix("unix://")
        self._left: int | None = None
        self._streams: set[Peer] = set()
        self.cuts = 0

    def cut(self, after: int) -> None:
        """Let so many bytes more of the stream pass."""
        self._left = after
        if not after:
            self._cut()

    def _cut(self) -> None:
        self._left = None
        for peer in list(self._streams):
            self.cuts += 1
            peer.hang_up()

    def __call__(self, peer: Peer) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._path)
            there = threading.Thread(target=self._ask, args=(peer, engine))
            there.start()
            with suppress(OSError):
                while data := engine.recv(65536):
                    left = self._left
                    if left is None or peer not in self._streams:
                        peer.send(data)
                    elif len(data) < left:
                        self._left = left - len(data)
                        peer.send(data)
                    else:
                        peer.send(data[:left])
                        self._cut()
            peer.hang_up()
            there.join()
            self._streams.discard(peer)

    def _ask(self, peer: Peer, engine: socket.socket) -> None:
        with suppress(OSError):
            while data := peer.socket.recv(65536):
                if b"/events?" in data:
                    self._streams.add(peer)
                engine.sendall(data)
        with suppress(OSError):
            engine.shutdown(socket.SHUT_RDWR)


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Changes:
    """Changes an engine, at random; each method is one kind, and does what a user would."""

    def __init__(self, host: str, draw: random.Random) -> None:
        self.host, self._draw = host, draw
        self._number = 0

    def any(self) -> str:
        """Make a change; what kind it was."""
        held = self.held()
        if len(held) > 14:
            return self.remove(held)
        kinds = [self.load, self.import_, self.build, self.tag, self.move, self.untag]
        kinds += [self.remove, self.prune, self.commit, self.save]
        return self._draw.choice(kinds)(held)

    def held(self) -> list[dict[str, Any]]:
        return list(engines.call(self.host, "GET", LIST).json())

    def _ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Any:
        found = engines.call(self.host, method, f"/v1.40{target}", body, headers)
        # A refusal is no failure of the test: the list has the last word.
        with suppress(ValueError):
            return found.json()
        return None

    def _fresh(self) -> str:
        self._number += 1
        return f"{self._number} {self._draw.random()}"

    def _name(self) -> str:
        return f"ev/{self._draw.choice('abcde')}:{self._draw.randrange(3)}"

    def _named(self, kind: str) -> tuple[str, str]:
        """A name or none, and the kind of change in words."""
        name = self._name() if self._draw.random() < 0.6 else ""
        return name, kind if name else f"{kind} without a name"

    def _tags(self, held: list[dict[str, Any]]) -> list[str]:
        return [tag for one in held for tag in one["RepoTags"] or () if "<none>" not in tag]

    def load(self, held: list[dict[str, Any]]) -> str:
        name, kind = self._named("load")
        engines.load(self.host, [{"tags": [name] if name else [], "layer": self._fresh()}])
        return kind

    def import_(self, held: list[dict[str, Any]]) -> str:
        name, kind = self._named("import")
        target = "/images/create?fromSrc=-" + (f"&repo={name}" if name else "")
        self._ask("POST", target, tar(file=self._fresh().encode()), **engines.TAR)
        return kind

    def build(self, held: list[dict[str, Any]]) -> str:
        steps, kind = self._draw.choice([("LABEL a=b\n", "build"), ("", "plain build")])
        name, kind = self._named(kind)
        dockerfile = f"FROM scratch\nCOPY file /\n{steps}".encode()
        context = tar(Dockerfile=dockerfile, file=self._fresh().encode())
        self._ask("POST", "/build?rm=1" + (f"&t={name}" if name else ""), context, **engines.TAR)
        return kind

    def tag(self, held: list[dict[str, Any]]) -> str:
        if not held:
            return self.load(held)
        repo, _, tag = self._name().partition(":")
        one = self._draw.choice(held)
        self._ask("POST", f"/images/{one['Id']}/tag?repo={repo}&tag={tag}")
        return "tag"

    def move(self, held: list[dict[str, Any]]) -> str:
        tags = self._tags(held)
        if not tags:
            return self.tag(held)
        name, one = self._draw.choice(tags), self._draw.choice(held)
        repo, _, tag = name.rpartition(":")
        self._ask("POST", f"/images/{one['Id']}/tag?repo={repo}&tag={tag}")
        return "moved tag"

    def untag(self, held: list[dict[str, Any]]) -> str:
        several = [one for one in held if len(self._tags([one])) > 1]
        if not several:
            return self.tag(held)
        name = self._draw.choice(self._tags([self._draw.choice(several)]))
        self._ask("DELETE", f"/images/{name}")
        return "untag"

    def remove(self, held: list[dict[str, Any]]) -> str:
        if not held:
            return self.load(held)
        self._ask("DELETE", f"/images/{self._draw.choice(held)['Id']}?force=1")
        return "remove"

    def prune(self, held: list[dict[str, Any]]) -> str:
        self._ask("POST", "/images/prune")
        return "prune"

    def commit(self, held: list[dict[str, Any]]) -> str:
        if not held:
            return self.load(held)
        name, kind = self._named("commit")
        options = json.dumps({"Image": self._draw.choice(held)["Id"], "Cmd": ["/x"]}).encode()
        json_type = {"Content-Type": "application/json"}
        made = self._ask("POST", "/containers/create", options, **json_type)
        if not isinstance(made, dict) or "Id" not in made:
            return self.save(held)
        repo, _, tag = name.partition(":")
        where = f"&repo={repo}&tag={tag}" if name else ""
        self._ask("POST", f"/commit?container={made['Id']}{where}", b"{}", **json_type)
        self._ask("DELETE", f"/containers/{made['Id']}?force=1")
        return kind

    def save(self, held: list[dict[str, Any]]) -> str:
        if self._tags(held):
            self._ask("GET", f"/images/get?names={self._draw.choice(self._tags(held))}")
        return "save"


def told(images: list[ImageSummary]) -> list[ImageSummary]:
    """The images without what makes no update."""
    return [replace(one, containers=None, shared_size=None) for one in images]


class Follower:
    """A watch in a thread of its own, and what its updates add up to."""

    def __init__(self, portal: BlockingPortal, host: str) -> None:
        self._portal = portal
        self._client = DockerClient(host)
        self.watch: ImagesWatch = self._client.watch_images()
        self.known: list[ImageSummary] = []
        self.updates: list[tuple[float, ImagesUpdate]] = []
        self.failure: BaseException | None = None
        self._entered = threading.Event()

    @contextmanager
    def following(self) -> Iterator[None]:
        running = self._portal.start_task_soon(self._follow)
        try:
            assert self._entered.wait(60)
            yield
        finally:
            running.cancel()

    async def _follow(self) -> None:
        try:
            async with self._client, self.watch:
                self.known = list(self.watch.images)
                self._entered.set()
                async for update in self.watch:
                    self._add(update)
                    self.updates.append((time.monotonic(), update))
        except Exception as error:
            self.failure = error

    def _add(self, update: ImagesUpdate) -> None:
        known = told(self.known)
        for one in (*update.removed, *(before for before, _ in update.changed)):
            known.remove(*told([one]))
        self.known = known + told([*update.added, *(after for _, after in update.changed)])

    def list(self) -> list[ImageSummary]:
        return list(self._portal.call(self._client.list_images))

    def is_right(self) -> bool:
        """Whether the watch has what the engine lists, and its updates add up to that."""
        if self.failure is not None:
            raise self.failure
        try:
            there = told(self.list())
        except DockerImagesError:
            return False
        by_id = sorted(told(self.known), key=repr)
        return told(self.watch.images) == there and sorted(there, key=repr) == by_id


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[max(0, ceil(len(values) * share) - 1)] if values else 0.0


def wait(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Daemon:
    """An engine that can be restarted, with the same data."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._name = name
        self.folder = stack.enter_context(engines.folder())
        self._running = stack.enter_context(ExitStack())
        self.host = self.start()

    def start(self) -> str:
        return self._running.enter_context(engines.start(self._name, self.folder))

    def stop(self) -> None:
        self._running.close()


@pytest.mark.parametrize("name", engines.NAMES)
def test_at_every_rest_the_watch_has_what_the_engine_lists(name: str) -> None:
    draw = random.Random(f"{name} {os.environ.get('DOCKER_IMAGES_SEED', '')}")
    silent = set().union(*(kinds for one, kinds in SILENT.items() if name.startswith(one)))
    tally: Counter[str] = Counter()
    soon: list[float] = []
    with ExitStack() as stack:
        daemon = Daemon(name, stack)
        changes = Changes(daemon.host, draw)
        for _ in range(4):
            changes.load([])
        wire = Cutting(daemon.host)
        server: Server = stack.enter_context(serving(wire))
        portal = stack.enter_context(start_blocking_portal())
        follower = Follower(portal, server.host)
        stack.enter_context(follower.following())
        listing = follower.watch.list_seconds
        for number in range(RESTS):
            assert wait(follower.is_right), f"not at rest before {number}: {tally}"
            # A quiet time: the trailing list is over, and so is a tenth of the time for lists.
            time.sleep(max(3, 10 * (follower.watch.list_seconds - listing)))
            listing = follower.watch.list_seconds
            seen = len(follower.updates)
            kinds: list[str] = []
            way = draw.choice(["one", "one", "several", "cut", "restart"])
            if way == "restart" and number % 5:
                way = "cut"
            for _ in range(1 if way == "one" else draw.randrange(1, 5)):
                kinds.append(changes.any())
                if way == "cut":
                    wire.cut(draw.choice([0, draw.randrange(400), draw.randrange(1500)]))
                    time.sleep(draw.random() * 0.4)
            if way == "restart":
                daemon.stop()
                time.sleep(draw.random() * 2)
                daemon.start()
                kinds.append(changes.any())
            ended = time.monotonic()
            tally.update(kinds)
            tally[f"({way})"] += 1
            unheard = silent.intersection(kinds)
            right = wait(follower.is_right, 10 if unheard else PATIENCE)
            if not right and unheard:
                tally["(called for)"] += 1
                wire.cut(0)  # the stream is opened anew: the same as a resync
                right = wait(follower.is_right)
            assert right, (number, way, kinds, told(follower.list()), told(follower.watch.images))
            news = follower.updates[seen:]
            if news:
                tally["(changed)"] += 1
            if way == "one" and news and not unheard:
                soon.append(news[0][0] - ended)
        watch = follower.watch
        print(
            f"\n{name}: {RESTS} rests, {tally['(changed)']} with changes, {wire.cuts} cuts, "
            f"{tally['(restart)']} restarts, {tally['(called for)']} called for; 0 wrong; "
            f"delivered (of {len(soon)}) p50 {percentile(soon, 0.5):.2f}, "
            f"p95 {percentile(soon, 0.95):.2f}, most {percentile(soon, 1):.2f} s; "
            f"{watch.lists} lists of {watch.list_seconds / watch.lists:.3f} s, "
            f"{watch.events} events; {dict(sorted(tally.items()))}"
        )


# ── Crowds ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def followed(name: str, *loaded: dict[str, Any]) -> Iterator[tuple[str, Follower]]:
    """An engine with these images, and a watch of it that is at rest."""
    with ExitStack() as stack:
        host = Daemon(name, stack).host
        if loaded:
            engines.load(host, loaded)
        follower = Follower(stack.enter_context(start_blocking_portal()), host)
        stack.enter_context(follower.following())
        time.sleep(3)
        yield host, follower


def in_threads(count: int, targets: list[tuple[str, str]], host: str) -> float:
    """Make requests, so many at once; the seconds that took."""
    left = list(reversed(targets))

    def ask() -> None:
        with suppress(IndexError):
            while True:
                engines.call(host, *left.pop())

    begun = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begun


@pytest.mark.parametrize("name", ["docker 28.5 containerd"])
def test_lists_that_race_with_the_removal_of_60_images_are_no_error_of_the_watch(name: str) -> None:
    refused = asked = 0
    with followed(name) as (host, follower):
        for number in range(3):
            loaded = [{"tags": [f"ev/{n}:1"], "layer": f"{number} {n}"} for n in range(60)]
            engines.load(host, loaded)
            assert wait(follower.is_right)
            time.sleep(10 * follower.watch.list_seconds / follower.watch.lists)
            over = threading.Event()

            def list_(over: threading.Event = over) -> None:
                nonlocal refused, asked
                while not over.is_set():
                    refused += engines.call(host, "GET", LIST).status != 200
                    asked += 1

            thread = threading.Thread(target=list_)
            thread.start()
            targets = [("DELETE", f"/v1.40/images/ev/{n}:1") for n in range(60)]
            in_threads(2, targets, host)
            over.set()
            thread.join()
            assert wait(follower.is_right)
            assert follower.watch.images == []
        assert [update.error for _, update in follower.updates if update.error] == []
        print(f"\n{name}: {refused} of {asked} plain lists failed, {follower.watch.lists} of ours")


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines keep their data in memory: waiting for a disk, 500 tags take longer than 5 s."""
    if os.path.ismount(memory := "/dev/shm"):
        monkeypatch.setattr(tempfile, "tempdir", memory)


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("name", ["docker 20.10", "docker 28.5 containerd"])
def test_500_tags_within_5_seconds_take_at_most_5_lists(name: str) -> None:
    loaded = [{"tags": [f"ev/{one}:1"], "layer": one} for one in "ab"]
    with followed(name, *loaded) as (host, follower):
        lists = follower.watch.lists
        # Twelve tags that move: with each one more, the containerd store takes longer for the next.
        tag = "/v1.40/images/ev/{}:1/tag?repo=many&tag={}"
        targets = [("POST", tag.format("ab"[n // 12 % 2], n % 12)) for n in range(500)]
        took = in_threads(4, targets, host)
        assert wait(follower.is_right)
        time.sleep(3)
        lists = follower.watch.lists - lists
        print(f"\n{name}: 500 tags in {took:.1f} s, {lists} lists")
        # A machine that needs longer makes pauses, and a pause of 0.3 s may mean a list.
        assert lists <= (5 if took <= 5 else took / 0.3)


IDLE = """
import sys
import anyio
from docker_images import DockerClient

async def main():
    async with DockerClient(sys.argv[1]) as client, client.watch_images() as watch:
        print("entered", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        print(watch.events, flush=True)

anyio.run(main)
"""
"""A program that watches an engine, and asks for no update; in the end, how many events came."""


@contextmanager
def watched_idly(host: str) -> Iterator[Callable[[], int]]:
    with subprocess.Popen(
        [sys.executable, "-c", IDLE, host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "entered\n"

        def ended() -> int:
            return int(process.communicate("\n", 60)[0])

        try:
            yield ended
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["docker 28.5 containerd"])
def test_a_watch_that_nobody_asks_does_not_slow_its_engine(name: str) -> None:
    """Two engines take turns, tag by tag, so that both have the same machine; one is watched."""

    def tag(host: str, number: int) -> float:
        begun = time.monotonic()
        target = f"/v1.40/images/ev/{'ab'[number % 2]}:1/tag?repo=moved&tag={number % 10 // 2}"
        assert engines.call(host, "POST", target).status == 201
        return time.monotonic() - begun

    with ExitStack() as stack:
        pair = [Daemon(name, stack) for _ in range(2)]
        loaded = [{"tags": [f"ev/{one}:1"], "layer": one} for one in "ab"]
        for one in pair:
            engines.load(one.host, loaded)
        ratios: list[float] = []
        for watched, other in (pair, pair[::-1]):  # one engine may be slower than the other
            with watched_idly(watched.host) as ended:
                cpu = [engines.cpu_of(one.folder) for one in (watched, other)]
                seconds: list[tuple[float, float]] = []
                for number in range(TAGS):
                    first = tag(watched.host, number) if number % 4 < 2 else None
                    without = tag(other.host, number)
                    seconds.append((first or tag(watched.host, number), without))
                cpu = [
                    engines.cpu_of(one.folder) - before
                    for one, before in zip((watched, other), cpu, strict=True)
                ]
                events = ended()
            assert events >= TAGS
            later = seconds[TAGS // 2 :]
            ratios.append(percentile([one / two for one, two in later], 0.5))
            medians = [1000 * percentile(list(each), 0.5) for each in zip(*later, strict=True)]
            print(
                f"\n{name}: a tag beside an idle watch {medians[0]:.1f} ms, without one "
                f"{medians[1]:.1f} ms, × {ratios[-1]:.3f} in pairs; CPU of the engine for each "
                f"{1000 * cpu[0] / TAGS:.2f} and {1000 * cpu[1] / TAGS:.2f} ms; {events=}"
            )
    slower = (ratios[0] * ratios[1]) ** 0.5
    print(f"× {slower:.3f}")
    assert slower < 1.5, "unread, each waits 100 ms"
