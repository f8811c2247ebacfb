"""How a byte stream to an endpoint is opened.

Decides by the kind of endpoint: unix socket, ssh, tcp; TLS and proxies over the latter. Refuses to
know HTTP.
"""

import os
import socket

from docker_images.address import Endpoint
from docker_images.endpoint.hosts import npipe_refusal
from docker_images.errors import EndpointError
from docker_images.transport.deadline import time_limit
from docker_images.transport.sockets import SocketStream, Stream, connect, open_tcp
from docker_images.transport.threads import with_files

__all__ = ["open_stream"]


async def open_stream(endpoint: Endpoint, connect_timeout: float | None = None) -> Stream:
    """Connect to the engine within so many seconds.

    Raises what `failures` translates, or a `DockerImagesError`.
    """
    if endpoint.kind == "ssh":
        from docker_images.transport.ssh import open_ssh  # most users need no ssh

        return await open_ssh(endpoint, connect_timeout=connect_timeout)
    with time_limit(connect_timeout, "connect_timeout="):
        return await _open(endpoint)


async def _open(endpoint: Endpoint) -> Stream:
    if endpoint.kind == "unix":
        # The kernel looks the path up while `connect` waits, however long that takes.
        await with_files(os.path.exists, endpoint.path)
        return SocketStream(await connect(socket.AF_UNIX, endpoint.path))
    if endpoint.kind == "npipe":
        raise EndpointError(npipe_refusal(endpoint), endpoint=endpoint)
    if endpoint.tls is None and endpoint.proxy is None:
        return await open_tcp(endpoint.hostname, endpoint.port or 0)
    # Imported here: most users need neither.
    from docker_images.transport.tls import open_tls, ssl_context
    from docker_images.transport.tunnel import open_tunnel

    # The files are read before anything is sent, and each time: renewed certificates are used
    # without a restart.
    context = await with_files(ssl_context, endpoint)
    stream: Stream
    if endpoint.proxy is None:
        stream = await open_tcp(endpoint.hostname, endpoint.port or 0)
    else:
        stream = await open_tunnel(endpoint, context)
    if endpoint.tls is None:
        return stream
    return await open_tls(stream, endpoint, context, endpoint.hostname)
