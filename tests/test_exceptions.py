"""Every exception that can come up on the way to an engine, and what the caller sees of it.

The tables name each class of anyio, ssl, socket, httptools and httpx. A class that a newer version
of them adds fails a test here until somebody has decided what it means.
"""

import errno
import os
import pickle
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import anyio
import httptools.parser.errors
import httpx
import pytest
from hostile import LIST, Peer, Script, answer, answering, images, serving

from docker_images import (
    ApiVersionError,
    DockerClient,
    DockerImagesError,
    EndpointError,
    EngineConnectionError,
    EnginePermissionError,
    EngineResponseError,
    EngineTimeoutError,
    ResponseFormatError,
    UnsupportedByEngineError,
    resolve_endpoint,
)
from docker_images.errors import Reason
from docker_images.transport.failures import translate

CANNOT = None
"""For what never reaches the transport: nothing we use raises it."""

CONNECTION, FORMAT, TIMEOUT = EngineConnectionError, ResponseFormatError, EngineTimeoutError
Becomes = dict[type[BaseException], type[DockerImagesError] | None]

ANYIO: Becomes = {
    anyio.BrokenResourceError: CONNECTION,
    anyio.BusyResourceError: CONNECTION,
    anyio.ClosedResourceError: CONNECTION,
    anyio.DelimiterNotFound: FORMAT,
    anyio.EndOfStream: CONNECTION,
    anyio.IncompleteRead: CONNECTION,
    # Processes of workers, tasks, attributes and ends of event loops are no part of a call.
    anyio.BrokenWorkerInterpreter: CANNOT,
    anyio.BrokenWorkerProcess: CANNOT,
    anyio.TypedAttributeLookupError: CANNOT,
    anyio.WouldBlock: CANNOT,
}
SINCE_4_9 = {
    "ConnectionFailed": CONNECTION,
    "FutureAlreadyFinished": CANNOT,
    "FutureCancelled": CANNOT,
    "FutureFailed": CANNOT,
    "FutureNotFinished": CANNOT,
    "NoEventLoopError": CANNOT,
    "RunFinishedError": CANNOT,
    "TaskCancelled": CANNOT,
    "TaskFailed": CANNOT,
    "TaskNotFinished": CANNOT,
}
ANYIO |= {getattr(anyio, name): to for name, to in SINCE_4_9.items() if hasattr(anyio, name)}
SSL: Becomes = {
    ssl.SSLError: CONNECTION,
    ssl.SSLCertVerificationError: CONNECTION,
    ssl.SSLEOFError: CONNECTION,
    ssl.SSLSyscallError: CONNECTION,
    ssl.SSLWantReadError: CONNECTION,
    ssl.SSLWantWriteError: CONNECTION,
    ssl.SSLZeroReturnError: CONNECTION,
}
SOCKET: Becomes = {
    OSError: CONNECTION,
    socket.gaierror: CONNECTION,
    socket.herror: CONNECTION,
    TimeoutError: TIMEOUT,
}
BUILTIN: Becomes = {
    BlockingIOError: CONNECTION,
    BrokenPipeError: CONNECTION,
    ConnectionAbortedError: CONNECTION,
    ConnectionError: CONNECTION,
    ConnectionRefusedError: CONNECTION,
    ConnectionResetError: CONNECTION,
    FileNotFoundError: CONNECTION,
    InterruptedError: CONNECTION,
    NotADirectoryError: CONNECTION,
    PermissionError: CONNECTION,
    UnicodeError: CONNECTION,
    UnicodeEncodeError: CONNECTION,
}
HTTPX: Becomes = {
    httpx.HTTPError: CONNECTION,
    httpx.RequestError: CONNECTION,
    httpx.TransportError: CONNECTION,
    httpx.NetworkError: CONNECTION,
    httpx.ConnectError: CONNECTION,
    httpx.ReadError: CONNECTION,
    httpx.WriteError: CONNECTION,
    httpx.CloseError: CONNECTION,
    httpx.ProxyError: CONNECTION,
    httpx.UnsupportedProtocol: CONNECTION,
    httpx.ProtocolError: CONNECTION,
    httpx.LocalProtocolError: CONNECTION,
    httpx.RemoteProtocolError: FORMAT,
    httpx.DecodingError: FORMAT,
    httpx.TooManyRedirects: CONNECTION,
    httpx.TimeoutException: TIMEOUT,
    httpx.ConnectTimeout: TIMEOUT,
    httpx.ReadTimeout: TIMEOUT,
    httpx.WriteTimeout: TIMEOUT,
    httpx.PoolTimeout: TIMEOUT,
    httpx.InvalidURL: CONNECTION,
    httpx.HTTPStatusError: CONNECTION,
    httpx.StreamError: CONNECTION,
    httpx.StreamConsumed: CONNECTION,
    httpx.StreamClosed: CONNECTION,
    httpx.ResponseNotRead: CONNECTION,
    httpx.RequestNotRead: CONNECTION,
    # httpx raises it for two cookies of one name, and we use no cookies.
    httpx.CookieConflict: CANNOT,
}
EVERY = ANYIO | SSL | SOCKET | BUILTIN | HTTPX


def exceptions_of(module: ModuleType) -> set[type[BaseException]]:
    return {
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseException) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("module", "table"),
    [(anyio, ANYIO), (ssl, SSL | SOCKET), (socket, SOCKET), (httpx, HTTPX)],
    ids=lambda value: getattr(value, "__name__", "table"),
)
def test_every_exception_class_is_in_a_table(module: ModuleType, table: Becomes) -> None:
    assert exceptions_of(module) <= table.keys()


def test_every_exception_of_httptools_is_caught_where_it_is_used() -> None:
    # http1.py catches these two; test_http1.py shows what comes of it.
    caught = (httptools.HttpParserError, httptools.HttpParserUpgrade)
    assert all(issubclass(kind, caught) for kind in exceptions_of(httptools.parser.errors))


def made(kind: type[BaseException]) -> Exception:
    if issubclass(kind, UnicodeEncodeError):
        return kind("idna", "x", 0, 1, "why\x1b not")
    if issubclass(kind, httpx.HTTPStatusError):
        request = httpx.Request("GET", "http://docker/")
        return kind("why\x1b not", request=request, response=httpx.Response(500, request=request))
    if issubclass(kind, httpx.StreamError) and kind is not httpx.StreamError:
        return kind()
    if issubclass(kind, anyio.DelimiterNotFound | anyio.IncompleteRead):
        return kind(3) if issubclass(kind, anyio.DelimiterNotFound) else kind()
    error = kind("why\x1b not")
    assert isinstance(error, Exception)
    return error


class Raising(httpx.AsyncBaseTransport):
    """A transport of the caller's that raises before the answer, or in the middle of it."""

    def __init__(self, error: Exception, *, late: bool) -> None:
        self.error, self.late = error, late

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.late:
            return httpx.Response(200, stream=Breaking(self.error))
        raise self.error


class Breaking(httpx.AsyncByteStream):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        yield images(3)[:-5]
        raise self.error


def raised() -> Iterator[Any]:
    """Each class twice: alone and in a group, before the answer and in it, by turns."""
    kinds = [kind for kind in EVERY if EVERY[kind]]
    for number, kind in enumerate(kinds):
        for grouped in (False, True):
            late = (number % 2 == 0) == grouped
            how = "in a group" if grouped else "alone"
            when = "in the answer" if late else "before the answer"
            yield pytest.param(kind, grouped, late, id=f"{kind.__name__}, {how}, {when}")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the transport is the caller's own
@pytest.mark.parametrize(("kind", "grouped", "late"), [*raised()])
async def test_what_a_transport_raises_becomes_an_error_of_ours(
    kind: type[BaseException], grouped: bool, late: bool
) -> None:
    becomes = EVERY[kind]
    assert becomes is not None
    cause = made(kind)
    if grouped:
        cause = ExceptionGroup("of a task group", [cause])
    async with DockerClient(transport=Raising(cause, late=late)) as client:
        with pytest.raises(becomes) as info:
            await client.list_images()
    text = str(info.value)
    assert "http://docker (transport=)" in text
    assert text.isprintable()
    assert info.value.__cause__ is cause


@pytest.mark.anyio
@pytest.mark.parametrize("late", [False, True], ids=["before the answer", "in the answer"])
@pytest.mark.parametrize("error", [AssertionError("x"), RuntimeError("x"), KeyError("x")], ids=repr)
async def test_a_mistake_in_a_program_stays_what_it_is(error: Exception, late: bool) -> None:
    async with DockerClient(transport=Raising(error, late=late)) as client:
        with pytest.raises(type(error)) as info:
            await client.list_images()
    assert info.value is error
    assert info.value.__cause__ is None


@pytest.mark.parametrize("host", ["unix:///run/engine.sock", "tcp://192.0.2.1:2375"])
def test_every_number_of_the_operating_system_becomes_a_connection_error(host: str) -> None:
    endpoint = resolve_endpoint({}, host)
    for number in errno.errorcode:
        error = translate(OSError(number, os.strerror(number)), endpoint)
        assert error.errno == number
        assert isinstance(error, EngineConnectionError)
        refused = number in (errno.EACCES, errno.EPERM) and endpoint.kind == "unix"
        assert isinstance(error, EnginePermissionError) == refused
        assert f"{host} (host=)" in str(error)


@pytest.mark.anyio
async def test_a_name_that_cannot_be_encoded_is_an_endpoint_error() -> None:
    async with DockerClient("tcp://xn--a-ecp.ru:2375") as client:
        with pytest.raises(EndpointError, match=r"xn--a-ecp\.ru"):
            await client.list_images()


@pytest.mark.anyio
async def test_the_cause_of_an_error_is_kept() -> None:
    for raw, cause in (
        (LIST[:-1], "HungUpError"),
        (answer(b"["), "ValueError"),
        (b"x", "ProtocolError"),
    ):
        with serving(answering(raw, close=True)) as server:
            async with DockerClient(server.host) as client:
                with pytest.raises(DockerImagesError) as info:
                    await client.list_images()
        assert type(info.value.__cause__).__name__ == cause


# ── What programs read ──────────────────────────────────────────────────────────────────────────

OLD = {"Api-Version": "1.12"}
SAID_NO = b'{"message": "why not"}'


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("raw", "kind", "reason"),
    [
        pytest.param(LIST[:-1], EngineConnectionError, "closed", id="cut off"),
        pytest.param(b"x", ResponseFormatError, "protocol", id="no HTTP"),
        pytest.param(answer(b"<html>"), ResponseFormatError, "format", id="no JSON"),
        pytest.param(answer(SAID_NO, "500 Oops"), EngineResponseError, "status", id="500"),
        pytest.param(answer(SAID_NO, "400 Bad"), EngineResponseError, "status", id="400"),
        pytest.param(answer(b"[]", headers=OLD), ApiVersionError, "version", id="too old"),
    ],
)
async def test_an_error_tells_programs_which_engine_failed_and_why(
    raw: bytes, kind: type[DockerImagesError], reason: str
) -> None:
    with serving(answering(raw, close=True)) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(kind) as info:
                await client.list_images()
            assert (info.value.endpoint, info.value.reason) == (client.endpoint, reason)


@pytest.mark.anyio
async def test_an_option_that_an_engine_ignores_is_an_error_that_names_the_engine() -> None:
    with serving(answering(answer(b"[]", headers={"Api-Version": "1.41"}))) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(UnsupportedByEngineError) as info:
                await client.list_images(manifests=True)
            assert (info.value.endpoint, info.value.reason) == (client.endpoint, "unsupported")


@pytest.mark.anyio
async def test_a_timeout_tells_its_stage_and_its_seconds() -> None:
    def hang(peer: Peer) -> None:
        while peer.request():
            pass

    with serving(hang) as server:
        async with DockerClient(server.host) as client:
            for seconds in (0.1, 1, 10):  # on a busy machine it may pass before there is a request
                with pytest.raises(EngineTimeoutError) as info:
                    await client.list_images(timeout=seconds)
                if info.value.stage == "waiting for the answer":
                    break
    error = info.value
    assert (error.endpoint, error.reason) == (client.endpoint, "timeout")
    assert (error.stage, error.seconds) == ("waiting for the answer", seconds)
    assert error.stage in str(error)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "reason", "number"),
    [
        pytest.param("unix:///nowhere/engine.sock", "no-socket", errno.ENOENT, id="no socket"),
        pytest.param("tcp://127.0.0.1:1", "refused", errno.ECONNREFUSED, id="no listener"),
    ],
)
async def test_an_error_of_the_operating_system_keeps_its_number(
    host: str, reason: str, number: int
) -> None:
    async with DockerClient(host) as client:
        with pytest.raises(EngineConnectionError) as info:
            await client.list_images()
        assert (info.value.endpoint, info.value.reason) == (client.endpoint, reason)
        assert info.value.errno == number


@pytest.mark.anyio
async def test_what_names_no_engine_is_a_reason_without_an_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    async with DockerClient(context="nowhere") as client:
        with pytest.raises(EndpointError) as info:
            await client.list_images()
    assert (info.value.endpoint, info.value.reason) == (None, "configuration")


MADE = [
    EndpointError("x", endpoint=resolve_endpoint({}, "npipe:////./pipe/x")),
    EngineConnectionError("x", endpoint=resolve_endpoint({}, "ssh://h"), reason="ssh", errno=5),
    EnginePermissionError("x", endpoint=resolve_endpoint({}, "unix:///x"), errno=errno.EACCES),
    EngineTimeoutError("x", stage="connecting", seconds=1.5),
    ApiVersionError("x", endpoint=resolve_endpoint({}, "tcp://h:1")),
    UnsupportedByEngineError("x", option="manifests", needed="a", found="b", engine="c"),
    EngineResponseError("x", status=404, message="no"),
    ResponseFormatError("x", reason="protocol"),
    DockerImagesError("x"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_and_all_its_data_survive_pickling(error: DockerImagesError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == "x"
    assert vars(again) == vars(error)
    assert again.errno == error.errno
    assert again.reason in get_args(Reason)


# ── What every error tells ──────────────────────────────────────────────────────────────────────


def silent(peer: Peer) -> None:
    peer.request()
    peer.wait()


def hanging_up(peer: Peer) -> None:
    peer.request()


REFUSED = b'{"message":"no such filter"}'

TOLD = [
    pytest.param(
        *(answering(answer(REFUSED, "400 Bad Request")), {"filters": {"x": "y"}}),
        *(EngineResponseError, "status", "answered 400: no such filter", "check the arguments"),
        id="a question that is refused",
    ),
    pytest.param(
        *(answering(answer(b"", "404 Not Found")), {}, EngineResponseError, "status"),
        *("answered 404 without a message", "is the address of a Docker API"),
        id="a page that is not there",
    ),
    pytest.param(
        *(answering(answer(b"<h1>Forbidden", "403 Forbidden")), {}, EngineResponseError, "status"),
        *("answered 403: Forbidden", "must allow GET /images/json"),
        id="a proxy that forbids",
    ),
    pytest.param(
        *(answering(answer(b"", "503 Down")), {}, EngineResponseError, "status"),
        *("answered 503", "try again later"),
        id="an engine that is down",
    ),
    pytest.param(
        *(answering(answer(b"{}")), {}, ResponseFormatError, "format"),
        *("Expected `array`, got `object`", "is this the address of a Docker API?"),
        id="no list",
    ),
    pytest.param(
        *(answering(b"SSH-2.0-OpenSSH_9.2\r\n", close=True), {}, ResponseFormatError),
        *("protocol", "it begins b'SSH-2.0-OpenSSH_9.2", "is this the address of a Docker API?"),
        id="no HTTP",
    ),
    pytest.param(
        *(answering(answer(b"[]", headers={"Api-Version": "1.12"})), {}, ApiVersionError),
        *("version", "share no API version: here 1.24 to", "upgrade the older of the two"),
        id="an engine that is too old",
    ),
    pytest.param(
        *(answering(answer(b"[]", headers={"Api-Version": "1.41"})), {"manifests": True}),
        *(UnsupportedByEngineError, "unsupported", "manifests=True needs API 1.47"),
        "leave it out, or ask another engine",
        id="an option that it would ignore",
    ),
    pytest.param(
        *(silent, {"timeout": 0.1}, EngineTimeoutError, "timeout"),
        *("took longer than 0.1 s; the call was", "timeout= gives it more time"),
        id="silence",
    ),
    pytest.param(
        *(hanging_up, {}, EngineConnectionError, "closed"),
        *("closed the connection before its answer was complete", "Try again, or look at its log"),
        id="a hang-up",
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize(("script", "question", "kind", "reason", "fact", "step"), TOLD)
async def test_an_error_names_address_source_fact_and_next_step_for_people_and_for_programs(
    script: Script,
    question: dict[str, Any],
    kind: type[DockerImagesError],
    reason: str,
    fact: str,
    step: str,
    tcp: bool,
) -> None:
    with serving(script, tcp=tcp) as server:
        async with DockerClient(server.host) as client:
            with pytest.raises(kind) as caught:
                await client.list_images(**question)
            endpoint = client.endpoint
    error, text = caught.value, str(caught.value)
    assert type(error) is kind
    assert f"{server.host} (host=)" in text
    assert text.index(fact) < text.index(step)
    assert (error.endpoint, error.reason) == (endpoint, reason)
    if isinstance(error, EngineTimeoutError):
        assert error.seconds == 0.1
        assert f"the call was {error.stage}." in text
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, text, vars(error))
