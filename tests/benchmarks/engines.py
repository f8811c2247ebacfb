"""What questions take on real engines, by their store and the number of their images.

    python -m tests.benchmarks.engines --json FILE --doc docs/performance.md --svg docs/engines.svg

starts each engine (`make engines` gets them), fills it step by step, and asks a warm client three
questions: a round is one of each in random order, and the plain list once more by `http.client`,
which is the engine's own time. A figure is the median of the rounds, a ratio the median of those
of each round. With `--json` what is in the file already is kept, so that engines can be measured
one by one: `--engines "docker 28.5,podman 5.8"`; none are measured with `--engines ""`.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from docker_images import DockerClient

from . import report

sys.path.append(str(Path(__file__).parents[1]))  # where pytest finds it, too
import engines

QUESTIONS: dict[str, dict[str, Any]] = {
    "whole list": {},
    "one name": {"reference": "many/3:1"},
    "ten dangling": {"dangling": True},
}
ALONE = "engine alone"
SIZES = (30, 300, 1000)
DANGLING = 10
NAMES = (
    *("docker 26.1", "docker 26.1 containerd", "docker 28.5", "docker 28.5 containerd"),
    "podman 5.8",
)

Figures = dict[str, list[float]]
"""Seconds of each round, by question, and of the engine alone."""


def images() -> Iterator[dict[str, Any]]:
    """Images of one layer without end; the first ten have no name."""
    number = 0
    while True:
        tags = [] if number < DANGLING else [f"many/{number - DANGLING}:1"]
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + number))
        yield {"tags": tags, "created": created, "labels": {"number": str(number)}, "layer": "many"}
        number += 1


def timed_alone(host: str) -> float:
    begun = time.perf_counter()
    answer = engines.call(host, "GET", "/images/json")
    seconds = time.perf_counter() - begun
    assert answer.status == 200
    return seconds


async def measure(host: str, size: int, rounds: int, seconds: float) -> Figures:
    """Ask in turns, for so many rounds, or, after three, for so long."""
    figures: Figures = {ALONE: [], **{name: [] for name in QUESTIONS}}
    answers = {"whole list": size, "one name": 1, "ten dangling": DANGLING}
    async with DockerClient(host, timeout=600) as client:
        await client.list_images()
        begun = time.monotonic()
        for done in range(rounds):
            if done >= 3 and time.monotonic() - begun > seconds:
                break
            for name in random.Random(done).sample(list(figures), len(figures)):
                if name == ALONE:
                    figures[name].append(await asyncio.to_thread(timed_alone, host))
                    continue
                before = time.perf_counter()
                found = await client.list_images(**QUESTIONS[name])
                figures[name].append(time.perf_counter() - before)
                assert len(found) == answers[name], (name, len(found))
    return figures


def run(name: str, sizes: Iterable[int], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """One engine, filled from size to size."""
    store, held = images(), 0
    with engines.folder() as folder, engines.start(name, folder) as host:
        for size in sorted(sizes):
            while held < size:
                part = min(100, size - held)
                engines.load(host, islice(store, part))
                held += part
            version = engines.call(host, "GET", "/version").json()["Version"]
            figures = asyncio.run(measure(host, size, rounds, seconds))
            yield {"engine": name, "version": version, "images": size, "seconds": figures}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engines", default=",".join(NAMES), help="of tests/engines.py")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="images in a store")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=120, help="of each size, about")
    parser.add_argument("--json", type=Path, help="keep every figure there")
    parser.add_argument("--svg", type=Path, help="draw the picture there")
    parser.add_argument("--doc", type=Path, help="put the table between the marks of this page")
    options = parser.parse_args()

    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())
    for name in filter(None, options.engines.split(",")):
        try:
            for row in run(
                name, map(int, options.sizes.split(",")), options.rounds, options.seconds
            ):
                same = row["engine"], row["images"]
                rows = [one for one in rows if (one["engine"], one["images"]) != same] + [row]
                medians = {key: statistics.median(of) for key, of in row["seconds"].items()}
                print(*same, {key: f"{value:.3f}" for key, value in medians.items()}, flush=True)
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1) + "\n")
        except pytest.skip.Exception as why:
            print(why, file=sys.stderr)
    rows.sort(key=lambda row: (NAMES.index(row["engine"]), row["images"]))
    table = report.engine_table(rows)
    print(table)
    if options.doc:
        options.doc.write_text(report.between(options.doc.read_text(), "engines", table))
    if options.svg:
        options.svg.write_text(report.draw_engines(rows))


if __name__ == "__main__":
    main()
