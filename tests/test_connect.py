"""Byte streams over sockets: how they wait, on any event loop, and how they end."""

import asyncio
import errno
import gc
import socket
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio
import uvloop
from hostile import LIST, answering, descriptors, serving, until

from docker_images import DockerClient, EngineConnectionError, EngineTimeoutError
from docker_images.transport.sockets import SocketStream, open_tcp

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


# ── Names and addresses ─────────────────────────────────────────────────────────────────────────


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let the name server answer with these, in this order."""

    def getaddrinfo(host: str, port: object, *_: object, **__: object) -> list[Any]:
        kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port or 0))
            for kind, address in zip(kinds, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """A listener whose backlog is full: to connect takes for ever."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((address, port))
        listener.listen(0)
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex((address, port))
        yield


@pytest.mark.anyio
@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.2", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.3", "127.0.0.1"),
        ("::1", "127.0.0.2", "127.0.0.1"),
        ("127.0.0.2", "::1", "127.0.0.1"),
    ],
    ids=" ".join,
)
async def test_an_address_that_is_dead_does_not_keep_the_next_one_from_being_tried(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering(LIST), tcp=True) as server, ExitStack() as holes:
        port = int(server.host.rpartition(":")[2])
        for address in addresses[:-1]:
            if ":" not in address:  # nothing listens on ::1
                holes.enter_context(black_hole(address, port))
        names(monkeypatch, *addresses)
        async with DockerClient(f"tcp://engine.test:{port}") as client:
            assert len(await client.list_images()) == 3
        assert server.connections == 1


@pytest.mark.anyio
async def test_where_no_address_answers_the_error_is_that_of_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    names(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with DockerClient(f"tcp://engine.test:{port}") as client:
        with pytest.raises(EngineConnectionError, match="nothing listens") as info:
            await client.list_images()
    assert (info.value.reason, info.value.errno) == ("refused", errno.ECONNREFUSED)


@pytest.mark.anyio
async def test_a_host_that_is_down_costs_the_time_to_connect_only() -> None:
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    with black_hole("127.0.0.2", port):
        host = f"tcp://127.0.0.2:{port}"
        async with DockerClient(host, timeout=60, connect_timeout=0.1) as client:
            with pytest.raises(EngineTimeoutError, match=r"connect_timeout= gives") as info:
                await client.list_images()
    assert (info.value.stage, info.value.seconds) == ("connecting", 0.1)


@pytest.mark.anyio
async def test_a_name_server_that_never_answers_is_asked_by_one_thread_for_each_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()
    asked = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        answers.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serving(answering(LIST), tcp=True) as healthy:
        clients = [DockerClient(f"tcp://{name}.test:2375") for name in "aaab"]
        try:
            for client in clients * 2:
                for timeout in (0.05, 0.5, 5, 50):  # longer, until it gets that far
                    with pytest.raises(EngineTimeoutError) as info:
                        await client.list_images(timeout=timeout)
                    if info.value.stage == "looking up the name":
                        break
                else:
                    pytest.fail(f"never looked up the name: {info.value}")
            assert asked == ["a.test", "b.test"]
            async with DockerClient(healthy.host) as client:
                assert len(await client.list_images()) == 3
        finally:
            answers.set()
            for client in clients:
                await client.aclose()


@pytest.mark.anyio
async def test_where_no_thread_can_be_started_a_name_is_an_error_and_an_address_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving(answering(LIST, LIST), tcp=True) as server:
        port = server.host.rpartition(":")[2]
        async with DockerClient(server.host) as warm:
            await warm.list_images()  # the server's thread for the connection has started
            monkeypatch.setattr(threading.Thread, "start", refuse)
            assert len(await warm.list_images()) == 3
        async with DockerClient(f"tcp://engine.test:{port}") as client:
            with pytest.raises(EngineConnectionError, match="no thread can be started"):
                await client.list_images()
        monkeypatch.undo()


@pytest.mark.anyio
async def test_tcp_is_kept_alive_and_never_waits_to_send() -> None:
    with serving(answering(LIST), tcp=True) as server:
        port = int(server.host.rpartition(":")[2])
        stream = await open_tcp("127.0.0.1", port)
        sock = stream._socket
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 10, 3]
        await stream.aclose()
