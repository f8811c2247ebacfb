"""docs/engines.md says what the code and the recordings say: a field without a row fails."""

import inspect
import json
from urllib.parse import quote

import engines
import msgspec
import pytest
from facts import FACTS, code, fact, table
from recorded import exchanges, recording

import docker_images
from docker_images import DockerClient, ImageSummary
from docker_images.engine.versions import NEEDS
from docker_images.testing import ENGINE_NAMES
from docker_images.testing.shapes import shape_named

COLUMNS = {
    "Docker 20.10": ["docker-20.10.24"],
    "Docker 25 and 26, graph": ["docker-25.0.5", "docker-26.1.5"],
    "Docker 25 and 26, containerd": ["docker-25.0.5-containerd", "docker-26.1.5-containerd"],
    "Docker 28 and 29, graph": ["docker-28.5.2", "docker-29.7.2", "docker-master"],
    "Docker 28 and 29, containerd": [
        "docker-28.5.2-containerd",
        "docker-29.7.2-containerd",
        "docker-master-containerd",
    ],
    "Podman 4.3 and 5.4": ["podman-4.3.1", "podman-5.4.2"],
    "Podman 5.8": ["podman-5.8.6"],
}
"""What the columns were recorded from."""


def test_every_field_of_an_image_has_a_row_in_the_order_of_the_code() -> None:
    _, rows = table("fields")
    fields = msgspec.structs.fields(ImageSummary)
    assert sorted(map(code, rows)) == sorted([field.encode_name, field.name] for field in fields)


def test_the_columns_are_the_engines_that_were_recorded() -> None:
    heads, rows = table("fields")
    assert heads[1:-1] == list(COLUMNS)
    assert all(len(row) == len(heads) - 1 for row in rows.values())


@pytest.mark.parametrize("column", COLUMNS)
def test_a_key_that_is_never_there_was_never_recorded_and_any_other_was(column: str) -> None:
    heads, rows = table("fields")
    sent: set[str] = set()
    for name in COLUMNS[column]:
        prefix = f"GET /v{recording(name)['api_version']}/images/json"
        for request, exchange in exchanges(name).items():
            if request.startswith(prefix) and exchange["status"] == 200 and exchange["body"]:
                sent |= {key for row in json.loads(exchange["body"]) for key in row}
    place = heads.index(column) - 1
    for names, row in rows.items():
        assert (row[place] == "—") is (code(names)[0] not in sent), names


def test_every_key_of_every_nested_type_has_its_place() -> None:
    _, rows = table("nested")
    nested = {
        name: [field.encode_name for field in msgspec.structs.fields(type_)]
        for name in docker_images.__all__
        if (type_ := getattr(docker_images, name)).__module__ == "docker_images.images.models"
        and type_ is not ImageSummary
    }
    assert {code(name)[0] for name in rows} == nested.keys()
    for name, (keys,) in rows.items():
        told = [key for key in code(keys) if key in nested[code(name)[0]]]
        assert told == nested[code(name)[0]]


def test_every_option_has_a_row_with_what_it_needs() -> None:
    _, rows = table("options")
    assert {code(name)[0]: row[0].partition(" (")[0] for name, row in rows.items()} == {
        option: f"API {version}" for option, version in NEEDS.items()
    }


def test_every_question_has_a_row() -> None:
    _, rows = table("questions")
    keywords = inspect.signature(DockerClient.list_images).parameters.keys()
    assert {name for cell in rows for name in code(cell)} == keywords - NEEDS.keys() - {
        *("self", "timeout")
    }


def test_every_engine_has_a_row_and_those_are_live_that_the_tests_run() -> None:
    assert list(FACTS) == list(ENGINE_NAMES)
    live = {name for name, row in FACTS.items() if row["tested"] == "live"}
    assert live == {shape_named(name).name for name in engines.NAMES}
    assert {row["tested"] for row in FACTS.values()} == {"live", "recorded"}


@pytest.mark.parametrize("name", engines.NAMES)
def test_a_live_engine_is_what_its_row_says(live: engines.Live, name: str) -> None:
    host = live.host(name)
    version = engines.call(host, "GET", "/version").json()
    assert f"{version['MinAPIVersion']}–{version['ApiVersion']}" == fact(name, "API")
    podman = version["Components"][0]["Name"].startswith("Podman")
    store = "containerd" if engines.TABLE[name].containerd else "graph"
    assert fact(name, "store") == ("podman" if podman else store)

    rows = engines.call(host, "GET", "/images/json").json()
    (undated,) = (
        row for row in rows if any("demo/undated" in tag for tag in row["RepoTags"] or ())
    )
    told = {-62135596800: "year 1", 0: "1970"}
    assert told.get(undated["Created"], "loading") == fact(name, "not dated")
    counted = any(row["Containers"] > 0 for row in rows)
    assert fact(name, "containers") == ("counted" if counted else "not counted")

    query = "filters=" + quote('{"label":{"stage=prod":true,"maintainer":true}}')
    found = engines.call(host, "GET", f"/images/json?{query}").json()
    assert fact(name, "several labels in `filters`") == ("all" if len(found) == 1 else "any")
