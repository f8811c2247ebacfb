"""What other engines this machine seems to have, for the text of an error.

Knows where the products put their sockets and that docker's folder holds contexts. Refuses to
connect to anything: a silent pick would list the wrong images, and a socket at a path that can be
guessed need not be the user's. It looks with `stat`, and only suggests.
"""

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from docker_images.address import Endpoint
from docker_images.endpoint.config import config_folder, home_folder, stored_context_names
from docker_images.endpoint.hosts import context_endpoint
from docker_images.errors import EndpointError
from docker_images.text import keyword

__all__ = ["known_sockets", "socket_group", "suggestions"]


def suggestions(env: Mapping[str, str] | None = None, tried: Endpoint | None = None) -> list[str]:
    """Other engines to choose from, one line each, such as `context='eng'  (or: …)`.

    Contexts come first, then sockets that no context names. What `tried` stands for is left out,
    and so is a socket that is not there, or that belongs to neither root nor the user.
    """
    env = os.environ if env is None else env
    seen = {_same(tried)} if tried else set[object]()
    lines: list[str] = []
    for name, endpoint in _contexts(env):
        if _same(endpoint) not in seen and _may_answer(endpoint):
            seen.add(_same(endpoint))
            lines.append(f"{keyword('context', repr(name))}  (or: docker context use {name})")
    for product, path in known_sockets(env, sys.platform):
        key = _real(str(path))
        if key not in seen and _is_ours(str(path)):
            seen.add(key)
            lines.append(f"{keyword('host', repr(f'unix://{path}'))}  ({product})")
    return lines


def socket_group(path: str) -> str | None:
    """The group that owns a socket, or its number where it has no name; None if it is hidden."""
    try:
        number = Path(path).stat().st_gid
        import grp  # absent on Windows
    except (OSError, ValueError, ImportError):
        return None
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def known_sockets(env: Mapping[str, str], platform: str) -> Iterator[tuple[str, Path]]:
    """Every place where a product keeps its socket, there or not, as (product, path).

    Folders of profiles are listed; nothing else is touched.
    """
    if platform == "win32":
        return  # named pipes: to look at one is to connect to it
    home = home_folder(env, platform)
    runtime = Path(env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    lima = Path(env.get("LIMA_HOME") or home / ".lima")
    machines = Path(env.get("XDG_DATA_HOME") or home / ".local/share") / "containers/podman/machine"
    temporary = Path(env.get("TMPDIR") or "/tmp")  # noqa: S108 - where podman machine puts it
    colimas = (env.get("COLIMA_HOME"), home / ".colima", config / "colima")
    in_colima = ("default/docker.sock", "docker.sock", "*/docker.sock")
    for product, folder, place in (
        ("Docker Engine", Path("/var/run"), "docker.sock"),
        ("Docker Desktop", home, ".docker/run/docker.sock"),
        ("Docker Desktop", home, ".docker/desktop/docker.sock"),
        ("Docker rootless", runtime, "docker.sock"),
        *(("Colima", Path(at), place) for at in colimas if at for place in in_colima),
        ("OrbStack", home, ".orbstack/run/docker.sock"),
        ("Rancher Desktop", home, ".rd/docker.sock"),
        ("Lima", lima, "docker/sock/docker.sock"),
        ("Lima", lima, "*/sock/docker.sock"),
        ("Finch", Path("/Applications/Finch"), "lima/data/finch/sock/finch.sock"),
        ("Finch", Path("/run"), "finch.sock"),
        ("Podman", Path("/run"), "podman/podman.sock"),
        ("Podman rootless", runtime, "podman/podman.sock"),
        ("Podman machine", temporary, "podman/*-api.sock"),
        ("Podman machine", machines, "podman.sock"),
        ("Podman machine", machines, "*/podman.sock"),
    ):
        paths = _below(folder, place) if "*" in place else [folder / place]
        yield from ((product, path) for path in paths)


def _below(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except (OSError, ValueError):
        return []


def _contexts(env: Mapping[str, str]) -> Iterator[tuple[str, Endpoint]]:
    folder = config_folder(env, sys.platform)
    for name in stored_context_names(folder):
        try:
            yield name, context_endpoint(folder, name, f"context {name!r}", sys.platform)
        except EndpointError:
            continue


def _same(endpoint: Endpoint) -> object:
    """What two endpoints of one engine share: the socket itself, or the whole address."""
    return _real(endpoint.path) if endpoint.kind == "unix" else endpoint.host


def _may_answer(endpoint: Endpoint) -> bool:
    if endpoint.kind == "npipe":
        return sys.platform == "win32"
    return endpoint.kind != "unix" or _is_ours(endpoint.path)


def _real(path: str) -> str:
    return path if path.startswith("\0") else os.path.realpath(path)


def _is_ours(path: str) -> bool:
    if path.startswith("\0"):
        return True  # nothing to look at
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in (0, os.getuid())
