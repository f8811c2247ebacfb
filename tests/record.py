"""Record what an engine answers, as a file for `recordings/`; `docs/adding-an-api-version.md`.

    python tests/record.py unix:///var/run/docker.sock "Docker 30.0.1, overlay2" > \\
        tests/recordings/docker-30.0.1.json

Asks only, and changes nothing. Every answer is kept byte for byte, as text, with its headers but
for those that differ each time. So record an engine that `engines.fill` filled, not one of yours.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import engines

Version = tuple[int, int]

# Where an answer changes its shape, or an option begins to count.
PLAIN: list[Version] = [
    (1, minor) for minor in (24, 25, *range(40, 45), 46, 47, 48, 50, 51, 53, 54)
]
THOROUGH: list[Version] = [(1, minor) for minor in (41, 42, 47, 51, 54)]
OUT_OF_RANGE = ("1.23", "1.12")

EACH_TIME_ANOTHER = ("Date", "X-Reference-Id")


def requests(oldest: Version, newest: Version, ids: tuple[str, str]) -> Iterator[str]:
    """What is asked of an engine that speaks these; `ids`: a newer and an older image of it."""
    yield from ("HEAD /_ping", "GET /_ping", "GET /version", "GET /images/json")
    too_new = f"1.{newest[1] + 1}"
    yield from (f"GET /v{version}/images/json" for version in (*OUT_OF_RANGE, too_new, "9.9", "x"))
    oldest = max(oldest, PLAIN[0])
    for version in sorted({oldest, newest, *PLAIN}):
        if oldest <= version <= newest:
            path = f"GET /v{version[0]}.{version[1]}/images/json"
            yield path
            yield f"{path}?all=1"
            if version in (oldest, newest, *THOROUGH):
                yield from (f"{path}?{query}" for query in _queries(*ids))


def _queries(newer: str, older: str) -> Iterator[str]:
    yield from ("shared-size=1", "digests=1", "manifests=1", "manifests=1&identity=1")
    yield "all=1&shared-size=1"
    for filters in (
        {"dangling": ["true"]},
        {"dangling": ["false"]},
        {"label": ["stage"]},
        {"label": ["stage=prod"]},
        {"label": ["stage=prod", "maintainer"]},
        {"label!": ["stage"]},
        {"reference": ["demo/*"]},
        {"reference": ["demo/web:latest", "demo/built"]},
        {"before": [newer]},
        {"since": [older]},
        {"until": ["2024-06-01T00:00:00"]},
        {"until": ["10m"]},
        {"before": ["no/such:image"]},
        {"nope": ["x"]},
        {"dangling": ["perhaps"]},
    ):
        yield _filters(filters)
    yield "filters=%7Bnot+json"
    yield _filters({"reference": ["["]})


def _filters(filters: dict[str, list[str]]) -> str:
    return f"filters={quote(json.dumps(filters), safe='/')}"


def record(host: str, name: str) -> dict[str, Any]:
    """What the engine at `host` answers; `name` says what it is, with its store."""
    versions = engines.call(host, "GET", "/version").json()
    newest, oldest = (_version(versions[key]) for key in ("ApiVersion", "MinAPIVersion"))
    images = engines.call(host, "GET", "/images/json").json()
    if len(images) < 2:
        raise SystemExit(f"{host} holds {len(images)} images; fill it first")
    images.sort(key=lambda image: (image["Created"], image["Id"]))
    ids = images[-1]["Id"], images[0]["Id"]
    return {
        "engine": name,
        "api_version": versions["ApiVersion"],
        "min_api_version": versions["MinAPIVersion"],
        "exchanges": [_exchange(host, request) for request in requests(oldest, newest, ids)],
    }


def _exchange(host: str, request: str) -> dict[str, Any]:
    method, _, target = request.partition(" ")
    answer = engines.call(host, method, target)
    headers = [
        [name, value] for name, value in answer.headers.items() if name not in EACH_TIME_ANOTHER
    ]
    text = answer.body.decode()
    return {"request": request, "status": answer.status, "headers": headers, "body": text}


def _version(text: str) -> Version:
    major, minor = text.split(".")
    return int(major), int(minor)


def dumps(recording: dict[str, Any]) -> str:
    """The file: one exchange a line, so that a diff shows which answer changed."""
    head = {key: value for key, value in recording.items() if key != "exchanges"}
    lines = ",\n".join(
        json.dumps(exchange, ensure_ascii=False) for exchange in recording["exchanges"]
    )
    return f'{json.dumps(head)[:-1]}, "exchanges": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.stdout.write(dumps(record(*sys.argv[1:])))
