"""Which store a list of images comes from, as far as the list shows it.

Refuses to know who asked for it.
"""

from collections.abc import Iterable

from docker_images.images.models import ImageSummary

__all__ = ["in_containerd"]


def in_containerd(images: Iterable[ImageSummary]) -> bool | None:
    """Whether a list comes from the containerd store; None where it does not show.

    There the id of an image is the digest that its names point to. A graph driver knows a digest
    only of what was pulled or pushed, and Podman's is never the id.
    """
    known: bool | None = None
    for image in images:
        if image.descriptor or any(digest.endswith(image.id) for digest in image.repo_digests):
            return True
        if image.repo_tags or image.repo_digests:
            known = False
    return known
