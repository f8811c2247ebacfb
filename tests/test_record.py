"""The recorder asks a running engine what the stored recordings asked, and writes the same file."""

import json
from typing import Any

import pytest
import record
from recorded import FOLDER, NAMES, exchanges, recording
from wire import SUMMARY, keys


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_recording_asked_what_the_recorder_asks(name: str) -> None:
    stored = recording(name)
    asked = [exchange["request"] for exchange in stored["exchanges"]]
    oldest, newest = (
        tuple(map(int, stored[key].split("."))) for key in ("min_api_version", "api_version")
    )
    ids = [request.partition("sha256%3A")[2][:64] for request in asked if "sha256%3A" in request]
    newer, older = (f"sha256:{digits}" for digits in ids[:2])
    assert asked == list(record.requests(oldest, newest, (newer, older)))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["dockerd", "podman"])
def test_what_is_recorded_of_a_running_engine_has_the_shape_of_what_is_stored(
    engine: str, request: pytest.FixtureRequest
) -> None:
    new = record.record(request.getfixturevalue(engine), "this one")
    graph = [name for name in NAMES if "containerd" not in name]
    name = next((name for name in graph if server(recording(name)) == server(new)), None)
    if name is None:
        pytest.skip(f"this is {server(new)}, of which nothing is stored")
    stored = recording(name)

    assert new.keys() == stored.keys()
    assert (new["api_version"], new["min_api_version"]) == (
        stored["api_version"],
        stored["min_api_version"],
    )
    assert len(new["exchanges"]) == len(stored["exchanges"])
    for one, other in zip(new["exchanges"], stored["exchanges"], strict=True):
        assert one.keys() == other.keys()
        if "sha256" not in one["request"]:
            assert one["request"] == other["request"]
        assert one["status"] == other["status"], one["request"]
        if one["status"] == 200 and "/images/json" in one["request"] and other["body"]:
            assert row_keys(one) <= row_keys(exchanges(name)["GET /images/json"])
        elif one["status"] != 200:
            assert one["body"] == other["body"]
            assert sorted(one["headers"]) == sorted(other["headers"])

    assert json.loads(record.dumps(new)) == new


def server(recorded: dict[str, Any]) -> str:
    return str(dict(recorded["exchanges"][1]["headers"])["Server"])


def row_keys(exchange: dict[str, Any]) -> set[str]:
    return {key for row in json.loads(exchange["body"]) for key in keys(row, SUMMARY)}


def test_a_stored_recording_is_written_as_the_recorder_writes_it() -> None:
    for path in FOLDER.glob("*.json"):
        text = path.read_text()
        assert record.dumps(json.loads(text)) == text
