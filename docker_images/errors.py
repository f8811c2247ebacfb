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
Bad arguments are `TypeError` or `ValueError`, a call on a closed client is `RuntimeError`.
"""

__all__ = [
    "ApiVersionError",
    "DockerImagesError",
    "EndpointError",
    "EngineConnectionError",
    "EnginePermissionError",
    "EngineResponseError",
    "EngineTimeoutError",
    "ResponseFormatError",
    "UnsupportedByEngineError",
]


class DockerImagesError(Exception):
    """The root: `except DockerImagesError` catches everything that this library raises."""


class EndpointError(DockerImagesError, ValueError):
    """The arguments, the environment or docker's configuration do not name a usable engine."""


class EngineConnectionError(DockerImagesError, ConnectionError):
    """The engine could not be reached, or it closed the connection before it had answered."""


class EnginePermissionError(EngineConnectionError, PermissionError):
    """The operating system does not let this user open the engine's socket."""


class EngineTimeoutError(DockerImagesError, TimeoutError):
    """The deadline of the call passed; the message says in which stage."""


class ApiVersionError(DockerImagesError):
    """This library and the engine share no API version, or a pinned one was refused."""


class UnsupportedByEngineError(DockerImagesError):
    """An option was asked for that this engine would silently ignore, or cannot answer."""

    option: str
    """The keyword of `list_images` that the engine cannot honour."""
    needed: str
    """What the option needs, in words: `"API 1.47"` or `"the containerd image store"`."""
    found: str
    """What the engine has, in words."""
    engine: str
    """The engine as it names itself, such as `"Docker 20.10.24"`."""

    def __init__(
        self, text: str, *, option: str = "", needed: str = "", found: str = "", engine: str = ""
    ) -> None:
        super().__init__(text)
        self.option, self.needed, self.found, self.engine = option, needed, found, engine


class EngineResponseError(DockerImagesError):
    """The engine, or something in front of it, answered with an error status."""

    status: int
    """The HTTP status, such as 404."""
    message: str
    """What the engine said, shortened, and without control characters."""

    def __init__(self, text: str, *, status: int = 0, message: str = "") -> None:
        super().__init__(text)
        self.status, self.message = status, message


class ResponseFormatError(DockerImagesError):
    """The answer is not what an engine sends: not HTTP, not JSON, or JSON of another shape."""
