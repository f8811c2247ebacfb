"""What can go wrong between a client and an engine, as data that the server acts on.

Each function makes a `Fault`. With `nth` it affects only one request: the nth of `engine.requests`,
counted from 1 among those with this `path`. Without `nth` it affects all of them. `path` is as in
`Request.path`: `"/images/json"`. `events` is only about the stream of events; other faults that end
an answer early end that stream, too.
"""

from typing import Literal

import msgspec

from docker_images.testing.answers import Answer
from docker_images.testing.events import Telling

__all__ = [
    "Fault",
    "close_after_head",
    "error",
    "events",
    "forbidden",
    "garbage",
    "hang",
    "no_api_version",
    "reset",
    "slow",
    "truncated",
]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong, and when. Made by the functions of this module."""

    name: str
    """The function that made it."""
    nth: int | None = None
    """Which request it affects, counted from 1; None for all."""
    path: str | None = None
    """The path that it affects; None for all."""
    answer: Answer | None = None
    """Sent instead of the engine's answer."""
    drop: tuple[str, ...] = ()
    """Headers that are removed from the answer."""
    raw: bytes | None = None
    """Sent instead of HTTP."""
    send: Literal["everything", "half", "head", "nothing"] = "everything"
    """How much is sent; `"half"` is the head and half of the body."""
    then: Literal["go on", "hang", "close", "reset"] = "go on"
    """What happens after that."""
    size: int | None = None
    """Bytes sent at a time."""
    pause: float = 0
    """Seconds to wait before each of them."""
    telling: Telling | None = None
    """How events are sent, if the fault is about them."""

    @property
    def stream(self) -> Telling | None:
        """How it lets a stream of events begin; None where it does not."""
        if self.telling is not None:
            return self.telling
        if self.answer is not None or self.raw is not None or self.send == "nothing":
            return None
        return Telling(cut=None if self.then == "go on" else 0)


def hang(
    *,
    after: Literal["nothing", "head", "half"] = "nothing",
    nth: int | None = None,
    path: str | None = None,
) -> Fault:
    """No answer, or only part of one, until the client gives up."""
    return Fault(name="hang", send=after, then="hang", nth=nth, path=path)


def slow(
    *, pause: float = 0.01, size: int = 1, nth: int | None = None, path: str | None = None
) -> Fault:
    """The whole answer, `size` bytes at a time with `pause` seconds before each."""
    return Fault(name="slow", pause=pause, size=size, nth=nth, path=path)


def reset(
    *,
    after: Literal["nothing", "head", "half"] = "nothing",
    nth: int | None = None,
    path: str | None = None,
) -> Fault:
    """The connection is reset: the client gets `ECONNRESET`."""
    return Fault(name="reset", send=after, then="reset", nth=nth, path=path)


def close_after_head(*, nth: int | None = None, path: str | None = None) -> Fault:
    """The connection ends after the head, although a body was declared."""
    return Fault(name="close_after_head", send="head", then="close", nth=nth, path=path)


def truncated(*, nth: int | None = None, path: str | None = None) -> Fault:
    """The connection ends in the middle of the body."""
    return Fault(name="truncated", send="half", then="close", nth=nth, path=path)


def garbage(
    data: bytes = b"\x15\x03\x01\x00\x02\x02\x16\xff\xfe\x00",
    *,
    nth: int | None = None,
    path: str | None = None,
) -> Fault:
    """Something that is not HTTP (a TLS alert, unless other bytes are given), then the end."""
    return Fault(name="garbage", raw=data, then="close", nth=nth, path=path)


def error(
    status: int = 500,
    body: str = "<html><body><h1>500 Internal Server Error</h1></body></html>\n",
    content_type: str = "text/html",
    *,
    nth: int | None = None,
    path: str | None = None,
) -> Fault:
    """An error that is not the engine's: HTML, unless something else is given."""
    answer = Answer(
        status=status, headers=(("Content-Type", content_type),), body=body.encode("utf-8")
    )
    return Fault(name="error", answer=answer, nth=nth, path=path)


def forbidden(*, nth: int | None = None, path: str | None = None) -> Fault:
    """The 403 of a filtering proxy in front of the socket."""
    page = (
        "<html><body><h1>403 Forbidden</h1>\n"
        "Request forbidden by administrative rules.\n</body></html>\n"
    )
    return msgspec.structs.replace(error(403, page, nth=nth, path=path), name="forbidden")


def no_api_version(*, nth: int | None = None, path: str | None = None) -> Fault:
    """The engine's answer, without `Api-Version`, as if something in front had removed it."""
    return Fault(name="no_api_version", drop=("Api-Version",), nth=nth, path=path)


def events(
    *,
    cut: int | None = None,
    then: Literal["close", "reset", "hang"] = "close",
    late: float = 0.0,
    lose: int | None = None,
    twice: bool = False,
    backwards: bool = False,
    foreign: int = 0,
    clock: float = 0.0,
    nth: int | None = None,
) -> Fault:
    """A stream of events with any of these faults, or several of them.

    `cut`: it breaks after this many bytes of its body. `then` says how: it ends, is reset, or stays
    open without anything more, like a half-open connection; with `cut=0` such a stream is silent
    from the start. `late`: each event comes this many seconds late, by the engine's clock. `lose`:
    every nth event is lost; with 1 all are. `twice`: each event comes twice. `backwards`: events
    that are due together come in the wrong order. `foreign`: there are events of images that this
    engine does not have, this many right after the head, from an hour ago, and one before each
    event, as from Podman, whose stores share a log. `clock`: each event says that it happened this
    many seconds later. `nth` counts the streams.
    """
    telling = Telling(
        cut=cut,
        late=late,
        lose=lose,
        twice=twice,
        backwards=backwards,
        foreign=foreign,
        clock=clock,
    )
    return Fault(name="events", telling=telling, then=then, nth=nth, path="/events")
