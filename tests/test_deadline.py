"""One deadline covers a whole call, whatever the engine does, and the error says in which stage."""

import asyncio
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme
from anyio.lowlevel import checkpoint
from hostile import LIST, OLD, Peer, Script, answer, answering, images, serving, until

from docker_images import DockerClient, DockerImagesError, EngineTimeoutError

pytestmark = pytest.mark.anyio

CHUNKED = b"HTTP/1.1 200 OK\r\nApi-Version: 1.55\r\nTransfer-Encoding: chunked\r\n\r\n"


def is_silent(peer: Peer) -> None:
    while peer.request():
        pass


def does_not_read(peer: Peer) -> None:
    peer.wait()


def drips_the_head(peer: Peer) -> None:
    peer.request()
    peer.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)


def continues_for_ever(peer: Peer) -> None:
    peer.request()
    while True:
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.wait(0.02)


def drips_the_body(peer: Peer) -> None:
    peer.request()
    peer.send(answer(b"", headers={"Content-Length": "100000"}))
    peer.drip(images(100))


def drips_a_chunk_extension(peer: Peer) -> None:
    peer.request()
    peer.send(CHUNKED + b"1;x=")
    peer.drip(b"y" * 1000)


def drips_trailers(peer: Peer) -> None:
    peer.request()
    peer.send(CHUNKED + b"2\r\n[]\r\n0\r\n")
    peer.drip(b"X: y\r\n" * 1000)


def stops_in_the_body(peer: Peer) -> None:
    peer.request()
    peer.send(LIST[:-1])
    peer.request()


def drips_an_error(peer: Peer) -> None:
    peer.request()
    peer.send(answer(b"", "500 Oops", {"Content-Length": "100000"}))
    peer.drip(b"no" * 1000)


def sends_spaces_for_ever(peer: Peer) -> None:
    peer.request()
    peer.send(CHUNKED)
    while True:
        peer.send(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        peer.wait(0.001)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize(
    ("script", "stage"),
    [
        (is_silent, "waiting for the answer"),
        (does_not_read, "waiting for the answer"),
        (drips_the_head, "waiting for the answer"),
        (continues_for_ever, "waiting for the answer"),
        (drips_the_body, "reading the answer"),
        (drips_a_chunk_extension, "reading the answer"),
        (drips_trailers, "reading the answer"),
        (stops_in_the_body, "reading the answer"),
        (drips_an_error, "reading the answer"),
        (sends_spaces_for_ever, "reading the answer"),
    ],
)
async def test_a_call_ends_in_time_whatever_the_engine_does(
    script: Script, stage: str, tcp: bool
) -> None:
    with serving(script, tcp=tcp) as server:
        async with DockerClient(server.host) as client:
            for seconds in (0.15, 1.5, 15, 60):  # on a busy machine a stage is reached later
                with pytest.raises(EngineTimeoutError) as info:
                    await client.list_images(timeout=seconds)
                if stage in str(info.value):
                    break
        assert str(info.value).startswith(f"{server.host} (host=) took longer than {seconds} s; ")
        assert f"the call was {stage}" in str(info.value)
        assert "timeout=" in str(info.value), "the next step"
        assert isinstance(info.value, TimeoutError)
        if script is not does_not_read:
            assert until(lambda: not server.open), "the connection is closed"


class Flood(httpx.AsyncBaseTransport, httpx.AsyncByteStream):
    """An answer of spaces without end that are there already: nobody ever has to wait."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.sent = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, headers={"Api-Version": "1.55"}, stream=self)

    def __aiter__(self) -> "Flood":
        return self

    async def __anext__(self) -> bytes:
        self.sent += 1
        return b" "


@pytest.mark.parametrize("status", [200, 500])
async def test_a_flood_holds_up_neither_the_event_loop_nor_the_deadline(status: int) -> None:
    longest = 0  # bytes taken between two turns

    async def watch() -> None:
        nonlocal longest
        while True:
            before = flood.sent
            await checkpoint()
            longest = max(longest, flood.sent - before)

    for seconds in (0.3, 3, 30):  # on a busy machine it may come before the first byte
        flood = Flood(status)
        async with (
            DockerClient(transport=flood, max_response_bytes=1_000_000) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(watch)
            with pytest.raises(DockerImagesError):  # the deadline, or a body that is too long
                await client.list_images(timeout=seconds)
            tasks.cancel_scope.cancel()
        if longest:
            break
    assert 0 < longest < 30_000


async def test_a_full_backlog_ends_in_time_and_costs_little_or_is_waited_out() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="di-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as first,
    ):
        path = f"{folder}/engine.sock"
        listener.bind(path)
        listener.listen(0)
        first.connect(path)  # waits to be accepted; there is no room for another
        async with DockerClient(f"unix://{path}") as client:
            attempts = 0

            def count(frame: object, event: str, function: Any) -> None:
                nonlocal attempts
                attempts += event == "c_call" and function.__name__ == "connect_ex"

            sys.setprofile(count)
            try:
                with pytest.raises(EngineTimeoutError, match=r"connecting\. Is the engine overl"):
                    await client.list_images(timeout=0.3)
            finally:
                sys.setprofile(None)
            assert 0 < attempts <= 70, "it does not try all the time"

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.list_images)
                await anyio.sleep(0.05)
                listener.accept()[0].close()
                accepted = await anyio.to_thread.run_sync(listener.accept)
                with accepted[0] as peer:
                    assert await anyio.to_thread.run_sync(peer.recv, 10) == b"GET /v1.55"
                    peer.sendall(LIST)


async def test_those_who_wait_for_their_turn_have_a_deadline_too() -> None:
    with serving(is_silent) as server:
        async with DockerClient(server.host, timeout=0.2) as client:
            told: list[str] = []

            async def call() -> None:
                with pytest.raises(EngineTimeoutError) as info:
                    await client.list_images()
                told.append(str(info.value))

            async with anyio.create_task_group() as tasks:
                for _ in range(300):
                    tasks.start_soon(call)
        # One negotiates; a few more follow as the deadlines pass one by one.
        assert len(told) == 300
        assert sum("waiting for another call" in text for text in told) >= 100
        assert sum("waiting for the answer" in text for text in told) >= 1


async def test_the_deadline_of_a_call_replaces_that_of_the_client() -> None:
    with serving(is_silent) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(EngineTimeoutError, match=r"longer than 0\.05 s"):
                await client.list_images(timeout=0.05)
        async with DockerClient(server.host, timeout=0.05) as client:
            for call in (client.list_images, client.ping):
                with pytest.raises(EngineTimeoutError, match=r"longer than 0\.05 s"):
                    await call()


async def test_calls_end_in_the_order_of_their_deadlines_not_of_their_beginning() -> None:
    async def call(seconds: float) -> None:
        with pytest.raises(EngineTimeoutError):
            await client.list_images(timeout=seconds)
        ended.append(seconds)
        if len(ended) == 4:
            tasks.cancel_scope.cancel()

    with serving(is_silent) as server:
        for unit in (0.05, 0.5, 5):  # on a busy machine several may pass at once
            ended: list[float] = []
            async with (
                DockerClient(server.host) as client,
                anyio.create_task_group() as tasks,
            ):
                tasks.cancel_scope.deadline = anyio.current_time() + 60
                for units in (1000, 4, 1, 3, 500, 2):
                    tasks.start_soon(call, units * unit)
            if ended == sorted(ended):
                break
        assert ended == [unit, 2 * unit, 3 * unit, 4 * unit]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_calls_with_a_deadline_leave_hardly_a_timer_behind(anyio_backend: str) -> None:
    loop = asyncio.get_running_loop()
    with serving(answering(LIST)) as server, serving(is_silent) as hung:
        async with DockerClient(server.host) as client, DockerClient(hung.host) as waiting:
            before = len(vars(loop)["_scheduled"])
            for number in range(300):
                await client.list_images(timeout=60 - number % 7)
            for _ in range(30):  # each passes while a longer one is under way
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.list_images)
                    with pytest.raises(EngineTimeoutError):
                        await waiting.list_images(timeout=0.01)
            assert len(vars(loop)["_scheduled"]) - before <= 10


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_is_cancelled_at_the_deadline_is_cancelled(anyio_backend: str) -> None:
    loop = asyncio.get_running_loop()
    with serving(is_silent) as server:
        async with DockerClient(server.host) as client:
            for seconds in (0.1, 1, 10):  # on a busy machine it may come before it is looked at
                task = asyncio.create_task(client.list_images(timeout=seconds))
                await asyncio.sleep(seconds / 2)
                loop.call_later(seconds * 3 / 4, task.cancel)
                time.sleep(seconds)  # noqa: ASYNC251  both are due when the loop looks again
                with suppress(asyncio.CancelledError, EngineTimeoutError):
                    await task
                if task.cancelled():
                    break
            assert task.cancelled()


async def test_without_a_deadline_a_call_waits_until_it_is_cancelled() -> None:
    with serving(is_silent) as server:
        for client, call_timeout in (
            (DockerClient(server.host, timeout=None), ...),
            (DockerClient(server.host, timeout=0.01), None),
        ):
            async with client:
                with anyio.move_on_after(0.2) as scope:
                    await client.list_images(timeout=call_timeout)
                assert scope.cancelled_caught


async def test_a_deadline_around_the_call_stays_the_callers_own() -> None:
    with serving(is_silent) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(TimeoutError) as info, anyio.fail_after(0.1):
                await client.list_images()
    assert not isinstance(info.value, EngineTimeoutError)


async def test_the_deadline_covers_the_requests_of_a_call_together() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.wait(seconds / 2)
        peer.send(OLD)
        peer.request()
        peer.wait(seconds * 3 / 4)  # in time, had the second request a deadline of its own
        peer.send(LIST)
        peer.request()

    asked = []  # how often, in calls that ended at the deadline
    for seconds in (0.2, 2, 20, 60):  # on a busy machine it may come before the second request
        with serving(script) as server:
            async with DockerClient(server.host, timeout=seconds) as client:
                with suppress(EngineTimeoutError):
                    await client.list_images()
                    continue
        asked.append(len(server.requests))
        if asked[-1] == 2:
            break
    assert asked[-1:] == [2]


async def test_a_deadline_that_passes_after_the_call_disturbs_nobody() -> None:
    with serving(answering(LIST)) as server:
        async with DockerClient(server.host) as client:
            for seconds in (0.05, 0.5, 5, 50):  # on a busy machine a call may come too late
                with suppress(EngineTimeoutError):
                    await client.list_images(timeout=seconds)
                    await anyio.sleep(seconds + 0.05)
                    return
    pytest.fail("no call was in time")


async def test_a_call_in_time_is_not_disturbed() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        for byte in LIST:
            peer.send(bytes([byte]))

    with serving(script) as server:
        async with DockerClient(server.host) as client:
            assert len(await client.list_images(timeout=60)) == 3


async def test_tls_that_never_begins_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))

    def script(peer: Peer) -> None:
        while peer.socket.recv(9999):
            pass

    with serving(script, tcp=True) as server:
        async with DockerClient(server.host, timeout=0.2) as client:
            with pytest.raises(EngineTimeoutError, match="the call was connecting"):
                await client.list_images()
        assert until(lambda: not server.open)
