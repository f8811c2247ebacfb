"""A watch of a fake engine of any shape, with a clock of the test: right at every rest.

Sockets, HTTP and faults are real, and time is not: it passes when the test says so, from one moment
that somebody waits for to the next, and only when nobody has anything to do. How long the machine
takes plays no part, so each rest is judged once.

    DOCKER_IMAGES_RESTS=10000 .venv/bin/python -m pytest -n auto -m slow tests/test_watch_rests.py

takes so many rests, of all shapes together; ten thousand take six minutes of CPU.
"""

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from docker_images import DockerClient, ImageSummary, ImagesUpdate
from docker_images.testing import ENGINE_NAMES, FakeEngine, faults, image
from docker_images.watch.clock import Clock
from docker_images.watch.watching import Source, Stream

pytestmark = pytest.mark.anyio

RESYNC = 300.0
QUIET = 30
"""Turns of the event loop in which nothing happens, after which nothing will. A turn looks at every
socket, and from one sign of life to the next it takes four of them."""
RESTS = int(os.environ.get("DOCKER_IMAGES_RESTS", "2000"))

WAYS = [
    pytest.param(name, backend, id=f"{name} {backend}")
    for number, name in enumerate(ENGINE_NAMES)
    for backend in (("asyncio", "trio")[number % 2],)
]


class Standing(Clock):
    """Stands still until the test lets time pass."""

    def __init__(self, draw: random.Random) -> None:
        self.time = 1_800_000_000.0
        self.stirs = 0
        self._draw = draw
        self._moments: dict[object, float] = {}
        self._scopes: dict[anyio.CancelScope, float] = {}

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return self._draw.random()

    async def wait(self, event: anyio.Event, until: float) -> None:
        mine = object()
        self._moments[mine] = until
        try:
            while not event.is_set() and self.time < until:
                await checkpoint()
        finally:
            del self._moments[mine]
            self.stirs += 1

    @contextmanager
    def scope(self, until: float) -> Iterator[anyio.CancelScope]:  # type: ignore[override]
        with anyio.CancelScope() as scope:
            self._scopes[scope] = until
            try:
                yield scope
            finally:
                del self._scopes[scope]

    def next(self, end: float) -> None:
        """Go to the next moment that somebody waits for, or to the end."""
        moments = (*self._moments.values(), *self._scopes.values())
        self.time = min(end, *(moment for moment in moments if moment > self.time), end)
        for scope, until in tuple(self._scopes.items()):
            if until <= self.time:
                scope.cancel()


class Counted:
    """A source that says whether somebody waits for it, and takes its time."""

    def __init__(self, source: Source, clock: Standing, takes: float) -> None:
        self._source, self._clock, self._takes = source, clock, takes
        self.asking = 0
        self.is_local = True
        """The sockets are: unlike tcp, what was sent is there. This is what the watch is told."""

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.asking += 1
        try:
            yield
        finally:
            self.asking -= 1
            self._clock.stirs += 1

    async def list(self) -> list[ImageSummary]:
        with self._counted():
            found = await self._source.list()
            self._clock.time += self._takes
            return found

    async def open(self, since: float | None) -> Stream:
        with self._counted():
            return await self._source.open(since)

    async def rest(self) -> None:
        await self._source.rest()

    def engine_time(self, age: float) -> float | None:
        return self._source.engine_time(age)


def in_threads() -> bool:
    """Whether something is done in a thread, such as finding words for why a stream broke.

    That takes the machine's time: a clock that goes on meanwhile leaves the watch behind.
    """
    return any(one.name == "docker_images" for one in threading.enumerate())


class Life:
    """What happens to an engine and its images, by chance."""

    def __init__(self, engine: FakeEngine, draw: random.Random) -> None:
        self._engine, self._draw = engine, draw
        self._number = 0
        self.silent = False
        """Whether something happened that only a resync finds."""
        self.is_late = False
        """Whether events may be on their way."""
        self.loses = False
        """Whether a stream may lose what is news, without a word."""
        self.tally: Counter[str] = Counter()

    def change(self) -> None:
        """Change the images; now and then without a word."""
        if self._draw.random() < 0.05:
            self.silent = True
            self.tally["silent"] += 1
            with self._engine.images.silently():
                self._change()
        else:
            self._change()

    def _change(self) -> None:
        images, draw = self._engine.images, self._draw
        held = list(images)
        kind = draw.choice(["add", "add nameless", "tag", "tag", "untag", "remove", "clear"])
        if len(held) > 12:
            kind = "remove"
        elif not held or (kind == "clear" and draw.random() < 0.8):
            kind = "add"
        self.tally[kind] += 1
        self._number += 1
        name = f"ev/{draw.choice('abcd')}:{draw.randrange(2)}"
        tags = [tag for one in held for tag in one.tags]
        match kind:
            case "add":
                images.add(image(name, created=1_700_000_000 + self._number))
            case "add nameless":
                images.add(image(created=1_700_000_000 + self._number))
            case "tag":  # a new one, or one that moves
                images.tag(draw.choice(held).id, name)
            case "untag" if tags:
                images.untag(draw.choice(tags))
            case "remove":
                images.remove(draw.choice(held).id)
            case "clear":
                images.clear()
            case _:
                pass

    def break_streams(self) -> None:
        """From the next stream on something else is wrong with it, or nothing."""
        draw = self._draw
        then = draw.choice(["close", "reset", "hang"])
        fault = draw.choice(
            [
                None,
                faults.error(draw.choice([403, 404, 500, 503]), path="/events"),
                faults.reset(path="/events"),
                faults.events(cut=draw.choice([0, draw.randrange(400), draw.randrange(2000)])),
                faults.events(cut=draw.randrange(900), then=then),  # type: ignore[arg-type]
                faults.events(late=draw.random() * 4),
                faults.events(lose=draw.randrange(1, 4)),
                faults.events(
                    twice=draw.random() < 0.5,
                    backwards=draw.random() < 0.5,
                    foreign=draw.choice([0, 0, 30]),
                    clock=draw.choice([0, -3600, 3600]),
                    late=draw.choice([0, 1]),
                ),
            ]
        )
        self._engine.faults[:] = [] if fault is None else [fault]
        self._look()
        self.tally["streams: " + ("good" if fault is None else fault.name)] += 1

    def begin_streams(self) -> None:
        """Let the faults be those of the stream there is; before, an old one may be open too."""
        self.is_late = self.loses = False
        self._look()

    def _look(self) -> None:
        for fault in self._engine.faults:
            told = fault.telling
            self.is_late |= told is not None and told.late > 0
            self.loses |= fault.then == "hang" or (told is not None and told.lose is not None)


async def rest_often(name: str, count: int) -> Counter[str]:
    """Let things happen between so many rests, and compare at each of them."""
    draw = random.Random(f"{name} {count}")
    clock = Standing(draw)
    engine = FakeEngine([image("web:1")], engine=name, clock=lambda: clock.time)
    known: list[ImageSummary] = []

    def add(update: ImagesUpdate) -> None:
        for one in (*update.removed, *(before for before, _ in update.changed)):
            known.remove(one)
        known.extend((*update.added, *(after for _, after in update.changed)))

    async with engine, DockerClient(engine.host) as client, DockerClient(engine.host) as other:
        life = Life(engine, draw)
        watch = client.watch_images(resync_interval=RESYNC)
        source = Counted(watch._source, clock, draw.choice([0, 0.03, 0.5]))
        source.is_local = draw.random() < 0.5
        watch._source, watch._clock = source, clock

        def state() -> object:
            return clock.stirs, source.asking, watch.events, len(engine.requests)

        async def settle() -> None:
            turns, seen = 0, state()
            while turns < QUIET:
                await checkpoint()
                busy = source.asking or seen != state() or in_threads()
                turns, seen = (0 if busy else turns + 1), state()

        async def passes(seconds: float) -> None:
            end = clock.time + seconds
            while True:
                await settle()
                if clock.time >= end:
                    return
                clock.next(min(end, clock.time + 1) if life.is_late else end)
                for wake in tuple(engine.images.listeners):
                    wake()  # an event that is late may be due

        async def consume() -> None:
            async for update in watch:
                life.tally["outages" if update.error else "updates"] += 1
                add(update)

        async with watch, anyio.create_task_group() as tasks:
            known += watch.images
            tasks.start_soon(consume)
            for number in range(count):
                life.silent = False
                for _ in range(draw.randrange(1, 6)):
                    match draw.randrange(8):
                        case 0:
                            life.break_streams()
                        case 1:
                            life.break_streams()
                            engine.restart()
                            life.begin_streams()
                        case 2:
                            engine.stop()
                            life.begin_streams()
                            life.change()
                            await passes(draw.random() * 60)
                            engine.start()
                            life.tally["stops"] += 1
                        case 3:
                            broken = faults.error(draw.choice([404, 500]), path="/images/json")
                            engine.faults.insert(0, broken)
                            life.change()
                            await passes(draw.random() * 10)
                            engine.faults.remove(broken)
                        case _:
                            life.change()
                    await passes(draw.choice([0, draw.random(), draw.random() * 8]))
                await passes(RESYNC + 40 if life.loses or life.silent else 40)
                there = await other.list_images()
                assert watch.images == there, (name, number, life.tally)
                assert sorted(known, key=repr) == sorted(there, key=repr), (name, number)
                assert client._engine is not None
                if watch.error is not None:
                    await passes(10)  # the stream could not be opened anew just now
                assert watch.error is None
                if watch.source == "events" and clock.time - watch._schedule._began > 15:
                    assert not client._engine.transport.pool._idle, "it keeps the stream alone"
                engine.requests.clear()
            tasks.cancel_scope.cancel()
    life.tally["reconnects"] += watch.reconnects
    return life.tally


@pytest.mark.parametrize(("name", "anyio_backend"), WAYS)
async def test_at_a_rest_the_watch_has_what_the_engine_lists(name: str, anyio_backend: str) -> None:
    await rest_often(name, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "anyio_backend"), WAYS)
async def test_at_each_of_many_rests_it_has_that(name: str, anyio_backend: str) -> None:
    tally = await rest_often(name, -(-RESTS // len(WAYS)))
    print(name, dict(sorted(tally.items())))
    assert tally["outages"]
    assert tally["reconnects"]
