"""A watch: complete from the start, an update for each batch of changes, silent otherwise."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

import anyio
import engines
import pytest
from anyio.lowlevel import checkpoint

from docker_images import (
    DockerClient,
    EngineConnectionError,
    EngineResponseError,
    ImageSummary,
    ImagesUpdate,
    ImagesWatch,
)
from docker_images.engine.events import EventReader
from docker_images.errors import DockerImagesError
from docker_images.testing import FakeEngine, faults, image
from docker_images.watch.clock import Clock

pytestmark = pytest.mark.anyio


def asked(engine: FakeEngine, path: str) -> int:
    return [request.path for request in engine.requests].count(path)


async def next_of(watch: ImagesWatch) -> ImagesUpdate:
    with anyio.fail_after(60):
        return await anext(watch)


# On a fake engine


async def test_entering_lists_and_a_change_is_told_without_a_poll(anyio_backend: str) -> None:
    with FakeEngine([image("web:1")]) as engine:
        async with DockerClient(engine.host) as client, client.watch_images() as watch:
            assert [one.repo_tags for one in watch.images] == [("web:1",)]
            assert watch.source == "events"
            before = watch.images
            with anyio.move_on_after(0.5):  # until the stream is open
                await anext(watch)
            engine.images.add(image("db:1"))
            update = await next_of(watch)
            assert [one.repo_tags for one in update.added] == [("db:1",)]
            assert update.tag_changes == {"db:1": (None, update.added[0].id)}
            assert update.images is watch.images
            assert watch.images == await client.list_images()
            assert len(before) == 1, "a list is replaced, never changed"
            engine.images.untag("web:1")
            update = await next_of(watch)
            assert update.changed[0][1].repo_tags == ()
    assert asked(engine, "/events") == 1


async def test_the_question_is_that_of_a_list(anyio_backend: str) -> None:
    with FakeEngine([image("web:1", labels={"stage": "prod"}), image("db:1")]) as engine:
        async with (
            DockerClient(engine.host) as client,
            client.watch_images(label="stage=prod") as watch,
        ):
            assert len(watch.images) == 1
            engine.images.add(image("other:1"))
            engine.images.add(image("web:2", labels={"stage": "prod"}))
            update = await next_of(watch)
            assert [one.repo_tags for one in update.added] == [("web:2",)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def told(caplog: pytest.LogCaptureFixture, beginning: str) -> list[str]:
    return [warning for warning in warnings(caplog) if warning.startswith(beginning)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 501, 502, 503, 504])
async def test_where_events_are_refused_it_polls_and_says_so(
    anyio_backend: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeEngine([image("web:1")]) as engine:
        engine.faults.append(faults.error(status, path="/events"))
        async with (
            DockerClient(engine.host) as client,
            client.watch_images(poll_interval=0.05) as watch,
        ):
            engine.images.add(image("db:1"))
            assert len((await next_of(watch)).added) == 1
            assert watch.source == "polling"
            engine.images.add(image("db:2"))
            assert len((await next_of(watch)).added) == 1
        (told,) = warnings(caplog)
        assert told.startswith(f"no events: {engine.host} (host=) answered {status}")
        assert told.endswith("; listing every 0.05 s instead")


async def test_where_only_the_stream_breaks_it_polls(
    anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeEngine([image("web:1")]) as engine:
        engine.faults.append(faults.reset(path="/events"))
        async with (
            DockerClient(engine.host) as client,
            client.watch_images(poll_interval=0.05) as watch,
        ):
            assert (await next_of(watch)).error is not None
            assert (await next_of(watch)).error is None
            assert watch.source == "polling"
            number = 0
            while not told(caplog, "no events"):  # once the events were tried again, in vain
                number += 1
                engine.images.add(image(f"db:{number}"))
                assert len((await next_of(watch)).added) == 1
            engine.images.add(image("db:0"))
            assert len((await next_of(watch)).added) == 1
            engine.faults.clear()
    assert len(told(caplog, "no events")) == 1


async def test_where_the_head_of_the_stream_is_kept_it_polls(anyio_backend: str) -> None:
    with FakeEngine([image("web:1")]) as engine:
        engine.faults.append(faults.hang(path="/events"))
        async with (
            DockerClient(engine.host) as client,
            client.watch_images(poll_interval=0.05, timeout=1) as watch,
        ):
            engine.images.add(image("db:1"))
            assert len((await next_of(watch)).added) == 1
            assert watch.source == "polling"


async def test_an_engine_that_goes_is_told_once_and_so_is_its_return(anyio_backend: str) -> None:
    with FakeEngine([image("web:1")]) as engine:
        async with DockerClient(engine.host) as client, client.watch_images() as watch:
            with anyio.move_on_after(0.3):
                await anext(watch)
            await anyio.to_thread.run_sync(engine.stop)
            update = await next_of(watch)
            assert isinstance(update.error, EngineConnectionError)
            assert watch.error is update.error
            assert [one.repo_tags for one in update.images] == [("web:1",)]
            engine.images.add(image("db:1"))
            await anyio.to_thread.run_sync(engine.start)
            update = await next_of(watch)
            assert (update.error, watch.error) == (None, None)
            assert [one.repo_tags for one in update.added] == [("db:1",)]


async def test_entering_raises_what_a_list_raises(anyio_backend: str) -> None:
    with FakeEngine() as engine:
        engine.faults.append(faults.error(500))
        async with DockerClient(engine.host) as client:
            with pytest.raises(EngineResponseError):
                async with client.watch_images():
                    pass


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"resync_interval": 0}, r"resync_interval= must be positive and finite, not 0(\.0)?$"),
        ({"poll_interval": None}, "poll_interval= takes a number of seconds"),
        ({"timeout": -1}, "timeout= must be positive"),
        ({"reference": ""}, "empty"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_asked(
    arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        DockerClient().watch_images(**arguments)


async def test_a_second_task_may_not_iterate_at_the_same_time(anyio_backend: str) -> None:
    with FakeEngine() as engine:
        async with (
            DockerClient(engine.host) as client,
            client.watch_images() as watch,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(anext, watch)
            await anyio.sleep(0.05)
            with pytest.raises(RuntimeError, match="another task is already waiting"):
                await anext(watch)
            tasks.cancel_scope.cancel()


async def test_another_event_loop_may_not_iterate(anyio_backend: str) -> None:
    with FakeEngine() as engine:
        async with DockerClient(engine.host) as client, client.watch_images() as watch:

            def elsewhere() -> None:
                with pytest.raises(RuntimeError, match="entered in another event loop"):
                    anyio.run(anext, watch, backend=anyio_backend)

            await anyio.to_thread.run_sync(elsewhere)


async def test_who_is_cancelled_loses_nothing(anyio_backend: str) -> None:
    with FakeEngine() as engine:
        async with DockerClient(engine.host) as client, client.watch_images() as watch:
            seen: set[str] = set()
            for number in range(20):
                engine.images.add(image(f"web:{number}"))
                with anyio.move_on_after(number * 0.02):
                    seen |= {one.id for one in (await anext(watch)).added}
            while len(seen) < 20:
                seen |= {one.id for one in (await next_of(watch)).added}


@pytest.mark.parametrize(
    "error", [KeyError("mine"), ExceptionGroup("mine", [KeyError("mine")])], ids=["one", "a group"]
)
async def test_the_error_of_the_block_leaves_it_as_it_is(
    error: Exception, anyio_backend: str
) -> None:
    with FakeEngine() as engine:
        async with DockerClient(engine.host) as client:
            with pytest.raises(type(error)) as caught:
                async with client.watch_images():
                    raise error
            assert caught.value is error


async def test_a_watch_that_is_left_has_no_more_updates(anyio_backend: str) -> None:
    with FakeEngine() as engine:
        async with DockerClient(engine.host) as client:
            async with client.watch_images() as watch, anyio.create_task_group() as tasks:

                async def iterate() -> None:
                    async for _ in watch:
                        pass

                tasks.start_soon(iterate)
                await anyio.sleep(0.05)
                tasks.cancel_scope.cancel()
            assert [update async for update in watch] == []


async def test_a_client_that_is_closed_meanwhile_is_an_error_of_its_user(
    anyio_backend: str,
) -> None:
    with FakeEngine() as engine:
        client = DockerClient(engine.host)
        async with client.watch_images() as watch:
            await client.aclose()
            await anyio.to_thread.run_sync(engine.restart)
            with pytest.raises(RuntimeError, match="this client is closed"):
                await next_of(watch)


def test_a_task_that_is_cancelled_ends_cancelled() -> None:
    with FakeEngine() as engine:

        async def iterate() -> None:
            async with DockerClient(engine.host) as client, client.watch_images() as watch:
                async for _ in watch:
                    pass

        async def main() -> None:
            task = asyncio.create_task(iterate())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())


def test_who_only_lists_does_not_load_the_watch() -> None:
    program = (
        "import docker_images, sys; docker_images.DockerClient();"
        "print([name for name in sys.modules if 'watch' in name or name.endswith('.diff')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# With a clock of the test


class Jumping(Clock):
    """Jumps to the next moment when nothing else is to be done."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.stirs = 0
        """Counts whatever somebody does: nobody jumps while it does."""
        self._waiting: dict[object, float] = {}

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return 1.0

    async def wait(self, event: anyio.Event, until: float) -> None:
        """One task of the watch after the other may jump: the one with the nearest moment."""
        mine = object()
        self._waiting[mine] = until
        self.stirs += 1
        try:
            turns, seen = 0, self.stirs
            while not event.is_set() and self.time < until:
                await checkpoint()
                turns, seen = (turns + 1 if seen == self.stirs else 0), self.stirs
                # Whoever has something to do does it in no time.
                if turns > 12 and until == min(self._waiting.values()) < inf:
                    self.time = until
        finally:
            self.stirs += 1
            del self._waiting[mine]

    def scope(self, until: float) -> anyio.CancelScope:
        return anyio.CancelScope()


class Script:
    """An engine without a network: its list, its events, and its outages, all at once."""

    is_local = True

    def __init__(self, clock: Jumping, takes: float = 0.03) -> None:
        self.clock, self.takes = clock, takes
        self.images: list[ImageSummary] = []
        self.down: DockerImagesError | None = None
        self.refusals = 0
        self.refuses = False
        self.breaks = 0
        """How many streams cannot be opened though lists come."""
        self.repeats = False
        """Whether a stream tells of a minute ago, and ends."""
        self.asked = 0
        self.lists: list[tuple[float, float]] = []
        self.attempts = 0
        self.streams: list[ScriptStream] = []

    async def list(self) -> list[ImageSummary]:
        self.asked += 1
        self.clock.stirs += 1
        await checkpoint()
        if self.down is not None:
            raise self.down
        if self.refusals:
            self.refusals -= 1
            raise EngineResponseError("gone", status=404)
        began, found = self.clock.time, list(self.images)
        self.clock.time += self.takes
        self.lists.append((began, self.clock.time))
        return found

    async def open(self, since: float | None) -> "ScriptStream":
        self.attempts += 1
        self.clock.stirs += 1
        await checkpoint()
        if self.down is not None:
            raise self.down
        if self.refuses:
            raise EngineResponseError("no events", status=403)
        if self.breaks:
            self.breaks -= 1
            raise EngineConnectionError("broken")
        self.streams.append(stream := ScriptStream())
        if self.repeats:
            stream.tell(self.clock.time - 60)
            stream.end()
        return stream

    async def rest(self) -> None:
        pass

    def engine_time(self, age: float) -> float | None:
        return self.clock.time - age - 1

    def change(self, number: int) -> None:
        self.images = [ImageSummary(id=f"sha256:{number}")]
        self.streams[-1].tell(self.clock.time)

    def fail(self) -> None:
        self.down = EngineConnectionError("down")
        self.streams[-1].end()


class ScriptStream:
    """Events that a test tells."""

    def __init__(self) -> None:
        self.reader = EventReader(())
        self._send, self._receive = anyio.create_memory_object_stream[bytes](10_000)

    def tell(self, at: float) -> None:
        with suppress(anyio.ClosedResourceError):  # nobody hears it
            self._send.send_nowait(b'{"Type":"image","Action":"tag","timeNano":%d}\n' % (at * 1e9))

    def end(self) -> None:
        self._send.close()

    async def receive(self) -> bytes:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            return b""

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def scripted(
    takes: float = 0.03, **options: float
) -> AsyncIterator[tuple[Script, ImagesWatch]]:
    clock = Jumping()
    script = Script(clock, takes)
    intervals = {"resync_interval": 300.0, "poll_interval": 30.0, **options}
    async with ImagesWatch(script, clock=clock, **intervals) as watch:
        await run(watch, lambda: bool(script.streams))
        yield script, watch


async def run(watch: ImagesWatch, until: Callable[[], bool]) -> list[ImagesUpdate]:
    """Iterate until something holds; the updates."""
    updates: list[ImagesUpdate] = []
    with anyio.fail_after(60):
        while not until():
            if (update := await watch._next()) is not None:
                updates.append(update)
    return updates


async def return_of(script: Script, watch: ImagesWatch) -> float:
    """Let the engine be back at the worst moment, right after an attempt; when that is."""
    asked = script.asked
    await run(watch, lambda: script.asked > asked)
    script.down = None
    return script.clock.time


async def test_an_hour_without_a_change_takes_a_list_every_resync(anyio_backend: str) -> None:
    async with scripted() as (script, watch):
        assert await run(watch, lambda: script.clock.time > 4600) == []
    assert len(script.lists) <= 3 + 3600 / 300 + 1
    assert script.attempts == 1


async def test_an_outage_of_an_hour_costs_few_attempts_and_its_end_is_found_soon(
    anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted() as (script, watch):
        await run(watch, lambda: script.clock.time > 1010)
        script.fail()
        before = script.asked
        (outage,) = await run(watch, lambda: script.clock.time > 4610)
        assert outage.error is script.down
        assert script.asked - before + script.attempts <= 170
        back = await return_of(script, watch)
        (update,) = await run(watch, lambda: watch.error is None)
        assert update.error is None
        assert script.lists[-1][0] - back <= 30
    assert warnings(caplog) == [str(outage.error)]


async def test_a_burst_of_500_events_takes_few_lists(anyio_backend: str) -> None:
    async with scripted() as (script, watch):
        await run(watch, lambda: script.clock.time > 1100)
        before, begin = len(script.lists), script.clock.time
        for number in range(500):
            script.change(number)
            await run(watch, lambda number=number: script.clock.time >= begin + number / 100)
            script.clock.time = max(script.clock.time, begin + (number + 1) / 100)
        await run(watch, lambda: script.clock.time > begin + 60)
        assert watch.images == script.images
        assert len(script.lists) - before <= 5


@pytest.mark.parametrize("takes", [0.03, 3.0, 60.0])
async def test_at_most_a_tenth_of_the_time_is_spent_on_lists(
    anyio_backend: str, takes: float
) -> None:
    async with scripted(takes) as (script, watch):
        number = 0
        ends = script.clock.time + 1200 + 60 * takes
        while script.clock.time < ends:
            number += 1
            script.change(number)
            moment = script.clock.time + 1
            await run(watch, lambda moment=moment: script.clock.time >= moment)
    first = script.lists[0][1]  # entering is free
    for begin in range(int(first), int(ends) - 600, 60):
        end = begin + 600
        spent = sum(max(0.0, min(e, end) - max(b, begin)) for b, e in script.lists[1:])
        assert spent <= 60 + 1e-6, (begin, spent)


async def test_what_a_proxy_says_of_an_engine_that_is_down_is_an_outage_as_any_other(
    anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted() as (script, watch):
        await run(watch, lambda: script.clock.time > 1010)
        script.down = EngineResponseError("no engine", status=503)
        script.streams[-1].end()
        before = script.asked
        (outage,) = await run(watch, lambda: script.clock.time > 4610)
        assert outage.error is script.down
        assert script.asked - before + script.attempts <= 170
        back = await return_of(script, watch)
        (update,) = await run(watch, lambda: watch.error is None)
        assert update.error is None
        assert script.lists[-1][0] - back <= 30
        await run(watch, lambda: watch.source == "events")
        assert script.clock.time - script.lists[-1][1] <= 1
    assert warnings(caplog) == [str(outage.error)]


@pytest.mark.parametrize(("refusals", "news"), [(1, 0), (5, 0), (8, 1)])
async def test_a_list_that_is_refused_is_asked_again_before_that_is_an_outage(
    anyio_backend: str, refusals: int, news: int
) -> None:
    async with scripted() as (script, watch):
        await run(watch, lambda: script.clock.time > 1100)
        script.refusals = refusals
        script.change(1)
        updates = await run(watch, lambda: watch.images == script.images)
        assert len([update for update in updates if update.error]) == news


class Slow(Script):
    """Its lists wait until the test has them go on."""

    def __init__(self, clock: Jumping) -> None:
        super().__init__(clock)
        self.go_on = anyio.Event()
        self.waiting = anyio.Event()
        self.begun = 0

    async def list(self) -> list[ImageSummary]:
        self.begun += 1
        self.waiting.set()
        await self.go_on.wait()
        return await super().list()


async def test_two_tasks_cannot_enter_a_watch_at_the_same_time(anyio_backend: str) -> None:
    clock = Jumping()
    script = Slow(clock)
    watch = ImagesWatch(script, resync_interval=300, poll_interval=30, clock=clock)

    async def enter() -> None:
        async with watch:
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await script.waiting.wait()
        with anyio.fail_after(1), pytest.raises(RuntimeError, match="entered only once"):
            await watch.__aenter__()
        script.go_on.set()
    assert watch.closed


async def test_who_waits_for_less_than_a_list_takes_has_it_in_the_end(anyio_backend: str) -> None:
    clock = Jumping()
    script = Slow(clock)
    script.go_on.set()
    async with ImagesWatch(script, resync_interval=300, poll_interval=30, clock=clock) as watch:
        script.go_on, script.waiting = anyio.Event(), anyio.Event()
        script.images = [ImageSummary(id="sha256:1")]
        for _ in range(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.__anext__)
                await script.waiting.wait()
                tasks.cancel_scope.cancel()
        assert script.begun == 2, "the first one, and one more"
        script.go_on.set()
        assert [one.id for one in (await next_of(watch)).added] == ["sha256:1"]
        assert script.begun == 2


@pytest.mark.parametrize("down", [False, True], ids=["a list", "an outage"])
async def test_what_comes_after_a_watch_was_left_changes_nothing(
    down: bool, anyio_backend: str
) -> None:
    clock = Jumping()
    script = Slow(clock)
    script.go_on.set()
    updates: list[ImagesUpdate] = []
    async with anyio.create_task_group() as tasks:

        async def iterate() -> None:
            updates.extend([update async for update in watch])

        async with ImagesWatch(script, resync_interval=300, poll_interval=30, clock=clock) as watch:
            script.go_on, script.waiting = anyio.Event(), anyio.Event()
            tasks.start_soon(iterate)
            await script.waiting.wait()
        script.images = [ImageSummary(id="sha256:1")]
        script.down = EngineConnectionError("down") if down else None
        script.go_on.set()
    assert (updates, watch.images, watch.error, watch.lists) == ([], [], None, 1)


class Flood(ScriptStream):
    """Events that are always there already: nobody ever waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    async def receive(self) -> bytes:
        self.sent += 1
        return b'{"Type":"image","Action":"tag"}\n' * 1000 if self.sent < 100 else b""


class Flooding(Script):
    async def open(self, since: float | None) -> ScriptStream:
        self.streams.append(Flood())
        return self.streams[-1]


async def test_a_flood_of_events_leaves_the_event_loop_its_turns(anyio_backend: str) -> None:
    clock = Jumping()
    script = Flooding(clock)
    async with ImagesWatch(script, resync_interval=300, poll_interval=30, clock=clock):
        for _ in range(30):
            await checkpoint()
        flood = script.streams[0]
        assert isinstance(flood, Flood)
        assert 0 < flood.sent < 30, "of 30 turns each is for less than a piece"


async def test_the_return_of_an_engine_that_had_no_events_is_a_reason_to_ask_for_them(
    anyio_backend: str,
) -> None:
    async with scripted() as (script, watch):
        await run(watch, lambda: script.clock.time > 1010)
        script.refuses = True
        script.streams[-1].end()
        await run(watch, lambda: watch.source == "polling")
        script.refuses, script.down = False, EngineConnectionError("down")
        (update,) = await run(watch, lambda: watch.error is not None)
        assert update.error is script.down
        script.down = None
        await run(watch, lambda: watch.error is None)
        back = script.clock.time
        await run(watch, lambda: watch.source == "events")
        assert script.clock.time - back <= 1


async def test_streams_that_only_repeat_what_is_known_and_end_are_none(anyio_backend: str) -> None:
    async with scripted() as (script, watch):
        script.repeats = True
        script.streams[-1].end()
        await run(watch, lambda: script.clock.time > 1100)
        assert watch.source == "polling"
        assert script.attempts <= 4


@pytest.mark.parametrize(("breaks", "seconds"), [(0, 1), (2, 2), (3, 301)])
async def test_a_stream_that_breaks_as_the_engine_returns_is_tried_three_times(
    anyio_backend: str, breaks: int, seconds: float
) -> None:
    async with scripted() as (script, watch):
        await run(watch, lambda: script.clock.time > 1010)
        script.fail()
        await run(watch, lambda: watch.source == "polling")
        assert watch.error is script.down
        script.down, script.breaks = None, breaks
        await run(watch, lambda: watch.error is None)
        back = script.clock.time
        assert await run(watch, lambda: watch.source == "events") == [], "no other outage"
        assert script.clock.time - back <= seconds


async def test_a_change_without_a_word_is_found_at_the_resync(anyio_backend: str) -> None:
    async with scripted(resync_interval=60.0) as (script, watch):
        await run(watch, lambda: script.clock.time > 1100)
        begin = script.clock.time
        script.images = [ImageSummary(id="sha256:silent")]
        (update,) = await run(watch, lambda: watch.images == script.images)
        assert len(update.added) == 1
        assert script.clock.time - begin <= 61


@pytest.mark.parametrize(
    ("anyio_backend", "seed"), [(("asyncio", "trio")[seed % 2], seed) for seed in range(20)]
)
async def test_at_every_rest_the_list_of_the_watch_is_that_of_the_engine(
    anyio_backend: str, seed: int
) -> None:
    draw = random.Random(seed)
    async with scripted() as (script, watch):
        known = list(watch.images)
        number = 0
        for _ in range(50):
            for _ in range(draw.randrange(1, 6)):
                match draw.choice(("change", "cut", "silent", "down", "nothing")):
                    case "change" if script.down is None:
                        number += 1
                        script.change(number)
                    case "cut":
                        script.streams[-1].end()
                    case "silent":
                        number += 1
                        script.images = [ImageSummary(id=f"sha256:{number}")]
                    case "down":
                        script.fail()
                    case _:
                        pass
                moment = script.clock.time + draw.random() * 5
                for update in await run(watch, lambda moment=moment: script.clock.time >= moment):
                    known = [one for one in known if one not in update.removed]
                    known += update.added
            script.down = None
            moment = script.clock.time + 700
            for update in await run(watch, lambda moment=moment: script.clock.time >= moment):
                known = [one for one in known if one not in update.removed]
                known += update.added
            assert watch.images == script.images == known
            assert watch.error is None


# On live engines


@pytest.mark.parametrize("name", engines.quickly())
def test_a_live_engine_tells_of_every_change_of_a_tag(live: engines.Live, name: str) -> None:
    host = live.host(name)

    async def main() -> None:
        async with DockerClient(host) as client, client.watch_images() as watch:
            with anyio.move_on_after(3):  # the stream is open, the engine listens
                await anext(watch)
            assert watch.source == "events"
            tagged = "/v1.40/images/demo/web:1.0/tag?repo=watched/web&tag=1"
            for method, target in (("POST", tagged), ("DELETE", "/v1.40/images/watched/web:1")):
                await anyio.to_thread.run_sync(engines.call, host, method, target)
                with anyio.fail_after(60):
                    update = await anext(watch)
                assert any("watched/web:1" in tag for tag in update.tag_changes), update
                assert watch.images == await client.list_images()

    anyio.run(main)
