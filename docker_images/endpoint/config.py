"""What docker's configuration folder says: `config.json` and the stored contexts, as plain values.

Knows where the folder is and how Go reads JSON: the names of fields in any case, the last of two
equal ones, null as absent. Refuses to know what a host string means, which source wins, and every
key but `currentContext`, `HttpHeaders` and the `docker` endpoint; no credential is looked at.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from docker_images.errors import EndpointError
from docker_images.text import said

__all__ = [
    "Config",
    "StoredContext",
    "config_folder",
    "home_folder",
    "read_config",
    "read_context",
    "read_file",
    "stored_context_names",
]

_T = TypeVar("_T")

# What may stand in a header, as golang.org/x/net/http/httpguts has it; the rest could split the
# request. Values are sent as UTF-8.
_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_VALUE = r"[^\x00-\x08\x0a-\x1f\x7f]*"

_MAX_SIZE = 16 * 2**20

# The framing of a request is the transport's; the last two the docker command leaves out as well.
_OWN_HEADERS = (
    *("accept-encoding", "connection", "content-length", "te", "trailer", "transfer-encoding"),
    *("upgrade", "host", "user-agent"),
)


class Config(NamedTuple):
    """What `config.json` has to say about reaching an engine."""

    path: Path
    current_context: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


class StoredContext(NamedTuple):
    """The `docker` endpoint of a stored context, not yet interpreted."""

    path: Path
    """The meta.json that said so."""
    host: str
    """As it was stored; `""` means the default of the platform."""
    skip_verify: bool
    tls_folder: Path | None
    """Where ca.pem, cert.pem and key.pem may lie; None where there is no such folder."""


# Putting paths together takes longer than all else that finds an engine, and a fleet of clients
# looks at the same ones.
_path = lru_cache(Path)


def home_folder(env: Mapping[str, str], platform: str) -> Path:
    """The user's home: from the environment, from the password database, or `/`."""
    named = env.get("USERPROFILE" if platform == "win32" else "HOME")
    if named:
        return _path(named)
    try:
        import pwd  # absent on Windows
    except ImportError:
        return Path("/")
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir or "/")
    except KeyError:
        return Path("/")


def config_folder(env: Mapping[str, str], platform: str) -> Path:
    """Where docker keeps its configuration: `DOCKER_CONFIG`, or `.docker` at home."""
    named = env.get("DOCKER_CONFIG")
    return Path(named) if named else _path(home_folder(env, platform), ".docker")


def read_config(folder: Path) -> Config:
    """Read `config.json`; one that cannot be used is passed over with a warning.

    So does the docker command, which prints the warning and goes on with the default context.
    """
    path = _path(folder, "config.json")
    try:
        text = read_file(path).decode("utf-8", "replace").lstrip(" \t\r\n")
        # Go's Decoder stops after the first value: text behind it is not looked at.
        found = _decoder.raw_decode(text)[0] if text else None
    except FileNotFoundError:
        return Config(path)
    except (OSError, ValueError, RecursionError) as error:
        return Config(path, warnings=(f"ignoring {path}: {_reason(error)}",))
    if found is None:
        return Config(path)
    if not isinstance(found, _Object):
        return Config(path, warnings=(f"ignoring {path}: it is not a JSON object",))
    current, odd_current = _field(found, "currentContext", "")
    stored, odd_stored = _field(found, "HttpHeaders", _Object())
    headers, odd_headers = _headers(stored)
    warnings = (
        f"{path}: {problem}" for problem in (odd_current, odd_stored, *odd_headers) if problem
    )
    return Config(path, current, headers, tuple(warnings))


def _headers(stored: "_Object") -> tuple[tuple[tuple[str, str], ...], list[str]]:
    headers: dict[str, str] = {}
    problems: list[str] = []
    for name, value in stored:
        if name.lower() in _OWN_HEADERS:
            continue
        if isinstance(value, str) and re.fullmatch(_NAME, name) and re.fullmatch(_VALUE, value):
            # Go reads half a surrogate pair as U+FFFD, and cuts spaces off where it sends.
            headers[name] = re.sub("[\ud800-\udfff]", "\ufffd", value).strip(" \t")
        else:
            problems.append(f"ignoring {name!r} of HttpHeaders: not a header")
    return tuple(headers.items()), problems


def read_context(folder: Path, name: str, source: str) -> StoredContext:
    """Read the context of this name.

    `source` says in errors who named it.

    Raises `EndpointError` where there is no such context, or one that has no docker endpoint.
    """

    def refuse(fact: str) -> EndpointError:
        return EndpointError(
            f"{source}: {path} {fact}; repair it with `docker context update`, or choose another"
        )

    try:
        # surrogateescape gives back the bytes that the environment holds.
        key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        path = folder / "contexts" / "meta" / key / "meta.json"
        found = _decoder.decode(read_file(path).decode("utf-8", "replace"))
    except (FileNotFoundError, UnicodeEncodeError):
        known = ", ".join(("default", *stored_context_names(folder)))
        raise EndpointError(
            f"{source}: there is no such context in {folder}; choose one of: {known}"
        ) from None
    except OSError as error:
        raise EndpointError(
            f"{source}: cannot read {path}: {_reason(error)}; check DOCKER_CONFIG"
        ) from error
    except (ValueError, RecursionError) as error:
        raise refuse(f"is not JSON ({_reason(error)})") from None
    if not isinstance(found, _Object):
        raise refuse("is not a JSON object")
    endpoints, problem = _field(found, "Endpoints", _Object())
    # The keys of the map are exact, unlike the names of fields.
    docker = next((value for at, value in reversed(endpoints) if at == "docker"), None)
    if problem or not isinstance(docker, _Object):
        raise refuse("has no docker endpoint")
    host, odd_host = _field(docker, "Host", "")
    skip_verify, odd_skip = _field(docker, "SkipTLSVerify", False)
    if odd_host or odd_skip:
        raise refuse(f"is malformed: {odd_host or odd_skip}")
    tls_folder = folder / "contexts" / "tls" / key / "docker"
    return StoredContext(path, host, skip_verify, tls_folder if tls_folder.is_dir() else None)


def stored_context_names(folder: Path) -> tuple[str, ...]:
    """The names of all contexts in the folder, sorted; those that cannot be read are left out."""
    return tuple(sorted(_names(folder / "contexts" / "meta")))


def _names(meta: Path) -> Iterator[str]:
    try:
        keys = [entry.name for entry in meta.iterdir()]
    except (OSError, ValueError):
        return
    for key in keys:
        try:
            found = _decoder.decode(read_file(meta / key / "meta.json").decode())
            name = _field(found, "Name", "")[0] if isinstance(found, _Object) else ""
            if name and hashlib.sha256(name.encode()).hexdigest() == key:
                yield name
        except (OSError, ValueError, RecursionError):
            continue


def read_file(path: Path) -> bytes:
    """The bytes of a regular file of at most 16 MiB; raises `OSError` for any other."""
    with open(path, "rb", opener=_open) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = file.read(_MAX_SIZE + 1) or b""  # None where a file of the kernel would block
    if len(content) > _MAX_SIZE:
        raise OSError(errno.EFBIG, "larger than 16 MiB")
    return content


def _open(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a FIFO waits for a process that writes to it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Object(list[tuple[str, object]]):
    """A JSON object as Go sees one: its pairs, in the order of the text."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_Object, parse_constant=_no_constant)


def _field(found: _Object, name: str, default: _T) -> tuple[_T, str | None]:
    """The last usable value of a field, and what is wrong with one that is not."""
    value, problem = default, None
    for key, candidate in found:
        if key.casefold() != name.casefold() or candidate is None:
            continue
        if isinstance(candidate, type(default)):
            value = candidate
        else:
            problem = f"{name} is of the wrong type"
    return value, problem


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else said(error)
