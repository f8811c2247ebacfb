"""Faults that people who do this job have met, or that attacks have found: what is right instead.

Each was reproduced on an earlier version of the library.
"""

import asyncio
import gc
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
import trustme
import uvloop
from hostile import (
    LIST,
    OLD,
    Peer,
    Server,
    answer,
    answering,
    docker,
    images,
    serving,
    until,
)

from docker_images import (
    TLS,
    ApiVersion,
    ApiVersionError,
    DockerClient,
    Endpoint,
    EndpointError,
    EngineConnectionError,
    EngineResponseError,
    EngineTimeoutError,
    ResponseFormatError,
    resolve_endpoint,
)
from docker_images.engine import engine
from docker_images.query import build_query
from docker_images.testing import FakeEngine, image
from docker_images.transport import EngineTransport, pool
from docker_images.transport.deadline import TimeLimitError, time_limit
from docker_images.transport.per_loop import PerLoop
from docker_images.transport.threads import FILES

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

RUNS = [
    pytest.param(lambda main: asyncio.run(main()), id="asyncio"),
    pytest.param(lambda main: uvloop.run(main()), id="uvloop"),
    pytest.param(trio.run, id="trio"),
]


# Calls of which none may leak a cancellation; 1000 for docs/reliability.md.
CALLS = int(os.environ.get("DOCKER_IMAGES_CUTS", "30"))


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.parametrize("status", [b"150 Hm", b"199 Hm", b"104 Hm", b"110 Response is Stale"])
@pytest.mark.parametrize("body", [b"[]", b'[{"Id":"sha256:evil"},'])
async def test_the_body_of_an_interim_answer_is_never_part_of_a_list(
    status: bytes, body: bytes
) -> None:
    interim = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    chunked = b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    for odd in (interim, chunked % (status, len(body), body)):
        with serving(answering(odd + answer(b" "))) as server:
            async with DockerClient(server.host) as client:
                with pytest.raises(ResponseFormatError, match="interim answer"):
                    await client.list_images()


@pytest.mark.anyio
async def test_a_flood_of_interim_bodies_ends_at_once() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        while True:
            peer.send(b"HTTP/1.1 150 Hm\r\nContent-Length: 100000\r\n\r\n" + b" " * 100_000)

    with serving(script) as server:
        async with DockerClient(server.host, max_response_bytes=1000) as client:
            with pytest.raises(ResponseFormatError, match="interim answer"):
                await client.list_images()


@pytest.mark.anyio
@pytest.mark.parametrize("before", [b"", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("protocol", [b"RTSP/1.0", b"ICE/1.1"])
async def test_another_protocol_is_not_taken_for_http(before: bytes, protocol: bytes) -> None:
    with serving(answering(before + LIST.replace(b"HTTP/1.1", protocol))) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(ResponseFormatError, match=protocol.decode()):
                await client.list_images()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("404 Not Found", "content digest sha256:ab: not found"),
        ("500 Oops", "locating image with ID ab"),
    ],
)
async def test_a_list_that_an_image_left_meanwhile_is_asked_for_once_more(
    status: str, message: str
) -> None:
    gone = answer(b'{"message":"%b"}' % message.encode(), status)
    with serving(answering(gone, LIST)) as server:
        async with DockerClient(server.host) as client:
            assert len(await client.list_images()) == 3
    with serving(answering(gone, gone, LIST)) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(EngineResponseError, match=message):
                await client.list_images()
        assert len(server.requests) == 2
    other = answer(b'{"message":"page not found"}', status)
    with serving(answering(other, LIST)) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(EngineResponseError, match="page not found"):
                await client.list_images()


@pytest.mark.anyio
async def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    with serving(answering(LIST)) as other:
        moved = {"Location": other.host, "Set-Cookie": "a=b; Path=/"}
        script = answering(
            answer(b"", "307 Temporary Redirect", moved), answer(b"[]", headers=moved)
        )
        with serving(script) as server:
            async with DockerClient(server.host) as client:
                with pytest.raises(EngineResponseError, match="307"):
                    await client.list_images()
                for _ in range(2):
                    assert await client.list_images() == []
            assert len(server.requests) == 3
            assert not [request for request in server.requests if b"cookie" in request.lower()]
        assert not other.requests


# ── Deadlines and cancellation ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("apart", [0, 0.0005, -0.0005, 0.002, -0.002])
def test_a_deadline_that_passes_with_that_of_a_scope_around_it_leaks_no_cancellation(
    run: Run, apart: float
) -> None:
    leaks = 0

    async def main() -> None:
        nonlocal leaks
        for number in range(60):
            seconds = 0.003
            try:
                with anyio.move_on_after(seconds + apart):
                    if number % 2:
                        with time_limit(seconds):
                            await anyio.sleep(60)
                    else:  # busy, as when a long list is decoded: both pass in one turn
                        with time_limit(seconds):
                            end = monotonic() + seconds + abs(apart) + 0.001
                            while True:
                                await anyio.lowlevel.checkpoint()
                                while monotonic() < end:
                                    pass
            except TimeLimitError:
                pass
            except BaseException:
                leaks += 1
            await anyio.lowlevel.checkpoint()  # raises what was left behind

    run(main)
    assert leaks == 0


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("apart", [0, 0.0005, -0.0005, 0.002, -0.002])
def test_a_call_whose_deadline_passes_with_that_of_its_caller_leaks_no_cancellation(
    run: Run, apart: float
) -> None:
    told: Counter[str] = Counter()

    async def main() -> None:
        async with DockerClient(server.host) as client:
            await client.list_images(timeout=60)
            for number in range(CALLS):
                seconds = 0.002 + number % 7 / 1000  # in all stages of a call
                try:
                    with anyio.move_on_after(seconds + apart):
                        assert len(await client.list_images(timeout=seconds)) == 1000
                except EngineTimeoutError:
                    told["late"] += 1
                except BaseException as error:
                    told[type(error).__name__] += 1
                try:
                    await anyio.lowlevel.checkpoint()  # raises what was left behind
                except BaseException:
                    told["left behind"] += 1

    with serving(answering(answer(images(1000)))) as server:
        run(main)
    assert {*told} <= {"late"}


@pytest.mark.parametrize("run", RUNS)
def test_a_deadline_passes_although_a_scope_within_was_cancelled_at_the_same_time(
    run: Run,
) -> None:
    async def twice() -> None:
        with anyio.move_on_after(0.005):
            await anyio.sleep(60)
        await anyio.sleep(60)

    async def main() -> None:
        for _ in range(20):
            with pytest.raises(TimeLimitError), time_limit(0.005):
                await twice()

    run(main)


async def quickest(call: Callable[[], Awaitable[object]]) -> float:
    """How long a call takes that ends with its deadline, at best; a busy machine adds to it."""
    shortest = inf
    for _ in range(5):
        begun = monotonic()
        with pytest.raises(EngineTimeoutError):
            await call()
        shortest = min(shortest, monotonic() - begun)
    return shortest


@pytest.mark.anyio
async def test_a_login_that_ignores_sigterm_ends_with_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with DockerClient("ssh://host") as client:
        assert await quickest(lambda: client.list_images(timeout=0.3)) < 2  # it was 3.3 and more


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["hangs at the login", "has no engine that answers"])
async def test_the_time_to_connect_over_ssh_runs_until_a_first_answer(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    hangs = (
        "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nO'; " if "engine" in what else ""
    )
    ssh.write_text(f"#!/bin/sh\n{hangs}exec sleep 600\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with DockerClient("ssh://host", connect_timeout=0.3) as client:
        with pytest.raises(EngineTimeoutError, match="connect_timeout= gives") as caught:
            await client.list_images()
    assert (caught.value.stage, caught.value.seconds) == ("connecting", 0.3)


@pytest.mark.anyio
async def test_a_flood_through_a_proxy_ends_with_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nApi-Version: 1.55\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(b"1\r\n \r\n" * 10_000)

    with serving(script, tcp=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.host.replace("tcp", "http"))
        async with DockerClient("tcp://engine.test:2375") as client:
            assert await quickest(lambda: client.list_images(timeout=0.3)) < 1  # it was 1.5


def endpoint_with(tls: TLS, server: Server) -> Endpoint:
    port = int(server.host.rpartition(":")[2])
    return Endpoint("tcp", server.host, "host=", hostname="127.0.0.1", port=port, tls=tls)


def threads() -> int:
    return sum(thread.name.startswith("docker_images") for thread in threading.enumerate())


@pytest.mark.anyio
async def test_a_file_that_cannot_be_read_to_its_end_holds_up_one_thread_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a dead mount: who opens a FIFO waits until somebody writes, and OpenSSL opens any file.
    os.mkfifo(tmp_path / "store.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.001)
            turns += 1

    before = threads()
    with serving(answering(LIST), tcp=True) as server:
        transport = EngineTransport(endpoint_with(TLS(), server))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(3):
                with pytest.raises(TimeLimitError), time_limit(0.1):
                    await engine.Engine(transport).list(build_query())
                assert threads() <= before + 1
            tasks.cancel_scope.cancel()
        await transport.aclose()
    assert turns > 3
    await anyio.to_thread.run_sync((tmp_path / "store.pem").write_text, "")
    assert until(lambda: threads() <= before), "who was waited for in vain leaves"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["ca", "cert", "key"])
async def test_a_fifo_in_the_place_of_a_certificate_is_refused_and_holds_up_no_thread(
    name: str, tmp_path: Path
) -> None:
    files = {each: str(tmp_path / f"{each}.pem") for each in ("ca", "cert", "key")}
    ca = trustme.CA()
    shown = ca.issue_cert("client@example.org")
    ca.cert_pem.write_to_path(files["ca"])
    shown.cert_chain_pems[0].write_to_path(files["cert"])
    shown.private_key_pem.write_to_path(files["key"])
    (tmp_path / f"{name}.pem").unlink()
    os.mkfifo(files[name])
    before = threads()
    with serving(answering(LIST), tcp=True) as server:
        transport = EngineTransport(endpoint_with(TLS(**files), server))
        with pytest.raises(EndpointError, match=f"{name}.pem: not a regular file"):
            await engine.Engine(transport).list(build_query())
        await transport.aclose()
    assert until(lambda: threads() <= before)


DEAD_MOUNT = """
import ctypes, os, sys
folder = sys.argv.pop(1)
fuse = os.open("/dev/fuse", os.O_RDWR)  # of which nobody reads, as if the server were gone
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
assert ctypes.CDLL(None).mount(b"dead", folder.encode(), b"fuse", 0, options) == 0
"""
CALLS_THERE = """
import anyio
from docker_images import DockerClient, EngineTimeoutError

turns = 0

async def count():
    global turns
    while True:
        await anyio.sleep(0.001)
        turns += 1

async def main(host):
    async with anyio.create_task_group() as tasks, DockerClient(host or None) as client:
        tasks.start_soon(count)
        for _ in range(2):
            before = turns
            try:
                await client.list_images(timeout=0.2)
            except EngineTimeoutError as error:
                print(error.stage, "|", str(error).partition(error.stage + ". ")[2])
            assert turns > before + 3
        tasks.cancel_scope.cancel()

anyio.run(main, sys.argv[1], backend=sys.argv[2])
"""
DOCTOR_THERE = """
from docker_images.cli import main
sys.exit(main(["doctor", "--timeout", "0.2", *sys.argv[1:]]))
"""


def on_a_dead_mount(
    program: str, mount: Path, *words: str, variable: str = ""
) -> subprocess.CompletedProcess[str]:
    """A program that is run where a mount is dead, maybe one that a variable names."""
    return subprocess.run(
        # In a namespace of its own nobody else comes across the mount.
        [
            *(shutil.which("unshare") or "unshare", "--mount"),
            *(sys.executable, "-c", DEAD_MOUNT + program, str(mount), *words),
        ],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **({variable: str(mount)} if variable else {})},
        capture_output=True,
        text=True,
        timeout=100,
    )


only_root_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="only root mounts"
)


@only_root_mounts
@pytest.mark.parametrize(
    ("host", "variable", "stage"),
    [
        pytest.param("", "HOME", "reading docker's configuration", id="home"),
        pytest.param("", "DOCKER_CONFIG", "reading docker's configuration", id="configuration"),
        pytest.param("unix://{}/x.sock", "", FILES, id="socket"),
        pytest.param("unix://{}.link", "", FILES, id="link to a socket"),
        pytest.param("https://127.0.0.1:9", "SSL_CERT_FILE", FILES, id="certificates"),
        pytest.param("ssh://host", "PATH", FILES, id="ssh"),
    ],
)
def test_what_lies_on_a_dead_mount_holds_up_neither_loop_nor_deadline_nor_process(
    host: str, variable: str, stage: str, anyio_backend: str, tmp_path: Path
) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    (tmp_path / "mount.link").symlink_to(mount / "x.sock")
    words = host.format(mount), anyio_backend
    done = on_a_dead_mount(CALLS_THERE, mount, *words, variable=variable)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{stage} | Is it on a dead mount? timeout= gives it more time\n" * 2


@only_root_mounts
@pytest.mark.parametrize(
    ("words", "variable", "check"),
    [
        pytest.param([], "HOME", "endpoint", id="home"),
        pytest.param(["--host", "unix://{}/x.sock"], "", "engine", id="socket"),
    ],
)
def test_doctor_asks_whether_a_mount_is_dead(
    words: list[str], variable: str, check: str, tmp_path: Path
) -> None:
    (tmp_path / "mount").mkdir()
    mount = tmp_path / "mount"
    words = [word.format(mount) for word in words]
    done = on_a_dead_mount(DOCTOR_THERE, mount, *words, "--json", variable=variable)
    assert (done.returncode, done.stderr) == (1, "")
    (failed,) = [row for row in json.loads(done.stdout)["checks"] if row["mark"] == "failed"]
    assert failed["check"] == check
    assert "Is it on a dead mount? --timeout gives it more time" in failed["result"]


AT_EXIT = """
import atexit, asyncio, sys
from docker_images import DockerClient, DockerImagesError

def ask(host):
    async def main():
        async with DockerClient(host) as client:
            return len(await client.list_images())
    try:
        print(asyncio.run(main()))
    except DockerImagesError as error:
        print(type(error).__name__, error.reason)

for host in reversed(sys.argv[1:]):
    atexit.register(ask, host)
"""


def test_at_the_end_of_a_process_a_first_call_is_a_list_or_an_error_of_ours() -> None:
    with serving(answering(LIST)) as unix, serving(answering(LIST), tcp=True) as tcp:
        name = tcp.host.replace("127.0.0.1", "localhost")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", AT_EXIT, unix.host, tcp.host, name],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.stderr == ""
    # From Python 3.12 on no thread can be started then, which a name needs.
    assert done.stdout in ("3\n3\n3\n", "3\n3\nEngineConnectionError network\n")


@pytest.mark.anyio
async def test_where_no_thread_can_be_started_ssh_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with DockerClient("ssh://host") as client:
        with monkeypatch.context() as limited:
            limited.setattr(threading.Thread, "start", refuse)
            with pytest.raises(EngineConnectionError, match="no thread can be started"):
                await client.list_images()


# ── Turns ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_of_three_hundred_pollers_the_slowest_is_served_half_as_often_as_the_median() -> None:
    served: Counter[int] = Counter()

    async def poll(number: int) -> None:
        while sum(served.values()) < 3000:
            assert len(await client.list_images()) == 3
            served[number] += 1

    with serving(docker("1.55")) as server:
        async with DockerClient(server.host) as client, anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(poll, number)
    counts = sorted(served[number] for number in range(300))
    assert counts[0] >= counts[150] / 2
    assert counts[150] >= 5, "half of what each has of 3000"


@pytest.mark.anyio
async def test_a_first_call_without_a_deadline_on_a_hung_engine_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.1)

    def script(peer: Peer) -> None:
        while peer.request():
            if peer.number == 0:
                asked.set()
                peer.wait()
            peer.send(LIST)

    asked = threading.Event()
    with serving(script) as server:
        async with DockerClient(server.host) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.list_images(timeout=None))
            assert await anyio.to_thread.run_sync(asked.wait, 60)
            lists: list[int] = []

            async def call() -> None:
                lists.append(len(await client.list_images()))

            async with anyio.create_task_group() as others:
                for _ in range(10):
                    others.start_soon(call)
            assert lists == [3] * 10
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_watches_and_a_question_for_the_version_come_on_top_of_the_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "MAX_CALLS", 1)
    with FakeEngine([image("web:1")]) as fake:
        async with DockerClient(fake.host) as client, AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(client.watch_images())
            assert len(await client.list_images()) == 1
    told = answer(b'{"ApiVersion":"1.55"}')
    without = {
        path: found.replace(b"Api-Version", b"X") for path, found in (("", LIST), ("v", told))
    }

    def script(peer: Peer) -> None:
        while request := peer.request():
            peer.send(without["v" if b"/version" in request else ""])

    with serving(script) as server:
        async with DockerClient(server.host) as client:
            assert len(await client.list_images(shared_size=True)) == 3
            assert b"GET /version" in server.requests[-1]


# ── Connections ─────────────────────────────────────────────────────────────────────────────────


def falls_silent(peer: Peer) -> None:
    """Answers until `peer.server.silent` is set; then only new connections are served."""
    born_silent = getattr(peer.server, "silent", False)
    while peer.request():
        if getattr(peer.server, "silent", False) and not born_silent:
            peer.wait()
            return
        if not getattr(peer.server, "silent", False):
            peer.gather(6)
        peer.send(LIST)


@pytest.mark.anyio
@pytest.mark.parametrize("who", ["the deadline passes", "the caller gives up"])
async def test_six_kept_connections_that_die_in_silence_cost_one_call(who: str) -> None:
    with serving(falls_silent, tcp=True) as server:
        async with DockerClient(server.host, api_version="1.55") as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(client.list_images)
            assert server.connections == 6
            server.silent = True  # type: ignore[attr-defined]
            if who == "the caller gives up":
                with anyio.move_on_after(0.2) as scope:
                    await client.list_images()
                assert scope.cancelled_caught
            else:
                with pytest.raises(EngineTimeoutError):
                    await client.list_images(timeout=0.2)
            assert len(await client.list_images()) == 3
            assert server.connections == 7


@pytest.mark.anyio
@pytest.mark.parametrize(("tcp", "connections"), [(True, 2), (False, 1)])
async def test_a_connection_to_tcp_that_was_idle_for_too_long_is_not_used(
    tcp: bool, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(pool, "monotonic", lambda: now)
    with serving(answering(LIST), tcp=tcp) as server:
        async with DockerClient(server.host) as client:
            await client.list_images()
            now += 29
            await client.list_images()
            assert server.connections == 1
            now += 31
            await client.list_images()
            assert server.connections == connections


# Threads are what is tested: Python warns of any, and from 3.15 on before it forks.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_uses_connections_of_its_own() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(answer(images(peer.number + 1)))

    def lists(times: int) -> set[int]:
        return {len(loop.run_until_complete(client.list_images())) for _ in range(times)}

    with serving(script) as server:
        loop = asyncio.new_event_loop()
        client = DockerClient(server.host)
        assert lists(2) == {1}
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(writing, b"%d" % min(lists(20)))
            finally:
                os._exit(0)
        os.close(writing)
        assert lists(20) == {1}
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert os.read(reading, 10) == b"2", "the child has made a connection"
        assert lists(20) == {1}, "and closed nothing of its parent's"
        os.close(reading)
        loop.run_until_complete(client.aclose())
        loop.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_in_the_event_loop_of_its_parent_waits_for_no_thread() -> None:
    with FakeEngine([image("web:1")]) as fake:
        loop = asyncio.new_event_loop()
        client = DockerClient(fake.host, timeout=5)
        loop.run_until_complete(client.list_images())
        child = os.fork()
        if not child:
            try:
                # The bytes that are to wake this loop may all be read by the parent's.
                loop.call_soon_threadsafe = lambda *args, **kwargs: None  # type: ignore[assignment]
                os._exit(len(loop.run_until_complete(client.list_images())))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        loop.run_until_complete(client.aclose())
        loop.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.anyio
async def test_a_thread_that_forks_leaves_the_watch_of_its_parent_alone() -> None:
    def fork() -> int:
        child = os.fork()
        if not child:
            try:
                signal.alarm(20)
                found = asyncio.run(client.list_images())
                gc.collect()
                os._exit(len(found))
            finally:
                os._exit(99)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with FakeEngine([image("web:1")]) as fake:
        async with DockerClient(fake.host) as client, client.watch_images() as watch:
            assert await anyio.to_thread.run_sync(fork) == 1
            fake.images.add(image("db:1"))
            with anyio.fail_after(60):
                update = await anext(watch)
            assert (len(update.images), update.error) == (2, None)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("where", ["another event loop", "the first call"])
def test_a_process_that_is_forked_while_another_thread_asks_is_not_held_up(where: str) -> None:
    # A child has none of its parent's threads, and so nobody to open what one of them has locked.
    def stay() -> None:
        if threading.current_thread() is other:
            is_there.set()
            may_go_on.wait(60)

    class SlowLoop(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            stay()
            return super().is_closed()

    class SlowHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stay()

    async def ask() -> None:
        if where == "the first call":
            assert client.endpoint.warnings
        else:
            values.get()

    is_there, may_go_on = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: asyncio.run(ask()))
    client, values = DockerClient("/run/engine.sock"), PerLoop(object)
    handler = SlowHandler()
    logging.getLogger("docker_images").addHandler(handler)
    loop = SlowLoop()
    try:
        if where == "another event loop":
            loop.run_until_complete(ask())
        other.start()
        assert is_there.wait(60)
        child = os.fork()
        if not child:
            try:
                signal.alarm(20)
                asyncio.run(ask())
            finally:
                os._exit(0)
        may_go_on.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        other.join(60)
    finally:
        logging.getLogger("docker_images").removeHandler(handler)
        loop.close()


def test_threads_that_negotiate_anew_at_the_same_time_never_ask_without_a_version() -> None:
    def script(peer: Peer) -> None:
        number = 0
        while peer.request():
            number += 1
            peer.send((OLD.replace(b"1.41", b"1.12"), answer(images(3)))[number % 2])

    async def calls() -> None:
        for _ in range(100):
            try:
                await client.list_images()
            except Exception as error:
                told.append(error)

    told: list[Exception] = []
    with serving(script) as server:
        client = DockerClient(server.host)
        threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not [error for error in told if isinstance(error, TypeError)]
        assert not [request for request in server.requests if b"None" in request]


class Flickering(engine.Engine):
    """As if another thread lost the version at every second look, and found it at the next."""

    looks = 0

    @property
    def version(self) -> ApiVersion | None:
        self.looks += 1
        return ApiVersion(1, 55) if self.looks % 2 else None

    @version.setter
    def version(self, value: ApiVersion | None) -> None:
        pass


@pytest.mark.anyio
@pytest.mark.parametrize("looks", [0, 1])
async def test_a_version_that_another_thread_loses_meanwhile_is_never_none_in_a_request(
    looks: int,
) -> None:
    with serving(answering(LIST)) as server:
        transport = EngineTransport(resolve_endpoint({}, host=server.host))
        flickering = Flickering(transport)
        flickering.looks = looks
        for _ in range(5):
            with suppress(ApiVersionError):
                await flickering.list(build_query())
        await transport.aclose()
        assert len(server.requests) >= 5
        assert all(b"GET /v1.55/images/json" in request for request in server.requests)


# ── What is known afterwards ────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_after_a_ping_the_version_and_the_engine_are_known() -> None:
    head = {"Api-Version": "1.41", "Server": "Docker/20.10.24 (linux)", "Ostype": "linux"}
    with serving(answering(answer(b"OK", headers=head))) as server:
        async with DockerClient(server.host) as client:
            assert (client.engine, client.api_version) == (None, None)
            info = await client.ping(timeout=60)
            assert client.engine == info
            assert (str(info), client.api_version) == ("Docker 20.10.24", ApiVersion(1, 41))


def test_a_client_says_its_host_and_its_state() -> None:
    client = DockerClient("unix:///run/engine.sock")
    assert repr(client) == "<DockerClient host='unix:///run/engine.sock', open>"
    asyncio.run(client.aclose())
    assert repr(client) == "<DockerClient host='unix:///run/engine.sock', closed>"
    assert "context='prod'" in repr(DockerClient(context="prod"))
    assert "not looked up yet" in repr(DockerClient())


def test_a_deadline_of_any_size_is_a_number_or_a_value_error() -> None:
    for timeout in (10**400, -(10**400)):
        with pytest.raises(ValueError, match="timeout"):
            DockerClient(timeout=timeout)
        with pytest.raises(ValueError, match="connect_timeout"):
            DockerClient(connect_timeout=timeout)


# ── The command ─────────────────────────────────────────────────────────────────────────────────

UNHEARD = """
mount --bind "$1/resolv.conf" /etc/resolv.conf
shift
exec "$@"
"""


def lasting(command: list[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    """How long a whole process takes, and how it ended."""
    begun = monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    return monotonic() - begun, done


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can change resolv.conf"
)
def test_the_command_ends_within_a_second_of_its_deadline_although_no_name_server_answers(
    tmp_path: Path,
) -> None:
    # The C library would wait for two and a half minutes.
    # An address for each process, so that two may be tested at the same time.
    address = f"127.6.{os.getpid() // 256 % 256}.{os.getpid() % 256}"
    resolving = f"nameserver {address}\noptions timeout:30 attempts:5\n"
    (tmp_path / "resolv.conf").write_text(resolving)
    command = shlex.split(
        f"unshare --mount sh -ec {shlex.quote(UNHEARD)} sh {tmp_path}"
        f" {sys.executable} -m docker_images --timeout 0.5 -H"
    )
    after = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind((address, 53))
        mute.settimeout(0)
        while not after or (min(after) > 1 and len(after) < 10):
            # A machine that is busy takes its time to start and to end any process.
            alone, _ = lasting([*command, "unix:///nowhere"])
            seconds, done = lasting([*command, "tcp://engine.test"])
            after.append(seconds - alone - 0.5)
            assert b"engine" in mute.recv(1000), "it was asked"
            assert done.returncode == 1
            says = "the call was looking up the name. Does the name server answer?"
            assert says in done.stderr
    assert min(after) <= 1
