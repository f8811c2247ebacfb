"""An engine that says what a test wants it to say: raw bytes, on a socket, from a thread.

Knows sockets and threads, and of HTTP only where a request ends. A script is a function that is
called with each connection, in a thread of that connection, and does what a bad engine may do.
"""

import fcntl
import json
import socket
import ssl
import struct
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MiB = 2**20


class Peer:
    """One connection, seen from the engine."""

    def __init__(self, server: "Server", sock: socket.socket, number: int) -> None:
        self.server = server
        self.number = number
        """How many connections came before this one."""
        self.socket = sock
        self._received = b""

    def request(self) -> bytes:
        """The next request, `b""` when the client has closed."""
        while b"\r\n\r\n" not in self._received:
            try:
                data = self.socket.recv(65536)
            except OSError:
                return b""
            if not data:
                return b""
            self._received += data
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        self.server.requests.append(head)
        return head

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    @property
    def unacknowledged(self) -> int:
        """How many bytes are on their way to the client's kernel: tcp, on Linux."""
        return struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0]

    def gather(self, count: int) -> None:
        """Hold the answer back until so many clients wait at once, or have waited once."""
        server = self.server
        with server.gathering:
            server.waiting += 1
            server.most_waiting = max(server.most_waiting, server.waiting)
            server.gathering.notify_all()
            server.gathering.wait_for(lambda: server.most_waiting >= count, 60)
            server.waiting -= 1

    def drip(self, data: bytes, pause: float = 0.02) -> None:
        """Send byte by byte, until the client has had enough."""
        for byte in data:
            self.socket.sendall(bytes([byte]))
            self.wait(pause)

    def hang_up(self) -> None:
        """Close, also while another thread sends or receives."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close with RST in place of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait(self, seconds: float = 60) -> None:
        """Do nothing, until the test is over."""
        self.server.over.wait(seconds)

    @property
    def was_left(self) -> bool:
        """Whether the client has closed; waits a little for it."""
        self.socket.settimeout(60)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


Script = Callable[[Peer], None]


class Server:
    """What a test sees of its engine."""

    def __init__(
        self, listener: socket.socket, host: str, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        """The address, as `host=` takes it."""
        self.listener = listener
        self.tls = tls
        self.over = threading.Event()
        self.requests: list[bytes] = []
        """The heads of all requests, in the order of their coming."""
        self.connections = 0
        """How many connections were ever made."""
        self.open: set[socket.socket] = set()
        """Connections that are open, as far as the engine knows."""
        self.gathering = threading.Condition()
        self.waiting = 0
        """How many clients are being gathered."""
        self.most_waiting = 0
        """How many of them waited at once."""
        self._threads: list[threading.Thread] = []

    def run(self, script: Script) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            peer = Peer(self, sock, self.connections)
            self.connections += 1
            self.open.add(sock)
            thread = threading.Thread(target=self._serve, args=(script, peer), daemon=True)
            thread.start()
            self._threads.append(thread)  # only now: one that has not begun cannot be waited for

    def _serve(self, script: Script, peer: Peer) -> None:
        with suppress(OSError):
            if self.tls is not None:
                wrapped = self.tls.wrap_socket(
                    peer.socket, server_side=True, suppress_ragged_eofs=True
                )
                self.open.discard(peer.socket)
                peer.socket = wrapped
                self.open.add(wrapped)
            script(peer)
        self.open.discard(peer.socket)
        peer.socket.close()

    def hang_up(self) -> None:
        """Close every connection, as an engine that ends."""
        for sock in list(self.open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.over.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a script does not end"


@contextmanager
def serving(
    script: Script,
    *,
    path: Path | None = None,
    tcp: bool = False,
    tls: ssl.SSLContext | None = None,
    backlog: int = 4096,
) -> Iterator[Server]:
    """An engine that follows `script`, on a unix socket (at `path`, if given) or on loopback."""
    tcp = tcp or tls is not None
    with tempfile.TemporaryDirectory(prefix="di-") as folder:
        listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        if tcp:
            listener.bind(("127.0.0.1", 0))
            host = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        else:
            path = path or Path(folder) / "engine.sock"
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            host = f"unix://{path}"
        listener.listen(backlog)
        server = Server(listener, host, tls)
        accepting = threading.Thread(target=server.run, args=(script,), daemon=True)
        accepting.start()
        try:
            yield server
        finally:
            server.close()
            accepting.join(60)


def answering(*answers: bytes, close: bool = False) -> Script:
    """Answers request by request on each connection, the last one for ever; then maybe closes."""

    def script(peer: Peer) -> None:
        left = list(answers)
        while peer.request():
            peer.send(left[0])
            if len(left) > 1:
                left.pop(0)
            elif close:
                return

    return script


# ── What a good engine would say ────────────────────────────────────────────────────────────────


def answer(
    body: bytes,
    status: str = "200 OK",
    headers: Mapping[str, str] | None = None,
    *,
    chunks: int | None = None,
) -> bytes:
    """An answer as dockerd writes it; with `chunks`, in chunks of so many bytes."""
    lines = {"Api-Version": "1.55", "Content-Type": "application/json", **(headers or {})}
    if chunks is None:
        lines.setdefault("Content-Length", str(len(body)))
    else:
        lines["Transfer-Encoding"] = "chunked"
        parts = [body[n : n + chunks] for n in range(0, len(body), chunks)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def images(count: int, **more: object) -> bytes:
    """A list of `count` images, newest first, as Docker writes it."""
    return json.dumps(
        [
            {
                "Id": f"sha256:{count - n:064x}",
                "RepoTags": [f"demo/image:{count - n}"],
                "Created": 1_700_000_000 + count - n,
                "Size": 1000 + n,
                **more,
            }
            for n in range(count)
        ],
        separators=(",", ":"),
    ).encode()


def ids(count: int) -> list[str]:
    """The ids of `images(count)`, in order."""
    return [f"sha256:{count - n:064x}" for n in range(count)]


LIST = answer(images(3))
"""Three images from an engine with the newest API version."""
OLD = answer(
    b'{"message":"client version 1.55 is too new. Maximum supported API version is 1.41"}',
    "400 Bad Request",
    {"Api-Version": "1.41"},
)
"""The refusal of a Docker 20.10."""


def too_new(newest: str) -> bytes:
    """The refusal of a Docker whose newest API version is this one."""
    return OLD.replace(b"1.41", newest.encode())


def minor(request: bytes) -> int:
    """The number after `/v1.` in what is asked."""
    return int(request.split(b"/v1.")[1].split(b"/")[0])


def docker(version: str, count: int = 3) -> Script:
    """An engine of an API version that refuses newer ones, as Docker does since 17.11."""

    def script(peer: Peer) -> None:
        while request := peer.request():
            if minor(request) > int(version.partition(".")[2]):
                peer.send(too_new(version))
            else:
                peer.send(answer(images(count), headers={"Api-Version": version}))

    return script


@contextmanager
def holding(
    images: list[dict[str, Any]],
    *,
    api: str = "1.55",
    answers: Mapping[str, tuple[int, Any]] | None = None,
) -> Iterator[str]:
    """The host of an engine with these images; `answers` has the status and body for other paths.

    A path is known by its end.
    """
    told = {"/images/json": (200, images), "/_ping": (200, "OK"), **(answers or {})}
    headers = {"Api-Version": api, "Ostype": "linux", "Server": "Docker/29.0.0 (linux)"}

    def script(peer: Peer) -> None:
        while request := peer.request():
            path = request.split()[1].decode().partition("?")[0]
            found = (told[end] for end in told if path.endswith(end))
            status, body = next(found, (404, {"message": "no page"}))
            peer.send(answer(json.dumps(body).encode(), f"{status} So", headers))

    with serving(script) as server:
        yield server.host


def an_image(**keys: Any) -> dict[str, Any]:
    """An image as engines write it, with the keys that a test is about."""
    return {
        "Id": "sha256:" + "0123456789abcdef" * 4,
        "ParentId": "",
        "RepoTags": [],
        "RepoDigests": [],
        "Created": 0,
        "Size": 0,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": None,
        **keys,
    }


def forwarding(host: str) -> Script:
    """Passes every byte to a real engine and back."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def script(peer: Peer) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(host.removeprefix("unix://"))
            there = threading.Thread(target=pump, args=(peer.socket, engine))
            there.start()
            pump(engine, peer.socket)
            there.join()

    return script


# ── What tests count ────────────────────────────────────────────────────────────────────────────


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition comes true in time, for what another thread has to see first."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
