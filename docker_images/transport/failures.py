"""What a failure on the way to an engine means, and what to do next.

The one place where foreign exceptions (the operating system's, anyio's, ssl's, httptools', and
httpx's from a transport of the caller's) become errors of this library. Looks at the file system
to tell what is wrong with a socket, and which other engines there may be; connects to nothing.
"""

import errno
import socket
import ssl
import stat
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx

from docker_images.address import Endpoint
from docker_images.endpoint.discover import socket_group, suggestions
from docker_images.errors import (
    DockerImagesError,
    EngineConnectionError,
    EnginePermissionError,
    EngineTimeoutError,
    Reason,
    ResponseFormatError,
)
from docker_images.text import printable
from docker_images.transport.deadline import TimeLimitError, stage
from docker_images.transport.http1 import HungUpError, ProtocolError

__all__ = ["FOREIGN", "OTHERS", "timed_out", "translate"]

OTHERS = "; other engines on this machine: "
"""What stands before the suggestions, in a message that ends with them."""

MAX_OTHERS = 4

FOREIGN = (
    OSError,  # ssl's and socket's are of this class
    UnicodeError,  # a name that idna cannot encode
    HungUpError,
    ProtocolError,
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
        from docker_images.transport.ssh import by_hand  # 40 ms that most users need not pay

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
    errno: int | None = None


def translate(error: Exception, endpoint: Endpoint) -> DockerImagesError:
    """The error of this library that a foreign one is."""
    at = str(endpoint)
    match error:
        case DockerImagesError():
            return error
        case ExceptionGroup(exceptions=[Exception() as first, *_]):
            return translate(first, endpoint)
        case anyio.BrokenResourceError(__cause__=Exception() as cause):
            return translate(cause, endpoint)
        case anyio.ClosedResourceError(__cause__=Exception() as cause):
            return translate(cause, endpoint)
        case TimeLimitError():
            return timed_out(error, endpoint)
        case httpx.TimeoutException() | TimeoutError(errno=None):
            text = f"{at}: the transport gave up waiting: {_said(error)}"
            return EngineTimeoutError(text, endpoint=endpoint, stage=stage.get())
        case (
            ProtocolError()
            | anyio.DelimiterNotFound()
            | httpx.RemoteProtocolError()
            | httpx.DecodingError()
        ):
            return ResponseFormatError(
                f"{at} does not answer as an engine does: {printable(str(error))}; "
                "is this the address of a Docker API?",
                endpoint=endpoint,
                reason="protocol",
            )
        case PermissionError() if endpoint.kind == "unix":
            text = f"permission denied on {at}: {_owner(endpoint)}"
            return EnginePermissionError(text, endpoint=endpoint, errno=error.errno)
    meaning = _meaning(error, at, endpoint)
    return EngineConnectionError(
        meaning.text, endpoint=endpoint, reason=meaning.reason, errno=meaning.errno
    )


def _meaning(error: Exception, at: str, endpoint: Endpoint) -> _Meaning:
    match error:
        case ssl.SSLError():
            return _Meaning("tls", f"TLS with {at} failed: {error}")
        case HungUpError() | anyio.EndOfStream() | anyio.IncompleteRead():
            return _Meaning(
                "closed",
                f"{at} closed the connection before its answer was complete; "
                "was the engine stopped or restarted? Try again, or look at its log",
            )
        case anyio.BrokenResourceError() | anyio.ClosedResourceError():
            return _Meaning("closed", f"the connection to {at} broke; try again")
        case socket.gaierror():
            return _Meaning("name", f"cannot find {at}: {error.strerror}; check the name")
        case OSError(errno=number):
            reason, text = _os_meaning(error, at, endpoint)
            return _Meaning(reason, text, number)
        case _:
            return _Meaning("network", f"cannot reach {at}: {_said(error)}")


def _said(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__


def _os_meaning(error: OSError, at: str, endpoint: Endpoint) -> tuple[Reason, str]:
    is_unix = endpoint.kind == "unix"
    match error.errno:
        case errno.ENOENT if is_unix:
            return "no-socket", (
                f"no engine at {at}: there is no such socket; start the engine, "
                "or name another one with host=, context=, DOCKER_HOST or DOCKER_CONTEXT"
                f"{_others(endpoint)}"
            )
        case errno.ENOTDIR if is_unix:
            return "no-socket", f"no engine at {at}: a part of the path is not a folder; fix it"
        case errno.ECONNREFUSED if is_unix:
            return _refused(at, endpoint)
        case errno.ECONNREFUSED:
            return "refused", (
                f"nobody listens on {at}; does the engine listen on tcp, and on this port?"
            )
        case errno.EHOSTUNREACH | errno.ENETUNREACH | errno.ETIMEDOUT:
            return "network", (
                f"cannot reach {at}: {error.strerror}; check the network and the firewall"
            )
        case errno.ECONNRESET | errno.EPIPE | errno.ECONNABORTED:
            return "closed", (
                f"{at} broke the connection; was the engine stopped or restarted? Try again"
            )
        case errno.EMFILE | errno.ENFILE:
            return "network", (
                f"cannot open another connection to {at}: too many open files; "
                "raise the limit (ulimit -n) or make fewer calls at the same time"
            )
        case _:
            return "network", f"cannot talk to {at}: {_said(error)}"


def _refused(at: str, endpoint: Endpoint) -> tuple[Reason, str]:
    try:
        mode = Path(endpoint.path).stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFSOCK
    if stat.S_ISDIR(mode):
        return "no-socket", f"{at} is a folder, not a socket; name the socket in it"
    if not stat.S_ISSOCK(mode):
        return "no-socket", f"{at} is a file, not a socket; name the engine's socket"
    return "refused", (
        f"nobody listens on {at}: the socket is left over; start the engine "
        f"(for example: systemctl start docker){_others(endpoint)}"
    )


def _others(endpoint: Endpoint) -> str:
    """Suggestions, only for who named no engine: another one is never what was asked for."""
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
    return (
        f"it belongs to group {printable(group)}; add your user to it "
        f"(sudo usermod -aG {printable(group)} $USER) and log in again"
    )
