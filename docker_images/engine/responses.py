"""What an answer says beside the list: who answers, in which version, and why it refuses.

Pure functions of status, headers and body. Refuses to know how the answer came.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from docker_images.address import Endpoint
from docker_images.engine.versions import ApiVersion
from docker_images.errors import EngineResponseError
from docker_images.text import printable

__all__ = [
    "EngineInfo",
    "engine_info",
    "error_message",
    "is_passing",
    "is_podman",
    "read_version",
    "refusal",
    "told_version",
]


class EngineInfo(msgspec.Struct, frozen=True):
    """The engine that answers, according to the headers of its answer."""

    name: str
    """`"Docker"`, `"Podman"`, or what another engine calls itself; `""` if unknown."""
    version: str
    """The version of the engine, such as `"20.10.24+dfsg1"`; `""` if unknown."""
    api_version: ApiVersion | None
    """The newest API version of the engine; None if it does not say (Docker 1.12)."""
    os_type: str | None
    """`"linux"` or `"windows"`; None if unknown."""

    def __str__(self) -> str:
        return " ".join(part for part in (self.name, self.version) if part) or "the engine"


# `Docker/28.5.2 (linux)`, `Libpod/4.3.1 (linux)`
_SERVER = r"([\w.-]{1,40})(?:/([\w.+~-]{1,80}))?(?: \((\w{1,20})\))?"


def engine_info(headers: Mapping[str, str]) -> EngineInfo:
    """Who answered. `headers` finds names in any case; nothing in them is trusted."""
    server = re.fullmatch(_SERVER, headers.get("server", ""))
    name, version, os_type = server.groups() if server else ("", None, None)
    if is_podman(headers):
        name = "Podman"
    return EngineInfo(
        name=name,
        version=version or "",
        api_version=read_version(headers.get("api-version", "").encode("latin-1", "replace")),
        os_type=os_type or None,
    )


def is_podman(headers: Mapping[str, str]) -> bool:
    """Whether Podman answered, which knows none of the newer options whatever version it tells."""
    return "libpod-api-version" in headers or headers.get("server", "").startswith("Libpod/")


def told_version(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """`Api-Version` as it stands there; `b""` where a proxy or an old engine does not tell."""
    # Over raw headers, as all engines spell it: `httpx.Headers` takes 40 function calls more.
    for name, value in headers:
        if name == b"Api-Version" or name.lower() == b"api-version":
            return value
    return b""


def read_version(told: bytes) -> ApiVersion | None:
    """The engine's newest API version; None where it says nothing, or nonsense."""
    try:
        return ApiVersion.parse(told.decode("latin-1"))
    except ValueError:
        return None


class _Error(msgspec.Struct):
    message: str | None = None
    cause: str | None = None
    reason: str | None = None


# In the page of a proxy, style sheets and tags are of no use to anybody. What has no end ends with
# the text: looking for an end again from each beginning would take a hostile page minutes.
_MARKUP = r"(?is)<(script|style)\b.*?(?:</\1>|\Z)|<[^>]*(?:>|\Z)"


def error_message(body: bytes) -> str:
    """What the body of a refusal says, from JSON of Docker or Podman, plain text, or HTML."""
    if told := _told(body):
        return printable(told)
    text = body.decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = re.sub(_MARKUP, " ", text)
    return printable(text)


def _told(body: bytes) -> str:
    """What an engine says, in the form that engines have for it; `""` in any other."""
    try:
        error = msgspec.json.decode(body, type=_Error)
    except (ValueError, RecursionError):
        return ""
    return error.message or error.cause or error.reason or ""


def refusal(status: int, body: bytes, endpoint: Endpoint) -> EngineResponseError:
    """The error for an answer that is not 200."""
    message = error_message(body)
    said = f"{endpoint} answered {status}" + (f": {message}" if message else " without a message")
    text = said + _next_step(status, message, by_engine=bool(_told(body)))
    return EngineResponseError(text, endpoint=endpoint, status=status, message=message)


def is_passing(status: int, message: str) -> bool:
    """Whether a list failed because an image was removed while it was made.

    Docker 28.5 with the containerd store, and Podman 6.
    """
    gone = r"content digest \S+: not found|locating image with ID"
    return status in (404, 500) and re.search(gone, message) is not None


def _next_step(status: int, message: str, *, by_engine: bool) -> str:
    # Go's servers, nginx and Apache, to plain HTTP on a port for TLS.
    if re.search("HTTP request (to an HTTPS server|was sent to HTTPS port)|SSL-enabled", message):
        return "; this port expects TLS: set DOCKER_TLS_VERIFY=1, or use a context with TLS"
    if 300 <= status < 400:
        return "; redirects are not followed; use the final address"
    if status == 407:
        return "; does HTTP_PROXY have the right user and password?"
    if status in (401, 403):
        return "; something in front of the engine refuses; it must allow GET /images/json"
    if status in (502, 503, 504):
        return "; the engine behind this address is down; try again later"
    if by_engine and re.search("(?i)no such image|image not known", message):
        return "; name an image that this engine has"
    if status >= 500:
        return "; if the arguments are right, the engine's log may say more"
    if 400 <= status < 500:
        address = "" if by_engine else ", and whether this is the address of a Docker API"
        return f"; check the arguments{address}"
    return "; is this the address of a Docker API?"
