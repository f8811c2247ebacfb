"""Which engine is chosen, and what each way to name one means."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import docker_images.endpoint.hosts
from docker_images import DockerClient
from docker_images.address import TLS
from docker_images.endpoint.hosts import check_arguments, considered, resolve_endpoint
from docker_images.errors import EndpointError

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets and lengths of Linux")
posix = pytest.mark.skipif(sys.platform == "win32", reason="the default of Windows is a pipe")

NOWHERE = {"HOME": "/nowhere"}


def store(
    folder: Path, name: str, host: str, skip: bool = False, tls: tuple[str, ...] | None = None
) -> None:
    """Store a context as the docker command does; `tls` names the files of its TLS folder."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    docker = {"Host": host, "SkipTLSVerify": skip}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    if tls is not None:
        material = folder / "contexts/tls" / key / "docker"
        material.mkdir(parents=True)
        for file in tls:
            (material / file).touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration folder with the contexts `arg`, `env` and `cur`, which is the current one."""
    for name in ("arg", "env", "cur"):
        store(tmp_path, name, f"unix:///{name}")
    (tmp_path / "config.json").write_text('{"currentContext": "cur"}')
    return tmp_path


# ── The order ───────────────────────────────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize(
    ("env", "arguments", "host", "source"),
    [
        pytest.param(
            {"DOCKER_HOST": "unix:///h", "DOCKER_CONTEXT": "env"},
            {"host": "unix:///a"},
            "unix:///a",
            "host=",
            id="host= before all",
        ),
        pytest.param(
            {"DOCKER_HOST": "unix:///h", "DOCKER_CONTEXT": "env"},
            {"context": "arg"},
            "unix:///arg",
            "context 'arg'",
            id="context= before all",
        ),
        pytest.param(
            {"DOCKER_HOST": "unix:///h", "DOCKER_CONTEXT": "env"},
            {},
            "unix:///h",
            "DOCKER_HOST",
            id="DOCKER_HOST before DOCKER_CONTEXT",
        ),
        pytest.param(
            {"DOCKER_HOST": "", "DOCKER_CONTEXT": "env"},
            {},
            "unix:///env",
            "context 'env' from DOCKER_CONTEXT",
            id="DOCKER_CONTEXT before the current one",
        ),
        pytest.param(
            {"DOCKER_HOST": "", "DOCKER_CONTEXT": ""},
            {},
            "unix:///cur",
            "context 'cur' from currentContext of {folder}/config.json",
            id="currentContext, what is empty is unset",
        ),
        pytest.param(
            {"DOCKER_CONFIG": "/nowhere"},
            {},
            "unix:///var/run/docker.sock",
            "default",
            id="default",
        ),
        pytest.param(
            {"DOCKER_HOST": "unix:///h"},
            {"context": "default"},
            "unix:///h",
            "DOCKER_HOST",
            id="the context default is DOCKER_HOST",
        ),
        pytest.param(
            {"DOCKER_CONTEXT": "env"},
            {"context": "default"},
            "unix:///var/run/docker.sock",
            "default",
            id="the context default is the default, not DOCKER_CONTEXT",
        ),
        pytest.param(
            {"DOCKER_CONTEXT": "default"},
            {},
            "unix:///var/run/docker.sock",
            "default",
            id="DOCKER_CONTEXT=default is not the current one",
        ),
        pytest.param(
            {"DOCKER_HOST": " "},
            {},
            "unix:///var/run/docker.sock",
            "DOCKER_HOST",
            id="a blank DOCKER_HOST is set",
        ),
    ],
)
def test_the_first_that_names_an_engine_wins(
    folder: Path, env: dict[str, str], arguments: dict[str, str], host: str, source: str
) -> None:
    env = {"DOCKER_CONFIG": str(folder), **env}

    found = resolve_endpoint(env, **arguments)

    assert (found.host, found.source) == (host, source.format(folder=folder))
    (winner,) = (row.source for row in considered(env, **arguments) if row.won)
    assert found.source.endswith(winner) or (winner, source) == ("context=", "context 'arg'")


def test_considered_tells_who_won_and_who_was_passed_over_without_passwords(folder: Path) -> None:
    env = {
        "DOCKER_CONFIG": str(folder),
        "DOCKER_HOST": "tcp://me:secret@h:1",
        "DOCKER_CONTEXT": "env",
    }

    assert [tuple(row) for row in considered(env)] == [
        ("host=", None, False),
        ("context=", None, False),
        ("DOCKER_HOST", "tcp://***@h:1", True),
        ("DOCKER_CONTEXT", "env", False),
        (f"currentContext of {folder}/config.json", "cur", False),
        ("default", "unix:///var/run/docker.sock", False),
    ]
    assert [row.source for row in considered(env, context="arg") if row.won] == ["context="]
    assert [row.source for row in considered(env, host="unix:///x") if row.won] == ["host="]


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"host": ""}, "host= is empty"),
        ({"context": ""}, "context= is empty"),
        ({"host": "unix:///x", "context": "default"}, "both given"),
    ],
)
def test_arguments_that_contradict_are_refused(arguments: dict[str, str], fact: str) -> None:
    for function in (resolve_endpoint, considered):
        with pytest.raises(EndpointError, match=fact):
            function({}, **arguments)


@pytest.mark.parametrize("arguments", [(b"unix:///x", None), (None, 5), (None, Path("/x"))])
def test_arguments_that_are_no_strings_are_type_errors(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError, match=r"takes a str( or a path)?, not"):
        check_arguments(*arguments)


def test_an_address_in_the_place_of_the_environment_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="env takes a mapping, not str; an address is given as"):
        resolve_endpoint("unix:///x.sock")  # type: ignore[arg-type]


def test_without_an_environment_that_of_the_process_is_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///of/the/process")

    assert resolve_endpoint().host == "unix:///of/the/process"
    assert [row.value for row in considered() if row.won] == ["unix:///of/the/process"]


# ── Host strings ────────────────────────────────────────────────────────────────────────────────


def unix(path: str) -> dict[str, object]:
    return {"kind": "unix", "path": path}


def tcp(hostname: str, port: int, base_path: str = "") -> dict[str, object]:
    return {"kind": "tcp", "hostname": hostname, "port": port, "base_path": base_path, "tls": None}


HOSTS = [
    pytest.param("127.0.0.1", tcp("127.0.0.1", 2375), id="address"),
    pytest.param("localhost", tcp("localhost", 2375), id="name"),
    pytest.param("1.2.3.4:9", tcp("1.2.3.4", 9), id="address and port"),
    pytest.param(":9", tcp("localhost", 9), id="port"),
    pytest.param("tcp://", tcp("localhost", 2375), id="tcp alone"),
    pytest.param("tcp://h", tcp("h", 2375), id="tcp"),
    pytest.param("tcp://h:", tcp("h", 2375), id="empty port"),
    pytest.param("tcp://h:00080", tcp("h", 80), id="zeros before a port"),
    pytest.param(" \ttcp://h:9\n", tcp("h", 9), id="space around"),
    pytest.param("\u00a0tcp://h:9\u3000", tcp("h", 9), id="Unicode space around"),
    pytest.param("tcp://h:9/sub/path", tcp("h", 9, "/sub/path"), id="base path"),
    pytest.param("tcp://h:9/", tcp("h", 9), id="slash"),
    pytest.param("tcp://h:9/a/../b//c/", tcp("h", 9, "/b/c"), id="base path is cleaned"),
    pytest.param("tcp://h:9/../..", tcp("h", 9), id="base path cannot be left"),
    pytest.param("tcp://h:9/a b%20ü", tcp("h", 9, "/a%20b%20%C3%BC"), id="base path is encoded"),
    pytest.param("tcp://h:9/%0d%0aX:y", tcp("h", 9, "/%0D%0AX%3Ay"), id="base path, newline"),
    pytest.param("tcp://user:pw@h:9?x#y", tcp("h", 9), id="user, query, fragment"),
    pytest.param("tcp://a@b@h:9", tcp("h", 9), id="the last @"),
    pytest.param("tcp://[::1]:9", tcp("::1", 9), id="IPv6"),
    pytest.param("tcp://[::1]:", tcp("::1", 2375), id="IPv6, empty port"),
    pytest.param("tcp://[::1]", tcp("::1", 2375), id="IPv6 without a port"),
    pytest.param("tcp://::1", tcp("::1", 2375), id="IPv6 without brackets"),
    pytest.param("tcp://[h]:3", tcp("h", 3), id="a name in brackets"),
    pytest.param("tcp://h_x", tcp("h_x", 2375), id="underscore"),
    pytest.param("tcp://h.", tcp("h.", 2375), id="rooted name"),
    pytest.param("tcp://tcp://x", tcp("x", 2375), id="tcp twice"),
    pytest.param("h/x", tcp("h", 2375, "/x"), id="name and path"),
    pytest.param("http://h", tcp("h", 2375), id="http"),
    pytest.param("http://h:1/x", tcp("h", 1, "/x"), id="http, port and path"),
    pytest.param("unix://", unix("/var/run/docker.sock"), id="unix alone"),
    pytest.param("unix:///a b", unix("/a b"), id="a space in a path"),
    pytest.param("unix:///a%20b", unix("/a%20b"), id="no escape in a path"),
    pytest.param("unix:///a?b#c@d", unix("/a?b#c@d"), id="nothing is special in a path"),
    pytest.param("unix://rel/x.sock", unix("rel/x.sock"), id="relative"),
    pytest.param("unix://./x", unix("./x"), id="relative to here"),
    pytest.param("unix://unix:///x", unix("/x"), id="unix twice"),
    pytest.param("unix:///\udcff", unix("/\udcff"), id="a byte that is not UTF-8"),
    pytest.param("unix://@name", unix("\0name"), id="abstract", marks=linux),
    pytest.param(f"unix:///{'x' * 106}", unix(f"/{'x' * 106}"), id="107 bytes", marks=linux),
    pytest.param(f"unix://@{'x' * 107}", unix("\0" + "x" * 107), id="108 abstract", marks=linux),
    pytest.param("npipe:////./pipe/x", {"kind": "npipe", "path": r"\\.\pipe\x"}, id="pipe"),
    pytest.param("npipe://", {"kind": "npipe", "path": r"\\.\pipe\docker_engine"}, id="pipe alone"),
]


@pytest.mark.parametrize("given_as", ["host=", "DOCKER_HOST"])
@pytest.mark.parametrize(("text", "expected"), HOSTS)
def test_a_host_string_means_what_it_means_to_the_docker_command(
    text: str, expected: dict[str, object], given_as: str
) -> None:
    if given_as == "host=":
        found = resolve_endpoint(NOWHERE, host=text)
    else:
        found = resolve_endpoint({**NOWHERE, "DOCKER_HOST": text})

    assert {name: getattr(found, name) for name in expected} == expected
    assert found.source == given_as
    # What is shown as the address leads to the same engine.
    again = resolve_endpoint(NOWHERE, host=found.host)
    assert {name: getattr(again, name) for name in expected} == expected


REFUSED = [
    pytest.param("tcp://h:0", "invalid port", id="port 0"),
    pytest.param("tcp://h:65536", "invalid port", id="port beyond"),
    pytest.param(f"tcp://h:{'9' * 5000}", "invalid port", id="endless port"),
    pytest.param("tcp://h:abc", "invalid port", id="word as port"),
    pytest.param("tcp://h:-5", "invalid port", id="signed port"),
    pytest.param("tcp://h:１", "invalid port", id="digits of another script"),
    pytest.param("tcp:h", "invalid port", id="tcp without slashes"),
    pytest.param("tcp://h:1:2", "malformed IPv6", id="two ports"),
    pytest.param("tcp://[::1", "malformed IPv6", id="open bracket"),
    pytest.param("tcp://[::1]x", "malformed IPv6", id="text behind the bracket"),
    pytest.param("tcp://[fe80::1%25eth0]:1", "without a zone", id="zone"),
    pytest.param("tcp://a b", "invalid host name", id="space in a name"),
    pytest.param("tcp://é", "invalid host name", id="other letters"),
    pytest.param("tcp://h..x", "invalid host name", id="empty label"),
    pytest.param(f"tcp://{'x' * 64}", "invalid host name", id="long label"),
    pytest.param(f"tcp://{'x.' * 127}", "invalid host name", id="long name"),
    pytest.param("tcp://$(id)", "invalid host name", id="shell"),
    pytest.param("tcp://h/%zz", "% that is not an escape", id="broken escape"),
    pytest.param("tcp://h\r\nX: y", "control character", id="line break"),
    pytest.param("tcp://h/\ud800", "is not text", id="surrogate"),
    pytest.param("tcp://tcp://tcp://x", "not one address", id="tcp thrice"),
    pytest.param("http://http://x", "not one address", id="http twice"),
    pytest.param("tcp://u ser@h", "malformed user", id="space in a user"),
    pytest.param("fd://3", "for dockerd, not for clients", id="fd"),
    pytest.param("foo://h", "unknown scheme", id="scheme"),
    pytest.param("TCP://h", "unknown scheme", id="scheme in capitals"),
    pytest.param("://h", "unknown scheme", id="no scheme"),
    pytest.param("http+unix:///x", "unknown scheme", id="http+unix"),
    pytest.param("vsock://2:1", "unknown scheme", id="vsock"),
    pytest.param("unix://tcp://x", "not a path", id="address behind unix"),
    pytest.param("unix:///a\0b", "NUL", id="NUL"),
    pytest.param("unix:///\ud800", "not text", id="no path of any system"),
    pytest.param(f"unix:///{'x' * 107}", "108 bytes long", id="long path", marks=linux),
    pytest.param(f"unix:///{'é' * 54}", "109 bytes long", id="long in bytes", marks=linux),
]


@pytest.mark.parametrize(("text", "fact"), REFUSED)
def test_what_can_be_no_engine_is_refused_with_source_address_and_next_step(
    text: str, fact: str
) -> None:
    with pytest.raises(EndpointError) as caught:
        resolve_endpoint({**NOWHERE, "DOCKER_HOST": text})

    message = str(caught.value)
    assert message.startswith("DOCKER_HOST: ")
    assert fact in message
    assert "; " in message
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize(
    "text",
    [
        "tcp://me:hunter2@h:0",
        "tcp://me:hunter2/with/slashes@h",
        "tcp://me:hunter2#x@h:0",
        "tcp://me:hunter2?x@h:0",
        "tcp://me:a@hunter2@h:0",
        "tcp://hunter2@h:0",
        "me:hunter2@h:0",
        "foo://me:hunter2@h",
        "fd://me:hunter2@h",
        "unix://tcp://me:hunter2@h",
        "tcp://tcp://tcp://me:hunter2@h",
        "ssh://me:hunter2@h",
        "https://h:0/?token=hunter2",
        "tcp://h:0#hunter2",
    ],
)
def test_no_message_repeats_a_password(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        resolve_endpoint(NOWHERE, host=text)

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(considered(NOWHERE, host=text))


@pytest.mark.parametrize("text", ["/run/x.sock", "./x.sock", "/run/engine"])
def test_a_path_without_a_scheme_is_taken_for_a_socket_with_a_hint(text: str) -> None:
    found = resolve_endpoint(NOWHERE, host=text)

    assert (found.kind, found.path, found.host) == ("unix", text, f"unix://{text}")
    assert f"write 'unix://{text}'" in found.warnings[0]


@pytest.mark.parametrize(
    ("path", "host"),
    [("/run/x.sock", "unix:///run/x.sock"), ("x.sock", "unix://./x.sock"), ("~/x", "unix://./~/x")],
)
def test_a_path_object_is_the_path_of_a_socket(path: str, host: str) -> None:
    found = resolve_endpoint(NOWHERE, host=Path(path))

    assert (found.kind, found.host) == ("unix", host)
    assert f"write {host!r}" in found.warnings[0]
    assert DockerClient(Path(path)).endpoint.host == host
    assert [row.value for row in considered(NOWHERE, host=Path(path)) if row.won]


def test_the_hint_at_a_socket_at_home_can_be_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (hint,) = resolve_endpoint(NOWHERE, host="~/.docker/run/docker.sock").warnings
    assert "write 'unix:///home/me/.docker/run/docker.sock'" in hint


@pytest.mark.parametrize("text", ["tcp://h:1?token=s3cret", "tcp://h:1/#s3cret", "h?s3cret"])
def test_what_follows_an_address_and_is_not_sent_is_warned_of(text: str) -> None:
    (warning,) = resolve_endpoint(NOWHERE, host=text).warnings

    assert "HttpHeaders" in warning
    assert "s3cret" not in warning


def test_a_socket_without_its_slashes_is_read_as_docker_reads_it_and_warned_of() -> None:
    found = resolve_endpoint(NOWHERE, host="unix:/run/x.sock")

    assert (found.kind, found.port) == ("tcp", 2375)
    assert "write 'unix:///run/x.sock'" in found.warnings[0]


@pytest.mark.parametrize("text", ["tcp://me:s3cret@h", "https://me@h", "me:s3cret@h"])
def test_a_user_who_is_not_sent_is_warned_of(text: str) -> None:
    (warning,) = resolve_endpoint(NOWHERE, host=text).warnings

    assert "HttpHeaders" in warning
    assert "s3cret" not in warning


@pytest.mark.parametrize("host", ["127.1", "0", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "1.2.3"])
def test_what_only_the_c_library_takes_for_an_address_is_refused_as_docker_does(host: str) -> None:
    for text in (f"tcp://{host}", f"{host}:2375", f"https://{host}/x"):
        with pytest.raises(EndpointError, match="all four numbers"):
            resolve_endpoint(NOWHERE, host=text)


@given(text=st.text())
@example("tcp://[")
@example("ssh://[]")
@example("unix://@")
def test_any_string_is_an_endpoint_or_an_endpoint_error(text: str) -> None:
    for prefix in ("", "tcp://", "unix://", "ssh://", "https://h:", "ssh://u@h/", "tcp://["):
        try:
            found = resolve_endpoint(NOWHERE, host=prefix + text)
        except EndpointError:
            continue
        hash(found)
        assert found.port is None or 0 < found.port < 65536
        assert not found.hostname.startswith("-") or found.kind != "ssh"
        assert f"{found.hostname}{found.base_path}".isprintable()


# ── ssh ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "user", "hostname", "port", "path"),
    [
        pytest.param("ssh://h", None, "h", None, "", id="host"),
        pytest.param("ssh://h:", None, "h", None, "", id="empty port"),
        pytest.param("ssh://me@h:2222", "me", "h", 2222, "", id="user and port"),
        pytest.param("ssh://@h", None, "h", None, "", id="empty user"),
        pytest.param("ssh://my_host-1.example", None, "my_host-1.example", None, "", id="alias"),
        pytest.param("ssh://me%40corp.de@h", "me@corp.de", "h", None, "", id="escaped user"),
        pytest.param("ssh://[::1]:22", None, "::1", 22, "", id="IPv6"),
        pytest.param(
            "ssh://[fe80::1%25eth0]", None, "fe80::1%eth0", None, "", id="IPv6 with a zone"
        ),
        pytest.param("ssh://h/", None, "h", None, "", id="slash"),
        pytest.param("ssh://h//", None, "h", None, "", id="slashes"),
        pytest.param("ssh://h/run/x.sock", None, "h", None, "/run/x.sock", id="path"),
        pytest.param("ssh://h/a%20b", None, "h", None, "/a b", id="escaped path"),
        # Quoted by the connector: a path may hold anything that the POSIX shell can quote.
        pytest.param("ssh://h/$(id)", None, "h", None, "/$(id)", id="command in a path"),
        pytest.param("ssh://h/;id", None, "h", None, "/;id", id="semicolon in a path"),
        pytest.param("ssh://h/`id`", None, "h", None, "/`id`", id="backquote in a path"),
        pytest.param("ssh://h/'", None, "h", None, "/'", id="quote in a path"),
    ],
)
def test_an_ssh_url_names_user_host_port_and_remote_socket(
    text: str, user: str | None, hostname: str, port: int | None, path: str
) -> None:
    found = resolve_endpoint({**NOWHERE, "DOCKER_HOST": text})

    assert (found.kind, found.user, found.hostname, found.port, found.path) == (
        "ssh",
        user,
        hostname,
        port,
        path,
    )
    again = resolve_endpoint(NOWHERE, host=found.host)
    assert (again.user, again.hostname, again.port, again.path) == (user, hostname, port, path)


INJECTIONS = [
    "ssh://-oProxyCommand=id",
    "ssh://-oProxyCommand=id/x",
    "ssh://%2DoProxyCommand=id",
    "ssh://%2doProxyCommand%3Did",
    "ssh://-F%2Ftmp%2Fx",
    "ssh://-h",
    "ssh://[-oProxyCommand=id]",
    "ssh://me@-oProxyCommand=id",
    "ssh://-oProxyCommand=id@h",
    "ssh://%2DoProxyCommand=id@h",
    "ssh://-l@h",
    "ssh://-@h",
    "ssh://$(id)@h",
    "ssh://`id`@h",
    "ssh://me;id@h",
    "ssh://me%3Bid@h",
    "ssh://me%20-oProxyCommand=id@h",
    "ssh://me%0A@h",
    "ssh://me%00@h",
    "ssh://me%25h@h",
    "ssh://me'@h",
    'ssh://me"@h',
    "ssh://me|id@h",
    "ssh://me:pw@h",
    "ssh://me:@h",
    "ssh://h;id",
    "ssh://$(id)",
    "ssh://`id`",
    "ssh://h|id",
    "ssh://h id",
    "ssh://h\nid",
    "ssh://h%0aid",
    "ssh://h&id",
    "ssh://h,x",
    "ssh://*",
    "ssh://é",
    "ssh://[::1%25$(id)]",
    "ssh://[::1%25-x]",
    "ssh://[::1]x",
    "ssh://",
    "ssh:///x",
    "ssh://me@",
    "ssh://h:22-oProxyCommand=id",
    "ssh://h:-22",
    "ssh://h:0",
    "ssh://h:65536",
    "ssh://h:22:22",
    "ssh://h?x",
    "ssh://h/x?",
    "ssh://h#x",
    "ssh://h/x#",
    "ssh://h/a%0ab",
    "ssh://h/a%00b",
    "ssh://h/a\\b",
    "ssh://h/a%5cb",
    "ssh://h/%ff",
    "ssh://h/%zz",
]


@pytest.mark.parametrize("stored", [False, True], ids=["host string", "context"])
@pytest.mark.parametrize("text", INJECTIONS)
def test_an_ssh_url_that_could_say_more_than_an_address_is_refused(
    tmp_path: Path, text: str, stored: bool
) -> None:
    env = {"DOCKER_CONFIG": str(tmp_path)}
    if stored:
        store(tmp_path, "x", text)
        env["DOCKER_CONTEXT"] = "x"
    else:
        env["DOCKER_HOST"] = text

    with pytest.raises(EndpointError):
        resolve_endpoint(env)


# ── TLS of the environment ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    return tmp_path


def tls_of(folder: Path, verify: bool = True) -> TLS:
    return TLS(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"), verify)


@pytest.mark.parametrize(
    ("env", "verify"),
    [
        pytest.param({"DOCKER_TLS_VERIFY": "1"}, True, id="verify"),
        pytest.param({"DOCKER_TLS_VERIFY": "0"}, True, id="0 is yes"),
        pytest.param({"DOCKER_TLS_VERIFY": "false"}, True, id="false is yes"),
        pytest.param({"DOCKER_TLS_VERIFY": "1", "DOCKER_TLS": "1"}, True, id="both"),
        pytest.param({"DOCKER_TLS": "1"}, False, id="without verification"),
        pytest.param({"DOCKER_TLS": "0", "DOCKER_TLS_VERIFY": ""}, False, id="empty is unset"),
    ],
)
@pytest.mark.parametrize("variable", ["DOCKER_CERT_PATH", "DOCKER_CONFIG"])
def test_the_environment_asks_for_tls(
    certificates: Path, env: dict[str, str], verify: bool, variable: str
) -> None:
    env = {"HOME": "/nowhere", variable: str(certificates), **env}

    assert resolve_endpoint({**env, "DOCKER_HOST": "tcp://h:1"}).tls == tls_of(certificates, verify)
    # Without a host it leaves the socket, and a port is 2375 although TLS is spoken.
    default = resolve_endpoint(env)
    assert (default.hostname, default.port, default.source) == ("localhost", 2376, "default")
    assert default.tls == tls_of(certificates, verify)
    assert resolve_endpoint(env, host="tcp://h").port == 2375
    assert resolve_endpoint(env, host="http://h:1").tls == tls_of(certificates, verify)
    assert resolve_endpoint(env, host="https://h:1").tls == tls_of(certificates, verify)


def test_a_path_of_certificates_alone_asks_for_nothing(certificates: Path) -> None:
    env = {**NOWHERE, "DOCKER_CERT_PATH": str(certificates)}

    assert resolve_endpoint(env, host="tcp://h").tls is None


@pytest.mark.parametrize("variable", ["DOCKER_TLS_VERIFY", "DOCKER_TLS"])
def test_tls_without_a_ca_is_refused_though_not_for_a_socket(tmp_path: Path, variable: str) -> None:
    env = {**NOWHERE, "DOCKER_CERT_PATH": str(tmp_path), variable: "1"}

    with pytest.raises(
        EndpointError, match=rf"{variable} asks for TLS, but .*/ca\.pem; .*https://host"
    ):
        resolve_endpoint(env, host="tcp://h")
    assert resolve_endpoint(env, host="unix:///x").tls is None
    assert resolve_endpoint(env, host="ssh://h").tls is None


@pytest.mark.parametrize("missing", ["cert.pem", "key.pem"])
def test_a_certificate_without_its_key_is_not_used(certificates: Path, missing: str) -> None:
    (certificates / missing).unlink()
    env = {**NOWHERE, "DOCKER_CERT_PATH": str(certificates), "DOCKER_TLS_VERIFY": "1"}

    assert resolve_endpoint(env).tls == TLS(ca=str(certificates / "ca.pem"))


def test_https_is_tls_without_being_asked(certificates: Path) -> None:
    found = resolve_endpoint(NOWHERE, host="https://h")

    assert (found.kind, found.port, found.tls) == ("tcp", 2376, TLS())
    env = {**NOWHERE, "DOCKER_CERT_PATH": str(certificates)}
    assert resolve_endpoint(env, host="https://h").tls == tls_of(certificates)


# ── Hosts of contexts ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("unix:///x", unix("/x"), id="unix"),
        pytest.param("unix://rel", unix("rel"), id="relative"),
        pytest.param("unix://@a", unix("\0a"), id="abstract", marks=linux),
        pytest.param("tcp://h:2375", tcp("h", 2375), id="tcp"),
        pytest.param("tcp://h", tcp("h", 80), id="the port of HTTP, not of docker"),
        pytest.param("http://h", tcp("h", 80), id="http"),
        pytest.param("tcp://h:1/sub", tcp("h", 1, "/sub"), id="base path"),
        pytest.param("tcp://u:p@h:1?x#y", tcp("h", 1), id="user, query, fragment"),
        pytest.param("tcp://[::1]:1", tcp("::1", 1), id="IPv6"),
        pytest.param("ssh://me@h", {"kind": "ssh", "user": "me", "hostname": "h"}, id="ssh"),
        pytest.param("npipe:////./pipe/x", {"kind": "npipe", "path": r"\\.\pipe\x"}, id="pipe"),
    ],
)
def test_the_host_of_a_context_is_not_read_like_docker_host(
    tmp_path: Path, host: str, expected: dict[str, object]
) -> None:
    store(tmp_path, "x", host)

    found = resolve_endpoint({"DOCKER_CONFIG": str(tmp_path)}, context="x")

    assert {name: getattr(found, name) for name in expected} == expected
    assert found.source == "context 'x'"


@pytest.mark.parametrize(
    ("host", "fact"),
    [
        ("127.0.0.1:2375", "is not an address"),
        ("unix://", "is not an address"),
        ("tcp://", "is not an address"),
        (" unix:///x", "unknown scheme"),
        ("foo://h:1", "unknown scheme"),
        ("TCP://h:1", "unknown scheme"),
        ("fd://3", "for dockerd"),
        ("tcp://h:0", "invalid port"),
        ("tcp://me:hunter2@h:0", "***@h:0"),
    ],
)
def test_the_host_of_a_context_is_refused_by_name(tmp_path: Path, host: str, fact: str) -> None:
    store(tmp_path, "x", host)

    with pytest.raises(EndpointError) as caught:
        resolve_endpoint({"DOCKER_CONFIG": str(tmp_path)}, context="x")

    message = str(caught.value)
    assert message.startswith("context 'x': ")
    assert fact in message
    assert "hunter2" not in message


ALL = ("ca.pem", "cert.pem", "key.pem")


@pytest.mark.parametrize(
    ("host", "skip", "files", "port", "expected"),
    [
        pytest.param("tcp://h", False, None, 80, None, id="no folder"),
        pytest.param("tcp://h", False, (), 443, {}, id="an empty folder"),
        pytest.param("tcp://h:1", False, ("ca.pem",), 1, {"ca"}, id="ca"),
        pytest.param("tcp://h:1", False, ALL, 1, {"ca", "cert", "key"}, id="all"),
        pytest.param("tcp://h:1", False, ("cert.pem",), 1, {}, id="certificate without key"),
        pytest.param("tcp://h:1", True, None, 1, {}, id="skip"),
        pytest.param("tcp://h:1", True, ALL, 1, {"ca", "cert", "key"}, id="skip, with files"),
        pytest.param("https://h", False, None, 443, {}, id="https"),
        pytest.param("unix:///x", True, ALL, None, None, id="unix never"),
        pytest.param("ssh://h", True, ALL, None, None, id="ssh never"),
    ],
)
def test_the_tls_of_a_context_is_its_folder_or_its_wish_to_skip(
    tmp_path: Path,
    host: str,
    skip: bool,
    files: tuple[str, ...] | None,
    port: int | None,
    expected: set[str] | None,
) -> None:
    store(tmp_path, "x", host, skip, files)

    found = resolve_endpoint({"DOCKER_CONFIG": str(tmp_path)}, context="x")

    assert found.port == port
    if expected is None:
        assert found.tls is None
    else:
        assert found.tls is not None
        assert found.tls.verify is not skip
        assert {name for name in ("ca", "cert", "key") if getattr(found.tls, name)} == {*expected}


def test_the_environment_has_no_say_in_a_named_context(tmp_path: Path) -> None:
    store(tmp_path, "x", "tcp://h:1")
    env = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_TLS_VERIFY": "1", "DOCKER_TLS": "1"}

    assert resolve_endpoint(env, context="x").tls is None


# ── Endpoint is data ────────────────────────────────────────────────────────────────────────────


def test_an_endpoint_shows_where_it_came_from_and_no_secret(folder: Path) -> None:
    (folder / "config.json").write_text('{"HttpHeaders": {"X-Auth": "hunter2"}}')
    env = {"DOCKER_CONFIG": str(folder), "DOCKER_HOST": "tcp://me:hunter2@h:1/?token=hunter2"}

    found = resolve_endpoint(env)

    assert found.headers == (("X-Auth", "hunter2"),)
    assert "hunter2" not in repr(found)
    assert repr(msgspec.structs.replace(found, warnings=())) == (
        "Endpoint(kind='tcp', host='tcp://h:1', source='DOCKER_HOST', hostname='h', port=1,"
        " headers=('X-Auth',))"
    )


def test_an_endpoint_is_shown_by_rich_as_by_repr(folder: Path) -> None:
    pretty = pytest.importorskip("rich.pretty")
    (folder / "config.json").write_text('{"HttpHeaders": {"X-Auth": "hunter2"}}')
    found = resolve_endpoint({"DOCKER_CONFIG": str(folder)})

    assert "X-Auth" in pretty.pretty_repr(found)
    assert "hunter2" not in pretty.pretty_repr(found)


def test_endpoints_are_compared_by_value() -> None:
    one, same = (resolve_endpoint(NOWHERE, host="https://h/x") for _ in range(2))

    assert one == same
    assert len({one, same, resolve_endpoint(NOWHERE, host="https://h/y")}) == 2


@pytest.mark.anyio
async def test_a_pipe_is_refused_with_the_way_out() -> None:
    async with DockerClient("npipe:////./pipe/docker_engine") as client:
        assert client.endpoint.path == r"\\.\pipe\docker_engine"
        with pytest.raises(EndpointError) as caught:
            await client.list_images()

    text = str(caught.value)
    assert text.startswith("host=: npipe:////./pipe/docker_engine is a Windows named pipe")
    assert "host='tcp://localhost:2375'" in text
    assert "ssh://" in text


def test_windows_and_mac_have_their_own_defaults_and_limits() -> None:
    resolve = docker_images.endpoint.hosts._resolve
    long = f"unix:///{'x' * 103}"

    assert resolve({}, None, None, "win32").host == "npipe:////./pipe/docker_engine"
    assert resolve(NOWHERE, None, None, "darwin").host == "unix:///var/run/docker.sock"
    assert resolve(NOWHERE, "unix://@x", None, "darwin").path == "@x"
    assert resolve(NOWHERE, long, None, "linux").path == long[7:]
    with pytest.raises(EndpointError, match="at most 103"):
        resolve(NOWHERE, long, None, "darwin")


def test_nothing_is_read_opened_or_resolved_at_import(tmp_path: Path) -> None:
    """A fresh interpreter, whose every touch of the user's docker folder and network is told."""
    (tmp_path / "config.json").write_text("{}")
    code = (
        "import sys\n"
        "def told(event, args):\n"
        "    name = str(args[0]) if args else ''\n"
        "    if event == 'open' and 'config.json' in name or event.startswith('socket.'):\n"
        "        print(event, name)\n"
        "    if event in ('subprocess.Popen', 'os.posix_spawn', 'os.exec'):\n"
        "        print(event, name)\n"
        "sys.addaudithook(told)\n"
        "import docker_images.endpoint.hosts, docker_images.endpoint.proxy\n"
        "import docker_images.endpoint.discover\n"
        "print('imported')\n"
        "docker_images.endpoint.hosts.resolve_endpoint()\n"
    )
    root = Path(importlib.import_module("docker_images").__file__ or "").parent.parent
    env = {**os.environ, "DOCKER_CONFIG": str(tmp_path), "PYTHONPATH": str(root)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert told[0] == "imported"
    assert any("config.json" in line for line in told[1:])  # the hook does see such things
