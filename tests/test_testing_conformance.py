"""One suite for the real engines that are installed and for the fake in their shape.

Both hold the same images and are asked the same; a difference fails. What these engines alone can
tell is judged by `test_testing_recordings`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import engines
import pytest

from docker_images.testing import FakeEngine

# The engine's own facts, its clock, and how long a body is.
PASSED_OVER = {"date", "content-length", "transfer-encoding", "x-reference-id"}
VERSIONED = {"server", "libpod-api-version", "libpod-buildah-version"}
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
    '{"before":["demo/undated:1"]}',
    '{"since":["demo/undated:1"]}',
    '{"before":["demo/year1:1"]}',
    '{"since":["demo/year1:1"]}',
    '{"before":["demo/year0:1"]}',
    '{"since":["demo/year0:1"]}',
    '{"before":["x"]}',
    '{"before":["no/such:image"]}',
    '{"before":["UPPER"]}',
    '{"since":["demo/web:1.0"]}',
    '{"since":["nope:1"]}',
    '{"since":["sha256:0000"]}',
    '{"after":["demo/web:1.0"]}',
    '{"until":["junk"]}',
    '{"until":["24h"]}',
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
EVERYTHING = [
    pytest.param(
        *(name, target),
        id=f"{name}-{number:03} {unquote(target)}",
        # The recordings hold each fake to all of this, too.
        marks=() if name in engines.in_turn(number) else pytest.mark.slow,
    )
    for name in engines.NAMES
    for number, target in enumerate(TARGETS)
]


class Pair(NamedTuple):
    """A real engine, and the fake in its shape with its images."""

    name: str
    real: str
    fake: str


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, live: engines.Live) -> Iterator[Pair]:
    real = live.host(request.param)
    with FakeEngine(held(real, request.param), engine=request.param, strict=False) as fake:
        yield Pair(request.param, real, fake.host)


UNDATED = {tag for one in engines.LOADED if "created" not in one for tag in one["tags"]}


def held(host: str, name: str) -> list[dict[str, Any]]:
    """What an engine holds, as it tells it, and whether an image says when it was made."""
    listed: list[dict[str, Any]] = engines.call(
        host, "GET", "/images/json?all=1&manifests=1"
    ).json()
    for number, row in enumerate(listed):
        if name.startswith("podman"):
            # It lists them as they were loaded, and compares by less than a second.
            row["Created"] += number / 1000
        # Docker lists it as made in 1970, and yet tells it from one that was.
        if name.startswith("docker") and UNDATED.intersection(row["RepoTags"] or ()):
            row["Created"] = None
    return listed


def headers(answer: engines.Answer) -> dict[str, str]:
    kept = {name.lower(): value for name, value in answer.headers.items()}
    for name in VERSIONED & kept.keys():
        # The engine's version up to its second part: what follows is a matter of packages.
        kept[name] = re.sub(r"(\d+\.\d+)\S*", r"\1", kept[name])
    return {name: value for name, value in kept.items() if name not in PASSED_OVER}


def meaning(answer: engines.Answer, in_order: bool) -> Any:
    """The body; rows of Docker by time and id, because its order of ties changes."""
    if not answer.body.startswith(b"["):
        # Go's maps have no order.
        return answer.body.replace(b"=[false true]", b"=[true false]")
    # Lists of pairs: the order of keys counts.
    rows = json.loads(answer.body, object_pairs_hook=list)
    if in_order:
        return rows
    return sorted(rows, key=lambda row: (-dict(row)["Created"], dict(row)["Id"]))


@pytest.mark.parametrize(("pair", "request_line"), EVERYTHING, indirect=["pair"])
def test_the_fake_answers_as_the_real_engine(pair: Pair, request_line: str) -> None:
    in_order = pair.name.startswith("podman")
    method, target = request_line.split(" ", 1)
    real = engines.call(pair.real, method, target)
    fake = engines.call(pair.fake, method, target)
    assert fake.status == real.status, (real.body, fake.body)
    assert headers(fake) == headers(real)
    assert meaning(fake, in_order) == meaning(real, in_order)
    # How the length of the body is told is the engine's too.
    assert ("Content-Length" in fake.headers) == ("Content-Length" in real.headers)


@pytest.mark.parametrize("pair", engines.NAMES, indirect=True)
def test_version_has_the_keys_and_the_api_versions_of_the_real_engine(pair: Pair) -> None:
    real = engines.call(pair.real, "GET", "/version").json()
    fake = engines.call(pair.fake, "GET", "/version").json()
    assert list(fake) == list(real)
    for key in ("ApiVersion", "MinAPIVersion", "Os", "Platform"):
        assert fake[key] == real[key]
    assert list(fake["Components"][0]) == list(real["Components"][0])
    assert list(fake["Components"][0]["Details"]) == list(real["Components"][0]["Details"])
