"""What all tests share: the event loops they run on, and real engines where there are any."""

import importlib.metadata
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, and as much time as a busy machine needs.
settings.register_profile(
    "tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# What the docker command would heed is set by the tests that are about it.
for name in list(os.environ):
    if name.startswith("DOCKER_") and not name.startswith("DOCKER_IMAGES_"):
        del os.environ[name]

# Where the library is installed pytest has found its plugin already, and takes it only once.
INSTALLED = any(
    point.value == "pytest_docker_images"
    for point in importlib.metadata.entry_points(group="pytest11")
)
pytest_plugins = [] if INSTALLED else ["pytest_docker_images"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def dockerd() -> Iterator[str]:
    """The host of a real, filled Docker engine; only to be read from."""
    # Not below pytest's own folder: the path of a socket is at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="di-") as folder,
        engines.start_dockerd(Path(folder)) as host,
    ):
        engines.fill(host)
        yield host


@pytest.fixture(scope="session")
def podman() -> Iterator[str]:
    """The host of a real, filled Podman service; only to be read from."""
    with (
        tempfile.TemporaryDirectory(prefix="di-") as folder,
        engines.start_podman(Path(folder)) as host,
    ):
        engines.fill(host)
        yield host
