"""Which engine to talk to: the rules of the docker command, as a pure function.

The strategy: one table says who may name the engine, in order; the first that does wins. A host
string is then read as `docker -H` reads it, the host of a context as the docker command reads that,
which is not the same. Where we differ from the docker command we are stricter about what could not
work or is not safe, and accept `http(s)://`; the differential test names every such place.

Knows the environment variables and what a host string means. Refuses to know how docker's folder is
laid out (`config`) and how a connection is made: no socket is opened here, no process started, no
certificate read.
"""

import ipaddress
import os
import posixpath
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec

from docker_images.address import TLS, Endpoint
from docker_images.endpoint.config import Config, config_folder, read_config, read_context
from docker_images.endpoint.proxy import proxy_for
from docker_images.errors import EndpointError
from docker_images.text import keyword

__all__ = [
    "SSH_HOST",
    "SSH_USER",
    "Considered",
    "Host",
    "check_arguments",
    "check_host",
    "considered",
    "context_endpoint",
    "host_shown",
    "host_text",
    "npipe_refusal",
    "resolve_endpoint",
]


class Considered(NamedTuple):
    """One place that may name the engine, as `considered` reports it."""

    source: str
    """`"host="`, `"context="`, `"DOCKER_HOST"`, `"DOCKER_CONTEXT"`, `"currentContext of …"` or
    `"default"`."""
    value: str | None
    """What it says, without passwords; None where it says nothing."""
    won: bool


Host = str | os.PathLike[str]
"""The address of an engine as text, or the path of its socket."""


def resolve_endpoint(
    env: Mapping[str, str] | None = None, host: Host | None = None, context: str | None = None
) -> Endpoint:
    """Find the engine that the docker command would talk to.

    It is chosen by the first of these that is set: the argument, `DOCKER_HOST`, `DOCKER_CONTEXT`,
    `currentContext` in config.json, the platform's default. An empty variable counts as unset. The
    context named `default` means `DOCKER_HOST` or the platform's default.

    This reads only `config.json` and one context, and connects to nothing.

    Args:
        env: the environment variables; None for `os.environ`.
        host: an address, as in `docker --host`; a path object is the path of a socket.
        context: the name of a context, as in `docker --context`.

    Raises:
        TypeError: for an argument of the wrong type.
        EndpointError: if this does not lead to an engine that could be reached. There is no
            fallback to another one.
    """
    if env is None:
        env = os.environ
    elif not isinstance(env, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(env).__name__
        raise TypeError(f"env takes a mapping, not {kind}; an address is given as host=")
    return _resolve(env, host_text(host), context, sys.platform)


def considered(
    env: Mapping[str, str] | None = None, host: Host | None = None, context: str | None = None
) -> tuple[Considered, ...]:
    """Report every place that may name the engine, in order, and the one that won.

    Raises `EndpointError` for arguments that `resolve_endpoint` refuses; what the winner says is
    not looked at.
    """
    env, host = os.environ if env is None else env, host_text(host)
    check_arguments(host, context)
    config = read_config(config_folder(env, sys.platform))
    rows = tuple(_order(env, host, context, config, sys.platform))
    winner = _winner(rows)
    return tuple(
        Considered(row.source, host_shown(row.value) if row.value else None, row is winner)
        for row in rows
    )


def host_text(host: Host | None) -> str | None:
    """A host as a string; a path object becomes one that is read as a path."""
    if not isinstance(host, os.PathLike):
        return host
    path = os.fspath(host)
    return path if os.path.isabs(path) else os.path.join(os.curdir, path)  # noqa: PTH117, PTH118


def check_arguments(host: str | None, context: str | None) -> None:
    """Refuse what no environment can make sense of.

    Raises `EndpointError`, and `TypeError` for what is not a string.
    """
    for name, value in (("host", host), ("context", context)):
        if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            kinds = "a str or a path" if name == "host" else "a str"
            raise TypeError(f"{keyword(name)} takes {kinds}, not {type(value).__name__}")
        if value == "":
            raise EndpointError(
                f"{keyword(name)} is empty; leave it out for the engine of the docker command"
            )
    if host is not None and context is not None:
        both = f"{keyword('host')} and {keyword('context')}"
        raise EndpointError(f"{both} are both given; leave one of them out")


def check_host(host: str) -> None:
    """Refuse a host that no engine can have, without a look at the environment."""
    _host_endpoint(host, keyword("host"), {}, Path(), sys.platform)


# ── Who names the engine ────────────────────────────────────────────────────────────────────────


class _Row(NamedTuple):
    source: str
    means: Literal["host", "context"]
    value: str | None


def _order(
    env: Mapping[str, str], host: str | None, context: str | None, config: Config, platform: str
) -> Iterator[_Row]:
    """The order table. docker/cli cli/command/cli.go resolveContextName@28f7560."""
    yield _Row(keyword("host"), "host", host)
    yield _Row(keyword("context"), "context", context)
    yield _Row("DOCKER_HOST", "host", env.get("DOCKER_HOST"))
    yield _Row("DOCKER_CONTEXT", "context", env.get("DOCKER_CONTEXT"))
    yield _Row(f"currentContext of {config.path}", "context", config.current_context)
    yield _Row("default", "host", _default_host(env, platform))


def _winner(rows: Iterable[_Row]) -> _Row:
    told = (row for row in rows if row.value)
    winner = next(told)
    if winner.means == "context" and winner.value == "default":
        return next(row for row in told if row.means == "host")
    return winner


def _resolve(
    env: Mapping[str, str], host: str | None, context: str | None, platform: str
) -> Endpoint:
    check_arguments(host, context)
    folder = config_folder(env, platform)
    config = read_config(folder)
    source, means, value = _winner(_order(env, host, context, config, platform))
    value = value or ""
    if means == "host":
        found = _host_endpoint(value, source, env, folder, platform)
    else:
        by = "" if source == keyword("context") else f" from {source}"
        found = context_endpoint(folder, value, f"context {value!r}{by}", platform)
    proxy = None
    if found.kind == "tcp":
        scheme = "https" if found.tls else "http"
        proxy = proxy_for(scheme, found.hostname, found.port or 0, env)
    return msgspec.structs.replace(
        found, headers=config.headers, warnings=(*config.warnings, *found.warnings), proxy=proxy
    )


def _default_host(env: Mapping[str, str], platform: str) -> str:
    if _tls_asked(env):
        return "tcp://localhost:2376"
    return _platform_host(platform)


def _platform_host(platform: str) -> str:
    scheme = "npipe" if platform == "win32" else "unix"
    return f"{scheme}://{_SOCKETS[scheme]}"


_SOCKETS = {"unix": "/var/run/docker.sock", "npipe": "//./pipe/docker_engine"}


# ── Host strings, of -H, DOCKER_HOST and contexts ─────────────────────────────────────────────────

# What Go's strings.TrimSpace trims; str.strip would take \x1c to \x1f as well.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

_SCHEMES = "unix://, tcp://, http://, https://, ssh:// and npipe://"


def _host_endpoint(
    text: str, source: str, env: Mapping[str, str], folder: Path, platform: str
) -> Endpoint:
    """A host string as `docker -H` reads it: docker/cli opts/hosts.go@28f7560."""
    text = text.strip(_SPACE) or _default_host(env, platform)
    given = _Given(source, text, platform)
    scheme, marked, rest = text.partition("://")
    if not marked and text.startswith(("/", "./")):
        # As docker/cli reads it since 2026; before, it was tcp://localhost:2375/….
        hint = f"{source}: {text!r} is taken as a socket; write {f'unix://{text}'!r}"
        return msgspec.structs.replace(_unix(text, given), warnings=(hint,))
    if not marked:
        scheme, rest = "tcp", text
    if scheme in ("unix", "npipe", "tcp"):
        rest = rest.removeprefix(f"{scheme}://")
    if scheme in _SOCKETS:
        fact = f"is not a path behind {scheme}://"
        given.need("://" not in rest, fact, "name one socket or pipe")
        rest = rest or _SOCKETS[scheme]

    def http() -> tuple[int, TLS | None]:
        # 2375 also with TLS, as docker; https:// is ours, and 2376 its registered port.
        port = 2376 if scheme == "https" else 2375
        return port, _environment_tls(env, folder, scheme, source)

    found = _endpoint(scheme, rest, http, given)
    if marked or not (".sock" in text or text.startswith("unix:")):
        return found
    hint = f"{source}: {host_shown(text)!r} is read as {found.host}, as docker does; "
    path = os.path.expanduser(text.removeprefix("unix:"))  # noqa: PTH111
    socket_ = host_shown(f"unix://{path}")
    hint += f"if a socket is meant, write {socket_!r}"
    return msgspec.structs.replace(found, warnings=(*found.warnings, hint))


def context_endpoint(folder: Path, name: str, source: str, platform: str) -> Endpoint:
    """The endpoint of a stored context: moby client/client.go ParseHostURL@b985e23.

    The environment has no say in it, and nothing is trimmed or defaulted except the port, which is
    that of the scheme that HTTP would use.

    Raises `EndpointError` where there is no such context or it names no engine.
    """
    stored = read_context(folder, name, source)
    given = _Given(source, stored.host, platform)
    scheme, _, rest = (stored.host or _platform_host(platform)).partition("://")
    step = f"write scheme://address in {stored.path}; known are {_SCHEMES}"
    given.need(rest, "is not an address", step)

    def http() -> tuple[int, TLS | None]:
        tls = None
        if stored.tls_folder is not None:
            tls = _material(stored.tls_folder, not stored.skip_verify)
        elif stored.skip_verify or scheme == "https":
            # The docker command would send plain HTTP to https://.
            tls = TLS(verify=not stored.skip_verify)
        return 443 if tls else 80, tls

    return _endpoint(scheme, rest, http, given)


def _endpoint(
    scheme: str, rest: str, http: Callable[[], tuple[int, TLS | None]], given: "_Given"
) -> Endpoint:
    """What `scheme://rest` names; `http` tells the default port and TLS of an HTTP address."""
    match scheme:
        case "unix":
            return _unix(rest, given)
        case "npipe":
            return _npipe(rest, given.source)
        case "tcp" | "http" | "https":
            return _tcp(scheme, rest, *http(), given)
        case "ssh":
            return _ssh(rest, given)
        case "fd":
            raise given.refuse(
                "is an address for dockerd, not for clients", "name the socket it listens on"
            )
        case _:
            raise given.refuse("has an unknown scheme", f"known are {_SCHEMES}")


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────


def _tls_asked(env: Mapping[str, str]) -> bool:
    # "0" and "false" are set, and so mean yes.
    return bool(env.get("DOCKER_TLS_VERIFY") or env.get("DOCKER_TLS"))


def _environment_tls(env: Mapping[str, str], folder: Path, scheme: str, source: str) -> TLS | None:
    certificates = env.get("DOCKER_CERT_PATH")
    if _tls_asked(env):
        tls = _material(Path(certificates or folder), bool(env.get("DOCKER_TLS_VERIFY")))
        if tls.ca is None:
            asked = "DOCKER_TLS_VERIFY" if env.get("DOCKER_TLS_VERIFY") else "DOCKER_TLS"
            raise EndpointError(
                f"{source}: {asked} asks for TLS, but there is no {certificates or folder}/ca.pem;"
                f" set DOCKER_CERT_PATH to the folder that has ca.pem, or unset {asked}"
                " and write https://host:2376 to trust what this system trusts"
            )
        return tls
    if scheme == "https":
        return _material(Path(certificates), verify=True) if certificates else TLS()
    return None


def _material(folder: Path, verify: bool) -> TLS:
    """The files that are there; of certificate and key both or none, since one is of no use."""
    ca, cert, key = (str(folder / f"{name}.pem") for name in ("ca", "cert", "key"))
    pair = Path(cert).is_file() and Path(key).is_file()
    return TLS(
        ca=ca if Path(ca).is_file() else None,
        cert=cert if pair else None,
        key=key if pair else None,
        verify=verify,
    )


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────

_CONTROL = r"[\x00-\x1f\x7f\ud800-\udfff]"  # and half of a surrogate pair
_BAD_ESCAPE = r"%(?![0-9A-Fa-f]{2})"
_USERINFO = r"[A-Za-z0-9._:~!$&'()*+,;=@%-]*"  # Go's net/url validUserinfo
_LABELS = r"[A-Za-z0-9_~-]{1,63}(?:\.[A-Za-z0-9_~-]{1,63})*\.?"
_DIGITS = r"[0-9]*"
_ZONE = r"[A-Za-z0-9][A-Za-z0-9._-]*"

# No first character that ssh could take for an option, nothing that a shell or a `%` token of
# ssh_config could take for more than a name.
SSH_USER = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"
_SSH_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
SSH_HOST = rf"{_SSH_NAME}|[0-9A-Fa-f:.]+(?:%{_ZONE})?"


class _Given(NamedTuple):
    """A host string, who gave it, and the platform where it is read."""

    source: str
    text: str
    platform: str

    def refuse(self, fact: str, advice: str) -> EndpointError:
        """The error for it."""
        return EndpointError(f"{self.source}: {host_shown(self.text)!r} {fact}; {advice}")

    def need(self, holds: object, fact: str, advice: str) -> None:
        """Refuse it unless that holds."""
        if not holds:
            raise self.refuse(fact, advice)


def host_shown(text: str) -> str:
    """A host string for messages: cut short, and without what may be a password or a token."""
    scheme, marked, rest = text.partition("://")
    if not marked:
        scheme, rest = "", text
    if scheme not in ("unix", "npipe") or "://" in rest:
        # A password may hold any character, so the last @ decides, wherever Go would end it.
        before, at, after = rest.rpartition("@")
        if scheme != "ssh" or ":" in before:
            before = "***" if at else ""
        rest = before + at + re.sub(r"([?#]).*", r"\1***", after, flags=re.DOTALL)
    whole = scheme + marked + rest
    return whole if len(whole) <= 200 else whole[:200] + "…"


def _unix(path: str, given: _Given) -> Endpoint:
    """A socket; the path is literal, no escape is decoded, and `@name` is abstract on Linux."""
    linux = given.platform == "linux"
    abstract = path.startswith("@") and linux
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise given.refuse("is not text", "write the path as it is on disk") from None
    given.need("\0" not in path, "contains a NUL character", "write the path as it is on disk")
    # sun_path of sockaddr_un: 108 bytes on Linux, 104 elsewhere, a path ends with a NUL.
    limit = (107 if linux else 103) + abstract
    fact = f"is {size} bytes long, a socket's address at most {limit}"
    given.need(size <= limit, fact, "use a shorter path or a symlink")
    return Endpoint(
        "unix", f"unix://{path}", given.source, path=f"\0{path[1:]}" if abstract else path
    )


def _npipe(path: str, source: str) -> Endpoint:
    return Endpoint("npipe", f"npipe://{path}", source, path=path.replace("/", "\\"))


def npipe_refusal(endpoint: Endpoint) -> str:
    """Why a named pipe cannot be connected to, and the way out: the text of the `EndpointError`."""
    instead = keyword("host", repr("tcp://localhost:2375"))
    return (
        f"{endpoint.source}: {endpoint.host} is a Windows named pipe, which this library cannot"
        " open; enable 'Expose daemon on tcp://localhost:2375 without TLS' in Docker Desktop and"
        f" use {instead}, or reach the engine by an ssh:// host or context"
    )


class _Parts(NamedTuple):
    userinfo: str
    host: str
    port: int | None
    path: str
    more: bool
    """A query or a fragment follows."""


def _parts(rest: str, given: _Given) -> _Parts:
    """What stands behind `scheme://`, cut as Go's net/url cuts it."""
    given.need(
        not re.search(_CONTROL, rest),
        "contains a control character or is not text",
        "write the address without it",
    )
    before, hash_, fragment = rest.partition("#")
    before, question, _ = before.partition("?")
    authority, slash, path = before.partition("/")
    userinfo, _, address = authority.rpartition("@")
    escaped = not re.search(_BAD_ESCAPE, before + " " + fragment)
    given.need(escaped, "contains a % that is not an escape", "write %25 for a percent sign")
    sound = re.fullmatch(_USERINFO, userinfo)
    given.need(sound, "has a malformed user", "write scheme://host:port")
    if address.startswith("["):
        host, closed, port = address[1:].rpartition("]")
        ended = closed and port[:1] in ("", ":")
        given.need(ended, "has a malformed IPv6 address", "write it as [::1]:2375")
        port = port[1:]
    else:
        host, colon, port = address.rpartition(":")
        # `::1` is an address without a port, for Go as well.
        if not colon or (":" in host and re.fullmatch(_DIGITS, port)):
            host, port = address, ""
    number = int(port.lstrip("0")[:6] or "0") if port and re.fullmatch(_DIGITS, port) else None
    given.need(
        not port or 0 < (number or 0) < 65536,
        "has an invalid port",
        "use one from 1 to 65535, behind an IPv6 address in brackets",
    )
    return _Parts(userinfo, host, number, slash + path, bool(hash_ or question))


def _tcp(scheme: str, rest: str, port: int, tls: TLS | None, given: _Given) -> Endpoint:
    """An HTTP address; user, query and fragment are dropped, as by the docker command."""
    given.need("://" not in rest, "is not one address", "write tcp://host:port")
    parts = _parts(rest, given)
    hostname = parts.host or "localhost"
    if ":" in hostname:
        _check_ipv6(hostname, given)
    else:
        given.need(
            re.fullmatch(_LABELS, hostname) and len(hostname) <= 253,
            "has an invalid host name",
            "write letters, digits and hyphens, or xn--… for others",
        )
        given.need(
            not _is_short_ipv4(hostname),
            "has an incomplete IPv4 address",
            "write all four numbers, such as 127.0.0.1",
        )
    # Go's client joins with path.Join, which cleans.
    decoded = posixpath.normpath(b"/" + unquote_to_bytes(parts.path).lstrip(b"/"))
    base_path = quote(decoded.rstrip(b"/"))
    port = parts.port or port
    shown = f"[{hostname}]" if ":" in hostname else hostname
    unsent = parts.userinfo or parts.more
    return Endpoint(
        "tcp",
        f"{scheme}://{shown}:{port}{base_path}",
        given.source,
        hostname=hostname,
        port=port,
        base_path=base_path,
        tls=tls,
        warnings=(f"{given.source}: {_NOT_SENT}",) if unsent else (),
    )


_NOT_SENT = (
    "what the address has before an @ and behind a ? or # is not sent, as by docker; if the engine"
    ' asks for it, set HttpHeaders in config.json, such as {"Authorization": "Basic …"}'
)


def _is_short_ipv4(host: str) -> bool:
    """Whether the C library, but neither docker nor a name server, knows it: `127.1`, `0`."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host)) != host
    except OSError:
        return False


def _check_ipv6(host: str, given: _Given) -> None:
    try:
        ipaddress.IPv6Address("invalid" if "%" in host else host)
    except ValueError:
        raise given.refuse(
            "has a malformed IPv6 address", "write it as [::1]:2375, without a zone"
        ) from None


def _ssh(rest: str, given: _Given) -> Endpoint:
    """An ssh URL: docker/cli cli/connhelper/ssh@28f7560, but only names that are safe."""
    parts = _parts(rest, given)
    step = "let ssh ask its agent or a key; remove the password"
    given.need(":" not in parts.userinfo, "contains a password", step)
    given.need(not parts.more, "has a query or a fragment", "write ssh://user@host:port/path")
    try:
        user, path = (unquote(part, errors="strict") for part in (parts.userinfo, parts.path))
    except UnicodeDecodeError:
        raise given.refuse("is not UTF-8", "write it in UTF-8") from None
    given.need(
        not user or re.fullmatch(SSH_USER, user),
        "has an unsafe user",
        "use letters, digits and _.@+- or set User in ~/.ssh/config",
    )
    host, _, zone = parts.host.partition("%25")
    if ":" in host:
        _check_ipv6(host, given)
        step = "name the network interface, such as %25eth0"
        given.need(not zone or re.fullmatch(_ZONE, zone), "has an unsafe IPv6 zone", step)
        host = f"{host}%{zone}" if zone else host
    else:
        given.need(
            not zone and re.fullmatch(_SSH_NAME, host),
            "has an unsafe host or none",
            "use letters, digits and _.- or a Host of ~/.ssh/config",
        )
    # Quoting is the POSIX shell's; a backslash inside quotes means something else to fish.
    unsafe = re.search(_CONTROL, path) or "\\" in path
    given.need(not unsafe, "has an unsafe path", "remove control characters and backslashes")
    path = "" if not path.strip("/") else path
    at = f"{user}@" if user else ""
    shown = f"[{host.replace('%', '%25')}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return Endpoint(
        "ssh",
        f"ssh://{at}{shown}{port}{quote(path)}",
        given.source,
        path=path,
        hostname=host,
        port=parts.port,
        user=user or None,
    )
