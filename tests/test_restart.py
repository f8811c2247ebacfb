"""The engine goes away and comes back, older, newer or never; the client need not be rebuilt."""

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import engines
import pytest
from hostile import (
    LIST,
    OLD,
    Peer,
    answer,
    answering,
    docker,
    forwarding,
    ids,
    images,
    serving,
    until,
)

from docker_images import (
    ApiVersion,
    DockerClient,
    EngineConnectionError,
    EngineResponseError,
    UnsupportedByEngineError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="di-") as folder:
        yield Path(folder) / "engine.sock"


async def test_an_engine_may_restart_between_two_calls(path: Path) -> None:
    async with DockerClient(f"unix://{path}") as client:
        for _ in range(5):
            with serving(answering(LIST), path=path) as server:
                for _ in range(3):
                    assert [image.id for image in await client.list_images()] == ids(3)
                assert server.connections == 1


async def test_an_engine_may_be_replaced_by_an_older_or_newer_one(path: Path) -> None:
    async with DockerClient(f"unix://{path}") as client:
        for version in ("1.41", "1.55", "1.44", "1.30", "1.54", "1.24"):
            with serving(docker(version), path=path) as server:
                for _ in range(3):
                    assert [image.id for image in await client.list_images()] == ids(3)
                assert client.api_version == ApiVersion.parse(version)
                assert len(server.requests) <= 4, "one more at most, to find the version"


async def test_an_engine_may_change_behind_a_proxy_that_keeps_the_connection() -> None:
    there = ["1.41"]

    def proxy(peer: Peer) -> None:
        while request := peer.request():
            too_new = int(request.split(b"/v1.")[1].split(b"/")[0]) > int(there[0].split(".")[1])
            good = answer(images(3), headers={"Api-Version": there[0]})
            peer.send(OLD.replace(b"1.41", there[0].encode()) if too_new else good)

    with serving(proxy) as server:
        async with DockerClient(server.host) as client:
            for version in ("1.41", "1.55", "1.30", "1.47"):
                there[0] = version
                assert [image.id for image in await client.list_images()] == ids(3)
                assert client.api_version == ApiVersion.parse(version)
        assert server.connections == 1


async def test_an_option_is_honoured_once_the_engine_is_upgraded(path: Path) -> None:
    async with DockerClient(f"unix://{path}") as client:
        with serving(docker("1.41"), path=path), pytest.raises(UnsupportedByEngineError):
            await client.list_images(shared_size=True)
        with serving(docker("1.55"), path=path):
            assert len(await client.list_images(shared_size=True)) == 3


async def test_a_real_engine_may_be_replaced_by_another(
    dockerd: str, podman: str, path: Path
) -> None:
    async with DockerClient(f"unix://{path}") as client:
        for host in (dockerd, podman, dockerd):
            listed = engines.call(host, "GET", "/v1.41/images/json").json()
            with serving(forwarding(host), path=path):
                for _ in range(2):
                    found = await client.list_images()
                    assert {image.id for image in found} == {image["Id"] for image in listed}


async def test_without_an_engine_every_call_says_so_and_the_next_one_is_found(path: Path) -> None:
    async with DockerClient(f"unix://{path}") as client:
        for missing in ("there is no such socket", "nothing listens"):
            for _ in range(3):
                with pytest.raises(EngineConnectionError, match=missing):
                    await client.list_images()
            with serving(answering(LIST), path=path):
                assert len(await client.list_images()) == 3
        await anyio.Path(path).unlink()
        with pytest.raises(EngineConnectionError, match="there is no such socket"):
            await client.list_images()


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("sent", [1, 30, len(LIST) - 1])
async def test_an_engine_that_stops_in_the_middle_fails_one_call(sent: int, reset: bool) -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            if peer.number == 0:
                peer.send(LIST[:sent])
                if reset:
                    peer.reset()
                return
            peer.send(LIST)

    with serving(script, tcp=True) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(EngineConnectionError, match=r"(closed|broke) the connection"):
                await client.list_images()
            assert len(await client.list_images()) == 3


@pytest.mark.parametrize(
    ("api_version", "failed"),
    [pytest.param("1.55", 100, id="asked at once"), pytest.param(None, 1, id="negotiating")],
)
async def test_an_engine_that_stops_while_hundreds_wait_fails_only_those_it_had_taken(
    path: Path, api_version: str | None, failed: int
) -> None:
    def silent(peer: Peer) -> None:
        while peer.request():
            pass

    told: Counter[str] = Counter()
    async with DockerClient(f"unix://{path}", api_version=api_version) as client:

        async def call() -> None:
            try:
                assert [image.id for image in await client.list_images()] == ids(3)
            except EngineConnectionError as error:
                told[str(error).split(";")[0]] += 1
            else:
                told["answered"] += 1

        async with anyio.create_task_group() as tasks:
            with serving(silent, path=path) as server:
                for _ in range(300):
                    tasks.start_soon(call)
                await anyio.to_thread.run_sync(until, lambda: len(server.requests) == failed)
            with serving(answering(LIST), path=path):
                await anyio.to_thread.run_sync(until, lambda: sum(told.values()) == 300)
    hung_up = f"unix://{path} (host=) closed the connection before its answer was complete"
    assert told == {hung_up: failed, "answered": 300 - failed}


async def test_an_engine_that_refuses_for_a_while_is_asked_again_by_the_next_call() -> None:
    starting = answer(b'{"message":"starting"}', "503 Service Unavailable")
    with serving(answering(starting, starting, LIST)) as server:
        async with DockerClient(server.host) as client:
            for _ in range(2):
                with pytest.raises(EngineResponseError, match="starting"):
                    await client.list_images()
            assert len(await client.list_images()) == 3
        assert server.connections == 1


FEW_FILES = """
import resource, sys
from collections import Counter
import anyio
from docker_images import DockerClient, EngineConnectionError

async def main():
    told = Counter()
    async with DockerClient(sys.argv[1], api_version="1.55") as client:
        await client.list_images()

        async def call():
            try:
                told[len(await client.list_images())] += 1
            except EngineConnectionError as error:
                assert "too many open files" in str(error) and "ulimit -n" in str(error), error
                told["failed"] += 1

        resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(60):
                    tasks.start_soon(call)
            await call()
    assert told.keys() == {3, "failed"} and told[3] > 3, told
    print("good")

anyio.run(main, backend=sys.argv[2])
"""


def test_without_file_descriptors_calls_fail_and_later_ones_succeed(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            peer.wait(0.05)
            peer.send(LIST)

    with serving(script) as server:
        done = subprocess.run(
            [sys.executable, "-W", "default", "-c", FEW_FILES, server.host, anyio_backend],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")
