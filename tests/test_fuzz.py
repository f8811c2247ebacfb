"""Whatever bytes an engine sends, and whatever a user calls an engine: a right answer or our error.

The properties hold for every input, so chance chooses them: `DOCKER_IMAGES_FUZZ` sets how many
inputs each test tries, and lets chance be new each time; without it they are the same few ones.
Inputs that once found a defect stay as examples.
"""

import json
import os
import random
import socket
import ssl
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import anyio
import httpx
import msgspec
import pytest
import trustme
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from docker_images import (
    DockerClient,
    DockerImagesError,
    EndpointError,
    ImageSummary,
    resolve_endpoint,
)
from docker_images.engine.request import build_request, origin
from docker_images.engine.responses import engine_info, error_message, read_version
from docker_images.images import decode as decode_module
from docker_images.images.decode import ImageDecoder
from docker_images.transport.http1 import Connection, HungUpError, ProtocolError
from docker_images.transport.sockets import SocketStream, Stream
from docker_images.transport.tls import TLSStream

EXAMPLES = int(os.environ.get("DOCKER_IMAGES_FUZZ", "0"))
fuzzed = settings(
    max_examples=EXAMPLES or 80,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data, cut at some places."""
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


cuts = st.lists(st.integers(0, 10**6), max_size=12)

# ── A list of images ────────────────────────────────────────────────────────────────────────────

# Texts full of what the decoder cuts at.
text = st.text(max_size=8) | st.sampled_from(
    ['},{"Id":', '"},{"Id":"', "\\", '"', "]", "ü🐳", "\x00"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
image = st.fixed_dictionaries(
    {"Id": text | anything},
    optional={
        "Created": st.integers(-(2**63), 2**64) | anything,
        "RepoTags": st.none() | st.lists(text, max_size=2) | anything,
        "Labels": st.none() | st.dictionaries(text, text, max_size=2) | anything,
        "Manifests": st.lists(st.fixed_dictionaries({"ID": text, "Id": text}), max_size=2),
        "Unknown": anything | st.lists(st.fixed_dictionaries({"Id": text}), max_size=3),
    },
)
good_image = st.fixed_dictionaries(
    {"Id": text},
    optional={
        "Created": st.integers(0, 3),
        "Size": st.integers(0, 2**63 - 1),
        "Labels": st.none() | st.dictionaries(text, text, max_size=2),
        "Unknown": st.lists(st.fixed_dictionaries({"Id": text}), max_size=3),
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """What an engine may send as a list: good ones, odd ones, and ones with a byte or two wrong."""
    found = draw(st.lists(good_image, max_size=12) | st.lists(image, max_size=8) | anything)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    body = json.dumps(found, separators=separators, ensure_ascii=draw(st.booleans()))
    return mutated(draw, body.encode("utf-8", "surrogatepass"))


def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        drop = draw(st.integers(0, 3))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + drop :]
    return data


def whole(body: bytes) -> list[ImageSummary] | str:
    try:
        return msgspec.json.decode(body, type=list[ImageSummary])
    except RecursionError:
        return "the JSON is nested too deeply"
    except UnicodeDecodeError as error:
        return f"invalid UTF-8: {error.reason}"
    except ValueError as error:
        return str(error)


def sliced(parts: Iterable[bytes]) -> list[ImageSummary] | str:
    decoder = ImageDecoder()
    images: list[ImageSummary] = []
    for part in parts:
        decoder.feed(part)
        while found := decoder.step():
            images += found
    try:
        return images + decoder.finish()
    except ValueError as error:
        return str(error)


@fuzzed
@given(body=bodies(), cuts=cuts, size=st.integers(8, 120))
@example(body=b'[{"Id":"a"},{"Id":"b"},{"Id":"c"}x', cuts=[], size=8)
@example(body=b'[{"Id":"},{\\"Id\\":"},{"Id":"b"}]', cuts=[], size=8)
@example(body=b'[{"Id":"a","x":[{"Id":1},{"Id":2}]},{"Id":"b"}]', cuts=[], size=8)
@example(body=b'[{"Id":"a"},{"Id":"\xff"}]', cuts=[12], size=8)
def test_a_list_decoded_in_slices_is_the_list_decoded_whole(
    body: bytes, cuts: list[int], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_module, "SLICE", size)  # else only long bodies are sliced
        assert sliced(pieces(body, cuts)) == whole(body)


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────


class Script:
    """A stream that says its pieces, and then ends."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = [part for part in parts if part]

    async def send(self, item: bytes) -> None:
        pass

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.parts:
            raise anyio.EndOfStream
        return self.parts.pop(0)

    def is_stale(self) -> bool:
        return bool(self.parts)

    def abort(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


SECOND = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n[{"Id":"evil"}]'
ANY_BODY = st.binary(max_size=80)
token = st.sampled_from(["X", "Api-Version", "Server", "Content-Length", "Connection", "Upgrade"])
value = st.sampled_from(["1.41", "0", "5", "close", "chunked", "upgrade", "x y", ""])


@st.composite
def messages(draw: st.DrawFn, content: st.SearchStrategy[bytes] = ANY_BODY) -> tuple[bytes, bytes]:
    """An answer that is right, and its body."""
    body = draw(content)
    interim = b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * draw(st.integers(0, 2))
    head = b"HTTP/1.1 200 OK\r\nApi-Version: 1.55\r\n"
    framing = draw(st.sampled_from(["length", "chunks", "close"]))
    if framing == "length":
        return interim + head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), body
    if framing == "close":
        return interim + head + b"\r\n" + body, body
    chunks = b"".join(
        b"%x%b\r\n%b\r\n" % (len(part), draw(st.sampled_from([b"", b";x=y"])), part)
        for part in pieces(body, draw(cuts))
        if part
    )
    trailer = draw(st.sampled_from([b"", b"Api-Version: 1.20\r\n"]))
    return (
        interim
        + head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n"
        + trailer
        + b"\r\n",
        body,
    )


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """An answer with something wrong in it, or wrong altogether."""
    lines = draw(st.lists(st.tuples(token, value), max_size=3))
    raw, _ = draw(messages())
    head, end, body = raw.partition(b"\r\n\r\n")
    more = "".join(f"\r\n{name}: {said}" for name, said in lines).encode()
    return mutated(draw, head + more + end + body)


async def exchange(parts: Iterable[bytes]) -> Any:
    connection = Connection(Script(parts), 2**20)
    try:
        await connection.ask(b"")
        body = b""
        while data := await connection.read():
            body += data
    except (ProtocolError, HungUpError) as error:
        return type(error)
    return connection.status, connection.headers, body


@fuzzed
@given(message=messages(), cuts=cuts)
def test_a_right_answer_is_read_whatever_pieces_it_comes_in(
    message: tuple[bytes, bytes], cuts: list[int]
) -> None:
    raw, body = message
    status, headers, read = anyio.run(exchange, pieces(raw, cuts))
    assert (status, read) == (200, body)
    assert dict(headers)[b"Api-Version"] == b"1.55"


@fuzzed
@given(raw=broken() | st.binary(max_size=60), cuts=cuts)
@example(raw=b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", cuts=[])
@example(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n", cuts=[50])
def test_a_wrong_answer_means_the_same_whatever_pieces_it_comes_in(
    raw: bytes, cuts: list[int]
) -> None:
    assert anyio.run(exchange, pieces(raw, cuts)) == anyio.run(exchange, [raw])


# ── From bytes to the list ──────────────────────────────────────────────────────────────────────


class OverTLS:
    """What an engine behind TLS says, in records and in pieces that come when they like."""

    def __init__(self, parts: list[bytes], sizes: list[int]) -> None:
        self.parts, self.sizes = parts, sizes
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = SERVER.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.unread = b""

    async def send(self, item: bytes) -> None:
        self.incoming.write(item)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            if self.tls.read():
                for part in self.parts:
                    self.tls.write(part)
        self.unread += self.outgoing.read()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.unread:
            raise anyio.EndOfStream
        size = self.sizes.pop() if self.sizes else max_bytes
        data, self.unread = self.unread[:size], self.unread[size:]
        return data

    def is_stale(self) -> bool:
        return bool(self.unread)

    def abort(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("engine.test").configure_cert(SERVER)
CLIENT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CLIENT.check_hostname, CLIENT.verify_mode = False, ssl.CERT_NONE


async def is_kept(
    parts: list[bytes], sizes: list[int], way: str, *, ends: bool = False
) -> tuple[bytes, bool]:
    """The body of an answer, and whether its connection may be asked again.

    Where it `ends`, the engine closes the connection after that.
    """
    stream: Stream
    if way == "memory":
        stream = Script(parts)
    elif way == "TLS":
        stream = TLSStream(OverTLS(parts, sizes), CLIENT, "engine.test")
    else:  # as ssh is read
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = SocketStream(ours)
        with theirs:
            theirs.sendall(b"".join(parts))
            if ends:
                theirs.shutdown(socket.SHUT_WR)
            return await read_and_look(stream)
    return await read_and_look(stream)


async def read_and_look(stream: Stream) -> tuple[bytes, bool]:
    connection = Connection(stream, 2**20)
    try:
        await connection.ask(b"?")
        body = b""
        while data := await connection.read():
            body += data
        return body, connection.is_reusable and not stream.is_stale()
    finally:
        await stream.aclose()


@fuzzed
@given(
    message=messages().filter(lambda message: b"Length" in message[0] or b"Tran" in message[0]),
    unasked=st.just(b"") | st.just(SECOND) | st.integers(1, 20).map(lambda n: SECOND[:n]),
    cuts=cuts,
    sizes=st.lists(st.integers(1, 400), max_size=30),
    way=st.sampled_from(["TLS", "ssh"]),
)
def test_a_connection_is_kept_only_if_nothing_came_that_nobody_asked_for(
    message: tuple[bytes, bytes], unasked: bytes, cuts: list[int], sizes: list[int], way: str
) -> None:
    raw, body = message
    parts = [part for part in (*pieces(raw, cuts), unasked) if part]
    assert anyio.run(is_kept, parts, sizes, way) == (body, not unasked)


# ── Many answers, by plain chance, with one right list in each ──────────────────────────────────

ANSWERS = 25 * (EXAMPLES or 40)
"""These take a tenth of the time of hypothesis's examples, so there are more of them."""

RIGHT = b'[{"Id":"a"},{"Id":"b"}]'
EVIL = (b"[]", b'[{"Id":"evil"}]', b'[{"Id":"evil"},', b"", b" ", b"\r\n")


def framed(chance: random.Random, status: bytes, body: bytes) -> tuple[bytes, bytes]:
    """An answer: what stands before its body, and the rest."""
    head = b"HTTP/1.1 %b\r\nApi-Version: 1.55\r\n" % status
    framing = chance.randrange(4)
    if framing == 0:
        chunks = b"".join(
            b"%x%b\r\n%b\r\n" % (len(part), chance.choice((b"", b";x=y")), part)
            for part in pieces(body, (chance.randrange(100) for _ in range(chance.randrange(4))))
            if part
        )
        end = chance.choice((b"0\r\n\r\n", b"0\r\nApi-Version: 1.20\r\n\r\n"))
        return head + b"Transfer-Encoding: chunked\r\n\r\n", chunks + end
    if framing == 1:
        return head + b"\r\n", body  # to the end of the connection
    return head + b"Content-Length: %d\r\n\r\n" % len(body), body


def told(chance: random.Random) -> tuple[bytes, bool, bool, bool]:
    """What an engine says; whether that must be right, tells its end, and says more than that."""
    before = b""
    is_right = True
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        status = b"%d Hm" % chance.randrange(100, 200)
        if chance.random() < 0.5:
            before += b"HTTP/1.1 %b\r\nX: y\r\n\r\n" % status
            is_right &= status[:3] != b"101"
        else:
            before += b"".join(framed(chance, status, chance.choice(EVIL)))
            is_right = False
    head, body = framed(chance, b"200 OK", RIGHT)
    has_end = b"Content-Length" in head or b"Transfer-Encoding" in head
    unasked = (b"", b"", SECOND, SECOND[: chance.randrange(1, 20)])
    more = chance.choice(unasked) if has_end else b""
    head = before + head
    for _ in range(chance.choice((0, 0, 1, 3))):  # never in the list itself: it must stay right
        at, drop = chance.randrange(len(head)), chance.randrange(4)
        head = head[:at] + chance.randbytes(chance.randrange(4)) + head[at + drop :]
        is_right = False
    return head + body + more, is_right, has_end, bool(more)


async def keep_asking(chance: random.Random, way: str, count: int) -> Counter[str]:
    tally: Counter[str] = Counter()
    for _ in range(count):
        raw, is_right, has_end, is_more = told(chance)
        cuts = [chance.randrange(len(raw)) for _ in range(chance.choice((0, 1, 3)))]
        sizes = [chance.randrange(1, 400) for _ in range(20)]
        try:
            ends = not (is_right and has_end)
            body, kept = await is_kept(pieces(raw, cuts), sizes, way, ends=ends)
        except (ProtocolError, HungUpError, anyio.EndOfStream):
            assert not is_right, raw
            tally["refused"] += 1
            continue
        found = whole(body)
        if isinstance(found, str):
            assert not is_right, raw
            tally["no list"] += 1
        else:
            assert [image.id for image in found] == ["a", "b"], raw
            assert kept <= (not is_more) or not is_right, raw
            tally["right"] += 1
    return tally


@pytest.mark.parametrize(("way", "share"), [("memory", 0.7), ("ssh", 0.2), ("TLS", 0.1)])
def test_whatever_stands_around_a_right_list_it_is_that_list_or_an_error(
    way: str, share: float
) -> None:
    chance = random.Random() if EXAMPLES else random.Random(way)
    tally = anyio.run(keep_asking, chance, way, int(ANSWERS * share))
    print(way, dict(tally))
    assert tally["right"]
    assert tally["refused"]


class Bytes(httpx.AsyncBaseTransport):
    """Answers each request with these bytes, through our own HTTP."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        connection = Connection(Script(self.parts), 2**20)
        await connection.ask(b"")
        return httpx.Response(
            connection.status, headers=connection.headers, stream=Body(connection)
        )


class Body(httpx.AsyncByteStream):
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        while data := await self.connection.read():
            yield data


async def listed(parts: list[bytes]) -> list[ImageSummary] | DockerImagesError:
    async with DockerClient(transport=Bytes(parts)) as client:
        try:
            return await client.list_images()
        except DockerImagesError as error:
            return error


@fuzzed
@given(
    message=messages(
        st.lists(good_image, max_size=6).map(lambda found: json.dumps(found).encode())
    ),
    cuts=cuts,
)
def test_a_right_list_is_listed(message: tuple[bytes, bytes], cuts: list[int]) -> None:
    raw, body = message
    found = anyio.run(listed, pieces(raw, cuts))
    assert not isinstance(found, DockerImagesError)
    wanted = [
        (entry.get("Created", 0), entry["Id"], entry.get("Size", 0)) for entry in json.loads(body)
    ]
    wanted.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    assert [(image.created, image.id, image.size) for image in found] == wanted


@st.composite
def anything_sent(draw: st.DrawFn) -> bytes:
    raw, _ = draw(messages(bodies()))
    status = draw(st.sampled_from([b"200", b"200", b"400", b"500", b"204", b"302"]))
    return mutated(draw, raw.replace(b" 200 ", b" %b " % status, 1))


@fuzzed
@given(raw=anything_sent(), cuts=cuts)
@example(raw=b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n[]", cuts=[])  # without a phrase
def test_any_bytes_are_a_list_or_an_error_of_ours(raw: bytes, cuts: list[int]) -> None:
    found = anyio.run(listed, pieces(raw, cuts))
    if isinstance(found, DockerImagesError):
        assert "http://docker (transport=)" in str(found)
        assert str(found).isprintable()
    else:
        assert b" 200 " in raw or b" 200\r" in raw
        assert found == sorted(found, key=lambda image: (-image.created, image.id, image.size))


@fuzzed
@given(body=st.binary() | st.text().map(str.encode) | bodies())
def test_the_words_of_a_refusal_are_short_and_harmless(body: bytes) -> None:
    message = error_message(body)
    assert message.isprintable()
    assert len(message) <= 400


@fuzzed
@given(server=st.text(), version=st.text())
def test_any_headers_say_who_answers_or_nothing(server: str, version: str) -> None:
    info = engine_info({"server": server, "api-version": version})
    assert str(info).isprintable()
    told = read_version(version.encode("utf-8", "surrogatepass"))
    assert told is None or 0 <= told.major <= 9999


# ── What users call an engine ───────────────────────────────────────────────────────────────────

PARTS = """unix:// tcp:// ssh:// npipe:// http:// https:// fd:// / [ ] ::1 % %2f @ : :0 :2375 :99999
? # .. user xn--a-ecp docker.sock host -o -oProxyCommand=x ü ~ $HOME""".split()  # noqa: SIM905
names = st.lists(
    st.sampled_from([*PARTS, "\x00", "\n", " ", "\ud800", "\\\\.\\pipe\\"]) | st.text(max_size=4),
    max_size=7,
).map("".join)


@fuzzed
@given(host=names)
@example(host="tcp://xn--a-ecp.ru:2375")
def test_any_name_is_an_endpoint_that_can_be_asked_or_an_error_of_ours(host: str) -> None:
    for how in ("DOCKER_HOST", "host="):
        try:
            if how == "host=":
                endpoint = resolve_endpoint({"HOME": "/nowhere"}, host=host or "x")
            else:
                endpoint = resolve_endpoint({"HOME": "/nowhere", "DOCKER_HOST": host})
            request = build_request(origin(endpoint), "/v1.55/images/json")
        except EndpointError:
            pass
        else:
            line = request.url.raw_path
            assert b" " not in line
            assert line.endswith(b"/v1.55/images/json")
            if endpoint.kind == "ssh":
                assert not endpoint.hostname.startswith("-"), "an option for ssh"
                assert not (endpoint.user or "").startswith("-")
