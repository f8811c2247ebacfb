"""Every error that leaves this library, and nothing else.

    DockerImagesError
    ├── EndpointError              no usable engine is named               (ValueError)
    ├── EngineConnectionError      the engine was not reached, or hung up  (ConnectionError)
    │   └── EnginePermissionError  the operating system refused access     (PermissionError)
    ├── EngineTimeoutError         the deadline of the call passed         (TimeoutError)
    ├── ApiVersionError            no API version is shared with the engine
    ├── UnsupportedByEngineError   the engine would silently ignore an option
    ├── EngineResponseError        the engine said no: `.status`, `.message`
    └── ResponseFormatError        the answer is not what an engine sends

A message names the address, where that address came from, what happened and what to do next.
Programs need no text: every error has `endpoint`, `reason` and `errno`, and can be pickled.
Bad arguments are `TypeError` or `ValueError`, a call on a closed client is `RuntimeError`.
"""

from typing import Literal

from docker_images.address import Endpoint

__all__ = [
    "ApiVersionError",
    "DockerImagesError",
    "EndpointError",
    "EngineConnectionError",
    "EnginePermissionError",
    "EngineResponseError",
    "EngineTimeoutError",
    "Reason",
    "ResponseFormatError",
    "UnsupportedByEngineError",
]

Reason = Literal[
    "no-socket",  # there is no socket at the path
    "refused",  # nothing listens there
    "permission",  # the operating system refused access, here or on the far side of ssh
    "name",  # the name has no address
    "network",  # no route, too many open files, and what has no reason of its own
    "tls",
    "ssh",
    "proxy",
    "closed",  # the connection broke, or ended before the answer did
    "timeout",
    "protocol",  # the answer is not HTTP
    "status",  # the engine, or something in front of it, answered with an error status
    "format",  # the answer is HTTP, but not the JSON of an engine
    "version",  # no API version is shared
    "unsupported",  # the engine would ignore an option
    "configuration",  # what was named is no usable engine
]
"""Why a call failed. Every error has one of these."""


class DockerImagesError(Exception):
    """The root: `except DockerImagesError` catches all failures of this library."""

    endpoint: Endpoint | None = None
    """The engine that was asked; None where none was found."""
    reason: Reason = "network"
    """Why the call failed, for programs."""
    errno: int | None = None
    """The number of the operating system's error, such as `errno.ECONNREFUSED`; None otherwise."""

    def __init__(
        self,
        text: str = "",
        *,
        endpoint: Endpoint | None = None,
        reason: Reason | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(text)
        self.endpoint, self.errno = endpoint, errno
        self.reason = reason or self.reason


class EndpointError(DockerImagesError, ValueError):
    """The arguments, the environment or docker's configuration do not name a usable engine."""

    reason: Reason = "configuration"


class EngineConnectionError(DockerImagesError, ConnectionError):
    """The engine could not be reached, or it closed the connection before it had answered."""


class EnginePermissionError(EngineConnectionError, PermissionError):
    """The operating system does not let this user open the engine's socket."""

    reason: Reason = "permission"


class EngineTimeoutError(DockerImagesError, TimeoutError):
    """The deadline of the call passed, or its time to connect."""

    reason: Reason = "timeout"
    stage: str
    """What the call was doing, such as `"connecting"` or `"waiting for the answer"`."""
    seconds: float | None
    """The time that it had; None where a transport of the caller's gave up by itself."""

    def __init__(
        self,
        text: str = "",
        *,
        endpoint: Endpoint | None = None,
        stage: str = "",
        seconds: float | None = None,
    ) -> None:
        super().__init__(text, endpoint=endpoint)
        self.stage, self.seconds = stage, seconds


class ApiVersionError(DockerImagesError):
    """This library and the engine share no API version, or a pinned one was refused."""

    reason: Reason = "version"


class UnsupportedByEngineError(DockerImagesError):
    """An option was asked for that this engine would silently ignore, or cannot answer."""

    reason: Reason = "unsupported"
    option: str
    """The keyword of `list_images` that the engine cannot honour."""
    needed: str
    """What the option needs, in words: `"API 1.47"` or `"the containerd image store"`."""
    found: str
    """What the engine has, in words."""
    engine: str
    """The engine as it names itself, such as `"Docker 20.10.24"`."""

    def __init__(
        self,
        text: str = "",
        *,
        endpoint: Endpoint | None = None,
        option: str = "",
        needed: str = "",
        found: str = "",
        engine: str = "",
    ) -> None:
        super().__init__(text, endpoint=endpoint)
        self.option, self.needed, self.found, self.engine = option, needed, found, engine


class EngineResponseError(DockerImagesError):
    """The engine, or something in front of it, answered with an error status."""

    reason: Reason = "status"
    status: int
    """The HTTP status, such as 404."""
    message: str
    """What the engine said, shortened, and without control characters."""

    def __init__(
        self,
        text: str = "",
        *,
        endpoint: Endpoint | None = None,
        status: int = 0,
        message: str = "",
    ) -> None:
        super().__init__(text, endpoint=endpoint)
        self.status, self.message = status, message


class ResponseFormatError(DockerImagesError):
    """The answer is not what an engine sends: not HTTP, not JSON, or JSON of another shape."""

    reason: Reason = "format"
