"""What watches know, as metrics for Prometheus. A scrape only reads memory; no engine is asked.

    from prometheus_client import REGISTRY
    from docker_images.metrics import ImagesCollector

    async with client.watch_images(containers=True) as watch:
        REGISTRY.register(ImagesCollector({"prod-1": watch}))
        async for update in watch:
            ...

Needs prometheus_client: `pip install 'docker-images[metrics]'`. Knows the names of the series and
what is counted in a list. Refuses to know when there is a new one, and how a scrape comes in.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from docker_images import arguments
from docker_images.cleanup import freed_at_least, freed_at_most
from docker_images.errors import DockerImagesError
from docker_images.images.models import ImageSummary
from docker_images.images.store import in_containerd
from docker_images.text import printable

__all__ = ["ImagesCollector", "Watched"]


class Watched(Protocol):
    """What the collector reads from a watch; every `ImagesWatch` has these attributes."""

    @property
    def images(self) -> Sequence[ImageSummary]:
        """The last list; replaced whole, never changed in place."""
        ...

    @property
    def updated_at(self) -> datetime | None:
        """When that list was received; None before the first."""
        ...

    @property
    def error(self) -> DockerImagesError | None:
        """Why the engine cannot be reached at the moment; None if it can."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the watch was left."""
        ...

    @property
    def lists(self) -> int:
        """How many lists were received."""
        ...

    @property
    def list_seconds(self) -> float:
        """How long all of them took together."""
        ...

    @property
    def events(self) -> int:
        """How many events were received."""
        ...

    @property
    def reconnects(self) -> int:
        """How often the event stream was reopened."""
        ...


class Family(NamedTuple):
    """The series of one name."""

    name: str
    kind: Literal["gauge", "counter", "summary"]
    help: str
    labels: tuple[str, ...] = ()
    """Those beside `engine`."""


FAMILIES = (
    Family(
        "docker_images",
        "gauge",
        "Images in the engine's list. Containers are counted at a resync, not when one starts or "
        "ends, so in_use may be unknown for newer images.",
        ("dangling", "in_use"),
    ),
    Family(
        "docker_images_size_bytes",
        "gauge",
        "The sum of the sizes of these images; a layer that several images share is counted in "
        "each.",
        ("dangling", "in_use"),
    ),
    Family(
        "docker_images_reclaimable_min_bytes",
        "gauge",
        "At least this much is freed if all images that no container uses are removed; absent if "
        "the engine does not tell what images share.",
    ),
    Family(
        "docker_images_reclaimable_max_bytes",
        "gauge",
        "At most this much is freed if all images that are not known to be in use are removed; "
        "absent if the engine does not count everything that belongs to an image.",
    ),
    Family(
        "docker_images_newest_created_timestamp_seconds",
        "gauge",
        "When the newest image was made; absent if no image has a time.",
    ),
    Family(
        "docker_images_oldest_created_timestamp_seconds",
        "gauge",
        "When the oldest image was made; absent if no image has a time.",
    ),
    Family(
        "docker_images_repository_images",
        "gauge",
        "Images with a name in this repository; an image with names in several is counted in each.",
        ("repository",),
    ),
    Family(
        "docker_images_repository_size_bytes",
        "gauge",
        "The sum of the sizes of the images with a name in this repository.",
        ("repository",),
    ),
    Family("docker_images_up", "gauge", "1 if the engine can be reached, 0 if not."),
    Family(
        "docker_images_last_list_timestamp_seconds",
        "gauge",
        "When the last list was received; absent before the first.",
    ),
    Family("docker_images_lists_total", "counter", "Lists received."),
    Family("docker_images_events_total", "counter", "Events received."),
    Family("docker_images_reconnects_total", "counter", "How often the event stream was reopened."),
    Family("docker_images_list_duration_seconds", "summary", "How long the lists took."),
)

KINDS: dict[str, Callable[..., Metric]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "summary": SummaryMetricFamily,
}

OTHER = "other"
"""The repository that stands for those beyond the limit."""


class ImagesCollector(Collector):
    """Metrics about the images of watches: `registry.register(ImagesCollector(watches))`.

    A closed watch has no series. An engine that cannot be reached has no series about images, only
    `docker_images_up` 0 and the counters. Watches with `containers=True` know what is in use, and
    those with `shared_size=True` how much can be freed at least.

    Args:
        watches: the watches; each key is the label `engine`. The mapping is read at each scrape, so
            you can add and remove engines.
        repositories: how many repositories, the largest first, have their own series; all others
            together are `other`.

    Raises:
        TypeError: for an argument of the wrong type.
        ValueError: if `repositories` is negative.
    """

    def __init__(self, watches: Mapping[str, Watched], *, repositories: int = 0) -> None:
        if not isinstance(watches, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise arguments.wrong("watches", "a mapping of watches", watches)
        self._watches = watches
        self._repositories = arguments.number("repositories", repositories, least=0)
        self._counted: dict[str, tuple[datetime, _Totals]] = {}  # by the time of the list

    def describe(self) -> Iterator[Metric]:
        """The names of the metrics, without series."""
        yield from self._families().values()

    def collect(self) -> Iterator[Metric]:
        """The series of all engines.

        A new list is counted here, once. This should not happen in the event loop: call it in a
        thread, like prometheus_client's own servers.
        """
        families = self._families()
        counted: dict[str, tuple[datetime, _Totals]] = {}
        for name, watch in list(self._watches.items()):
            if watch.closed:
                continue
            engine = str(name).encode("utf-8", "replace").decode()
            # First the time and then the list: a newer list than the time tells is counted again.
            at, up = watch.updated_at, watch.error is None and watch.updated_at is not None
            if up and at is not None:
                known = self._counted.get(name)
                if known is None or known[0] != at:
                    known = at, _Totals(watch.images, bool(self._repositories))
                counted[name] = known
                known[1].tell(families, engine, self._repositories)
            _add(families, "docker_images_up", engine, int(up))
            listed = None if at is None else at.timestamp()
            _add(families, "docker_images_last_list_timestamp_seconds", engine, listed)
            _add(families, "docker_images_lists_total", engine, watch.lists)
            _add(families, "docker_images_events_total", engine, watch.events)
            _add(families, "docker_images_reconnects_total", engine, watch.reconnects)
            took = families["docker_images_list_duration_seconds"]
            took.add_metric([engine], watch.lists, watch.list_seconds)
        self._counted = counted
        yield from (family for family in families.values() if family.samples)

    def _families(self) -> "_Families":
        return {
            name: KINDS[kind](name, text, labels=("engine", *labels))
            for name, kind, text, labels in FAMILIES
            if self._repositories or "repository" not in labels
        }


_Families: TypeAlias = dict[str, Any]  # one of prometheus_client's by each name


def _add(families: _Families, name: str, engine: str, value: float | None, *labels: str) -> None:
    if value is not None:
        families[name].add_metric([engine, *labels], value)


USED: dict[bool | None, str] = {True: "true", False: "false", None: "unknown"}

# Images counted at a time, in half a millisecond; then the event loop may go on, which waited for
# up to 5 ms where this thread never paused.
STEP = 256
PAUSE = 0.0005


def _unhurried(images: Sequence[ImageSummary]) -> Iterator[ImageSummary]:
    for number, image in enumerate(images, 1):
        yield image
        if number % STEP == 0:
            time.sleep(PAUSE)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


class _Totals:
    """What one list comes to."""

    def __init__(self, images: Sequence[ImageSummary], by_repository: bool) -> None:
        self.counts = {(dangling, used): 0 for dangling in (False, True) for used in USED}
        self.sizes = dict(self.counts)
        self.least: int | None = 0
        self.most: int | None = 0
        self.newest: int | None = None
        self.oldest: int | None = None
        self.repositories: dict[str, tuple[int, int]] = {}
        self._containerd = in_containerd(_unhurried(images))
        for image in _unhurried(images):
            self._count(image)
            if by_repository:
                self._count_repositories(image)

    def _count(self, image: ImageSummary) -> None:
        kind = image.is_dangling, image.in_use
        self.counts[kind] += 1
        self.sizes[kind] += image.size
        if not kind[1]:
            self.most = _sum(self.most, freed_at_most(image, self._containerd))
        if kind[1] is False:
            self.least = _sum(self.least, freed_at_least(image, self._containerd))
        if image.created_at is not None:
            created = image.created
            self.newest = created if self.newest is None else max(self.newest, created)
            self.oldest = created if self.oldest is None else min(self.oldest, created)

    def _count_repositories(self, image: ImageSummary) -> None:
        names = {printable(name.repository, 200) for name in image.references} or {"<none>"}
        for name in names:
            count, size = self.repositories.get(name, (0, 0))
            self.repositories[name] = count + 1, size + image.size

    def tell(self, families: _Families, engine: str, limit: int) -> None:
        """Add the series of one engine."""
        for (dangling, used), count in self.counts.items():
            labels = USED[dangling], USED[used]
            _add(families, "docker_images", engine, count, *labels)
            size = self.sizes[dangling, used]
            _add(families, "docker_images_size_bytes", engine, size, *labels)
        _add(families, "docker_images_reclaimable_min_bytes", engine, self.least)
        _add(families, "docker_images_reclaimable_max_bytes", engine, self.most)
        _add(families, "docker_images_newest_created_timestamp_seconds", engine, self.newest)
        _add(families, "docker_images_oldest_created_timestamp_seconds", engine, self.oldest)
        if limit:
            self._tell_repositories(families, engine, limit)

    def _tell_repositories(self, families: _Families, engine: str, limit: int) -> None:
        """The largest, and the rest together, to which one that is called like that belongs."""
        named = [(size, name) for name, (_, size) in self.repositories.items() if name != OTHER]
        shown = [name for _, name in sorted(named, key=lambda one: (-one[0], one[1]))[:limit]]
        rows = {name: self.repositories[name] for name in shown}
        rest = [row for name, row in self.repositories.items() if name not in rows]
        rows[OTHER] = sum(count for count, _ in rest), sum(size for _, size in rest)
        for name, (count, size) in rows.items():
            _add(families, "docker_images_repository_images", engine, count, name)
            _add(families, "docker_images_repository_size_bytes", engine, size, name)
