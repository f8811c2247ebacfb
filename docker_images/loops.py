"""What belongs to one event loop, and what all of them share.

Knows how event loops are told apart, on asyncio, uvloop and trio, in any number of threads.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

__all__ = ["OneForAll", "PerLoop", "Turns"]

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop, made by `make` when a loop first asks for it.

    Locks and the pipes of ssh cannot move between loops, so a client used in several has one each.
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

    def __iter__(self) -> Iterator[T]:
        """The values of all loops, also of those in other threads."""
        # `keyrefs` copies in one go: another thread may be adding its own at this moment.
        for loop in [ref() for ref in self._values.keyrefs()]:
            if loop is not None and loop in self._values:
                yield self._values[loop]


class OneForAll(Generic[T]):
    """One value for all event loops, where nothing in it belongs to a loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._value = make()

    def get(self) -> T:
        """The value."""
        return self._value

    def __iter__(self) -> Iterator[T]:
        """The only value."""
        yield self._value


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
