"""An engine behind ssh: one `ssh … docker system dial-stdio` a connection, as a byte stream.

Knows the arguments of ssh, the life and death of its process, and what ssh's and docker's last
words mean. Refuses to know deadlines, which are the caller's, and HTTP, but for the five bytes that
an engine's answer begins with. No shell runs here; the one on the other side gets quoted words.
"""

import contextlib
import os
import re
import shlex
import signal
import tempfile
import time
import unicodedata
import weakref
from collections.abc import AsyncGenerator, Sequence
from typing import IO

import anyio
from anyio.abc import ByteStream, Process
from anyio.lowlevel import current_token

from docker_images.address import Endpoint
from docker_images.errors import EndpointError, EngineConnectionError, EnginePermissionError
from docker_images.text import printable

__all__ = ["SSHStream", "by_hand", "open_ssh", "ssh_argv", "ssh_error"]

# Checked again where they become arguments, although the resolution of endpoints refuses the same:
# ssh puts both into the ProxyCommand of the user's configuration, which a shell runs.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")

_CONNECT_TIMEOUT = 30  # seconds, docker/cli cli/connhelper/connhelper.go@28f7560
_GRACE = 3.0  # seconds between TERM and KILL, docker/cli cli/connhelper/commandconn
_LAST_WORDS = 2.0  # seconds for the status after the end of the output
_WORDS_KEPT = 4096  # bytes of stderr, as docker/cli keeps


def ssh_argv(endpoint: Endpoint, ssh_command: Sequence[str] = ("ssh",)) -> list[str]:
    """The command that connects to `endpoint`, as docker/cli builds it.

    Without a user or a port ssh's own configuration decides. Raises `EndpointError` for a user,
    host or path that could be read as anything else.
    """
    remote = ["docker", "system", "dial-stdio"]
    if endpoint.path:
        if any(unicodedata.category(char) == "Cc" for char in endpoint.path):
            raise _bad(endpoint, "the remote path has control characters")
        remote.insert(1, f"--host=unix://{endpoint.path}")
    return [
        *ssh_command,
        *_login(endpoint),
        "-o", f"ConnectTimeout={_CONNECT_TIMEOUT}",
        "-T",
        "--",
        endpoint.hostname,
        shlex.join(remote),
    ]  # fmt: skip


def _login(endpoint: Endpoint) -> list[str]:
    if not _HOST.fullmatch(endpoint.hostname):
        raise _bad(endpoint, f"{endpoint.hostname!r} is no host name for ssh")
    words: list[str] = []
    if endpoint.user is not None:
        if not _USER.fullmatch(endpoint.user):
            raise _bad(endpoint, f"{endpoint.user!r} is no user name for ssh")
        words += ["-l", endpoint.user]
    if endpoint.port is not None:
        words += ["-p", str(endpoint.port)]
    return words


def _bad(endpoint: Endpoint, fact: str) -> EndpointError:
    return EndpointError(
        f"cannot use {endpoint.host!r} ({endpoint.source}): {fact};"
        " write ssh://[user@]host[:port][/path/of/the.sock]",
        endpoint=endpoint,
    )


async def open_ssh(endpoint: Endpoint, ssh_command: Sequence[str] = ("ssh",)) -> "SSHStream":
    """Start ssh to `endpoint`; logging in happens while the first bytes are waited for.

    `ssh_command` is the program and what stands before our arguments, such as `("ssh", "-F", f)`.
    Raises `EndpointError` as `ssh_argv` does, `EngineConnectionError` when it cannot be started.
    """
    argv = ssh_argv(endpoint, ssh_command)
    # A file without a name: a pipe would have to be drained, or ssh blocks on its own warnings, and
    # a ControlPersist master that inherits a pipe would hold it open for as long as it lives.
    stderr = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        process = await _start(argv, stderr)
    except BaseException as exc:
        stderr.close()
        if not isinstance(exc, OSError):
            raise
        raise EngineConnectionError(
            f"cannot connect to {endpoint.host} ({endpoint.source}): cannot start {argv[0]!r}:"
            f" {exc.strerror or exc}; is the OpenSSH client installed?",
            endpoint=endpoint,
            reason="ssh",
            errno=exc.errno,
        ) from exc
    stream = SSHStream(process, stderr, endpoint)
    await stream.guard()
    return stream


async def _start(argv: list[str], stderr: IO[bytes]) -> Process:
    with anyio.CancelScope(shield=True):  # a process that is half started belongs to nobody
        return await anyio.open_process(argv, stderr=stderr, start_new_session=True)
    raise AssertionError("unreachable: the scope is not cancelled")


class SSHStream(ByteStream):
    """The two pipes of one ssh process, and its end.

    Until the first byte has come a failure is an `EngineConnectionError` with ssh's own words;
    after that the exceptions are those of anyio's streams. The process ends with `aclose`, `abort`,
    the event loop that it was started on, or the last reference, whichever comes first.
    """

    def __init__(self, process: Process, stderr: IO[bytes], endpoint: Endpoint) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._stderr = stderr
        self._endpoint = endpoint
        self._answered = False
        self._closed = False
        self._loop: object = current_token().native_token
        self._guard = self._guarding(weakref.ref(self))

    @property
    def pid(self) -> int:
        """The process, which leads a group and a session of its own."""
        return self._process.pid

    def is_stale(self) -> bool:
        """Whether it is of no use any more: ssh is known to have ended."""
        return self._closed or self._process.returncode is not None

    def words(self) -> str:
        """The last 4 KiB of what ssh wrote to its stderr, in one line that is safe to print."""
        if self._stderr.closed:
            return ""
        fd = self._stderr.fileno()
        start = max(0, os.fstat(fd).st_size - _WORDS_KEPT)
        tail = os.pread(fd, _WORDS_KEPT, start)
        return printable(tail.decode(errors="replace"), _WORDS_KEPT)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._stdout.receive(max_bytes)
        except (anyio.EndOfStream, anyio.BrokenResourceError, OSError) as exc:
            if self._answered:
                raise
            raise await self._failure() from exc
        if not self._answered:
            if not data.startswith(b"HTTP/"[: len(data)]):
                said = data.partition(b"HTTP/")[0]  # the answer may follow in the same bytes
                text = printable(said.decode(errors="replace"), 200)
                raise EngineConnectionError(
                    f"{_cannot(self._endpoint)} the remote shell prints text before the engine's"
                    f" answer: {text!r}; keep its start-up files silent without a terminal",
                    endpoint=self._endpoint,
                    reason="ssh",
                )
            self._answered = True
        return data

    async def send(self, item: bytes) -> None:
        try:
            await self._stdin.send(item)
        except (anyio.BrokenResourceError, OSError, RuntimeError) as exc:
            # asyncio's own pipes raise BrokenPipeError and ConnectionResetError, uvloop's
            # RuntimeError. The reason is in what ssh said, not in the broken pipe.
            if self._answered:
                raise anyio.BrokenResourceError from exc
            raise await self._failure() from exc

    async def send_eof(self) -> None:
        await self._stdin.aclose()

    async def _failure(self) -> EngineConnectionError:
        await self._ended_within(_LAST_WORDS)
        return ssh_error(self._endpoint, self._process.returncode, self.words())

    async def _ended_within(self, seconds: float) -> None:
        # Not `process.wait()`: on asyncio it may also wait for whoever else holds the pipes.
        pause = 0.001
        with anyio.move_on_after(seconds):
            while self._process.returncode is None:
                await anyio.sleep(pause)
                pause = min(pause * 2, 0.05)

    async def aclose(self) -> None:
        """Close the pipes, ask ssh to end, make it end after 3 seconds; cancellation waits."""
        if current_token().native_token is not self._loop:
            self.abort()
            return
        self._closed = True
        self._release()
        await self._end()

    async def _end(self) -> None:
        self._closed = True
        try:
            with anyio.CancelScope(shield=True):
                for pipe in (self._stdin, self._stdout):
                    with contextlib.suppress(OSError, RuntimeError, anyio.BrokenResourceError):
                        await pipe.aclose()
                if self._process.returncode is None:
                    self._signal(signal.SIGTERM)
                    await self._ended_within(_GRACE)
                    self._signal(signal.SIGKILL)
                await self._process.aclose()
        finally:
            self._kill_now()  # asyncio's own `Task.cancel` does not know of shields
            self._stderr.close()

    def abort(self) -> None:
        """Kill ssh and what it started, from any thread, with or without a running event loop."""
        self._closed = True
        self._release()
        self._kill_now()
        self._stderr.close()

    async def guard(self) -> None:
        """Have the running event loop end ssh when it ends itself.

        Loops close what async generators they find suspended then. Without this an idle connection
        of a client that is used in one `asyncio.run` after the other lives as long as the client,
        and asyncio complains of its pipes.
        """
        await anext(self._guard)

    @staticmethod
    async def _guarding(ref: "weakref.ref[SSHStream]") -> AsyncGenerator[None]:
        try:
            yield
        finally:
            stream = ref()
            if stream is not None and not stream._closed:
                await stream._end()

    def _release(self) -> None:
        with contextlib.suppress(StopIteration, RuntimeError):
            self._guard.aclose().send(None)  # it awaits nothing, now that we are closed

    def _kill_now(self) -> None:
        # trio notes an end only inside of its own run, and not with half of it destroyed.
        with contextlib.suppress(RuntimeError, ValueError):
            if self._process.returncode is None:
                self._signal(signal.SIGKILL)
                self._reap()

    def _reap(self) -> None:
        """Collect a killed process that no event loop will; give up after a tenth of a second."""
        is_closed = getattr(self._loop, "is_closed", None)  # trio's token has no such method
        if is_closed is not None and not is_closed():
            return
        deadline = time.monotonic() + 0.1
        while not self._collected(polled=is_closed is None) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _collected(self, polled: bool) -> bool:
        if polled:  # by trio
            return self._process.returncode is not None
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(self._process.pid, os.WNOHANG) != (0, 0)
        return True

    def _signal(self, number: int) -> None:
        # The group, so that a ProxyCommand goes too. macOS answers EPERM for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def __del__(self) -> None:
        # What a forgotten client leaves behind ends without a word.
        if not getattr(self, "_closed", True):
            self.abort()


# What ssh says (status 255), and what docker on the other side says: first match.
_SSH_SAYS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key is not the one known here; if that is on purpose, forget the old: {forget}",
    ),
    (
        "Host key verification failed",
        "the host's key is not known here; log in once by hand and accept it: {login}",
    ),
    (
        r"Permission denied \(|Too many authentication failures",
        "nobody can be asked for a password here; offer a key that the host accepts (ssh-add)",
    ),
    ("Could not resolve hostname", "check the name, or give it a HostName in ~/.ssh/config"),
    (
        "Connection refused|timed out|[Nn]o route|unreachable",
        "check that sshd runs there, and its port",
    ),
)
_DIAL_REFUSED = r"dial (unix|tcp).*permission denied"
_DOCKER_SAYS = (
    (
        _DIAL_REFUSED,
        "the remote user may not open the engine's socket; add it to the group of the socket there",
    ),
    (
        r"dial (unix|tcp)|Cannot connect to the Docker daemon",
        "no engine answers at the socket on the other side; check that it runs, and the path",
    ),
    (
        r"is not a docker command|unknown (shorthand )?(command|flag)",
        "the docker command there is older than 18.09; update it",
    ),
)


def ssh_error(endpoint: Endpoint, status: int | None, words: str) -> EngineConnectionError:
    """The error for an ssh that ended, or closed its output, before the engine had answered.

    `status` is its exit status, negative for a signal, None while it still runs; `words` is what it
    wrote to its stderr.
    """
    told = f": {words}" if words else ""
    if status is None:
        fact, step = f"ssh closed its output and still runs{told}", _try_it(endpoint)
    elif status < 0:
        fact, step = f"ssh was killed by signal {-status}{told}", _try_it(endpoint)
    elif status == 127:
        fact = f"docker was not found on the other side{told}"
        step = "install it there, or put it on the PATH that a non-login shell has"
    elif status == 255:
        fact, step = f"ssh failed{told}", _step(_SSH_SAYS, words, endpoint)
    else:
        fact = f"ssh ended with status {status}{told}"
        step = _step(_DOCKER_SAYS, words, endpoint)
        if re.search(_DIAL_REFUSED, words):
            return EnginePermissionError(f"{_cannot(endpoint)} {fact}; {step}", endpoint=endpoint)
    return EngineConnectionError(
        f"{_cannot(endpoint)} {fact}; {step}", endpoint=endpoint, reason="ssh"
    )


def _cannot(endpoint: Endpoint) -> str:
    return f"cannot connect to {endpoint.host} ({endpoint.source}):"


def _step(says: tuple[tuple[str, str], ...], words: str, endpoint: Endpoint) -> str:
    for pattern, step in says:
        if re.search(pattern, words):
            return step.format(
                login=shlex.join(["ssh", *_login(endpoint), endpoint.hostname]),
                forget=shlex.join(["ssh-keygen", "-R", _known_as(endpoint)]),
            )
    return _try_it(endpoint)


def _known_as(endpoint: Endpoint) -> str:
    """How ssh names a host in known_hosts: the port belongs to it unless it is 22."""
    if endpoint.port in (None, 22):
        return endpoint.hostname
    return f"[{endpoint.hostname}]:{endpoint.port}"


def by_hand(endpoint: Endpoint) -> str:
    """The command by which a user sees for himself whether the other side answers."""
    words = ["ssh", *_login(endpoint), "-T", "--", endpoint.hostname, "docker", "version"]
    return shlex.join(words)


def _try_it(endpoint: Endpoint) -> str:
    return f"try {by_hand(endpoint)!r}"
