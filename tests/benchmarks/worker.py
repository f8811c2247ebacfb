"""One client in a process of its own: takes orders as lines of JSON, answers with figures.

Between two orders it waits in a blocking read: it takes no CPU while another client is measured.
Times are nanoseconds, memory is bytes.
"""

import asyncio
import cProfile
import gc
import hashlib
import json
import re
import resource
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from .clients import CLIENTS


class Worker:
    """Does what it is told with one client; clients stay open between orders."""

    def __init__(self, name):
        client, _, self.loop = name.partition("@")
        self.client = CLIENTS[client]
        self.open = {}

    async def call_of(self, stack, path, manifests):
        """A function that lists once; opened at the first use, and closed with `stack`."""
        if (path, manifests) not in self.open:
            opened = self.client.open(path, manifests)
            if self.client.sync:
                call = stack.enter_context(opened)
            else:
                call = await stack.enter_async_context(opened)
            self.open[path, manifests] = call
        return self.open[path, manifests]

    async def run(self):
        """Read orders until there are no more."""
        async with AsyncExitStack() as stack:
            print(json.dumps("ready"), flush=True)
            for line in sys.stdin:
                order = json.loads(line)
                measure = getattr(self, order.pop("do"))
                paths = order.pop("paths", None)
                if paths is None:
                    path, manifests = order.pop("path"), order.pop("manifests", False)
                    call = await self.call_of(stack, path, manifests)
                    answer = await measure(call, **order)
                else:
                    answer = await measure(paths)
                print(json.dumps(answer), flush=True)

    async def one(self, call):
        """List once, whatever the kind of client."""
        return call() if self.client.sync else await call()

    async def check(self, call):
        """What was listed, for comparison with the others."""
        ids = sorted(self.client.identity(image) for image in await self.one(call))
        return {"count": len(ids), "ids": hashlib.sha256("\n".join(ids).encode()).hexdigest()}

    async def latency(self, call, calls, budget):
        """Wall time of each call, and CPU (user and system, all threads) on average.

        At most `calls` calls, and no further one after `budget` nanoseconds.
        """
        await self.one(call)  # what is idle for long may have to connect again
        walls, cpu, clock = [], 0, time.perf_counter_ns
        sync, end = self.client.sync, clock() + budget
        while len(walls) < calls and (not walls or clock() < end):
            used, start = time.process_time_ns(), clock()
            images = call() if sync else await call()
            walls.append(clock() - start)
            del images  # the result is freed in CPU time, not in latency
            cpu += time.process_time_ns() - used
        return {"wall": walls, "cpu": cpu / len(walls)}

    async def together(self, *calls):
        """All at once."""
        if self.loop == "trio":
            import trio

            async with trio.open_nursery() as nursery:
                for call in calls:
                    nursery.start_soon(call)
        else:
            await asyncio.gather(*(call() for call in calls))

    async def concurrent(self, call, width, calls):
        """Wall time of `width` calls at once, and CPU."""
        await self.together(*[call] * width)
        walls, used = [], time.process_time_ns()
        for _ in range(calls):
            start = time.perf_counter_ns()
            await self.together(*[call] * width)
            walls.append(time.perf_counter_ns() - start)
        return {"wall": walls, "cpu": (time.process_time_ns() - used) / calls}

    async def gap(self, call, calls):
        """The longest time that another task of the loop was not served, in each call.

        And the longest in CPU time of this thread, which other processes do not lengthen.
        """
        await self.one(call)
        wall, cpu = zip(*[await self._longest_gap(call) for _ in range(calls)], strict=True)
        return {"wall": wall, "cpu": cpu}

    async def _longest_gap(self, call):
        longest, longest_cpu, running = 0, 0, True
        clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
        kept = []  # the list must outlive the last tick: freeing it is not part of the call
        if self.loop == "trio":
            import trio

            checkpoint = trio.lowlevel.checkpoint
        else:

            def checkpoint():
                return asyncio.sleep(0)

        async def tick():
            nonlocal longest, longest_cpu
            last, last_cpu = clock(), cpu_clock()
            while running:
                await checkpoint()
                now, now_cpu = clock(), cpu_clock()
                longest, longest_cpu = (
                    max(longest, now - last),
                    max(longest_cpu, now_cpu - last_cpu),
                )
                last, last_cpu = now, now_cpu

        async def list_once():
            nonlocal running
            kept.append(await call())
            running = False

        await self.together(tick, list_once)
        return longest, longest_cpu

    async def fleet(self, paths):
        """A client for each path: build all and list all at once, then list all again."""
        start = time.perf_counter_ns()
        async with AsyncExitStack() as stack:
            calls = [await stack.enter_async_context(self.client.open(one, False)) for one in paths]
            await self.together(*calls)
            first = time.perf_counter_ns()
            await self.together(*calls)
            warm = time.perf_counter_ns()
        return {"first": first - start, "warm": warm - first}

    async def calls(self, call, calls):
        """Function calls a call, Python's and built-in ones, the event loop's own included.

        Nine in ten make no more: those that find the answer there at once make fewer.
        """
        for _ in range(3):
            await self.one(call)
        counts = []
        for _ in range(calls):
            profile = cProfile.Profile()
            profile.enable()
            await self.one(call)
            profile.disable()
            counts.append(sum(entry.callcount for entry in profile.getstats()))
        return {"calls": sorted(counts)[calls * 9 // 10]}

    async def profile(self, call, calls, to):
        """Write a cProfile of some calls to a file."""
        await self.one(call)
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(calls):
            await self.one(call)
        profile.disable()
        profile.dump_stats(to)
        return {}

    async def memory(self, call, warm_path):
        """How much one call adds to the memory of a process that has listed before."""
        with ExitStack() as sync:
            async with AsyncExitStack() as stack:
                small = self.client.open(warm_path, False)
                if self.client.sync:
                    sync.enter_context(small)()
                else:
                    await (await stack.enter_async_context(small))()
        gc.collect()
        before = _forget_peak()
        images = await self.one(call)
        peak = _status("VmHWM")
        del images
        return {"growth": max(0, peak - before)}


def _status(key):
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", text)[1]) * 1024


def _forget_peak():
    """Reset the kernel's high-water mark, where that is allowed, and tell where it now stands."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _status("VmHWM")
    return _status("VmRSS")


def main(name):
    """Run one client on its event loop."""
    loop = name.partition("@")[2]
    worker = Worker(name)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if loop == "trio":
        import trio

        trio.run(worker.run)
    elif loop == "uvloop":
        import uvloop

        uvloop.run(worker.run())
    else:
        asyncio.run(worker.run())


if __name__ == "__main__":
    main(sys.argv[1])
