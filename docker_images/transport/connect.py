"""How a byte stream to an endpoint is opened.

Decides by the kind of endpoint: unix socket, tcp, TLS over it, ssh. Refuses to know HTTP.
"""

import errno
import socket

import anyio

from docker_images.address import Endpoint
from docker_images.endpoint.hosts import npipe_refusal
from docker_images.errors import EndpointError
from docker_images.transport.sockets import SocketStream, Stream, connect

__all__ = ["open_stream"]


async def open_stream(endpoint: Endpoint) -> Stream:
    """Connect to the engine. Raises `OSError` or a `DockerImagesError`."""
    if endpoint.kind == "unix":
        return SocketStream(await connect(socket.AF_UNIX, endpoint.path))
    if endpoint.kind == "npipe":
        raise EndpointError(npipe_refusal(endpoint), endpoint=endpoint)
    # Imported here: most users need neither, and both take 40 ms.
    if endpoint.kind == "ssh":
        from docker_images.transport.ssh import open_ssh

        return await open_ssh(endpoint)
    stream = await _open_tcp(endpoint)
    if endpoint.tls is None:
        return stream
    from docker_images.transport.tls import open_tls

    return await open_tls(stream, endpoint)


async def _open_tcp(endpoint: Endpoint) -> SocketStream:
    addresses = await anyio.getaddrinfo(
        endpoint.hostname, endpoint.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    for last, (family, _, _, _, address) in enumerate(addresses, 1 - len(addresses)):
        try:
            sock = await connect(family, address)
        except OSError:
            if last == 0:
                raise
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return SocketStream(sock)
    raise OSError(errno.EADDRNOTAVAIL, "the name has no address")
