"""The connections of one event loop to one engine: who may ask, on which one, and when they close.

Used by its event loop alone. Refuses to know httpx, what is asked and what the answer means.
"""

import logging
from time import monotonic

import anyio

from docker_images.address import Endpoint
from docker_images.transport.connect import open_stream
from docker_images.transport.deadline import TimeLimitError, stage, time_limit
from docker_images.transport.http1 import Connection, HungUpError

__all__ = ["MAX_CALLS", "MAX_IDLE", "MAX_RESPONSE_BYTES", "Pool"]

# Requests at the same time; the others wait for their turn. Each takes a connection, and a process
# may often open no more than 1024 files, on macOS 256.
MAX_CALLS = 100
MAX_IDLE = 32
# Over tcp, what stands between us and the engine (NAT, VPN, a firewall) forgets idle connections
# without telling anybody, the strictest after a minute or so.
MAX_IDLE_SECONDS = 30.0
MAX_RESPONSE_BYTES = 512 * 2**20

_log = logging.getLogger("docker_images")


class Pool:
    """Turns, idle connections, and which call finds out the API version."""

    def __init__(self, endpoint: Endpoint, max_response_bytes: int) -> None:
        self.leading: anyio.Event | None = None
        """Set when the call that finds out the API version has ended; None where none is at it."""
        self._turns = anyio.Semaphore(MAX_CALLS)  # first come, first served
        self._endpoint = endpoint
        self._max_response_bytes = max_response_bytes
        self._idle: list[Connection] = []
        self._grows_old = endpoint.kind == "tcp"  # ssh asks by itself whether its peer is there
        self._dies_in_silence = endpoint.kind in ("tcp", "ssh")

    async def take_turn(self, seconds: float | None) -> None:
        """Wait for a turn, at most so long."""
        try:
            self._turns.acquire_nowait()
        except anyio.WouldBlock:
            stage.set("waiting for its turn")
            with time_limit(seconds, "the pool timeout"):
                await self._turns.acquire()

    def give_turn_back(self) -> None:
        """Let the next one have its turn."""
        self._turns.release()

    async def ask(
        self, message: bytes, connect_timeout: float | None, read_timeout: float | None
    ) -> Connection:
        """The connection on which the answer to `message` comes; its head has been read."""
        stage.set("waiting for the answer")
        if connection := self._take():
            try:
                await connection.ask(message, read_timeout)
            except TimeLimitError:
                self._suspect(connection)
                raise
            except (HungUpError, OSError, anyio.BrokenResourceError):
                # It died while idle: a GET may be sent again, as Go's client does.
                if not connection.is_silent:
                    raise
                _log.debug("%s closed an idle connection", self._endpoint)
            except anyio.get_cancelled_exc_class():
                self._suspect(connection)
                raise
            else:
                return connection
        stage.set("connecting")
        _log.debug("connecting to %s", self._endpoint)
        stream = await open_stream(self._endpoint, connect_timeout)
        stage.set("waiting for the answer")
        connection = Connection(stream, self._max_response_bytes)
        await connection.ask(message, read_timeout)
        return connection

    def _take(self) -> Connection | None:
        """The idle connection that was used last, if it is of any use."""
        if self._grows_old:
            self._drop_old()
        while self._idle:
            connection = self._idle.pop()
            if not connection.stream.is_stale():
                return connection
            connection.stream.abort()
        return None

    def _drop_old(self) -> None:
        too_old = monotonic() - MAX_IDLE_SECONDS
        while self._idle and self._idle[0].used < too_old:
            self._idle.pop(0).stream.abort()

    def _suspect(self, connection: Connection) -> None:
        """A deadline passed. If not a byte had come, the way may be cut, and the others be dead."""
        if self._dies_in_silence and connection.is_silent:
            while self._idle:
                self._idle.pop().stream.abort()

    async def release(self, connection: Connection, *, keep: bool) -> None:
        """Keep the connection if its answer was read to the end, otherwise close it."""
        if keep and connection.is_reusable:
            self._idle.append(connection)
            if self._grows_old:
                connection.used = monotonic()
                self._drop_old()
            if len(self._idle) <= MAX_IDLE:
                return
            connection = self._idle.pop(0)
        await connection.aclose()

    async def aclose(self) -> None:
        """Close the idle connections, all at the same time."""
        idle, self._idle = self._idle, []
        async with anyio.create_task_group() as tasks:
            for connection in idle:
                tasks.start_soon(connection.aclose)
