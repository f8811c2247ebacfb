"""Sockets: how one is connected, and how it is read and written on any event loop.

The only module that opens sockets. Refuses to know endpoints and HTTP. What goes wrong leaves as
the operating system's or anyio's exception: `failures` says what it means.
"""

import asyncio
import errno
import os
import socket
from contextvars import Context
from typing import Protocol

import anyio
from anyio.abc import ByteStream

from docker_images.transport.deadline import asyncio_loop

__all__ = ["SocketStream", "Stream", "connect"]


class Stream(Protocol):
    """What HTTP needs of a connection."""

    async def send(self, item: bytes) -> None: ...

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte; `anyio.EndOfStream` when the peer has closed."""
        ...

    def is_elsewhere(self) -> bool:
        """Whether another event loop has it, which may still run. To be asked by its user alone."""
        ...

    def is_stale(self) -> bool:
        """Whether an idle connection is of no use: closed, or bytes came that nobody asked for."""
        ...

    def abort(self) -> None:
        """Close at once, from any thread, with or without a running event loop."""
        ...

    async def aclose(self) -> None: ...


class _Socket(socket.socket):
    """A socket that a forgotten client may leave behind: collected, it closes without a word."""

    def __del__(self) -> None:
        if self.fileno() >= 0:  # else it was closed, or never opened for want of a descriptor
            self.close()


class _Watch:
    """asyncio's eye on one socket, left open between waits.

    `anyio.wait_readable` opens and closes it each time, which takes three times as long. The event
    loop holds the watch and so the socket, whose number cannot go to another one meanwhile, but not
    the stream, which can be forgotten.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.loop = loop
        self.is_open = False
        self._socket = sock
        self._ignored = 1

    def wait(self) -> asyncio.Future[None]:
        """Done when there is something to read, or the end."""
        self._waiter = self.loop.create_future()
        if not self.is_open:
            # In a context of its own: the loop would keep that of the task, and what is in it.
            Context().run(self.loop.add_reader, self._socket.fileno(), self._see)
            self.is_open = True
        return self._waiter

    def _see(self) -> None:
        # asyncio looks once more before the task that is told has its turn: that look counts for
        # nothing. Some more may find what nobody waits for at the moment.
        if self._ignored and not self._waiter.done():
            self._ignored = 0
            self._waiter.set_result(None)
        elif self._ignored < 3:
            self._ignored += 1
        else:
            self.close()

    def close(self) -> None:
        """Look no more."""
        if self.is_open:
            self.loop.remove_reader(self._socket.fileno())
            self.is_open = False

    def close_socket(self) -> None:
        """Look no more, and close the socket."""
        self.close()
        self._socket.close()


class SocketStream(ByteStream):
    """A connected, non-blocking socket as an anyio stream.

    anyio's own streams take a turn of the event loop before each operation and warn when they are
    not closed. This one waits only when it must, on every loop, and its socket is nobody's burden.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._watch: _Watch | None = None

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
                pass
            if self._watch is None and (loop := asyncio_loop()) is not None:
                self._watch = _Watch(loop, self._socket)
            try:
                await (self._watch.wait() if self._watch else anyio.wait_readable(self._socket))
            except NotImplementedError:  # Windows' proactor
                await anyio.wait_readable(self._socket)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def is_elsewhere(self) -> bool:
        watch = self._watch
        if watch is None or watch.loop is asyncio_loop():
            return False
        if watch.is_open and not watch.loop.is_closed():
            return True
        self._watch = None
        return False

    def is_stale(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def abort(self) -> None:
        watch = self._watch
        if watch is None or not watch.is_open:
            self._socket.close()
        elif watch.loop is asyncio_loop():
            watch.close_socket()
        else:
            try:
                watch.loop.call_soon_threadsafe(watch.close_socket)
            except RuntimeError:  # the loop is closed
                self._socket.close()

    async def aclose(self) -> None:
        self.abort()

    def __del__(self) -> None:
        self.abort()


async def connect(family: int, address: str | tuple[str | int, ...]) -> socket.socket:
    sock = _Socket(family, socket.SOCK_STREAM)
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
