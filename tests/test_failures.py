"""What each failure on the way to an engine means: its class, and what its message tells."""

import errno
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from hostile import answer, answering, serving

from docker_images import DockerClient, resolve_endpoint
from docker_images.address import Endpoint
from docker_images.errors import (
    DockerImagesError,
    EndpointError,
    EngineConnectionError,
    EnginePermissionError,
    EngineTimeoutError,
    ResponseFormatError,
)
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.http1 import HungUpError, ProtocolError

TCP = resolve_endpoint({}, host="tcp://engine.example:2375")
UNIX = resolve_endpoint({}, host="unix:///run/engine.sock")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets, that every user may pass through."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="di") as name:
        os.chmod(name, 0o711)
        yield Path(name)


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("endpoint", "failure", "kind", "fact", "step", "reason"),
    [
        pytest.param(
            *(UNIX, FileNotFoundError(errno.ENOENT, "x"), EngineConnectionError),
            *("there is no such socket", "start the engine"),
            "no-socket",
            id="no socket",
        ),
        pytest.param(
            *(UNIX, NotADirectoryError(errno.ENOTDIR, "x"), EngineConnectionError),
            *("part of the path is not a folder", "fix it"),
            "no-socket",
            id="a file on the way",
        ),
        pytest.param(
            *(UNIX, ConnectionRefusedError(errno.ECONNREFUSED, "x"), EngineConnectionError),
            *("nothing listens", "start the engine"),
            "refused",
            id="a socket left over",
        ),
        pytest.param(
            *(UNIX, PermissionError(errno.EACCES, "x"), EnginePermissionError),
            *("permission denied", "run as the user"),
            "permission",
            id="no permission",
        ),
        pytest.param(
            *(UNIX, PermissionError(errno.EPERM, "x"), EnginePermissionError),
            *("permission denied", "run as the user"),
            "permission",
            id="not permitted",
        ),
        pytest.param(
            *(UNIX, ConnectionResetError(errno.ECONNRESET, "x"), EngineConnectionError),
            *("broke the connection", "Try again"),
            "closed",
            id="a unix socket reset",
        ),
        pytest.param(
            *(UNIX, OSError(errno.EMFILE, "x"), EngineConnectionError),
            *("too many open files", "ulimit -n"),
            "network",
            id="too many open files",
        ),
        pytest.param(
            *(TCP, OSError(errno.ENFILE, "x"), EngineConnectionError),
            *("too many open files", "ulimit -n"),
            "network",
            id="too many open files of all",
        ),
        pytest.param(
            *(TCP, socket.gaierror(socket.EAI_NONAME, "Name not known"), EngineConnectionError),
            *("cannot find", "check the name"),
            "name",
            id="a name that nobody knows",
        ),
        pytest.param(
            *(TCP, ConnectionRefusedError(errno.ECONNREFUSED, "x"), EngineConnectionError),
            *("nothing listens", "does the engine listen on tcp"),
            "refused",
            id="a port that nothing listens on",
        ),
        pytest.param(
            *(TCP, OSError(errno.EHOSTUNREACH, "No route to host"), EngineConnectionError),
            *("No route to host", "check the network"),
            "network",
            id="no route",
        ),
        pytest.param(
            *(TCP, BrokenPipeError(errno.EPIPE, "x"), EngineConnectionError),
            *("broke the connection", "Try again"),
            "closed",
            id="a broken pipe",
        ),
        pytest.param(
            *(TCP, OSError(errno.EIO, "odd"), EngineConnectionError, "odd", "cannot talk to"),
            "network",
            id="an error that nobody foresaw",
        ),
        pytest.param(
            *(TCP, ssl.SSLError(1, "odd"), EngineConnectionError, "odd", "TLS"),
            "tls",
            id="TLS",
        ),
        pytest.param(
            *(UNIX, HungUpError("x"), EngineConnectionError),
            *("closed the connection", "Try again"),
            "closed",
            id="a hang-up",
        ),
        pytest.param(
            *(UNIX, ProtocolError("no \x1b[31mHTTP"), ResponseFormatError),
            *("no �[31mHTTP", "is this the address of a Docker API?"),
            "protocol",
            id="not HTTP, with what a terminal would obey",
        ),
        pytest.param(
            *(TCP, httpx.RemoteProtocolError("garbage"), ResponseFormatError),
            *("garbage", "is this the address of a Docker API?"),
            "protocol",
            id="httpx: not HTTP",
        ),
        pytest.param(
            *(TCP, httpx.DecodingError("garbage"), ResponseFormatError),
            *("garbage", "is this the address of a Docker API?"),
            "protocol",
            id="httpx: not what it says it is",
        ),
        pytest.param(
            *(TCP, httpx.ReadTimeout("slow"), EngineTimeoutError, "slow", "gave up waiting"),
            "timeout",
            id="httpx: timeout",
        ),
        pytest.param(
            *(TCP, httpx.ConnectError(""), EngineConnectionError, "ConnectError", "cannot reach"),
            "network",
            id="httpx: an error without words",
        ),
        pytest.param(
            *(TCP, httpx.InvalidURL("odd"), EngineConnectionError, "odd", "cannot reach"),
            "network",
            id="httpx: URL",
        ),
        pytest.param(
            *(TCP, httpx.StreamClosed(), EngineConnectionError, "closed", "cannot reach"),
            "network",
            id="httpx: stream",
        ),
        pytest.param(
            *(TCP, TimeoutError(), EngineTimeoutError, "TimeoutError", "gave up waiting"),
            "timeout",
            id="a deadline of the transport's own",
        ),
        pytest.param(
            *(TCP, TimeoutError(errno.ETIMEDOUT, "Timed out"), EngineConnectionError),
            *("Timed out", "check the network"),
            "network",
            id="no answer from the network",
        ),
        pytest.param(
            *(TCP, UnicodeError("label too long"), EngineConnectionError),
            *("label too long", "cannot reach"),
            "network",
            id="a name that cannot be encoded",
        ),
        pytest.param(
            *(UNIX, anyio.EndOfStream(), EngineConnectionError),
            *("closed the connection", "Try again"),
            "closed",
            id="anyio: the end",
        ),
        pytest.param(
            *(UNIX, anyio.IncompleteRead(), EngineConnectionError),
            *("closed the connection", "Try again"),
            "closed",
            id="anyio: the end, too early",
        ),
        pytest.param(
            *(UNIX, anyio.DelimiterNotFound(9), ResponseFormatError),
            *("9", "is this the address of a Docker API?"),
            "protocol",
            id="anyio: no delimiter",
        ),
        pytest.param(
            *(UNIX, anyio.BusyResourceError("reading from"), EngineConnectionError),
            *("reading from", "cannot reach"),
            "network",
            id="anyio: busy",
        ),
        pytest.param(
            UNIX,
            ExceptionGroup("x", [ConnectionResetError(errno.ECONNRESET, "x"), ValueError("x")]),
            *(EngineConnectionError, "broke the connection", "Try again"),
            "closed",
            id="the first of a group",
        ),
        pytest.param(
            *(UNIX, anyio.BrokenResourceError(), EngineConnectionError),
            *("broke", "try again"),
            "closed",
            id="anyio: broken",
        ),
        pytest.param(
            *(UNIX, anyio.ClosedResourceError(), EngineConnectionError),
            *("broke", "try again"),
            "closed",
            id="anyio: closed",
        ),
        pytest.param(
            UNIX,
            caused(anyio.BrokenResourceError(), ConnectionResetError(errno.ECONNRESET, "x")),
            *(EngineConnectionError, "was the engine stopped or restarted", "Try again"),
            "closed",
            id="anyio: broken by what it names",
        ),
    ],
)
def test_a_failure_becomes_one_error_with_address_source_fact_and_next_step(
    endpoint: Endpoint,
    failure: Exception,
    kind: type[DockerImagesError],
    fact: str,
    step: str,
    reason: str,
) -> None:
    found = translate(failure, endpoint)

    assert type(found) is kind
    for part in (endpoint.host, "(host=)", fact, step):
        assert part in str(found)
    assert str(found).isprintable()
    assert (found.endpoint, found.reason) == (endpoint, reason)


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (EngineConnectionError, ConnectionError),
        (EnginePermissionError, PermissionError),
        (EnginePermissionError, EngineConnectionError),
        (EngineTimeoutError, TimeoutError),
    ],
)
def test_an_error_is_also_what_the_standard_library_calls_it(
    kind: type[Exception], also: type[Exception]
) -> None:
    assert issubclass(kind, also)


def test_an_error_of_ours_comes_back_as_it_is() -> None:
    error = EndpointError("mine")

    assert translate(error, UNIX) is error


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError(), AssertionError()])
def test_a_mistake_in_a_program_is_not_taken_for_a_failure(error: Exception) -> None:
    assert not isinstance(error, FOREIGN)


@pytest.mark.anyio
async def test_what_is_no_socket_is_called_what_it_is(folder: Path) -> None:
    (folder / "file").write_text("")
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "left-over"))
    told = {
        "missing": "there is no such socket",
        "file/below": "a part of the path is not a folder",
        "file": "is a file, not a socket",
        "folder": "is a folder, not a socket",
        "left-over": "nothing listens on",
    }

    for name, fact in told.items():
        async with DockerClient(f"unix://{folder}/{name}") as client:
            with pytest.raises(EngineConnectionError) as caught:
                await client.list_images()
        assert fact in str(caught.value)
        assert f"unix://{folder}/{name} (host=)" in str(caught.value)


@pytest.mark.anyio
async def test_a_symlink_that_leads_nowhere_is_called_what_it_is(folder: Path) -> None:
    (folder / "dangling").symlink_to("/nowhere/engine.sock")
    (folder / "loop").symlink_to("loop")
    told = {
        "dangling": "it is a symlink to /nowhere/engine.sock, which does not exist",
        "loop": "it is a symlink to loop, which leads back to itself",
        "loop/below": "a part of the path is a symlink to itself",
    }
    for name, fact in told.items():
        async with DockerClient(f"unix://{folder}/{name}") as client:
            with pytest.raises(EngineConnectionError) as caught:
                await client.list_images()
        assert fact in str(caught.value)
        assert caught.value.reason == "no-socket"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("nowhere/d.sock", "/nowhere/d.sock"),
        ("./d.sock", f"{Path.cwd()}/d.sock"),
        ("~/d.sock", "/home/me/d.sock"),
        ("./~/d.sock", "/home/me/d.sock"),
        ("$HOME/d.sock", "/home/me/d.sock"),
    ],
    ids=["a slash is missing", "here", "at home", "at home, as a path object", "a variable"],
)
def test_a_relative_path_offers_the_absolute_one(
    path: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    relative = Endpoint("unix", f"unix://{path}", "host=", path=path)

    message = str(translate(FileNotFoundError(errno.ENOENT, "x"), relative))

    assert f"the path is relative; did you mean unix://{meant}?" in message


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # RFC 8446, 6: fatal, protocol_version
NGINX = (
    b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
)
APACHE = b"You're speaking plain HTTP to an SSL-enabled server port."


@pytest.mark.anyio
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(ALERT, id="an alert"),
        pytest.param(answer(NGINX, "400 Bad Request"), id="nginx"),
        pytest.param(answer(APACHE, "400 Bad Request"), id="Apache"),
    ],
)
async def test_a_port_that_wants_tls_is_told_by_whatever_it_answers(raw: bytes) -> None:
    with serving(answering(raw, close=True), tcp=True) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(
                DockerImagesError, match=r"this port expects TLS.*DOCKER_TLS_VERIFY"
            ):
                await client.list_images()


@pytest.mark.parametrize("failure", [HungUpError(), ConnectionResetError(errno.ECONNRESET, "x")])
@pytest.mark.parametrize(("port", "hinted"), [(2376, True), (2375, False)])
def test_a_reset_from_the_port_for_tls_hints_at_it(
    failure: Exception, port: int, hinted: bool
) -> None:
    endpoint = resolve_endpoint({}, host=f"tcp://engine.example:{port}")
    assert ("Port 2376 usually expects TLS" in str(translate(failure, endpoint))) == hinted


# ── Other engines ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of another engine in this user's home."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    (folder / ".rd").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / ".rd/docker.sock"))
        yield f"host='unix://{folder}/.rd/docker.sock'"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ECONNREFUSED])
def test_where_nobody_named_an_engine_the_others_are_suggested(other: str, number: int) -> None:
    default = Endpoint("unix", "unix:///nowhere/d.sock", "default", path="/nowhere/d.sock")

    message = str(translate(OSError(number, "x"), default))

    assert "; other engines on this machine: " in message
    assert other in message.partition("; other engines on this machine: ")[2]


@pytest.mark.parametrize(
    "source", ["host=", "DOCKER_HOST", "context 'x'", "context 'x' from DOCKER_CONTEXT"]
)
def test_who_named_an_engine_is_told_of_no_other(other: str, source: str) -> None:
    named = Endpoint("unix", "unix:///nowhere/d.sock", source, path="/nowhere/d.sock")

    assert other not in str(translate(OSError(errno.ENOENT, "x"), named))


# ── Permissions: root is refused nothing, so another user asks ──────────────────────────────────

ASK = """
import grp, os, sys
import anyio
from docker_images import DockerClient

async def nothing():
    pass

anyio.run(nothing, backend=sys.argv[2])  # imported while the files may be read
os.setgroups([])
os.setgid(65534)
os.setuid(65534)

async def ask():
    try:
        await DockerClient(sys.argv[1]).list_images()
    except PermissionError as error:
        print(type(error).__name__, error)

anyio.run(ask, backend=sys.argv[2])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("anyio_backend", "owner", "mode", "folder_mode", "words"),
    [
        pytest.param(
            *("asyncio", (0, 1), 0o660, 0o711),
            "it belongs to group {group}; add your user to it "
            "(sudo usermod -aG {group} $USER) and log in again",
            id="a group that helps",
        ),
        pytest.param(
            *("trio", (0, 54321), 0o660, 0o711),
            "it belongs to group 54321, which has no name here; in a container, start that with "
            "docker run --group-add 54321",
            id="a group without a name",
        ),
        pytest.param(
            *("asyncio", (0, 0), 0o660, 0o711),
            "only its owner can open it; run as that user",
            id="root's own group",
        ),
        pytest.param(
            *("trio", (0, 1), 0o600, 0o711),
            "only its owner can open it; run as that user",
            id="a group that may not open it either",
        ),
        pytest.param(
            *("asyncio", (0, 1), 0o660, 0o700),
            "a folder in the path is closed to this user; run as the user",
            id="a closed folder",
        ),
    ],
)
def test_a_refused_permission_names_the_group_of_the_socket(
    folder: Path,
    anyio_backend: str,
    owner: tuple[int, int],
    mode: int,
    folder_mode: int,
    words: str,
) -> None:
    grp = pytest.importorskip("grp")
    path = folder / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.chown(path, *owner)
        os.chmod(path, mode)
        os.chmod(folder, folder_mode)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", ASK, f"unix://{path}", anyio_backend],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "HOME": "/nowhere", "DOCKER_CONFIG": ""},
        )

    group = "" if owner[1] == 54321 else grp.getgrgid(owner[1]).gr_name
    expected = f"permission denied on unix://{path} (host=): {words.format(group=group)}"
    assert f"EnginePermissionError {expected}" in done.stdout
    assert done.stderr == ""


IN_THE_GROUP = """
import os, sys
from docker_images.address import Endpoint
from docker_images.transport.failures import translate

os.setgroups([54321])
endpoint = Endpoint("unix", f"unix://{sys.argv[1]}", "host=", path=sys.argv[1])
print(translate(PermissionError(13, "x"), endpoint))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a member of a group")
def test_who_is_in_the_group_of_the_socket_is_told_of_other_guards(folder: Path) -> None:
    path = folder / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, 0, 54321)
        os.chmod(path, 0o660)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", IN_THE_GROUP, str(path)],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert "this user is in it: something else refuses, such as SELinux or AppArmor" in done.stdout
    assert done.stderr == ""
