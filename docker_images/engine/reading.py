"""The loop that reads a list: decoded, normalised, selected and ordered while the bytes arrive."""

from collections.abc import AsyncIterator
from time import perf_counter

from anyio.lowlevel import checkpoint

from docker_images.images.decode import ImageDecoder
from docker_images.images.models import ImageSummary
from docker_images.images.normalise import normalise
from docker_images.images.order import OrderedImages
from docker_images.query import Query

__all__ = ["read_images"]

# The event loop gets its turn after this time and the step that is under way, of a millisecond or
# so, while a list is decoded.
BUDGET = 0.0005  # seconds


async def read_images(
    body: AsyncIterator[bytes],
    query: Query,
    max_response_bytes: int,
    *,
    podman: bool,
    virtual_size: bool,
) -> tuple[list[ImageSummary], bool | None]:
    """The images that the question is about, in order, and whether the list has descriptors.

    None for an empty list: it tells nothing of the store that it comes from.

    Raises `ValueError` for what is no list of images, and what `body` raises.
    """
    decoder, images, received = ImageDecoder(), OrderedImages(), 0
    shared_size = "shared_size" in query.asked.options
    described: bool | None = None

    def take(slice_: list[ImageSummary]) -> None:
        nonlocal described
        if slice_:
            described = described or slice_[0].descriptor is not None
        normalise(slice_, shared_size=shared_size, virtual_size=virtual_size)
        images.add(query.select(slice_, podman=podman))

    turn = perf_counter() + BUDGET
    async for data in body:
        received += len(data)
        if received > max_response_bytes:
            raise ValueError(f"it is longer than max_response_bytes={max_response_bytes}")
        decoder.feed(data)
        # Also where no slice is ready: bytes without end must not hold up the event loop.
        while (slice_ := decoder.step()) or perf_counter() > turn:
            take(slice_)
            if perf_counter() > turn:
                await checkpoint()
                turn = perf_counter() + BUDGET
    take(decoder.finish())
    for _ in images.settle():
        if perf_counter() > turn:
            await checkpoint()
            turn = perf_counter() + BUDGET
    return images.result, described
