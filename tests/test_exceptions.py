"""Every exception that can come up on the way to an engine, and what the caller sees of it.

The tables name each class of anyio, ssl, socket, httptools and httpx. A class that a newer version
of them adds fails a test here until somebody has decided what it means.
"""

import errno
import os
import socket
import ssl
from types import ModuleType

import anyio
import httptools.parser.errors
import httpx
import pytest
from hostile import LIST, answer, answering, images, serving

from docker_images import (
    DockerClient,
    DockerImagesError,
    EndpointError,
    EngineConnectionError,
    EnginePermissionError,
    EngineTimeoutError,
    ResponseFormatError,
)
from docker_images.endpoint.hosts import resolve_endpoint
from docker_images.transport.failures import explain

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


@pytest.mark.anyio
@pytest.mark.parametrize("late", [False, True], ids=["before the answer", "in the answer"])
@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a group"])
@pytest.mark.parametrize(
    "kind", [kind for kind in EVERY if EVERY[kind]], ids=lambda kind: kind.__name__
)
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
        error = explain(OSError(number, os.strerror(number)), endpoint)
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
