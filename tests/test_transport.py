"""What the client makes of an engine that lies, and how it uses its connections.

From the call to the bytes and back, over real sockets. An answer leads to the right list, or to a
`DockerImagesError` that names the address; never to a wrong list, never to another exception.
"""

import gc
import subprocess
import sys
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest
from hostile import (
    LIST,
    OLD,
    Peer,
    Script,
    answer,
    answering,
    descriptors,
    ids,
    images,
    serving,
    until,
)

from docker_images import (
    DockerClient,
    DockerImagesError,
    EngineConnectionError,
    EngineResponseError,
    ResponseFormatError,
)
from docker_images.endpoint.hosts import resolve_endpoint
from docker_images.transport import EngineTransport
from docker_images.transport.pool import MAX_IDLE

pytestmark = pytest.mark.anyio

THREE = images(3)


async def ask(host: str, timeout: float = 60, **options: object) -> list[str]:
    async with DockerClient(host, timeout=timeout, **options) as client:  # type: ignore[arg-type]
        return [image.id for image in await client.list_images()]


# ── Lies ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(LIST, id="plain"),
        pytest.param(answer(THREE, chunks=1), id="chunks of one byte"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + LIST, id="100 first"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + THREE, id="HTTP/1.0 without a length"),
        pytest.param(LIST + answer(images(9)), id="a second answer at once"),
        pytest.param(LIST + b"garbage", id="garbage after it"),
        pytest.param(answer(b" \n" + THREE + b"\n\t "), id="space around it"),
        pytest.param(answer(THREE.replace(b'"Id"', b'"Id":"x","Id"')), id="duplicate keys"),
        pytest.param(answer(images(3, New={"a": [None, 1e9]})), id="unknown keys"),
        pytest.param(answer(THREE, headers={"Content-Encoding": "gzip"}), id="not really gzip"),
        pytest.param(answer(THREE, headers={"Api-Version": "9" * 5000}), id="a version of 5000 9s"),
        pytest.param(
            answer(THREE, headers={"Api-Version": "ÿ\xa0¹.²"}), id="a version of no digits"
        ),
        pytest.param(answer(THREE, headers={"Content-Type": "image/png"}), id="of another type"),
        pytest.param(answer(THREE, headers={"Set-Cookie": "a=b"}), id="cookies"),
    ],
)
async def test_an_odd_answer_is_read_for_what_it_is(raw: bytes) -> None:
    with serving(answering(raw, close=True)) as server:
        assert await ask(server.host) == ids(3)


def gzipped(data: bytes) -> bytes:
    return zlib.compress(data, wbits=31)


@pytest.mark.parametrize(
    ("raw", "kind", "why"),
    [
        pytest.param(b"", EngineConnectionError, "closed the connection", id="nothing"),
        pytest.param(
            LIST[:-1], EngineConnectionError, "closed the connection", id="length too long"
        ),
        pytest.param(
            answer(THREE, headers={"Content-Length": "100"}),
            ResponseFormatError,
            "truncated",
            id="length too short",
        ),
        pytest.param(
            answer(THREE, chunks=50)[:-60], EngineConnectionError, "closed", id="truncated chunks"
        ),
        pytest.param(
            answer(THREE, chunks=50).replace(b"\r\n32\r\n", b"\r\n3x\r\n", 1),
            ResponseFormatError,
            "chunk size",
            id="malformed chunks",
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\n\r\n" + THREE[:-1],
            ResponseFormatError,
            "truncated",
            id="HTTP/1.0, cut off",
        ),
        pytest.param(answer(b"", "204 No Content"), EngineResponseError, "204", id="204"),
        pytest.param(answer(THREE, "206 Partial Content"), EngineResponseError, "206", id="206"),
        pytest.param(
            answer(b"", "301 Moved", {"Location": "http://[/"}),
            EngineResponseError,
            "301",
            id="301",
        ),
        pytest.param(
            answer(b"", "304 Not Modified", {"Content-Length": "99"}),
            EngineResponseError,
            "304",
            id="304",
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
            ResponseFormatError,
            "another protocol",
            id="101",
        ),
        pytest.param(
            answer(gzipped(THREE), headers={"Content-Encoding": "gzip"}),
            ResponseFormatError,
            "compressed",
            id="gzip",
        ),
        pytest.param(answer(b""), ResponseFormatError, "truncated", id="an empty body"),
        pytest.param(answer(b"null"), ResponseFormatError, "got `null`", id="null"),
        pytest.param(answer(b"{}"), ResponseFormatError, "got `object`", id="an object"),
        pytest.param(answer(b"[null]"), ResponseFormatError, "got `null`", id="a null image"),
        pytest.param(answer(b"[[]]"), ResponseFormatError, "got `array`", id="a list of lists"),
        pytest.param(answer(b"[{}]"), ResponseFormatError, "`Id`", id="an image without an id"),
        pytest.param(answer(THREE + b"]"), ResponseFormatError, "malformed", id="JSON and more"),
        pytest.param(answer(THREE * 2), ResponseFormatError, "malformed", id="two lists"),
        pytest.param(
            answer(THREE.replace(b"demo/", b"\xff\xfe", 1)),
            ResponseFormatError,
            "UTF-8",
            id="UTF-8",
        ),
        pytest.param(
            answer(b'[{"Id":"\\ud800"}]'),
            ResponseFormatError,
            "cannot be read",
            id="half a surrogate",
        ),
        pytest.param(
            answer(b'[{"Id":"a","Size":NaN}]'), ResponseFormatError, "malformed", id="NaN"
        ),
        pytest.param(
            answer(b'[{"Id":"a","Size":1.5}]'), ResponseFormatError, "`float`", id="a fraction"
        ),
        pytest.param(
            answer(b'[{"Id":"a","Size":1e999}]'), ResponseFormatError, "out of range", id="1e999"
        ),
        pytest.param(
            answer(b'[{"Id":"a","Size":"1"}]'),
            ResponseFormatError,
            "`str`",
            id="a number in quotes",
        ),
        pytest.param(
            answer(b'[{"Id":"a","x":' + b"[" * 10**6),
            ResponseFormatError,
            "deep",
            id="deep arrays",
        ),
        pytest.param(
            answer(b'[{"Id":"a","x":' + b'{"x":' * 10**6),
            ResponseFormatError,
            "deep",
            id="objects",
        ),
        pytest.param(
            answer(b"<html><style>a{}</style>Bad\x1b[31m Gateway</html>", "502 Bad Gateway"),
            EngineResponseError,
            "Bad�[31m Gateway",
            id="HTML",
        ),
        pytest.param(
            answer(b"page not found\n", "404 Not Found"),
            EngineResponseError,
            "404: page not found",
            id="plain text",
        ),
        pytest.param(
            answer(b'{"cause":"that","response":500}', "500 Oops"),
            EngineResponseError,
            "500: that",
            id="without a message",
        ),
        pytest.param(
            answer(b"", "500 Oops"), EngineResponseError, "without a message", id="no body"
        ),
        pytest.param(
            answer(b'{"message":' + b"[" * 99_999, "500 Oops"),
            EngineResponseError,
            "500",
            id="deep",
        ),
        pytest.param(
            answer(b'{"message":"\\u001b]0;owned\\u0007\\u202e\\n"}', "500 Oops"),
            EngineResponseError,
            "500: �]0;owned��",
            id="control characters",
        ),
        pytest.param(
            answer(b"x" * 2**20, "500 Oops"), EngineResponseError, "xxx…", id="a MiB of words"
        ),
        pytest.param(answer(b"<" * 2**20, "500 Oops"), EngineResponseError, "500", id="a MiB of <"),
        pytest.param(
            OLD.replace(b"1.41", b"1.55"), DockerImagesError, "1.55", id="too new, but not"
        ),
        pytest.param(OLD.replace(b"1.41", b"1.12"), DockerImagesError, "1.12", id="far too old"),
        pytest.param(OLD, DockerImagesError, "1.41", id="too new, whatever is asked"),
    ],
)
async def test_a_lie_is_an_error_that_says_who_lied_and_how(
    raw: bytes, kind: type[DockerImagesError], why: str
) -> None:
    with serving(answering(raw, close=True)) as server, pytest.raises(kind) as info:
        await ask(server.host)
    text = str(info.value)
    assert text.startswith(f"{server.host} (host=) ")
    assert why in text
    assert len(text) < 800
    assert text.isprintable()
    assert info.value.__cause__ is not info.value


@pytest.mark.parametrize("key", ["Created", "Size", "SharedSize", "Containers", "VirtualSize"])
async def test_a_number_of_more_than_64_bits_makes_the_answer_malformed_and_says_where(
    key: str,
) -> None:
    with serving(answering(answer(b'[{"Id":"a","%s":%d}]' % (key.encode(), 10**400)))) as s:
        async with DockerClient(s.host) as client:
            with pytest.raises(ResponseFormatError, match=rf"at `\$\[0\]\.{key}`"):
                await client.list_images()


# ── Bounds ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_body_too_long_is_refused_before_it_is_read() -> None:
    left = []

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(b"", headers={"Content-Length": str(10**9)}))
        left.append(peer.was_left)

    with serving(script) as server:
        with pytest.raises(ResponseFormatError, match="max_response_bytes=1000000"):
            await ask(server.host, max_response_bytes=10**6)
        assert until(lambda: left == [True])


async def test_a_body_of_no_length_is_read_up_to_the_bound() -> None:
    sent = []

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10_000):
            peer.send(b"400\r\n" + b" " * 1024 + b"\r\n")
            sent.append(1024)

    too_long = pytest.raises(ResponseFormatError, match="max_response_bytes=100000")
    with serving(script) as server, too_long:
        await ask(server.host, max_response_bytes=100_000)
    assert sum(sent) < 5_000_000


async def test_no_more_idle_connections_are_kept_than_the_bound() -> None:
    calls = MAX_IDLE + 16
    together = threading.Barrier(calls)

    def script(peer: Peer) -> None:
        peer.request()
        together.wait(60)
        peer.send(LIST)
        peer.request()

    with serving(script) as server:
        async with DockerClient(server.host, api_version="1.55") as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(calls):
                    tasks.start_soon(client.list_images)
            assert server.connections == calls
            assert until(lambda: len(server.open) == MAX_IDLE)
        assert until(lambda: not server.open)


# ── Connections ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
async def test_calls_one_after_the_other_share_a_connection(tcp: bool) -> None:
    with serving(answering(answer(THREE), answer(THREE, chunks=7)), tcp=tcp) as server:
        async with DockerClient(server.host) as client:
            for _ in range(20):
                assert len(await client.list_images()) == 3
        assert (server.connections, len(server.requests)) == (1, 20)
        assert until(lambda: not server.open), "closed with the client"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(answer(THREE, headers={"Connection": "close"}), id="Connection: close"),
        pytest.param(LIST.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(LIST + LIST, id="more than was asked for"),
        pytest.param(answer(b"x" * 500_000, "500 Oops"), id="an error too long to read"),
    ],
)
async def test_a_connection_with_no_clear_end_is_not_used_again(raw: bytes) -> None:
    with serving(answering(raw)) as server:
        async with DockerClient(server.host) as client:
            for _ in range(5):
                with suppress(EngineResponseError):
                    assert len(await client.list_images()) == 3
            assert server.connections == 5


async def test_an_answer_that_comes_unasked_is_never_taken_for_the_next_one() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            peer.send(LIST)
            peer.wait(0.05)
            peer.send(answer(images(9)))
            unasked.release()

    unasked = threading.Semaphore(0)
    with serving(script) as server:
        async with DockerClient(server.host) as client:
            for _ in range(5):
                assert [image.id for image in await client.list_images()] == ids(3)
                assert unasked.acquire(timeout=60)
            assert server.connections == 5


async def test_a_connection_that_dies_as_it_is_asked_is_replaced_unnoticed() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(LIST)
        peer.request()  # and hangs up in place of an answer

    with serving(script) as server:
        async with DockerClient(server.host) as client:
            for _ in range(5):
                assert len(await client.list_images()) == 3
        assert (server.connections, len(server.requests)) == (5, 9)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_an_engine_that_always_hangs_up_is_asked_no_more_than_twice(reset: bool) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        if peer.number == 0:
            peer.send(LIST)
            peer.request()
        if reset:
            peer.reset()

    with serving(script, tcp=True) as server:
        async with DockerClient(server.host) as client:
            await client.list_images()
            with pytest.raises(EngineConnectionError):
                await client.list_images()
        assert len(server.requests) == 3


async def test_half_an_answer_on_a_kept_connection_is_not_asked_for_again() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(LIST)
        peer.request()
        peer.send(LIST[:20])

    with serving(script) as server:
        async with DockerClient(server.host) as client:
            await client.list_images()
            with pytest.raises(EngineConnectionError, match="before its answer was complete"):
                await client.list_images()
        assert len(server.requests) == 2


async def test_only_get_requests_are_sent() -> None:
    transport = EngineTransport(resolve_endpoint({}, "unix:///nowhere.sock"))
    with pytest.raises(ValueError, match="GET requests only, not POST"):
        await transport.handle_async_request(httpx.Request("POST", "http://docker/images/create"))


# ── The end of a client ─────────────────────────────────────────────────────────────────────────


async def test_closing_lets_running_calls_end() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            asked.release()
            may_answer.wait(60)
            peer.send(LIST)

    asked, may_answer = threading.Semaphore(0), threading.Event()
    lists = []
    with serving(script) as server:
        client = DockerClient(server.host)

        async def call() -> None:
            lists.append(await client.list_images())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.to_thread.run_sync(asked.acquire)
            await client.aclose()
            await client.aclose()
            with pytest.raises(RuntimeError, match="this client is closed"):
                await client.list_images()
            with pytest.raises(RuntimeError, match="this client is closed"):
                await client.ping()
            may_answer.set()
        assert [len(images) for images in lists] == [3]
        assert until(lambda: not server.open), "nor is its connection kept"


FORGETFUL = """
import anyio, sys
from docker_images import DockerClient

client = DockerClient(sys.argv[1])

async def main():
    print(len(await client.list_images()))
    print(len(await DockerClient(sys.argv[1]).list_images()))

anyio.run(main, backend=sys.argv[2])
anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_client_that_nobody_closes_says_nothing(anyio_backend: str, tcp: bool) -> None:
    with serving(answering(LIST), tcp=tcp) as server:
        python = [sys.executable, "-W", "error", "-c", FORGETFUL]
        done = subprocess.run(
            [*python, server.host, anyio_backend],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n" * 4, "")


def silent(peer: Peer) -> None:
    while peer.request():
        pass


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answering(LIST), id="a list"),
        pytest.param(answering(answer(THREE, headers={"Connection": "close"})), id="close"),
        pytest.param(answering(answer(b'{"message":"no"}', "500 Oops")), id="500"),
        pytest.param(answering(answer(b"[")), id="half a list"),
        pytest.param(answering(b"nonsense"), id="nonsense"),
        pytest.param(lambda peer: None, id="hangs up"),
        pytest.param(silent, id="silent"),
        pytest.param(None, id="nobody there"),
    ],
)
async def test_a_call_leaves_no_garbage_behind(script: Script | None) -> None:
    with serving(script or answering(LIST)) as server:
        host = server.host if script else "unix:///nowhere/engine.sock"
        async with DockerClient(host) as client:

            async def call() -> None:
                with suppress(DockerImagesError):
                    await client.list_images(timeout=0.01 if script is silent else 60)

            await call()
            gc.collect()
            gc.disable()
            try:
                before = descriptors()
                for _ in range(20):
                    await call()
                assert gc.collect() == 0
                assert until(lambda: descriptors() <= before)
            finally:
                gc.enable()
