"""For engines that are not installed the recorded answers are the judge of the fake."""

import json
from functools import cache
from typing import Any

import pytest
import recorded
from msgspec.structs import replace

from docker_images.testing.answers import Answer, answer, read_request
from docker_images.testing.images import Images, as_image
from docker_images.testing.shapes import ENGINES, Shape, shape_named, version_of

SHAPES = {
    "docker-20.10.24": "docker 20.10",
    "docker-25.0.5": "docker 25",
    "docker-25.0.5-containerd": "docker 25 containerd",
    "docker-26.1.5": "docker 26.1",
    "docker-26.1.5-containerd": "docker 26.1 containerd",
    "docker-28.5.2": "docker 28.5",
    "docker-28.5.2-containerd": "docker 28.5 containerd",
    "docker-29.7.2": "docker 29.7",
    "docker-29.7.2-containerd": "docker 29.7 containerd",
    "docker-master": "docker master",
    "docker-master-containerd": "docker master containerd",
    "podman-4.3.1": "podman 4",
    "podman-5.4.2": "podman 5.4",
    "podman-5.8.6": "podman 5.8",
}
SHAPE = {
    # The oldest version that it accepts is an engine's configuration.
    name: replace(
        shape_named(engine), oldest=version_of(recorded.recording(name)["min_api_version"])
    )
    for name, engine in SHAPES.items()
}
UNSTABLE_HEADERS = {"date", "content-length", "transfer-encoding"}


@cache
def held(name: str) -> Images:
    """What the recorded engine held: its newest listing of everything."""
    exchanges = recorded.exchanges(name)
    listing = f"GET /v{recorded.recording(name)['api_version']}/images/json"

    def rows(query: str) -> list[dict[str, Any]]:
        exchange = exchanges.get(listing + query) or exchanges[listing]
        return json.loads(exchange["body"])

    detailed = {row["Id"]: row for row in rows("?manifests=1&identity=1")}
    everything = listing + "?all=1&shared-size=1"
    full = rows("?all=1&shared-size=1" if everything in exchanges else "?all=1")
    images = Images()
    for row in full:
        manifests = detailed.get(row["Id"], {}).get("Manifests")
        images.add(as_image(row | {"Manifests": manifests}))
    for image in images:
        image.loaded = now(name)
    _add_what_no_listing_tells(name, images)
    return images


def _add_what_no_listing_tells(name: str, images: Images) -> None:
    for request_line, exchange in recorded.exchanges(name).items():
        filters = read_request(SHAPE[name], *request_line.split(" ", 1)).query.get("filters", "")
        if exchange["status"] != 200 or not filters.startswith('{"'):
            continue
        rows = json.loads(exchange["body"])
        for limit in json.loads(filters).get("before", ()):
            # Which of the images of one second came last.
            reference = images[limit]
            second, ids = reference.created, {row["Id"] for row in rows}
            if any(row["Created"] == second for row in rows):
                reference.created = (second or 0) + 0.5
                for image in images:
                    if image.created == second and image.id not in ids:
                        image.created = (second or 0) + 0.75
            # Listed as made in 1970, and yet not before anything: nobody said when.
            for image in images:
                if image.created == 0 and image.id not in ids:
                    image.created = None
        if json.loads(filters).get("dangling") == ["true"] and "containerd" in name:
            for row in rows:
                images[row["Id"]].dangling_record = bool(images[row["Id"]].tags)


def now(name: str) -> float:
    """When it was recorded: a minute after the newest image, but for those of the far future."""
    body = recorded.exchanges(name)["GET /images/json"]["body"]
    times = [row["Created"] for row in json.loads(body)]
    return max(time for time in times if time < 2**32) + 60


def ask(name: str, request: str) -> tuple[Shape, Answer]:
    method, target = request.split(" ", 1)
    shape = SHAPE[name]
    images = tuple(held(name))
    return shape, answer(shape, images, read_request(shape, method, target), now(name))


def headers(pairs: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in pairs if name.lower() not in UNSTABLE_HEADERS}


def ordered(rows: Any) -> Any:
    """Rows by time and id, as lists of pairs: the order of keys counts, that of ties does not."""
    return sorted(rows, key=lambda row: (-dict(row)["Created"], dict(row)["Id"], repr(row)))


def rows(name: str, request_line: str, body: str) -> Any:
    """The rows, without what the fake does not claim to know of the containerd store."""
    listed = [dict(row) for row in json.loads(body, object_pairs_hook=list)]
    for row in listed if "containerd" in name else ():
        if "Descriptor" in row:
            # Taken from one of the image's names that are left, at random.
            row["Descriptor"] = [pair for pair in row["Descriptor"] if pair[0] != "annotations"]
        if "all=1" not in request_line and row["SharedSize"] > 0:
            # What is shared with images that are not listed does not count there.
            row["SharedSize"] = 0
    return ordered([list(row.items()) for row in listed])


def test_every_recorded_engine_has_a_shape_and_the_other_way_round() -> None:
    assert sorted(SHAPES) == recorded.NAMES
    assert sorted(SHAPES.values()) == sorted(shape.name for shape in ENGINES)


PATHS = [
    pytest.param(name, path, id=f"{name} {path}")
    for name in recorded.NAMES
    for path in recorded.paths(name)
]


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_the_fake_answers_as_recorded(name: str, path: str) -> None:
    for request_line, exchange in recorded.of_path(name, path).items():
        _, answered = ask(name, request_line)
        assert answered.status == exchange["status"], request_line
        assert headers(answered.headers) == headers(exchange["headers"]), request_line
        body, expected = answered.body.decode(), exchange["body"]
        if "/images/json" in request_line and expected.startswith("["):
            body, expected = (rows(name, request_line, text) for text in (body, expected))
        assert body == expected, request_line
