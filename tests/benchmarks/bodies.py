"""The bodies that are replayed: made-up images, written as the engines write them.

Pure and seeded: the same numbers give the same bytes. Knows the keys, their order and the framing
of dockerd and Podman (read off recorded answers), and nothing about sockets or clients.
"""

import random
from collections.abc import Iterator
from typing import Any

import msgspec

WIRES = ("docker", "podman", "manifests")
"""dockerd with graph drivers; Podman; dockerd with the containerd store and `manifests=1`."""

_PROSE = (
    "A service that answers each question within a second, writes down what it did, "
    "and tells the others when it cannot. It needs a database, a queue and a volume for its files, "
    "and is built anew each night."
)
_LABELS = (
    ("maintainer", ("ops", "NGINX Maintainers <nginx@example.com>", "Büro <buero@example.org>")),
    ("stage", ("prod", "test", "")),
    ("org.opencontainers.image.source", ("https://git.example.com/team/app",)),
    ("org.opencontainers.image.revision", ("5f70bf18a086007016e948b04aed3b82103a36be",)),
    ("org.opencontainers.image.created", ("2025-11-02T08:21:13Z", "2026-03-09T17:40:59.012Z")),
    ("org.opencontainers.image.version", ("24.04", "3.21.0-rc.1")),
    ("org.opencontainers.image.title", ("web", "api ✓", 'the "worker"', "frontend", "database")),
    ("org.opencontainers.image.description", (_PROSE, _PROSE, _PROSE, "サービス、" + _PROSE[:99])),
    ("org.opencontainers.image.licenses", ("Apache-2.0 AND MIT",)),
    ("com.docker.compose.project", ("shop", "monitoring")),
    ("com.docker.compose.service", ("db", "frontend")),
    ("com.example.build.url", ("https://ci.example.com/job/1841/artifacts",)),
    ("io.buildah.version", ("1.28.2", "1.41.0")),
)


def make_images(count: int, seed: int = 6) -> list[dict[str, Any]]:
    """Images as plain values, in the order of an unsorted store."""
    dice = random.Random(seed)
    return [_image(dice, number) for number in range(count)]


def _image(dice: random.Random, number: int) -> dict[str, Any]:
    name = f"registry.example.com:5000/team-{dice.randrange(40)}/service-{number}"
    tags = [f"{name}:{dice.randrange(10)}.{tag}" for tag in range(dice.choice((0, 1, 1, 1, 2, 3)))]
    digests = [f"{name}@{_digest(dice)}" for _ in range(dice.choice((0, 1, 1, 1)))]
    labels = {key: dice.choice(texts) for key, texts in dice.sample(_LABELS, dice.randrange(13))}
    # One in ten is from a reproducible build or a bulk load: many then share one second.
    recent = 1_700_000_000 + dice.randrange(700 * 86_400)
    return {
        "Id": _digest(dice),
        "ParentId": _digest(dice) if dice.random() < 0.1 else "",
        "RepoTags": tags or (None if dice.random() < 0.5 else []),
        "RepoDigests": digests or (None if dice.random() < 0.5 else []),
        "Created": dice.choice((0, 315_532_800)) if dice.random() < 0.1 else recent,
        "Size": dice.randrange(10**6, 3 * 10**9),
        "Labels": labels or (None if dice.random() < 0.7 else {}),
        "Containers": dice.choice((0, 0, 1, 3)),
    }


def _digest(dice: random.Random) -> str:
    return "sha256:" + dice.randbytes(32).hex()


def body(wire: str, images: list[dict[str, Any]]) -> bytes:
    """The JSON that the engine of `wire` would write for these images."""
    dice = random.Random(len(images))
    if wire == "podman":  # storage order, not sorted
        entries = [_podman(image) for image in images]
    else:  # newest first, equal seconds in random order: Go walks a map (moby image_list.go)
        entries = [
            _docker(image, dice, manifests=wire == "manifests")
            for image in sorted(images, key=lambda image: (-image["Created"], dice.random()))
        ]
    text = msgspec.json.encode(entries)
    for character, escape in ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e")):
        text = text.replace(character, escape)  # as Go's encoding/json does
    return text + b"\n"


def _docker(image: dict[str, Any], dice: random.Random, *, manifests: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Containers": image["Containers"],
        "Created": image["Created"],
        "Id": image["Id"],
        "Labels": image["Labels"],
        "ParentId": image["ParentId"],
    }
    if manifests:
        index = "application/vnd.oci.image.index.v1+json"
        entry["Descriptor"] = {"mediaType": index, "digest": image["Id"], "size": 855}
        platforms = ({"architecture": "amd64", "os": "linux"},)
        if dice.random() < 0.5:
            platforms += ({"architecture": "arm64", "os": "linux", "variant": "v8"},)
        entry["Manifests"] = [
            manifest for platform in platforms for manifest in _manifests(dice, platform)
        ]
    entry["RepoDigests"] = image["RepoDigests"]
    entry["RepoTags"] = image["RepoTags"]
    entry["SharedSize"] = -1
    entry["Size"] = image["Size"]
    return entry


def _manifests(dice: random.Random, platform: dict[str, str]) -> Iterator[dict[str, Any]]:
    media = "application/vnd.oci.image.manifest.v1+json"
    digest, content = _digest(dice), dice.randrange(10**8)
    available = dice.random() < 0.7
    yield {
        "ID": digest,
        "Descriptor": {"mediaType": media, "digest": digest, "size": 480, "platform": platform},
        "Available": available,
        "Size": {"Content": content, "Total": content * 3},
        "Kind": "image",
        "ImageData": {
            "Platform": platform,
            "Containers": [_digest(dice)[7:]] if dice.random() < 0.2 else None,
            "Size": {"Unpacked": content * 2},
        },
    }
    other = _digest(dice)
    yield {
        "ID": other,
        "Descriptor": {
            "mediaType": media,
            "digest": other,
            "size": 566,
            "annotations": {
                "vnd.docker.reference.digest": digest,
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        },
        "Available": available,
        "Size": {"Content": 1811, "Total": 1811},
        "Kind": "attestation",
        "AttestationData": {"For": digest},
    }


def _podman(image: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "Id": image["Id"],
        "ParentId": image["ParentId"].removeprefix("sha256:"),
        "RepoTags": image["RepoTags"],
        "RepoDigests": image["RepoDigests"] or [],
        "Created": image["Created"],
        "Size": image["Size"],
        "SharedSize": 0,
        "VirtualSize": image["Size"],
        "Labels": image["Labels"],
        "Containers": image["Containers"],
    }
    if image["RepoTags"]:
        entry["Names"] = image["RepoTags"]
    else:
        entry["Dangling"] = True
    entry["Digest"] = image["Id"]
    if image["RepoTags"]:
        entry["History"] = image["RepoTags"]
    return entry


_HEADS = {
    "docker": b"HTTP/1.1 200 OK\r\nApi-Version: 1.55\r\nContent-Type: application/json\r\n"
    b"Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/29.6.0 (linux)\r\n"
    b"Date: Sun, 23 Aug 2026 12:00:00 GMT\r\n",
    "podman": b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n"
    b"Libpod-Api-Version: 4.3.1\r\nServer: Libpod/4.3.1 (linux)\r\n"
    b"X-Reference-Id: 0xc0005a2008\r\nDate: Sun, 23 Aug 2026 12:00:00 GMT\r\n",
}
_HEADS["manifests"] = _HEADS["docker"]


def response(wire: str, content: bytes) -> bytes:
    """A whole HTTP answer: with a length under 2 KiB, else chunked as the engine does."""
    head = _HEADS[wire]
    if len(content) < 2048:  # what Go's net/http still knows the length of
        return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(content), content)
    step = 2048 if wire == "podman" else len(content)
    parts = [head, b"Transfer-Encoding: chunked\r\n\r\n"]
    for start in range(0, len(content), step):
        chunk = content[start : start + step]
        parts += (b"%x\r\n" % len(chunk), chunk, b"\r\n")
    return b"".join((*parts, b"0\r\n\r\n"))
