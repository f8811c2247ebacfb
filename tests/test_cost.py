"""What a call costs, in figures that no other load on the machine can move.

Function calls, system calls, requests, installed distributions and imported modules. How long all
of it takes is measured by `tests/benchmarks`.
"""

import socket
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path
from statistics import median_low
from typing import Any

import anyio
import hostile
import pytest
from packaging.requirements import Requirement

from docker_images import DockerClient

ROOT = Path(__file__).parents[1]

IMAGE = (
    b'{"Containers":1,"Created":1706933106,"Id":"sha256:'
    + b"d7c68e24" * 8
    + b'","Labels":{"maintainer":"ops","stage":"prod"},"ParentId":"","RepoDigests":[],'
    b'"RepoTags":["demo/web:1.0","demo/web:latest"],"SharedSize":-1,"Size":4096}'
)


HEADERS = {"Docker-Experimental": "false", "Ostype": "linux", "Server": "Docker/29.6.0 (linux)"}


@contextmanager
def engine(images: int = 1, newest: str = "1.55") -> Iterator[hostile.Server]:
    """A dockerd that has `images` times the same image, and counts who comes and asks."""
    body = b"[" + b",".join([IMAGE] * images) + b"]\n"
    headers = {**HEADERS, "Api-Version": newest}
    chunks = None if len(body) < 2048 else len(body)
    good = hostile.answer(body, headers=headers, chunks=chunks)

    def script(peer: hostile.Peer) -> None:
        while request := peer.request():
            peer.wait(0.002)  # an engine thinks: the client has to wait for it
            peer.send(hostile.too_new(newest) if hostile.minor(request) > int(newest[2:]) else good)

    with hostile.serving(script) as server:
        yield server


def profiled(backend: str, images: int = 1) -> tuple[int, Counter[str]]:
    """Function calls of a warm call, and its socket operations: the medians of some calls."""
    functions: list[int] = []
    operations: list[Counter[str]] = []

    def count(frame: Any, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            functions[-1] += 1
        if event == "c_call" and function.__name__ in SYSTEM_CALLS and _is_of_a_socket(function):
            operations[-1][function.__name__] += 1

    async def main(host: str) -> None:
        async with DockerClient(host=host) as client:
            for _ in range(3):
                assert len(await client.list_images()) == images
            for _ in range(15):
                functions.append(0)
                operations.append(Counter())
                sys.setprofile(count)
                await client.list_images()
                sys.setprofile(None)

    with engine(images) as server:
        anyio.run(main, server.host, backend=backend)
        assert server.connections == 1
    names = {name for counter in operations for name in counter}
    middle = {name: median_low(counter[name] for counter in operations) for name in names}
    return median_low(functions), Counter(middle)


def _is_of_a_socket(function: Any) -> bool:  # coroutines have a `send` too
    return isinstance(function.__self__, socket.socket)


SYSTEM_CALLS = {"send", "sendall", "sendmsg", "recv", "recv_into", "recvmsg", "connect"}
SYSTEM_CALLS |= {"connect_ex", "setsockopt", "getsockopt", "setblocking", "shutdown"}
READS = ("recv", "recv_into")


@pytest.mark.parametrize(("backend", "most"), [("asyncio", 343), ("trio", 358)])
def test_a_call_for_one_image_makes_few_function_calls(backend: str, most: int) -> None:
    functions, _ = profiled(backend)
    assert 50 < functions <= most


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_small_list_is_one_write_and_three_reads(backend: str) -> None:
    # One to see that the idle connection is alive, one that comes too early, one that reads.
    _, operations = profiled(backend)
    assert sum(operations.pop(name, 0) for name in READS) <= 3
    assert operations == {"send": 1}


def test_a_large_list_is_read_in_large_pieces() -> None:
    # 78 KiB in one write: the kernel hands it over in pieces of its own, 32 KiB and less.
    _, operations = profiled("asyncio", images=300)
    assert sum(operations[name] for name in READS) <= 10


def paths(server: hostile.Server) -> list[str]:
    return [request.split()[1].decode() for request in server.requests]


@pytest.mark.parametrize(
    ("newest", "first", "later"),
    [
        pytest.param("1.55", ["/v1.55/images/json"], "/v1.55/images/json", id="current"),
        pytest.param("1.56", ["/v1.55/images/json"], "/v1.55/images/json", id="newer"),
        pytest.param(
            "1.41", ["/v1.55/images/json", "/v1.41/images/json"], "/v1.41/images/json", id="older"
        ),
    ],
)
def test_a_list_is_one_request_and_the_first_one_of_an_older_engine_two(
    newest: str, first: list[str], later: str
) -> None:
    async def main(host: str) -> None:
        async with DockerClient(host=host) as client:
            await client.list_images()
            assert paths(server) == first
            for _ in range(5):
                await client.list_images()

    with engine(newest=newest) as server:
        anyio.run(main, server.host)
    assert paths(server) == [*first, *[later] * 5]
    assert server.connections == 1


def test_pip_installs_at_most_ten_distributions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {project["name"]}
    waiting = [Requirement(text) for text in project["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        extras = {"", *requirement.extras}
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name not in found:
            found.add(name)
            waiting += [Requirement(text) for text in requires(name) or ()]
    assert {"httpx", "msgspec", "anyio", "httptools"} <= found
    assert len(found - {"sniffio"}) <= 10  # anyio before 4.12 needs sniffio too


# What is not among our dependencies must not be imported; it is hidden as if it were not installed,
# because httpx imports click and rich where they happen to be.
HIDE_AND_IMPORT = """
import sys
hidden = {"click", "rich", "pygments", "trio", "uvloop", "socksio", "h2", "brotli", "zstandard"}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
before = set(sys.modules)
import docker_images
print("\\n".join(sorted(set(sys.modules) - before)))
"""


def test_the_import_loads_only_what_listing_needs() -> None:
    words = [sys.executable, "-c", HIDE_AND_IMPORT]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "docker_images.client" in modules
    packages = {name.partition(".")[0] for name in modules}
    never = {"trio", "uvloop", "rich", "httpcore", "h11", "argparse", "multiprocessing"}
    assert not packages & never
    assert len(modules) <= 400
