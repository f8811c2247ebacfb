"""A registry on the loopback interface, to pull from what cannot be loaded into every store.

Knows how images of several platforms are written (OCI image index, manifest, config, layer), and as
much of the distribution API as a pull needs. Nothing can be pushed.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Registry:
    """What a registry holds; every name leads to the same images."""

    def __init__(self, host: str) -> None:
        self.host = host
        """`127.0.0.1:40321`, what the names of its images begin with."""
        self.content: dict[str, tuple[str, bytes]] = {}
        """By digest: media type, and bytes."""
        self.tags: dict[str, str] = {}
        """Digests by `name:tag`."""

    def put(self, media_type: str, content: bytes) -> dict[str, Any]:
        """Keep a blob or a manifest; returns its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.content[digest] = (media_type, content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def image(
        self,
        layers: Sequence[bytes],
        architecture: str,
        labels: Mapping[str, str],
        created: str | None,
    ) -> dict[str, Any]:
        """An image for one platform; returns its descriptor."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": dict(labels)},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
            },
            "history": [{"created_by": "tests"}] * len(layers),
            **({"created": created} if created else {}),
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put(CONFIG, json.dumps(config).encode()),
            "layers": [self.put(LAYER, one) for one in layers],
        }
        found = self.put(MANIFEST, json.dumps(manifest).encode())
        return found | {"platform": {"architecture": architecture, "os": "linux"}}

    def attestation(self, of: Mapping[str, Any]) -> dict[str, Any]:
        """What BuildKit says of an image, as it says it: a manifest for no platform."""
        statement = self.put("application/vnd.in-toto+json", b'{"predicate": {}}')
        config = self.put(CONFIG, b'{"architecture": "unknown", "os": "unknown", "config": {}}')
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [statement],
        }
        found = self.put(MANIFEST, json.dumps(manifest).encode())
        return found | {
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.digest": of["digest"],
                "vnd.docker.reference.type": "attestation-manifest",
            },
        }

    def chart(self, name: str, content: bytes) -> str:
        """Give a name to what is no image, as Helm pushes it; returns the digest."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put("application/vnd.cncf.helm.config.v1+json", b'{"name": "chart"}'),
            "layers": [
                self.put("application/vnd.cncf.helm.chart.content.v1.tar+gzip", content),
            ],
        }
        self.tags[name] = self.put(MANIFEST, json.dumps(manifest).encode())["digest"]
        return self.tags[name]

    def index(self, name: str, manifests: Iterable[Mapping[str, Any]]) -> str:
        """Give a name to an index of manifests; returns the digest."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [dict(m) for m in manifests]}
        self.tags[name] = self.put(INDEX, json.dumps(index).encode())["digest"]
        return self.tags[name]


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry that is there as long as the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Engines try TLS first, and know plain HTTP by the status line of the refusal.
        default_request_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, media_type, body = _answer(registry, self.path)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            if status == 200 and media_type != "application/json":
                digest = hashlib.sha256(body).hexdigest()
                self.send_header("Docker-Content-Digest", f"sha256:{digest}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(registry: Registry, path: str) -> tuple[int, str, bytes]:
    if path == "/v2/":
        return 200, "application/json", b"{}"
    found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/?]+)", path)
    if found:
        name, _, reference = found.groups()
        digest = registry.tags.get(f"{name}:{reference}", reference)
        if digest in registry.content:
            return 200, *registry.content[digest]
    return 404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
