"""HTTP/1.1 from one connection: where an answer ends, what is refused, what may follow it.

Every answer is read three times: whole, cut in the middle, and byte by byte. What should come out
is written by hand, after RFC 9112.
"""

import gc
from collections.abc import Callable

import anyio
import pytest

from docker_images.transport.http1 import MAX_HEAD, Connection, HungUpError, ProtocolError

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\n"
BODY = b'[{"Id":"a"}]'
LENGTH = b"Content-Length: 12\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GOOD = HEAD + LENGTH + b"\r\n" + BODY


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # no socket here: one event loop is enough


class Script:
    """A stream that says what it is told to, and then ends, or waits for ever."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.pieces = list(pieces)
        self.ends = ends
        self.sent: list[bytes] = []
        self.closed = False

    async def send(self, item: bytes) -> None:
        self.sent.append(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.pieces:
            if self.ends:
                raise anyio.EndOfStream
            await anyio.sleep_forever()
        piece = self.pieces.pop(0)
        if len(piece) > max_bytes:
            self.pieces.insert(0, piece[max_bytes:])
        return piece[:max_bytes]

    def is_stale(self) -> bool:
        return bool(self.pieces)

    async def aclose(self) -> None:
        self.closed = True


def whole(answer: bytes) -> list[bytes]:
    return [answer] if answer else []


def halves(answer: bytes) -> list[bytes]:
    middle = len(answer) // 2
    return [part for part in (answer[:middle], answer[middle:]) if part]


def single_bytes(answer: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in answer]


Cut = Callable[[bytes], list[bytes]]
every_cut = pytest.mark.parametrize("cut", [whole, halves, single_bytes])


async def read(
    *pieces: bytes, ends: bool = True, max_body: int = 2**20
) -> tuple[Connection, bytes]:
    connection = Connection(Script(*pieces, ends=ends), max_body)
    with anyio.fail_after(60):
        await connection.ask(b"GET / HTTP/1.1\r\n\r\n")
        body = b""
        while data := await connection.read():
            body += data
    return connection, body


@every_cut
@pytest.mark.parametrize(
    ("answer", "body", "reusable"),
    [
        pytest.param(GOOD, BODY, True, id="a length"),
        pytest.param(HEAD + b"content-length:12 \r\n\r\n" + BODY, BODY, True, id="spaces"),
        pytest.param(HEAD + b"Content-Length: 0\r\n\r\n", b"", True, id="nothing"),
        pytest.param(
            HEAD + CHUNKED + b'\r\n4\r\n[{"I\r\n8;x=y\r\nd":"a"}]\r\n0\r\n\r\n',
            BODY,
            True,
            id="chunks",
        ),
        pytest.param(
            HEAD + b"transfer-encoding: Chunked\r\n\r\n00C\r\n" + BODY + b"\r\n0\r\n\r\n",
            BODY,
            True,
            id="chunks in other letters",
        ),
        pytest.param(
            HEAD + CHUNKED + b"\r\nc\r\n" + BODY + b"\r\n0\r\nApi-Version: 1.20\r\nX: y\r\n\r\n",
            BODY,
            True,
            id="trailers",
        ),
        pytest.param(HEAD + b"\r\n" + BODY, BODY, False, id="until it closes"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + BODY, BODY, False, id="HTTP/1.0"),
        pytest.param(
            b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY, BODY, False, id="1.0 length"
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\n" + BODY,
            BODY,
            True,
            id="HTTP/1.0 that stays",
        ),
        pytest.param(
            HEAD + b"Connection: close\r\n" + LENGTH + b"\r\n" + BODY, BODY, False, id="close"
        ),
        pytest.param(
            HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n" + LENGTH + b"\r\n" + BODY,
            BODY,
            True,
            id="an offer to upgrade",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + GOOD, BODY, True, id="100"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nApi-Version: 1.20\r\nLink: x\r\n\r\n" + GOOD,
            BODY,
            True,
            id="103",
        ),
        pytest.param(b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + BODY, BODY, True, id="no reason"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, id="204"),
        pytest.param(
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n", b"", True, id="304"
        ),
    ],
)
async def test_an_answer_is_read_to_its_end_and_no_further(
    answer: bytes, body: bytes, reusable: bool, cut: Cut
) -> None:
    connection, read_body = await read(*cut(answer))
    assert read_body == body
    assert connection.is_reusable is reusable
    names = {name.lower() for name, _ in connection.headers}
    assert not names & {b"api-version", b"link", b"x"}, "of another message"


@every_cut
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEAD, id="half a head"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="only an interim answer"),
        pytest.param(GOOD[:-1], id="less than the length"),
        pytest.param(HEAD + CHUNKED + b"\r\nc\r\n" + BODY[:-1], id="half a chunk"),
        pytest.param(HEAD + CHUNKED + b"\r\nc\r\n" + BODY + b"\r\n", id="no last chunk"),
        pytest.param(HEAD + CHUNKED + b"\r\nc\r\n" + BODY + b"\r\n0\r\n", id="no end of trailers"),
    ],
)
async def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(
    answer: bytes, cut: Cut
) -> None:
    with pytest.raises(HungUpError):
        await read(*cut(answer))


@every_cut
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "begins", id="ssh"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x16", "begins", id="TLS"),
        pytest.param(b"<html>hello</html>\r\n\r\n", "begins", id="no head"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "begins", id="a request"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", "begins", id="status 20"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", "begins", id="status 2000"),
        pytest.param(b"HTTP/1.1 000 OK\r\n\r\n", "status 000", id="status 000"),
        pytest.param(b"HTTP/1.1 099 OK\r\n\r\n", "status 099", id="status 099"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", "HTTP/2.0", id="HTTP/2.0"),
        pytest.param(b"HTTP/0.9 200 OK\r\n\r\n", "HTTP/0.9", id="HTTP/0.9"),
        pytest.param(b"HTTP/1.7 200 OK\r\n\r\n", "begins", id="HTTP/1.7"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
            "another protocol",
            id="101",
        ),
        pytest.param(HEAD + LENGTH + LENGTH + b"\r\n" + BODY, "begins", id="the length twice"),
        pytest.param(
            HEAD + b"Content-Length: 12, 12\r\n\r\n" + BODY, "begins", id="two lengths in one"
        ),
        pytest.param(HEAD + LENGTH + CHUNKED + b"\r\n0\r\n\r\n", "begins", id="both framings"),
        pytest.param(HEAD + CHUNKED + LENGTH + b"\r\n0\r\n\r\n", "begins", id="both, reversed"),
        pytest.param(HEAD + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", "twice", id="chunked twice"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", "begins", id="length -1"),
        pytest.param(HEAD + b"Content-Length: 0x0c\r\n\r\n", "begins", id="length 0x0c"),
        pytest.param(HEAD + b"Content-Length: 9223372036854775808\r\n\r\n", "length", id="2**63"),
        pytest.param(
            HEAD + b"Content-Length: 1048577\r\n\r\n", "max_response_bytes", id="too long"
        ),
        pytest.param(HEAD + b"Transfer-Encoding: gzip\r\n\r\n", "gzip", id="gzip as framing"),
        pytest.param(
            HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "gzip", id="gzip, chunked"
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
            "HTTP/1.0",
            id="chunks in HTTP/1.0",
        ),
        pytest.param(HEAD + CHUNKED + b"\r\nzz\r\n", "begins", id="a chunk size that is none"),
        pytest.param(HEAD + CHUNKED + b"\r\n-1\r\n", "begins", id="a negative chunk size"),
        pytest.param(HEAD + CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n", "begins", id="2**64 chunk"),
        pytest.param(HEAD + CHUNKED + b"\r\n3\r\nabcd\r\n", "begins", id="more than the chunk"),
        pytest.param(HEAD + b"X: a\x00b\r\n\r\n", "begins", id="NUL in a header"),
        pytest.param(HEAD + b"X: a\x1b[2Jb\r\n\r\n", "begins", id="ESC in a header"),
        pytest.param(HEAD + b"X y: a\r\n\r\n", "begins", id="a space in a name"),
        pytest.param(HEAD + b"X: a\r\n b\r\n\r\n", "begins", id="a folded header"),
        pytest.param(GOOD.replace(b"\r\n", b"\n"), "begins", id="lines without CR"),
    ],
)
async def test_what_is_not_http_or_ambiguous_is_refused(answer: bytes, why: str, cut: Cut) -> None:
    with pytest.raises(ProtocolError, match=why.replace(".", r"\.")):
        await read(*cut(answer), ends=False)


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="1xx"),
        pytest.param(HEAD, b"X: y\r\n", id="headers"),
        pytest.param(HEAD + b"X: ", b"y" * 1000, id="one header"),
        pytest.param(b"HTTP/1.1 200 ", b"y" * 1000, id="the reason"),
        pytest.param(HEAD + CHUNKED + b"\r\n1;x=", b"y" * 1000, id="a chunk extension"),
        pytest.param(HEAD + CHUNKED + b"\r\n0\r\n", b"X: y\r\n", id="trailers"),
        pytest.param(HEAD + CHUNKED + b"\r\n0\r\nX: ", b"y" * 1000, id="one trailer"),
        pytest.param(b"", b"\r\n", id="empty lines"),
    ],
)
async def test_what_has_no_end_and_no_body_is_given_up(start: bytes, endless: bytes) -> None:
    pieces = [start, *[endless] * (2 * MAX_HEAD // len(endless))]
    with pytest.raises(ProtocolError, match=f"more than {MAX_HEAD}"):
        await read(*[piece for piece in pieces if piece], ends=False)


@pytest.mark.parametrize(
    "surplus",
    [
        pytest.param(GOOD, id="a second answer"),
        pytest.param(b"HTTP/1.1 500 Oops\r\n\r\n", id="another status"),
        pytest.param(b"HTTP/1.1 2", id="the beginning of one"),
        pytest.param(b"]", id="body"),
        pytest.param(b"\x00\xff", id="anything"),
    ],
)
@pytest.mark.parametrize("cut", [whole, single_bytes])
async def test_what_follows_an_answer_never_gets_into_it_nor_into_the_next(
    surplus: bytes, cut: Cut
) -> None:
    connection = Connection(Script(*cut(GOOD + surplus), ends=False), 2**20)
    await connection.ask(b"")
    body = b""
    while data := await connection.read():
        body += data
    assert (connection.status, body) == (200, BODY)
    # In the same bytes it is seen at once; what comes later, before the next request is sent.
    assert not connection.is_reusable or connection.stream.is_stale()


async def test_a_connection_serves_one_exchange_after_the_other() -> None:
    stream = Script(GOOD, GOOD.replace(b'"a"', b'"b"'))
    connection = Connection(stream, 2**20)
    bodies = []
    for request in (b"1", b"2"):
        await connection.ask(request)
        bodies.append(await connection.read())
        assert await connection.read() == b""
        assert connection.is_reusable
    assert (stream.sent, bodies) == ([b"1", b"2"], [BODY, BODY.replace(b"a", b"b")])


async def test_silence_is_told_from_an_answer_that_broke_off() -> None:
    for pieces, silent in (([], True), ([b"H"], False)):
        connection = Connection(Script(*pieces), 2**20)
        with pytest.raises(HungUpError):
            await connection.ask(b"")
        assert connection.is_silent is silent


async def test_an_idle_connection_is_in_no_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        connection, _ = await read(GOOD)
        del connection
        assert not [found for found in gc.get_objects() if type(found) is Connection]
    finally:
        gc.enable()
