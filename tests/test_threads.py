"""Work in threads: nobody waits for what was abandoned, and what hangs takes one thread."""

import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from docker_images.transport.threads import in_thread

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[1]


def threads() -> int:
    """How many of ours there are; trio keeps some of its own."""
    return sum(thread.name.startswith("docker_images") for thread in threading.enumerate())


async def test_the_result_and_the_error_of_a_function_are_those_of_the_call() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


async def test_the_event_loop_runs_meanwhile() -> None:
    may_end = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, may_end.wait)
        await anyio.sleep(0.01)
        may_end.set()  # reached, although the function has not ended


async def test_who_asks_for_what_is_under_way_waits_for_the_same_thread() -> None:
    may_end = threading.Event()
    calls = []

    def hang(word: str) -> str:
        calls.append(word)
        may_end.wait()
        return word

    before = threads()
    told = []

    async def ask(word: str) -> None:
        told.append(await in_thread(hang, word))

    for _ in range(10):
        with anyio.move_on_after(0.01):
            await ask("a")
    assert threads() <= before + 1
    async with anyio.create_task_group() as tasks:
        for word in "aab":
            tasks.start_soon(ask, word)
        await anyio.sleep(0.01)
        may_end.set()
    assert sorted(told) == ["a", "a", "b"]
    assert sorted(calls) == ["a", "b"]
    await ask("a")
    assert sorted(calls) == ["a", "a", "b"], "what has ended is asked anew"


async def test_an_error_leaves_no_garbage_behind() -> None:
    async def fail() -> None:
        with suppress(ZeroDivisionError):
            await in_thread(divmod, 1, 0)

    await fail()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await fail()
        assert gc.collect() == 0
    finally:
        gc.enable()


ABANDONED = """
import sys, threading, anyio, asyncio, trio
from docker_images.transport.threads import in_thread
may_end = threading.Event()

async def main():
    with anyio.move_on_after(0.01):
        await in_thread(may_end.wait)

anyio.run(main, backend=sys.argv[1])
print("the loop has ended", flush=True)
"""


def test_neither_loop_nor_process_waits_for_what_was_abandoned(anyio_backend: str) -> None:
    python = [sys.executable, "-W", "error", "-c", ABANDONED, anyio_backend]
    done = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the loop has ended\n", "")


def test_a_function_that_ends_after_its_event_loop_disturbs_nobody() -> None:
    for backend in ("asyncio", "trio"):
        may_end = threading.Event()

        async def main(may_end: threading.Event = may_end) -> None:
            with anyio.move_on_after(0.01):
                await in_thread(may_end.wait)

        before = set(threading.enumerate())
        anyio.run(main, backend=backend)
        ours = [one for one in threading.enumerate() if one.name.startswith("docker_images")]
        started = [thread for thread in ours if thread not in before]
        assert started
        may_end.set()
        for thread in started:
            thread.join(60)
            assert not thread.is_alive()


async def test_where_no_thread_can_be_started_it_is_done_in_place_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert await in_thread(threading.get_ident) == threading.get_ident()
    for _ in range(2):
        with pytest.raises(OSError, match="no thread can be started"):
            await in_thread(os.getpid, in_place=False)


# Threads are what is tested: Python warns of any, and from 3.15 on before it forks.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_threads_of_its_parent() -> None:
    may_end = threading.Event()

    def work() -> int:
        if os.getpid() == parent:
            may_end.wait()
        return os.getpid()

    async def abandon() -> None:
        with anyio.move_on_after(0.01):
            await in_thread(work)

    parent = os.getpid()
    anyio.run(abandon)
    child = os.fork()
    if not child:
        os._exit(0 if anyio.run(in_thread, work) == os.getpid() else 1)
    may_end.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
