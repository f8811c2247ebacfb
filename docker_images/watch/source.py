"""Where a watch gets its lists and its events: the engine of one client."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol, TypeVar

from msgspec.structs import force_setattr, replace

from docker_images.engine.engine import Engine
from docker_images.engine.events import EventReader, container_actions, events_params
from docker_images.engine.questions import answer
from docker_images.engine.versions import OLDEST
from docker_images.images.models import ImageSummary
from docker_images.query import Query
from docker_images.transport import Body

__all__ = ["EngineSource"]

T = TypeVar("T")


class Within(Protocol):
    """Makes a call to the engine under a deadline."""

    def __call__(self, call: Callable[[Engine], Awaitable[T]], /) -> Awaitable[T]: ...


class EngineStream:
    """An open stream of events."""

    def __init__(self, body: Body, reader: EventReader) -> None:
        self.reader: EventReader = reader
        self._body = body

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end. Raises `DockerImagesError`."""
        async for data in self._body:
            return data
        return b""

    async def aclose(self) -> None:
        """Close the connection."""
        await self._body.aclose()


class EngineSource:
    """The lists and events of one engine; `within` finds it, and keeps the deadline of a call.

    Engines that do not count containers in the list itself are asked for them with the first list,
    and when `count_interval` seconds have passed since; images that came meanwhile have no count.
    """

    def __init__(self, within: Within, query: Query, *, count_interval: float) -> None:
        self._within, self._query = within, query
        self._engine: Engine | None = None
        self._count_interval = count_interval
        self._counted_at: float | None = None
        self._last: list[ImageSummary] = []

    @property
    def is_local(self) -> bool:
        """Whether a connection cannot die in silence: that of a unix socket."""
        return self._engine is not None and self._engine.endpoint.kind == "unix"

    async def list(self) -> list[ImageSummary]:
        """Ask the question."""
        now, query = monotonic(), self._query
        counting = self._counted_at is None or now - self._counted_at >= self._count_interval
        if query.containers and not counting:
            query = replace(query, containers=False)

        async def ask(engine: Engine) -> list[ImageSummary]:
            self._engine = engine
            return await answer(engine, query)

        found = await self._within(ask)
        if query.containers:
            self._counted_at = now
        elif self._query.containers and any(image.containers is None for image in found):
            counts = {image.id: image.containers for image in self._last}
            for image in found:
                if image.containers is None:
                    force_setattr(image, "containers", counts.get(image.id))
        self._last = found
        return found

    async def open(self, since: float | None) -> EngineStream:
        """Open the stream; only that is under the deadline, not what comes of it."""

        async def begin(engine: Engine) -> EngineStream:
            podman = engine.info is not None and engine.info.name == "Podman"
            actions = container_actions(podman, engine.speaks or OLDEST)
            body = await engine.open("/events", events_params(since, actions))
            return EngineStream(body, EventReader(actions))

        return await self._within(begin)

    async def rest(self) -> None:
        """Close the idle connections: over ssh, each is a process and a login."""
        if self._engine is not None:
            await self._engine.transport.pool.aclose()

    def engine_time(self, age: float) -> float | None:
        """What the engine's clock said `age` seconds ago, or a bit less; None if nobody knows."""
        return None if self._engine is None else self._engine.time_at(monotonic() - age)
