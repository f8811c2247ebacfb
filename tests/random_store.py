"""Stores by chance, for real engines: what is in one, how it comes there and goes again.

Layers are shared, names move, builds have parents, some images are for several platforms, and some
containers outlive their image. Knows what a store takes on disk. Refuses to know what is tested.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import engines
import registry

REPOSITORIES = ("web", "shop/web", "shop/db", "ghcr.io/shop/web", "localhost/tool")
DATES = ("2015-03-04T05:06:07Z", "2022-01-01T00:00:00Z", "2024-05-06T07:08:09Z")
PLACEHOLDERS = ("1970-01-01T00:00:01Z", None)
KEEP = {"keep": "yes"}
JSON = {"Content-Type": "application/json"}


class Store:
    """An engine of one test, and where it keeps its data."""

    def __init__(self, name: str, host: str, folder: Path) -> None:
        self.name, self.host, self.folder = name, host, folder
        self.containerd = engines.TABLE[name].containerd

    def get(self, path: str) -> Any:
        answer = engines.call(self.host, "GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json()

    def images(self) -> list[dict[str, Any]]:
        """All images, as the engine lists them."""
        return list(self.get("/images/json?all=1"))

    def remove(self, name: str) -> engines.Answer:
        """As `docker rmi --no-prune` asks for it."""
        return engines.call(self.host, "DELETE", f"/images/{quote(name, safe='')}?noprune=1")

    def in_use(self) -> dict[str, int]:
        """Whether the image of each container is there, as the status of its look-up."""
        used = {one["ImageID"] for one in self.get("/containers/json?all=1")}
        return {id_: engines.call(self.host, "GET", f"/images/{id_}/json").status for id_ in used}

    def size(self) -> int:
        """Bytes of all images: what the engine says, unless it says too little."""
        if self.containerd:
            # What nothing refers to waits until an image is removed: names that moved, builds.
            engines.load(self.host, [{"tags": ["nothing:1"], "layer": "nothing"}])
            assert self.remove("nothing:1").status == 200
        said: int = self.get("/system/df")["LayersSize"]
        if self.name == "docker 26.1 containerd":  # what is unpacked, but no content
            root = self.folder / "d/containerd/daemon/io.containerd.content.v1.content"
            return said + sum(path.stat().st_size for path in root.glob("blobs/sha256/*"))
        if self.name == "podman 4.3":  # always 0
            layers = json.loads((self.folder / "r/vfs-layers/layers.json").read_text())
            return sum(layer.get("diff-size", 0) for layer in layers)
        return said

    def fill(self, chance: random.Random, source: registry.Registry) -> None:
        """Put a store there that only `chance` decides."""
        _Filling(self, chance, source).run()

    def empty(self) -> None:
        """Remove everything."""
        for one in self.get("/containers/json?all=1"):
            path = f"/containers/{one['Id']}?force=1&v=1"
            assert engines.call(self.host, "DELETE", path).status in (200, 204)
        while images := self.images():
            before = len(images)
            for one in images:
                engines.call(self.host, "DELETE", f"/images/{one['Id']}?force=1")
            assert len(self.images()) < before


class _Filling:
    def __init__(self, store: Store, chance: random.Random, source: registry.Registry) -> None:
        self.store, self.chance, self.source = store, chance, source
        self.chains: list[list[str]] = [[]]
        """Layers of an image, from the lowest; new images go on where others stand."""

    def run(self) -> None:
        chance = self.chance
        steps: list[Callable[[], None]] = [self.load] * chance.randint(3, 6)
        steps += [self.build] * chance.randint(0, 2)
        steps += [self.pull] * chance.randint(0, 2)
        steps += [self.load_index] * (chance.randint(0, 1) if self.store.containerd else 0)
        steps += [self.tag] * chance.randint(0, 3)
        chance.shuffle(steps)
        for step in (self.load, *steps):
            step()
        for _ in range(chance.randint(1, 2)):
            self.use()
        if chance.random() < 0.15:
            self.orphan()

    def name(self) -> str:
        return f"{self.chance.choice(REPOSITORIES)}:{self.chance.randint(1, 4)}"

    def names(self) -> list[str]:
        """The tags that are there by now."""
        tags = [tag for image in self.store.images() for tag in image["RepoTags"] or ()]
        return sorted({tag for tag in tags if "<none>" not in tag})

    def chain(self) -> list[str]:
        chance = self.chance
        new = [
            f"{chance.random()} " * chance.choice([1, 100, 3000])
            for _ in range(chance.randint(0, 2))
        ]
        chain = [*chance.choice(self.chains), *new] or ["the same everywhere"]
        self.chains.append(chain)
        return chain

    def created(self) -> dict[str, str]:
        created = self.chance.choice([*DATES, *DATES, *PLACEHOLDERS])
        return {} if created is None else {"created": created}

    def labels(self) -> dict[str, str]:
        return {"made": str(self.chance.random())} | self.chance.choice([{}, {}, KEEP])

    def load(self) -> None:
        tags = [self.name() for _ in range(self.chance.choice([0, 1, 1, 2, 3]))]
        image = {"tags": [*{*tags}], "layers": self.chain(), "labels": self.labels()}
        engines.load(self.store.host, [image | self.created()])

    def build(self) -> None:
        """Two steps on an image that is there: the first leaves a parent, where there are any."""
        base = self.chance.choice([*self.names(), "scratch"])
        lines = [f"FROM {base}", "COPY file /built", f"LABEL made={self.chance.random()}"]
        context = engines.tar(
            {
                "Dockerfile": "\n".join(lines).encode(),
                "file": b"built" * self.chance.randint(1, 999),
            }
        )
        tag = f"&t={self.name()}" if self.chance.random() < 0.7 else ""
        # An image for another platform may be no base.
        engines.call(self.store.host, "POST", f"/v1.40/build?rm=1{tag}", context, engines.TAR)

    def pull(self) -> None:
        """An image of two platforms; one of them, or both."""
        digest = self.index(self.source)
        given = f"{self.source.host}/many"
        name = f"{given}:1" if self.chance.random() < 0.7 else f"{given}@{digest}"
        for architecture in self.chance.choice([["amd64"], ["arm64"], ["amd64", "arm64"]]):
            engines.pull(self.store.host, name, architecture)
        # The tag is there, or one that a digest pulled before has.
        names = [name for name in self.names() if given in name]
        if names and self.chance.random() < 0.8:
            self.tag(names[-1])

    def index(self, to: registry.Registry) -> str:
        """Put an image of two platforms that share a layer, and sometimes attestations."""
        chance = self.chance
        shared = engines.tar({"shared": f"{chance.random()}".encode() * 500})
        images = [
            to.image(
                [shared, engines.tar({"own": f"{chance.random()}".encode() * 100})],
                architecture,
                self.labels(),
                self.created().get("created"),
            )
            for architecture in ("amd64", "arm64")
        ]
        more = map(to.attestation, images) if chance.random() < 0.5 else ()
        return to.index("many:1", [*images, *more])

    def load_index(self) -> None:
        """The same with all its content, attestations too, as `docker save` has it since 25."""
        own = registry.Registry("")
        engines.load_layout(
            self.store.host, own, self.index(own), f"attested:{self.chance.randint(1, 4)}"
        )

    def tag(self, of: str | None = None) -> None:
        of = of or self.chance.choice(self.names() or [self.store.images()[0]["Id"]])
        repository, _, tag = self.name().rpartition(":")
        path = f"/images/{quote(of, safe='')}/tag?repo={repository}&tag={tag}"
        engines.done(engines.call(self.store.host, "POST", path))

    def use(self) -> None:
        """A container of a name or an id, for the first platform that there is."""
        image = self.chance.choice(self.store.images())
        names = [name for name in image["RepoTags"] or () if "<none>" not in name]
        body = {"Image": self.chance.choice([*names, image["Id"]]), "Cmd": ["/built"]}
        architectures = self.chance.choice([["", "arm64"], ["arm64", ""]])
        for architecture in architectures:
            path = "/v1.41/containers/create"
            path += f"?platform=linux/{architecture}" if architecture else ""
            body_ = json.dumps(body).encode()
            if engines.call(self.store.host, "POST", path, body_, JSON).status == 201:
                break

    def orphan(self) -> None:
        """Remove an image by force that a container was made from."""
        used = self.chance.choice(self.store.get("/containers/json?all=1") or [{}]).get("ImageID")
        if used:
            engines.call(self.store.host, "DELETE", f"/images/{used}?force=1")
