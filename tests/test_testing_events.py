"""The events of the fake engine: beside those that engines were recorded with, and their faults."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from docker_images.testing import FakeEngine, faults, image
from docker_images.testing.events import Event, record
from docker_images.testing.shapes import shape_named

ID = "sha256:4c2b"
# What each engine told of one change: action, Actor.ID and Attributes.name. The labels of an image,
# and Podman's empty attributes, are left out.
RECORDED: dict[str, dict[str, tuple[str, str, str]]] = {
    "docker 20.10": {
        "load": ("load", ID, ID),
        "tag": ("tag", ID, "ev/x:1"),
        "untag": ("untag", ID, ID),
    },
    "docker 29 containerd": {
        "load": ("load", ID, ID),
        "tag": ("tag", ID, "ev/x:1"),
        "untag": ("untag", ID, "ev/x:1"),
    },
    "podman 4.3": {
        "load": ("loadfromarchive", "", "/var/tmp/api_load.tar1"),
        "tag": ("tag", "4c2b", "docker.io/ev/x:1"),
        "untag": ("untag", "4c2b", "docker.io/ev/x:1"),
    },
}
ROWS = [(engine, action) for engine, actions in RECORDED.items() for action in actions]


def told(engine: str, action: str) -> dict[str, Any]:
    shape = shape_named(engine)
    name = "docker.io/ev/x:1" if shape.store == "podman" else "ev/x:1"
    event = Event(1795721750.25, action, ID, name)
    line = record(shape, shape.api, event)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    return dict(json.loads(line))


@pytest.mark.parametrize(("engine", "action"), ROWS)
def test_action_id_and_name_are_those_that_the_engine_writes(engine: str, action: str) -> None:
    event = told(engine, action)
    found = (event["Action"], event["Actor"]["ID"], event["Actor"]["Attributes"]["name"])
    assert found == RECORDED[engine][action]


@pytest.mark.parametrize("engine", ["docker 20.10", "podman 4.3"])
def test_an_image_that_goes_is_a_delete(engine: str) -> None:
    assert told(engine, "delete")["Action"] == "delete"


@pytest.mark.parametrize(
    ("engine", "legacy"), [("docker 20.10", True), ("docker 29", False), ("podman 4.3", True)]
)
def test_the_old_keys_are_gone_from_api_1_52_on(engine: str, legacy: bool) -> None:
    event = told(engine, "tag")
    assert ("status" in event, "id" in event) == (legacy, legacy)
    assert event["time"] == 1795721750
    assert event["timeNano"] == pytest.approx(1795721750_250000000, abs=1000)


# ── The stream, and what can be wrong with it ───────────────────────────────────────────────────


class Stream:
    """What a client gets of `/events`."""

    def __init__(self, engine: FakeEngine, query: str = "") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(engine.host.removeprefix("unix://"))
        self._socket.sendall(f"GET /events{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self._received = b""
        while b"\r\n\r\n" not in self._received:
            assert self._more()
        self.head, _, self._received = self._received.partition(b"\r\n\r\n")

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def _more(self) -> bool:
        data = self._socket.recv(65536)
        self._received += data
        return bool(data)

    def events(self, count: int) -> list[dict[str, Any]]:
        """The first so many; waits for them."""
        while self._received.count(b"}\n\r\n") < count:
            assert self._more()
        lines = [line for line in self._received.split(b"\r\n") if line.startswith(b"{")]
        return [json.loads(line) for line in lines[:count]]

    def names(self, count: int) -> list[str]:
        return [event["Actor"]["Attributes"].get("name", "") for event in self.events(count)]

    def rest(self) -> bytes:
        """All bytes to the end of the connection; raises where it is reset."""
        while self._more():
            pass
        return self._received

    @property
    def is_silent(self) -> bool:
        """Whether it is open, and not a byte came or comes."""
        self._socket.settimeout(0.05)
        try:
            return not (self._received or self._more())
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(60)


def told_of(engine: FakeEngine, *names: str) -> None:
    """Tag the one image there is; `name` is in the event."""
    for name in names:
        engine.images.tag("web:1", name)


@contextmanager
def telling(*faulty: faults.Fault, clock: Callable[[], float] = time.time) -> Iterator[FakeEngine]:
    engine = FakeEngine([image("web:1")], faults=faulty, clock=clock)
    with engine:
        yield engine


def test_a_stream_tells_what_happens_while_it_is_open_and_what_it_is_asked_to_repeat() -> None:
    now = [1_800_000_000.0]
    with telling(clock=lambda: now[0]) as engine:
        told_of(engine, "a:1")
        now[0] += 10
        told_of(engine, "b:1")
        with Stream(engine) as live, Stream(engine, f"?since={now[0]:.0f}") as since:
            assert b"Date: Fri, 15 Jan 2027 08:00:10 GMT" in live.head
            told_of(engine, "c:1")
            assert live.names(1) == ["c:1"]
            assert since.names(2) == ["b:1", "c:1"]


@pytest.mark.parametrize(("name", "kept"), [("docker 28.5", False), ("podman 5.8", True)])
def test_docker_forgets_its_events_with_a_restart_and_podman_does_not(
    name: str, kept: bool
) -> None:
    with FakeEngine([image("web:1")], engine=name) as engine:
        told_of(engine, "a:1")
        engine.restart()
        with Stream(engine, "?since=1") as stream:
            told_of(engine, "b:1")
            assert stream.names(1)[0].endswith("a:1" if kept else "b:1")


def test_it_can_be_refused() -> None:
    with telling(faults.forbidden(path="/events")) as engine, Stream(engine) as stream:
        assert stream.head.startswith(b"HTTP/1.1 403 ")


def test_it_can_break_at_any_byte() -> None:
    with telling() as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        stream.events(1)
        whole = stream._received
    for cut in range(len(whole) + 1):
        with telling(faults.events(cut=cut)) as engine, Stream(engine) as stream:
            told_of(engine, "a:1", "b:1")
            assert len(stream.rest()) == cut


@pytest.mark.parametrize("cut", [0, 7])
def test_it_can_be_reset(cut: int) -> None:
    with telling(faults.events(cut=cut, then="reset")) as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        with pytest.raises(ConnectionResetError):
            stream.rest()


def test_it_can_stay_silent() -> None:
    with telling(faults.events(cut=0, then="hang")) as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        assert stream.is_silent


def test_it_can_fall_silent_as_a_connection_that_is_half_open() -> None:
    with telling(faults.events(cut=5, then="hang")) as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        while len(stream._received) < 5:
            stream._more()
        stream._received = b""
        told_of(engine, "b:1")
        assert stream.is_silent


def test_events_can_be_late_by_the_clock_of_the_engine() -> None:
    now = [1_800_000_000.0]
    with telling(faults.events(late=5), clock=lambda: now[0]) as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        now[0] += 3
        told_of(engine, "b:1")
        assert stream.is_silent
        now[0] += 2
        assert stream.names(1) == ["a:1"]
        assert stream.events(1)[0]["time"] == 1_800_000_000
        stream._received = b""
        assert stream.is_silent


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (faults.events(lose=2), ["a:1", "c:1"]),
        (faults.events(twice=True), ["a:1", "a:1", "b:1", "b:1", "c:1", "c:1"]),
        (faults.events(foreign=1), ["foreign:1", *("foreign:1", "a:1"), "foreign:1", "b:1"]),
        (faults.events(foreign=1, lose=1), ["foreign:1"] * 4),
        (faults.events(backwards=True), ["c:1", "b:1", "a:1"]),
    ],
    ids=["lost", "twice", "of foreign stores", "of foreign stores alone", "out of order"],
)
def test_events_can_be(fault: faults.Fault, names: list[str]) -> None:
    with telling(fault) as engine:
        told_of(engine, "a:1", "b:1", "c:1")
        with Stream(engine, "?since=1") as stream:
            assert stream.names(len(names)) == names


def test_all_of_them_can_be_lost() -> None:
    with telling(faults.events(lose=1)) as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        assert stream.is_silent


def test_their_times_can_be_wrong() -> None:
    wrong = faults.events(clock=-3600)
    with telling(wrong, clock=lambda: 1_800_000_000.5) as engine, Stream(engine) as stream:
        told_of(engine, "a:1")
        assert stream.events(1)[0]["timeNano"] == 1_799_996_400_500_000_000


def test_a_fault_can_be_that_of_one_stream() -> None:
    with telling(faults.events(cut=0, nth=1)) as engine:
        with Stream(engine) as stream:
            assert stream.rest() == b""
        with Stream(engine) as stream:
            told_of(engine, "a:1")
            assert stream.names(1) == ["a:1"]


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        (faults.close_after_head(), True),
        (faults.truncated(), True),
        (faults.hang(after="head"), False),
        (faults.slow(), False),
        (faults.no_api_version(), False),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_faults_that_hit_each_answer_hit_the_stream_as_well(
    fault: faults.Fault, ends: bool
) -> None:
    with telling(fault) as engine, Stream(engine) as stream:
        assert (b"Api-Version" in stream.head) == (fault.name != "no_api_version")
        if ends:
            assert stream.rest() == b""
        elif fault.then == "hang":
            told_of(engine, "a:1")
            assert stream.is_silent
        else:
            told_of(engine, "a:1")
            assert stream.names(1) == ["a:1"]
