"""Work that would hold up an event loop: files that are read, names that are looked up.

It runs in daemon threads of ours, so that neither the end of an event loop nor that of the process
waits for what was abandoned at a deadline: a dead mount, a silent name server.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

from docker_images.transport.deadline import stage

__all__ = ["FILES", "in_thread", "thread_event", "with_files"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


FILES = "waiting for the file system"
"""The stage of a call in `with_files`."""


class _Job:
    """What a thread is at, and those who wait for it."""

    def __init__(self) -> None:
        self.waiting: set[Callable[[], None]] = set()
        self.outcome: tuple[Any, BaseException | None] | None = None

    def end(self, outcome: tuple[Any, BaseException | None]) -> None:
        self.outcome = outcome  # first: whoever comes to wait now looks at it
        for wake in list(self.waiting):
            with suppress(RuntimeError):  # the event loop has ended
                wake()


_pending: dict[Any, _Job] = {}
_loops: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""The process in which each event loop was first seen."""


async def in_thread(function: Callable[[*Ts], T], *args: *Ts, in_place: bool = True) -> T:
    """What `function(*args)` returns or raises, computed in a thread with the caller's context.

    A caller that is cancelled leaves the thread to itself. Whoever asks for the same while it is
    still at work waits for the same thread: what hangs takes one thread, however often it is tried.
    So the arguments must be hashable, and what is returned may be shared.

    Where no thread can be started (by a limit, or at the end of the process), the function runs in
    place; without `in_place` that is an `OSError`. It also runs in place in a forked process that
    goes on in its parent's event loop: what is to wake one of the two may wake the other.
    """
    process = os.getpid()
    if _loops.setdefault(current_token().native_token, process) != process:
        return function(*args)
    key = (process, function, args)  # threads do not survive a fork
    mine = _Job()
    job = _pending.setdefault(key, mine)
    if job is mine:
        _start(key, mine, in_place=in_place)
    if job.outcome is None:
        await _end_of(job)
    assert job.outcome is not None
    result, error = job.outcome
    if error is None:
        return result  # type: ignore[no-any-return]
    try:
        raise error
    finally:
        del error, job, mine  # its traceback refers to this frame: no cycle


async def with_files(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """`in_thread`, for what looks at files on the way: their mount may be dead."""
    doing = stage.get()
    stage.set(FILES)
    result = await in_thread(function, *args)
    stage.set(doing)
    return result


def _start(key: tuple[int, Callable[..., Any], tuple[Any, ...]], job: _Job, in_place: bool) -> None:
    try:
        work = partial(copy_context().run, _work, key, job)
        Thread(target=work, daemon=True, name="docker_images").start()
    except RuntimeError:
        if in_place:
            _work(key, job)
        else:
            del _pending[key]
            job.end((None, OSError(errno.EAGAIN, "no thread can be started")))


def _work(key: tuple[int, Callable[..., Any], tuple[Any, ...]], job: _Job) -> None:
    outcome = _call(key[1], key[2])
    del _pending[key]
    job.end(outcome)
    del outcome, job  # the traceback of an error refers to this frame: no cycle


def _call(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        return function(*args), None
    except BaseException as error:  # noqa: BLE001  it is raised where the result is awaited
        return None, error


async def _end_of(job: _Job) -> None:
    done, wake = thread_event()
    job.waiting.add(wake)
    try:
        if job.outcome is None:
            await done.wait()
    finally:
        job.waiting.discard(wake)


def thread_event() -> tuple[anyio.Event, Callable[[], None]]:
    """An event of the running loop, and what sets it from any thread.

    That raises `RuntimeError` when the event loop has ended.
    """
    event = anyio.Event()
    loop: Any = current_token().native_token
    call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon  # or trio's
    return event, lambda: call_soon(event.set)
