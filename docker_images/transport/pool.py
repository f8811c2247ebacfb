"""Our httpx transport: one GET at a time on one connection, idle connections kept.

Knows which connection to use, when to try once more, and when to close. Refuses to know what is
asked and what the answer means.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import httpx

from docker_images.address import Endpoint
from docker_images.errors import DockerImagesError
from docker_images.transport.connect import open_stream
from docker_images.transport.deadline import stage
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.http1 import Connection, HungUpError

__all__ = [
    "MAX_RESPONSE_BYTES",
    "EngineTransport",
    "body_of",
    "close",
    "headers_of",
    "transport_to",
]

MAX_IDLE = 32
MAX_RESPONSE_BYTES = 512 * 2**20

_log = logging.getLogger("docker_images")


def transport_to(
    endpoint: Endpoint, max_response_bytes: int = MAX_RESPONSE_BYTES
) -> httpx.AsyncBaseTransport:
    """The transport that leads to an engine: ours, or httpx's where a proxy is on the way."""
    if endpoint.proxy is None:
        return EngineTransport(endpoint, max_response_bytes)
    from docker_images.transport.tunnel import (
        ProxyTransport,  # httpcore and TLS: most users need neither
    )

    return ProxyTransport(endpoint)


class EngineTransport(httpx.AsyncBaseTransport):
    """GET requests to one endpoint. Every failure is raised as a `DockerImagesError`.

    It is an ordinary httpx transport, but knows of httpx only the request and the response: not the
    pool of httpcore, which loses connections when calls are cancelled.
    """

    def __init__(self, endpoint: Endpoint, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self.endpoint = endpoint
        self._max_response_bytes = max_response_bytes
        self._idle: list[Connection] = []
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        message = request.extensions.get("message")
        if message is None:
            message = request.extensions["message"] = _serialise(request)
        stage.set("waiting for the answer")
        try:
            idle = self._take()
            connection = idle or await self._connect()
            try:
                await connection.ask(message)
            except (HungUpError, OSError, anyio.BrokenResourceError):
                # It died while idle: a GET may be sent again, as Go's client does.
                if idle is None or not idle.is_silent:
                    raise
                _log.debug("%s closed an idle connection", self.endpoint)
                connection = await self._connect()
                await connection.ask(message)
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise translate(error, self.endpoint) from error
        stage.set("reading the answer")
        body = _Body(self, connection)
        return _Answer(connection.status, connection.headers, body)

    def _take(self) -> Connection | None:
        """The idle connection that was used last, of those that serve this event loop."""
        elsewhere: list[Connection] = []
        try:
            while True:
                connection = self._idle.pop()
                if connection.stream.is_elsewhere():
                    elsewhere.append(connection)
                elif connection.stream.is_stale():
                    connection.stream.abort()
                else:
                    return connection
        except IndexError:  # and not a look before: another thread may take the last one
            return None
        finally:
            if elsewhere:
                self._keep(*reversed(elsewhere))

    def _keep(self, *connections: Connection) -> None:
        self._idle += connections
        while self._closed:  # looked at last: another thread may close the client at this moment
            try:
                self._idle.pop().stream.abort()
            except IndexError:
                return

    async def _connect(self) -> Connection:
        stage.set("connecting")
        _log.debug("connecting to %s", self.endpoint)
        connection = Connection(await open_stream(self.endpoint), self._max_response_bytes)
        stage.set("waiting for the answer")
        return connection

    async def release(self, connection: Connection) -> None:
        """Keep the connection if its answer was read to the end, else close it."""
        if connection.is_reusable:
            self._keep(connection)
            if len(self._idle) <= MAX_IDLE:
                return
            # Close the oldest: it may be of an event loop that has nothing more to ask.
            try:
                connection = self._idle.pop(0)
            except IndexError:
                return
        await connection.aclose()

    async def aclose(self) -> None:
        self._closed = True
        with suppress(IndexError):  # as above
            while True:
                await self._idle.pop().aclose()


class _Answer(httpx.Response):
    """An answer that becomes a whole `httpx.Response` when somebody asks for more than we do.

    To make one each time, headers read, takes a twelfth of a call for one image.
    """

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], stream: httpx.AsyncByteStream
    ) -> None:
        self.status_code = status
        self.raw_headers = headers
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        mine = vars(self).copy()
        if "extensions" in mine:  # it is whole already
            raise AttributeError(name, name=name, obj=self)
        super().__init__(self.status_code, headers=self.raw_headers, stream=self.stream)
        vars(self).update(mine)
        return getattr(self, name)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it arrives."""

    def __init__(self, transport: EngineTransport, connection: Connection) -> None:
        self._transport = transport
        self._connection: Connection | None = connection

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        if self._connection is None:
            raise StopAsyncIteration
        try:
            data = await self._connection.read()
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise translate(error, self._transport.endpoint) from error
        if not data:
            await self.aclose()
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Let go of the connection, whether or not the body was read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._transport.release(connection)


def headers_of(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The headers as they came."""
    return response.raw_headers if type(response) is _Answer else response.headers.raw


def body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes as they came, decompressed or counted by nobody."""
    stream: Any = response.stream  # httpx types it as a synchronous one, too
    return aiter(stream)


async def close(response: httpx.Response, body: AsyncIterator[bytes]) -> None:
    """Close an answer and the iterator over its stream, read to the end or not.

    Other transports iterate by generators, and on trio a generator left half-way is a warning.
    """
    if type(body) is _Body:  # isinstance() of an abstract class takes three calls more
        await body.aclose()
        return
    if isinstance(body, AsyncGenerator):
        await body.aclose()
    await response.aclose()


def _serialise(request: httpx.Request) -> bytes:
    if request.method != "GET":
        raise ValueError(f"this transport sends GET requests only, not {request.method}")
    lines = [b"GET " + request.url.raw_path + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])
