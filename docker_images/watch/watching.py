"""A watch: an event wakes, the list decides.

Knows the one reader of the stream and the one consumer of updates, and what they tell each other.
When to list is known in `schedule`; no image is ever made from an event.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from math import inf
from types import TracebackType
from typing import Literal, Protocol, Self

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint, current_token

from docker_images.diff import ImageChanges, diff_steps
from docker_images.engine.events import EventReader
from docker_images.errors import (
    ApiVersionError,
    DockerImagesError,
    EndpointError,
    EngineResponseError,
    EngineTimeoutError,
    UnsupportedByEngineError,
)
from docker_images.images.models import ImageSummary
from docker_images.watch.clock import Clock
from docker_images.watch.schedule import Backoff, Schedule

__all__ = ["ImagesUpdate", "ImagesWatch", "Source", "Stream"]

_log = logging.getLogger("docker_images")

# What waiting does not help.
HOPELESS = (ApiVersionError, EndpointError, UnsupportedByEngineError)
QUIET = 10.0  # seconds without a list, for which connections are not kept
SHORT = 1.0  # seconds; a stream that ends so soon, without any news, was none
SHORT_AT_MOST = 3  # in a row, those among them that could not be opened
AT_ONCE = 4096  # bytes of events that are read in one step, in a millisecond or two


class Stream(Protocol):
    """A stream of events, open."""

    reader: EventReader

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end. Raises `DockerImagesError`."""
        ...

    async def aclose(self) -> None:
        """Close it."""
        ...


class Source(Protocol):
    """Where a watch gets its lists and events from."""

    @property
    def is_local(self) -> bool:
        """Whether a connection cannot die in silence."""
        ...

    async def list(self) -> list[ImageSummary]:
        """The whole list, anew. Raises `DockerImagesError`."""
        ...

    async def open(self, since: float | None) -> Stream:
        """Open the stream, with the events since that time of the engine's clock."""
        ...

    async def rest(self) -> None:
        """Close what is open for lists: there will be none for a while."""
        ...

    def engine_time(self, age: float) -> float | None:
        """What the engine's clock said `age` seconds ago, or a bit less; None if nobody knows."""
        ...


class ImagesUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of changes, the start of an outage, or its end."""

    at: datetime
    """When this was found, by the clock of this machine; aware, in UTC."""
    images: list[ImageSummary]
    """The list now, in order; during an outage, the last one."""
    added: tuple[ImageSummary, ...] = ()
    """Images that were not in the list before."""
    removed: tuple[ImageSummary, ...] = ()
    """Images that are not in the list any more."""
    changed: tuple[tuple[ImageSummary, ImageSummary], ...] = ()
    """Images that differ, before and after; see `ImageChanges.changed`."""
    tag_changes: dict[str, tuple[str | None, str | None]] = {}
    """Each tag that moved to another image; see `ImageChanges.tag_changes`."""
    error: DockerImagesError | None = None
    """Why the engine cannot be reached at the moment; None if it can, or can again."""


class _Asked:
    """A list that was asked for: who is cancelled while it is made finds it the next time."""

    def __init__(self, began: float) -> None:
        self.began: float = began
        self.ended: float = began
        self.at: datetime = datetime.now(UTC)  # when it came
        self.outcome: list[ImageSummary] | Exception | None = None  # None where it was cut off
        self.done = anyio.Event()


class ImagesWatch:
    """The images of an engine, and an update for each batch of changes.

        async with client.watch_images() as watch:
            print(len(watch.images), "images")
            async for update in watch:
                print(update.added, update.removed, update.tag_changes, update.error)

    Made by `DockerClient.watch_images`. Entering lists once, and raises what `list_images` raises.
    Lists are made while you wait for an update, so keep iterating to keep `images` fresh. Nothing
    is lost in between, because the next list covers it. Only one task can iterate at a time.
    """

    def __init__(
        self,
        source: Source,
        *,
        resync_interval: float,
        poll_interval: float,
        clock: Clock | None = None,
    ) -> None:
        self.images: list[ImageSummary] = []
        """The list as of `updated_at`, in order; always replaced by a new list, never changed."""
        self.updated_at: datetime | None = None
        """When the last list was received, by the clock of this machine; None before the first."""
        self.source: Literal["events", "polling"] = "events"
        """`"polling"` if the engine, or something in front of it, refuses events."""
        self.error: DockerImagesError | None = None
        """Why the engine cannot be reached at the moment; None if it can."""
        self.lists: int = 0
        """How many lists were received."""
        self.events: int = 0
        """How many events were received, including those that change no image."""
        self.reconnects: int = 0
        """How often the event stream was reopened."""
        self.list_seconds: float = 0.0
        """How long all lists took together."""
        self._source, self._clock = source, clock or Clock()
        self._resync, self._poll = resync_interval, poll_interval
        self._entered = False
        self._tasks: TaskGroup | None = None
        self._wake = anyio.Event()
        self._anew = anyio.Event()  # the engine is back: perhaps it has events again
        self._failure: Exception | None = None  # of the reader
        self._closed = False
        self._news = 0  # events that were a reason for a list at once
        self._listed_at = 0.0  # by the engine's clock, when the last list began
        self._asked: _Asked | None = None  # until the consumer has seen what came of it
        self._outage: DockerImagesError | None = None  # that the consumer is to be told of
        self._without = ""  # why there are no events, until that is logged
        self._iterating = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a watch can be entered only once; create another one")
        self._entered = True
        asked = _Asked(self._clock.now())
        try:
            images = await self._source.list()
        except BaseException:
            self._entered = False
            raise
        asked.ended, asked.at = self._clock.now(), datetime.now(UTC)
        self._schedule = Schedule(
            asked.began,
            interval=self._resync if self._source.is_local else inf,
            poll=self._poll,
            reopen=self._resync,
        )
        self._take(images, asked, free=True)
        self._loop = current_token().native_token
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        self._closed = True
        self._wake.set()
        self._tasks.cancel_scope.cancel()
        try:
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            # The reader raises nothing: what comes out is what the caller's block raised.
            if exc is not None and set(_leaves(group)) == set(_leaves(exc)):
                return False
            raise

    @property
    def closed(self) -> bool:
        """Whether the `async with` block was left: the list will not change any more."""
        return self._closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImagesUpdate:
        """Wait for the next update.

        Cancelling the wait loses nothing. A second task that waits at the same time gets a
        `RuntimeError`. There are no more updates after the `async with` block is left.
        """
        if self._tasks is None:
            raise RuntimeError("enter the watch first: async with client.watch_images() as watch")
        if current_token().native_token is not self._loop:
            raise RuntimeError("this watch was entered in another event loop; iterate there")
        if self._iterating:
            raise RuntimeError("another task is already waiting for an update of this watch")
        self._iterating = True
        try:
            while True:
                if (update := await self._next()) is not None:
                    return update
        finally:
            self._iterating = False

    # ── The consumer ────────────────────────────────────────────────────────────────────────────

    async def _next(self) -> ImagesUpdate | None:
        """Wait until there is something to do, and do it."""
        if self._closed:
            raise StopAsyncIteration
        if self._failure is not None:
            raise self._failure
        self._wake = anyio.Event()
        if self._asked is None:
            if self._outage is not None:
                outage, self._outage = self._outage, None
                return self._failed(outage)
            due = self._schedule.due()
            if (pause := due - self._clock.now()) > 0:
                if pause > QUIET:
                    await self._source.rest()
                await self._clock.wait(self._wake, due)
                return None
            assert self._tasks is not None
            self._asked = _Asked(self._clock.now())
            self._tasks.start_soon(self._list, self._asked)
        asked = self._asked
        await asked.done.wait()
        if self._closed or asked.outcome is None:
            return None
        if isinstance(asked.outcome, Exception):
            error, asked.outcome, self._asked = asked.outcome, None, None
            try:
                return self._refused(error)
            finally:
                del error  # its traceback may refer to this frame: no cycle
        images = asked.outcome
        changes: ImageChanges | None = None
        for changes in diff_steps(self.images, images):
            if changes is None:
                await checkpoint()
        assert changes is not None
        if self._closed:  # by another task, meanwhile
            return None
        # From here to the caller there is no turn of the event loop: who is cancelled before finds
        # the same changes again.
        recovered, self.error, self._asked = self.error is not None, None, None
        self._take(images, asked, back=recovered)
        if not changes and not recovered:
            return None
        return ImagesUpdate(
            at=datetime.now(UTC),
            images=images,
            added=changes.added,
            removed=changes.removed,
            changed=changes.changed,
            tag_changes=changes.tag_changes,
        )

    async def _list(self, asked: _Asked) -> None:
        """Make a list, in a task of its own.

        Were it made in the consumer's, one who waits a second at a time would never have a list
        that takes two, and its engine would begin one each second.
        """
        try:
            asked.outcome = await self._source.list()
        except Exception as error:  # noqa: BLE001 - raised by the consumer
            asked.outcome = error
        finally:
            asked.ended, asked.at = self._clock.now(), datetime.now(UTC)
            asked.done.set()

    def _refused(self, error: Exception) -> ImagesUpdate | None:
        if not isinstance(error, DockerImagesError):
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame: no cycle
        outage = self._schedule.failed(
            self._clock.now(),
            self._clock.random(),
            refused=isinstance(error, EngineResponseError) and error.status >= 400,
            hopeless=isinstance(error, HOPELESS),
        )
        return self._failed(error) if outage else None

    def _take(
        self, images: list[ImageSummary], asked: _Asked, *, free: bool = False, back: bool = False
    ) -> None:
        now = self._clock.now()
        self.images, self.updated_at = images, asked.at
        self.lists += 1
        self.list_seconds += asked.ended - asked.began
        self._listed_at = self._source.engine_time(now - asked.began) or 0.0
        self._schedule.listed(asked.began, asked.ended, self._clock.random(), free=free, back=back)
        if self._schedule.reopen_at <= now:
            self._anew.set()
        elif self._without:  # while lists come: an engine that is down has no events either
            _log.warning("no events: %s; listing every %g s instead", self._without, self._poll)
            self._without = ""

    def _failed(self, error: DockerImagesError) -> ImagesUpdate | None:
        """The beginning of an outage is news; that it goes on is not."""
        known, self.error = self.error is not None, error
        if known:
            return None
        _log.warning("%s", error)
        return ImagesUpdate(at=datetime.now(UTC), images=self.images, error=error)

    # ── The reader ──────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        """What goes wrong here, such as a client that was closed, is raised where updates are."""
        try:
            await self._follow()
        except Exception as error:  # noqa: BLE001 - raised by the consumer
            self._failure = error
            self._wake.set()

    async def _follow(self) -> None:
        """Keep the stream of events open, for as long as the watch is."""
        backoff, short = Backoff(), 0
        while True:
            try:
                stream = await self._source.open(self._listed_at or None)
            except DockerImagesError as error:
                short += 1
                # Any answer but 200 means that there are no events for us, as does none in time:
                # proxies keep the head of a stream until more follows. Whether the engine behind a
                # proxy's 503 is down, the list says, as it does where events alone cannot be had.
                refused = isinstance(error, EngineResponseError | EngineTimeoutError)
                polling = self.source == "polling"
                if refused or short >= SHORT_AT_MOST or (polling and self.error is not None):
                    short, backoff = 0, Backoff()
                    await self._do_without(str(error))
                    continue
                if not polling:
                    self._schedule.lost()
                    self._outage = error
                    self._wake.set()
            else:
                opened, news = self._clock.now(), self._news
                backoff = Backoff()
                self._schedule.opened(opened, self._clock.random())
                self.source, self._without = "events", ""
                self._wake.set()
                anew = await self._read(stream)
                self._schedule.lost()
                self.reconnects += 1
                lived = self._clock.now() - opened
                short = short + 1 if lived < SHORT and self._news == news else 0
                if short >= SHORT_AT_MOST:
                    short = 0
                    await self._do_without("its stream of events ends as soon as it begins")
                    continue
                if anew:
                    continue
            pause = backoff.next(self._clock.random())
            await self._clock.wait(anyio.Event(), self._clock.now() + pause)

    async def _do_without(self, why: str) -> None:
        """Let lists be made every `poll_interval`, until it is time to try the events again."""
        if self.source == "events":
            self._without = why
        self.source = "polling"
        self._schedule.refused(self._clock.now(), self._clock.random())
        self._wake.set()
        while (at := self._schedule.reopen_at) > self._clock.now():
            self._anew = anyio.Event()
            await self._clock.wait(self._anew, at)

    async def _read(self, stream: Stream) -> bool:
        """Drain the stream to its end; whether it was left in order to open it anew.

        Always, whoever waits for an update: Docker holds up whoever makes an event that a full
        stream cannot take, moby daemon/events/events.go@b985e23.
        """
        try:
            with self._clock.scope(self._schedule.reopen_at) as scope:
                while data := await stream.receive():
                    for start in range(0, len(data), AT_ONCE):
                        self._hear(stream.reader, data[start : start + AT_ONCE])
                        await checkpoint()  # the stream waits only when it must
        except DockerImagesError as error:
            _log.debug("the stream of events broke: %s", error)
        except ValueError as error:  # no record
            _log.warning("the stream of events cannot be read: %s", error)
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
        return scope.cancelled_caught

    def _hear(self, reader: EventReader, data: bytes) -> None:
        times = reader.feed(data)
        self.events += reader.records
        reader.records = 0
        for time in times:
            old = time is not None and time < self._listed_at
            self._news += not old
            self._schedule.event(self._clock.now(), old=old)
        if times:
            self._wake.set()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group: on trio, the group of a block comes out as another one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
