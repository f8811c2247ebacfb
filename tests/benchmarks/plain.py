"""What a careful user of msgspec would declare by hand: the keys, as the engine sends them."""

import msgspec


class Image(msgspec.Struct):
    """One image, nothing normalised."""

    id: str = msgspec.field(name="Id")
    created: int = msgspec.field(name="Created")
    size: int = msgspec.field(name="Size")
    parent_id: str = msgspec.field(name="ParentId", default="")
    repo_tags: list[str] | None = msgspec.field(name="RepoTags", default=None)
    repo_digests: list[str] | None = msgspec.field(name="RepoDigests", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)
    shared_size: int = msgspec.field(name="SharedSize", default=-1)
    containers: int = msgspec.field(name="Containers", default=-1)


class Platform(msgspec.Struct):
    """`os/architecture/variant`."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, rename="camel"):
    """An OCI descriptor."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class ManifestSize(msgspec.Struct, rename="pascal"):
    """Bytes of one manifest."""

    content: int
    total: int


class Unpacked(msgspec.Struct, rename="pascal"):
    """Bytes unpacked."""

    unpacked: int


class ImageData(msgspec.Struct, rename="pascal"):
    """What is known of an image manifest."""

    platform: Platform
    size: Unpacked
    containers: list[str] | None = None


class Attestation(msgspec.Struct):
    """What an attestation is for."""

    target: str = msgspec.field(name="For")


class Manifest(msgspec.Struct, rename="pascal"):
    """One manifest."""

    id: str = msgspec.field(name="ID")
    descriptor: Descriptor
    available: bool
    size: ManifestSize
    kind: str
    image_data: ImageData | None = None
    attestation_data: Attestation | None = None


class ImageWithManifests(Image):
    """One image with `manifests=1`."""

    descriptor: Descriptor | None = msgspec.field(name="Descriptor", default=None)
    manifests: list[Manifest] | None = msgspec.field(name="Manifests", default=None)


def decoder(*, manifests: bool):
    """A decoder of a whole answer."""
    return msgspec.json.Decoder(list[ImageWithManifests] if manifests else list[Image])
