"""What an engine's stream of events says: that something happened, and when by its own clock.

Knows the framings, the shape of a record, and which actions are a reason to look. Refuses to know
which image an event is about: engines leave ids empty, name tags by ids, and stay silent about the
image that lost a tag. Pure, and nothing that an engine sends is trusted.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from docker_images.engine.versions import ApiVersion, has

__all__ = ["MAX_RECORD", "EventReader", "container_actions", "events_params"]

MAX_RECORD: int = 2**20
"""Bytes of one record. Docker's are below 1 KiB, plus the labels of what they are about."""

# An image action changes the list unless it is one of these: one that nobody knows yet may.
_CHANGE_NOTHING = frozenset({"save", "push", "mount", "unmount", "pull-error"})


def container_actions(podman: bool, version: ApiVersion) -> frozenset[str]:
    """What an engine does to containers that is its only word of a change of images.

    Below API 1.55 (`create`) Docker tells of an untagged build by the end of its last container,
    and of an untagged commit by the container. Podman tells of every commit so.
    """
    if podman:
        return frozenset({"commit"})
    return frozenset() if has(version, "create events") else frozenset({"commit", "destroy"})


def events_params(since: float | None, actions: Iterable[str]) -> str:
    """The query string of `GET /events`, from `since` on, in seconds of the engine's clock.

    By type alone: asked for the action `delete`, Podman finds nothing.
    """
    types = {"image": True, **({"container": True} if actions else {})}
    filters = quote(msgspec.json.encode({"type": types}), safe="")
    return f"filters={filters}" if since is None else f"since={int(since)}&filters={filters}"


class _Record(msgspec.Struct):
    # Any: a field of another type than expected is no reason to lose the stream.
    type: Any = msgspec.field(default="image", name="Type")
    action: Any = msgspec.field(default=None, name="Action")
    status: Any = None  # the action, as it was called before API 1.22
    time: Any = None
    time_nano: Any = msgspec.field(default=None, name="timeNano")


class EventReader:
    """Reads one stream, however its bytes are cut."""

    def __init__(self, actions: Iterable[str]) -> None:
        self.records: int = 0
        """How many have come, whatever they say."""
        self._actions = frozenset(actions)
        self._rest = bytearray()
        self._decoder = msgspec.json.Decoder(_Record)

    def feed(self, data: bytes) -> list[float | None]:
        """When each event happened that is a reason to look; None where it does not say.

        Raises `ValueError` for what is no record, and for one that is longer than `MAX_RECORD`.
        """
        # JSON objects, one a line; with json-seq (RFC 7464) 0x1e comes before each.
        *ended, rest = data.replace(b"\x1e", b"\n").split(b"\n")
        times: list[float | None] = []
        for piece in ended:
            self._append(piece)
            record = bytes(self._rest).strip()
            self._rest.clear()
            if record:
                times += self._read(record)
        self._append(rest)
        return times

    def _append(self, piece: bytes) -> None:
        self._rest += piece
        if len(self._rest) > MAX_RECORD:
            raise ValueError(f"an event is longer than {MAX_RECORD} bytes")

    def _read(self, data: bytes) -> list[float | None]:
        try:
            record = self._decoder.decode(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"an event cannot be read: {error}") from error
        self.records += 1
        action = str(record.action or record.status)
        if record.type == "image":
            wakes = action not in _CHANGE_NOTHING
        else:
            wakes = record.type == "container" and action in self._actions
        return [_seconds(record)] if wakes else []


def _seconds(record: _Record) -> float | None:
    for told, unit in ((record.time_nano, 1e9), (record.time, 1.0)):
        # No bool, and nothing that a float cannot hold.
        if type(told) in (int, float) and 0 < told < 2**70:
            return float(told / unit)
    return None
