"""A fake engine: a real HTTP server on a real socket, that answers as an engine does.

Knows sockets, connections and faults. Refuses to know what an engine answers (`answers`) and how
HTTP is written (h11). One event loop serves: the caller's own with `async with`, one in a thread
with `with`.
"""

import os
import re
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from email.utils import formatdate
from http import HTTPStatus
from itertools import takewhile
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.abc
import anyio.from_thread
import h11
import msgspec

from docker_images.testing.answers import Answer, Request, answer, read_request
from docker_images.testing.events import RING, Event, Telling, record
from docker_images.testing.faults import Fault
from docker_images.testing.images import AnyImage, Images
from docker_images.testing.shapes import Shape, shape_named, version_of

__all__ = ["FakeEngine", "UnknownRequest"]

_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, for 0 seconds: closing a TCP socket resets it


class UnknownRequest(AssertionError):  # noqa: N818 - a failed assertion of the test, no error of ours
    """The code under test asked for something that a fake engine does not know."""


class FakeEngine:
    """A container engine for tests: `with` serves from a thread, `async with` in your event loop.

    `engine` is one of `ENGINE_NAMES`, such as `"docker 28.5 containerd"`, `"docker 20.10"` or
    `"podman 4"`. `api_version` and `min_api_version` change which API versions it supports.
    `faults` apply from the start. With `strict`, the end of the block raises `UnknownRequest` if
    there was a request that the fake does not know. `tcp` listens on a loopback port instead of a
    unix socket, whose permissions are `mode`. `clock` is the engine's clock: for its answers and
    events, and for `until`.
    """

    def __init__(
        self,
        images: Iterable[AnyImage] = (),
        engine: str = "docker 28.5 containerd",
        *,
        api_version: str | None = None,
        min_api_version: str | None = None,
        faults: Iterable[Fault] = (),
        strict: bool = True,
        tcp: bool = False,
        mode: int = 0o600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.images: Images = Images(images, clock=clock)
        """The images of the engine; change them at any time."""
        self.requests: list[Request] = []
        """The requests so far, oldest first; clear it to start again."""
        self.faults: list[Fault] = list(faults)
        """What goes wrong; change it at any time. The first fault that fits is used."""
        self.strict = strict
        self._shape = _shape(engine, api_version, min_api_version)
        self._unknown: list[Request] = []
        self._failure: Exception | None = None
        self._tcp, self._mode, self._clock = tcp, mode, clock
        self._forgotten = 0  # events before its last start
        self._host = ""
        self._listener: tuple[socket.socket, anyio.CancelScope] | None = None
        self._connections: dict[anyio.CancelScope, socket.socket] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._serving: AbstractAsyncContextManager[None] | None = None
        self._thread: ExitStack | None = None

    def __repr__(self) -> str:
        return f"<FakeEngine {self.engine!r} at {self._host or 'no address yet'}>"

    @property
    def engine(self) -> str:
        """The engine's name, such as `"docker 28.5 containerd"`."""
        return self._shape.name

    @property
    def host(self) -> str:
        """Its address, to pass as `host=` or to set as `DOCKER_HOST`."""
        if not self._host:
            raise RuntimeError("a FakeEngine has an address only inside its `with` block")
        return self._host

    def become(
        self, engine: str, *, api_version: str | None = None, min_api_version: str | None = None
    ) -> None:
        """Become another engine, at the same address and with the same images."""
        self._shape = _shape(engine, api_version, min_api_version)
        self.restart()

    def restart(self) -> None:
        """Drop every connection, and listen again at the same address."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Drop every connection, stop listening, and remove the socket file."""
        self._in_loop(self._stop)

    def start(self) -> None:
        """Listen again after `stop`."""
        self._in_loop(self._start)

    def chmod(self, mode: int) -> None:
        """Change the permissions of the socket; 0 refuses everyone but root."""
        os.chmod(self.host.removeprefix("unix://"), mode)  # noqa: PTH101

    def __enter__(self) -> Self:
        self._unused()
        with ExitStack() as stack:
            portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._serve()))
            self._portal, self._thread = portal, stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
        self._portal = None
        self._complain(error)

    async def __aenter__(self) -> Self:
        self._unused()
        serving = self._serve()
        await serving.__aenter__()
        self._serving = serving
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        serving, self._serving = self._serving, None
        # An error of the block is none of the server's: its task group must not wrap it.
        if serving is not None:
            await serving.__aexit__(None, None, None)
        self._complain(error)

    def _unused(self) -> None:
        if self._tasks is not None:
            raise RuntimeError("this FakeEngine is already running")

    def _complain(self, error: BaseException | None) -> None:
        if self._failure is not None and error is None:
            raise self._failure
        if not self._unknown or not self.strict:
            return
        asked = ", ".join(dict.fromkeys(f"{one.method} {one.target}" for one in self._unknown))
        text = (
            f"the fake {self.engine} was asked for something that it does not know: {asked}; it "
            "knows /images/json, /images/{name}/json, /containers/json, /events, /_ping and "
            "/version. FakeEngine(strict=False) allows it"
        )
        if error is None:
            raise UnknownRequest(text)
        error.add_note(text)

    def _in_loop(self, function: Callable[[], None]) -> None:
        if self._tasks is None:
            raise RuntimeError("this FakeEngine is not running: do that inside its `with` block")
        if self._portal is None:
            function()
        else:
            self._portal.call(function)

    @asynccontextmanager
    async def _serve(self) -> AsyncGenerator[None]:
        self._unknown, self._failure = [], None
        with tempfile.TemporaryDirectory(prefix="fake-", dir=_short_folder()) as folder:
            # Other users may reach the socket and be refused there, not at the folder.
            os.chmod(folder, 0o711)  # noqa: PTH101, S103
            self._host = "tcp://127.0.0.1:0" if self._tcp else f"unix://{folder}/docker.sock"
            try:
                listener = self._listen()  # outside of the task group, which would wrap an error
                async with anyio.create_task_group() as self._tasks:
                    try:
                        self._start(listener)
                        yield
                    finally:
                        self._stop()
                        self._tasks.cancel_scope.cancel()
            finally:
                self._tasks, self._host = None, ""

    def _listen(self) -> socket.socket:
        if self._tcp:
            port = int(self._host.rpartition(":")[2])
            listener = socket.create_server(("127.0.0.1", port), backlog=128)
            self._host = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        else:
            listener = socket.socket(socket.AF_UNIX)
            try:
                listener.bind(self._host.removeprefix("unix://"))
                self.chmod(self._mode)
                listener.listen(128)
            except BaseException:
                listener.close()
                raise
        listener.setblocking(False)
        return listener

    def _start(self, listener: socket.socket | None = None) -> None:
        if self._listener is not None or self._tasks is None:
            return
        listener = listener or self._listen()
        self._forgotten = len(self.images.events)
        scope = anyio.CancelScope()
        self._listener = listener, scope
        self._tasks.start_soon(self._accept, listener, scope)

    def _stop(self) -> None:
        if self._listener is not None:
            (listener, scope), self._listener = self._listener, None
            # At once, so that nobody gets in before the loop comes round.
            if self._tcp:
                _shut(listener)
            else:
                Path(self._host.removeprefix("unix://")).unlink(missing_ok=True)
            scope.cancel()
        for scope, connection in self._connections.items():
            _shut(connection)
            scope.cancel()

    async def _accept(self, listener: socket.socket, scope: anyio.CancelScope) -> None:
        with listener, scope:
            while True:
                await anyio.wait_readable(listener)
                with suppress(OSError):
                    connection = listener.accept()[0]
                    connection.setblocking(False)
                    scope_of_it = anyio.CancelScope()
                    self._connections[scope_of_it] = connection
                    assert self._tasks is not None
                    self._tasks.start_soon(self._converse, connection, scope_of_it)

    async def _converse(self, connection: socket.socket, scope: anyio.CancelScope) -> None:
        try:
            with connection, scope, suppress(OSError):
                stream = _Stream(connection)
                http = h11.Connection(h11.SERVER)
                while await self._exchange(stream, http):
                    http.start_next_cycle()
        except Exception as error:  # noqa: BLE001 - raised where the test sees it, at the end
            self._failure = error
        finally:
            del self._connections[scope]

    async def _exchange(self, stream: "_Stream", http: h11.Connection) -> bool:
        """One request and its answer; whether there may be another."""
        try:
            head = await _read(stream, http)
        except h11.RemoteProtocolError:
            stream.consume()
            await stream.send(
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Connection: close\r\n\r\n400 Bad Request"
            )
            return False
        if head is None:
            return False
        shape = self._shape
        request = read_request(
            shape,
            head.method.decode(),
            head.target.decode(),
            {name.decode(): value.decode("latin-1") for name, value in head.headers},
        )
        self.requests.append(request)
        fault = self._fault_for(request)
        if fault is None or fault.then != "reset":
            stream.consume()
        given = self._answer(shape, request)
        bare = request.method == "HEAD"
        telling = Telling() if fault is None else fault.stream
        if request.path == "/events" and given.status == 200 and telling is not None:
            if await self._tell(stream, http, given, request, telling, fault):
                stream.reset()
            return False
        if fault is None:
            await stream.send(b"".join(_written(http, given, shape.chunk, bare)))
        elif not await _act(stream, http, fault, given, shape.chunk, bare):
            return False
        return http.our_state is h11.DONE and http.their_state is h11.DONE

    async def _tell(
        self,
        stream: "_Stream",
        http: h11.Connection,
        given: Answer,
        request: Request,
        telling: Telling,
        fault: Fault | None,
    ) -> bool:
        """The stream of events, until it breaks or the client leaves; whether to reset it."""
        for name in () if fault is None else fault.drop:
            given = given.without(name)
        head = [*given.headers, ("Transfer-Encoding", "chunked")]
        pieces = self._pieces(http, request, telling, len(self.images.events))
        await stream.send(http.send(h11.Response(status_code=200, headers=head)) or b"")
        resets = fault is not None and fault.then == "reset"
        async with aclosing(pieces), anyio.create_task_group() as tasks:

            async def tell() -> None:
                left = telling.cut
                with suppress(OSError):
                    while left != 0:
                        data = (await anext(pieces))[:left]
                        await stream.send(data)
                        left = None if left is None else left - len(data)
                if fault is None or fault.then != "hang":
                    tasks.cancel_scope.cancel()

            tasks.start_soon(tell)
            if not resets:  # which what nobody read makes it
                await stream.ended()
                tasks.cancel_scope.cancel()
        return resets

    async def _pieces(
        self, http: h11.Connection, request: Request, telling: Telling, told: int
    ) -> AsyncGenerator[bytes]:
        """What a stream sends after its head, without end; so many events were before it."""
        shape = self._shape
        version = shape.api if request.version is None else version_of(request.version)

        def written(told: Iterable[Event]) -> bytes:
            lines = (h11.Data(data=record(shape, version, event)) for event in told)
            return b"".join(http.send(line) or b"" for line in lines)

        if first := written(telling.opening(self._clock())):
            yield first
        events = self.images.events
        if since := request.query.get("since"):
            # Docker keeps its last events in memory, Podman in a file.
            kept = 0 if shape.store == "podman" else max(self._forgotten, told - RING)
            told -= len([event for event in events[kept:told] if event.time >= float(since)])
        count = 0
        with self._listening() as heard:
            while True:
                due = self._clock() - telling.late if telling.late else inf
                ready = [*takewhile(lambda event: event.time <= due, events[told:])]  # noqa: B023
                told += len(ready)
                if data := written(telling.told(list(enumerate(ready, count)))):
                    yield data
                count += len(ready)
                await heard(told < len(events))

    @contextmanager
    def _listening(self) -> Iterator[Callable[[bool], Awaitable[None]]]:
        """Waits for the next event, of whatever thread; or a moment, if one is on its way."""
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)

        def wake() -> None:
            with suppress(OSError):  # it is awake, or gone
                there.send(b".")

        async def heard(soon: bool) -> None:
            with anyio.move_on_after(0.005 if soon else None):
                await anyio.wait_readable(here)
                here.recv(65536)

        with here, there:
            self.images.listeners.add(wake)
            try:
                yield heard
            finally:
                self.images.listeners.discard(wake)

    def _answer(self, shape: Shape, request: Request) -> Answer:
        now = self._clock()
        held = tuple(self.images)
        for one in held:
            if one.loaded is None:
                one.loaded = now
        given = answer(shape, held, request, now)
        if not given.known:
            self._unknown.append(request)
        dated = ("Date", formatdate(now, usegmt=True))
        headers = tuple(dated if pair[0] == "Date" else pair for pair in given.headers)
        return msgspec.structs.replace(given, headers=headers)

    def _fault_for(self, request: Request) -> Fault | None:
        for fault in tuple(self.faults):
            if fault.path not in (None, request.path):
                continue
            alike = [one for one in self.requests if fault.path in (None, one.path)]
            if fault.nth in (None, len(alike)):
                return fault
        return None


def _shape(engine: str, api_version: str | None, min_api_version: str | None) -> Shape:
    shape = shape_named(engine)
    for text in (api_version, min_api_version):
        if text is not None and not re.fullmatch(r"[0-9]+(\.[0-9]+)*", text):
            raise ValueError(f"{text!r} is not an API version; it looks like '1.47'")
    api = shape.api if api_version is None else version_of(api_version)
    oldest = min(shape.oldest, api) if min_api_version is None else version_of(min_api_version)
    return msgspec.structs.replace(shape, api=api, oldest=oldest)


def _short_folder() -> str | None:
    """Where a socket's path stays short enough for the system (104 bytes on macOS)."""
    return None if len(os.fsencode(tempfile.gettempdir())) < 70 else "/tmp"  # noqa: S108


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Stream:
    """A connected socket. What was received stays in the kernel until it is consumed."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._seen = 0

    async def receive(self) -> bytes:
        self.consume()
        while True:
            await anyio.wait_readable(self._socket)
            with suppress(BlockingIOError):
                data = self._socket.recv(65536, socket.MSG_PEEK)
                self._seen = len(data)
                return data

    def consume(self) -> None:
        if self._seen:
            self._socket.recv(self._seen)
            self._seen = 0

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def ended(self) -> None:
        """Return when the client has closed its side."""
        with suppress(OSError):
            while await self.receive():
                pass

    def reset(self) -> None:
        """Make closing a reset: a unix socket does that for data nobody read."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._socket.close()


async def _read(stream: _Stream, http: h11.Connection) -> h11.Request | None:
    """The next request with its body passed over; None at the end of the connection."""
    head: h11.Request | None = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await stream.send(http.send(go_on) or b"")
            http.receive_data(await stream.receive())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.EndOfMessage):
            return head
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


_CONTENT_LENGTH_UP_TO = 2048
"""Go's server counts a body before it sends the head, if it is no longer than this."""


def _written(http: h11.Connection, given: Answer, chunk: int | None, bare: bool) -> Sequence[bytes]:
    """Head, pieces of the body (none if `bare`), and the end, as Go's server writes them."""
    headers = list(given.headers)
    if bare and not given.body:
        pass
    elif len(given.body) <= _CONTENT_LENGTH_UP_TO:
        headers.append(("Content-Length", str(len(given.body))))
    else:
        headers.append(("Transfer-Encoding", "chunked"))
    reason = HTTPStatus(given.status).phrase.encode()
    head = h11.Response(status_code=given.status, headers=headers, reason=reason)
    body = b"" if bare else given.body
    size = chunk or len(body) or 1
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    events: list[h11.Event] = [head, *(h11.Data(data=piece) for piece in pieces)]
    return [http.send(event) or b"" for event in (*events, h11.EndOfMessage())]


async def _act(
    stream: _Stream,
    http: h11.Connection,
    fault: Fault,
    given: Answer,
    chunk: int | None,
    bare: bool,
) -> bool:
    """Answer as the fault has it; whether the connection is still good."""
    given = fault.answer or given
    for name in fault.drop:
        given = given.without(name)
    head, *body = _written(http, given, chunk, bare)
    whole = b"".join(body)
    sent = {
        "everything": head + whole,
        "half": head + whole[: len(whole) // 2],
        "head": head,
        "nothing": b"",
    }[fault.send]
    data = sent if fault.raw is None else fault.raw
    size = fault.size or max(len(data), 1)
    for at in range(0, len(data), size):
        if fault.pause:
            await anyio.sleep(fault.pause)
        await stream.send(data[at : at + size])
    if fault.then == "hang":
        await stream.ended()
    elif fault.then == "reset":
        stream.reset()
    return fault.then == "go on"
