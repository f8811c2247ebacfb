"""Measures, prints tables, writes JSON and draws the plot. See README.md beside this file.

Every figure of a client is paired with the baseline's figure of the same round, and the rounds go
through the clients in random order: what the machine does meanwhile hits all of them.
"""

import argparse
import importlib.util
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .bodies import WIRES
from .clients import CLIENTS, LOOPS
from .engine import engine
from .report import Row, bounds, draw, tables
from .server import FLEET, FLEET_IMAGES

ROOT = Path(__file__).parents[2]
BASELINE = "aiodocker"
MEASURES = ("latency", "memory", "gap", "cold", "concurrent", "fleet", "calls", "engine")
SIZES = (1, 100, 1000, 10_000, 50_000)
CALLS = {1: 150, 100: 60, 1000: 12, 10_000: 4, 50_000: 2}
"""Calls in one round; the median of a round is one figure."""


class Process:
    """A client in its own process, told what to do in lines of JSON."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def __call__(self, do: str, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it; it ends when its input does."""
        self._process.communicate()


@contextmanager
def replay_server(folder: str, wires: list[str], sizes: list[int]) -> Iterator[None]:
    """The replay server, until the block ends."""
    words = [folder, ",".join(wires), ",".join(map(str, sorted({*sizes, 1})))]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.server", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the replay server did not start")
        yield
        process.communicate()


class Run:
    """One run: the clients, the server's folder, and the rows measured so far."""

    def __init__(self, clients: list[str], folder: str, options: argparse.Namespace) -> None:
        self.clients, self.folder, self.options = clients, folder, options
        self.rows: list[Row] = []
        self.dice = random.Random(options.seed)
        self._processes: dict[str, Process] = {}

    def process(self, client: str) -> Process:
        """The process of a client, which lives until `close`."""
        if client not in self._processes:
            self._processes[client] = Process(client)
        return self._processes[client]

    def close(self) -> None:
        """End all processes."""
        while self._processes:
            self._processes.popitem()[1].close()

    def socket(self, wire: str, size: int) -> str:
        """Where the server answers with that body."""
        return f"{self.folder}/{wire}-{size}.sock"

    def able(self, wire: str, size: int, *, sync: bool = True) -> list[str]:
        """The clients that take part."""
        able = []
        for name in self.clients:
            client = CLIENTS[name.partition("@")[0]]
            if size <= client.most and (wire != "manifests" or client.manifests):
                able += [name] if sync or not client.sync else []
        return able

    def cells(self, *, smallest: int = 0) -> Iterator[tuple[str, int]]:
        """Every wire and size that was asked for; manifests are four times as large."""
        for wire in self.options.wires:
            for size in self.options.sizes:
                if size >= smallest and (wire != "manifests" or size <= 10_000):
                    yield wire, size

    def rounds(
        self,
        measure: str,
        wire: str,
        size: int,
        clients: list[str],
        figures: Callable[[str], dict[str, float]],
        rounds: int | None = None,
    ) -> None:
        """Ask every client in every round, in random order, and pair the figures.

        In processes that have done nothing else: one that has freed a long list in another order
        than it came in takes up to half as long again, since all that it allocates lies scattered.
        """
        print(f"\r\033[K{measure} {wire} {size}", end="", file=sys.stderr, flush=True)
        samples: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
        for _ in range(rounds or self.options.rounds):
            for client in self.dice.sample(clients, len(clients)):
                samples[client].append(figures(client))
        self.close()
        for client in clients:
            for metric in samples[client][0]:
                values = [sample[metric] for sample in samples[client]]
                ratio = None
                if BASELINE in samples:
                    against = [sample[metric] for sample in samples[BASELINE]]
                    pairs = [
                        value / max(1, other) for value, other in zip(values, against, strict=True)
                    ]
                    ratio = _quartiles(pairs)
                median = statistics.median(values)
                self.rows.append(
                    Row(measure, wire, size, metric, client, median, max(values), ratio)
                )

    def check(self) -> None:
        """Every client returns the same images, or nothing is measured."""
        for wire, size in self.cells():
            order = {"path": self.socket(wire, size), "manifests": wire == "manifests"}
            answers = {one: self.process(one)("check", **order) for one in self.able(wire, size)}
            wrong = {one for one, answer in answers.items() if answer["count"] != size}
            if wrong or len({answer["ids"] for answer in answers.values()}) > 1:
                raise SystemExit(f"{wire}, {size} images: not the same answer: {answers}")
        self.close()

    def latency(self) -> None:
        """Wall time and CPU of one call."""
        for wire, size in self.cells():
            calls = CALLS.get(size, max(1, 10_000 // size))
            order = {"path": self.socket(wire, size), "manifests": wire == "manifests"}

            def figures(client: str, calls: int = calls, order: Any = order) -> dict[str, float]:
                answer = self.process(client)("latency", calls=calls, budget=4 * 10**8, **order)
                return {"wall": statistics.median(answer["wall"]), "cpu": answer["cpu"]}

            self.rounds("latency", wire, size, self.able(wire, size), figures)

    def memory(self) -> None:
        """Growth of a fresh process."""
        for wire, size in self.cells(smallest=1000):
            order = {"path": self.socket(wire, size), "manifests": wire == "manifests"}
            small = self.socket(wire, 1)

            def figures(client: str, order: Any = order, small: str = small) -> dict[str, float]:
                process = Process(client)
                growth = process("memory", warm_path=small, **order)["growth"]
                process.close()
                return {"peak": growth}

            self.rounds(
                "memory", wire, size, self.able(wire, size), figures, min(3, self.options.rounds)
            )

    def gap(self) -> None:
        """The longest time in which the event loop served nobody else."""
        for wire, size in self.cells(smallest=100):
            calls = {10_000: 5, 50_000: 3}.get(size, 10)
            order = {"path": self.socket(wire, size), "manifests": wire == "manifests"}

            def figures(client: str, calls: int = calls, order: Any = order) -> dict[str, float]:
                gaps = self.process(client)("gap", calls=calls, **order)
                return {metric: statistics.median(values) for metric, values in gaps.items()}

            self.rounds("gap", wire, size, self.able(wire, size, sync=False), figures)

    def cold(self) -> None:
        """From the start of a process to its end, with one list of 100 images."""
        path = self.socket("docker", 100)
        # httpx imports click and rich, httpcore and anyio trio, only because they are here for
        # something else; no client installs them, and None makes an import fail as if absent.
        program = "import sys; sys.modules.update(dict.fromkeys(sys.argv[3:])); "
        program += "from tests.benchmarks.clients import once; once(*sys.argv[1:3])"

        # Compiled once, as pip leaves it, whatever this environment says of bytecode.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{self.folder}/bytecode"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def figures(client: str) -> dict[str, float]:
            absent = ["click", "rich", *([] if client.endswith("@trio") else ["trio"])]
            words = [sys.executable, "-c", program, client, path, *absent]
            start = time.perf_counter_ns()
            subprocess.run(words, cwd=ROOT, check=True, env=environment)
            return {"wall": time.perf_counter_ns() - start}

        for client in self.clients:
            figures(client)
        self.rounds("cold", "docker", 100, self.able("docker", 100), figures)

    def concurrent(self) -> None:
        """32 calls at once on one client, 100 images each."""
        order = {"path": self.socket("docker", 100), "width": 32, "calls": 5}

        def figures(client: str) -> dict[str, float]:
            answer = self.process(client)("concurrent", **order)
            return {"wall": statistics.median(answer["wall"]), "cpu": answer["cpu"]}

        self.rounds("concurrent", "docker", 100, self.able("docker", 100, sync=False), figures)

    def fleet(self) -> None:
        """200 endpoints, one client each: built and listed at once, then listed again."""
        paths = [f"{self.folder}/fleet-{number}.sock" for number in range(FLEET)]

        def figures(client: str) -> dict[str, float]:
            return self.process(client)("fleet", paths=paths)

        clients = self.able("docker", FLEET_IMAGES, sync=False)
        for client in clients:
            figures(client)
        self.rounds("fleet", "docker", FLEET_IMAGES, clients, figures)

    def calls(self) -> None:
        """Function calls of one call, one image: the figure that noise does not move."""
        for wire in self.options.wires:
            order = {"path": self.socket(wire, 1), "manifests": wire == "manifests", "calls": 50}

            def figures(client: str, order: Any = order) -> dict[str, float]:
                return {"calls": self.process(client)("calls", **order)["calls"]}

            self.rounds("calls", wire, 1, self.able(wire, 1), figures, rounds=1)

    def engine(self) -> None:
        """A real dockerd with 300 images: there the engine's own time dominates."""
        with engine(self.options.host, 300) as host:
            if host is None:
                print("engine: no dockerd here, or not root; left out", file=sys.stderr)
                return
            path = host.removeprefix("unix://")

            def figures(client: str) -> dict[str, float]:
                order = {"path": path, "calls": 10, "budget": 10**9}
                answer = self.process(client)("latency", **order)
                return {"wall": statistics.median(answer["wall"]), "cpu": answer["cpu"]}

            clients = [one for one in self.able("docker", 300) if one != "podman-py"]
            self.rounds("engine", "docker", 300, clients, figures)


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _installed(names: list[str]) -> list[str]:
    kept = []
    for name in names:
        client, _, loop = name.partition("@")
        if client not in CLIENTS or loop not in ("", *LOOPS[1:]):
            known = ", ".join(CLIENTS)
            raise SystemExit(f"no client {name!r}; known: {known}, and @uvloop or @trio after one")
        missing = [one for one in (*CLIENTS[client].needs, loop) if one and not _importable(one)]
        if missing:
            print(f"{name}: left out, {missing[0]} is not installed", file=sys.stderr)
        else:
            kept.append(name)
    return kept


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _about(options: argparse.Namespace) -> dict[str, Any]:
    versions = {}
    for name in ("httpx", "httptools", "msgspec", "anyio", "trio", "uvloop", *_PEERS):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{os.cpu_count()} × {model or platform.machine()}",
        "versions": versions,
        "rounds": options.rounds,
    }


_PEERS = ("aiodocker", "aiohttp", "docker", "podman")


def _numbers(text: str) -> list[int]:
    return sorted(int(word.replace("_", "")) for word in text.split(","))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--measure", type=_words, default=list(MEASURES), help=",".join(MEASURES))
    parser.add_argument("--sizes", type=_numbers, default=list(SIZES), help="images in a list")
    parser.add_argument("--wires", type=_words, default=list(WIRES), help=",".join(WIRES))
    parser.add_argument(
        "--clients",
        type=_words,
        default=["ours", "ours@uvloop", "ours@trio", *list(CLIENTS)[1:]],
        help=f"of {', '.join(CLIENTS)}; ours@uvloop is ours on uvloop",
    )
    parser.add_argument("--rounds", type=int, default=11, help="how often each client is asked")
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--seed", type=int, default=6, help="of the order within a round")
    parser.add_argument("--host", help="a real engine, unix://…, instead of starting dockerd")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--svg", type=Path, help="draw the plot there")
    parser.add_argument("--doc", type=Path, help="put the tables between the marks of this page")
    parser.add_argument(
        "--profile", metavar="CLIENT", help="only print where this client's time goes"
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds = min(options.rounds, 3)
        options.sizes = [size for size in options.sizes if size <= 10_000]
        options.wires = [wire for wire in options.wires if wire != "manifests"]
    for name, known in (("measure", MEASURES), ("wires", WIRES)):
        if unknown := set(getattr(options, name)) - set(known):
            parser.error(f"unknown in --{name}: {', '.join(unknown)}; known: {', '.join(known)}")
    return options


def _print_profile(run: Run, client: str) -> None:
    import pstats

    for wire, size in run.cells():
        order = {"path": run.socket(wire, size), "manifests": wire == "manifests"}
        to, calls = f"{run.folder}/profile", max(1, 20_000 // size) if size > 1 else 2000
        run.process(client)("profile", to=to, calls=calls, **order)
        print(f"\n## {client}, {wire} wire, {size} images, {calls} calls")
        pstats.Stats(to).strip_dirs().sort_stats("tottime").print_stats(22)


def main() -> None:
    """Measure what was asked for."""
    options = _options()
    clients = _installed([options.profile] if options.profile else options.clients)
    needed = sorted({*options.sizes, 1, 100})
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp"))
        stack.enter_context(replay_server(folder, sorted({*options.wires, "docker"}), needed))
        run = Run(clients, folder, options)
        stack.callback(run.close)
        if options.profile:
            _print_profile(run, options.profile)
            return
        run.check()
        for measure in options.measure:
            getattr(run, measure)()
    print("\r\033[K", end="", file=sys.stderr)
    about = _about(options)
    text = f"{tables(about, run.rows, BASELINE)}\n\n{bounds(run.rows)}".strip()
    print(text)
    if options.doc:
        before, mark, rest = options.doc.read_text().partition("<!-- figures -->\n")
        after = rest.partition("<!-- end of figures -->")
        options.doc.write_text("".join((before, mark, "\n", text, "\n\n", *after[1:])))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"about": about, "rows": [row._asdict() for row in run.rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.svg:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(draw(run.rows))


if __name__ == "__main__":
    main()
