"""Real engines for tests: generations of Docker and Podman, each in a folder, filled offline.

Knows which there are, and how to start, fill and end them; whatever it starts it ends. They come
from the folders of `suites`, or from this machine where its own engine is the one that is wanted.
Talks to them with `http.client` only, so that nothing here is code under test and no docker
command is needed.
"""

import functools
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
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

import pytest
import registry
import suites

REQUIRED = os.environ.get("DOCKER_IMAGES_REQUIRE_ENGINES") == "1"
"""Whether a missing engine fails the tests that want one, rather than skipping them."""
UNWANTED = os.environ.get("DOCKER_IMAGES_REQUIRE_ENGINES") == "0"
"""Whether none is started, though it be there."""


class Engine(NamedTuple):
    """One engine that tests run, by the name that the embedded engine has for its shape."""

    suite: str
    version: str
    containerd: bool = False
    """Whether it keeps images in the containerd store."""


TABLE = {
    "docker 20.10": Engine("bookworm", "20.10"),
    "docker 26.1": Engine("trixie", "26.1"),
    "docker 26.1 containerd": Engine("trixie", "26.1", containerd=True),
    "docker 28.5": Engine("forky", "28.5"),
    "docker 28.5 containerd": Engine("forky", "28.5", containerd=True),
    "podman 4.3": Engine("bookworm", "4.3"),
    "podman 5.4": Engine("trixie", "5.4"),
    "podman 5.8": Engine("forky", "5.8"),
}
"""The engines that tests run, and the only place in the tests that names their versions."""

NAMES = tuple(TABLE)
SOME = ("docker 20.10", "docker 28.5 containerd", "podman 5.8")
"""One of each store, where asking the others the same thing again would take long."""
OWN = {"docker": "dockerd", "podman": "podman"}
"""What this machine's own engines are called here, whatever they are, and their executables."""


MISSING = "ENGINE MISSING: "
"""What the reason begins with for which a test of an engine is skipped."""


def quickly(*names: str, of: Iterable[str] = NAMES) -> list[Any]:
    """For `parametrize`: the engines; all but those of `names` (`SOME`) in .ci/run only."""
    wanted = names or SOME
    return [
        pytest.param(name, id=name, marks=() if name in wanted else pytest.mark.slow) for name in of
    ]


def in_turn(number: int, of: Iterable[str] = NAMES) -> set[str]:
    """A Docker and a Podman, others for each number: for long rows of questions to all engines."""
    kinds: dict[str, list[str]] = {}
    for name in of:
        kinds.setdefault(name.split()[0], []).append(name)
    return {names[number % len(names)] for names in kinds.values()}


def at_hand(name: str) -> str:
    """The engine of this name; for `"docker"` and `"podman"` the oldest one that is here."""
    for one in NAMES:
        if one.startswith(name) and _home(one) is not None:
            return one
    return name


def _home(name: str) -> str | None:
    """The suite that an engine is started from, `""` for this machine itself, or None."""
    if UNWANTED:
        return None
    if name in OWN:
        return "" if shutil.which(OWN[name]) else None
    engine = TABLE[name]
    if suites.is_made(engine.suite):
        return engine.suite
    own = _own_version(name.split()[0])
    return "" if own is not None and _is(own, engine.version) else None


@functools.cache
def _own_version(kind: str) -> str | None:
    """What this machine's own engine says of itself: `Docker version 20.10.24+dfsg1, build …`."""
    if shutil.which(OWN[kind]) is None:
        return None
    said = subprocess.run([OWN[kind], "--version"], capture_output=True, text=True, check=False)
    return said.stdout.partition("version ")[2].partition(",")[0].strip()


def _is(version: str, wanted: str) -> bool:
    return f"{version}.".startswith(f"{wanted}.")


class Live:
    """The engines of a run of tests: each started when it is first asked for, and filled once."""

    def __init__(self, stack: ExitStack) -> None:
        self._stacks: list[ExitStack] = []
        self._hosts: dict[str, str] = {}
        stack.callback(self._end)

    def host(self, name: str, *, more: bool = False) -> str:
        """The `unix://…` of an engine of the table, which is only to be read from.

        It holds what `fill` puts there; another one what `fill_more` does.
        """
        key = f"{name} more" if more else name
        if key not in self._hosts:
            stack = ExitStack()
            self._stacks.append(stack)
            host = stack.enter_context(start(name, stack.enter_context(folder())))
            (fill_more if more else fill)(host)
            self._hosts[key] = host
        return self._hosts[key]

    def _end(self) -> None:
        """End all at once: each takes its time."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(ExitStack.close, self._stacks))


@contextmanager
def folder() -> Iterator[Path]:
    """Where an engine may keep its data; gone at the end."""
    # Not below pytest's own folder: the path of a socket is at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="di-") as path:
        yield Path(path)


@contextmanager
def start(name: str, folder: Path, *options: str) -> Iterator[str]:
    """An engine of our own, `"docker 28.5"` or `at_hand("docker")`; yields its `unix://…`.

    Skips the test where there is none. `folder` is for its data; the same one again is a restart.
    Call it in a thread that lives as long as the engine shall, such as the main thread.
    """
    home = _home(name)
    moving = name in TABLE and TABLE[name].suite in suites.MOVING
    if home is None:
        absent(f"{MISSING}{name} is not here; to get it, as root: make engines", not moving)
    if os.geteuid() != 0:
        absent(f"{MISSING}{name} is here, but starting it takes root")
    folder.mkdir(exist_ok=True)
    command = (_podman if name.startswith("podman") else _dockerd)(name, folder, home)
    path = folder / "engine.sock"
    command += options
    command = suites.command(home, *command) if home else suites.tied(*command)
    with _serving(command, folder, path) as host:
        version = call(host, "GET", "/version").json()["Version"]
        if name in TABLE and not _is(version, TABLE[name].version):
            absent(f"{MISSING}{name} is {version} by now; tests/engines.py needs a row", not moving)
        yield host


def _dockerd(name: str, folder: Path, home: str) -> list[str]:
    containerd = name in TABLE and TABLE[name].containerd
    config: dict[str, Any] = {"insecure-registries": ["127.0.0.0/8"]}
    if containerd:
        config["features"] = {"containerd-snapshotter": True}
    (folder / "daemon.json").write_text(json.dumps(config))
    # What it keeps while it runs is gone with it in a suite, where the same numbers of processes
    # come again.
    run = "/run" if home else str(folder)
    return [
        *(
            "dockerd",
            "--config-file",
            f"{folder}/daemon.json",
            "-H",
            f"unix://{folder}/engine.sock",
        ),
        *("--data-root", f"{folder}/d", "--exec-root", f"{run}/x", "--pidfile", f"{run}/pid"),
        *("--iptables=false", "--ip6tables=false", "--bridge=none"),
        f"--storage-driver={'native' if containerd else 'vfs'}",
    ]


def _podman(name: str, folder: Path, home: str) -> list[str]:
    run = "/run" if home else str(folder)
    return [
        *("podman", "--root", f"{folder}/r", "--runroot", f"{run}/u", "--storage-driver=vfs"),
        # crun starts nothing where there are cgroups of both versions; runc comes with Docker.
        *(("--runtime=runc",) if home else ()),
        *("system", "service", "-t", "0", f"unix://{folder}/engine.sock"),
    ]


def absent(why: str, required: bool = True) -> NoReturn:
    """Skip, or fail where DOCKER_IMAGES_REQUIRE_ENGINES=1 says that engines must be there."""
    if REQUIRED and required:
        pytest.fail(f"{why}, and DOCKER_IMAGES_REQUIRE_ENGINES=1", pytrace=False)
    pytest.skip(why)


@contextmanager
def _serving(command: list[str], folder: Path, path: Path) -> Iterator[str]:
    host = f"unix://{path}"
    log = folder / "log"
    with log.open("wb") as output:
        # A session of its own: ctrl-c does not reach it early.
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not _answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                absent(f"{MISSING}{command} did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        yield host
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server that `suites` has the command for, and whatever it started."""
    os.kill(_innermost(process.pid), signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _innermost(pid: int) -> int:
    """The engine itself: `unshare` only waits for its one child, and passes no signal on."""
    if Path(f"/proc/{pid}/comm").read_text().strip() != "unshare":
        return pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


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


def _answers(host: str) -> bool:
    try:
        return call(host, "GET", "/_ping", timeout=5).status == 200
    except OSError:
        return False


def _processes(folder: Path) -> list[int]:
    """The dockerd that keeps its data in a folder, and all its children."""
    parents: dict[int, int] = {}
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        parents[int(entry.name)] = int(stat[1])
        if words[0].endswith(b"dockerd") and f"{folder}/d".encode() in words:
            found.append(int(entry.name))
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_of(folder: Path) -> float:
    """Seconds of CPU of an engine so far, with those of its children that have ended."""
    ticks = 0
    for pid in _processes(folder):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, stat[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def archive(images: Iterable[Mapping[str, Any]]) -> bytes:
    """What `docker save` writes, and `docker load` reads; the same bytes for the same images.

    An image is `tags`, and what goes into its config: `created` (RFC 3339), `labels`; `layers` are
    the texts of the one file in each of its layers, `layer` that of the only one.
    """
    files: dict[str, bytes] = {}
    manifest = []
    for image in images:
        texts = image.get("layers", [image.get("layer", "")])
        layers = [tar({"file": str(text).encode()}) for text in texts]
        digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
        config: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": image["labels"]} if "labels" in image else {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created_by": "tests"}] * len(layers),
        }
        if "created" in image:
            config["created"] = image["created"]
        encoded = json.dumps(config).encode()
        name = f"{hashlib.sha256(encoded).hexdigest()}.json"
        places = [f"{digest}/layer.tar" for digest in digests]
        files |= dict(zip(places, layers, strict=True))
        files[name] = encoded
        tags = list(image.get("tags", ())) or None
        manifest.append({"Config": name, "RepoTags": tags, "Layers": places})
    return tar({**files, "manifest.json": json.dumps(manifest).encode()})


def tar(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """An archive of these files, the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
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
    load(host, LOADED)
    layer = tar({"hello": b"imported"})
    # Podman reads the tag only from the name.
    imported = "/v1.40/images/create?fromSrc=-&repo=demo/imported:1"
    done(call(host, "POST", f"{imported}&changes={quote('LABEL from=import')}", layer, TAR))
    context = tar(
        {
            "Dockerfile": b"FROM scratch\nCOPY hello /hello\nLABEL stage=prod built=yes\n",
            "hello": b"built",
        }
    )
    done(call(host, "POST", "/v1.40/build?t=demo/built:1&rm=1", context, TAR))
    for name in ("demo/built:1", "demo/built:1", "demo/web:1.0"):
        container = json.dumps({"Image": name, "Cmd": ["/hello"]}).encode()
        json_type = {"Content-Type": "application/json"}
        done(call(host, "POST", "/v1.40/containers/create", container, json_type))
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
        load(host, images)


TAR = {"Content-Type": "application/x-tar"}


def load(host: str, images: Iterable[Mapping[str, Any]]) -> None:
    """Load images as `archive` takes them."""
    done(call(host, "POST", "/v1.40/images/load", archive(images), TAR))


def load_layout(host: str, content: registry.Registry, digest: str, name: str) -> None:
    """Load all that a registry holds as an OCI layout, whose index it names."""
    media_type, index = content.content[digest]
    annotations = {"io.containerd.image.name": f"docker.io/library/{name}"}
    descriptor = {"mediaType": media_type, "digest": digest, "size": len(index)}
    layout = {
        "schemaVersion": 2,
        "mediaType": registry.INDEX,
        "manifests": [descriptor | {"annotations": annotations}],
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(layout).encode(),
    }
    files |= {f"blobs/{key.replace(':', '/')}": blob for key, (_, blob) in content.content.items()}
    done(call(host, "POST", "/v1.40/images/load", tar(files), TAR))


PAUSE = bytes.fromhex(
    "7f454c4602010100000000000000000002003e000100000078004000000000004000000000000000"
    "00000000000000000000000040003800010000000000000001000000050000000000000000000000"
    "00004000000000000000400000000000810000000000000081000000000000000010000000000000"
    "b8220000000f05ebf7"
)
"""A program for Linux on amd64 that waits to be killed: `mov eax, 34; syscall; jmp`."""


def fill_more(host: str) -> None:
    """Fill an engine of our own with what went wrong: pulled, of many platforms, in use, renamed.

    What a store cannot hold it leaves out, such as a second platform of one name.
    """
    with registry.serving() as source:
        old = "2024-01-02T03:04:05Z"
        pause = tar({"pause": PAUSE}, mode=0o755)

        def both(name: str, stages: tuple[str, str], layer: bytes, created: str | None) -> str:
            platforms = ("amd64", "arm64")
            images = [
                source.image([layer], platform, {"stage": stage, "made": name}, created)
                for platform, stage in zip(platforms, stages, strict=True)
            ]
            return source.index(f"{name}:1", [*images, *map(source.attestation, images)])

        both("half", ("prod", "test"), pause, old)
        both("whole", ("prod", "test"), tar({"file": b"whole"}), old)
        both("foreign", ("prod", "test"), tar({"file": b"foreign"}), old)
        both("undated", ("prod", "test"), tar({"file": b"undated"}), None)
        digest = both("digest", ("prod", "prod"), tar({"file": b"digest"}), old)
        both("moved", ("prod", "prod"), tar({"file": b"moved"}), old)
        for name, architecture in (
            *(("half:1", ""), ("whole:1", ""), ("whole:1", "arm64")),
            *(("foreign:1", "arm64"), ("undated:1", ""), ("moved:1", "")),
            (f"digest@{digest}", ""),
        ):
            pull(host, f"{source.host}/{name}", architecture)
        for name in ("half", "whole", "foreign", "undated", "moved"):
            own = f"/v1.40/images/{source.host}/{name}:1"
            done(call(host, "POST", f"{own}/tag?repo=more/{name}&tag=1"))
            if name != "moved":
                done(call(host, "DELETE", own))
        # Most engines refuse it, and say so.
        source.chart("chart:1", tar({"chart/Chart.yaml": b"name: chart"}))
        _pull(host, f"{source.host}/chart:1")
        call(host, "POST", f"/v1.40/images/{source.host}/chart:1/tag?repo=more/chart&tag=1")
        call(host, "DELETE", f"/v1.40/images/{source.host}/chart:1")
    near = ({"tags": [name], "created": old, "layer": name} for name in ("near:1", "localhost/x:1"))
    load(host, near)
    # Podman would load `x:1` as `localhost/x:1`, and the one would take the other's name.
    home = "localhost/" if _is_podman(host) else ""
    done(call(host, "POST", f"/v1.40/images/{home}near:1/tag?repo=docker.io/library/x&tag=1"))
    done(call(host, "POST", "/v1.40/images/more/half:1/tag?repo=more/moved&tag=1"))
    for running in (True, False):
        options = {
            "Image": "more/half:1",
            "Cmd": ["/pause"],
            "HostConfig": {"NetworkMode": "none"},
            "StopSignal": "SIGKILL",  # it heeds no other, and an engine that ends stops it first
        }
        made = call(
            host,
            "POST",
            "/v1.40/containers/create",
            json.dumps(options).encode(),
            {"Content-Type": "application/json"},
        )
        done(made)
        if running:
            done(call(host, "POST", f"/v1.40/containers/{made.json()['Id']}/start"))


def pull(host: str, name: str, architecture: str = "") -> None:
    """Pull from a registry of this machine, for one architecture or for the engine's own."""
    done(_pull(host, name, architecture))


def _pull(host: str, name: str, architecture: str = "") -> Answer:
    if _is_podman(host):
        # In Docker's API Podman cannot be told to do without TLS.
        target = f"/v4.0.0/libpod/images/pull?reference={name}&tlsVerify=false&arch={architecture}"
    else:
        tag = name.partition("@")[2] or name.rpartition(":")[2]
        short = name.removesuffix(tag)[:-1]
        target = f"/v1.40/images/create?fromImage={short}&tag={tag}"
        target += f"&platform=linux/{architecture}" if architecture else ""
    return call(host, "POST", target)


def _is_podman(host: str) -> bool:
    return "Libpod-Api-Version" in call(host, "GET", "/_ping").headers


def done(answer: Answer) -> Answer:
    """The answer, if it tells of success."""
    # Both engines report failures of load, import and build in a stream that says 200.
    if answer.status >= 300 or b'"error"' in answer.body:
        raise AssertionError(f"filling failed: {answer.status} {answer.body[-500:]!r}")
    return answer
