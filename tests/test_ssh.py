"""An engine behind ssh: what is started, what a failure says, and that nothing stays behind."""

import asyncio
import errno
import gc
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import sshd

from docker_images import DockerClient
from docker_images.address import Endpoint
from docker_images.errors import (
    EndpointError,
    EngineConnectionError,
    EnginePermissionError,
    EngineTimeoutError,
)
from docker_images.transport.exceptions import RemoteTextError, SSHEndedError
from docker_images.transport.failures import translate
from docker_images.transport.http1 import ProtocolError
from docker_images.transport.ssh import SSHStream, _logins_of, by_hand, open_ssh, ssh_argv

PING = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"


def at(hostname: str = "host", **parts: Any) -> Endpoint:
    return Endpoint(
        kind="ssh", host=f"ssh://{hostname}", hostname=hostname, source="DOCKER_HOST", **parts
    )


class TestArguments:
    """What docker/cli 28f7560 builds, seen with a program in the place of ssh."""

    @pytest.mark.parametrize(
        ("endpoint", "words"),
        [
            pytest.param(at(), "ssh {} host 'docker system dial-stdio'", id="host"),
            pytest.param(
                at(user="me", port=2222),
                "ssh -l me -p 2222 {} host 'docker system dial-stdio'",
                id="user and port",
            ),
            pytest.param(
                at(path="/run/x.sock"),
                "ssh {} host 'docker --host=unix:///run/x.sock system dial-stdio'",
                id="remote socket",
            ),
            pytest.param(at("::1"), "ssh {} ::1 'docker system dial-stdio'", id="IPv6"),
        ],
    )
    def test_are_those_of_the_docker_command(self, endpoint: Endpoint, words: str) -> None:
        assert ssh_argv(endpoint) == shlex.split(
            words.format("-o ConnectTimeout=30 -o ServerAliveInterval=20 -T --")
        )

    def test_stand_behind_those_of_another_ssh_command(self) -> None:
        argv = ssh_argv(at(), ("plink", "-x"))
        assert argv[:3] == ["plink", "-x", "-o"]

    @pytest.mark.parametrize(
        "path", ["/a b.sock", "/$(id)", "/`id`", "/a;id", "/a'b\"c", "/-oProxyCommand=id", "/ä|é"]
    )
    def test_give_the_remote_shell_one_word_for_any_path(self, path: str) -> None:
        remote = ssh_argv(at(path=path))[-1]
        assert shlex.split(remote) == ["docker", f"--host=unix://{path}", "system", "dial-stdio"]

    @pytest.mark.parametrize(
        "parts",
        [
            pytest.param({"hostname": hostname}, id=f"host {hostname!r}")
            for hostname in (
                "",
                "-oProxyCommand=id",
                "a b",
                "a;id",
                "$(id)",
                "a\n",
                "a'b",
                "ä",
                "a`",
            )
        ]
        + [
            pytest.param({"user": user}, id=f"user {user!r}")
            for user in ("", "-oProxyCommand=id", "me;id", "$(id)", "a b", "me\n", "`id`", "a|b")
        ]
        + [
            pytest.param({"path": path}, id=f"path {path!r}")
            for path in ("/a\nb", "/a\x00", "/\x1b")
        ],
    )
    def test_are_refused_when_they_could_be_read_otherwise(self, parts: dict[str, str]) -> None:
        with pytest.raises(EndpointError, match=r"\(DOCKER_HOST\).*write ssh://"):
            ssh_argv(at(**parts))


class TestLastWords:
    """The texts are those of OpenSSH 9.2 and docker 28.2.2."""

    @pytest.mark.parametrize(
        ("status", "words", "step"),
        [
            pytest.param(
                255, "root@h: Permission denied (publickey).", "ssh-add", id="key refused"
            ),
            pytest.param(
                255,
                "No ED25519 host key is known for [h]:22 and you have requested strict checking.;"
                " Host key verification failed.",
                "ssh -l me -p 2222 host",
                id="unknown host key",
            ),
            pytest.param(
                255,
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @; …;"
                " Host key verification failed.",
                r"ssh-keygen -R '\[host\]:2222'",
                id="changed host key",
            ),
            pytest.param(
                255,
                "ssh: Could not resolve hostname h: Name or service not known",
                "check the name",
                id="unknown name",
            ),
            pytest.param(
                255,
                "ssh: connect to host h port 22: Connection refused",
                "check that sshd runs",
                id="nothing listens",
            ),
            pytest.param(
                255,
                "Connection timed out during banner exchange",
                "check that sshd runs",
                id="mute server",
            ),
            pytest.param(
                255,
                "kex_exchange_identification: Connection closed by remote host;"
                " Connection closed by h port 22",
                "MaxStartups",
                id="too many logins",
            ),
            pytest.param(
                127,
                "bash: line 1: docker: command not found",
                "docker was not found on the other side.*PATH",
                id="no docker",
            ),
            pytest.param(
                127, "bash: Zeile 1: docker: Befehl nicht gefunden", "PATH", id="no docker, German"
            ),
            pytest.param(
                1,
                "failed to open the raw stream connection: dial unix /nope.sock: connect: no such"
                " file or directory",
                "no engine answers at the socket on the other side",
                id="wrong remote path",
            ),
            pytest.param(
                1,
                "failed to open the raw stream connection: dial unix /var/run/docker.sock: connect:"
                " permission denied",
                "the remote user may not open the engine's socket",
                id="remote permission",
            ),
            pytest.param(
                1, "docker: 'system' is not a docker command.", "older than 18.09", id="old docker"
            ),
            pytest.param(0, "", "status 0; try .ssh -l me -p 2222 -T -- host", id="silent end"),
            pytest.param(-9, "", "killed by signal 9", id="killed"),
            pytest.param(None, "", "closed its output", id="still running"),
        ],
    )
    def test_come_with_the_next_step(self, status: int | None, words: str, step: str) -> None:
        error = translate(SSHEndedError(status, words), at(user="me", port=2222))
        with pytest.raises(EngineConnectionError, match=step):
            raise error
        assert str(error).startswith("cannot connect to ssh://host (DOCKER_HOST): ")
        assert words in str(error)

    def test_of_a_remote_permission_are_a_permission_error(self) -> None:
        words = "dial unix /var/run/docker.sock: connect: permission denied"
        error = translate(SSHEndedError(1, words), at())
        assert isinstance(error, EnginePermissionError)
        assert error.reason == "permission"

    def test_can_be_asked_for_by_hand(self) -> None:
        assert by_hand(at(user="me", port=2222)) == "ssh -l me -p 2222 -T -- host docker version"


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


FakeSSH = Callable[[str], tuple[str, ...]]


@pytest.fixture
def fake_ssh(tmp_path: Path) -> FakeSSH:
    """Make a script that stands in for ssh; `$HERE` is a folder for it to leave files in."""

    def make(script: str) -> tuple[str, ...]:
        path = tmp_path / "ssh"
        path.write_text(f"HERE={shlex.quote(str(tmp_path))}\n{script}\n")
        return ("/bin/sh", str(path))

    return make


def exists(pid: int) -> bool:
    """Also true of a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def gone(pid: int) -> bool:
    """For children that nobody waits for: their thread collects them in its own time."""
    await until(lambda: not exists(pid))
    return True


async def stopped(pid: int) -> bool:
    """For our children's children: init collects them in its own time."""

    def is_over() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    await until(is_over)
    return True


def children() -> set[str]:
    """Of all threads of this process, zombies included."""
    found: set[str] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended meanwhile
            found |= set(path.read_text().split())
    return found


async def pid_of(stream: SSHStream) -> int:
    """Its process, once the thread that started it knows: ssh may answer before."""
    await until(lambda: stream.process.pid > 0)
    return stream.process.pid


async def written(path: Path) -> int:
    """The number that a script writes to a file, once it has."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())  # noqa: ASYNC240


def started(command: tuple[str, ...]) -> SSHStream:
    """One that has not logged in."""
    return SSHStream(ssh_argv(at(), command))


async def ping(stream: SSHStream, within: float = 60) -> bytes:
    """Ask as the smallest client would, and read to the end of the answer."""
    with anyio.fail_after(within):
        await stream.send(PING)
        answer = b""
        while not answer.endswith(b"\r\n\r\nOK"):
            answer += await stream.receive()
    return answer


LOGIN = (
    'end=$(printf \'\\r\'); while read -r line && [ "$line" != "$end" ]; do :; done; '
    "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nOK'"
)
"""What answers the question that every login ends with."""
WHEN_TOLD = "while [ ! -e $HERE/go ]; do sleep 0.01; done"
UNASKED = r"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@pytest.mark.anyio
class TestStream:
    async def test_logs_in_and_carries_bytes_both_ways(self, fake_ssh: FakeSSH) -> None:
        async with aclosing(await open_ssh(at(), fake_ssh(f"{LOGIN}; exec cat"))) as stream:
            assert not stream.is_stale()
            await stream.send(b"there and back")
            assert await stream.receive() == b"there and back"
            assert not stream.is_stale()
        assert not exists(stream.process.pid)

    async def test_carries_more_than_the_sockets_hold(self, fake_ssh: FakeSSH) -> None:
        sent = os.urandom(1 << 20)
        received = bytearray()
        async with (
            aclosing(await open_ssh(at(), fake_ssh(f"{LOGIN}; exec cat"))) as stream,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(stream.send, sent)
            while len(received) < len(sent):
                received += await stream.receive(max_bytes=10_000)
        assert received == sent

    async def test_takes_an_answer_that_comes_byte_by_byte(self, fake_ssh: FakeSSH) -> None:
        answer = "".join(f"printf '{char}'; sleep 0.02; " for char in "HTTP/")
        script = LOGIN.replace("printf 'HTTP/", f"{answer} printf '")
        async with aclosing(await open_ssh(at(), fake_ssh(f"{script}; exec cat"))) as stream:
            assert not stream.is_stale()

    @pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found"])
    async def test_takes_any_answer_of_an_engine_for_a_login(
        self, fake_ssh: FakeSSH, status: str
    ) -> None:
        script = LOGIN.replace("200 OK", status)
        async with aclosing(await open_ssh(at(), fake_ssh(f"{script}; exec cat"))) as stream:
            assert not stream.is_stale()

    @pytest.mark.parametrize("seconds", [0, 0.2], ids=["at once", "before we write"])
    async def test_says_what_ssh_said_when_it_ends_at_once(
        self, fake_ssh: FakeSSH, seconds: float
    ) -> None:
        command = fake_ssh("echo 'me@host: Permission denied (publickey).' >&2; exit 255")
        stream = SSHStream([*command])
        async with aclosing(stream):
            await anyio.sleep(seconds)
            with pytest.raises(SSHEndedError) as caught:
                await stream.log_in()
        assert (caught.value.status, caught.value.words) == (
            255,
            "me@host: Permission denied (publickey).",
        )

    async def test_shows_the_last_4_kib_of_300_kb_that_would_block_a_pipe(
        self, fake_ssh: FakeSSH
    ) -> None:
        noise = (
            "head -c 300000 /dev/zero | tr '\\0' x >&2; printf '\\nthe \\033[31mend\\n' >&2; exit 1"
        )
        with pytest.raises(SSHEndedError) as caught:
            await open_ssh(at(), fake_ssh(noise))
        words = caught.value.words
        assert words.endswith("x the \ufffd[31mend")
        assert words.count("x") > 4000
        assert len(words) <= 4096

    async def test_reads_and_forgets_what_the_other_side_writes_to_stderr_while_idle(
        self, fake_ssh: FakeSSH, tmp_path: Path
    ) -> None:
        flood = "head -c 10000000 /dev/zero >&2; echo 1 > $HERE/flooded; exec cat"
        async with aclosing(await open_ssh(at(), fake_ssh(f"{LOGIN}; {flood}"))) as stream:
            assert await written(tmp_path / "flooded")
            assert len(stream.process.said) <= 64 * 1024
            assert not stream.is_stale()

    async def test_dying_in_the_middle_is_the_end_of_the_stream(self, fake_ssh: FakeSSH) -> None:
        async with aclosing(await open_ssh(at(), fake_ssh(f"{LOGIN}; kill -9 $$"))) as stream:
            await until(stream.is_stale)
            with pytest.raises((BrokenPipeError, anyio.EndOfStream)):
                await ping(stream)
        assert not exists(stream.process.pid)

    async def test_bytes_that_nobody_asked_for_make_it_stale(
        self, fake_ssh: FakeSSH, tmp_path: Path
    ) -> None:
        unasked = "printf 'HTTP/1.1 200 OK'"
        async with aclosing(
            await open_ssh(at(), fake_ssh(f"{LOGIN}; {WHEN_TOLD}; {unasked}; cat"))
        ) as stream:
            (tmp_path / "go").touch()
            await until(stream.is_stale)

    @pytest.mark.parametrize(
        "script",
        [
            pytest.param(f"{LOGIN[:-1]}{UNASKED}'", id="a second answer"),
            pytest.param(LOGIN.replace("200 OK", r"200 OK\r\nConnection: close"), id="the last"),
        ],
    )
    async def test_who_says_more_than_the_answer_to_a_login_is_not_asked(
        self, fake_ssh: FakeSSH, script: str
    ) -> None:
        with pytest.raises(ProtocolError, match="says more than the answer"):
            await open_ssh(at(), fake_ssh(f"{script}; exec cat"))

    @pytest.mark.parametrize("answer", ["", r"HTTP/1.1 200 OK\r\n"])
    async def test_text_before_the_answer_is_the_remote_shell(
        self, fake_ssh: FakeSSH, answer: str
    ) -> None:
        command = fake_ssh(f"printf 'Welcome to vm\\033[0m\\n{answer}'; exec cat >/dev/null")
        with pytest.raises(RemoteTextError) as caught:
            await open_ssh(at(), command)
        text = str(translate(caught.value, at()))
        assert "prints text before the engine's answer: 'Welcome to vm\ufffd[0m'; keep" in text

    async def test_a_missing_ssh_is_named(self) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await open_ssh(at(), ("/nowhere/ssh",))
        error = translate(caught.value, at())
        assert "cannot start '/nowhere/ssh': No such file" in str(error)
        assert (error.reason, error.errno) == ("ssh", errno.ENOENT)


@pytest.mark.anyio
class TestNothingStays:
    async def test_after_a_deadline_while_ssh_hangs(self, fake_ssh: FakeSSH) -> None:
        stream = started(fake_ssh("exec sleep 600"))
        async with aclosing(stream):
            with pytest.raises(TimeoutError):
                await ping(stream, within=0.1)
        assert not exists(stream.process.pid)

    async def test_after_a_cancel_while_ssh_starts(self, fake_ssh: FakeSSH, tmp_path: Path) -> None:
        command = fake_ssh("echo $$ > $HERE/pid; exec sleep 600")
        stream = started(command)
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with aclosing(stream):
                await stream.receive()
        assert scope.cancelled_caught
        assert not exists(stream.process.pid)

    async def test_of_a_process_that_ignores_term(self, fake_ssh: FakeSSH, tmp_path: Path) -> None:
        stubborn = "trap '' TERM; (sleep 600 & echo $! > $HERE/pid; wait) & wait; wait"
        stream = started(fake_ssh(stubborn))
        child = await written(tmp_path / "pid")
        await stream.aclose()
        assert not exists(stream.process.pid)
        assert await stopped(child)

    async def test_of_a_proxy_command_that_ignores_term(
        self, fake_ssh: FakeSSH, tmp_path: Path
    ) -> None:
        script = (
            "sh -c 'trap \"\" TERM; echo $$ > $HERE/pid; sleep 600; sleep 600' & exec sleep 600"
        )
        stream = started(fake_ssh(f"export HERE; {script}"))
        child = await written(tmp_path / "pid")
        await stream.aclose()
        assert not exists(stream.process.pid)
        assert await stopped(child)

    async def test_when_it_is_closed_twice(self, fake_ssh: FakeSSH) -> None:
        stream = started(fake_ssh("exec cat"))
        await stream.aclose()
        await stream.aclose()
        stream.abort()
        assert not exists(stream.process.pid)
        assert stream.is_stale()

    async def test_when_closing_cannot_wait(self, fake_ssh: FakeSSH, tmp_path: Path) -> None:
        stream = started(fake_ssh("(sleep 600 & echo $! > $HERE/pid); exec sleep 600"))
        child = await written(tmp_path / "pid")
        pid = await pid_of(stream)
        await anyio.to_thread.run_sync(stream.abort)
        assert await gone(pid)
        assert await stopped(child)
        await stream.aclose()

    async def test_when_it_is_forgotten(self, fake_ssh: FakeSSH) -> None:
        stream = started(fake_ssh("exec sleep 600"))
        pid = await pid_of(stream)
        del stream
        assert await gone(pid)


class TestTurns:
    """At most eight logins to a host, of all event loops and threads together."""

    def test_are_taken_by_event_loops_and_threads_together(self) -> None:
        most, inside, changing = 0, 0, threading.Lock()
        turns = _logins_of("a host of this test", None, os.getpid())

        async def log_in() -> None:
            nonlocal most, inside
            async with turns.turn():
                with changing:
                    inside += 1
                    most = max(most, inside)
                await anyio.sleep(0.01)
                with changing:
                    inside -= 1

        async def log_in_often() -> None:
            async with anyio.create_task_group() as tasks:
                for _ in range(12):
                    tasks.start_soon(log_in)

        threads = [
            threading.Thread(target=anyio.run, args=(log_in_often,), kwargs={"backend": backend})
            for backend in ("asyncio", "trio", "asyncio", "trio")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (most, inside) == (8, 0)

    @pytest.mark.anyio
    async def test_of_those_who_were_cancelled_go_to_others(self) -> None:
        turns = _logins_of("another host of this test", None, os.getpid())

        async def hold() -> None:
            async with turns.turn():
                await anyio.sleep_forever()

        for _ in range(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(hold)
                await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
        with anyio.fail_after(60):
            async with turns.turn():
                pass


FALLS_SILENT = f"""\
test -e $HERE/silent && later=yes
echo $$ >> $HERE/started
{LOGIN}
while read -r line; do
    test "$line" != "$end" && continue
    while [ ! -e $HERE/go ]; do sleep 0.01; done
    [ -e $HERE/silent ] && [ -z "$later" ] && exec sleep 600
    printf 'HTTP/1.1 200 OK\\r\\nApi-Version: 1.55\\r\\nContent-Length: 2\\r\\n\\r\\n[]'
done
"""


@pytest.mark.anyio
async def test_logins_that_die_in_silence_cost_one_call(
    fake_ssh: FakeSSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell, script = fake_ssh(FALLS_SILENT)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f"#!{shell}\n. {shlex.quote(script)}\n")
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    started = tmp_path / "started"
    started.touch()
    async with DockerClient("ssh://host", api_version="1.55") as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(client.list_images)
            await until(lambda: len(pids(started)) == 4)
            (tmp_path / "go").touch()
        (tmp_path / "silent").touch()
        with pytest.raises(EngineTimeoutError):
            await client.list_images(timeout=0.2)
        assert await client.list_images() == []
        assert len(pids(started)) == 5


FORKED = """
import os, sys
import anyio
from docker_images.address import Endpoint
from docker_images.transport.ssh import SSHStream

async def main():
    stream = SSHStream(sys.argv[1:])
    await stream.log_in()
    child = os.fork()
    if child == 0:
        stream.abort()
        del stream
        os._exit(0)
    os.waitpid(child, 0)
    assert not stream.is_stale()
    await stream.send(b"still here")
    assert await stream.receive() == b"still here"
    await stream.aclose()

anyio.run(main)
"""


def test_a_forked_process_leaves_the_ssh_of_its_parent_alone(fake_ssh: FakeSSH) -> None:
    command = fake_ssh(f"{LOGIN}; exec cat")
    done = subprocess.run(
        # Python warns of any thread, and from 3.15 on before it forks.
        [
            *(sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"),
            *("-c", FORKED, *command),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")


class TestItsEventLoop:
    def test_takes_it_along(
        self, fake_ssh: FakeSSH, anyio_backend: tuple[str, dict[str, Any]]
    ) -> None:
        command = fake_ssh(f"{LOGIN}; exec sleep 600")
        name, options = anyio_backend
        stream = anyio.run(open_ssh, at(), command, backend=name, backend_options=options)
        assert not exists(stream.process.pid)
        stream.abort()

    def test_is_not_needed_to_close_it(self, fake_ssh: FakeSSH) -> None:
        command = fake_ssh(f"{LOGIN}; exec sleep 600")
        stream = anyio.run(open_ssh, at(), command)
        anyio.run(stream.aclose, backend="trio")
        anyio.run(stream.aclose)
        assert not exists(stream.process.pid)

    @pytest.mark.parametrize("way", ["abort", "forget", "close elsewhere"])
    def test_may_be_closed_carelessly(self, fake_ssh: FakeSSH, way: str) -> None:
        command = fake_ssh(f"{LOGIN}; exec sleep 600")
        loop = asyncio.new_event_loop()
        stream = loop.run_until_complete(open_ssh(at(), command))
        loop.close()
        pid = anyio.run(pid_of, stream)
        assert exists(pid)
        if way == "abort":
            stream.abort()
        elif way == "close elsewhere":
            anyio.run(stream.aclose)
        del stream
        gc.collect()
        anyio.run(gone, pid)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop"], indirect=True)
class TestOfAsyncioAlone:
    @pytest.mark.anyio
    async def test_nothing_stays_when_a_task_is_cancelled_again_and_again(
        self, fake_ssh: FakeSSH
    ) -> None:
        command = fake_ssh("trap '' TERM; while :; do sleep 1; done")
        pids: list[int] = []

        async def call() -> None:
            async with aclosing(started(command)) as stream:
                pids.append(await pid_of(stream))
                await stream.receive()

        task = asyncio.create_task(call())
        await until(lambda: bool(pids))
        await anyio.sleep(0.2)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.05)
        assert task.cancelled()
        assert await gone(pids[0])

    @pytest.mark.anyio
    @pytest.mark.parametrize("turns", range(8))
    async def test_nothing_stays_when_a_task_is_cancelled_in_any_turn_of_the_start(
        self, fake_ssh: FakeSSH, turns: int
    ) -> None:
        command = fake_ssh("exec sleep 600")
        before = children()

        async def call() -> None:
            async with aclosing(started(command)) as stream:
                await stream.receive()

        task = asyncio.create_task(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: children() <= before)


@pytest.fixture(scope="module")
def server(dockerd: str) -> Iterator[sshd.Sshd]:
    with (
        tempfile.TemporaryDirectory(prefix="di-") as folder,
        sshd.start_sshd(Path(folder), dockerd) as running,
    ):
        yield running


@pytest.fixture
def far(server: sshd.Sshd) -> Endpoint:
    return Endpoint(
        kind="ssh",
        host=f"ssh://root@127.0.0.1:{server.port}",
        hostname="127.0.0.1",
        user="root",
        port=server.port,
        source="DOCKER_HOST",
    )


@pytest.fixture
def ssh_on_path(
    server: sshd.Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Have `ssh` mean the client of our server; returns the file that its process ids go to."""

    def use(key: str = "good", known_hosts: str = "known_hosts") -> Path:
        ssh, *words = server.command(key, known_hosts)
        script = tmp_path / "bin" / "ssh"
        script.parent.mkdir()
        script.write_text(
            f"#!/bin/sh\necho $$ >> {tmp_path}/started\n"
            f'exec {shlex.join([str(shutil.which(ssh)), *words])} "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        return tmp_path / "started"

    return use


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()]


FAILURES = [
    pytest.param(
        "stranger", "known_hosts", "", r"Permission denied \(publickey\).*ssh-add", id="key"
    ),
    pytest.param("good", "no_hosts", "", r"Host key verification failed.*accept it", id="unknown"),
    pytest.param("good", "changed_hosts", "", r"HAS CHANGED.*ssh-keygen -R '\[127", id="changed"),
    pytest.param("no-docker", "known_hosts", "", r"docker was not found", id="no docker"),
    pytest.param(
        "good", "known_hosts", "/nope.sock", r"no engine answers at the socket", id="path"
    ),
    pytest.param("chatty", "known_hosts", "", r"prints text.*'Welcome to vm'", id="chatty"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)
class TestClient:
    """`DockerClient(host="ssh://…")` in front of a real sshd and a real engine."""

    async def test_lists_what_the_engine_has_call_after_call_over_one_ssh(
        self, far: Endpoint, dockerd: str, ssh_on_path: Callable[..., Path]
    ) -> None:
        started = ssh_on_path()
        async with DockerClient(host=dockerd) as near:
            expected = await near.list_images(all=True)
        async with DockerClient(host=far.host) as client:
            for _ in range(3):
                assert await client.list_images(all=True) == expected
        assert expected
        (pid,) = pids(started)
        assert not exists(pid)

    async def test_ends_every_ssh_that_calls_at_once_have_started(
        self, far: Endpoint, ssh_on_path: Callable[..., Path]
    ) -> None:
        started = ssh_on_path()
        async with DockerClient(host=far.host) as client:
            await client.list_images()
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(client.list_images)
        # A call that is answered before the next one looks leaves its connection to that one.
        assert 1 <= len(pids(started)) <= 4
        assert not any(exists(pid) for pid in pids(started))

    @pytest.mark.slow
    async def test_gets_forty_lists_for_forty_calls_at_once_from_an_sshd_as_it_comes(
        self, far: Endpoint, ssh_on_path: Callable[..., Path]
    ) -> None:
        started = ssh_on_path()
        lists: list[int] = []

        async def call() -> None:
            lists.append(len(await client.list_images()))

        async with (
            DockerClient(host=far.host, timeout=300, connect_timeout=None) as client,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(40):
                tasks.start_soon(call)
        assert len(lists) == 40
        assert len({*lists}) == 1
        assert not any(exists(pid) for pid in pids(started))

    async def test_heals_when_ssh_was_killed_between_two_calls(
        self, far: Endpoint, ssh_on_path: Callable[..., Path]
    ) -> None:
        started = ssh_on_path()
        async with DockerClient(host=far.host) as client:
            expected = await client.list_images()
            os.kill(pids(started)[0], signal.SIGKILL)
            assert await client.list_images() == expected
        assert len(pids(started)) == 2
        assert not any(exists(pid) for pid in pids(started))

    @pytest.mark.parametrize(("key", "known_hosts", "path", "says"), FAILURES)
    async def test_says_why_it_failed(
        self,
        far: Endpoint,
        ssh_on_path: Callable[..., Path],
        key: str,
        known_hosts: str,
        path: str,
        says: str,
    ) -> None:
        started = ssh_on_path(key, known_hosts)
        async with DockerClient(host=far.host + path) as client:
            with pytest.raises(EngineConnectionError, match=says) as caught:
                await client.list_images()
        assert str(caught.value).startswith(f"cannot connect to {far.host}{path} (")
        (pid,) = pids(started)
        assert not exists(pid)

    async def test_leaves_a_server_that_hangs_when_the_deadline_passes(
        self, far: Endpoint, ssh_on_path: Callable[..., Path]
    ) -> None:
        started = ssh_on_path("mute")
        for seconds in (0.7, 7, 70):  # on a busy machine it may come before ssh has begun
            async with DockerClient(host=far.host, timeout=seconds) as client:
                with pytest.raises(EngineTimeoutError) as caught:
                    await client.list_images()
                if started.exists():
                    break
        assert not any(exists(pid) for pid in pids(started))
        by_hand = f"ssh -l root -p {far.port} -T -- 127.0.0.1 docker version"
        assert f"Does {by_hand!r} answer?" in str(caught.value)

    @pytest.mark.parametrize("after", [0.0, 0.05, 0.25])
    async def test_leaves_nothing_when_it_is_cancelled(
        self, far: Endpoint, ssh_on_path: Callable[..., Path], after: float
    ) -> None:
        ssh_on_path()
        before = children()
        async with DockerClient(host=far.host) as client:
            with anyio.move_on_after(after):
                await client.list_images()
                await anyio.sleep_forever()
            assert await client.list_images()
        await until(lambda: children() <= before)


def test_a_client_may_be_used_in_one_event_loop_after_the_other(
    far: Endpoint, ssh_on_path: Callable[..., Path], anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    started = ssh_on_path()
    client = DockerClient(host=far.host)
    name, options = anyio_backend
    for _ in range(2):
        assert anyio.run(client.list_images, backend=name, backend_options=options)
        assert not any(exists(pid) for pid in pids(started))


@pytest.mark.anyio
class TestRealServer:
    async def test_carries_call_after_call(self, server: sshd.Sshd, far: Endpoint) -> None:
        async with aclosing(await open_ssh(far, server.command())) as stream:
            for _ in range(3):
                assert b"\r\nApi-Version: 1." in await ping(stream)
        assert not exists(stream.process.pid)

    async def test_reaches_another_socket_when_the_path_is_quoted(
        self, server: sshd.Sshd, far: Endpoint, dockerd: str
    ) -> None:
        path = server.folder / "an'other $(socket)"
        path.unlink(missing_ok=True)
        path.symlink_to(dockerd.removeprefix("unix://"))
        endpoint = at("127.0.0.1", user="root", port=server.port, path=str(path))
        async with aclosing(await open_ssh(endpoint, server.command())) as stream:
            assert b"\r\nApi-Version: 1." in await ping(stream)

    async def test_nothing_listening_says_so(self, server: sshd.Sshd) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        endpoint = at("127.0.0.1", port=port)
        with pytest.raises(SSHEndedError) as caught:
            await open_ssh(endpoint, server.command())
        assert "Connection refused; check that sshd" in str(translate(caught.value, endpoint))

    async def test_a_server_that_hangs_is_left_behind(
        self, server: sshd.Sshd, far: Endpoint
    ) -> None:
        before = children()
        with pytest.raises(TimeoutError), anyio.fail_after(0.7):
            await open_ssh(far, server.command("mute"))
        assert children() <= before

    async def test_the_end_of_ssh_ends_the_connection(
        self, server: sshd.Sshd, far: Endpoint
    ) -> None:
        async with aclosing(await open_ssh(far, server.command())) as stream:
            await ping(stream)
            os.kill(await pid_of(stream), signal.SIGKILL)
            with pytest.raises((anyio.EndOfStream, OSError)):
                await ping(stream)
        assert not exists(stream.process.pid)
