"""What an engine's answer means: the types of `GET /images/json`, and how to read them.

Every type is a frozen msgspec Struct. Attributes are snake_case, the wire carries the engine's own
keys (`Id`, `RepoTags`, …). `msgspec.json.encode` writes those keys, leaves out what is None and
writes everything else. No I/O here, and no API version is compared here.

Keys as in moby `api/types/image/*.go@b985e23` and the OCI image specification.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import msgspec
import msgspec.structs

from docker_images.images.references import Reference

__all__ = [
    "AttestationProperties",
    "BuildIdentity",
    "Identity",
    "ImageManifestSummary",
    "ImageProperties",
    "ImageSummary",
    "ManifestSize",
    "OCIDescriptor",
    "OCIPlatform",
    "PullIdentity",
    "SignatureIdentity",
    "SignatureTimestamp",
    "SignerIdentity",
    "UnpackedSize",
]


# `omit_defaults` leaves out what equals its default; a default made by one of these is always
# written, so that only None is left out. Functions of Python would take twice the time.
_text = partial(str)
_number = partial(int)
_no = partial(bool)
_nothing = cast("Callable[[], tuple[Any, ...]]", partial(tuple))
_empty = cast("Callable[[], dict[str, str]]", {}.copy)


# Engines write null for an empty list or map. `normalise.py` and `__post_init__` put the empty one
# in its place before anybody sees it, so only the decoder is told that null may come.
_set = msgspec.structs.force_setattr
Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number as Go has it; with more digits the answer is malformed."""
T = TypeVar("T")
if TYPE_CHECKING:
    Many = tuple[T, ...]
    Texts = dict[str, str]
else:
    Many = tuple[T, ...] | None
    Texts = dict[str, str] | None


class _Wire(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What all types share. `gc=False`: no value here can be part of a cycle."""


class OCIPlatform(_Wire, frozen=True, kw_only=True):
    """The platform an image is for, as in the OCI image specification."""

    architecture: str = msgspec.field(default_factory=_text)
    """CPU architecture, such as `"amd64"`; `"unknown"` for attestations."""
    os: str = msgspec.field(default_factory=_text)
    """Operating system, such as `"linux"`; `"unknown"` for attestations."""
    os_version: str | None = msgspec.field(default=None, name="os.version")
    """Version of the operating system, given for Windows images."""
    os_features: Many[str] = msgspec.field(default_factory=_nothing, name="os.features")
    """Features of the operating system that the image needs, such as `"win32k"`."""
    variant: str | None = None
    """Variant of the CPU, such as `"v8"`."""

    def __post_init__(self: Any) -> None:
        if self.os_features is None:
            _set(self, "os_features", ())

    def __str__(self) -> str:
        """`os/architecture[/variant]`, the form that `docker pull --platform` takes."""
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part)


class OCIDescriptor(_Wire, frozen=True, kw_only=True, rename="camel"):
    """The type, size and digest of a piece of content: an OCI content descriptor."""

    media_type: str = msgspec.field(default_factory=_text)
    """Media type of the content."""
    digest: str = msgspec.field(default_factory=_text)
    """`algorithm:hex` of the content."""
    size: Int = msgspec.field(default_factory=_number)
    """Bytes of this content, not of the whole image."""
    urls: Many[str] = msgspec.field(default_factory=_nothing)
    """Where the content can be downloaded, if anywhere."""
    annotations: Texts = msgspec.field(default_factory=_empty)
    """Arbitrary metadata."""
    data: str | None = None
    """The content itself, in base64, if it is embedded."""
    platform: OCIPlatform | None = None
    """The platform, if the descriptor has one."""
    artifact_type: str | None = None
    """The type of an artifact that is not an image."""

    def __post_init__(self: Any) -> None:
        if self.urls is None:
            _set(self, "urls", ())
        if self.annotations is None:
            _set(self, "annotations", {})


class SignatureTimestamp(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """When a signature was made, according to a witness."""

    type: str = msgspec.field(default_factory=_text)
    """The witness: `"Tlog"`, `"TimestampAuthority"`, or another word from a newer engine."""
    uri: str = msgspec.field(default_factory=_text, name="URI")
    """The address of the witness."""
    timestamp: str = msgspec.field(default_factory=_text)
    """RFC 3339, as the engine sends it; see `timestamp_datetime`."""

    @property
    def timestamp_datetime(self) -> datetime | None:
        """`timestamp` as an aware datetime; None if it is not one."""
        return _rfc3339(self.timestamp)


class SignerIdentity(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """Who signed, as the certificate says (the fields of a Fulcio certificate)."""

    certificate_issuer: str = msgspec.field(default_factory=_text)
    """Who issued the certificate."""
    subject_alternative_name: str = msgspec.field(default_factory=_text)
    """The subject of the certificate: an e-mail address, or the URI of a workflow."""
    issuer: str | None = None
    """URL of the OpenID provider that vouched for the signer."""
    build_signer_uri: str | None = msgspec.field(default=None, name="BuildSignerURI")
    """The build instructions that signed."""
    build_signer_digest: str | None = None
    """The exact version of these instructions."""
    runner_environment: str | None = None
    """Where the build ran, such as `"github-hosted"`."""
    source_repository_uri: str | None = msgspec.field(default=None, name="SourceRepositoryURI")
    """The repository that was built."""
    source_repository_digest: str | None = None
    """The commit that was built."""
    source_repository_ref: str | None = None
    """The branch or tag that was built, such as `"refs/heads/main"`."""
    source_repository_identifier: str | None = None
    """The number of this repository at its host, which stays the same if the name changes."""
    source_repository_owner_uri: str | None = msgspec.field(
        default=None, name="SourceRepositoryOwnerURI"
    )
    """The owner of this repository."""
    source_repository_owner_identifier: str | None = None
    """The number of its owner at the host."""
    build_config_uri: str | None = msgspec.field(default=None, name="BuildConfigURI")
    """The instructions that started the build."""
    build_config_digest: str | None = None
    """The exact version of these instructions."""
    build_trigger: str | None = None
    """What started the build, such as `"push"`."""
    run_invocation_uri: str | None = msgspec.field(default=None, name="RunInvocationURI")
    """The run of the build."""
    source_repository_visibility_at_signing: str | None = None
    """`"public"` or `"private"`, when it was signed."""


class SignatureIdentity(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """A signature of the image, and whether the engine could verify it."""

    name: str | None = None
    """What the engine calls the signature."""
    timestamps: Many[SignatureTimestamp] = msgspec.field(default_factory=_nothing)
    """When it was made, according to each witness."""
    known_signer: str | None = None
    """A signer that the engine knows by name, such as `"DHI"`."""
    docker_reference: str | None = None
    """The name that was signed, if the signature has one."""
    signer: SignerIdentity | None = None
    """Who signed; None if there is no certificate."""
    signature_type: str | None = None
    """`"bundle-v0.3"`, `"simplesigning-v1"`, or another word from a newer engine."""
    error: str | None = None
    """Why the signature could not be verified."""
    warnings: Many[str] = msgspec.field(default_factory=_nothing)
    """The engine's warnings about the signature."""

    def __post_init__(self: Any) -> None:
        if self.timestamps is None:
            _set(self, "timestamps", ())
        if self.warnings is None:
            _set(self, "warnings", ())


class PullIdentity(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """The image was pulled from here."""

    repository: str | None = None
    """Name of the repository, without a tag."""


class BuildIdentity(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """The image was built on this engine, by this build."""

    ref: str | None = None
    """The engine's reference to the build."""
    created_at: str = msgspec.field(default_factory=_text)
    """RFC 3339, as the engine sends it; `0001-01-01T00:00:00Z` if unknown."""

    @property
    def created_at_datetime(self) -> datetime | None:
        """`created_at` as an aware datetime; None if it is not one, or unknown."""
        return _rfc3339(self.created_at)


class Identity(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """Where an image came from, as far as the engine already knows (API 1.54).

    A list does not make the engine compute it, so it can be missing now and there later.
    """

    signature: Many[SignatureIdentity] = msgspec.field(default_factory=_nothing)
    """The signatures that were found."""
    pull: Many[PullIdentity] = msgspec.field(default_factory=_nothing)
    """Where it was pulled from; `()` if it was not pulled."""
    build: Many[BuildIdentity] = msgspec.field(default_factory=_nothing)
    """The builds on this engine that made it; `()` if there are none."""

    def __post_init__(self: Any) -> None:
        if self.signature is None:
            _set(self, "signature", ())
        if self.pull is None:
            _set(self, "pull", ())
        if self.build is None:
            _set(self, "build", ())


class ManifestSize(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """How much disk space one manifest takes."""

    content: Int = msgspec.field(default_factory=_number)
    """Bytes of the blobs that are present, as they are stored (compressed)."""
    total: Int = msgspec.field(default_factory=_number)
    """Bytes of everything that is present: blobs, and what is unpacked."""


class UnpackedSize(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """How much disk space an unpacked image takes."""

    unpacked: Int = msgspec.field(default_factory=_number)
    """Bytes of the unpacked layers; 0 if nothing is unpacked."""


class ImageProperties(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """What is known about a manifest that is an image for one platform."""

    platform: OCIPlatform = msgspec.field(default_factory=OCIPlatform)
    """The platform that it is made for."""
    identity: Identity | None = None
    """Only with `identity=True` (API 1.54), and only as far as the engine already knows."""
    size: UnpackedSize = msgspec.field(default_factory=UnpackedSize)
    """How much disk space it takes when unpacked."""
    containers: Many[str] = msgspec.field(default_factory=_nothing)
    """Ids of the containers that use this manifest."""

    def __post_init__(self: Any) -> None:
        if self.containers is None:
            _set(self, "containers", ())


class AttestationProperties(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """What is known about a manifest that is an attestation."""

    for_: str = msgspec.field(default_factory=_text, name="For")
    """Digest of the image manifest that it is about."""


class ImageManifestSummary(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """One manifest of an image: an image for one platform, an attestation, or something else."""

    id: str = msgspec.field(default_factory=_text, name="ID")
    """Digest of the manifest."""
    descriptor: OCIDescriptor = msgspec.field(default_factory=OCIDescriptor)
    """What `id` points to."""
    available: bool = msgspec.field(default_factory=_no)
    """Whether all of its content is present on the engine."""
    size: ManifestSize = msgspec.field(default_factory=ManifestSize)
    """How much disk space it takes."""
    kind: str = msgspec.field(default_factory=_text)
    """`"image"`, `"attestation"`, `"unknown"`, or another word from a newer engine."""
    image_data: ImageProperties | None = None
    """Only for `kind == "image"`."""
    attestation_data: AttestationProperties | None = None
    """Only for `kind == "attestation"`."""


class ImageSummary(_Wire, frozen=True, kw_only=True, rename="pascal"):
    """One image in an engine's list. It means the same on every engine and API version.

    Compared by value, hashed by `id`.
    """

    id: str
    """As the engine sends it: the digest of the image's config, or, with the containerd image
    store, of its index or manifest. Only compare ids of the same engine."""
    parent_id: str = msgspec.field(default_factory=_text)
    """The image that this one was built on, by the classic builder; `""` if there is none."""
    repo_tags: Many[str] = msgspec.field(default_factory=_nothing)
    """Names with a tag, as the engine writes them; `()` for an untagged image."""
    repo_digests: Many[str] = msgspec.field(default_factory=_nothing)
    """Names with a digest, as the engine writes them; `()` if it was never pulled or pushed."""
    created: Int = msgspec.field(default_factory=_number)
    """When the image was made, in seconds since 1970, according to the image itself; 0 or
    -62135596800 if it does not say. Podman then sends the time of loading. See `created_at`."""
    size: Int = msgspec.field(default_factory=_number)
    """Bytes on disk. Images share layers, so the sum of a list is more than they take together."""
    shared_size: Int | None = None
    """Bytes shared with other images. None unless you ask with `shared_size=True` (API 1.42) and
    the engine computes it."""
    containers: Int | None = None
    """How many containers use the image, including stopped ones. None if the engine did not count:
    Docker counts since API 1.51, Podman always."""
    virtual_size: Int | None = None
    """Below API 1.44 the same as `size`; None above."""
    labels: Texts = msgspec.field(default_factory=_empty)
    """The labels of the image; `{}` if there are none."""
    manifests: tuple[ImageManifestSummary, ...] | None = None
    """What the image is made of. None unless you ask with `manifests=True` (API 1.47) and the
    engine has the containerd image store."""
    descriptor: OCIDescriptor | None = None
    """What `id` points to (API 1.48, with the containerd image store); None elsewhere."""

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def references(self) -> tuple[Reference, ...]:
        """All tags and digests, split into parts; `str()` of one is its familiar form.

        They are the same for Docker (`alpine:3`) and Podman (`docker.io/library/alpine:3`). Each is
        there only once, although the containerd store lists names with a digest twice.
        """
        return tuple(dict.fromkeys(map(Reference.parse, self.repo_tags + self.repo_digests)))

    @property
    def tags(self) -> tuple[Reference, ...]:
        """The references that have a tag."""
        return tuple(name for name in self.references if name.tag is not None)

    def to_dict(self) -> dict[str, Any]:
        """The image as plain data: the engine's own keys, and values that JSON can hold."""
        return cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(self)))

    @property
    def short_id(self) -> str:
        """The first twelve digits of `id`, as the docker command shows them."""
        return self.id.rpartition(":")[2][:12]

    @property
    def in_use(self) -> bool | None:
        """Whether a container uses the image, even a stopped one; None if they were not counted.

        With `manifests`, some engines name the containers of each manifest without counting them.
        """
        if self.containers is not None:
            return self.containers > 0
        return any(data.containers for _, data in self._images()) or None

    @property
    def platforms(self) -> tuple[OCIPlatform, ...]:
        """The platforms the image is made for, present or not; `()` without `manifests`."""
        return tuple(data.platform for _, data in self._images())

    @property
    def available_platforms(self) -> tuple[OCIPlatform, ...]:
        """The platforms whose content is complete on the engine; `()` without `manifests`."""
        return tuple(data.platform for manifest, data in self._images() if manifest.available)

    @property
    def content_size(self) -> int | None:
        """Bytes of all blobs that are present, as they are stored; None without `manifests`.

        `size` is the sum of this and `unpacked_size`. Attestations are included, and blobs that two
        manifests share are counted twice.
        """
        if self.manifests is None:
            return None
        return sum(manifest.size.content for manifest in self.manifests)

    @property
    def unpacked_size(self) -> int | None:
        """Bytes of what is unpacked, over all platforms; None without `manifests`."""
        if self.manifests is None:
            return None
        return sum(data.size.unpacked for _, data in self._images())

    def _images(self) -> Iterator[tuple[ImageManifestSummary, ImageProperties]]:
        for manifest in self.manifests or ():
            if manifest.image_data is not None:
                yield manifest, manifest.image_data

    @property
    def created_at(self) -> datetime | None:
        """`created` as an aware UTC datetime; None if unknown, or too late for a datetime."""
        # Where nobody said, Docker 25 and later send 0, 20.10 the year 1. 9999 is the last year.
        if 0 < self.created <= 253402300799:
            return _EPOCH + timedelta(seconds=self.created)
        return None

    @property
    def is_dangling(self) -> bool:
        """Whether the image has no tag and no digest.

        A digest without a name does not count. The containerd store lists such digests for images
        with missing parts.
        """
        return not self.repo_tags and not any("@" in digest for digest in self.repo_digests)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _rfc3339(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Go's zero time says "not known".
    return moment if moment.tzinfo is not None and moment.year > 1 else None
