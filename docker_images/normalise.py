"""One meaning on every engine: what nulls, placeholders and sentinels stand for.

Knows the habits of engines (`GET /images/json` of Docker 1.12 to 29 and of Podman). Pure.
"""

from collections.abc import Iterable
from typing import Any, cast

from docker_images.models import ImageSummary

__all__ = ["normalise"]

# Below API 1.43 an image without any name has these instead of nothing.
# moby daemon/server/router/image/image_routes.go:519@b985e23
_NO_TAG = ("<none>:<none>",)
_NO_DIGEST = ("<none>@<none>",)

# The types are frozen for their users; here, before anybody has seen the object, their slots are
# set. A descriptor's `__set__` takes half the time of `msgspec.structs.force_setattr`.
_set_tags = ImageSummary.__dict__["repo_tags"].__set__
_set_digests = ImageSummary.__dict__["repo_digests"].__set__
_set_labels = ImageSummary.__dict__["labels"].__set__
_set_containers = ImageSummary.__dict__["containers"].__set__
_set_shared_size = ImageSummary.__dict__["shared_size"].__set__
_set_parent_id = ImageSummary.__dict__["parent_id"].__set__


def normalise(images: Iterable[ImageSummary], *, shared_size: bool) -> None:
    """Give every value its one meaning, in place.

    `shared_size`: whether it was asked for; Podman up to 5.5 sends 0 where nobody asked.
    """
    for image in cast("Iterable[Any]", images):  # nulls, which the types do not admit
        # null for an empty list or map is a habit of every engine.
        if not image.repo_tags or image.repo_tags == _NO_TAG:
            _set_tags(image, ())
        if not image.repo_digests or image.repo_digests == _NO_DIGEST:
            _set_digests(image, ())
        if image.labels is None:
            _set_labels(image, {})
        # -1 is Docker's "not counted".
        if image.containers == -1:
            _set_containers(image, None)
        if image.shared_size is not None and (not shared_size or image.shared_size < 0):
            _set_shared_size(image, None)
        # Podman leaves the algorithm out.
        if image.parent_id and ":" not in image.parent_id:
            _set_parent_id(image, "sha256:" + image.parent_id)
