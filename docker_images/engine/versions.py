"""Everything this library knows about API versions; the only module that compares two of them.

Pure: it is told what an answer said and returns what follows. No I/O.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from docker_images.errors import EndpointError

__all__ = [
    "NEEDS",
    "NEED_CONTAINERD",
    "NEWEST",
    "OLDEST",
    "SINCE",
    "ApiVersion",
    "Pin",
    "agree",
    "first_missing",
    "has",
    "is_refusal",
    "newest_in",
    "pin_in",
    "spoken",
]


class ApiVersion(msgspec.Struct, frozen=True, order=True):
    """A version of the Docker Engine API, ordered as numbers: 1.9 comes before 1.47."""

    major: int
    """The number before the dot."""
    minor: int
    """The number after the dot."""

    @classmethod
    def parse(cls, text: str) -> "ApiVersion":
        """Parse text such as `"1.47"`; raises `ValueError` for anything else."""
        if not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", text):
            raise ValueError(f"not an API version: {text[:40]!r}; it looks like '1.47'")
        major, minor = text.split(".")
        return cls(int(major), int(minor))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OLDEST = ApiVersion(1, 24)
"""The oldest API version that this library supports (Docker 1.12, 2016)."""
NEWEST = ApiVersion(1, 55)
"""The newest released API version that this library supports (Docker 29.6)."""

# What engines silently ignore below these versions, and Podman at any.
# moby daemon/server/router/image/image_routes.go:490-505@b985e23
NEEDS = {
    "shared_size": ApiVersion(1, 42),
    "manifests": ApiVersion(1, 47),
    "identity": ApiVersion(1, 54),
}
# Only the containerd image store provides these; others ignore them.
NEED_CONTAINERD = frozenset({"manifests", "identity"})

SINCE = {
    **NEEDS,
    # A list from the containerd image store shows it by its descriptors.
    # moby daemon/server/router/image/image_routes.go:528@b985e23
    "descriptors": ApiVersion(1, 48),
    # A list has no `VirtualSize` any more. moby docs/api/version-history.md@b985e23
    "no virtual size": ApiVersion(1, 44),
    # Docker is known to emit `create` for each new image, tagged or not: 29.7.2 does.
    # moby docs/api/version-history.md@b985e23 says 1.46, and 28.5.2 (1.51) emits none for builds of
    # the classic builder and for commits.
    "create events": ApiVersion(1, 55),
    # `reference` is compared with canonical names, too. moby daf25751d5, in 29.5; no version of the
    # API began with it.
    "canonical names": ApiVersion(1, 55),
}
"""From which version on it is so."""


def has(version: ApiVersion, what: str) -> bool:
    """Whether an engine that speaks this version has what a row of `SINCE` says."""
    return version >= SINCE[what]


def agree(theirs: ApiVersion) -> ApiVersion | None:
    """The newest version that both sides speak, as far as the engine's newest tells."""
    version = min(NEWEST, theirs)
    return version if version >= OLDEST else None


def spoken(asked: ApiVersion, theirs: ApiVersion) -> ApiVersion:
    """The version an answer is in: the one asked for, unless the engine is older and let it pass.

    Podman, and Docker 1.13 to 17.10, accept versions that are too new for them.
    """
    return min(asked, theirs)


def first_missing(options: Iterable[str], version: ApiVersion) -> str | None:
    """The first of the options that `version` is too old for."""
    return next((option for option in options if not has(version, option)), None)


class Pin(msgspec.Struct, frozen=True):
    """A version that somebody chose, and who: it is asked for as it is."""

    version: ApiVersion
    source: str


def pin_in(env: Mapping[str, str]) -> Pin | None:
    """The version that `DOCKER_API_VERSION` pins. `1.47` and `v1.47` are read, as the CLI does."""
    text = env.get("DOCKER_API_VERSION", "").strip()
    if not text:
        return None
    try:
        return Pin(ApiVersion.parse(text.removeprefix("v")), "DOCKER_API_VERSION")
    except ValueError as error:
        raise EndpointError(f"DOCKER_API_VERSION is {error}; fix or unset it") from None


# moby daemon/server/middleware/version.go@b985e23, and client/errors of 1.12.
_REFUSAL = r"client (version \S+ is too (new|old)|is newer than server)"


def is_refusal(message: str) -> bool:
    """Whether an engine's 400 is about the version, and not about the question."""
    return re.search(_REFUSAL, message) is not None


def newest_in(message: str) -> ApiVersion | None:
    """The engine's newest version, as its refusal of a newer one names it."""
    found = re.search(r"[Mm]aximum supported API version is ([0-9]+\.[0-9]+)", message)
    try:
        return ApiVersion.parse(found[1]) if found else None
    except ValueError:
        return None
