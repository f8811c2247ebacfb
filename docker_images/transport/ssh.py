"""An engine behind ssh: one `ssh … docker system dial-stdio` a connection, as a byte stream.

Knows the arguments of ssh, the life and death of its process, and how many may log in at the same
time. Refuses to know deadlines, which are the caller's, and what ssh's words mean (`failures`). No
shell runs here; the one on the other side gets quoted words.
"""

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import unicodedata
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from threading import Lock, Thread

import anyio

from docker_images.address import Endpoint
from docker_images.endpoint.hosts import SSH_HOST, SSH_USER
from docker_images.errors import EndpointError
from docker_images.text import printable
from docker_images.transport.deadline import stage, time_limit
from docker_images.transport.exceptions import RemoteTextError, SSHEndedError
from docker_images.transport.http1 import Connection, ProtocolError
from docker_images.transport.sockets import SocketStream
from docker_images.transport.threads import thread_event, with_files

__all__ = ["SSHStream", "by_hand", "login_words", "open_ssh", "ssh_argv"]

_CONNECT_TIMEOUT = 30  # seconds, docker/cli cli/connhelper/connhelper.go@28f7560
_ALIVE_INTERVAL = 20  # seconds; ssh gives up when three questions in a row are not answered
_LAST_WORDS = 2.0  # seconds for the status and the words after the end of the output
_WORDS_KEPT = 64 * 1024  # bytes of stderr
_WORDS_SHOWN = 4096  # characters, as docker/cli keeps
_LOGINS = 8  # at the same time to one host: sshd refuses some from ten on (MaxStartups 10:30:100)

# An answer of any status will do. Without it the first bytes would be those of a list, which may
# take an engine longer than a login may take.
_PING = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nUser-Agent: docker-images\r\n\r\n"


def ssh_argv(endpoint: Endpoint, ssh_command: Sequence[str] = ("ssh",)) -> list[str]:
    """The command that connects to `endpoint`, as docker/cli builds it.

    Without a user or a port ssh's own configuration decides. Raises `EndpointError` for a user,
    host or path that could be read as anything else.
    """
    remote = ["docker", "system", "dial-stdio"]
    if endpoint.path:
        if any(unicodedata.category(char) == "Cc" for char in endpoint.path):
            raise _unsafe(endpoint, "the remote path has control characters")
        remote.insert(1, f"--host=unix://{endpoint.path}")
    return [
        *ssh_command,
        *login_words(endpoint),
        "-o", f"ConnectTimeout={_CONNECT_TIMEOUT}",
        "-o", f"ServerAliveInterval={_ALIVE_INTERVAL}",
        "-T",
        "--",
        endpoint.hostname,
        shlex.join(remote),
    ]  # fmt: skip


def login_words(endpoint: Endpoint) -> list[str]:
    """The arguments of ssh for user and port."""
    # Checked again, although the resolution of endpoints refuses the same: ssh puts both into the
    # ProxyCommand of the user's configuration, which a shell runs.
    if not re.fullmatch(SSH_HOST, endpoint.hostname):
        raise _unsafe(endpoint, f"{endpoint.hostname!r} is no host name for ssh")
    words: list[str] = []
    if endpoint.user is not None:
        if not re.fullmatch(SSH_USER, endpoint.user):
            raise _unsafe(endpoint, f"{endpoint.user!r} is no user name for ssh")
        words += ["-l", endpoint.user]
    if endpoint.port is not None:
        words += ["-p", str(endpoint.port)]
    return words


def by_hand(endpoint: Endpoint) -> str:
    """The command that shows whether the other side answers."""
    words = ["ssh", *login_words(endpoint), "-T", "--", endpoint.hostname, "docker", "version"]
    return shlex.join(words)


def _unsafe(endpoint: Endpoint, fact: str) -> EndpointError:
    return EndpointError(
        f"cannot use {endpoint.host!r} ({endpoint.source}): {fact};"
        " write ssh://[user@]host[:port][/path/of/the.sock]",
        endpoint=endpoint,
    )


async def open_ssh(
    endpoint: Endpoint,
    ssh_command: Sequence[str] = ("ssh",),
    connect_timeout: float | None = None,
) -> "SSHStream":
    """Log in to `endpoint`, up to the first answer of its engine.

    `connect_timeout` is how many seconds that may take, once it has its turn. `ssh_command` is the
    program and what stands before our arguments, such as `("ssh", "-F", f)`.
    Raises `EndpointError` as `ssh_argv` does, `SSHEndedError`, `RemoteTextError`, and what sockets
    and HTTP raise.
    """
    argv = ssh_argv(endpoint, ssh_command)
    # A process that hangs before it is ssh cannot be killed: no number of it is known yet.
    argv[0] = await with_files(_find, argv[0])
    doing = stage.get()
    stage.set("waiting for its turn to log in")
    async with _logins_of(endpoint.hostname, endpoint.port, os.getpid()).turn():
        stage.set(doing)
        stream = SSHStream(argv)
        try:
            with time_limit(connect_timeout, "connect_timeout="):
                await stream.log_in()
        except BaseException:
            await stream.aclose()
            raise
    return stream


def _find(program: str) -> str:
    return shutil.which(program) or program


class SSHStream(SocketStream):
    """A socket whose other end is the input and the output of one ssh process.

    The process ends with `aclose`, `abort`, the event loop that it was used in, or the last
    reference, whichever comes first.
    """

    def __init__(self, argv: list[str]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        super().__init__(ours)
        self._answered = False
        self.is_closed: bool = False
        self._guard = _guarding(weakref.ref(self))
        try:
            self.process: _Process = _Process(argv, theirs)
        except OSError:
            ours.close()
            raise

    async def log_in(self) -> None:
        """Wait until the engine has answered."""
        await anext(self._guard)
        connection = Connection(self, _WORDS_KEPT)
        await connection.ask(_PING)
        while await connection.read():
            pass
        if not connection.is_reusable:  # what else came would be the answer to the next question
            raise ProtocolError("it says more than the answer to GET /_ping, or wants to hang up")

    async def send(self, item: bytes) -> None:
        try:
            await super().send(item)
        except OSError as error:
            if self._answered:
                raise
            # The reason is in what ssh said, not in the broken connection to it.
            raise await self.process.failure() from error

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await super().receive(max_bytes)
        except (anyio.EndOfStream, OSError) as error:
            if self._answered:
                raise
            raise await self.process.failure() from error
        if not self._answered:
            if not data.startswith(b"HTTP/"[: len(data)]):
                said = data.partition(b"HTTP/")[0]  # the answer may follow in the same bytes
                raise RemoteTextError(printable(said.decode(errors="replace"), 200))
            self._answered = True
        return data

    def abort(self) -> None:
        """Kill ssh and what it started, from any thread, with or without a running event loop."""
        self.is_closed = True
        self.process.kill()
        super().abort()
        with contextlib.suppress(StopIteration, RuntimeError):
            self._guard.aclose().send(None)  # it awaits nothing

    async def aclose(self) -> None:
        self.abort()
        with anyio.move_on_after(_LAST_WORDS, shield=True):
            await self.process.wait()

    def __del__(self) -> None:
        if hasattr(self, "process"):  # otherwise it was never started
            self.abort()


async def _guarding(ref: "weakref.ref[SSHStream]") -> AsyncGenerator[None]:
    """Event loops close the generators that they find suspended at their end: ssh ends then."""
    try:
        yield
    finally:
        stream = ref()
        if stream is not None and not stream.is_closed:
            await stream.aclose()


class _Process:
    """One ssh: started, listened to and collected by a thread of its own.

    So nothing blocks the event loop, stderr cannot fill up while nobody asks, and no event loop
    need be there when ssh ends. A forked process does nothing to the ssh of its parent.
    """

    def __init__(self, argv: list[str], theirs: socket.socket) -> None:
        self.pid: int = 0
        """The process, which leads a group and a session of its own; 0 before it has started."""
        self._status: int | None = None
        self._error: OSError | None = None
        self.said: bytearray = bytearray()
        self._owner = os.getpid()
        self._killed = False
        self._changing = Lock()
        # A socket and no pipe: it can be shut down although a master of ControlPersist has it.
        self._stderr, far = socket.socketpair()
        self._thread = Thread(
            target=self._run, args=(argv, theirs, far), name="docker_images ssh", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            for end in (theirs, far, self._stderr):
                end.close()
            raise OSError(errno.EAGAIN, "no thread can be started") from None

    def _run(self, argv: list[str], theirs: socket.socket, far: socket.socket) -> None:
        with self._stderr:
            with theirs, far:
                try:
                    process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
                        argv,
                        stdin=theirs.fileno(),
                        stdout=theirs.fileno(),
                        stderr=far.fileno(),
                        start_new_session=True,
                    )
                except OSError as error:
                    self._error = error
                    return
            process.returncode = 0  # collected here; Popen would warn, in a forked process as well
            with self._changing:
                self.pid = process.pid
                if self._killed:
                    self._signal()
            while data := self._stderr.recv(_WORDS_KEPT):
                self.said += data
                del self.said[:-_WORDS_KEPT]
        status = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        with self._changing:
            self._status = status

    def kill(self) -> None:
        """Kill it, or what it is about to become."""
        if os.getpid() != self._owner:
            self._stderr.close()  # not shut down: that would be for the parent as well
            return
        with self._changing:
            self._killed = True
            if self.pid and self._status is None:
                self._signal()
        with contextlib.suppress(OSError):
            self._stderr.shutdown(socket.SHUT_RDWR)

    def _signal(self) -> None:
        # The group, so that a ProxyCommand goes too. macOS answers EPERM for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until it has ended and was collected."""
        pause = 0.001
        while os.getpid() == self._owner and self._thread.is_alive():
            await anyio.sleep(pause)
            pause = min(pause * 2, 0.05)

    async def failure(self) -> Exception:
        """Why it did not log in: what starting it raised, or how it ended."""
        with anyio.move_on_after(_LAST_WORDS):
            await self.wait()
        if self._error is not None:
            return self._error
        # The end of what it wrote to its stderr, in one line that is safe to print.
        words = bytes(self.said[-_WORDS_SHOWN:]).decode(errors="replace")
        return SSHEndedError(self._status, printable(words, _WORDS_SHOWN))


class _Turns:
    """At most `_LOGINS` at the same time, of all event loops and threads; first come first."""

    def __init__(self) -> None:
        self._free = _LOGINS
        self._waiting: deque[Callable[[], None]] = deque()
        self._changing = Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        given, give = thread_event()
        with self._changing:
            if at_once := self._free > 0:
                self._free -= 1
            else:
                self._waiting.append(give)
        try:
            if not at_once:
                await given.wait()
            yield
        finally:
            self._leave(give)

    def _leave(self, give: Callable[[], None]) -> None:
        with self._changing:
            if give in self._waiting:  # cancelled before it had its turn
                self._waiting.remove(give)
                return
            while self._waiting:
                with contextlib.suppress(RuntimeError):  # the event loop of this one has ended
                    self._waiting.popleft()()
                    return
            self._free += 1


@lru_cache(maxsize=1024)
def _logins_of(hostname: str, port: int | None, process: int) -> _Turns:
    return _Turns()
