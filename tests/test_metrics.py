"""The collector: what watches know, as series that a scrape reads from memory."""

import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import engines
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from docker_images import DockerClient, DockerImagesError, EngineConnectionError, ImageSummary
from docker_images.metrics import FAMILIES, ImagesCollector, Watched
from docker_images.testing import FakeEngine, image

PAGE = Path(__file__).parent.parent / "docs/metrics.md"
NOW = datetime(2026, 9, 18, 14, 3, 7, tzinfo=UTC)

Series = dict[tuple[str, tuple[str, ...]], float]


@dataclass
class Seen:
    """A watch at rest, for what depends on the list alone."""

    images: Sequence[ImageSummary] = ()
    updated_at: datetime | None = NOW
    error: DockerImagesError | None = None
    closed: bool = False
    lists: int = 3
    list_seconds: float = 1.5
    events: int = 7
    reconnects: int = 2


@dataclass
class Counted(Sequence[ImageSummary]):
    """A list that knows how often somebody went through it."""

    images: Sequence[ImageSummary]
    passes: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        return self.images[index]

    def __iter__(self) -> Any:
        self.passes.append(1)
        return iter(self.images)


def summary(number: int = 0, *names: str, **others: Any) -> ImageSummary:
    values: dict[str, Any] = {
        "id": f"sha256:{number:064x}",
        "parent_id": "",
        "repo_tags": names,
        "repo_digests": (),
        "created": 1_700_000_000 + number,
        "size": 1000,
        "labels": {},
    }
    return ImageSummary(**values | others)


def text_of(watches: dict[str, Any], **options: Any) -> str:
    registry = CollectorRegistry()
    registry.register(ImagesCollector(watches, **options))
    return generate_latest(registry).decode()


def series_in(text: str) -> Series:
    """Each series by its name and the values of its labels, those of `engine` first."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            key = sample.name, (labels.pop("engine"), *map(labels.__getitem__, sorted(labels)))
            assert key not in found, f"{key} is told twice"
            found[key] = sample.value
    return found


def told(watches: dict[str, Any], **options: Any) -> Series:
    return series_in(text_of(watches, **options))


def of_images(series: Series) -> set[str]:
    about = ("docker_images_size", "docker_images_recl", "docker_images_repo", "docker_images_new")
    return {name for name, _ in series if name == "docker_images" or name.startswith(about)}


# ── Which series there are ──────────────────────────────────────────────────────────────────────


def test_an_engine_has_these_series_and_no_others() -> None:
    kinds = [(dangling, used) for dangling in NO_YES for used in (*NO_YES, "unknown")]
    expected = {("docker_images", ("a", *kind)) for kind in kinds}
    expected |= {("docker_images_size_bytes", ("a", *kind)) for kind in kinds}
    expected |= {
        (f"docker_images_{name}", ("a",))
        for name in (
            "reclaimable_min_bytes",
            "reclaimable_max_bytes",
            "newest_created_timestamp_seconds",
            "oldest_created_timestamp_seconds",
            "up",
            "last_list_timestamp_seconds",
            "lists_total",
            "events_total",
            "reconnects_total",
            "list_duration_seconds_count",
            "list_duration_seconds_sum",
        )
    }
    series = told({"a": Seen([summary(1, "web:1", containers=0, shared_size=1)])})
    assert series.keys() == expected
    assert len(expected) <= 30


NO_YES = ("false", "true")


def test_the_page_has_every_series_with_its_help_and_how_many_there_are() -> None:
    row = re.compile(
        r"^\| `(docker_images\w*)(?:\{(.*)\})?` \| (\w+) \| (.*) \| (.*) \|$", re.MULTILINE
    )
    rows = row.findall(PAGE.read_text())
    assert [(name, kind, labels, text) for name, labels, kind, text, _ in rows] == [
        (one.name, one.kind, ",".join(one.labels), one.help) for one in FAMILIES
    ]
    limit = 3
    names = [f"repository{number}:1" for number in range(limit + 1)]
    images = [summary(number, name, containers=0) for number, name in enumerate(names)]
    text = text_of({"a": Seen([summary(9, shared_size=1), *images])}, repositories=limit)
    series = Counter(re.findall(r"^(docker_images\w*)\{", text, re.MULTILINE))
    for name, _, kind, _, number in rows:
        if name == "docker_images_reclaimable_min_bytes":
            continue  # absent in this list, 1 elsewhere
        found = series[name] + (series[f"{name}_sum"] + series[f"{name}_count"]) * (
            kind == "summary"
        )
        assert str(found) == number.replace("N + 1", str(limit + 1)), name


@pytest.mark.anyio
async def test_the_program_of_the_page_runs(anyio_backend: str) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    body = textwrap.indent(block.replace("...", "break"), "    ")
    names: dict[str, Any] = {}
    exec(compile(f"async def run(client):\n{body}    return REGISTRY", "metrics.md", "exec"), names)
    with FakeEngine([image("web:1")]) as engine:
        async with DockerClient(engine.host) as client, anyio.create_task_group() as tasks:

            async def run() -> None:
                registry = await names["run"](client)
                assert registry.get_sample_value("docker_images_up", {"engine": "prod-1"}) is None
                for one in [one for one in registry._collector_to_names if "Images" in repr(one)]:
                    registry.unregister(one)
                tasks.cancel_scope.cancel()

            tasks.start_soon(run)
            for number in range(600):
                await anyio.sleep(0.1)
                engine.images.add(image(f"web:{number}"))
    assert tasks.cancel_scope.cancel_called


def test_what_was_counted_is_told_as_it_is() -> None:
    series = told({"a": Seen()})
    assert series["docker_images_up", ("a",)] == 1
    assert series["docker_images_last_list_timestamp_seconds", ("a",)] == NOW.timestamp()
    assert series["docker_images_lists_total", ("a",)] == 3
    assert series["docker_images_list_duration_seconds_count", ("a",)] == 3
    assert series["docker_images_list_duration_seconds_sum", ("a",)] == 1.5
    assert series["docker_images_events_total", ("a",)] == 7
    assert series["docker_images_reconnects_total", ("a",)] == 2


def test_images_are_told_by_whether_they_dangle_and_are_used() -> None:
    images = [
        summary(number, *names, size=10**number, containers=containers)
        for number, (names, containers) in enumerate(
            [(("a:1",), 2), (("b:1",), 0), (("c:1", "d:1"), None), ((), 1), ((), 0), ((), None)]
        )
    ]
    series = told({"a": Seen(images)})
    rows = {
        ("false", "true"): 1,
        ("false", "false"): 10,
        ("false", "unknown"): 100,
        ("true", "true"): 1000,
        ("true", "false"): 10_000,
        ("true", "unknown"): 100_000,
    }
    for labels, size in rows.items():
        assert series["docker_images", ("a", *labels)] == 1
        assert series["docker_images_size_bytes", ("a", *labels)] == size


@pytest.mark.parametrize(
    ("images", "least", "most"),
    [
        pytest.param([], 0, 0, id="no image"),
        pytest.param([(0, 100, 30)], 70, 100, id="unused"),
        pytest.param([(1, 100, 30)], 0, 0, id="used"),
        pytest.param([(None, 100, 30)], 0, 100, id="of unknown use: perhaps"),
        pytest.param([(0, 100, None)], None, 100, id="nobody knows what is shared"),
        pytest.param([(1, 100, None)], 0, 0, id="used, so what is shared does not matter"),
        pytest.param([(0, 100, 30), (1, 50, 30), (0, 7, 7)], 70, 107, id="several"),
    ],
)
def test_what_could_be_freed_is_between_two_bounds(
    images: list[tuple[int | None, int, int | None]], least: int | None, most: int
) -> None:
    listed = [
        summary(number, f"web:{number}", containers=containers, size=size, shared_size=shared)
        for number, (containers, size, shared) in enumerate(images)
    ]
    series = told({"a": Seen(listed)})
    assert series.get(("docker_images_reclaimable_min_bytes", ("a",))) == least
    assert series["docker_images_reclaimable_max_bytes", ("a",)] == most


@pytest.mark.parametrize(
    ("created", "oldest", "newest"),
    [([5, 3, 9], 3, 9), ([0, 7], 7, 7), ([0, -62135596800], None, None), ([], None, None)],
)
def test_only_times_that_somebody_told_are_told(
    created: list[int], oldest: int | None, newest: int | None
) -> None:
    images = [summary(number, created=one) for number, one in enumerate(created)]
    series = told({"a": Seen(images)})
    assert series.get(("docker_images_oldest_created_timestamp_seconds", ("a",))) == oldest
    assert series.get(("docker_images_newest_created_timestamp_seconds", ("a",))) == newest


# ── Repositories ────────────────────────────────────────────────────────────────────────────────


def repositories(limit: int, *images: ImageSummary) -> dict[str, tuple[float, float]]:
    series = told({"a": Seen(images)}, repositories=limit)
    return {
        labels[1]: (count, series["docker_images_repository_size_bytes", labels])
        for (name, labels), count in series.items()
        if name == "docker_images_repository_images"
    }


def test_repositories_are_told_when_asked_for_the_largest_first_and_the_others_together() -> None:
    images = (
        summary(1, "web:1", "web:2", "ghcr.io/team/web:1", size=50),
        summary(2, "db:1", size=20),
        summary(3, "tiny:1", size=1),
        summary(4, size=10),
    )
    assert repositories(0, *images) == {}
    assert repositories(2, *images) == {
        "ghcr.io/team/web": (1, 50),
        "web": (1, 50),
        "other": (3, 31),
    }
    assert repositories(4, *images) == {
        "ghcr.io/team/web": (1, 50),
        "web": (1, 50),
        "db": (1, 20),
        "<none>": (1, 10),
        "other": (1, 1),
    }


def test_a_repository_that_is_called_other_is_among_the_others() -> None:
    assert repositories(5, summary(1, "other:1", size=9), summary(2, "web:1", size=1)) == {
        "web": (1, 1),
        "other": (1, 9),
    }


@pytest.mark.parametrize(
    ("limit", "kind"), [(-1, ValueError), (True, TypeError), (1.5, TypeError), ("1", TypeError)]
)
def test_a_limit_that_is_none_is_refused(limit: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"repositories= (must be|takes)"):
        ImagesCollector({}, repositories=limit)


def test_one_watch_without_the_name_of_its_engine_is_refused() -> None:
    with pytest.raises(TypeError, match="watches= takes a mapping of watches, not ImagesWatch"):
        ImagesCollector(DockerClient("unix:///x.sock").watch_images())  # type: ignore[arg-type]


HOSTILE = (
    'a"} 1\ndocker_images_up{engine="b',
    "back\\slash:1",
    "new\nline:1",
    "carriage\rreturn",
    "nul\0:1",
    "half \ud83d:1",
    "\N{RIGHT-TO-LEFT OVERRIDE}turned",
    "x" * 100_000,
    "",
)


def test_no_name_breaks_the_format() -> None:
    images = [summary(number, name) for number, name in enumerate(HOSTILE)]
    engines = {f"engine {name}": Seen(images) for name in HOSTILE}
    text = text_of(engines, repositories=20)
    series = series_in(text)
    assert len({labels[0] for _, labels in series}) == len(HOSTILE)
    for _, labels in series:
        assert all(len(label) <= 200 for label in labels[1:])
        assert all(label.isprintable() for label in labels[1:])
    told_of = sum(count for (name, _), count in series.items() if name == "docker_images")
    assert told_of == len(HOSTILE) ** 2


def test_promtool_finds_nothing_to_say() -> None:
    if shutil.which("promtool") is None:
        engines.absent("ENGINE MISSING: promtool is not here; it is in Debian's package prometheus")
    images = [summary(number, name, containers=0) for number, name in enumerate(HOSTILE)]
    text = text_of({"a": Seen(images), "b": Seen(), 'c"\n\\': Seen(images)}, repositories=3)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ── What a scrape costs ─────────────────────────────────────────────────────────────────────────


def test_a_list_is_counted_once_and_a_new_one_anew() -> None:
    listed = Counted([summary(number) for number in range(5)])
    watch = Seen(listed)
    registry = CollectorRegistry()
    registry.register(ImagesCollector({"a": watch}))
    assert listed.passes == [], "registering counts nothing"
    generate_latest(registry)
    once = len(listed.passes)
    for _ in range(3):
        generate_latest(registry)
    assert len(listed.passes) == once
    watch.updated_at = datetime(2026, 9, 18, 14, 3, 8, tzinfo=UTC)
    generate_latest(registry)
    assert len(listed.passes) == 2 * once


def test_no_list_is_kept_alive() -> None:
    """50 000 images are not to be held twice until the next scrape."""
    images = [summary()]
    before = sys.getrefcount(images)
    registry = CollectorRegistry()
    watch = Seen(images)
    registry.register(ImagesCollector({"a": watch}))
    generate_latest(registry)
    watch.images = ()
    assert sys.getrefcount(images) == before


@pytest.mark.anyio
async def test_a_thousand_scrapes_ask_the_engine_nothing(anyio_backend: str) -> None:
    with FakeEngine([image("web:1"), image("db:1", containers=1)]) as engine:
        async with (
            DockerClient(engine.host) as client,
            client.watch_images(containers=True, shared_size=True) as watch,
        ):
            with anyio.move_on_after(0.5):  # until the stream is open, and there was a list since
                await anext(watch)
            registry = CollectorRegistry()
            registry.register(ImagesCollector({"a": watch}, repositories=5))
            engine.requests.clear()
            texts = {await anyio.to_thread.run_sync(generate_latest, registry) for _ in range(1000)}
            assert engine.requests == []
            assert len(texts) == 1


@pytest.mark.anyio
async def test_the_event_loop_goes_on_while_a_long_list_is_counted(anyio_backend: str) -> None:
    turns = 0
    seen: list[int] = []
    images = [summary(number) for number in range(20_000)]

    class Observed(Counted):
        def __iter__(self) -> Any:
            for number, one in enumerate(self.images):
                if number % 256 == 0:
                    seen.append(turns)
                yield one

    registry = CollectorRegistry()
    registry.register(ImagesCollector({"a": Seen(Observed(images))}))
    async with anyio.create_task_group() as tasks:

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(turn)
        await anyio.to_thread.run_sync(generate_latest, registry)
        tasks.cancel_scope.cancel()
    # In a pause the loop has turns. The interpreter alone would let it in seven times or so.
    assert len(set(seen)) > len(seen) / 4


def test_only_who_asks_for_metrics_loads_them() -> None:
    program = (
        "import docker_images, docker_images.watch, docker_images.fleet, docker_images.cleanup,"
        "docker_images.cli.list, docker_images.cli.watch, sys; docker_images.DockerClient();"
        "print([name for name in sys.modules if 'prometheus' in name or 'metrics' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# ── Images and engines that come and go ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("watch", "up"),
    [
        pytest.param(Seen([summary()]), 1, id="it answers"),
        pytest.param(Seen([summary()], error=EngineConnectionError("x")), 0, id="it is down"),
        pytest.param(Seen(updated_at=None), 0, id="it never answered"),
    ],
)
def test_an_engine_that_cannot_be_asked_has_no_series_of_images(watch: Watched, up: int) -> None:
    series = told({"a": watch}, repositories=3)
    assert series["docker_images_up", ("a",)] == up
    assert bool(of_images(series)) == bool(up)
    assert series["docker_images_lists_total", ("a",)] == 3


def test_an_engine_that_goes_takes_its_series_along() -> None:
    watches = {"a": Seen([summary(0, "web:1")]), "b": Seen([summary(0, "web:1")])}
    registry = CollectorRegistry()
    registry.register(ImagesCollector(watches))

    def labels() -> Counter[str]:
        return Counter(key[1][0] for key in series_in(generate_latest(registry).decode()))

    assert labels() == {"a": 23, "b": 23}
    watches["c"] = Seen()
    watches["a"].closed = True
    del watches["b"]
    assert labels().keys() == {"c"}


@pytest.mark.anyio
async def test_the_series_follow_a_watch_through_changes_an_outage_and_its_end(
    anyio_backend: str,
) -> None:
    with FakeEngine([image("web:1", size=70), image("db:1", size=5, containers=2)]) as engine:
        async with DockerClient(engine.host) as client:
            async with client.watch_images(containers=True) as watch:
                registry = CollectorRegistry()
                registry.register(ImagesCollector({"a": watch}, repositories=9))

                async def until(holds: Callable[[Series], bool]) -> Series:
                    with anyio.fail_after(60):
                        while not holds(series := series_in(generate_latest(registry).decode())):
                            with anyio.move_on_after(0.1):
                                await anext(watch)
                    return series

                series = series_in(generate_latest(registry).decode())
                assert series["docker_images", ("a", "false", "true")] == 1
                assert series["docker_images", ("a", "false", "false")] == 1
                assert series["docker_images_reclaimable_max_bytes", ("a",)] == 70
                engine.images.remove("web:1")
                gone = ("docker_images_repository_images", ("a", "web"))
                series = await until(lambda series: gone not in series)
                assert series["docker_images_size_bytes", ("a", "false", "true")] == 5
                await anyio.to_thread.run_sync(engine.stop)
                series = await until(lambda series: series["docker_images_up", ("a",)] == 0)
                assert of_images(series) == set()
                await anyio.to_thread.run_sync(engine.start)
                series = await until(lambda series: series["docker_images_up", ("a",)] == 1)
                assert series["docker_images", ("a", "false", "true")] == 1
                assert series["docker_images_reconnects_total", ("a",)] >= 1
                assert series["docker_images_lists_total", ("a",)] == watch.lists
            assert series_in(generate_latest(registry).decode()) == {}
