"""One deadline covers a whole call, whatever the engine does, and the error says in which stage."""

import socket
import tempfile
import time
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint
from hostile import LIST, OLD, Peer, Script, answer, images, serving, until

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
        async with DockerClient(server.host, timeout=0.15) as client:
            start = time.monotonic()
            with pytest.raises(EngineTimeoutError) as info:
                await client.list_images()
            assert time.monotonic() - start < 1.5
        assert str(info.value).startswith(f"{server.host} (host=) took longer than 0.15 s; ")
        assert f"the call was {stage}" in str(info.value)
        assert "timeout=" in str(info.value), "the next step"
        assert isinstance(info.value, TimeoutError)
        if script is not does_not_read:
            assert until(lambda: not server.open), "the connection is closed"


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
@pytest.mark.parametrize(
    "flood",
    [
        pytest.param((b"1;x=" + b"y" * 60_000 + b"\r\n \r\n") * 100, id="chunk extensions"),
        pytest.param((b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 6, id="spaces"),
    ],
)
async def test_a_flood_does_not_hold_up_the_event_loop_nor_the_deadline(
    flood: bytes, status: str
) -> None:
    # The socket is never empty, so the client never has to wait.
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(CHUNKED.replace(b"200 OK", status.encode()))
        while True:
            peer.send(flood)

    longest = 0.0  # CPU time of this thread between two turns: no other load moves it

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await checkpoint()
            longest = max(longest, time.thread_time() - before)

    with serving(script) as server:
        async with DockerClient(server.host) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            start = time.monotonic()
            with pytest.raises(DockerImagesError):  # the deadline, or a body that is too long
                await client.list_images(timeout=0.3)
            assert time.monotonic() - start < 1.5
            tasks.cancel_scope.cancel()
    assert longest < 0.03


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
        async with DockerClient(f"unix://{path}", timeout=0.3) as client:
            cpu = time.process_time()
            with pytest.raises(EngineTimeoutError, match="the call was connecting"):
                await client.list_images()
            assert time.process_time() - cpu < 0.2

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

            start = time.monotonic()
            async with anyio.create_task_group() as tasks:
                for _ in range(300):
                    tasks.start_soon(call)
            assert time.monotonic() - start < 5
        # One negotiates; a few more follow as the deadlines pass one by one.
        assert sum("waiting for its turn" in text for text in told) > 200
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
        async with DockerClient(server.host, timeout=5) as client:
            with pytest.raises(TimeoutError) as info, anyio.fail_after(0.1):
                await client.list_images()
    assert not isinstance(info.value, EngineTimeoutError)


async def test_the_deadline_covers_the_requests_of_a_call_together() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            peer.wait(0.15)
            peer.send(OLD)

    with serving(script) as server:
        async with DockerClient(server.host, timeout=0.25) as client:
            with pytest.raises(EngineTimeoutError, match="waiting for the answer"):
                await client.list_images()
        assert len(server.requests) == 2


async def test_a_call_in_time_is_not_disturbed() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        for byte in LIST:
            peer.send(bytes([byte]))

    with serving(script) as server:
        async with DockerClient(server.host, timeout=10) as client:
            assert len(await client.list_images()) == 3


async def test_tls_that_never_begins_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with serving(lambda peer: bool(peer.socket.recv(9999)) and peer.wait(0.4), tcp=True) as server:
        async with DockerClient(server.host, timeout=0.2) as client:
            with pytest.raises(EngineTimeoutError, match="the call was connecting"):
                await client.list_images()
        assert until(lambda: not server.open)
