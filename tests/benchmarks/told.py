"""How soon a watch tells of a change after a quiet time, on real engines.

    PYTHONPATH=tests python -m tests.benchmarks.told

The engines take turns, so that each is quiet while the others are changed. Measured from the end of
the operation to the update; some five minutes. Cores that have other work make it longer.
"""

import argparse
import random
import time
from contextlib import ExitStack

from anyio.from_thread import start_blocking_portal
from test_watch_engines import Changes, Daemon, Follower, percentile, wait

ENGINES = (
    *("docker 20.10", "docker 26.1", "docker 28.5", "docker 28.5 containerd"),
    "podman 5.8",
)
QUIET = 3.0
"""Seconds from a change on, in which the last list because of it is made."""


class Watched:
    """An engine, who changes it, and a watch."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name = name
        host = Daemon(name, stack).host
        self._changes = Changes(host, random.Random(name))
        for _ in range(4):
            self._changes.load([])
        self._follower = Follower(stack.enter_context(start_blocking_portal()), host)
        stack.enter_context(self._follower.following())
        self._changed = time.monotonic()
        self.told: list[float] = []
        """Seconds from each change to its update."""
        self.listing: list[float] = []
        """Seconds of them in which it was listed."""

    def change(self) -> None:
        """Make a change of any kind; some are none, and some are told to nobody."""
        watch, updates = self._follower.watch, self._follower.updates
        time.sleep(max(0.0, self._changed + QUIET - time.monotonic()))
        listed, seen = watch.list_seconds, len(updates)
        self._changes.any()
        self._changed = time.monotonic()
        if not wait(lambda: len(updates) > seen, 2):
            wait(self._follower.is_right, 10)
        if len(updates) > seen:
            self.told.append(max(0.0, updates[seen][0] - self._changed))
            self.listing.append(watch.list_seconds - listed)

    def __str__(self) -> str:
        bare = [max(0.0, one - two) for one, two in zip(self.told, self.listing, strict=True)]
        bounds = ", ".join(
            f"{each} {percentile(self.told, share):.2f} s and {percentile(bare, share):.2f} s"
            for each, share in (("p50", 0.5), ("p95", 0.95), ("most", 1))
        )
        return (
            f"{self.name}: {len(self.told)} changes, told after (and without the list's time) "
            f"{bounds}; a list takes {percentile(self.listing, 0.5):.3f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=60, help="of each engine")
    parser.add_argument("--engines", default=",".join(ENGINES))
    arguments = parser.parse_args()
    with ExitStack() as stack:
        watched = [Watched(name, stack) for name in arguments.engines.split(",")]
        for _ in range(arguments.changes):
            for one in watched:
                one.change()
        for one in watched:
            print(one, flush=True)


if __name__ == "__main__":
    main()
