"""A way through a proxy, to be used as if it were a connection to the engine.

Knows CONNECT (RFC 9110), SOCKS5 (RFC 1928, 1929) and what is sent to a proxy that passes plain HTTP
on. Refuses to know which proxy it is (`endpoint.proxy`).
"""

import ipaddress
import ssl
from base64 import b64encode
from http.client import responses as phrases
from urllib.parse import SplitResult, unquote, urlsplit

import anyio

from docker_images.address import Endpoint
from docker_images.errors import DockerImagesError
from docker_images.transport.deadline import stage
from docker_images.transport.exceptions import ProxyError
from docker_images.transport.http1 import Connection, HungUpError, ProtocolError
from docker_images.transport.sockets import Stream, open_tcp
from docker_images.transport.tls import open_tls

__all__ = ["forwarding", "open_tunnel"]

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_MAX_REFUSAL = 64 * 1024

# RFC 1928, section 6.
_SOCKS_REPLIES = (
    "it failed", "its rules do not allow it", "the network cannot be reached",
    "the host cannot be reached", "the connection was refused", "the time to live is over",
    "it does not know CONNECT", "it does not know this kind of address",
)  # fmt: skip


async def open_tunnel(endpoint: Endpoint, context: ssl.SSLContext) -> Stream:
    """Connect to the proxy and have it connect to the engine, unless it passes requests on.

    `context` is for a proxy that is spoken to in TLS. Raises `ProxyError`.
    """
    proxy = urlsplit(endpoint.proxy or "")
    try:
        stream = await _open_proxy(proxy, endpoint, context)
        try:
            if proxy.scheme.startswith("socks"):
                await _ask_socks(stream, proxy, endpoint)
            elif endpoint.tls is not None:
                await _ask_connect(stream, proxy, endpoint)
        except BaseException:
            await stream.aclose()
            raise
    except (OSError, ValueError, anyio.EndOfStream, HungUpError) as error:
        if isinstance(error, DockerImagesError):
            raise
        raise ProxyError from error
    except ProtocolError as error:
        raise ProxyError(str(error)) from error
    stage.set("connecting")
    return stream


def forwarding(endpoint: Endpoint) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """What stands before the path in a request to the proxy, and the headers that are for it.

    Both are empty where nobody reads the requests but the engine.
    """
    proxy = urlsplit(endpoint.proxy or "")
    if endpoint.tls is not None or proxy.scheme not in ("http", "https"):
        return b"", []
    return b"http://" + _target(endpoint), _authorization(proxy)


async def _open_proxy(proxy: SplitResult, endpoint: Endpoint, context: ssl.SSLContext) -> Stream:
    name = proxy.hostname or ""
    stream = await open_tcp(name, proxy.port or _PORTS[proxy.scheme])
    stage.set("waiting for the proxy")
    if proxy.scheme != "https":
        return stream
    # It is trusted as the engine is: Go's net/http/transport.go dialConn.
    return await open_tls(stream, endpoint, context, name)


async def _ask_connect(stream: Stream, proxy: SplitResult, endpoint: Endpoint) -> None:
    target = _target(endpoint)
    connection = Connection(stream, _MAX_REFUSAL)
    await connection.ask(
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: docker-images\r\n%b\r\n"
        % (target, target, b"".join(b"%b: %b\r\n" % field for field in _authorization(proxy)))
    )
    status = connection.status
    if not 200 <= status < 300:
        said = f"{status} {phrases.get(status, '')}".strip()
        raise ProxyError(said, wants_password=status == 407)


def _target(endpoint: Endpoint) -> bytes:
    host = endpoint.hostname
    name = f"[{host}]".encode("ascii") if ":" in host else host.encode("idna")
    return b"%b:%d" % (name, endpoint.port or 0)


def _authorization(proxy: SplitResult) -> list[tuple[bytes, bytes]]:
    if proxy.username is None and proxy.password is None:
        return []
    return [(b"Proxy-Authorization", b"Basic " + b64encode(b":".join(_credentials(proxy))))]


def _credentials(proxy: SplitResult) -> tuple[bytes, bytes]:
    return unquote(proxy.username or "").encode(), unquote(proxy.password or "").encode()


async def _ask_socks(stream: Stream, proxy: SplitResult, endpoint: Endpoint) -> None:
    # Written by hand: socksio leaves it to its user where a reply ends, which is half of the work.
    async def exchange(request: bytes, length: int) -> bytes:
        await stream.send(request)
        reply = b""
        while len(reply) < length:
            reply += await stream.receive(length - len(reply))
        return reply

    with_password = proxy.username is not None
    method = b"\x02" if with_password else b"\x00"
    reply = await exchange(b"\x05\x01" + method, 2)
    if reply[:1] != b"\x05":
        raise ProxyError(f"no SOCKS5, but {reply!r}")
    if reply[1:] != method:
        raise ProxyError("it does not take this way to log in", wants_password=True)
    if with_password:
        user, password = _credentials(proxy)
        login = b"\x01%c%b%c%b" % (len(user), user, len(password), password)
        if (await exchange(login, 2))[1:] != b"\x00":
            raise ProxyError("user or password is wrong", wants_password=True)
    port = (endpoint.port or 0).to_bytes(2, "big")
    reply = await exchange(b"\x05\x01\x00" + _socks_address(endpoint.hostname) + port, 5)
    if code := reply[1]:
        known = code <= len(_SOCKS_REPLIES)
        raise ProxyError(_SOCKS_REPLIES[code - 1] if known else f"error {code}")
    # The address that it connects from; its first byte is in the reply.
    await exchange(b"", {1: 4, 3: reply[4] + 1, 4: 16}.get(reply[3], 0) - 1 + 2)


def _socks_address(hostname: str) -> bytes:
    try:
        address = ipaddress.ip_address(hostname)
    except ValueError:
        name = hostname.encode("idna")
        return b"\x03%c%b" % (len(name), name)
    return (b"\x04" if address.version == 6 else b"\x01") + address.packed
