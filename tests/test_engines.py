"""The engines that tests start are what they claim to be."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import engines
import pytest
from hostile import until


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


ENGINE = """
with engines.start(sys.argv[2], folder) as host:
    print(host.removeprefix("unix://"), flush=True)
    time.sleep(600)
"""
SSHD = """
with sshd.start_sshd(folder, "unix:///nowhere") as running:
    print(running.port, flush=True)
    time.sleep(600)
"""


ALL = (*engines.NAMES, *engines.OWN, "sshd")


@pytest.mark.parametrize("name", engines.quickly(*engines.SOME, *engines.OWN, "sshd", of=ALL))
def test_a_server_ends_with_the_process_that_started_it(name: str) -> None:
    if name in engines.OWN and shutil.which(engines.OWN[name]) is None:
        pytest.skip(f"this machine has no {name} of its own")
    program = "import sys, time, engines, sshd, pathlib\nfolder = pathlib.Path(sys.argv[1])"
    program += SSHD if name == "sshd" else ENGINE
    with engines.folder() as folder:
        command = [sys.executable, "-c", program, str(folder), name]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as own:
            assert own.stdout is not None
            address = own.stdout.readline().strip()
            if not address:
                engines.absent(f"{engines.MISSING}{name} did not start")
            assert listens(address)
            own.send_signal(signal.SIGKILL)
        assert until(lambda: not listens(address) and not those_that_name(folder))


def listens(address: str) -> bool:
    family = socket.AF_INET if address.isdecimal() else socket.AF_UNIX
    with socket.socket(family) as client:
        return (
            client.connect_ex(("127.0.0.1", int(address)) if address.isdecimal() else address) == 0
        )


def those_that_name(folder: Path) -> list[str]:
    """The processes that have the folder among their words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder) in path.read_text():
                found.append(path.parent.name)
    return found
