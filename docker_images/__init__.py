"""List the images of a container engine, as typed objects, the same way on every engine.

from docker_images import DockerClient

async with DockerClient() as client:
    for image in await client.list_images():
        print(image.id, image.repo_tags, image.size, image.created_at)
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from docker_images.cleanup import (
        CleanupPlan,
        CleanupReason,
        KeptImage,
        RemovedImage,
        plan_cleanup,
    )
    from docker_images.diff import ImageChanges, diff_images
    from docker_images.fleet import gather_images
    from docker_images.watch import ImagesUpdate, ImagesWatch

__all__ = (
    "TLS",
    "ApiVersion",
    "ApiVersionError",
    "AttestationProperties",
    "BuildIdentity",
    "CleanupPlan",
    "CleanupReason",
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
    "ImageChanges",
    "ImageManifestSummary",
    "ImageProperties",
    "ImageSummary",
    "ImagesUpdate",
    "ImagesWatch",
    "KeptImage",
    "ManifestSize",
    "OCIDescriptor",
    "OCIPlatform",
    "PullIdentity",
    "Reference",
    "RemovedImage",
    "ResponseFormatError",
    "SignatureIdentity",
    "SignatureTimestamp",
    "SignerIdentity",
    "UnpackedSize",
    "UnsupportedByEngineError",
    "diff_images",
    "gather_images",
    "plan_cleanup",
    "resolve_endpoint",
)


# What a list does not need is loaded when somebody asks for it.
_LATER = {
    "cleanup": ("CleanupPlan", "CleanupReason", "KeptImage", "RemovedImage", "plan_cleanup"),
    "diff": ("ImageChanges", "diff_images"),
    "fleet": ("gather_images",),
    "watch": ("ImagesUpdate", "ImagesWatch"),
}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"docker_images.{module}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("docker-images")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
