"""The deadline of a call, on asyncio, uvloop and trio, and what the call is doing meanwhile."""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, ContextVar
from typing import Any

import anyio

__all__ = ["TimeLimitError", "asyncio_task", "stage", "time_limit"]

stage: ContextVar[str] = ContextVar("stage", default="waiting for its turn")
"""What the running call is doing, for the text of a timeout."""

# A task that somebody else is cancelling is looked at again after this time.
AGAIN = 0.01  # seconds


class TimeLimitError(TimeoutError):
    """A `time_limit` has passed: how long it was, and the argument that set it."""

    seconds: float
    argument: str

    def __init__(self, seconds: float, argument: str) -> None:
        super().__init__()
        self.seconds, self.argument = seconds, argument


def asyncio_task() -> asyncio.Task[Any] | None:
    """The running task of asyncio or uvloop; None on trio, which may be a guest of their loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def time_limit(seconds: float | None, argument: str = "timeout") -> AbstractContextManager[object]:
    """A block that ends with `TimeLimitError` when it takes longer; None for no limit."""
    if seconds is None:
        return nullcontext()
    task = asyncio_task()
    if task is None:
        return _ScopedLimit(seconds, argument)
    return _TaskLimit(task, seconds, argument)


class _ScopedLimit:
    """A limit on any event loop.

    No generator: from Python 3.12 on, one leaves the exception and its frames as garbage.
    """

    def __init__(self, seconds: float, argument: str) -> None:
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)
        self._seconds, self._argument = seconds, argument

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, exc_type: type[BaseException] | None, *rest: Any) -> None:
        if self._scope.__exit__(exc_type, *rest) and exc_type is not None:
            raise TimeLimitError(self._seconds, self._argument)


class _TaskLimit:
    """A limit on asyncio, as `asyncio.timeout`, at a third of what a scope of anyio's costs.

    Unlike `asyncio.timeout` it leaves a task alone that somebody else is cancelling: inside a scope
    of anyio's whose deadline passes together with it, that would leak the cancellation.
    """

    def __init__(self, task: asyncio.Task[Any], seconds: float, argument: str) -> None:
        self._task, self._seconds, self._argument = task, seconds, argument
        self._cancelling = task.cancelling()
        self._passed = False

    def __enter__(self) -> None:
        self._set_timer(self._seconds)

    def _set_timer(self, seconds: float) -> None:
        loop = self._task.get_loop()
        # In a context of its own: a loop keeps that of a cancelled timer, and what is in it.
        self._timer = loop.call_at(loop.time() + seconds, self._end, context=Context())

    def _end(self) -> None:
        if self._task.cancelling() > self._cancelling:
            self._set_timer(AGAIN)
        else:
            self._passed = True
            self._task.cancel()

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        # As asyncio.timeout: what somebody else cancelled as well is no timeout.
        alone = self._passed and self._task.uncancel() <= self._cancelling
        if alone and exc_type is asyncio.CancelledError:
            raise TimeLimitError(self._seconds, self._argument)
