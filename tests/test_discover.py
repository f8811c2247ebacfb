"""What is suggested where no engine answers: only looked at, never connected to."""

import contextlib
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_images.endpoint.discover import known_sockets, socket_group, suggestions
from docker_images.endpoint.hosts import resolve_endpoint


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="di") as folder:
        yield Path(folder)


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "TMPDIR": str(home / "tmp")}


def bind(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.setblocking(False)
    return listener


def store_context(home: Path, name: str, host: str) -> None:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker/contexts/meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def lines_about(home: Path, lines: list[str]) -> list[str]:
    """Without the engines of the machine that the test runs on."""
    return [line for line in lines if str(home) in line or line.startswith("context=")]


@pytest.mark.parametrize(
    ("place", "product"),
    [
        (".docker/run/docker.sock", "Docker Desktop"),
        (".docker/desktop/docker.sock", "Docker Desktop"),
        ("run/docker.sock", "Docker rootless"),
        (".colima/default/docker.sock", "Colima"),
        (".colima/docker.sock", "Colima"),
        (".colima/work/docker.sock", "Colima"),
        (".config/colima/default/docker.sock", "Colima"),
        (".orbstack/run/docker.sock", "OrbStack"),
        (".rd/docker.sock", "Rancher Desktop"),
        (".lima/docker/sock/docker.sock", "Lima"),
        (".lima/mine/sock/docker.sock", "Lima"),
        ("run/podman/podman.sock", "Podman rootless"),
        ("tmp/podman/podman-machine-default-api.sock", "Podman machine"),
        ("tmp/podman/mine-api.sock", "Podman machine"),
        (".local/share/containers/podman/machine/podman.sock", "Podman machine"),
        (".local/share/containers/podman/machine/mine/podman.sock", "Podman machine"),
    ],
)
def test_a_socket_is_suggested_with_its_product_and_without_a_connection(
    home: Path, env: dict[str, str], place: str, product: str
) -> None:
    with bind(home / place) as listener:
        found = lines_about(home, suggestions(env))

        with contextlib.suppress(BlockingIOError):
            pytest.fail(f"connected from {listener.accept()[1]!r}")
    assert found == [f"host='unix://{home / place}'  ({product})"]


@pytest.mark.parametrize(
    ("product", "path"),
    [
        ("Docker Engine", "/var/run/docker.sock"),
        ("Podman", "/run/podman/podman.sock"),
        ("Finch", "/run/finch.sock"),
        ("Finch", "/Applications/Finch/lima/data/finch/sock/finch.sock"),
        ("Docker rootless", f"/run/user/{os.getuid()}/docker.sock"),
        ("Podman rootless", f"/run/user/{os.getuid()}/podman/podman.sock"),
    ],
)
def test_the_places_outside_home_are_known(home: Path, product: str, path: str) -> None:
    assert (product, Path(path)) in known_sockets({"HOME": str(home)}, "linux")


def test_windows_pipes_are_not_looked_at_because_that_would_connect(home: Path) -> None:
    assert list(known_sockets({"USERPROFILE": str(home)}, "win32")) == []


def test_a_context_is_suggested_before_and_instead_of_its_socket(
    home: Path, env: dict[str, str]
) -> None:
    store_context(home, "colima", f"unix://{home}/.colima/default/docker.sock")
    store_context(home, "far", "ssh://me@far.example")
    with bind(home / ".colima/default/docker.sock"), bind(home / ".rd/docker.sock"):
        assert lines_about(home, suggestions(env)) == [
            "context='colima'  (or: docker context use colima)",
            "context='far'  (or: docker context use far)",
            f"host='unix://{home}/.rd/docker.sock'  (Rancher Desktop)",
        ]


def test_what_was_tried_is_not_suggested_under_any_of_its_names(
    home: Path, env: dict[str, str]
) -> None:
    with bind(home / ".rd/docker.sock"):
        (home / "link.sock").symlink_to(home / ".rd/docker.sock")
        store_context(home, "rancher-desktop", f"unix://{home}/.rd/docker.sock")
        tried = resolve_endpoint({}, host=f"unix://{home}/link.sock")

        assert lines_about(home, suggestions(env, tried)) == []


def test_only_sockets_that_are_there_are_suggested(home: Path, env: dict[str, str]) -> None:
    (home / ".rd").mkdir()
    (home / ".rd/docker.sock").write_text("a file")
    store_context(home, "gone", f"unix://{home}/gone.sock")
    store_context(home, "broken", "no address")
    store_context(home, "windows", "npipe:////./pipe/docker_engine")

    assert lines_about(home, suggestions(env)) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a socket away")
def test_a_socket_of_another_user_is_not_suggested(home: Path, env: dict[str, str]) -> None:
    with bind(home / "tmp/podman/podman-machine-default-api.sock"):
        os.chown(home / "tmp/podman/podman-machine-default-api.sock", 12345, 12345)

        assert lines_about(home, suggestions(env)) == []


def test_the_group_of_a_socket_is_named(home: Path) -> None:
    grp = pytest.importorskip("grp")
    with bind(home / "engine.sock"):
        assert socket_group(str(home / "engine.sock")) == grp.getgrgid(os.getgid()).gr_name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a socket away")
def test_a_group_without_a_name_is_given_by_its_number(home: Path) -> None:
    with bind(home / "engine.sock"):
        os.chown(home / "engine.sock", 0, 54321)

        assert socket_group(str(home / "engine.sock")) == "54321"


@pytest.mark.parametrize("path", ["/nowhere/engine.sock", "\0abstract"])
def test_a_socket_that_cannot_be_looked_at_has_no_group(path: str) -> None:
    assert socket_group(path) is None
