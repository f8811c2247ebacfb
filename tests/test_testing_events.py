"""The events of the fake engine, beside those that engines were recorded with."""

import json
from typing import Any

import pytest

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
