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
from docker_images.transport.threads import FILES
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
    if endpoint is None or stage.get() == FILES:
        doubt = "Is it on a dead mount?"
    elif endpoint.kind == "ssh":
        from docker_images.transport.ssh import by_hand  # most users need no ssh

        doubt = f"Does {by_hand(endpoint)!r} answer?"
    elif stage.get() == "looking up the name":
        doubt = "Does the name server answer?"
    elif stage.get() == "connecting" and endpoint.kind == "tcp":
        doubt = "Is the host up, and does a firewall let this port through?"
    return EngineTimeoutError(
        f"{endpoint or 'this'} took longer than {limit.seconds:g} s; the call was {stage.get()}. "
        f"{doubt} {limit.argument} gives it more time",
        endpoint=endpoint,
        stage=stage.get(),
        seconds=limit.seconds,
    )


_Meaning = tuple[Reason, str]
"""What an error is told as."""


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
            text = f"{endpoint} does not answer like an engine: {_not_http(error, endpoint)}"
            return ResponseFormatError(text, endpoint=endpoint, reason="protocol")
        case PermissionError() if endpoint.kind == "unix":
            text = f"permission denied on {endpoint}: {_owner(endpoint)}"
            return EnginePermissionError(text, endpoint=endpoint, errno=error.errno)
    if endpoint.kind == "ssh":
        from docker_images.transport.ssh_failures import translate_ssh  # most users need no ssh

        if told := translate_ssh(error, endpoint):
            return told
    reason, text = _meaning(error, endpoint)
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, socket.gaierror | ssl.SSLError):
        number = None  # theirs are not those of the operating system
    return EngineConnectionError(text, endpoint=endpoint, reason=reason, errno=number)


def _meaning(error: Exception, endpoint: Endpoint) -> _Meaning:
    fact = tls_meaning(error, endpoint.tls or TLS())
    if fact is not None:
        return "tls", f"cannot connect to {endpoint}: {printable(fact, 1000)}"
    match error:
        case ProxyError():
            return "proxy", f"cannot reach {endpoint}: {_proxy_meaning(error, endpoint)}"
        case HungUpError() | anyio.EndOfStream() | anyio.IncompleteRead():
            return "closed", (
                f"{endpoint} closed the connection before its answer was complete; was the engine "
                f"stopped or restarted? Try again, or look at its log{_maybe_tls(endpoint)}"
            )
        case anyio.BrokenResourceError() | anyio.ClosedResourceError():
            return "closed", f"the connection to {endpoint} broke; try again"
        case socket.gaierror():
            return "name", f"cannot find {endpoint}: {error.strerror}; check the name"
        case OSError():
            found = _socket_meaning(error, endpoint) if endpoint.kind == "unix" else None
            return found or _os_meaning(error, endpoint)
        case _:
            return "network", f"cannot reach {endpoint}: {_said(error)}"


def _said(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__


def _not_http(error: Exception, endpoint: Endpoint) -> str:
    """What came in place of HTTP, and the next step."""
    if isinstance(error, ProtocolError) and error.data[:2] == b"\x15\x03":  # an alert, RFC 8446
        return f"this port expects TLS; {_USE_TLS}"
    return f"{printable(str(error))}; is this the address of a Docker API?"


_USE_TLS = "set DOCKER_TLS_VERIFY=1, or use a context with TLS"


def _maybe_tls(endpoint: Endpoint) -> str:
    """A hint for who speaks plain HTTP to the port that is registered for TLS."""
    is_likely = endpoint.port == 2376 and endpoint.kind == "tcp" and endpoint.tls is None
    return f". Port 2376 usually expects TLS: {_USE_TLS}" if is_likely else ""


def _proxy_meaning(error: ProxyError, endpoint: Endpoint) -> str:
    variable = "HTTPS_PROXY" if endpoint.tls else "HTTP_PROXY"
    around = f"name {endpoint.hostname} in NO_PROXY to go there directly"
    if error.said is not None:
        step = "does it know the engine, and allow this port?"
        if error.wants_password:
            step = f"does {variable} have the right user and password?"
        return f"the proxy says {printable(error.said)!r}; {step} Or {around}"
    cause = error.__cause__
    fact = tls_meaning(cause, endpoint.tls or TLS()) if isinstance(cause, Exception) else None
    if fact is None and isinstance(cause, HungUpError | anyio.EndOfStream):
        fact = "it closed the connection"
    fact = fact or getattr(cause, "strerror", None) or str(cause)
    return f"no connection to the proxy: {printable(fact)}; fix {variable}, or {around}"


_FAR = "cannot reach {engine}: {error}; check the network and the firewall"
_BROKE = "{engine} broke the connection; was the engine stopped or restarted? Try again"
_FILES = (
    "cannot open another connection to {engine}: too many open files; "
    "raise the limit (ulimit -n) or make fewer calls at the same time"
)
_NUMBERS: dict[int | None, _Meaning] = {
    errno.ECONNREFUSED: (
        "refused",
        "nothing listens on {engine}; does the engine listen on tcp, and on this port?",
    ),
    errno.EHOSTUNREACH: ("network", _FAR),
    errno.ENETUNREACH: ("network", _FAR),
    errno.ETIMEDOUT: ("network", _FAR),
    errno.ECONNRESET: ("closed", _BROKE),
    errno.EPIPE: ("closed", _BROKE),
    errno.ECONNABORTED: ("closed", _BROKE),
    errno.EMFILE: ("network", _FILES),
    errno.ENFILE: ("network", _FILES),
}
"""What the errors of the operating system mean."""


def _os_meaning(error: OSError, endpoint: Endpoint) -> _Meaning:
    reason, text = _NUMBERS.get(error.errno, ("network", "cannot talk to {engine}: {error}"))
    said = error.strerror if error.errno in _NUMBERS else _said(error)
    more = _maybe_tls(endpoint) if reason == "closed" else ""
    return reason, text.format(engine=endpoint, error=said) + more


# ── Unix sockets ────────────────────────────────────────────────────────────────────────────────


def _socket_meaning(error: OSError, endpoint: Endpoint) -> _Meaning | None:
    """What is wrong with the path of a socket; None where it is something else."""
    path = Path(endpoint.path)
    match error.errno:
        case errno.ENOENT if not path.is_absolute():
            fact = "there is no such socket, and the path is relative"
            step = f"did you mean unix://{_whole(endpoint.path)}?"
        case errno.ENOENT | errno.ELOOP if path.is_symlink():
            fate = "leads back to itself" if error.errno == errno.ELOOP else "does not exist"
            fact = f"it is a symlink to {printable(str(path.readlink()))}, which {fate}"
            step = f"start the engine, or fix the link{_others(endpoint)}"
        case errno.ENOENT:
            fact = "there is no such socket"
            step = (
                f"start the engine, or name another one with {keyword('host')}, "
                f"{keyword('context')}, DOCKER_HOST or DOCKER_CONTEXT{_others(endpoint)}"
            )
        case errno.ENOTDIR | errno.ELOOP:
            fate = "is not a folder" if error.errno == errno.ENOTDIR else "is a symlink to itself"
            fact, step = f"a part of the path {fate}", "fix it"
        case errno.ECONNREFUSED:
            return _refused(endpoint)
        case _:
            return None
    return "no-socket", f"no engine at {endpoint}: {fact}; {step}"


def _whole(path: str) -> str:
    """The path that is probably meant by a relative one. Nothing in addresses is expanded."""
    found = os.path.expandvars(os.path.expanduser(path.removeprefix("./")))  # noqa: PTH111
    if os.path.isabs(found):  # noqa: PTH117
        return found
    return os.path.abspath(path) if path.startswith(".") else f"/{path}"  # noqa: PTH100


def _refused(endpoint: Endpoint) -> _Meaning:
    try:
        mode = Path(endpoint.path).stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFSOCK
    if stat.S_ISDIR(mode):
        return "no-socket", f"{endpoint} is a folder, not a socket; name the socket in it"
    if not stat.S_ISSOCK(mode):
        return "no-socket", f"{endpoint} is a file, not a socket; name the engine's socket"
    return "refused", (
        f"nothing listens on {endpoint}: the socket is left over; start the engine "
        f"(for example: systemctl start docker){_others(endpoint)}"
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
        return "a folder in the path is closed to this user; run as the user the engine belongs to"
    group = socket_group(endpoint.path)
    if group is None or found.st_gid == 0 or not found.st_mode & stat.S_IWGRP:
        return "only its owner can open it; run as that user (for example: sudo)"
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
