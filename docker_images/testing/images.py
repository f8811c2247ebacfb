"""The images that a fake engine holds: how a test describes them, and how it changes them.

Knows names, and that a tag belongs to one image. Refuses to know how an engine writes an image:
`answers` does.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from docker_images.images.models import ImageSummary
from docker_images.testing.events import Event

__all__ = [
    "AnyImage",
    "FakeImage",
    "Images",
    "as_image",
    "canonical",
    "demo_images",
    "familiar",
    "image",
    "repository",
    "split_name",
]


class FakeImage(msgspec.Struct, kw_only=True):
    """An image of a fake engine. Make one with `image`, and change it as you like."""

    id: str
    """`sha256:` and 64 digits."""
    tags: list[str] = []
    """Names with a tag, in docker's familiar form."""
    digests: list[str] | None = None
    """Names with a digest; None for those that the engine would add (graph drivers add none)."""
    created: float | None = 0
    """Seconds since 1970; None if unknown. A list shows whole seconds, while `before` and `since`
    also compare fractions."""
    size: int = 0
    """Bytes."""
    shared_size: int = 0
    """Bytes that it shares with others, according to the engine."""
    containers: int = 0
    """How many containers use it."""
    labels: dict[str, str] | None = None
    """None if the engine sends none."""
    parent: str = ""
    """Id of the image it was built on; `""` if there is none."""
    manifests: list[dict[str, Any]] | None = None
    """As the engine writes them. None for one that is made up, for linux/amd64; `[]` for none."""
    descriptor: dict[str, Any] | None = None
    """As the engine writes it; None for one that is made up."""
    loaded: float | None = None
    """When the engine received it, in seconds since 1970; `until` compares with it on the
    containerd store. Set when it is added."""
    dangling_record: bool = False
    """The containerd store can hold one image under its names and once more without a name; then
    `dangling=true` lists it, as if it had no names."""
    degraded: bool = False
    """An image without anything that could run, as the containerd store lists it: without labels,
    and without shared size or containers counted."""
    extra: dict[str, Any] = {}
    """Keys that only Podman has: `Names`, `Digest`, `History`, …"""

    @property
    def without_config(self) -> bool:
        """Whether of no platform even the configuration is there, so that no label can be read."""
        return self.created is None and not any(
            one["Available"] and one["Kind"] == "image"
            for one in (self.manifests if self.manifests is not None else _COMPLETE)
        )


_COMPLETE: list[dict[str, Any]] = [{"Available": True, "Kind": "image"}]


AnyImage: TypeAlias = FakeImage | ImageSummary | Mapping[str, Any]
"""An image: from `image`, as this library returns it, or as the JSON of an engine."""


def image(
    *names: str,
    id: str | None = None,
    size: int = 5_000_000,
    labels: Mapping[str, str] | None = None,
    created: datetime | float | None = 1_700_000_000,
    containers: int = 0,
    digests: Sequence[str] | None = None,
    parent: str = "",
    shared_size: int = 0,
    manifests: Sequence[Mapping[str, Any]] | None = None,
) -> FakeImage:
    """Make an image: `image("alpine:3.20", "alpine:latest", size=7_800_000)`.

    Without a name it is untagged. A name without a tag means `:latest`. `created` is a datetime, or
    seconds since 1970; None means unknown. `digests` are complete: `["alpine@sha256:…"]`. `parent`
    is the id of the image it was built on, by the classic builder. If you give no id, it is derived
    from everything else.
    """
    tags = list(map(_tagged, names))
    seconds = created.timestamp() if isinstance(created, datetime) else created
    text = repr((tags, size, sorted((labels or {}).items()), seconds, digests, parent))
    return FakeImage(
        id=id or f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
        tags=tags,
        digests=None if digests is None else list(digests),
        created=seconds,
        size=size,
        shared_size=shared_size,
        containers=containers,
        labels=None if labels is None else dict(labels),
        parent=parent,
        manifests=None if manifests is None else [dict(manifest) for manifest in manifests],
    )


_KNOWN = {"Id", "ParentId", "RepoTags", "RepoDigests", "Created", "Size", "SharedSize"} | {
    *("Containers", "VirtualSize", "Labels", "Manifests", "Descriptor", "Dangling", "Names")
}


def as_image(given: AnyImage) -> FakeImage:
    """A `FakeImage` of whatever describes one."""
    if isinstance(given, FakeImage):
        return given
    wire = msgspec.to_builtins(given) if isinstance(given, ImageSummary) else given
    if not isinstance(wire, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            "an image is what image('alpine:3') returns, an ImageSummary or a mapping, "
            f"not {given!r:.80}"
        )
    digests = [name for name in wire.get("RepoDigests") or () if name != "<none>@<none>"]
    labels = wire.get("Labels")
    return FakeImage(
        id=wire["Id"],
        tags=[name for name in wire.get("RepoTags") or () if name != "<none>:<none>"],
        digests=digests,
        created=wire.get("Created", 0),
        size=wire.get("Size", 0),
        # -1 and null are "not told"; an engine that is asked tells.
        shared_size=max(wire.get("SharedSize") or 0, 0),
        containers=max(wire.get("Containers") or 0, 0),
        labels=None if labels is None else dict(labels),
        parent=wire.get("ParentId") or "",
        manifests=None if wire.get("Manifests") is None else list(wire["Manifests"]),
        descriptor=wire.get("Descriptor"),
        degraded=any("@" not in name for name in digests),
        extra={key: value for key, value in wire.items() if key not in _KNOWN},
    )


class Images:
    """The images of a fake engine, in the order they were added; change them at any time."""

    def __init__(
        self, images: Iterable[AnyImage] = (), *, clock: Callable[[], float] = time.time
    ) -> None:
        self._images: list[FakeImage] = []
        self._clock = clock
        self._silent = True
        self.events: list[Event] = []
        """The events so far, oldest first."""
        self.listeners: set[Callable[[], object]] = set()
        """Called after each event, in the thread that made the change."""
        for given in images:
            self.add(given)
        self._silent = False

    @contextmanager
    def silently(self) -> Iterator[None]:
        """Make changes without events, as if by a program that bypasses the engine."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def _tell(self, action: str, held: FakeImage, name: str = "") -> None:
        if not self._silent:
            self.events.append(Event(self._clock(), action, held.id, name))
            for heard in tuple(self.listeners):
                heard()

    def __iter__(self) -> Iterator[FakeImage]:
        # A copy, taken in one step: the server may read while another thread changes.
        return iter(tuple(self._images))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, name: str) -> FakeImage:
        """The image with this tag, digest or id (12 digits are enough); or a `KeyError`."""
        found = find(self, name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and find(self, name) is not None

    def add(self, given: AnyImage) -> FakeImage:
        """Add an image, like a pull or load: its tags are taken from images that had them."""
        new = as_image(given)
        for tag in new.tags:
            self._take(tag, new)
        self._images.append(new)
        self._tell("load", new, new.tags[0] if new.tags else "")
        return new

    def tag(self, name: str, new: str) -> None:
        """`docker tag name new`."""
        held = self[name]
        new = _tagged(new)
        self._take(new, held)
        if canonical(new) not in map(canonical, held.tags):
            held.tags = [*held.tags, new]
        self._tell("tag", held, new)

    def untag(self, name: str) -> None:
        """Remove a tag; an image without tags stays, untagged."""
        held = self[name]
        tags = [tag for tag in held.tags if canonical(tag) != canonical(_tagged(name))]
        if len(tags) == len(held.tags):
            raise KeyError(name)
        _set_tags(held, tags)
        self._tell("untag", held, name)

    def remove(self, name: str) -> None:
        """Remove the image with this tag, digest or id, and all its names."""
        held = self[name]
        self._images = [other for other in self._images if other is not held]
        for tag in held.tags:
            self._tell("untag", held, tag)
        self._tell("delete", held)

    def clear(self) -> None:
        """Remove all images."""
        gone, self._images = self._images, []
        for held in gone:
            self._tell("delete", held)

    def _take(self, tag: str, owner: FakeImage) -> None:
        for other in self._images:
            # The containerd store of Docker 25 lists an image once a platform, under one id.
            if other.id != owner.id and canonical(tag) in map(canonical, other.tags):
                _set_tags(other, [t for t in other.tags if canonical(t) != canonical(tag)])


def _set_tags(held: FakeImage, tags: list[str]) -> None:
    lost = {repository(tag) for tag in held.tags} - {repository(tag) for tag in tags}
    held.tags = tags
    if held.digests is not None:
        held.digests = [name for name in held.digests if repository(name) not in lost]
    held.extra = {key: value for key, value in held.extra.items() if key != "History"}


def find(images: Iterable[FakeImage], name: str) -> FakeImage | None:
    """The image that an engine would mean: by id, by the start of one, or by name."""
    digits = name.removeprefix("sha256:")
    named = canonical(_tagged(name))
    held = tuple(images)
    for one in held:
        if one.id == name or named in map(canonical, (*one.tags, *(one.digests or ()))):
            return one
    if digits and set(digits) <= set("0123456789abcdef"):
        return next(
            (one for one in held if one.id.removeprefix("sha256:").startswith(digits)), None
        )
    return None


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def split_name(name: str) -> tuple[str, str]:
    """A name and what follows it: `("alpine", ":3.20")`, `("alpine", "@sha256:…")`."""
    before, at, digest = name.partition("@")
    if at:
        return before, at + digest
    slash = before.rfind("/") + 1
    short, colon, tag = before[slash:].partition(":")
    return before[:slash] + short, colon + tag


def canonical(name: str) -> str:
    """The whole name: `alpine:3.20` as `docker.io/library/alpine:3.20`."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def familiar(name: str) -> str:
    """The short name: `docker.io/library/alpine:3.20` as `alpine:3.20`."""
    short = name.removeprefix("docker.io/")
    if short == name:
        return name
    rest = short.removeprefix("library/")
    return short if "/" in rest else rest


def repository(name: str) -> str:
    """The whole name without tag and digest."""
    return split_name(canonical(name))[0]


def demo_images(now: float = 1_790_000_000) -> list[FakeImage]:
    """Sample images with every kind of row, as `docker-images --demo` lists them.

    The newest of them were made shortly before `now`.
    """
    day = 86_400
    web = "sha256:" + "5e" * 32
    base = image(size=3_100, created=now - 3 * day - 60, labels={"stage": "build"})
    return [
        image(
            *("shop/web:2.4.1", "shop/web:latest", "registry.example.com:5000/shop/web:2.4.1"),
            digests=[f"registry.example.com:5000/shop/web@{web}"],
            size=187_432_118,
            shared_size=77_804_331,
            containers=2,
            created=now - 3_600,
            labels={
                "org.opencontainers.image.source": "https://git.example.com/shop/web",
                "stage": "prod",
            },
        ),
        image("shop/web:2.4.0", size=187_101_990, created=now - 6 * day, labels={"stage": "prod"}),
        image("alpine:3.20", "alpine:latest", size=7_797_760, created=now - 40 * day, labels=None),
        image(
            "postgres:16",
            digests=["postgres@sha256:" + "1d" * 32],
            size=432_015_667,
            containers=1,
            created=now - 12 * day,
            labels={},
        ),
        image(
            digests=["registry.example.com/base/jre@sha256:" + "a7" * 32],
            size=214_680_112,
            created=now - 20 * day,
            labels={"vendor": "Example GmbH"},
        ),
        image(size=187_099_401, created=now - 2 * day, labels={"stage": "test"}),
        base,
        image(
            "localhost/tools/lint:dev",
            parent=base.id,
            size=9_412_006,
            created=now - 3 * day,
            labels={"größe": "klein 🐳", "作者": "田中", "empty": ""},
        ),
        image(
            "registry.example.org:443/ml/train:cuda12", size=11_873_220_441, created=now - 90 * day
        ),
        image("demo/reproducible:1", size=52_428_800, created=0, labels={"built.by": "nix"}),
        image("demo/undated:1", size=1_024, created=None),
        image("demo/future:1", size=2_048, created=253_402_300_799),
        image("demo/empty:scratch", size=0, created=now - 365 * day),
    ]
