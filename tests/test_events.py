"""What is read from a stream of events: framings, records, and what is a reason to look."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_images.engine.events import MAX_RECORD, EventReader, container_actions, events_params
from docker_images.engine.versions import ApiVersion

# As they came, from Docker 20.10.24, Docker 29.7.2 and Podman 4.3.1; ids shortened.
OLD_DOCKER = (
    b'{"status":"tag","id":"sha256:dbf1","Type":"image","Action":"tag","Actor":{"ID":"sha256:dbf1",'
    b'"Attributes":{"name":"ev/c:1","stage":"prod"}},"scope":"local","time":1795721754,'
    b'"timeNano":1795721754008558218}\n'
)
DOCKER = (
    b'{"Type":"image","Action":"create","Actor":{"ID":"sha256:b109","Attributes":{"name":'
    b'"sha256:b109"}},"scope":"local","time":1795706051,"timeNano":1795706051561004305}\n'
)
PODMAN = (
    b'{"status":"build","Type":"image","Action":"build","Actor":{"ID":"","Attributes":{'
    b'"containerExitCode":"0","image":"","name":"94c6","podId":""}},"scope":"local",'
    b'"time":1795721746,"timeNano":1795721746716119541}\n'
)
COMMITS = frozenset({"commit"})


def read(data: bytes, actions: frozenset[str] = frozenset()) -> list[float | None]:
    return EventReader(actions).feed(data)


def record(**fields: object) -> bytes:
    return json.dumps({"Type": "image", "Action": "tag", "time": 1, **fields}).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (OLD_DOCKER, 1795721754.008558218),
        (DOCKER, 1795706051.561004305),
        (PODMAN, 1795721746.716119541),
        (b"\x1e" + DOCKER, 1795706051.561004305),
        (b"\r\n\n" + DOCKER.replace(b"\n", b"\r\n"), 1795706051.561004305),
    ],
    ids=["docker 20.10", "docker 29.7", "podman 4.3", "json-seq", "blank lines"],
)
def test_every_engine_and_framing_tells_when(data: bytes, at: float) -> None:
    assert read(data) == [pytest.approx(at, abs=1e-6)]


@given(st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int], marked: bool) -> None:
    data = b"".join(b"\x1e" * marked + one for one in (OLD_DOCKER, DOCKER, PODMAN))
    reader, found, at = EventReader(()), [], 0
    for size in (*sizes, len(data)):
        found += reader.feed(data[at : at + size])
        at += size
    assert len(found) == reader.records == 3


def test_a_record_counts_when_its_line_ends() -> None:
    reader = EventReader(())
    assert reader.feed(DOCKER[:-1]) == []
    assert len(reader.feed(b"\n")) == 1


# A reason to look


@pytest.mark.parametrize(
    "action",
    [
        *("tag", "untag", "delete", "import", "load", "pull", "prune", "create"),
        *("build", "loadfromarchive", "remove", "what comes with a later engine"),
    ],
)
def test_an_action_on_an_image_is_a_reason_to_look_known_or_not(action: str) -> None:
    assert len(read(record(Action=action))) == 1


@pytest.mark.parametrize("action", ["save", "push", "mount", "unmount", "pull-error"])
def test_what_changes_no_list_is_none(action: str) -> None:
    assert read(record(Action=action)) == []


@pytest.mark.parametrize("type_", ["container", "network", "daemon", None, 7])
def test_other_types_are_none(type_: object) -> None:
    assert read(record(Type=type_)) == []


def test_an_action_is_also_found_under_its_old_name() -> None:
    assert len(read(b'{"status":"tag","time":1}\n')) == 1
    assert read(b'{"status":"push","time":1}\n') == []


@pytest.mark.parametrize(
    ("podman", "version", "actions"),
    [
        (False, ApiVersion(1, 41), {"commit", "destroy"}),
        (False, ApiVersion(1, 51), {"commit", "destroy"}),
        (False, ApiVersion(1, 55), set()),
        (True, ApiVersion(1, 41), {"commit"}),
        (True, ApiVersion(1, 44), {"commit"}),
    ],
)
def test_containers_are_asked_for_where_they_are_the_only_word_of_a_change(
    podman: bool, version: ApiVersion, actions: set[str]
) -> None:
    assert container_actions(podman, version) == actions


@pytest.mark.parametrize(("action", "found"), [("commit", 1), ("die", 0), ("exec_start: sh", 0)])
def test_of_containers_only_those_actions_are_a_reason(action: str, found: int) -> None:
    assert len(read(record(Type="container", Action=action), COMMITS)) == found


def test_filters_are_by_type_in_the_form_that_every_engine_reads() -> None:
    assert events_params(None, ()) == "filters=%7B%22type%22%3A%7B%22image%22%3Atrue%7D%7D"
    assert "container" in events_params(None, COMMITS)
    assert events_params(1795721754.9, ()).startswith("since=1795721754&")


# Nothing is trusted


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"timeNano": 2_500_000_000}, 2.5),
        ({"timeNano": 0}, 1.0),
        ({"timeNano": None}, 1.0),
        ({"timeNano": "soon"}, 1.0),
        ({"timeNano": True}, 1.0),
        ({"timeNano": -5, "time": 3}, 3.0),
        ({"timeNano": 10**400, "time": 10**400}, None),
        ({"time": None}, None),
        ({"time": [1]}, None),
    ],
)
def test_a_time_that_cannot_be_is_no_time(fields: dict[str, object], at: float | None) -> None:
    assert read(record(**fields)) == [at]


@pytest.mark.parametrize("action", [None, 7, ["tag"], {"a": 1}, ""])
def test_an_action_that_is_no_text_is_one_that_nobody_knows(action: object) -> None:
    assert len(read(record(Action=action))) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"<html>\n",
        b"[]\n",
        b"null\n",
        b'"tag"\n',
        b"{} {}\n",
        b'{"Type":"image"\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"Type":' + b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_no_record_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="an event cannot be read"):
        read(data)


@pytest.mark.parametrize("step", [4096, MAX_RECORD + 10])
def test_a_record_without_end_is_an_error_and_is_not_kept(step: int) -> None:
    reader = EventReader(())
    for _ in range(MAX_RECORD // step):
        reader.feed(b"x" * step)
    with pytest.raises(ValueError, match=f"longer than {MAX_RECORD} bytes"):
        reader.feed(b"x" * step)


def test_a_record_of_the_greatest_size_is_read() -> None:
    padding = MAX_RECORD - len(record(padding="")) + 1
    assert len(read(record(padding="x" * padding))) == 1


@given(st.binary(max_size=200))
def test_no_bytes_make_another_error(data: bytes) -> None:
    with suppress(ValueError):
        read(data + b"\n")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_field_makes_an_error(value: object) -> None:
    fields = dict.fromkeys(("Type", "Action", "status", "time", "timeNano"), value)
    assert len(read(msgspec.json.encode(fields) + b"\n", COMMITS)) <= 1
