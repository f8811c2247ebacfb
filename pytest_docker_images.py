"""The pytest plugin of docker_images: a fake engine as a fixture.

A module of its own, and empty but for the fixtures: pytest imports it in every run of everyone who
has the library installed, so it must import nothing of the library, and nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from docker_images.testing import FakeEngine


@pytest.fixture
def docker_engine_factory() -> Iterator[Callable[..., FakeEngine]]:
    """Start fake engines: takes what `FakeEngine` takes, and ends them with the test."""
    from docker_images.testing import FakeEngine

    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> FakeEngine:
            return stack.enter_context(FakeEngine(*arguments, **options))

        yield start


@pytest.fixture
def docker_engine(docker_engine_factory: Callable[..., FakeEngine]) -> FakeEngine:
    """A running fake engine without images: add some with `docker_engine.images.add`.

    It serves from a thread, for synchronous tests and for tests on any event loop.
    """
    return docker_engine_factory()
