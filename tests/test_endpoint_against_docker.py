"""The same inputs to `resolve_endpoint` and to the real docker command.

`docker context inspect` tells which context it chose and which address it made of it. Every
difference must be one that we want, and has its name here; an unnamed one fails, and so does a
name for which no difference is left.
"""

import hashlib
import ipaddress
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from docker_images.address import Endpoint
from docker_images.endpoint.hosts import considered, resolve_endpoint
from docker_images.errors import EndpointError


def docker_command() -> str | None:
    """The docker command, if it is Docker's own: some systems have Podman's under its name."""
    found = shutil.which("docker")
    if found is None or sys.platform == "win32":
        return None
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return found if told.startswith("Docker version") else None


DOCKER = docker_command()
pytestmark = pytest.mark.skipif(DOCKER is None, reason="the docker command is not installed")


ALL = [False, pytest.param(True, marks=pytest.mark.slow)]
"""Whether all there is to compare is compared, which takes a thousand starts of the command."""


def product(*choices: Sequence[Any], all: bool) -> Iterator[tuple[Any, ...]]:
    """Each choice with each other; or a quarter, in which each pair of choices still meets."""
    for numbered in itertools.product(*map(enumerate, choices)):
        if all or sum(number for number, _ in numbered) % 4 == 0:
            yield tuple(choice for _, choice in numbered)


class Told(NamedTuple):
    """What the docker command says of the context it would use."""

    context: str
    host: str
    skip_verify: bool
    material: frozenset[str]


def docker(env: dict[str, str], *arguments: str) -> Told | None:
    """Ask the docker command; None where it refuses."""
    assert DOCKER is not None
    done = subprocess.run(
        [DOCKER, *arguments, "context", "inspect", "--format", "{{json .}}"],
        env=env,
        capture_output=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        return None
    found = json.loads(done.stdout.decode("utf-8", "replace"))
    return Told(
        found["Name"],
        found["Endpoints"]["docker"].get("Host", ""),
        found["Endpoints"]["docker"].get("SkipTLSVerify", False),
        frozenset((found.get("TLSMaterial") or {}).get("docker") or ()),
    )


def ours(
    env: dict[str, str], host: str | None = None, context: str | None = None
) -> Endpoint | None:
    try:
        return resolve_endpoint(env, host, context)
    except EndpointError:
        return None


def address(host: str) -> tuple[object, ...]:
    """An address with its port as a number, and its path decoded and cleaned as a URL's is."""
    tcp = re.fullmatch(r"(?:tcp|https?)://(?:\[(.*)\]|([^:/]*)):([0-9]+)(/.*)?", host, re.DOTALL)
    if tcp:
        path = os.path.normpath("/" + unquote(tcp[4] or "").lstrip("/"))
        return ("tcp", tcp[1] or tcp[2], int(tcp[3]), path)
    ssh = re.fullmatch(r"ssh://(?:([^/]*)@)?(.*?)(?::([0-9]*))?(/.*)?", host, re.DOTALL)
    if ssh:
        path = unquote(ssh[4] or "").rstrip("/")
        return ("ssh", unquote(ssh[1] or ""), ssh[2], int(ssh[3] or "0"), path)
    return (host,)


# ── Host strings ────────────────────────────────────────────────────────────────────────────────

Deviation = Callable[[str, Told | None, Endpoint | None], bool]


def _theirs_is_odd(odd: Callable[[tuple[object, ...]], bool]) -> Deviation:
    """They take a tcp address that we refuse, for this reason."""

    def holds(text: str, theirs: Told | None, mine: Endpoint | None) -> bool:
        if theirs is None or mine is not None or not theirs.host.startswith("tcp://"):
            return False
        return odd(address(theirs.host))

    return holds


def _no_name(found: tuple[object, ...]) -> bool:
    """Neither labels that a name service can hold nor an IPv6 address."""
    host = str(found[1])
    try:
        ipaddress.ip_address(host)
        return "%" in host  # a zone: they take it, and fail on it when they connect
    except ValueError:
        return not re.fullmatch(r"([a-z0-9_~-]{1,63}\.)*[a-z0-9_~-]{1,63}\.?", host)


DEVIATIONS: dict[str, Deviation] = {
    "stricter: invalid ports are refused at once": _theirs_is_odd(
        lambda found: not 0 < int(str(found[2])) < 65536
    ),
    "stricter: names that no name service can hold are refused at once": _theirs_is_odd(_no_name),
    "stricter: fd:// is refused": lambda text, theirs, mine: (
        mine is None and theirs is not None and theirs.host.startswith("fd://")
    ),
    "stricter: a socket path that no connect can take is refused at once": (
        lambda text, theirs, mine: (
            mine is None
            and theirs is not None
            and theirs.host.startswith("unix://")
            and len(os.fsencode(theirs.host)) - 7 > 103
        )
    ),
    "stricter: an unsafe ssh URL is refused at once": lambda text, theirs, mine: (
        mine is None and theirs is not None and theirs.host.startswith("ssh://")
    ),
    "more lenient: http:// and https:// are accepted": lambda text, theirs, mine: (
        theirs is None and mine is not None and text.startswith(("http://", "https://"))
    ),
    "more lenient: tcp://[::1] needs no port": lambda text, theirs, mine: (
        theirs is None
        and mine is not None
        and mine.port == 2375
        and re.search(r"\[[0-9a-f:.]+\]([/?#]|$)", text) is not None
    ),
}

# docker/cli reads these as sockets since 2026, and so do we; the older one as a path of localhost.
OLDER = "older docker: a path without a scheme is one of localhost"
VERSION_BOUND: dict[str, Deviation] = {
    OLDER: lambda text, theirs, mine: (
        mine is not None and mine.host == f"unix://{text}" and text.startswith(("/", "./"))
    ),
}

TABLE = [
    *("", " ", "127.0.0.1", "localhost", "1.2.3.4:9", ":9", "tcp://", "tcp://h", "tcp://h:"),
    *("tcp://h:9/sub/path", "tcp://user:pw@h:9?x#y", "tcp://[::1]:9", "tcp://[::1]:", "tcp://::1"),
    *("tcp://[::1]", "tcp://[::1]/x", "tcp://h:abc", "tcp://h:99999", "tcp://h:0", "unix://"),
    *("unix:///a b", "unix:///a%20b", "unix://rel/x.sock", "unix://./x", "unix://@name"),
    *("unix:/x", "/x.sock", "fd://3", "fd://", "npipe://", "npipe:////./pipe/x", "http://h"),
    *(
        "https://h:2376/x",
        "http+unix:///x",
        "vsock://2:1",
        "foo://h",
        "TCP://h",
        "unix://unix:///x",
    ),
    *("tcp://tcp://x", "tcp://tcp://", "tcp://tcp://tcp://x", "unix://tcp://x", "unix:///a://b"),
    *("h/x", "tcp:/h", "tcp:h", "ssh:h", "://x", "?x", "#x", "@", "a:b@c", "tcp://:", "tcp://[]:3"),
    *("tcp://h:00080", "tcp://h:-5", "tcp://h:+5", "tcp://h:\uff11", "tcp://h:1:2", "tcp://[h]:3"),
    *("tcp://h/a b", "tcp://h/a%20b", "tcp://h/%zz", "tcp://h/%2f", "tcp://h//a/../b/", "tcp://é"),
    *("tcp://a b", "tcp:// h", " tcp://h\t", "\u00a0tcp://h\u3000", "\x1ctcp://h", "\u200btcp://h"),
    *(
        "tcp://[::1",
        "tcp://[::1]x",
        "tcp://a@b@h:1",
        "tcp://u ser@h",
        "tcp://u%zz@h",
        "tcp://$(id)",
    ),
    *("tcp://h<x", "tcp://h|x", "tcp://h\\x", "tcp://*:3", "tcp://h..x", "tcp://-h", "tcp://h_x"),
    *("tcp://fe80::1%eth0", "tcp://[fe80::1%25eth0]:3", "tcp://%41", "tcp://h\x01", "tcp://h/\x7f"),
    *("tcp://h#%zz", "tcp://h?%zz", "tcp://" + "x" * 64, "unix:///" + "x" * 200, "tcp://u/x@h"),
    *("ssh://h", "ssh://me@h:22/run/x.sock", "ssh://h/", "ssh://@h", "ssh://h/$(id)", "ssh://h:0"),
    *("ssh://-oProxyCommand=id", "ssh://me:pw@h", "ssh://h?x", "ssh://", "ssh://h:", "ssh://[::1]"),
]


def generated_hosts(count: int) -> list[str]:
    """Strings put together from the pieces that the rules speak of; the same in every run."""
    chance = random.Random(20261122)
    schemes = ["", "tcp://", "tcp://", "tcp:", "unix://", "http://", "ssh://", "tcp://tcp://"]
    users = ["", "", "", "u@", "u:p@", "@", "u%20@", "a@b@"]
    names = ["h", "localhost", "1.2.3.4", "[::1]", "::1", "", "a.b-c.d", "x_y", "[::ffff:1.2.3.4]"]
    ports = ["", "", ":", ":1", ":2376", ":0", ":65535", ":65536", ":x", ":007", ":1:2"]
    paths = [
        "",
        "",
        "/",
        "//",
        "/a",
        "/a/b/",
        "/a%20b",
        "/../c",
        "/a b",
        "?q",
        "#f",
        "/a?q#f",
        "/@",
    ]
    pieces = (schemes, users, names, ports, paths)
    return ["".join(chance.choice(some) for some in pieces) for _ in range(count)]


def explanation(text: str, theirs: Told | None, mine: Endpoint | None) -> str | None:
    """`""` where both agree, the name of a deviation, or None for an unexplained difference."""
    if theirs is None and mine is None:
        return ""
    if theirs is not None and mine is not None and address(theirs.host) == address(mine.host):
        return ""
    known = {**DEVIATIONS, **VERSION_BOUND}
    return next((name for name, holds in known.items() if holds(text, theirs, mine)), None)


@pytest.mark.parametrize("all", ALL)
def test_host_strings_are_read_as_by_docker_except_for_named_deviations(
    tmp_path: Path, all: bool
) -> None:
    agreed, named, unexplained = 0, set[str](), []
    for text in dict.fromkeys([*TABLE, *generated_hosts(400 if all else 0)]):
        env = {"HOME": str(tmp_path), "DOCKER_HOST": text}
        theirs, mine = docker(env), ours(env)
        match explanation(text, theirs, mine):
            case "":
                agreed += 1
            case None:
                unexplained.append((text, theirs, mine))
            case name:
                named.add(name)

    assert unexplained == []
    assert named - VERSION_BOUND.keys() == DEVIATIONS.keys()
    assert agreed > (250 if all else 40)


@pytest.mark.parametrize("text", [text for text in TABLE if text])
def test_a_host_argument_is_read_as_docker_host_is(tmp_path: Path, text: str) -> None:
    mine = ours({"HOME": str(tmp_path)}, host=text)
    same = ours({"HOME": str(tmp_path), "DOCKER_HOST": text})

    assert (mine and mine.host) == (same and same.host)


# ── The order, and what stands in the folder ────────────────────────────────────────────────────


def meta_of(folder: Path, name: str) -> Path:
    key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    path = folder / "contexts/meta" / key / "meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def store(folder: Path, name: str, host: str) -> None:
    meta_of(folder, name).write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}})
    )


def chosen(found: Endpoint | None) -> tuple[str, str] | None:
    """The name of the context that the docker command would show, and the address."""
    if found is None:
        return None
    named = re.match(r"context '([^']*)'", found.source)
    return (named[1] if named else "default", found.host)


@pytest.mark.parametrize("all", ALL)
def test_the_order_is_that_of_docker(tmp_path: Path, all: bool) -> None:
    for name in ("eng", "arg"):
        store(tmp_path, name, f"unix:///{name}")
    hosts = (None, "", " ", "unix:///h")
    contexts = (None, "", "eng", "gone", "default")
    configs = (None, '{"currentContext":"eng"}', '{"currentContext":"gone"}', "broken")
    arguments = ({}, {"context": "arg"}, {"context": "default"}, {"host": "unix:///a"})
    for text, host, context, given in product(configs, hosts, contexts, arguments, all=all):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        env = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path)}
        env |= {"DOCKER_HOST": host} if host is not None else {}
        env |= {"DOCKER_CONTEXT": context} if context is not None else {}
        theirs = docker(env, *(f"--{name}={value}" for name, value in given.items()))

        mine = ours(env, **given)

        case = (text, host, context, given)
        assert (theirs and (theirs.context, theirs.host)) == chosen(mine), case
        assert len([row for row in considered(env, **given) if row.won]) == 1, case


CONFIGS = [
    *("", " ", "null", "{}", "[]", "5", '"x"', "{", "{} x", "\ufeff{}", '{"currentContext":"eng"}'),
    *('{"CURRENTCONTEXT":"eng"}', '{"currentContext":"eng"} x', '{"currentContext":5}'),
    *('{"currentContext":null}', '{"currentContext":"eng","currentcontext":null}'),
    *('{"currentContext":"gone","currentCONTEXT":"eng"}', '{"x":{"currentContext":"eng"}}'),
    *('{"currentContext":"eng","auths":5}', '{"currentContext":"eng","HttpHeaders":[]}'),
    *('{"currentContext":"eng","currentContext":5}', '{"currentContext":"eng","x":NaN}'),
    *('{"currentContext":"\\u0065ng"}', "{'currentContext':'eng'}", '{"currentContext":"eng",}'),
    *('{"currentContext":"a\tb"}', '\n{"currentContext":"eng"}', '{"current\u017fontext":"eng"}'),
]


@pytest.mark.parametrize("text", CONFIGS)
def test_config_json_names_the_context_that_docker_reads_there(tmp_path: Path, text: str) -> None:
    store(tmp_path, "eng", "unix:///eng")
    (tmp_path / "config.json").write_text(text)
    env = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path)}

    theirs = docker(env)

    assert (theirs and (theirs.context, theirs.host)) == chosen(ours(env))


STORED = [
    *(
        "",
        "{",
        "[]",
        "{}",
        "null",
        "5",
        '{"Endpoints":{}}',
        '{"Endpoints":5}',
        '{"Endpoints":null}',
    ),
    *('{"Endpoints":{"docker":null}}', '{"Endpoints":{"docker":5}}', '{"Endpoints":{"docker":[]}}'),
    *(
        '{"Endpoints":{"docker":{"Host":"unix:///s"}}}',
        '{"endpoints":{"docker":{"hOsT":"unix:///s"}}}',
    ),
    *('{"Endpoints":{"Docker":{"Host":"unix:///s"}}}', '{"Endpoints":{"docker":{"Host":5}}}'),
    *(
        '{"Endpoints":{"docker":{"Host":"unix:///s"}}} x',
        '{"Endpoints":{"docker":{"Host":"unix:///s"}',
    ),
    '{"Endpoints":{"docker":{"Host":"unix:///s","SkipTLSVerify":"yes"}}}',
    '{"Endpoints":{"docker":{"Host":"unix:///s","host":"unix:///t"}}}',
    '{"Endpoints":{"docker":{"Host":"unix:///s","Host":null}}}',
    '{"Name":"other","Endpoints":{"docker":{"Host":"unix:///s"}}}',
    '{"Metadata":{"Description":"d"},"Endpoints":{"docker":{"Host":"unix:///s"}}}',
]


@pytest.mark.parametrize("text", STORED)
def test_a_stored_context_is_refused_where_docker_cannot_use_it(tmp_path: Path, text: str) -> None:
    meta_of(tmp_path, "x").write_text(text)
    env = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "x"}
    assert DOCKER is not None
    # `context inspect` shows even what cannot be used; `version` uses it, and finds no engine.
    done = subprocess.run([DOCKER, "version"], env=env, capture_output=True, text=True, check=False)
    used = re.search(r"Cannot connect to the Docker daemon at (\S+)\.\s", done.stderr)

    mine = ours(env)

    assert (used and used[1]) == (mine and mine.host), done.stderr


# Loopback, and a port on which nothing listens: what is tried is refused at once.
@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        pytest.param("unix:///nowhere/s", None, id="unix"),
        pytest.param("unix://rel", None, id="relative"),
        pytest.param("unix://@nobody", None, id="abstract"),
        pytest.param("tcp://127.0.0.1:1", None, id="tcp"),
        pytest.param("tcp://[::1]:1", None, id="IPv6"),
        pytest.param("127.0.0.1:1", None, id="no scheme"),
        pytest.param("unix://", None, id="no path"),
        pytest.param("tcp://", None, id="no host"),
        pytest.param(" unix:///nowhere/s", None, id="not trimmed"),
        pytest.param("tcp://127.0.0.1:x", None, id="word as port"),
        pytest.param("tcp://a b:1", None, id="space"),
        pytest.param("foo://127.0.0.1:1", "stricter: unknown schemes are refused", id="scheme"),
        pytest.param("TCP://127.0.0.1:1", "stricter: unknown schemes are refused", id="capitals"),
    ],
)
def test_the_host_of_a_context_is_usable_where_it_is_for_docker(
    tmp_path: Path, host: str, wanted: str | None
) -> None:
    store(tmp_path, "x", host)
    env = {"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "x"}
    assert DOCKER is not None
    done = subprocess.run(
        [DOCKER, "version"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    tried = "Cannot connect to the Docker daemon at" in done.stderr

    assert (tried, ours(env) is not None) == ((True, False) if wanted else (tried, tried))


# ── TLS of the environment ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("all", ALL)
def test_the_environment_asks_for_tls_as_with_docker(tmp_path: Path, all: bool) -> None:
    folders = {"none": (), "ca": ("ca",), "all": ("ca", "cert", "key"), "half": ("ca", "cert")}
    for name, files in folders.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / f"{file}.pem").touch()
    lenient = 0
    for skip, verify, folder, variable, host in product(
        (None, "0"),
        (None, "", "0"),
        [*folders],
        ("DOCKER_CERT_PATH", "DOCKER_CONFIG"),
        (None, " ", "tcp://h", "unix:///x"),
        all=all,
    ):
        env = {"HOME": str(tmp_path / "nowhere"), variable: str(tmp_path / folder)}
        told = {"DOCKER_TLS": skip, "DOCKER_TLS_VERIFY": verify, "DOCKER_HOST": host}
        env |= {name: value for name, value in told.items() if value is not None}
        theirs, mine = docker(env), ours(env)

        case = {**env, "folder": folder}
        if theirs is None and host == "unix:///x":
            lenient += 1  # more lenient: unix:// reads no TLS file, a missing ca.pem is no error
            assert mine is not None, case
            continue
        assert (theirs is None) == (mine is None), case
        if theirs is None or mine is None:
            continue
        assert theirs.host == mine.host, case
        if mine.kind == "unix":
            continue
        assert theirs.skip_verify == (mine.tls is not None and not mine.tls.verify), case
        used = {
            f"{file}.pem" for file in ("ca", "cert", "key") if mine.tls and getattr(mine.tls, file)
        }
        # They show a certificate without its key, and then do not use it.
        assert theirs.material - ({"cert.pem"} if folder == "half" else set()) == used, case
    assert lenient > 0
