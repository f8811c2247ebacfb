"""A watch over every way to an engine, and left at any moment: what it tells, what stays behind.

The engine is a fake one; sshd, TLS and the wires are real. `DOCKER_IMAGES_WATCHES` sets how many
watches are left.
"""

import asyncio
import os
import random
import select
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import sshd
import trio
import trustme
import uvloop
from anyio.lowlevel import checkpoint
from hostile import Peer, Script, descriptors, serving, until

from docker_images import DockerClient, ImagesUpdate, ImagesWatch
from docker_images.testing import FakeEngine, image
from docker_images.transport.pool import MAX_CALLS

WATCHES = int(os.environ.get("DOCKER_IMAGES_WATCHES", "10000"))
Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
RUNS = [
    pytest.param(lambda main: asyncio.run(main()), id="asyncio"),
    pytest.param(lambda main: uvloop.run(main()), id="uvloop"),
    pytest.param(trio.run, id="trio"),
]


# ── Ways ────────────────────────────────────────────────────────────────────────────────────────


def to(host: str, meet: Callable[[Peer], None] | None = None, leave_out: bytes = b"") -> Script:
    """Passes bytes to a unix socket and back, from one thread.

    As a proxy it meets each peer first, and leaves out of the requests what is for the proxy.
    """

    def script(peer: Peer) -> None:
        if meet:
            meet(peer)
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(host.removeprefix("unix://"))
            near = peer.socket
            while True:
                hidden = near.pending() if isinstance(near, ssl.SSLSocket) else 0
                for one in [near] if hidden else select.select([near, engine], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is engine:
                        near.sendall(data)
                    else:
                        engine.sendall(data.replace(leave_out, b"") if leave_out else data)

    return script


def connect_to(tls: ssl.SSLContext) -> Callable[[Peer], None]:
    """Meets a peer as a proxy that is asked for a tunnel, and as the engine behind it."""

    def meet(peer: Peer) -> None:
        if not peer.request():
            raise ConnectionError
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.socket = tls.wrap_socket(peer.socket, server_side=True)
        peer.server.open.add(peer.socket)

    return meet


def as_socks(peer: Peer) -> None:
    """Meets a peer as a SOCKS5 proxy, RFC 1928."""
    name = b"engine.test"
    target = b"\x03%c%b%b" % (len(name), name, (2375).to_bytes(2, "big"))
    for asked, answer in (
        (b"\x05\x01\x00", b"\x05\x00"),
        (b"\x05\x01\x00" + target, b"\x05\x00\x00\x01" + bytes(6)),
    ):
        if peer.socket.recv(len(asked), socket.MSG_WAITALL) != asked:
            raise ConnectionError
        peer.send(answer)


def children() -> int:
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


Way = tuple[str, Callable[[], None]]
"""The host, and what breaks all connections there are."""


@contextmanager
def way_to(kind: str, engine: FakeEngine, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Way]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "DOCKER_TLS_VERIFY"):
        patch.delenv(name, raising=False)
    with ExitStack() as stack:
        match kind:
            case "unix" | "tcp":
                yield engine.host, engine.restart
            case "tls" | "CONNECT":
                name = "127.0.0.1" if kind == "tls" else "engine.test"
                authority = trustme.CA()
                authority.cert_pem.write_to_path(str(folder / "ca.pem"))
                patch.setenv("DOCKER_TLS_VERIFY", "1")
                patch.setenv("DOCKER_CERT_PATH", str(folder))
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert(name).configure_cert(tls)
                if kind == "tls":
                    server = stack.enter_context(serving(to(engine.host), tls=tls))
                    yield server.host, server.hang_up
                else:
                    proxy = to(engine.host, connect_to(tls))
                    server = stack.enter_context(serving(proxy, tcp=True))
                    patch.setenv("HTTPS_PROXY", server.host.replace("tcp://", "http://"))
                    yield "tcp://engine.test:2376", server.hang_up
            case "http proxy" | "socks5 proxy":
                proxy = (
                    to(engine.host, leave_out=b"http://engine.test:2375")
                    if kind == "http proxy"
                    else to(engine.host, as_socks)
                )
                server = stack.enter_context(serving(proxy, tcp=True))
                patch.setenv("HTTP_PROXY", server.host.replace("tcp", kind.removesuffix(" proxy")))
                yield "tcp://engine.test:2375", server.hang_up
            case "ssh":
                far = stack.enter_context(sshd.start_sshd(folder, engine.host))
                ssh, *words = far.command()
                script = folder / "bin" / "ssh"
                script.parent.mkdir()
                line = shlex.join([str(shutil.which(ssh)), *words])
                script.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
                script.chmod(0o755)
                patch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
                yield f"ssh://root@127.0.0.1:{far.port}", engine.restart
            case _:
                raise AssertionError(kind)


async def until_it(watch: ImagesWatch, said: Callable[[ImagesUpdate], bool]) -> None:
    with anyio.fail_after(60):
        async for update in watch:
            if said(update):
                return


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", ["unix", "tcp", "tls", "CONNECT", "http proxy", "socks5 proxy", "ssh"]
)
async def test_over_every_way_a_watch_tells_changes_survives_a_break_and_leaves_nothing(
    kind: str, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="di-") as folder,
        FakeEngine([image("web:1")], tcp=kind == "tcp") as engine,
        way_to(kind, engine, Path(folder), monkeypatch) as (host, break_off),
    ):
        async with DockerClient(host) as client:
            await client.list_images()  # threads and modules are there
        before = descriptors()
        processes = children()
        async with DockerClient(host) as client:
            with anyio.CancelScope() as leaving:
                async with client.watch_images() as watch:
                    for number in range(3):
                        name = f"db:{number}"
                        engine.images.add(image(name))
                        await until_it(watch, lambda update, name=name: name in update.tag_changes)
                        assert watch.source == "events"
                        assert watch.images == await client.list_images()
                        if number < 2:  # it is left while a stream is open
                            await anyio.to_thread.run_sync(break_off)
                    assert watch.reconnects >= 1
                    leaving.deadline = anyio.current_time() + 30  # an idle stream lasts longer
            assert not leaving.cancel_called
            assert await client.list_images()
        assert until(lambda: children() <= processes), "no process is left"
        assert until(lambda: descriptors() <= before), "no descriptor is left"


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="a network of its own takes Linux, root and ip",
)
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_direct_tcp_connection_that_dies_in_silence_is_noticed_within_90_seconds(
    loop: str,
) -> None:
    # In a network namespace of its own, whose packets are dropped from some moment on.
    program = f"""
        import subprocess, time
        import anyio
        from docker_images import DockerClient
        from docker_images.testing import FakeEngine, image

        def net(*words):
            subprocess.run(words, check=True)

        async def main():
            with FakeEngine([image("web:1")], tcp=True) as engine:
                async with (
                    DockerClient(engine.host, connect_timeout=5) as client,
                    client.watch_images(resync_interval=3600) as watch,
                ):
                    with anyio.move_on_after(3.5):  # what follows the opening is over
                        await anext(watch)
                    assert watch.source == "events"
                    lists, since = watch.lists, time.monotonic()
                    net("ip", "link", "set", "lo", "down")
                    update = await anext(watch)
                    print(time.monotonic() - since)
                    assert update.error is not None
                    engine.images.add(image("db:1"))
                    net("ip", "link", "set", "lo", "up")
                    update = await anext(watch)
                    assert len(update.added) == 1
                    assert watch.reconnects == 1

        net("ip", "link", "set", "lo", "up")
        anyio.run(main, backend={loop!r})
    """
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 90


# ── Leaving ─────────────────────────────────────────────────────────────────────────────────────


async def leave_often(engine: FakeEngine, count: int, draw: random.Random) -> None:
    """Open so many watches, five at once, and leave each at some moment of its life."""

    async def leave(client: DockerClient) -> None:
        with anyio.CancelScope() as scope:
            # A third are left in time, the others after some turns of the event loop.
            if draw.random() < 0.3:
                scope.deadline = anyio.current_time() + draw.random() * 0.02
                turns = -1
            else:
                turns = draw.randrange(150)
            async with anyio.create_task_group() as tasks:

                async def cut() -> None:
                    for _ in range(turns):
                        await checkpoint()
                    scope.cancel()

                if turns >= 0:
                    tasks.start_soon(cut)
                async with client.watch_images() as watch:
                    if draw.random() < 0.3:
                        engine.images.tag("web:1", f"web:{draw.randrange(5)}")
                    if draw.random() < 0.2:
                        scope.cancel()
                    async for _ in watch:
                        pass

    tasks_before = len(anyio.get_running_tasks())
    client = DockerClient(engine.host)
    for number in range(0, count, 5):
        if number % 100 == 0:  # a client's first call is left as well
            await client.aclose()
            client = DockerClient(engine.host)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(leave, client)
    pool = (client._engine or await client._find()).transport.pool
    assert pool._turns.value == MAX_CALLS, "no turn is lost"
    assert len(await client.list_images()) == 1
    await client.aclose()
    assert len(anyio.get_running_tasks()) == tasks_before


def left(run: Run, count: int) -> None:
    draw = random.Random(count)
    with FakeEngine([image("web:1")]) as engine:
        run(lambda: leave_often(engine, 5, draw))  # modules and threads are there
        before, processes = descriptors(), children()
        run(lambda: leave_often(engine, count, draw))
        assert until(lambda: descriptors() <= before), (descriptors(), before)
        assert children() == processes


@pytest.mark.parametrize("run", RUNS)
def test_watches_that_are_left_leave_nothing(run: Run) -> None:
    left(run, 100)


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_ten_thousand_of_them_leave_nothing(run: Run) -> None:
    left(run, WATCHES // len(RUNS))
