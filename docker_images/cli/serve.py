"""Serves one WSGI application over HTTP, from threads, bounded: for those who scrape.

Whoever keeps a connection for too long loses it, and only so many are served at once. Refuses to
know what is served.
"""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

__all__ = ["address", "serving"]


def address(text: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:19587` or `[::1]:19587`; a `ValueError` for anything else."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare and bare == host) or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:19587")
    if int(port) > 65535:
        raise ValueError(f"{text!r} has no valid port; use one up to 65535")
    return bare, int(port)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads of each scrape."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, family: int, at: Any, connections: int, seconds: float) -> None:
        self.address_family = family
        self._connections, self._seconds = connections, seconds
        self._since: dict[Any, float] = {}
        super().__init__(at, _Handler)

    def server_bind(self) -> None:
        # That of HTTPServer looks the name of the address up, which may take long.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._since) >= self._connections:
            self.shutdown_request(request)
            return
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called twice a second: ends what goes on for too long, byte by byte."""
        super().service_actions()
        for request, since in list(self._since.items()):
            if time.monotonic() - since > self._seconds:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # who asked is gone
            super().handle_error(request, client_address)


@contextmanager
def serving(
    at: tuple[str, int],
    application: WSGIApplication,
    *,
    connections: int = 16,
    seconds: float = 30.0,
) -> Iterator[str]:
    """Serve from threads; yields `http://host:port`. An `OSError` where that cannot be.

    So many connections are served at once, each for so long; others are closed.
    """
    (family, *_, found), *_ = socket.getaddrinfo(*at, type=socket.SOCK_STREAM)
    with _Server(family, found, connections, seconds) as server:
        server.set_app(application)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        host = f"[{found[0]}]" if ":" in str(found[0]) else found[0]
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
