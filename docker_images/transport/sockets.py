"""Sockets: how one is connected, and how it is read and written on any event loop.

The only module that opens sockets. Refuses to know endpoints and HTTP. What goes wrong leaves as
the operating system's or anyio's exception: `failures` says what it means.
"""

import errno
import os
import socket
from itertools import chain, zip_longest
from typing import Any, Protocol

import anyio

from docker_images.transport.deadline import stage
from docker_images.transport.threads import in_thread

__all__ = ["QuietSocket", "SocketStream", "Stream", "connect", "open_tcp"]


# A connection that dies in silence is found after a minute, also where nothing is sent.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
ATTEMPT_DELAY = 0.25  # seconds; RFC 8305, section 8


class Stream(Protocol):
    """What HTTP needs of a connection."""

    async def send(self, item: bytes) -> None:
        """Send all of it."""
        ...

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte; `anyio.EndOfStream` when the peer has closed."""
        ...

    def is_stale(self) -> bool:
        """Whether an idle connection is of no use: closed, or bytes came that nobody asked for."""
        ...

    def abort(self) -> None:
        """Close at once, from any thread, with or without a running event loop."""
        ...

    async def aclose(self) -> None:
        """Close, with all that takes a while."""
        ...


class QuietSocket(socket.socket):
    """A socket that a forgotten client may leave behind: collected, it closes without a warning."""

    def __del__(self) -> None:
        if self.fileno() >= 0:  # otherwise it was closed, or never opened
            self.close()


class SocketStream:
    """A connected, non-blocking socket as a stream.

    anyio's own streams take a turn of the event loop before each operation and warn when they are
    not closed. This one waits only when it must, on every event loop.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def send(self, item: bytes) -> None:
        while True:
            try:
                sent = self._socket.send(item)
            except BlockingIOError:
                sent = 0
            if sent == len(item):
                return
            item = item[sent:]
            await anyio.wait_writable(self._socket)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            try:
                data = self._socket.recv(max_bytes)
                break
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
        if not data:
            raise anyio.EndOfStream
        return data

    def is_stale(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def abort(self) -> None:
        self._socket.close()

    async def aclose(self) -> None:
        self.abort()

    def __del__(self) -> None:
        self.abort()


async def connect(family: int, address: str | tuple[Any, ...]) -> socket.socket:
    """A connected, non-blocking socket."""
    sock = QuietSocket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while (code := sock.connect_ex(address)) == errno.EAGAIN:  # noqa: ASYNC110
            # A unix socket whose backlog is full; the kernel offers nothing to wait for.
            await anyio.sleep(0.005)
        if code == errno.EINPROGRESS:
            await anyio.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


async def open_tcp(hostname: str, port: int) -> SocketStream:
    """Connect to the first address of a name that answers. Raises `OSError`."""
    addresses = [(family, (host, port, *rest)) for family, host, *rest in await _look_up(hostname)]
    stage.set("connecting")
    sock = await (connect(*addresses[0]) if len(addresses) == 1 else _race(addresses))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return SocketStream(sock)


async def _look_up(hostname: str) -> list[tuple[Any, ...]]:
    """The addresses of a name, family first, in the order in which to try them."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, hostname.partition("%")[0])
        except OSError:
            continue
        return [(family, hostname)]
    stage.set("looking up the name")
    found = await in_thread(_ask_for, hostname, in_place=False)
    # RFC 8305, section 4: the families take turns, so that a way that is cut costs one attempt.
    preferred = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for each in chain(*zip_longest(preferred, others)) if each is not None]


def _ask_for(hostname: str) -> list[tuple[Any, ...]]:
    found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [(family, host, *rest) for family, _, _, _, (host, _, *rest) in found]


async def _race(addresses: list[tuple[int, tuple[Any, ...]]]) -> socket.socket:
    """Connect to each a little later than to the one before; the first that stands counts."""
    connected: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(family: int, address: tuple[Any, ...], failed: anyio.Event) -> None:
        try:
            sock = await connect(family, address)
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            connected.append(sock)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for family, address in addresses:
            failed = anyio.Event()
            tasks.start_soon(attempt, family, address, failed)
            with anyio.move_on_after(ATTEMPT_DELAY):
                await failed.wait()
    for late in connected[1:]:
        late.close()
    if connected:
        return connected[0]
    try:
        raise errors[-1]
    finally:
        errors.clear()  # their tracebacks refer to it: no cycle
