"""What belongs to one event loop, and is used by no other."""

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

from docker_images.transport.deadline import asyncio_task

__all__ = ["PerLoop"]

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop, made by `make` when the loop first asks for it.

    It goes with the loop, at the latest when another loop first asks. A forked process makes its
    own, although it has those of its parent.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[Any, tuple[int, T]] = WeakKeyDictionary()

    def get(self) -> T:
        """The value of the running loop."""
        task = asyncio_task()
        loop = task.get_loop() if task is not None else current_token().native_token
        process = os.getpid()
        found = self._values.get(loop)
        if found is not None and found[0] == process:
            return found[1]
        # Without a lock: a process that is forked while another thread has it could never take it.
        for ref in self._values.keyrefs():
            other = ref()
            if other is not None and _has_ended(other):
                self._values.pop(other, None)
        made = self._make()
        self._values[loop] = process, made
        return made


def _has_ended(loop: Any) -> bool:
    if hasattr(loop, "is_closed"):
        return bool(loop.is_closed())
    try:
        loop.run_sync_soon(int)  # a token of trio's; this does nothing
    except RuntimeError:
        return True
    return False
