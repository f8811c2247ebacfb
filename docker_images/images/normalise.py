"""One meaning on every engine: what nulls, placeholders and sentinels stand for.

Knows the habits of engines (`GET /images/json` of Docker 1.12 to 29 and of Podman). Pure.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import force_setattr

from docker_images.images.models import ImageSummary

__all__ = ["normalise"]

# Below API 1.43 an image without any name has these instead of nothing.
# moby daemon/server/router/image/image_routes.go:519@b985e23
_NO_TAG = ("<none>:<none>",)
_NO_DIGEST = ("<none>@<none>",)


def normalise(
    images: Iterable[ImageSummary], *, shared_size: bool, virtual_size: bool = False
) -> None:
    """Give every value its one meaning, in place: the types are frozen for those who see them.

    `shared_size`: whether it was asked for; Podman up to 5.5 sends 0 where nobody asked.
    `virtual_size`: whether the version has it, which is always the size; Podman up to 5.7 decides
    that by the path, and so tells it at first and not later.
    """
    anything: Iterable[Any] = images  # nulls, which the types do not admit
    for image in anything:
        # null for an empty list or map is a habit of every engine.
        if image.repo_tags is None or image.repo_tags == _NO_TAG:
            force_setattr(image, "repo_tags", ())
        if image.repo_digests is None or image.repo_digests == _NO_DIGEST:
            force_setattr(image, "repo_digests", ())
        if image.labels is None:
            force_setattr(image, "labels", {})
        # -1 is Docker's "not counted".
        if image.containers == -1:
            force_setattr(image, "containers", None)
        if image.shared_size is not None and (not shared_size or image.shared_size < 0):
            force_setattr(image, "shared_size", None)
        if virtual_size:
            if image.virtual_size != image.size:
                force_setattr(image, "virtual_size", image.size)
        elif image.virtual_size is not None:
            force_setattr(image, "virtual_size", None)
        # Podman leaves the algorithm out.
        if image.parent_id and ":" not in image.parent_id:
            force_setattr(image, "parent_id", "sha256:" + image.parent_id)
