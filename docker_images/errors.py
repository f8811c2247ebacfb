"""Every error that leaves this library, and nothing else.

    DockerImagesError
    ├── EndpointError              no usable engine is configured          (ValueError)
    ├── EngineConnectionError      the engine could not be reached         (ConnectionError)
    │   └── EnginePermissionError  the operating system refused access     (PermissionError)
    ├── EngineTimeoutError         the deadline of the call passed         (TimeoutError)
    ├── ApiVersionError            library and engine share no API version
    ├── UnsupportedByEngineError   the engine would silently ignore an option
    ├── EngineResponseError        the engine answered with an error: `.status`, `.message`
    └── ResponseFormatError        the answer is not what an engine sends

A message names the address, where the address came from, what happened and what to do next.
Programs do not have to read it: every error has `endpoint`, `reason` and `errno`. Errors can be
pickled. Bad arguments raise `TypeError` or `ValueError`, a call on a closed client `RuntimeError`.
"""

from typing import Literal, TypedDict, Unpack

from docker_images.address import Endpoint

__all__ = [
    "ApiVersionError",
    "DockerImagesError",
    "EndpointError",
    "EngineConnectionError",
    "EnginePermissionError",
    "EngineResponseError",
    "EngineTimeoutError",
    "ErrorData",
    "Reason",
    "ResponseFormatError",
    "UnsupportedByEngineError",
]

Reason = Literal[
    "no-socket",  # there is no socket at the path
    "refused",  # nothing listens there
    "permission",  # the operating system refused access, here or on the other side of ssh
    "name",  # the name has no address
    "network",  # no route, too many open files, or something without a reason of its own
    "tls",
    "ssh",
    "proxy",
    "closed",  # the connection broke, or ended before the answer did
    "timeout",
    "protocol",  # the answer is not HTTP
    "status",  # the engine, or something in front of it, answered with an error status
    "format",  # the answer is HTTP, but not the JSON of an engine
    "version",  # library and engine share no API version
    "unsupported",  # the engine would ignore an option
    "configuration",  # the address, context or configuration is not usable
]
"""Why a call failed. Every error has one of these."""


class ErrorData(TypedDict, total=False):
    """What an error is given besides its text: the values of its attributes."""

    endpoint: Endpoint | None
    reason: Reason
    errno: int | None
    stage: str
    seconds: float | None
    option: str
    needed: str
    found: str
    engine: str
    status: int
    message: str


class DockerImagesError(Exception):
    """The base class: `except DockerImagesError` catches all failures of this library."""

    endpoint: Endpoint | None = None
    """The engine that was asked; None if none was found."""
    reason: Reason = "network"
    """Why the call failed, for programs."""
    errno: int | None = None
    """The error number of the operating system, such as `errno.ECONNREFUSED`; None otherwise."""

    def __init__(self, text: str = "", **data: Unpack[ErrorData]) -> None:
        super().__init__(text)
        vars(self).update(data)


class EndpointError(DockerImagesError, ValueError):
    """Arguments, environment variables or docker's configuration do not lead to a usable engine."""

    reason: Reason = "configuration"


class EngineConnectionError(DockerImagesError, ConnectionError):
    """The engine could not be reached, or it closed the connection before it answered."""


class EnginePermissionError(EngineConnectionError, PermissionError):
    """The operating system does not allow this user to open the engine's socket."""

    reason: Reason = "permission"


class EngineTimeoutError(DockerImagesError, TimeoutError):
    """The deadline of the call passed, or the time to connect."""

    reason: Reason = "timeout"
    stage: str = ""
    """What the call was doing, such as `"connecting"` or `"waiting for the answer"`."""
    seconds: float | None = None
    """How long the limit was; None if a transport of the caller gave up by itself."""


class ApiVersionError(DockerImagesError):
    """Library and engine share no API version, or the engine refused a pinned one."""

    reason: Reason = "version"


class UnsupportedByEngineError(DockerImagesError):
    """This engine would silently ignore an option, or cannot answer it."""

    reason: Reason = "unsupported"
    option: str = ""
    """The keyword of `list_images` that the engine does not support."""
    needed: str = ""
    """What the option needs, in words: `"API 1.47"` or `"the containerd image store"`."""
    found: str = ""
    """What the engine has, in words."""
    engine: str = ""
    """The name and version of the engine, such as `"Docker 20.10.24"`."""


class EngineResponseError(DockerImagesError):
    """The engine, or something in front of it, answered with an error status."""

    reason: Reason = "status"
    status: int = 0
    """The HTTP status, such as 404."""
    message: str = ""
    """What the engine said, shortened and without control characters."""


class ResponseFormatError(DockerImagesError):
    """The answer is not what an engine sends: not HTTP, not JSON, or not the expected JSON."""

    reason: Reason = "format"
