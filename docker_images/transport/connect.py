"""How a byte stream to an endpoint is opened.

Decides by the kind of endpoint: unix socket, tcp, TLS over it, ssh. Refuses to know HTTP.
"""

import socket

from docker_images.address import Endpoint
from docker_images.endpoint.hosts import npipe_refusal
from docker_images.errors import EndpointError
from docker_images.transport.sockets import SocketStream, Stream, connect, open_tcp

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
    stream = await open_tcp(endpoint.hostname, endpoint.port or 0)
    if endpoint.tls is None:
        return stream
    from docker_images.transport.tls import open_tls

    return await open_tls(stream, endpoint)
