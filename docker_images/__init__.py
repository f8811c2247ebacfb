"""List the images of a container engine, as typed objects, the same way on every engine.

from docker_images import DockerClient

async with DockerClient() as client:
    for image in await client.list_images():
        print(image.id, image.repo_tags, image.size, image.created_at)
"""

from docker_images.address import TLS, Endpoint
from docker_images.client import DockerClient
from docker_images.endpoint.hosts import resolve_endpoint
from docker_images.engine.responses import EngineInfo
from docker_images.engine.versions import ApiVersion
from docker_images.errors import (
    ApiVersionError,
    DockerImagesError,
    EndpointError,
    EngineConnectionError,
    EnginePermissionError,
    EngineResponseError,
    EngineTimeoutError,
    ResponseFormatError,
    UnsupportedByEngineError,
)
from docker_images.images.models import (
    AttestationProperties,
    BuildIdentity,
    Identity,
    ImageManifestSummary,
    ImageProperties,
    ImageSummary,
    ManifestSize,
    OCIDescriptor,
    OCIPlatform,
    PullIdentity,
    SignatureIdentity,
    SignatureTimestamp,
    SignerIdentity,
    UnpackedSize,
)
from docker_images.images.references import Reference

__all__ = (
    "TLS",
    "ApiVersion",
    "ApiVersionError",
    "AttestationProperties",
    "BuildIdentity",
    "DockerClient",
    "DockerImagesError",
    "Endpoint",
    "EndpointError",
    "EngineConnectionError",
    "EngineInfo",
    "EnginePermissionError",
    "EngineResponseError",
    "EngineTimeoutError",
    "Identity",
    "ImageManifestSummary",
    "ImageProperties",
    "ImageSummary",
    "ManifestSize",
    "OCIDescriptor",
    "OCIPlatform",
    "PullIdentity",
    "Reference",
    "ResponseFormatError",
    "SignatureIdentity",
    "SignatureTimestamp",
    "SignerIdentity",
    "UnpackedSize",
    "UnsupportedByEngineError",
    "resolve_endpoint",
)


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("docker-images")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
