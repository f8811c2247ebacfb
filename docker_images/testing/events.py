"""What an engine tells of changes, as it writes them: the events of its images.

Pure. Knows what each engine says and keeps to itself: a tag that moves is told of its new image
only. As recorded from Docker 20.10 to 29 and Podman 4.3 and 5.8, and read in moby
`daemon/events/events.go` and Podman's `libpod/events`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from docker_images.testing.shapes import Shape, Version

__all__ = ["RING", "Event", "Telling", "content_type", "record"]

RING = 256
"""How many events an engine can replay; Docker's, of all types."""

_NO_LEGACY_KEYS_FROM = (1, 52)
_JSON_LINES_FROM = (1, 53)


class Event(msgspec.Struct, frozen=True):
    """One change that an engine tells of."""

    time: float
    """Seconds since 1970, by the engine's clock."""
    action: str
    """As Docker calls it: `"load"`, `"tag"`, `"untag"` or `"delete"`."""
    id: str
    name: str = ""


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream tells its events, with whatever goes wrong; see `faults.events`."""

    cut: int | None = None
    late: float = 0.0
    lose: int | None = None
    twice: bool = False
    backwards: bool = False
    foreign: int = 0
    clock: float = 0.0

    def opening(self, now: float) -> list[Event]:
        """What comes right after the head."""
        return [self._foreign(now - 3600)] * self.foreign

    def told(self, events: Sequence[tuple[int, Event]]) -> list[Event]:
        """What is told of events that are due together, each with its number in the stream."""
        told: list[Event] = []
        for number, event in events:
            if self.foreign:
                told.append(self._foreign(event.time))
            if self.lose is None or (number + 1) % self.lose:
                one = msgspec.structs.replace(event, time=event.time + self.clock)
                told += [one] * (2 if self.twice else 1)
        return told[::-1] if self.backwards else told

    def _foreign(self, time: float) -> Event:
        return Event(time + self.clock, "tag", f"sha256:{'f0' * 32}", "foreign:1")


def content_type(shape: Shape, version: Version) -> str:
    """How the stream is framed, in words."""
    lines = shape.store != "podman" and version >= _JSON_LINES_FROM
    return "application/jsonl" if lines else "application/json"


def record(shape: Shape, version: Version, event: Event) -> bytes:
    """One line of the stream."""
    id_, name, action = event.id, event.name, event.action
    if shape.store == "podman":
        id_ = id_.removeprefix("sha256:")
        if action == "load":
            action, id_, name = "loadfromarchive", "", "/var/tmp/api_load.tar1"  # noqa: S108
    elif action == "load" or (action == "untag" and shape.store == "graph"):
        name = id_  # not the tag that came or went
    told: dict[str, Any] = {
        "Type": "image",
        "Action": action,
        "Actor": {"ID": id_, "Attributes": {"name": name} if name else {}},
        "scope": "local",
        "time": int(event.time),
        "timeNano": int(event.time * 1e9),
    }
    if version < _NO_LEGACY_KEYS_FROM or shape.store == "podman":
        told = {"status": action, "id": id_, **told}
    return msgspec.json.encode(told) + b"\n"
