"""The replay server: a process of its own that answers with bodies made beforehand.

One unix socket a body, so that every client asks with its own path and headers. One thread over
epoll, one `recv` and as few `send` as the socket takes: a request costs a few microseconds, so that
the client is what is measured. Knows nothing of HTTP beyond the end of a request's head.
"""

import json
import re
import resource
import select
import socket
import sys
from pathlib import Path

from .bodies import body, make_images, response

FLEET = 200
FLEET_IMAGES = 20

_INSPECT = re.compile(rb"^GET (?:/v[0-9.]+)?/images/([^/ ]+)/json[ ?]")


class _Answers:
    """What one socket answers: the list, and the little else that some clients ask for."""

    def __init__(self, wire: str, images: list[dict[str, object]]) -> None:
        self._list = response(wire, body(wire, images))
        about = {"ApiVersion": "1.41" if wire == "podman" else "1.55", "MinAPIVersion": "1.24"}
        self._version = response(wire, json.dumps(about).encode())
        self._inspect: dict[bytes, bytes] = {}
        if len(images) <= 100:  # docker-py's `images.list()` inspects every image
            for image in images:
                identity = str(image["Id"])
                details = {"Id": identity, "RepoTags": image["RepoTags"], "Config": image}
                answer = response(wire, json.dumps(details).encode())
                self._inspect[identity.encode()] = answer

    def __call__(self, request: bytes) -> bytes:
        if b"/images/json" in request:
            return self._list
        if found := _INSPECT.match(request):
            return self._inspect[found[1].replace(b"%3A", b":")]
        return self._version


class _Connection:
    def __init__(self, stream: socket.socket, answers: _Answers) -> None:
        self.stream, self.answers = stream, answers
        self.request = b""
        self.pending = memoryview(b"")


def _serve(listeners: dict[int, tuple[socket.socket, _Answers]]) -> None:
    poll = select.epoll()
    for number in listeners:
        poll.register(number, select.EPOLLIN)
    poll.register(0, select.EPOLLIN)  # our standard input ends with the process that started us
    connections: dict[int, _Connection] = {}
    while True:
        for number, event in poll.poll():
            if number in connections:
                one = connections[number]
                try:
                    if event & select.EPOLLIN:
                        data = one.stream.recv(65536)
                        if not data:
                            raise ConnectionResetError
                        one.request += data
                        if not one.request.endswith(b"\r\n\r\n"):
                            continue
                        one.pending = memoryview(one.answers(one.request))
                        one.request = b""
                    one.pending = one.pending[one.stream.send(one.pending) :]
                    waiting = bool(one.pending)
                except BlockingIOError:
                    waiting = True
                except OSError:
                    del connections[number]
                    one.stream.close()
                    continue
                if waiting != bool(event & select.EPOLLOUT):
                    poll.modify(number, select.EPOLLOUT if waiting else select.EPOLLIN)
            elif number in listeners:
                listener, answers = listeners[number]
                stream, _ = listener.accept()
                stream.setblocking(False)
                connections[stream.fileno()] = _Connection(stream, answers)
                poll.register(stream.fileno(), select.EPOLLIN)
            elif number == 0:
                return


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(512)
    return listener


def main(folder: str, wires: str, sizes: str) -> None:
    """Listen on `folder`/<wire>-<size>.sock and `folder`/fleet-<number>.sock until stdin ends."""
    soft_hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft_hard[1], soft_hard[1]))
    counts = [int(size) for size in sizes.split(",")]
    images = make_images(max(counts))
    listeners: dict[int, tuple[socket.socket, _Answers]] = {}
    for wire in wires.split(","):
        for count in counts:
            listener = _listen(Path(folder, f"{wire}-{count}.sock"))
            listeners[listener.fileno()] = listener, _Answers(wire, images[:count])
    fleet = _Answers("docker", make_images(FLEET_IMAGES))
    for number in range(FLEET):
        listener = _listen(Path(folder, f"fleet-{number}.sock"))
        listeners[listener.fileno()] = listener, fleet
    del images
    print("ready", flush=True)
    _serve(listeners)


if __name__ == "__main__":
    main(*sys.argv[1:])
