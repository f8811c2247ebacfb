"""Byte streams over sockets: how they wait, on any event loop, and how they end."""

import asyncio
import gc
import socket
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio
import uvloop
from hostile import LIST, answering, descriptors, serving, until

from docker_images import DockerClient
from docker_images.transport.sockets import SocketStream

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

ASYNCIO = [
    pytest.param(lambda main: asyncio.run(main()), id="asyncio"),
    pytest.param(lambda main: uvloop.run(main()), id="uvloop"),
]
ALL = [*ASYNCIO, pytest.param(trio.run, id="trio")]


@contextmanager
def pair() -> Iterator[tuple[SocketStream, socket.socket]]:
    """A stream and its peer."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        stream = SocketStream(ours)
        yield stream, theirs
        stream.abort()


async def answered(stream: SocketStream, peer: socket.socket, data: bytes) -> None:
    """Have the stream wait for what comes a little later."""
    got = []

    async def receive() -> None:
        got.append(await stream.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.sleep(0.01)
        peer.sendall(data)
    assert got == [data]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("run", ALL)
def test_what_comes_is_received_whether_it_is_there_or_not(run: Run) -> None:
    async def main() -> None:
        with pair() as (stream, peer):
            for number in range(20):
                if number % 3:
                    await answered(stream, peer, b"%d" % number)
                else:
                    peer.sendall(b"%d" % number)
                    assert await stream.receive() == b"%d" % number
            peer.close()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()

    run(main)


@pytest.mark.parametrize("run", ALL)
def test_a_wait_that_is_cancelled_harms_no_later_one(run: Run) -> None:
    async def main() -> None:
        with pair() as (stream, peer):
            for number in range(5):
                with anyio.move_on_after(0.005) as scope:
                    await stream.receive()
                assert scope.cancelled_caught
                await answered(stream, peer, b"%d" % number)

    run(main)


@pytest.mark.parametrize("run", ALL)
def test_a_stream_serves_one_event_loop_after_the_other(run: Run) -> None:
    with pair() as (stream, peer):
        for each in [run, *(param.values[0] for param in ALL), run]:

            async def main() -> None:
                assert not stream.is_stale()
                await answered(stream, peer, b"here")

            each(main)  # type: ignore[operator]


def closed(stream: SocketStream) -> None:
    stream.abort()


def in_a_thread(stream: SocketStream) -> None:
    thread = threading.Thread(target=stream.abort)
    thread.start()
    thread.join()


def forgotten(_: SocketStream) -> None:
    pass


@pytest.mark.parametrize("run", ASYNCIO)
@pytest.mark.parametrize("end", [closed, in_a_thread, forgotten])
def test_however_a_stream_ends_its_number_is_free_for_the_next(
    run: Run, end: Callable[[SocketStream], None]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        number = ours.fileno()
        stream = SocketStream(ours)
        del ours
        await answered(stream, peer, b"one")
        end(stream)
        del stream
        gc.collect()
        await turns()
        assert peer.recv(1) == b"", "it is closed"
        assert not loop.remove_reader(number)
        peer.close()
        with pair() as (stream, peer):
            await answered(stream, peer, b"two")

    before = descriptors()
    for _ in range(3):
        run(main)
    assert descriptors() <= before


@pytest.mark.parametrize("run", ALL)
@pytest.mark.parametrize("end", [closed, in_a_thread, forgotten])
def test_it_may_end_after_its_event_loop(run: Run, end: Callable[[SocketStream], None]) -> None:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    streams = [SocketStream(ours)]
    del ours

    async def main() -> None:
        await answered(streams[0], peer, b"one")

    run(main)
    end(streams[0])
    streams.clear()
    gc.collect()
    assert peer.recv(1) == b"", "it is closed"
    peer.close()


def test_trio_may_be_the_guest_of_asyncio() -> None:
    async def host() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=ended.set_result,
        )
        (await ended).unwrap()

    async def guest() -> None:
        with pair() as (stream, peer):
            await answered(stream, peer, b"one")
            await answered(stream, peer, b"two")

    asyncio.run(host())


def test_a_peer_that_resets_is_an_oserror_on_every_loop() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            ours.setblocking(False)
            stream = SocketStream(ours)
            peer, _ = server.accept()

            async def receive() -> None:
                with pytest.raises(ConnectionResetError):
                    await stream.receive()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive)
                await anyio.sleep(0.01)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()
            await stream.aclose()

    for param in ALL:
        param.values[0](main)  # type: ignore[operator]


def test_a_forgotten_client_lets_go_of_its_connection_while_the_loop_runs() -> None:
    async def main() -> None:
        client = DockerClient(server.host)
        assert len(await client.list_images()) == 3
        del client
        gc.collect()
        await turns()
        assert until(lambda: not server.open)

    with serving(answering(LIST)) as server:
        for param in ALL[:2]:
            param.values[0](main)  # type: ignore[operator]


class Value:
    """Something that a request holds."""


@pytest.mark.parametrize("run", ASYNCIO)
def test_neither_an_idle_connection_nor_a_deadline_holds_anything_of_its_task(run: Run) -> None:
    variable: ContextVar[Value] = ContextVar("variable")

    async def request(client: DockerClient) -> weakref.ref[Value]:
        value = Value()
        variable.set(value)
        await client.list_images()
        return weakref.ref(value)

    async def main() -> None:
        async with DockerClient(server.host) as client:
            value = await asyncio.create_task(request(client))
            await turns()
            gc.collect()
            assert value() is None

    with serving(answering(LIST)) as server:
        run(main)


@pytest.mark.parametrize("run", ASYNCIO)
def test_a_client_that_goes_in_a_cycle_outside_of_tasks_leaves_the_next_one_alone(run: Run) -> None:
    # The collector finds the socket before the stream: were it closed then, the next connection
    # would get its number while the loop still watches that.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gc.disable()
        try:
            for _ in range(20):
                client = DockerClient(server.host)
                await client.list_images()
                client.itself = client  # type: ignore[attr-defined]
                del client
                loop.call_soon(gc.collect)
                await asyncio.sleep(0)
                async with DockerClient(server.host) as another:
                    assert len(await another.list_images()) == 3
        finally:
            gc.enable()

    with serving(answering(LIST)) as server:
        run(main)
