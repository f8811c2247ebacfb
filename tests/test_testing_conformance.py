"""One suite for the real engines that are installed and for the fake in their shape.

Both hold the same images and are asked the same; a difference fails. What these engines alone can
tell is judged by `test_testing_recordings`.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import engines
import pytest

from docker_images.testing import FakeEngine

# The engine's own facts, its clock, and how long a body is.
PASSED_OVER = {"date", "content-length", "transfer-encoding", "x-reference-id"}
# Every listing and refusal below is asked with each of these.
REQUESTS = [
    "GET /_ping",
    "HEAD /_ping",
    "GET /v1.41/_ping",
    "GET /images/json",
    "GET /v1.12/images/json",
    "GET /v1.24/images/json?all=1",
    "GET /v1.41/images/json?all=1",
    "GET /v1.41/images/json?all=junk",
    "GET /v1.41/images/json?all=no",
    "GET /v1.41/images/json?all=0&all=1",
    "GET /v1.41/images/json?shared-size=1",
    "GET /v1.41/images/json?manifests=1&identity=1",
    "GET /v1.41/images/json?digests=1",
    "GET /v1.41/images/json?digests=0",
    "GET /v1.41/images/json?digests=x",
    "GET /v1.41/images/json?unheard=of",
    "GET /v1.40/images/json?filter=demo/web",
    "GET /v1.41/images/json?filter=demo/web",
    "GET /v1.42/images/json",
    "GET /v9.9/images/json",
    "GET /v1.1/images/json",
    "GET /v1/images/json",
    "GET /v1./images/json",
    "GET /v1.41.9/images/json",
    "GET /vx/images/json",
    "GET //images/json",
    "GET /images/json/",
    "HEAD /images/json",
    "POST /images/json",
    "POST /_ping",
    "GET /nope",
    "GET /v1.99/nope",
    "GET /v1.23/images/json?filters=" + quote('{"nope":["x"]}'),
]
WEB = "dfc23605fcc02dbfc8db4184f2e4ba9d6e79138a9f7d5f4c46461f5453bb844d"
"""The id of demo/web, which follows from what `engines.LOADED` says of it."""
FILTERS = [
    "",
    "{}",
    "null",
    "[]",
    '"x"',
    "{",
    '{"a"',
    "{not json",
    "nonsense",
    '{"label":"x"}',
    '{"label":[1]}',
    '{"label":["a"]} x',
    '{"dangling":["true"],"label":{"a":true}}',
    '{"nope":["x"]}',
    '{"nope":[]}',
    '{"dangling":["true"]}',
    '{"dangling":["false"]}',
    '{"dangling":{"true":true}}',
    '{"dangling":{"true":false}}',
    '{"dangling":["1"]}',
    '{"dangling":["perhaps"]}',
    '{"dangling":[]}',
    '{"dangling":["true","false"]}',
    '{"dangling":{"true":true,"false":true}}',
    '{"dangling!":["true"]}',
    '{"label":["stage"]}',
    '{"label":["stage=prod"]}',
    '{"label":{"stage=prod":true,"maintainer":true}}',
    '{"label":{"stage=prod":true,"stage=test":true}}',
    '{"label":["stage=prod","maintainer"]}',
    '{"label":{"stage":false}}',
    '{"label":["maintainer="]}',
    '{"label":["empty="]}',
    '{"label":["größe=40 µm 🐳"]}',
    '{"label":{"a.b/c=x=y!=z":true}}',
    '{"label":["c=x!=y"]}',
    '{"label":[]}',
    '{"label!":["stage"]}',
    '{"label!":{"stage=prod":true}}',
    '{"before":["demo/web:1.0"]}',
    '{"before":["demo/web"]}',
    f'{{"before":["sha256:{WEB}"]}}',
    f'{{"before":["{WEB[:12]}"]}}',
    '{"before":["x"]}',
    '{"before":["no/such:image"]}',
    '{"before":["UPPER"]}',
    '{"since":["demo/web:1.0"]}',
    '{"since":["nope:1"]}',
    '{"since":["sha256:0000"]}',
    '{"after":["demo/web:1.0"]}',
    '{"until":["junk"]}',
    '{"until":["10m"]}',
    '{"until":["2024-01-01"]}',
    '{"until":["2024-01-01T00:00:00"]}',
    '{"until":["1704067200"]}',
    '{"reference":["web"]}',
    '{"reference":["web:1.0"]}',
    '{"reference":["demo/web"]}',
    '{"reference":["demo/*"]}',
    '{"reference":["*"]}',
    '{"reference":["*/*/web:*"]}',
    '{"reference":["localhost/demo/web"]}',
    '{"reference":["localhost/demo/web:1.0"]}',
    '{"reference":["localhost/*/*"]}',
    '{"reference":["docker.io/demo/*"]}',
    '{"reference":["registry.example.com:5000/*/*"]}',
    '{"reference":["demo/[a-c]*"]}',
    '{"reference":["demo/[^a-c]*"]}',
    '{"reference":["demo/\\\\we?"]}',
    '{"reference":["["]}',
    '{"reference":["[x"]}',
    '{"reference":["[]a]"]}',
    '{"reference":["demo/\\\\"]}',
    '{"reference":{"demo/web:latest":true,"demo/built":true}}',
    '{"reference":["demo/web:latest","demo/built"]}',
    '{"reference":{"demo/epoch:1":true,"*":false}}',
    '{"reference!":["*"]}',
    f'{{"id":["{WEB}"]}}',
    f'{{"id":["{WEB[:12]}"]}}',
    '{"containers":["true"]}',
    '{"containers":["false"]}',
    '{"intermediate":["true"]}',
    '{"manifest":["true"]}',
    '{"manifest":["false"]}',
    '{"readonly":["true"]}',
    '{"digest":["sha256:1"]}',
]
TARGETS = [
    *REQUESTS,
    *(f"GET /v1.41/images/json?filters={quote(text)}" for text in FILTERS),
    *(
        f"GET /v1.41/images/json?all=1&filters={quote(text)}"
        for text in FILTERS
        if "dangling" in text or "intermediate" in text
    ),
]
EVERYTHING = [pytest.param(one, id=f"{n:03} {unquote(one)}") for n, one in enumerate(TARGETS)]


class Pair:
    """A real engine, and the fake with its images."""

    def __init__(self, real: str, fake: str) -> None:
        self.real, self.fake = real, fake


def paired(real: str, engine: str, version: str) -> Iterator[Pair]:
    """The fake in the shape of an engine that runs, holding what that one holds."""
    found = engines.call(real, "GET", "/version").json()["Version"]
    if not found.startswith(version):
        engines.absent(f"the fake knows {engine}, and {found} is installed")
    images = engines.call(real, "GET", "/v1.41/images/json?all=1").json()
    with FakeEngine(images, engine=engine, strict=False) as fake:
        yield Pair(real, fake.host)


@pytest.fixture(scope="module")
def docker_pair(dockerd: str) -> Iterator[Pair]:
    yield from paired(dockerd, "docker 20.10", "20.10.")


@pytest.fixture(scope="module")
def podman_pair(podman: str) -> Iterator[Pair]:
    yield from paired(podman, "podman 4", "4.3.")


def headers(answer: engines.Answer) -> dict[str, str]:
    kept = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in kept.items() if name not in PASSED_OVER}


def meaning(answer: engines.Answer, in_order: bool) -> Any:
    """The body; rows of Docker by time and id, because its order of ties changes."""
    if not answer.body.startswith(b"["):
        return answer.body
    # Lists of pairs: the order of keys counts.
    rows = json.loads(answer.body, object_pairs_hook=list)
    if in_order:
        return rows
    return sorted(rows, key=lambda row: (-dict(row)["Created"], dict(row)["Id"]))


def compare(pair: Pair, request_line: str, in_order: bool) -> None:
    method, target = request_line.split(" ", 1)
    real = engines.call(pair.real, method, target)
    fake = engines.call(pair.fake, method, target)
    assert fake.status == real.status, (real.body, fake.body)
    assert headers(fake) == headers(real)
    assert meaning(fake, in_order) == meaning(real, in_order)
    # How the length of the body is told is the engine's too.
    assert ("Content-Length" in fake.headers) == ("Content-Length" in real.headers)


@pytest.mark.parametrize("request_line", EVERYTHING)
def test_the_fake_answers_as_the_real_docker(docker_pair: Pair, request_line: str) -> None:
    compare(docker_pair, request_line, in_order=False)


@pytest.mark.parametrize("request_line", EVERYTHING)
def test_the_fake_answers_as_the_real_podman(podman_pair: Pair, request_line: str) -> None:
    compare(podman_pair, request_line, in_order=True)


@pytest.mark.parametrize("name", ["docker_pair", "podman_pair"])
def test_version_has_the_keys_and_the_api_versions_of_the_real_engine(
    name: str, request: pytest.FixtureRequest
) -> None:
    pair: Pair = request.getfixturevalue(name)
    real = engines.call(pair.real, "GET", "/version").json()
    fake = engines.call(pair.fake, "GET", "/version").json()
    assert list(fake) == list(real)
    for key in ("ApiVersion", "MinAPIVersion", "Os", "Platform"):
        assert fake[key] == real[key]
    assert list(fake["Components"][0]) == list(real["Components"][0])
    assert list(fake["Components"][0]["Details"]) == list(real["Components"][0]["Details"])
