"""Real engines for tests: a dockerd and a Podman of our own, in a temporary folder, filled offline.

Knows how to start, fill and end them; whatever it starts it ends, by process id. Talks to them with
`http.client` only, so that nothing here is code under test and no docker command is needed.
"""

import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

REQUIRED = os.environ.get("DOCKER_IMAGES_REQUIRE_ENGINES") == "1"
"""Whether a missing engine fails the tests that want one, rather than skipping them."""


class Answer(NamedTuple):
    """What an engine answered to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def call(
    host: str,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> Answer:
    """One request on a connection of its own to `unix://…` or `tcp://…`; the plainest client."""
    scheme, _, address = host.partition("://")
    connection = (
        _UnixConnection(address, timeout)
        if scheme == "unix"
        else http.client.HTTPConnection(address, timeout=timeout)
    )
    try:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


@contextmanager
def start_dockerd(folder: Path) -> Iterator[str]:
    """A dockerd of our own; yields its `unix://…`. Needs root; skips the test without one."""
    executable = _executable("dockerd")
    with _serving(
        folder,
        [
            *(executable, "--data-root", f"{folder}/d", "--exec-root", f"{folder}/x"),
            *("--pidfile", f"{folder}/pid", "-H", f"unix://{folder}/docker.sock"),
            *("--iptables=false", "--ip6tables=false", "--bridge=none"),
            "--storage-driver=vfs",
        ],
        folder / "docker.sock",
    ) as host:
        yield host


@contextmanager
def start_podman(folder: Path) -> Iterator[str]:
    """A Podman service of our own; yields its `unix://…`. Skips the test without one."""
    executable = _executable("podman")
    (folder / "p").mkdir(parents=True, exist_ok=True)
    with _serving(
        folder,
        [
            *(executable, "--root", f"{folder}/r", "--runroot", f"{folder}/u"),
            *("--storage-driver=vfs", "system", "service", "-t", "0"),
            f"unix://{folder}/podman.sock",
        ],
        folder / "podman.sock",
    ) as host:
        yield host


def _executable(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        absent(f"{name} is not installed")
    elif os.geteuid() != 0:
        absent(f"{name} is installed, but starting it takes root")
    else:
        return path
    raise AssertionError


def absent(why: str) -> None:
    """Skip, or fail where DOCKER_IMAGES_REQUIRE_ENGINES=1 says that engines must be there."""
    if REQUIRED:
        pytest.fail(f"{why}, and DOCKER_IMAGES_REQUIRE_ENGINES=1", pytrace=False)
    pytest.skip(why)


@contextmanager
def _serving(folder: Path, command: list[str], path: Path) -> Iterator[str]:
    host = f"unix://{path}"
    log = folder / "log"
    with log.open("wb") as output:
        # A group of its own: an engine's helpers end with it, and ctrl-c does not reach it early.
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not _answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                absent(f"{command[0]} did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(host: str) -> bool:
    try:
        return call(host, "GET", "/_ping", timeout=5).status == 200
    except OSError:
        return False


def archive(images: Iterable[Mapping[str, Any]]) -> bytes:
    """What `docker save` writes, and `docker load` reads; the same bytes for the same images.

    An image is `tags`, and what goes into its config: `created` (RFC 3339), `labels`; `layer` is
    the text of the one file in its one layer.
    """
    files: dict[str, bytes] = {}
    manifest = []
    for image in images:
        layer = _tar({"file": str(image.get("layer", "")).encode()})
        digest = hashlib.sha256(layer).hexdigest()
        config: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": image["labels"]} if "labels" in image else {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "tests"}],
        }
        if "created" in image:
            config["created"] = image["created"]
        encoded = json.dumps(config).encode()
        name = f"{hashlib.sha256(encoded).hexdigest()}.json"
        files[f"{digest}/layer.tar"] = layer
        files[name] = encoded
        tags = list(image.get("tags", ())) or None
        manifest.append({"Config": name, "RepoTags": tags, "Layers": [f"{digest}/layer.tar"]})
    return _tar({**files, "manifest.json": json.dumps(manifest).encode()})


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


LOADED: tuple[dict[str, Any], ...] = (
    {
        "tags": ["demo/web:latest", "demo/web:1.0", "registry.example.com:5000/team/web:1.0"],
        "created": "2024-05-06T07:08:09Z",
        "labels": {"stage": "prod", "maintainer": "team@example.com"},
        "layer": "web",
    },
    {
        "tags": ["demo/labels:1"],
        "created": "2023-01-02T03:04:05.678901234Z",
        "labels": {"stage": "test", "empty": "", "größe": "40 µm 🐳", "a.b/c": "x=y!=z"},
        "layer": "labels",
    },
    {"tags": ["demo/undated:1"], "layer": "undated"},
    {"tags": ["demo/epoch:1"], "created": "1970-01-01T00:00:00Z", "layer": "epoch"},
    {"tags": ["demo/year0:1"], "created": "0000-01-01T00:00:00Z", "layer": "year0"},
    {"tags": ["demo/year1:1"], "created": "0001-01-01T00:00:00Z", "layer": "year1"},
    {"tags": ["demo/year9999:1"], "created": "9999-12-31T23:59:59Z", "layer": "year9999"},
    {"tags": ["localhost/demo/local:1"], "created": "2022-02-02T02:02:02Z", "labels": {}},
    {"tags": [], "created": "2021-01-01T00:00:00Z", "labels": {"stage": "prod"}, "layer": "none"},
)
"""What `fill` loads: tags, no tag, labels of every sort, and creation times of every sort."""


def fill(host: str, *, many: int = 0) -> None:
    """Fill an engine without a registry: load, import, build, create a container.

    `many` images more (`many/000:1`, …), all of one layer, where a long list is wanted.
    """
    tar = {"Content-Type": "application/x-tar"}
    _done(call(host, "POST", "/v1.40/images/load", archive(LOADED), tar))
    layer = _tar({"hello": b"imported"})
    # Podman reads the tag only from the name.
    imported = "/v1.40/images/create?fromSrc=-&repo=demo/imported:1"
    _done(call(host, "POST", f"{imported}&changes={quote('LABEL from=import')}", layer, tar))
    context = _tar(
        {
            "Dockerfile": b"FROM scratch\nCOPY hello /hello\nLABEL stage=prod built=yes\n",
            "hello": b"built",
        }
    )
    _done(call(host, "POST", "/v1.40/build?t=demo/built:1&rm=1", context, tar))
    for name in ("demo/built:1", "demo/built:1", "demo/web:1.0"):
        container = json.dumps({"Image": name, "Cmd": ["/hello"]}).encode()
        json_type = {"Content-Type": "application/json"}
        _done(call(host, "POST", "/v1.40/containers/create", container, json_type))
    if many:
        images = (
            {
                "tags": [f"many/{n:03}:1"],
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + n)),
                "labels": {"number": str(n), "stage": "prod" if n % 3 else "test"},
                "layer": "many",
            }
            for n in range(many)
        )
        _done(call(host, "POST", "/v1.40/images/load", archive(images), tar, timeout=600))


def _done(answer: Answer) -> None:
    # Both engines report failures of load, import and build in a stream that says 200.
    if answer.status >= 300 or b'"error"' in answer.body:
        raise AssertionError(f"filling failed: {answer.status} {answer.body[-500:]!r}")
