"""Bytes to an engine and back, and why they did not arrive.

Knows sockets, TLS, ssh, proxies, HTTP/1.1 and time limits. Refuses to know what is asked and what
the answer means. Outside it there are httpx's requests and responses, and errors of this library:
this module is the wall where foreign exceptions become ours.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import cast

import httpx

from docker_images.address import Endpoint
from docker_images.errors import DockerImagesError
from docker_images.transport.deadline import stage
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.per_loop import PerLoop
from docker_images.transport.pool import MAX_RESPONSE_BYTES, Pool
from docker_images.transport.threads import in_thread

__all__ = ["Body", "CallersTransport", "EngineTransport", "body_of"]

# Status, headers, how to read on (`b""` at the end), and how to close.
_Exchange = tuple[
    int,
    list[tuple[bytes, bytes]],
    Callable[[], Awaitable[bytes]],
    Callable[[], Awaitable[None]],
]


class EngineTransport(httpx.AsyncBaseTransport):
    """An httpx transport to a container engine, over any kind of endpoint.

        transport = EngineTransport(resolve_endpoint())
        async with httpx.AsyncClient(transport=transport, base_url="http://docker") as client:
            print((await client.get("/version")).json())

    It only sends `GET` requests, over HTTP/1.1, and only to the endpoint: it uses just the path and
    query of the URL. It keeps idle connections, and can be used in several event loops and threads,
    with at most 100 requests at the same time in each of them.

    Of httpx's timeouts it honours `connect` (until TCP, TLS, a proxy and ssh are through), `read`
    (for each piece of an answer) and `pool` (for waiting until there are fewer than 100 requests).
    If something goes wrong on the way, it raises a `DockerImagesError` and not an exception of
    httpx.

    Args:
        endpoint: the engine, for example from `resolve_endpoint`.
        max_response_bytes: the largest length that an answer can declare.

    Raises:
        TypeError: if `endpoint` is not an `Endpoint`.
    """

    def __init__(self, endpoint: Endpoint, *, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        if not isinstance(endpoint, Endpoint):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"endpoint takes an Endpoint, such as resolve_endpoint(host='unix:///…') returns, "
                f"not {type(endpoint).__name__}"
            )
        self.endpoint = endpoint
        self._closed = False
        self._pools = PerLoop(lambda: Pool(endpoint, max_response_bytes))

    @property
    def pool(self) -> Pool:
        """What belongs to the running event loop."""
        return self._pools.get()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. The body of its answer is read while you iterate over it.

        Args:
            request: a `GET`.

        Raises:
            ValueError: if the request is not a `GET`.
            DockerImagesError: if something goes wrong on the way, or while the body is read.
        """
        pool = self._pools.get()
        timeouts = request.extensions.get("timeout") or {}
        takes_turn = request.extensions.get("turn", True)
        try:
            if takes_turn:
                await pool.take_turn(timeouts.get("pool"))
            try:
                status, headers, read, close = await self._exchange(pool, request, timeouts)
            except BaseException:
                if takes_turn:
                    pool.give_turn_back()
                raise
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise await in_thread(translate, error, self.endpoint) from error
        stage.set("reading the answer")
        body = Body(self.endpoint, read, close, pool.give_turn_back if takes_turn else None)
        return httpx.Response(status, headers=headers, stream=body)

    async def _exchange(
        self, pool: Pool, request: httpx.Request, timeouts: dict[str, float | None]
    ) -> _Exchange:
        connection = await pool.ask(
            _serialise(request, self.endpoint), timeouts.get("connect"), timeouts.get("read")
        )

        async def close() -> None:
            await pool.release(connection, keep=not self._closed)

        return connection.status, connection.headers, connection.read, close

    async def aclose(self) -> None:
        """Close the idle connections of this event loop.

        Those of another one close at its next request, with its end, or with this object. Requests
        that are under way may end.
        """
        self._closed = True
        await self.pool.aclose()


class CallersTransport(EngineTransport):
    """A transport of the caller's, within the same wall: it takes turns, and stays open."""

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__(endpoint)
        self._transport = transport

    async def _exchange(
        self, pool: Pool, request: httpx.Request, timeouts: dict[str, float | None]
    ) -> _Exchange:
        stage.set("waiting for the answer")
        response = await self._transport.handle_async_request(request)
        chunks = aiter(cast("httpx.AsyncByteStream", response.stream))

        async def read() -> bytes:
            async for data in chunks:
                if data:
                    return data
            return b""

        async def close() -> None:
            if isinstance(chunks, AsyncGenerator):  # left half-way it is a warning on trio
                await chunks.aclose()
            await response.aclose()

        return response.status_code, response.headers.raw, read, close


class Body(httpx.AsyncByteStream):
    """The body of an answer, as it arrives, neither decompressed nor counted."""

    def __init__(
        self,
        endpoint: Endpoint,
        read: Callable[[], Awaitable[bytes]],
        close: Callable[[], Awaitable[None]],
        give_turn_back: Callable[[], None] | None,
    ) -> None:
        self._endpoint, self._read = endpoint, read
        self._close: Callable[[], Awaitable[None]] | None = close
        self._give_turn_back = give_turn_back

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._close is None:
            raise StopAsyncIteration
        try:
            data = await self._read()
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise await in_thread(translate, error, self._endpoint) from error
        if not data:
            await self.aclose()
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Let go of the connection, whether or not the body was read to its end."""
        close, self._close = self._close, None
        if close is not None:
            if self._give_turn_back is not None:
                self._give_turn_back()
            await close()


def body_of(response: httpx.Response) -> Body:
    """The body of a response that came through the wall."""
    return cast("Body", response.stream)


def _serialise(request: httpx.Request, endpoint: Endpoint) -> bytes:
    if request.method != "GET":
        raise ValueError(f"this transport sends GET requests only, not {request.method}")
    before, headers = b"", request.headers.raw
    if endpoint.proxy is not None:
        from docker_images.transport.tunnel import forwarding  # most users have no proxy

        before, more = forwarding(endpoint)
        headers = [*headers, *more]
    lines = [b"GET " + before + request.url.raw_path + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", b""])
