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

    plain_errors: bool = True
    """Whether errors are plain text below API 1.24."""
    podman: Version = ()
    """Which Podman it is, where that decides how it reads filters and writes rows."""

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
_Tools = tuple[dict[str, Any], ...]


def _tools(containerd: str, containerd_commit: str, runc: str, runc_commit: str) -> _Tools:
    """What `/version` lists beside the engine, with the version and the commit of each."""
    return tuple(
        {"Name": name, "Version": version, "Details": {"GitCommit": commit}}
        for name, version, commit in (
            ("containerd", containerd, containerd_commit),
            ("runc", runc, runc_commit),
            ("docker-init", "0.19.0", ""),
        )
    )


_BOOKWORM = _tools("1.6.20~ds1", "1.6.20~ds1-1+deb12u3", "1.1.5+ds1", "1.1.5+ds1-1+deb12u1")


def _docker_version(
    version: str,
    commit: str,
    go: str,
    built: str,
    module: str | None = None,
    tools: _Tools = _BOOKWORM,
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
    components = [{"Name": "Engine", "Version": version, "Details": details}, *tools]
    platform: dict[str, Any] = {"Platform": {"Name": ""}}
    versions = {"Version": version, "ApiVersion": "", "MinAPIVersion": ""}
    built_with = {"GitCommit": commit, "GoVersion": go}
    system = {"Os": "linux", "Arch": "amd64"}
    rest = {"KernelVersion": _KERNEL, "BuildTime": built}
    if module:
        return platform | versions | system | {"Components": components} | built_with | rest
    return platform | {"Components": components} | versions | built_with | system | rest


def _podman_version(
    version: str,
    built: str,
    go: str,
    debian: str,
    conmon: tuple[str, str],
    runtime: tuple[str, ...],
) -> dict[str, Any]:
    """The body of `/version`; `conmon` is its version and package, `runtime` what it says, too."""
    details = {
        "APIVersion": version,
        "Arch": "amd64",
        "BuildTime": built,
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": go,
        "KernelVersion": _KERNEL,
        "MinAPIVersion": "4.0.0",
        "Os": "linux",
    }
    name, said, package = runtime
    return {
        "Platform": {"Name": f"linux/amd64/debian-{debian}"},
        "Components": [
            {"Name": "Podman Engine", "Version": version, "Details": details},
            {
                "Name": "Conmon",
                "Version": f"conmon version {conmon[0]}, commit: unknown",
                "Details": {"Package": conmon[1]},
            },
            {
                "Name": f"OCI Runtime ({name})",
                "Version": said,
                "Details": {"Package": package},
            },
        ],
        "Version": version,
        "ApiVersion": "",
        "MinAPIVersion": "",
        "GitCommit": "",
        "GoVersion": go,
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": _KERNEL,
        "BuildTime": built,
    }


def _crun(version: str, commit: str, extra: str, package: str) -> tuple[str, str, str]:
    said = (
        f"crun version {version}\ncommit: {commit}\nrundir: /run/crun\nspec: 1.0.0\n"
        f"+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF {extra}"
    )
    return "crun", said, package


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
_DOCKER_26 = msgspec.structs.replace(
    _DOCKER_25,
    name="docker 26.1",
    aliases=("docker 26",),
    api=(1, 45),
    server="Docker/26.1.5+dfsg1 (linux)",
    version=_docker_version(
        "26.1.5+dfsg1",
        "411e817",
        "go1.24.4",
        "2026-08-13T05:35:48.000000000+00:00",
        tools=_tools("1.7.24~ds1", "1.7.24~ds1-6+deb13u1", "1.1.15+ds1", "1.1.15+ds1-2+b4"),
    ),
    plain_errors=False,
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
_DOCKER_29 = msgspec.structs.replace(
    _DOCKER_28,
    name="docker 29.7",
    aliases=("docker 29",),
    api=(1, 55),
    oldest=(1, 40),
    server="Docker/29.7.2 (linux)",
    version=_docker_version(
        "29.7.2",
        "library-import",
        "go1.27.3",
        "library-import",
        "v2.0.0+unknown",
        _tools("2.1.9+unknown", "", "1.3.6+ds1", "1.3.6+ds1-1"),
    ),
    zero_virtual_size=True,
    identity_from=(1, 54),
    filter_below=(1, 25),
    canonical_references=True,
    negation_needs_label=False,
    bad_until=(400, f"invalid value for 'until' filter: {_UNREADABLE}"),
)
_MASTER = msgspec.structs.replace(
    _DOCKER_29,
    name="docker master",
    aliases=(),
    api=(1, 56),
    server="Docker/master-b985e23 (linux)",
    version=_docker_version(
        "master-b985e23", "library-import", "go1.27.3", "library-import", "v2.0.0+unknown"
    ),
)


_MANIFESTS: dict[str, Any] = {"manifests_from": (1, 47), "descriptor_from": (1, 48)}


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


def _podman_ping(buildah: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (
        ("Buildkit-Version", ""),
        ("Cache-Control", "no-cache"),
        ("Docker-Experimental", "true"),
        ("Libpod-Buildah-Version", buildah),
        ("Pragma", "no-cache"),
        *more,
    )


_PODMAN_4 = Shape(
    name="podman 4",
    aliases=("podman", "podman 4.3"),
    api=(1, 41),
    oldest=(1, 24),
    store="podman",
    server="Libpod/4.3.1 (linux)",
    version=_podman_version(
        "4.3.1",
        "1970-01-01T00:00:00Z",
        "go1.19.8",
        "12",
        ("2.1.6", "conmon_2.1.6+ds1-1_amd64"),
        (
            "runc",
            (
                "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n"
                "go: go1.19.8\nlibseccomp: 2.5.4"
            ),
            "runc_1.1.5+ds1-1+deb12u1_amd64",
        ),
    ),
    headers=(("Libpod-Api-Version", "4.3.1"),),
    ping_headers=_podman_ping("1.28.2", ("Builder-Version", "")),
    chunk=2048,
    containers_from=(0,),
    podman=(4, 3),
    filters=_PODMAN_KEYS | {"readonly"},
    bad_until=(500, _UNREADABLE),
)
_PODMAN_54 = msgspec.structs.replace(
    _PODMAN_4,
    name="podman 5.4",
    aliases=(),
    server="Libpod/5.4.2 (linux)",
    version=_podman_version(
        "5.4.2",
        "2025-12-21T16:42:01Z",
        "go1.24.4",
        "13",
        ("2.1.12", "conmon_2.1.12-4_amd64"),
        _crun(
            "1.21",
            "10269840aa07fb7e6b7e1acff6198692d8ff5c88",
            "+CRIU +WASM:wasmedge +YAJL",
            "crun_1.21-1_amd64",
        ),
    ),
    headers=(("Libpod-Api-Version", "5.4.2"),),
    ping_headers=_podman_ping("1.39.3", ("Builder-Version", ""), ("Ostype", "linux")),
    podman=(5, 4),
)
_PODMAN_58 = msgspec.structs.replace(
    _PODMAN_54,
    name="podman 5.8",
    aliases=("podman 5",),
    api=(1, 44),
    server="Libpod/5.8.6 (linux)",
    version=_podman_version(
        "5.8.6",
        "2026-10-12T00:19:24Z",
        "go1.27.2",
        "unknown",
        ("2.1.13", "conmon_2.1.13+ds1-2_amd64"),
        _crun(
            "1.28", "54f16ffbefcd022bf032af768b5c5ce075c18bfc", "+CRIU +JSON_C", "crun_1.28-1_amd64"
        ),
    ),
    headers=(("Libpod-Api-Version", "5.8.6"),),
    ping_headers=_podman_ping("1.43.2", ("Builder-Version", "1"), ("Ostype", "linux")),
    never_null_from=(0,),
    virtual_size_below=(1, 44),
    zero_virtual_size=False,
    shared_size_from=(0,),
    podman=(5, 8),
)

ENGINES: tuple[Shape, ...] = (
    _DOCKER_20,
    _DOCKER_25,
    _containerd(_DOCKER_25),
    _DOCKER_26,
    _containerd(_DOCKER_26),
    _DOCKER_28,
    _containerd(_DOCKER_28, **_MANIFESTS),
    _DOCKER_29,
    _containerd(_DOCKER_29, **_MANIFESTS, labels_null=False),
    _MASTER,
    _containerd(_MASTER, **_MANIFESTS, labels_null=False),
    _PODMAN_4,
    _PODMAN_54,
    _PODMAN_58,
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
