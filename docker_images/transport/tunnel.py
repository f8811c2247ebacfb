"""Our httpx transport where a proxy stands between us and a tcp engine.

Knows how httpx's own transport passes a proxy, what it leaves open, and what its failures mean.
Refuses to know which proxy it is (`proxy`) and what is asked. Imported only where there is one, and
httpcore with it.
"""

import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from docker_images.address import Endpoint
from docker_images.errors import DockerImagesError, EndpointError, EngineConnectionError
from docker_images.text import printable
from docker_images.transport import tls
from docker_images.transport.deadline import stage
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.http1 import HungUpError

__all__ = ["ProxyTransport"]

_log = logging.getLogger("docker_images")


class ProxyTransport(httpx.AsyncBaseTransport):
    """GET requests through the proxy of an endpoint. Every failure is a `DockerImagesError`.

    Each has a transport of httpx's and a connection of its own, closed with the answer: the pool of
    httpcore loses connections when calls are cancelled.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await _Exchange(self.endpoint).ask(request)


class _Exchange(httpx.AsyncByteStream):
    """One request, and the body of its answer as it arrives."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._socket: Any = None  # an httpcore.AsyncNetworkStream, once there is a connection
        self._in_tls = False
        self._failed = ""

    async def ask(self, request: httpx.Request) -> httpx.Response:
        stage.set("waiting for the proxy")
        _log.debug("connecting to %s", self._endpoint)
        try:
            self._transport = await self._open()
            # Without the extension `timeout` there is none: the deadline of the call covers all.
            answer = await self._transport.handle_async_request(
                httpx.Request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    extensions={"trace": self._trace},
                )
            )
            self._body = aiter(cast("httpx.AsyncByteStream", answer.stream))
            if answer.status_code == 407:
                raise httpx.ProxyError("407 Proxy Authentication Required")
        except BaseException as error:
            await self._fail(error)
            raise
        stage.set("reading the answer")
        return httpx.Response(answer.status_code, headers=answer.headers.raw, stream=self)

    async def _open(self) -> httpx.AsyncHTTPTransport:
        endpoint = self._endpoint
        url = endpoint.proxy or ""
        scheme = urlsplit(url).scheme
        if ":" in endpoint.hostname and not scheme.startswith("socks"):
            # httpcore leaves the brackets out, in the request and in CONNECT.
            raise EndpointError(
                f"{endpoint}: an IPv6 address cannot be named to this proxy; "
                f"use a name for the engine, or {self._around()}",
                endpoint=endpoint,
            )
        over_tls = scheme == "https"
        if endpoint.tls is None and not over_tls:
            trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nobody
        else:
            trusted = await anyio.to_thread.run_sync(tls.ssl_context, endpoint)
        # An https proxy is trusted as the engine is: Go's net/http/transport.go dialConn.
        proxy = httpx.Proxy(url, ssl_context=trusted if over_tls else None)
        try:
            return httpx.AsyncHTTPTransport(verify=trusted, trust_env=False, proxy=proxy)
        except ImportError as error:
            raise EndpointError(
                f"{endpoint}: a SOCKS proxy needs the package socksio; "
                f"pip install 'httpx[socks]', or {self._around()}",
                endpoint=endpoint,
            ) from error

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore at each of its steps: python-httpx.org/advanced/extensions/#trace."""
        if event.endswith("connect_tcp.complete"):
            self._socket = info["return_value"]
        elif event.endswith("start_tls.complete"):
            self._in_tls = True
        elif event.endswith(".failed"):
            self._failed = self._failed or event

    def __aiter__(self) -> "_Exchange":
        return self

    async def __anext__(self) -> bytes:
        if self._body is None:
            raise StopAsyncIteration
        try:
            return await anext(self._body)
        except BaseException as error:  # its end among them
            await self._fail(error)
            raise

    async def _fail(self, error: BaseException) -> None:
        """Close the connection, and say what a failure of it means."""
        await self.aclose()
        if isinstance(error, FOREIGN) and not isinstance(error, DockerImagesError):
            raise self._explain(cast("Exception", error)) from error

    async def aclose(self) -> None:
        """Close the connection, whether or not the body was read to its end."""
        body, self._body = self._body, None
        with anyio.CancelScope(shield=True):
            if self._socket is not None:
                await self._socket.aclose()
            if body is not None:
                # httpcore reads by generators within generators. Only a failure ends them all, and
                # on trio one that is left half-way is a warning.
                with suppress(*FOREIGN):
                    async for _ in body:
                        pass
            if self._transport is not None:
                await self._transport.aclose()

    def _explain(self, error: Exception) -> DockerImagesError:
        at = str(self._endpoint)
        root = _root(error)
        if isinstance(error, httpx.ProxyError):
            step = f"has {self._variable()} the right user and password?"
            if "407" not in str(error):
                step = "does it know the engine, and allow this port?"
            return EngineConnectionError(
                f"cannot reach {at}: the proxy says {printable(str(error))!r}; {step} "
                f"Or {self._around()}",
                endpoint=self._endpoint,
                reason="proxy",
            )
        if self._socket is None or self._failed == "connection.start_tls.failed":
            return EngineConnectionError(
                f"cannot reach {at}: no connection to the proxy: {_fact(root)}; "
                f"mend {self._variable()}, or {self._around()}",
                endpoint=self._endpoint,
                reason="proxy",
            )
        hung_up = str(error).startswith(("Server disconnected", "peer closed connection"))
        if hung_up and self._in_tls:
            root = anyio.EndOfStream()
        if fact := tls.explain(root, self._endpoint):
            return EngineConnectionError(
                f"cannot connect to {at}: {fact}", endpoint=self._endpoint, reason="tls"
            )
        return translate(HungUpError() if hung_up else root, self._endpoint)

    def _variable(self) -> str:
        return "HTTPS_PROXY" if self._endpoint.tls else "HTTP_PROXY"

    def _around(self) -> str:
        return f"name {self._endpoint.hostname} in NO_PROXY to go there directly"


def _root(error: Exception) -> Exception:
    """What the operating system, ssl or a stream said, if they did, else the error itself.

    httpcore raises `from None`, and keeps what it caught as the argument of its own exception.
    """
    found: Exception = error
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLEOFError() | anyio.EndOfStream():
                found = anyio.EndOfStream()
            case OSError(errno=int()):
                found = cause
            case _:
                pass
        match cause:
            case BaseExceptionGroup(exceptions=[BaseException() as inner, *_]):
                cause = inner
            case Exception(args=(Exception() as inner,)):
                cause = inner
            case _:
                cause = cause.__cause__
    return found


def _fact(error: Exception) -> str:
    of_another_kind = isinstance(error, ssl.SSLError | socket.gaierror)
    if isinstance(error, OSError) and error.errno and not of_another_kind:
        return os.strerror(error.errno)  # the event loops put the address before it
    return printable(str(getattr(error, "strerror", None) or error)) or type(error).__name__
