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

import anyio
import httpx

from docker_images.address import Endpoint
from docker_images.endpoint.discover import socket_group, suggestions
from docker_images.errors import (
    DockerImagesError,
    EngineConnectionError,
    EnginePermissionError,
    EngineTimeoutError,
    ResponseFormatError,
)
from docker_images.text import printable
from docker_images.transport.http1 import HungUpError, ProtocolError

__all__ = ["FOREIGN", "OTHERS", "explain"]

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


def explain(error: Exception, endpoint: Endpoint) -> DockerImagesError:
    """The error of this library that a foreign one is."""
    at = str(endpoint)
    match error:
        case DockerImagesError():
            return error
        case ExceptionGroup(exceptions=[Exception() as first, *_]):
            return explain(first, endpoint)
        case ssl.SSLError():
            return EngineConnectionError(f"TLS with {at} failed: {error}")
        case HungUpError() | anyio.EndOfStream() | anyio.IncompleteRead():
            return EngineConnectionError(
                f"{at} closed the connection before its answer was complete; "
                "was the engine stopped or restarted? Try again, or look at its log"
            )
        case (
            ProtocolError()
            | anyio.DelimiterNotFound()
            | httpx.RemoteProtocolError()
            | httpx.DecodingError()
        ):
            return ResponseFormatError(
                f"{at} does not answer as an engine does: {printable(str(error))}; "
                "is this the address of a Docker API?"
            )
        case httpx.TimeoutException() | TimeoutError(errno=None):
            return EngineTimeoutError(f"{at}: the transport gave up waiting: {_words(error)}")
        case anyio.BrokenResourceError() | anyio.ClosedResourceError():
            cause = error.__cause__
            if isinstance(cause, Exception):
                return explain(cause, endpoint)
            return EngineConnectionError(f"the connection to {at} broke; try again")
        case OSError() if endpoint.kind == "unix":
            return _unix(error, at, endpoint)
        case OSError():
            return _tcp(error, at)
        case _:
            return EngineConnectionError(f"cannot reach {at}: {_words(error)}")


def _words(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__


def _unix(error: OSError, at: str, endpoint: Endpoint) -> DockerImagesError:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return EnginePermissionError(f"permission denied on {at}: {_owner(endpoint)}")
        case errno.ENOENT:
            return EngineConnectionError(
                f"no engine at {at}: there is no such socket; start the engine, "
                "or name another one with host=, context=, DOCKER_HOST or DOCKER_CONTEXT"
                f"{_others(endpoint)}"
            )
        case errno.ENOTDIR:
            return EngineConnectionError(
                f"no engine at {at}: a part of the path is not a folder; mend it"
            )
        case errno.ECONNREFUSED:
            return _refused(at, endpoint)
        case _:
            return _other(error, at)


def _refused(at: str, endpoint: Endpoint) -> DockerImagesError:
    try:
        mode = Path(endpoint.path).stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFSOCK
    if stat.S_ISDIR(mode):
        return EngineConnectionError(f"{at} is a folder, not a socket; name the socket in it")
    if not stat.S_ISSOCK(mode):
        return EngineConnectionError(f"{at} is a file, not a socket; name the engine's socket")
    return EngineConnectionError(
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


def _tcp(error: OSError, at: str) -> DockerImagesError:
    if isinstance(error, socket.gaierror):
        return EngineConnectionError(f"cannot find {at}: {error.strerror}; check the name")
    match error.errno:
        case errno.ECONNREFUSED:
            return EngineConnectionError(
                f"nobody listens on {at}; does the engine listen on tcp, and on this port?"
            )
        case errno.EHOSTUNREACH | errno.ENETUNREACH | errno.ETIMEDOUT:
            return EngineConnectionError(
                f"cannot reach {at}: {error.strerror}; check the network and the firewall"
            )
        case _:
            return _other(error, at)


def _other(error: OSError, at: str) -> DockerImagesError:
    match error.errno:
        case errno.ECONNRESET | errno.EPIPE:
            return EngineConnectionError(
                f"{at} broke the connection; was the engine stopped or restarted? Try again"
            )
        case errno.EMFILE | errno.ENFILE:
            return EngineConnectionError(
                f"cannot open another connection to {at}: too many open files; "
                "raise the limit (ulimit -n) or make fewer calls at once"
            )
        case _:
            return EngineConnectionError(f"cannot talk to {at}: {_words(error)}")
