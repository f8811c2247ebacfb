"""No byte of an engine steers a terminal, in whichever view of the command it would be shown.

An engine puts the same hostile text wherever it may put one, and every view is looked at.
"""

import io
import json
import os
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hostile
import msgspec
import pytest
from command import Done, run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from docker_images import ImageSummary, resolve_endpoint
from docker_images.cli.watch import for_people, for_programs
from docker_images.engine.responses import refusal
from docker_images.watch import ImagesUpdate

EXAMPLES = int(os.environ.get("DOCKER_IMAGES_FUZZ", "0"))

STEERING = [
    char
    for char in map(chr, (*range(0x3100), *range(0xD7FF, 0xE001), *range(0xFE00, 0x10000), 0xE0041))
    if not char.isprintable() and unicodedata.category(char) != "Cn"
]
"""Control characters, marks that turn the direction of text, blanks and halves of characters."""

texts = st.text(
    st.sampled_from(STEERING) | st.characters() | st.sampled_from("a/:@.-1"), max_size=9
)
SAID = "\x1b]0;x\x07\x9b2J\r\n\u202e\u2066\x00\x7f"


class Engine:
    """Says a text wherever an engine may say one; or refuses everything, with that text."""

    def __init__(self) -> None:
        self.text = ""
        self.status = "200 OK"
        self.host = ""

    def images(self) -> list[dict[str, Any]]:
        text = self.text
        platform = {"os": text, "architecture": text, "variant": text}
        manifest = {
            "ID": text,
            "Available": True,
            "Kind": "image",
            "ImageData": {"Platform": platform, "Containers": [text]},
        }
        return [
            hostile.an_image(
                Id=id_,
                ParentId=text,
                RepoTags=[f"{text}:{text}", f"a{text}:1", f"a:{text}", "ghcr.io/a/b:1"],
                RepoDigests=[f"{text}@sha256:{text}", f"a@sha256:{'1' * 64}{text}"],
                Labels={text: text},
                SharedSize=0,
                Containers=0,
                Manifests=[manifest],
                Descriptor={"digest": text, "mediaType": text, "annotations": {text: text}},
            )
            for id_ in (text, f"sha256:{'ab' * 32}")
        ]

    def script(self, peer: hostile.Peer) -> None:
        while request := peer.request():
            path = request.split()[1].partition(b"?")[0]
            body: Any = {"message": self.text}
            if self.status[:1] == "2":
                body = (
                    self.images() if path.endswith(b"/images/json") else {"ApiVersion": self.text}
                )
                if path.endswith(b"/containers/json"):
                    body = [{"ImageID": self.text, "Names": [self.text]}]
                elif path.endswith(b"/events"):
                    body = {"Type": "image", "Action": self.text, "id": self.text}
            # As far as HTTP lets it: for the rest of them the whole answer is refused.
            latin = self.text.encode("latin-1", "replace").decode("latin-1")
            header = "".join(char for char in latin if char >= " " and char != "\x7f")
            headers = {
                "Server": f"Docker/29.0.0 ({header})",
                "X-Any": header,
                "Connection": "close",
            }
            status = f"{self.status} {header}"
            peer.send(hostile.answer(json.dumps(body).encode(), status, headers))
            return


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    with hostile.serving(engine.script) as server:
        engine.host = server.host
        yield engine


VIEWS = [
    [],
    ["--digests", "--no-trunc", "--shared-size", "--manifests", "--total"],
    ["--tree", "--total", "--no-trunc"],
    ["-q"],
    ["-q", "--no-trunc"],
    ["--json"],
    ["--jsonl"],
    ["--sort", "name", "--reverse"],
    ["plan", "--only-reference", "*", "--only-reference", "*/*", "--keep-label", "x"],
    ["plan", "--keep-latest", "1", "--names"],
    ["plan", "--older-than", "1h", "--json"],
    ["diff", "kept.json"],
    ["diff", "kept.json", "--json"],
    ["check", "--warning", "unused>0"],
    ["metrics", "--repositories", "9"],
    ["doctor"],
    ["doctor", "--json"],
]


QUIET = {"--names", "check", "doctor"}
"""Views that show no text of a list."""
REFUSALS = ["404 Not Found", "500 Oh", "403 No", "302 There"]


def harmless(done: Done) -> None:
    for text in done.stdout, done.stderr:
        assert all(char.isprintable() or char == "\n" for char in text), text


few = settings(
    max_examples=EXAMPLES or 3,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    ("view", "status"),
    [
        pytest.param(view, status, id=f"{' '.join(view)} {status}")
        for number, view in enumerate(VIEWS)
        for status in ("200 OK", REFUSALS[number % 4])
    ],
)
def test_no_byte_steers_a_terminal(
    view: list[str], status: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    @few
    @given(text=texts)
    @example(text=SAID)
    def look(text: str) -> None:
        engine.text, engine.status = text, status
        Path("kept.json").write_text(
            json.dumps([hostile.an_image(Id=text, RepoTags=[f"{text}:1"])])
        )
        done = run(*view, "-H", engine.host)
        harmless(done)
        told.append("\ufffd" in done.stdout + done.stderr or "\\u001b" in done.stdout)

    told: list[bool] = []
    look()
    assert any(told) or {*view} & QUIET


@few
@given(text=texts)
@example(text=SAID)
def test_no_byte_of_a_change_steers_a_terminal(text: str) -> None:
    image = msgspec.convert(hostile.an_image(Id=text, RepoTags=[f"{text}:1"]), ImageSummary)
    other = msgspec.structs.replace(image, repo_tags=(f"a:{text}",))
    at = datetime.now(UTC)
    refused = refusal(
        500, json.dumps({"message": text}).encode(), resolve_endpoint({}, "unix:///x")
    )
    for update in (
        ImagesUpdate(at=at, images=[], added=(image,), removed=(other,)),
        ImagesUpdate(at=at, images=[], changed=((image, other),), tag_changes={text: (text, None)}),
        ImagesUpdate(at=at, images=[], error=refused),
    ):
        for write in for_people, for_programs:
            out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
            with redirect_stdout(out):
                write(update)
            out.flush()
            harmless(Done(0, out.buffer.getvalue().decode(), ""))
