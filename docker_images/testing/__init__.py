"""An engine for tests: a real HTTP server on a real socket, checked against the real engines.

    from docker_images import DockerClient
    from docker_images.testing import FakeEngine, image

    async with FakeEngine([image("alpine:3.20")], engine="podman 4") as engine:
        async with DockerClient(host=engine.host) as client:
            images = await client.list_images()

Needs h11: `pip install docker-images[testing]`. `faults` has what can go wrong.
"""

from docker_images.testing import faults
from docker_images.testing.answers import Request
from docker_images.testing.faults import Fault
from docker_images.testing.images import AnyImage, FakeImage, Images, demo_images, image
from docker_images.testing.server import FakeEngine, UnknownRequest
from docker_images.testing.shapes import ENGINES

__all__ = [
    "ENGINE_NAMES",
    "AnyImage",
    "FakeEngine",
    "FakeImage",
    "Fault",
    "Images",
    "Request",
    "UnknownRequest",
    "demo_images",
    "faults",
    "image",
]

ENGINE_NAMES: tuple[str, ...] = tuple(shape.name for shape in ENGINES)
"""The engines that `FakeEngine` can be, oldest first."""
