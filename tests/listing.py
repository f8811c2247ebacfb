"""A server for the tests of the command: says over a unix socket whatever a test wants said."""

import http.server
import json
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


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


@contextmanager
def answering(
    images: list[dict[str, Any]],
    *,
    api: str = "1.55",
    answers: Mapping[str, tuple[int, Any]] | None = None,
) -> Iterator[str]:
    """Serve a list; `answers` has the status and body for the ends of other paths."""
    told = {"/images/json": (200, images), "/_ping": (200, "OK"), **(answers or {})}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            status, body = next(
                (told[end] for end in told if path.endswith(end)), (404, {"message": "no page"})
            )
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Api-Version", api)
            self.send_header("Ostype", "linux")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def address_string(self) -> str:
            return "a test"

        def version_string(self) -> str:
            return "Docker/29.0.0 (linux)"

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that goes away is none of the server's business."""

    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="di") as folder,
        Server(f"{folder}/engine.sock", Handler) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"unix://{folder}/engine.sock"
        finally:
            server.shutdown()
            thread.join()
