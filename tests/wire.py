"""What engines write for an image, and what it means, said once more and as plainly as can be.

Written from the Go structs (moby `api/types/image/*.go@b985e23`, the OCI image specification) and
from what engines were seen to do, with nothing of the library: tests hold the library to it.
A key with `?` is not in our JSON where there is nothing to say; any other is always there.
"""

from typing import Any

PLATFORM = {
    "architecture": str,
    "os": str,
    "os.version?": str,
    "os.features": [str],
    "variant?": str,
}
DESCRIPTOR = {
    "mediaType": str,
    "digest": str,
    "size": int,
    "urls": [str],
    "annotations": {str: str},
    "data?": str,
    "platform?": PLATFORM,
    "artifactType?": str,
}
SIGNER = {
    "CertificateIssuer": str,
    "SubjectAlternativeName": str,
    "Issuer?": str,
    "BuildSignerURI?": str,
    "BuildSignerDigest?": str,
    "RunnerEnvironment?": str,
    "SourceRepositoryURI?": str,
    "SourceRepositoryDigest?": str,
    "SourceRepositoryRef?": str,
    "SourceRepositoryIdentifier?": str,
    "SourceRepositoryOwnerURI?": str,
    "SourceRepositoryOwnerIdentifier?": str,
    "BuildConfigURI?": str,
    "BuildConfigDigest?": str,
    "BuildTrigger?": str,
    "RunInvocationURI?": str,
    "SourceRepositoryVisibilityAtSigning?": str,
}
SIGNATURE = {
    "Name?": str,
    "Timestamps": [{"Type": str, "URI": str, "Timestamp": str}],
    "KnownSigner?": str,
    "DockerReference?": str,
    "Signer?": SIGNER,
    "SignatureType?": str,
    "Error?": str,
    "Warnings": [str],
}
IDENTITY = {
    "Signature": [SIGNATURE],
    "Pull": [{"Repository?": str}],
    "Build": [{"Ref?": str, "CreatedAt": str}],
}
MANIFEST = {
    "ID": str,
    "Descriptor": DESCRIPTOR,
    "Available": bool,
    "Size": {"Content": int, "Total": int},
    "Kind": str,
    "ImageData?": {
        "Platform": PLATFORM,
        "Identity?": IDENTITY,
        "Size": {"Unpacked": int},
        "Containers": [str],
    },
    "AttestationData?": {"For": str},
}
SUMMARY = {
    "Id": str,
    "ParentId": str,
    "RepoTags": [str],
    "RepoDigests": [str],
    "Created": int,
    "Size": int,
    "SharedSize?": int,
    "Containers?": int,
    "VirtualSize?": int,
    "Labels": {str: str},
    "Manifests?": [MANIFEST],
    "Descriptor?": DESCRIPTOR,
}

PODMANS_OWN = {"Names", "Digest", "History", "Dangling", "ReadOnly", "ConfigDigest"}


def meaning(
    row: dict[str, Any], *, shared_size: bool = False, virtual_size: bool = False
) -> dict[str, Any]:
    """An engine's row as our JSON should have it.

    `shared_size`: whether it was asked for. `virtual_size`: whether the version has it.
    """
    row = dict(row)
    row["VirtualSize"] = row["Size"] if virtual_size else None
    if row.get("RepoTags") == ["<none>:<none>"]:
        row["RepoTags"] = None
    if row.get("RepoDigests") == ["<none>@<none>"]:
        row["RepoDigests"] = None
    if row.get("Containers") == -1:
        row["Containers"] = None
    if row.get("SharedSize") == -1 or not shared_size:
        row["SharedSize"] = None
    parent = row.get("ParentId") or ""
    if len(parent) == 64:
        row["ParentId"] = f"sha256:{parent}"
    return dict(whole(SUMMARY, row))


def whole(shape: Any, value: Any) -> Any:
    """`value` with every key of its shape that is not optional, and no other."""
    if isinstance(shape, list):
        return [whole(shape[0], item) for item in value or ()]
    if not isinstance(shape, dict):
        return shape() if value is None else value
    if str in shape:
        return dict(value or {})
    value = value or {}
    return {
        name.removesuffix("?"): whole(inner, value.get(name.removesuffix("?")))
        for name, inner in shape.items()
        if not name.endswith("?") or value.get(name.removesuffix("?")) is not None
    }


def order(row: dict[str, Any]) -> tuple[int, str, int]:
    """Newest first, then by id, then by size."""
    return -row["Created"], row["Id"], row["Size"]


def keys(value: Any, shape: Any) -> set[str]:
    """Every key of the objects in `value`, but those of maps that a user fills."""
    if isinstance(shape, list):
        return {key for item in value or () for key in keys(item, shape[0])}
    if not isinstance(shape, dict) or str in shape or value is None:
        return set()
    inner = {name.removesuffix("?"): inner for name, inner in shape.items()}
    found = set(value)
    for name in found & set(inner):
        found |= keys(value[name], inner[name])
    return found
