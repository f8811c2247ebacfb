"""The engines that tests start are what they claim to be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import engines
import pytest


@pytest.mark.parametrize("name", engines.NAMES)
def test_a_started_engine_holds_what_it_was_filled_with(live: engines.Live, name: str) -> None:
    answer = engines.call(live.host(name), "GET", "/v1.41/images/json")
    assert answer.status == 200
    tags = {tag for image in answer.json() for tag in image["RepoTags"] or ()}
    loaded = {tag for image in engines.LOADED for tag in image["tags"]}
    assert {tag.removeprefix("localhost/") for tag in loaded} <= {
        tag.removeprefix("localhost/") for tag in tags
    }
    assert sum("demo/built:1" in tag for tag in tags) == 1


@pytest.mark.parametrize("name", engines.NAMES)
def test_a_started_engine_keeps_images_where_the_table_says(live: engines.Live, name: str) -> None:
    info = engines.call(live.host(name), "GET", "/v1.41/info").json()
    driver = ["driver-type", "io.containerd.snapshotter.v1"]
    assert (driver in (info.get("DriverStatus") or ())) is engines.TABLE[name].containerd


@pytest.mark.parametrize("name", engines.NAMES)
def test_the_tests_of_an_engine_share_a_worker(request: pytest.FixtureRequest, name: str) -> None:
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("the tests do not run with --dist loadgroup")
    assert request.node.nodeid.endswith(f"@{engines.at_hand(name)}")


STARTER = """
import sys, time, engines
from pathlib import Path
with engines.start(sys.argv[1], Path(sys.argv[2])) as host:
    print(host, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("name", engines.NAMES)
def test_an_engine_ends_with_the_process_that_started_it(name: str) -> None:
    with engines.folder() as folder:
        command = [sys.executable, "-c", STARTER, name, str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as own:
            assert own.stdout is not None
            host = own.stdout.readline().strip()
            if not host:
                engines.absent(f"{engines.MISSING}{name} did not start")
            own.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while _serves(host) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _serves(host)


def _serves(host: str) -> bool:
    try:
        return engines.call(host, "GET", "/_ping").status == 200
    except OSError:
        return False
