"""What belongs to one event loop, and what all of them share.

Knows how event loops are told apart, on asyncio, uvloop and trio, in any number of threads.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from types import TracebackType
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

__all__ = ["PerLoop", "Turns", "asyncio_loop", "time_limit"]

T = TypeVar("T")


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The loop, asyncio's or uvloop's, of the running task; None on trio and outside of tasks."""
    try:
        task = asyncio.current_task()  # not the running loop: trio can be its guest
    except RuntimeError:
        return None
    return None if task is None else task.get_loop()


def time_limit(seconds: float | None) -> AbstractAsyncContextManager[object]:
    """A block that ends with `TimeoutError` when it takes longer; None for no limit."""
    if asyncio_loop() is None:
        return _TimeLimit(seconds)
    return asyncio.timeout(seconds)  # anyio's takes a ninth of a call for one image more


class _TimeLimit:
    """As `asyncio.timeout`, on any event loop.

    No generator: from Python 3.12 on, one leaves the exception and its frames as garbage.
    """

    def __init__(self, seconds: float | None) -> None:
        deadline = inf if seconds is None else anyio.current_time() + seconds
        self._scope = anyio.CancelScope(deadline=deadline)

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._scope.__exit__(exc_type, exc, traceback) and exc is not None:
            raise TimeoutError


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
