"""Sockets: how one is connected, and how it is read and written on any event loop.

The only module that opens sockets. Refuses to know endpoints and HTTP. What goes wrong leaves as
the operating system's or anyio's exception: `failures` says what it means.
"""

import errno
import os
import socket
from typing import Protocol

import anyio

__all__ = ["QuietSocket", "SocketStream", "Stream", "connect"]


class Stream(Protocol):
    """What HTTP needs of a connection."""

    async def send(self, item: bytes) -> None: ...

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte; `anyio.EndOfStream` when the peer has closed."""
        ...

    def is_stale(self) -> bool:
        """Whether an idle connection is of no use: closed, or bytes came that nobody asked for."""
        ...

    def abort(self) -> None:
        """Close at once, from any thread, with or without a running event loop."""
        ...

    async def aclose(self) -> None: ...


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


async def connect(family: int, address: str | tuple[str | int, ...]) -> socket.socket:
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
