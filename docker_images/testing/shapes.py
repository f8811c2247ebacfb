"""What each engine is: one row an engine, data only.

Knows versions, headers, conventions and error texts, as recorded from the engines themselves and as
their sources say. Refuses to know how a request is read or an answer is written: `answers` does.
"""

from typing import Any, Literal

import msgspec

__all__ = ["ENGINES", "Shape", "Version", "shape_named", "version_of", "version_text"]

Version = tuple[int, ...]
"""An API version as an engine compares them: `(1, 47)`."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One engine, as far as listing images tells it from the others."""

    name: str
    aliases: tuple[str, ...] = ()
    api: Version
    oldest: Version
    store: Literal["graph", "containerd", "podman"]
    server: str
    """The `Server` header."""
    version: dict[str, Any]
    """The body of `/version`; versions of the API are put in when it is written."""
    headers: tuple[tuple[str, str], ...]
    """On every answer but a 404 of the router, beside `Api-Version` and `Server`."""
    ping_headers: tuple[tuple[str, str], ...]
    chunk: int | None = None
    """How much of a long body goes into one chunk; None: all of it."""

    never_null_from: Version | None = None
    """From here on a missing tag or digest is `[]`; before it is null, or `<none>` where both are
    missing. (`image_routes.go:519` of moby)"""
    virtual_size_below: Version | None = None
    """`VirtualSize` is sent below this; None: always."""
    zero_virtual_size: bool = True
    """Whether it is sent where it is 0."""
    containers_from: Version | None = None
    """Below this `Containers` is -1; None: always -1."""
    shared_size_from: Version | None = None
    manifests_from: Version | None = None
    identity_from: Version | None = None
    descriptor_from: Version | None = None
    labels_null: bool = True
    """Whether an image without labels has null for them."""
    undated: int = 0
    """`Created` of an image that does not say when it was made."""

    filters: frozenset[str]
    filter_below: Version = (0,)
    """Below this the parameter `filter` adds a `reference` filter."""
    canonical_references: bool = False
    """Whether `reference` also matches `docker.io/library/alpine`."""
    old_filters: bool = False
    """Docker up to 23: `Invalid filter`, Go's own JSON errors, `dangling` only true or false."""
    negation_needs_label: bool = False
    """Docker below 29.4.1: `label!=a=b` misses the images without a label `a`."""
    bad_until: tuple[int, str] = (400, "")
    """Status and text for a time that cannot be read."""


def version_of(text: str) -> Version:
    """`"1.47"` as Go's comparison reads it: what is not a number counts as 0, 1.0 is 1."""
    parts = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def version_text(version: Version) -> str:
    """`(1, 47)` as `"1.47"`."""
    return ".".join(map(str, (*version, 0)[: max(2, len(version))]))


_KERNEL = "6.18.44"
_TOOLS: tuple[dict[str, Any], ...] = (
    {
        "Name": "containerd",
        "Version": "1.6.20~ds1",
        "Details": {"GitCommit": "1.6.20~ds1-1+deb12u3"},
    },
    {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
    {"Name": "docker-init", "Version": "0.19.0", "Details": {"GitCommit": ""}},
)


def _docker_version(
    version: str, commit: str, go: str, built: str, module: str | None = None
) -> dict[str, Any]:
    """The body of `/version`: the same facts twice, in the order the engine writes them."""
    details = {
        "ApiVersion": "",
        "Arch": "amd64",
        "BuildTime": built,
        "Experimental": "false",
        "GitCommit": commit,
        "GoVersion": go,
        "KernelVersion": _KERNEL,
        "MinAPIVersion": "",
    }
    if module:
        details |= {"Module": "github.com/moby/moby/v2", "ModuleVersion": module}
    details["Os"] = "linux"
    components = [{"Name": "Engine", "Version": version, "Details": details}, *_TOOLS]
    platform: dict[str, Any] = {"Platform": {"Name": ""}}
    versions = {"Version": version, "ApiVersion": "", "MinAPIVersion": ""}
    built_with = {"GitCommit": commit, "GoVersion": go}
    system = {"Os": "linux", "Arch": "amd64"}
    rest = {"KernelVersion": _KERNEL, "BuildTime": built}
    if module:
        return platform | versions | system | {"Components": components} | built_with | rest
    return platform | {"Components": components} | versions | built_with | system | rest


_PODMAN_VERSION: dict[str, Any] = {
    "Platform": {"Name": "linux/amd64/debian-12"},
    "Components": [
        {
            "Name": "Podman Engine",
            "Version": "4.3.1",
            "Details": {
                "APIVersion": "4.3.1",
                "Arch": "amd64",
                "BuildTime": "1970-01-01T00:00:00Z",
                "Experimental": "false",
                "GitCommit": "",
                "GoVersion": "go1.19.8",
                "KernelVersion": _KERNEL,
                "MinAPIVersion": "4.0.0",
                "Os": "linux",
            },
        },
        {
            "Name": "Conmon",
            "Version": "conmon version 2.1.6, commit: unknown",
            "Details": {"Package": "conmon_2.1.6+ds1-1_amd64"},
        },
        {
            "Name": "OCI Runtime (runc)",
            "Version": "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n"
            "go: go1.19.8\nlibseccomp: 2.5.4",
            "Details": {"Package": "runc_1.1.5+ds1-1+deb12u1_amd64"},
        },
    ],
    "Version": "4.3.1",
    "ApiVersion": "",
    "MinAPIVersion": "",
    "GitCommit": "",
    "GoVersion": "go1.19.8",
    "Os": "linux",
    "Arch": "amd64",
    "KernelVersion": _KERNEL,
    "BuildTime": "1970-01-01T00:00:00Z",
}

_DOCKER = (("Docker-Experimental", "false"), ("Ostype", "linux"))
_NO_CACHE = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))
_PING = (*_NO_CACHE, ("Builder-Version", "2"), ("Swarm", "inactive"))
_OLD_KEYS = frozenset({"dangling", "label", "before", "since", "reference"})
_GRAPH_KEYS = _OLD_KEYS | {"until"}
_CONTAINERD_KEYS = _GRAPH_KEYS | {"label!"}
_PODMAN_KEYS = _CONTAINERD_KEYS | {"after", "containers", "id", "intermediate", "manifest"}
_UNREADABLE = 'failed to parse value as time or duration: "{}"'

_DOCKER_20 = Shape(
    name="docker 20.10",
    aliases=("docker 20",),
    api=(1, 41),
    oldest=(1, 12),
    store="graph",
    server="Docker/20.10.24+dfsg1 (linux)",
    version=_docker_version(
        "20.10.24+dfsg1", "5d6db84", "go1.19.8", "2026-05-07T21:09:36.000000000+00:00"
    ),
    headers=_DOCKER,
    ping_headers=_NO_CACHE,
    undated=-62135596800,
    filters=_OLD_KEYS,
    filter_below=(1, 41),
    old_filters=True,
)
_DOCKER_25 = Shape(
    name="docker 25",
    aliases=("docker 25.0",),
    api=(1, 44),
    oldest=(1, 24),
    store="graph",
    server="Docker/25.0.5 (linux)",
    version=_docker_version("25.0.5", "library-import", "go1.27.3", "library-import"),
    headers=_DOCKER,
    ping_headers=_PING,
    never_null_from=(1, 43),
    virtual_size_below=(1, 44),
    zero_virtual_size=False,
    shared_size_from=(1, 42),
    filters=_GRAPH_KEYS,
    filter_below=(1, 41),
    negation_needs_label=True,
    bad_until=(500, _UNREADABLE),
)
_DOCKER_28 = msgspec.structs.replace(
    _DOCKER_25,
    name="docker 28.5",
    aliases=("docker 28",),
    api=(1, 51),
    server="Docker/28.5.2 (linux)",
    version=_docker_version("28.5.2", "library-import", "go1.27.3", "library-import"),
    containers_from=(1, 51),
)
_MASTER = msgspec.structs.replace(
    _DOCKER_28,
    name="docker master",
    aliases=("docker 29",),
    api=(1, 56),
    oldest=(1, 40),
    server="Docker/master-b985e23 (linux)",
    version=_docker_version(
        "master-b985e23", "library-import", "go1.27.3", "library-import", "v2.0.0+unknown"
    ),
    zero_virtual_size=True,
    identity_from=(1, 54),
    filter_below=(1, 25),
    canonical_references=True,
    negation_needs_label=False,
    bad_until=(400, f"invalid value for 'until' filter: {_UNREADABLE}"),
)


def _containerd(graph: Shape, **changes: Any) -> Shape:
    """The same engine on the containerd image store."""
    return msgspec.structs.replace(
        graph,
        name=f"{graph.name} containerd",
        aliases=tuple(f"{alias} containerd" for alias in graph.aliases),
        store="containerd",
        filters=_CONTAINERD_KEYS,
        **changes,
    )


_PODMAN_4 = Shape(
    name="podman 4",
    aliases=("podman", "podman 4.3"),
    api=(1, 41),
    oldest=(1, 24),
    store="podman",
    server="Libpod/4.3.1 (linux)",
    version=_PODMAN_VERSION,
    headers=(("Libpod-Api-Version", "4.3.1"),),
    ping_headers=(
        ("Builder-Version", ""),
        ("Buildkit-Version", ""),
        ("Cache-Control", "no-cache"),
        ("Docker-Experimental", "true"),
        ("Libpod-Buildah-Version", "1.28.2"),
        ("Pragma", "no-cache"),
    ),
    chunk=2048,
    containers_from=(0,),
    filters=_PODMAN_KEYS | {"readonly"},
    bad_until=(500, _UNREADABLE),
)

ENGINES: tuple[Shape, ...] = (
    _DOCKER_20,
    _DOCKER_25,
    _containerd(_DOCKER_25),
    _DOCKER_28,
    _containerd(_DOCKER_28, manifests_from=(1, 47), descriptor_from=(1, 48)),
    _MASTER,
    _containerd(_MASTER, manifests_from=(1, 47), descriptor_from=(1, 48), labels_null=False),
    _PODMAN_4,
)
"""Every engine that is known, oldest first."""


def shape_named(name: str) -> Shape:
    """The engine called so; a `ValueError` that lists the names where there is none."""
    wanted = " ".join(name.lower().split())
    for shape in ENGINES:
        if wanted == shape.name or wanted in shape.aliases:
            return shape
    known = ", ".join(repr(shape.name) for shape in ENGINES)
    raise ValueError(f"no engine is called {name!r}; known are {known}")
