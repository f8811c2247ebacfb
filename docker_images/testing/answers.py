"""From a request to an engine's answer, as pure functions over the rows of `shapes`.

Knows paths, versions of the API and how each engine writes an image. Refuses to know about sockets
and HTTP framing: `server` does.
"""

import math
import re
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from docker_images.testing.events import content_type
from docker_images.testing.filters import RefusedError, docker_filters, podman_filters
from docker_images.testing.images import (
    FakeImage,
    canonical,
    familiar,
    find,
    repository,
    split_name,
)
from docker_images.testing.shapes import Shape, Version, version_of, version_text

__all__ = ["Answer", "Request", "answer"]

_DOCKER_PATH = re.compile(r"(?:/v([0-9.]+))?(/.*)")
_PODMAN_PATH = re.compile(r"(?:/v([0-9][0-9A-Za-z.-]*))?(/.*)")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a fake engine."""

    method: str
    """`"GET"` or `"HEAD"`."""
    target: str
    """Path and query as received, percent-encoded."""
    path: str
    """Without version and query: `/images/json`."""
    version: str | None = None
    """`"1.47"` for `/v1.47/images/json`; None if the path has none."""
    query: dict[str, str] = {}
    """The parameters, decoded. If one is given twice, the one that the engine reads."""
    headers: dict[str, str] = {}
    """Names in lower case."""

    @property
    def filters(self) -> Any:
        """The parameter `filters`, decoded; None if there is none."""
        text = self.query.get("filters")
        return None if text is None else msgspec.json.decode(text)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine answers."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    known: bool = True
    """False where no route leads: the engine, or only the fake, knows nothing of it."""

    def without(self, name: str) -> "Answer":
        """The same answer without a header."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return msgspec.structs.replace(self, headers=kept)


def read_request(
    shape: Shape, method: str, target: str, headers: Mapping[str, str] | None = None
) -> Request:
    """Take a request line apart, as the engine's router would."""
    whole, _, parameters = target.partition("?")
    pattern = _PODMAN_PATH if shape.store == "podman" else _DOCKER_PATH
    found = pattern.fullmatch(whole)
    version, path = found.groups() if found else (None, whole)
    query: dict[str, str] = {}
    for key, value in parse_qsl(parameters, keep_blank_values=True):
        # Of one given twice Go's `Form.Get` reads the first, Podman's schema decoder the last.
        if shape.store == "podman" or key not in query:
            query[key] = value
    return Request(
        method=method,
        target=target,
        path=unquote(path),
        version=version,
        query=query,
        headers=dict(headers or {}),
    )


def answer(shape: Shape, images: Sequence[FakeImage], request: Request, now: float) -> Answer:
    """What the engine answers, holding these images, at this time."""
    if "//" in request.target.partition("?")[0]:
        clean = re.sub("/+", "/", request.target)
        return Answer(status=301, headers=(("Location", clean), ("Date", _date())))
    methods: tuple[str, ...] = ()
    if request.path in _PATHS or _one_image(request.path):
        methods = ("GET", "HEAD") if request.path == "/_ping" else ("GET",)
    if request.method not in methods:
        wrong_method = request.path in _PATHS or request.path.startswith("/images/")
        return _no_route(shape, wrong_method)
    version = shape.api if request.version is None else version_of(request.version)
    too_old, too_new = version < shape.oldest, version > shape.api
    if shape.store != "podman" and (too_old or too_new):
        limit = version_text(shape.oldest if too_old else shape.api)
        text = f"client version {request.version} is too " + (
            f"old. Minimum supported API version is {limit}, please upgrade your client to a newer "
            "version"
            if too_old
            else f"new. Maximum supported API version is {limit}"
        )
        # RefusedError before the headers of a handler are set.
        refused = _error(shape, version, RefusedError(400, text))
        return refused.without("Docker-Experimental")
    if request.path == "/_ping":
        body = b"" if request.method == "HEAD" else b"OK"
        headers = _headers(shape) + shape.ping_headers
        if body or shape.store != "podman":
            headers += (("Content-Type", "text/plain; charset=utf-8"),)
        if not body and shape.store != "podman":
            headers += (("Content-Length", "0"),)
        return Answer(status=200, headers=headers, body=body)
    if request.path == "/version":
        return _json(shape, _version_body(shape))
    try:
        if name := _one_image(request.path):
            return _inspect(shape, images, name)
        if request.path == "/events":
            told = (("Content-Type", content_type(shape, version)),)
            return Answer(status=200, headers=_headers(shape) + told)
        if request.path == "/containers/json":
            return _json(shape, _containers(images, everything=_true(request.query.get("all", ""))))
        if shape.store == "podman":
            return _podman_list(shape, images, request, version, now)
        return _docker_list(shape, images, request, version, now)
    except RefusedError as refused:
        return _error(shape, version, refused)


_PATHS = ("/_ping", "/version", "/images/json", "/containers/json", "/events")


def _one_image(path: str) -> str:
    """The name of the image that a path asks for; `""` where it asks for none."""
    found = re.fullmatch(r"/images/(.+)/json", path)
    return found[1] if found else ""


def _inspect(shape: Shape, images: Sequence[FakeImage], name: str) -> Answer:
    """What an engine tells of one image, as far as its names go."""
    held = find(images, name)
    if held is None:
        raise RefusedError(404, f"No such image: {name}")
    if shape.store == "podman":
        row = _podman_row(shape, held, set())
    else:
        row = _docker_row(shape, held, _NAMES_ONLY)
        if held.degraded:  # only lists tell its digest alone
            row["RepoDigests"] = sorted(
                {f"{split_name(tag)[0]}@{held.id}" for tag in row["RepoTags"]}
            )
    keys = ("Id", "RepoTags", "RepoDigests", "Size")
    return _json(shape, {key: row[key] for key in keys})


def _containers(images: Sequence[FakeImage], *, everything: bool) -> list[dict[str, Any]]:
    """The containers of all images, none of which runs; with their images' ids, or manifests'."""
    made_from: list[str] = []
    for held in images if everything else ():
        manifests = [
            manifest["ID"]
            for manifest in held.manifests or ()
            for _ in (manifest.get("ImageData") or {}).get("Containers") or ()
        ]
        made_from += manifests
        made_from += [held.id] * (held.containers - len(manifests))
    return [
        {"Id": f"{number:064x}", "Image": id_, "ImageID": id_, "State": "created"}
        for number, id_ in enumerate(made_from)
    ]


def _date() -> str:
    return formatdate(usegmt=True)


def _headers(shape: Shape) -> tuple[tuple[str, str], ...]:
    api = ("Api-Version", version_text(shape.api))
    return (api, *shape.headers, ("Server", shape.server), ("Date", _date()))


def _json(shape: Shape, value: Any, status: int = 200) -> Answer:
    return Answer(
        status=status,
        headers=(*_headers(shape), ("Content-Type", "application/json")),
        body=msgspec.json.encode(value) + b"\n",
    )


_PLAIN = (("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff"))


def _no_route(shape: Shape, wrong_method: bool) -> Answer:
    """A router's own answer: it has none of the engine's headers."""
    date = ("Date", _date())
    if shape.store != "podman":
        body = b'{"message":"page not found"}\n'
        return Answer(
            status=404, headers=(date, ("Content-Type", "application/json")), body=body, known=False
        )
    status, text = (405, b"Method Not Allowed\n") if wrong_method else (404, b"Not Found\n")
    return Answer(status=status, headers=(date, *_PLAIN), body=text, known=False)


def _error(shape: Shape, version: Version, refused: RefusedError) -> Answer:
    if shape.store == "podman":
        body = {
            "cause": refused.cause,
            "message": refused.message,
            "response": refused.status,
        }
        return _json(shape, body, refused.status)
    if version < (1, 24) and shape.plain_errors:
        # `MakeErrorHandler` of moby: before 1.24 errors were plain text.
        text = f"{refused.message}\n".encode()
        return Answer(status=refused.status, headers=(*_headers(shape), *_PLAIN), body=text)
    return _json(shape, {"message": refused.message}, refused.status)


def _version_body(shape: Shape) -> dict[str, Any]:
    api, oldest = version_text(shape.api), version_text(shape.oldest)
    body: dict[str, Any] = {**shape.version, "ApiVersion": api, "MinAPIVersion": oldest}
    if shape.store != "podman":
        engine, *others = body["Components"]
        details = {**engine["Details"], "ApiVersion": api, "MinAPIVersion": oldest}
        body["Components"] = [{**engine, "Details": details}, *others]
    return body


def _true(text: str) -> bool:
    """A boolean parameter, as moby `httputils.BoolValue` reads it."""
    return text.strip().lower() not in ("", "0", "no", "false", "none")


def _docker_list(
    shape: Shape, images: Sequence[FakeImage], request: Request, version: Version, now: float
) -> Answer:
    def since(first: Version | None) -> bool:
        return first is not None and version >= first

    def asked(name: str, first: Version | None) -> bool:
        return since(first) and _true(request.query.get(name, ""))

    manifests = _true(request.query.get("manifests", ""))
    identity = asked("identity", shape.identity_from)
    singular = request.query.get("filter", "") if version < shape.filter_below else ""
    text = request.query.get("filters", "")
    listed = docker_filters(
        shape, images, text, singular, everything=_true(request.query.get("all", "")), now=now
    )
    if identity and not manifests:
        raise RefusedError(400, "conflicting options: identity requires manifests=1")
    options = _Options(
        shared_size=asked("shared-size", shape.shared_size_from),
        manifests=asked("manifests", shape.manifests_from),
        identity=identity,
        descriptor=since(shape.descriptor_from),
        containers=since(shape.containers_from),
        never_null=since(shape.never_null_from),
        virtual_size=shape.virtual_size_below is None or version < shape.virtual_size_below,
    )
    listed.sort(key=lambda held: -_docker_created(shape, held))
    return _json(shape, [_docker_row(shape, held, options) for held in listed])


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer of Docker contains, as asked for and as the version has it."""

    shared_size: bool
    manifests: bool
    identity: bool
    descriptor: bool
    containers: bool
    never_null: bool
    virtual_size: bool


_NAMES_ONLY = _Options(
    shared_size=False,
    manifests=False,
    identity=False,
    descriptor=False,
    containers=False,
    never_null=True,
    virtual_size=False,
)


def _docker_created(shape: Shape, held: FakeImage) -> int:
    return shape.undated if held.created is None else math.floor(held.created)


def _docker_row(shape: Shape, held: FakeImage, options: _Options) -> dict[str, Any]:
    tags: list[str] | None = sorted(map(familiar, held.tags), key=canonical)
    digests: list[str] | None = list(map(familiar, held.digests or ()))
    if shape.store == "containerd":
        # A name by digest is a name like any other there.
        named = {repository(tag) for tag in held.tags}
        lone = [name for name in digests or () if "@" in name and repository(name) not in named]
        tags = [*(tags or ()), *lone]
        if held.digests is None and tags:
            digests = [f"{split_name(tags[0])[0]}@{held.id}"]
    if not options.never_null:
        if not tags and not digests:
            tags, digests = ["<none>:<none>"], ["<none>@<none>"]
        tags, digests = tags or None, digests or None
    labels = dict(sorted(held.labels.items())) if held.labels is not None else None
    if labels is None and not shape.labels_null and not held.degraded:
        labels = {}
    counted = options.containers and not held.degraded
    row: dict[str, Any] = {
        "Containers": held.containers if counted else -1,
        "Created": _docker_created(shape, held),
        "Id": held.id,
        "Labels": labels,
        "ParentId": held.parent,
    }
    if options.descriptor:
        row["Descriptor"] = _descriptor(held)
    if options.manifests and (manifests := _manifests(held)):
        row["Manifests"] = [_manifest(one, options.identity) for one in manifests]
    row["RepoDigests"], row["RepoTags"] = digests, tags
    unshared = held.degraded and not held.manifests
    row["SharedSize"] = held.shared_size if options.shared_size and not unshared else -1
    row["Size"] = held.size
    if options.virtual_size and (held.size or shape.zero_virtual_size):
        row["VirtualSize"] = held.size
    return row


_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def _descriptor(held: FakeImage) -> dict[str, Any]:
    return held.descriptor or {"mediaType": _MANIFEST, "digest": held.id, "size": 480}


def _manifests(held: FakeImage) -> list[dict[str, Any]]:
    if held.manifests is not None or held.degraded:
        return held.manifests or []
    content = min(480, held.size)
    image_data = {
        "Platform": {"architecture": "amd64", "os": "linux"},
        "Size": {"Unpacked": held.size - content},
        "Containers": None,
    }
    return [
        {
            "ID": held.id,
            "Descriptor": _descriptor(held),
            "Available": True,
            "Size": {"Content": content, "Total": held.size},
            "Kind": "image",
            "ImageData": image_data,
        }
    ]


def _manifest(given: dict[str, Any], identity: bool) -> dict[str, Any]:
    if identity or "Identity" not in given.get("ImageData", {}):
        return given
    data = {key: value for key, value in given["ImageData"].items() if key != "Identity"}
    return {**given, "ImageData": data}


def _podman_list(
    shape: Shape, images: Sequence[FakeImage], request: Request, version: Version, now: float
) -> Answer:
    everything = _podman_true(shape, request, "all")
    if _podman_true(shape, request, "digests"):
        # It logs, and answers nothing at all.
        return Answer(status=200, headers=_headers(shape))
    listed = podman_filters(
        shape,
        images,
        request.query.get("filters"),
        request.query.get("filter", ""),
        everything=everything,
        now=now,
    )
    parents = {held.parent.removeprefix("sha256:") for held in images if held.parent}
    # Since 5.6 the path decides, and not what the engine speaks.
    told = re.fullmatch(r"\d+(\.\d+)*", request.version or "") is not None
    virtual_size = shape.virtual_size_below is None or (told and version < shape.virtual_size_below)
    counted = shape.shared_size_from is None or _true(request.query.get("shared-size", ""))
    rows = [_podman_row(shape, held, parents, virtual_size, counted) for held in listed]
    return _json(shape, rows)


def _podman_true(shape: Shape, request: Request, name: str) -> bool:
    """gorilla/schema of Podman 4.3: what is no boolean is an error."""
    text = request.query.get(name, "")
    if shape.podman >= (5,):
        return _true(text)
    if text.lower() in ("1", "t", "true", "on"):
        return True
    if text.lower() in ("", "0", "f", "false", "off"):
        return False
    cause = f'schema: error converting value for "{name}"'
    raise RefusedError(400, f"failed to parse parameters for {request.target}: {cause}", cause)


def _podman_row(
    shape: Shape,
    held: FakeImage,
    parents: set[str],
    virtual_size: bool = True,
    counted: bool = True,
) -> dict[str, Any]:
    names = list(map(canonical, held.tags))
    # That of the manifest, while the id is that of the config.
    digest = held.extra.get("Digest") or f"sha256:{sha256(held.id.encode()).hexdigest()}"
    digests = held.digests
    if digests is None:
        digests = sorted({f"{repository(name)}@{digest}" for name in names})
    row: dict[str, Any] = {
        "Id": held.id if held.id.startswith("sha256:") else f"sha256:{held.id}",
        "ParentId": held.parent.removeprefix("sha256:"),
        "RepoTags": names or (None if shape.never_null_from is None else []),
        "RepoDigests": list(map(canonical, digests)),
        "Created": math.floor((held.loaded or 0) if held.created is None else held.created),
        "Size": held.size,
        "SharedSize": 0 if counted else -1,
    }
    if virtual_size and (held.size or shape.zero_virtual_size):
        row["VirtualSize"] = held.size
    row["Labels"] = dict(sorted(held.labels.items())) if held.labels is not None else None
    row["Containers"] = held.containers
    dangling = not names and not digests and held.id.removeprefix("sha256:") not in parents
    told = {
        "Names": names,
        "Dangling": dangling,
        "Digest": digest,
        "History": held.extra.get("History", names[::-1]),
    }
    order = ("Names", "Dangling", "Digest", "History")
    if shape.podman >= (5,):
        order = ("Dangling", "Digest", "History", "Names")
    return row | {key: told[key] for key in order if told[key]}
