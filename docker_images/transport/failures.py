"""What a failure on the way to an engine means, and what to do next.

The one place where foreign exceptions (the operating system's, anyio's, ssl's, those of the other
modules here, and httpx's from a transport of the caller's) become errors of this library. Looks at
the file system to tell what is wrong with a socket, and which other engines there may be; connects
to nothing. What OpenSSL and ssh say is known in `tls_failures` and `ssh_failures`.
"""

import errno
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx

from docker_images.address import TLS, Endpoint
from docker_images.endpoint.discover import socket_group, suggestions
from docker_images.errors import (
    DockerImagesError,
    EngineConnectionError,
    EnginePermissionError,
    EngineTimeoutError,
    Reason,
    ResponseFormatError,
)
from docker_images.text import keyword, printable
from docker_images.transport.deadline import TimeLimitError, stage
from docker_images.transport.exceptions import ProxyError, RemoteTextError, SSHEndedError
from docker_images.transport.http1 import HungUpError, ProtocolError
from docker_images.transport.tls_failures import tls_meaning

__all__ = ["FOREIGN", "OTHERS", "timed_out", "translate"]

OTHERS = "; other engines on this machine: "
"""What stands before the suggestions, in a message that ends with them."""

MAX_OTHERS = 4

FOREIGN = (
    OSError,  # ssl's and socket's are of this class
    UnicodeError,  # a name that idna cannot encode
    HungUpError,
    ProtocolError,
    ProxyError,
    RemoteTextError,
    SSHEndedError,
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.DelimiterNotFound,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    ExceptionGroup,  # anyio's task groups, in a transport of the caller's
)
"""What the way to an engine may raise. Anything else is a mistake in a program, and stays."""


def timed_out(limit: TimeLimitError, endpoint: Endpoint | None) -> EngineTimeoutError:
    """The error for a limit that has passed, of the whole call or of a part of it."""
    doubt = "Is the engine overloaded or hung?"
    if endpoint is None:
        doubt = "Is it on a dead mount?"
    elif endpoint.kind == "ssh":
        from docker_images.transport.ssh import by_hand  # most users need no ssh

        doubt = f"Does {by_hand(endpoint)!r} answer?"
    elif stage.get() == "looking up the name":
        doubt = "Does the name server answer?"
    elif stage.get() == "connecting":
        doubt = "Is the host up, and does a firewall let this port through?"
    return EngineTimeoutError(
        f"{endpoint or 'this'} took longer than {limit.seconds:g} s; the call was {stage.get()}. "
        f"{doubt} {limit.argument} gives it more time",
        endpoint=endpoint,
        stage=stage.get(),
        seconds=limit.seconds,
    )


class _Meaning(NamedTuple):
    """What an error is told as."""

    reason: Reason
    text: str


def translate(error: Exception, endpoint: Endpoint) -> DockerImagesError:
    """The error of this library that a foreign one is.

    May look at the file system, so it is called in a thread.
    """
    match error:
        case DockerImagesError():
            return error
        case ExceptionGroup(exceptions=[Exception() as inner, *_]):
            return translate(inner, endpoint)
        case anyio.BrokenResourceError(__cause__=Exception() as inner):
            return translate(inner, endpoint)
        case anyio.ClosedResourceError(__cause__=Exception() as inner):
            return translate(inner, endpoint)
        case TimeLimitError():
            return timed_out(error, endpoint)
        case httpx.TimeoutException() | TimeoutError(errno=None):
            text = f"{endpoint}: the transport gave up waiting: {_said(error)}"
            return EngineTimeoutError(text, endpoint=endpoint, stage=stage.get())
        case (
            ProtocolError()
            | anyio.DelimiterNotFound()
            | httpx.RemoteProtocolError()
            | httpx.DecodingError()
        ):
            text = f"{endpoint} does not answer as an engine does: {_not_http(error, endpoint)}"
            return ResponseFormatError(text, endpoint=endpoint, reason="protocol")
        case PermissionError() if endpoint.kind == "unix":
            text = f"permission denied on {endpoint}: {_owner(endpoint)}"
            return EnginePermissionError(text, endpoint=endpoint, errno=error.errno)
    if endpoint.kind == "ssh":
        from docker_images.transport.ssh_failures import translate_ssh  # most users need no ssh

        if told := translate_ssh(error, endpoint):
            return told
    meaning = _meaning(error, endpoint)
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, socket.gaierror | ssl.SSLError):
        number = None  # theirs are not those of the operating system
    return EngineConnectionError(
        meaning.text, endpoint=endpoint, reason=meaning.reason, errno=number
    )


def _meaning(error: Exception, endpoint: Endpoint) -> _Meaning:
    fact = tls_meaning(error, endpoint.tls or TLS())
    if fact is not None:
        return _Meaning("tls", f"cannot connect to {endpoint}: {printable(fact, 1000)}")
    match error:
        case ProxyError():
            return _Meaning("proxy", _proxy_meaning(error, endpoint))
        case HungUpError() | anyio.EndOfStream() | anyio.IncompleteRead():
            return _Meaning(
                "closed",
                f"{endpoint} closed the connection before its answer was complete; "
                f"was the engine stopped or restarted? Try again, or look at its log"
                f"{_maybe_tls(endpoint)}",
            )
        case anyio.BrokenResourceError() | anyio.ClosedResourceError():
            return _Meaning("closed", f"the connection to {endpoint} broke; try again")
        case socket.gaierror():
            return _Meaning("name", f"cannot find {endpoint}: {error.strerror}; check the name")
        case OSError() if endpoint.kind == "unix":
            return _socket_meaning(error, endpoint)
        case OSError():
            return _os_meaning(error, endpoint)
        case _:
            return _Meaning("network", f"cannot reach {endpoint}: {_said(error)}")


def _said(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__


def _not_http(error: Exception, endpoint: Endpoint) -> str:
    """What came in place of HTTP, and the next step."""
    if isinstance(error, ProtocolError) and error.data[:2] == b"\x15\x03":  # an alert, RFC 8446
        return f"this port wants TLS; {_USE_TLS}"
    return f"{printable(str(error))}; is this the address of a Docker API?"


_USE_TLS = "set DOCKER_TLS_VERIFY=1, or use a context with TLS"


def _maybe_tls(endpoint: Endpoint) -> str:
    """A hint for who speaks plain HTTP to the port that is registered for TLS."""
    is_likely = endpoint.port == 2376 and endpoint.kind == "tcp" and endpoint.tls is None
    return f". Port 2376 usually wants TLS: {_USE_TLS}" if is_likely else ""


def _proxy_meaning(error: ProxyError, endpoint: Endpoint) -> str:
    variable = "HTTPS_PROXY" if endpoint.tls else "HTTP_PROXY"
    around = f"name {endpoint.hostname} in NO_PROXY to go there directly"
    if error.wants_password:
        step = f"has {variable} the right user and password?"
    elif error.said is not None:
        step = "does it know the engine, and allow this port?"
    else:
        cause = error.__cause__
        fact = tls_meaning(cause, endpoint.tls or TLS()) if isinstance(cause, Exception) else None
        if fact is None and isinstance(cause, HungUpError | anyio.EndOfStream):
            fact = "it closed the connection"
        if fact is None:
            fact = getattr(cause, "strerror", None) or str(cause)
        return (
            f"cannot reach {endpoint}: no connection to the proxy: {printable(fact)}; "
            f"fix {variable}, or {around}"
        )
    return (
        f"cannot reach {endpoint}: the proxy says {printable(error.said or '')!r}; "
        f"{step} Or {around}"
    )


def _os_meaning(error: OSError, endpoint: Endpoint) -> _Meaning:
    match error.errno:
        case errno.ECONNREFUSED:
            return _Meaning(
                "refused",
                f"nobody listens on {endpoint}; does the engine listen on tcp, and on this port?",
            )
        case errno.EHOSTUNREACH | errno.ENETUNREACH | errno.ETIMEDOUT:
            return _Meaning(
                "network",
                f"cannot reach {endpoint}: {error.strerror}; check the network and the firewall",
            )
        case errno.ECONNRESET | errno.EPIPE | errno.ECONNABORTED:
            return _Meaning(
                "closed",
                f"{endpoint} broke the connection; was the engine stopped or restarted? Try again"
                f"{_maybe_tls(endpoint)}",
            )
        case errno.EMFILE | errno.ENFILE:
            return _Meaning(
                "network",
                f"cannot open another connection to {endpoint}: too many open files; "
                "raise the limit (ulimit -n) or make fewer calls at the same time",
            )
        case _:
            return _Meaning("network", f"cannot talk to {endpoint}: {_said(error)}")


# ── Unix sockets ────────────────────────────────────────────────────────────────────────────────


def _socket_meaning(error: OSError, endpoint: Endpoint) -> _Meaning:
    path = Path(endpoint.path)
    match error.errno:
        case errno.ENOENT if not path.is_absolute():
            return _Meaning(
                "no-socket",
                f"no engine at {endpoint}: there is no such socket, and the path is relative; "
                f"did you mean unix:///{endpoint.path}?",
            )
        case errno.ENOENT | errno.ELOOP if path.is_symlink():
            target = printable(str(path.readlink()))
            fate = "leads back to itself" if error.errno == errno.ELOOP else "is not there"
            return _Meaning(
                "no-socket",
                f"no engine at {endpoint}: it is a symlink to {target}, which {fate}; start the "
                f"engine, or fix the link{_others(endpoint)}",
            )
        case errno.ENOENT:
            return _Meaning(
                "no-socket",
                f"no engine at {endpoint}: there is no such socket; start the engine, "
                f"or name another one with {keyword('host')}, {keyword('context')}, DOCKER_HOST or "
                "DOCKER_CONTEXT"
                f"{_others(endpoint)}",
            )
        case errno.ENOTDIR | errno.ELOOP:
            fact = "is not a folder" if error.errno == errno.ENOTDIR else "is a symlink to itself"
            text = f"no engine at {endpoint}: a part of the path {fact}; fix it"
            return _Meaning("no-socket", text)
        case errno.ECONNREFUSED:
            return _refused(endpoint)
        case _:
            return _os_meaning(error, endpoint)


def _refused(endpoint: Endpoint) -> _Meaning:
    try:
        mode = Path(endpoint.path).stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFSOCK
    if stat.S_ISDIR(mode):
        return _Meaning("no-socket", f"{endpoint} is a folder, not a socket; name the socket in it")
    if not stat.S_ISSOCK(mode):
        text = f"{endpoint} is a file, not a socket; name the engine's socket"
        return _Meaning("no-socket", text)
    return _Meaning(
        "refused",
        f"nobody listens on {endpoint}: the socket is left over; start the engine "
        f"(for example: systemctl start docker){_others(endpoint)}",
    )


def _others(endpoint: Endpoint) -> str:
    """Suggestions, where nobody named an engine: another one is never what was asked for."""
    if endpoint.source != "default":
        return ""
    found = [line.rsplit("  (", 1)[0] for line in suggestions(tried=endpoint)]
    if not found:
        return ""
    more = ", …" if len(found) > MAX_OTHERS else ""
    return OTHERS + ", ".join(found[:MAX_OTHERS]) + more


def _owner(endpoint: Endpoint) -> str:
    """Who may open the socket, and how to become one of them."""
    try:
        found = Path(endpoint.path).stat()
    except (OSError, ValueError):
        return "a folder on the way is closed to this user; run as the user the engine belongs to"
    group = socket_group(endpoint.path)
    if group is None or found.st_gid == 0 or not found.st_mode & stat.S_IWGRP:
        return "only the user it belongs to may open it; run as that user (for example: sudo)"
    if found.st_gid in (os.getegid(), *os.getgroups()):
        return (
            f"it belongs to group {printable(group)}, and this user is in it: something else "
            "refuses, such as SELinux or AppArmor; look at the log of the kernel (dmesg)"
        )
    if group.isdigit():  # the group of another machine, seen in a container
        return (
            f"it belongs to group {group}, which has no name here; in a container, "
            f"start that with docker run --group-add {group}"
        )
    return (
        f"it belongs to group {printable(group)}; add your user to it "
        f"(sudo usermod -aG {printable(group)} $USER) and log in again"
    )
