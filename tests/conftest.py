"""What all tests share: the event loops they run on, and real engines where there are any."""

import gc
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import ExitStack

import engines
import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, and as much time as a busy machine needs.
settings.register_profile(
    "tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

# What the docker command or a terminal would heed is set by the tests that are about it; in a
# worker of pytest-xdist COLUMNS is 80.
for name in list(os.environ):
    if name.startswith("DOCKER_") and not name.startswith("DOCKER_IMAGES_"):
        del os.environ[name]
os.environ.pop("COLUMNS", None)

# Where the library is installed pytest has found its plugin already, and takes it only once.
INSTALLED = any(
    point.value == "pytest_docker_images"
    for point in importlib.metadata.entry_points(group="pytest11")
)
pytest_plugins = [] if INSTALLED else ["pytest_docker_images"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Have the garbage collector pass over ten thousand tests, which live until the end.

    It looks for garbage in many tests, each time through everything that is there.
    """
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in this hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of an engine in one worker, so that it starts once."""
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        wanted = {*getattr(item, "fixturenames", ())}
        wanted |= {str(value).removeprefix("real ") for value in params.values()}
        for name in (*engines.NAMES, *KINDS):
            if name in wanted:
                item.add_marker(pytest.mark.xdist_group(engines.at_hand(KINDS.get(name, name))))
                break


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each engine that was missing once, and loudly."""
    skipped = () if engines.UNWANTED else terminalreporter.stats.get("skipped", ())
    reasons = {str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)}
    for reason in sorted(reasons):
        if engines.MISSING in reason:
            terminalreporter.write_line(reason.removeprefix("Skipped: "), red=True, bold=True)


@pytest.fixture(scope="session")
def live() -> Iterator[engines.Live]:
    """Real engines, filled; only to be read from: `live.host("docker 28.5")`."""
    with ExitStack() as stack:
        yield engines.Live(stack)


KINDS = {"dockerd": "docker", "podman": "podman"}
"""The fixtures for those tests that any engine of a kind will do for."""


@pytest.fixture(scope="session")
def dockerd(live: engines.Live) -> str:
    """The host of a real, filled Docker engine; only to be read from."""
    return live.host(engines.at_hand("docker"))


@pytest.fixture(scope="session")
def podman(live: engines.Live) -> str:
    """The host of a real, filled Podman service; only to be read from."""
    return live.host(engines.at_hand("podman"))
