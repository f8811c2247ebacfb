"""What belongs to one event loop, and what all of them share.

Knows how event loops are told apart, on asyncio, uvloop and trio, in any number of threads, and how
a deadline is kept on each.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, ContextVar
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio
from anyio.lowlevel import current_token

__all__ = ["PerLoop", "Turns", "asyncio_loop", "stage", "time_limit"]

stage: ContextVar[str] = ContextVar("stage", default="waiting for its turn")
"""What the running call is doing, for the text of a timeout."""

T = TypeVar("T")


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The loop, asyncio's or uvloop's, of the running task; None on trio and outside of tasks."""
    try:
        task = asyncio.current_task()  # not the running loop: trio can be its guest
    except RuntimeError:
        return None
    return None if task is None else task.get_loop()


def time_limit(seconds: float | None) -> AbstractContextManager[None]:
    """A block that ends with `TimeoutError` when it takes longer; None for no limit."""
    if seconds is None:
        return nullcontext()
    loop = asyncio_loop()
    if loop is None:
        return _ScopedLimit(seconds)
    alarm = _alarms.get(id(loop))
    if alarm is None:
        alarm = _alarms[id(loop)] = _Alarm(loop)
    return _TimeLimit(alarm, seconds)


class _ScopedLimit:
    """A limit on any event loop.

    No generator: from Python 3.12 on, one leaves the exception and its frames as garbage.
    """

    def __init__(self, seconds: float) -> None:
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, exc_type: type[BaseException] | None, *rest: Any) -> None:
        if self._scope.__exit__(exc_type, *rest) and exc_type is not None:
            raise TimeoutError


class _TimeLimit:
    """A limit on asyncio, as `asyncio.timeout` without a timer of its own."""

    def __init__(self, alarm: "_Alarm", seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._passed = False
        self._alarm = alarm
        self.deadline = alarm.loop.time() + seconds

    def __enter__(self) -> None:
        self._alarm.add(self)

    def end(self) -> None:
        """The deadline has passed."""
        self._passed = True
        self._task.cancel()

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._alarm.remove(self)
        # As asyncio.timeout: what somebody else cancelled as well is no timeout.
        alone = self._passed and self._task.uncancel() <= self._cancelling
        if alone and exc_type is asyncio.CancelledError:
            raise TimeoutError


class _Alarm:
    """Ends the limits of one event loop in time, with one timer for all that come in order.

    A timer for each call, as `asyncio.timeout` has it, takes a twelfth of a call for one image.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._limits: set[_TimeLimit] = set()
        self._timers: list[float] = []  # when they go off, the next one last

    def add(self, limit: _TimeLimit) -> None:
        """Watch a limit."""
        self._limits.add(limit)
        self._set_timer(limit.deadline)

    def remove(self, limit: _TimeLimit) -> None:
        """Watch it no more; a timer that finds nothing due does no harm."""
        self._limits.discard(limit)

    def _set_timer(self, moment: float) -> None:
        if not self._timers or moment < self._timers[-1]:
            self._timers.append(moment)
            # In a context of its own: the loop would keep that of the task, and what is in it.
            self.loop.call_at(moment, self._ring, context=Context())

    def _ring(self) -> None:
        self._timers.pop()
        now = self.loop.time()
        for limit in [limit for limit in self._limits if limit.deadline <= now]:
            self._limits.discard(limit)
            limit.end()
        if self._limits:
            self._set_timer(min(limit.deadline for limit in self._limits))


# By the id of its loop, which lives as long as the alarm; kept by the limits and the timer alone.
_alarms: WeakValueDictionary[int, _Alarm] = WeakValueDictionary()


class PerLoop(Generic[T]):
    """A value for each event loop, made by `make` when a loop first asks for it.

    A lock cannot move between loops, so a client used in several has one for each.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def get(self) -> T:
        """The value of the running loop."""
        loop = current_token().native_token
        value = self._values.get(loop)
        if value is None:
            value = self._values[loop] = self._make()
        return value


class Turns:
    """At most so many at once, in all event loops and threads together."""

    def __init__(self, count: int) -> None:
        self._free = [True] * count  # to take from a list and to add to it are single steps
        self._waiting = PerLoop(anyio.Lock)

    async def take(self) -> None:
        """Wait for a turn, behind those of the same event loop who wait already."""
        if not self._take():
            async with self._waiting.get():
                while not self._take():  # noqa: ASYNC110
                    # Who gives one back may run in another loop: there is no event to wait for.
                    await anyio.sleep(0.005)

    def give_back(self) -> None:
        """Let the next one have its turn."""
        self._free.append(True)

    def _take(self) -> bool:
        try:
            return self._free.pop()
        except IndexError:
            return False
