"""One client, used by many tasks, by several event loops one after the other, and by threads."""

import asyncio
import json
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
import trio
import trustme
import uvloop
from hostile import (
    LIST,
    OLD,
    Peer,
    answer,
    answering,
    descriptors,
    docker,
    ids,
    images,
    serving,
    until,
)

from docker_images import DockerClient, Endpoint, EngineConnectionError
from docker_images.transport.pool import MAX_CALLS, MAX_IDLE

Main = Callable[[], Coroutine[Any, Any, None]]


async def at_once(count: int, call: Callable[..., Any]) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(call, number)


@pytest.mark.anyio
@pytest.mark.parametrize(("newest", "requests"), [(b"1.55", 1000), (b"1.41", 1001)])
async def test_of_a_thousand_calls_at_once_a_hundred_are_asked_at_a_time(
    newest: bytes, requests: int
) -> None:
    def script(peer: Peer) -> None:
        while request := peer.request():
            if len(server.requests) > 2:  # the first call finds the version alone
                peer.gather(MAX_CALLS)
            refused = newest == b"1.41" and b"/v1.55/" in request
            peer.send(OLD if refused else LIST.replace(b"1.55", newest))

    with serving(script) as server:
        async with DockerClient(server.host) as client:
            lists = []

            async def call(_: int) -> None:
                lists.append([image.id for image in await client.list_images()])

            await at_once(1000, call)
        assert lists == [ids(3)] * 1000
        assert len(server.requests) == requests
        assert server.most_waiting == MAX_CALLS


@pytest.mark.anyio
@pytest.mark.parametrize(("version", "requests"), [("1.55", 20), ("1.41", 21)])
async def test_many_first_calls_negotiate_once(version: str, requests: int) -> None:
    with serving(docker(version)) as server:
        async with DockerClient(server.host) as client:
            await at_once(20, lambda _: client.list_images())
        assert len(server.requests) == requests


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["is cancelled", "fails"])
async def test_one_who_negotiates_and_does_not_finish_hands_over(how: str) -> None:
    asked = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        while request := peer.request():
            if peer.number == 0:
                asked.release()
                if how == "fails":
                    peer.wait(0.05)
                    return
            elif b"/v1.55/" in request:
                peer.send(OLD)
            else:
                peer.send(answer(images(3), headers={"Api-Version": "1.41"}))

    told: Counter[int | str] = Counter()
    with serving(script) as server:
        async with DockerClient(server.host) as client:

            async def call(_: int) -> None:
                try:
                    told[len(await client.list_images())] += 1
                except EngineConnectionError:
                    told["failed"] += 1

            leader = anyio.CancelScope()

            async def lead() -> None:
                with leader:
                    await call(0)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lead)
                assert await anyio.to_thread.run_sync(lambda: asked.acquire(timeout=60))
                for number in range(20):
                    tasks.start_soon(call, number)
                if how == "is cancelled":
                    leader.cancel()
        assert told[3] == 20
        assert told["failed"] == (how == "fails")
        assert len(server.requests) == 1 + 21


def echo(peer: Peer) -> None:
    """Answers each question with images that name it."""
    while request := peer.request():
        target = request.split()[1].decode()
        (filters,) = parse_qs(urlsplit(target).query)["filters"]
        (label,) = json.loads(filters)["label"]
        peer.send(
            answer(json.dumps([{"Id": label, "Labels": {label: ""}}] * 200).encode(), chunks=1000)
        )


@pytest.mark.anyio
async def test_each_call_gets_the_answer_to_its_own_question() -> None:
    with serving(echo) as server:
        async with DockerClient(server.host) as client:

            async def call(number: int) -> None:
                for turn in range(3):
                    label = f"{number}-{turn}"
                    with anyio.move_on_after(0.001 if number % 5 == 0 else 60):
                        found = await client.list_images(label=label)
                        assert {image.id for image in found} == {label}

            await at_once(100, call)


RUNS: list[Callable[[Main], None]] = [
    lambda main: asyncio.run(main()),
    lambda main: uvloop.run(main()),
    lambda main: trio.run(main),
]


@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_one_client_serves_one_event_loop_after_the_other(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = None
    if kind == "tls":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)

    with serving(answering(LIST), tls=tls) as server:
        client = DockerClient(server.host)

        async def main() -> None:
            assert [image.id for image in await client.list_images()] == ids(3)

        for run in RUNS:
            run(main)
        before = descriptors()
        for number in range(60):
            RUNS[number % 3](main)
        assert descriptors() <= before + 3
        assert until(lambda: len(server.open) <= 3), "connections go with their event loop"
        asyncio.run(client.aclose())


def in_threads(*jobs: Callable[[], None]) -> None:
    """Run all jobs at once; what one raises is raised here."""
    failures: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for failure in failures:
        raise failure


def test_one_client_serves_several_event_loops_at_once_in_threads() -> None:
    with serving(docker("1.41", 100)) as server:
        client = DockerClient(server.host)

        async def main() -> None:
            async def call(_: int) -> None:
                for _ in range(5):
                    assert [image.id for image in await client.list_images()] == ids(100)

            await at_once(20, call)

        in_threads(*[lambda run=run: run(main) for run in RUNS])  # type: ignore[misc]
        assert len(server.requests) <= 300 + 3, "each loop negotiates at most once"
        asyncio.run(client.aclose())


def test_an_event_loop_that_rests_leaves_room_for_the_connections_of_another() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            if len(server.requests) > 1 and server.most_waiting < MAX_IDLE:
                peer.gather(MAX_IDLE)
            peer.send(LIST)

    with serving(script) as server:
        client = DockerClient(server.host)

        async def burst() -> None:
            await client.list_images()
            await at_once(MAX_IDLE, lambda _: client.list_images())

        async def calls() -> None:
            for _ in range(10):
                await client.list_images()
            await client.aclose()

        resting = asyncio.new_event_loop()
        resting.run_until_complete(burst())
        before = server.connections
        asyncio.run(calls())
        resting.close()
        assert server.connections == before + 1


def test_threads_that_come_first_at_once_find_one_engine() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            client = DockerClient("unix:///run/engine.sock")
            found: list[Endpoint] = []

            def find(client: DockerClient = client, found: list[Endpoint] = found) -> None:
                found.append(client.endpoint)

            in_threads(*[find] * 6)
            assert all(endpoint is found[0] for endpoint in found)
    finally:
        sys.setswitchinterval(interval)


def test_a_client_may_be_closed_by_another_thread_at_any_time() -> None:
    with serving(answering(answer(images(100), chunks=999))) as server:
        before = descriptors()
        for _ in range(20):
            client = DockerClient(server.host)
            running = threading.Event()

            async def main(
                client: DockerClient = client, running: threading.Event = running
            ) -> None:
                async def call(_: int) -> None:
                    with pytest.raises(RuntimeError, match="this client is closed"):  # noqa: PT012
                        while True:
                            assert [image.id for image in await client.list_images()] == ids(100)
                            running.set()

                await at_once(5, call)

            def close(client: DockerClient = client, running: threading.Event = running) -> None:
                assert running.wait(60)
                trio.run(client.aclose)

            in_threads(lambda main=main: asyncio.run(main()), close)  # type: ignore[misc]
        server.hang_up()
        assert until(lambda: descriptors() <= before + len(server.open))
