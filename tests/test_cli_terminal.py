"""The table on terminals of every width: what gives way, in which order, and what never breaks."""

import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from typing import Any

import hostile
import msgspec
import pytest
from command import Done, on_a_terminal, run
from hostile import an_image, holding

from docker_images import ImageSummary
from docker_images.cli.arguments import COMMANDS
from docker_images.cli.table import Column, drawn, width
from docker_images.cli.watch import for_people
from docker_images.watch import ImagesUpdate

HOUR = 3600
LONG = f"registry.example.com:5000/{'team/' * 8}web"
PLATFORMS = [("linux", "amd64"), ("linux", "arm64"), ("linux", "riscv64"), ("windows", "amd64")]


def manifests() -> list[dict[str, Any]]:
    return [
        {
            "ID": "sha256:" + "ab" * 32,
            "Available": at != 1,
            "Kind": "image",
            "Size": {"Total": 1_234_567, "Content": 4_567},
            "ImageData": {"Platform": {"os": os, "architecture": cpu}, "Containers": ["x"]},
        }
        for at, (os, cpu) in enumerate(PLATFORMS)
    ]


ANSWERS = {"/containers/json": (200, []), "/events": (200, ""), "/version": (200, {})}
MANY: dict[str, Any] = {"Manifests": manifests(), "Descriptor": {"digest": "sha256:x"}}


@contextmanager
def engine() -> Iterator[str]:
    now = int(time.time())
    facts = {**MANY, "Size": 123_000_000, "SharedSize": 9_990_000}
    images = [
        an_image(RepoTags=["shop/web:2.4.1", "alpine:3"], Created=now - 3 * HOUR - 60, **facts),
        an_image(
            RepoTags=[f"{LONG}:1"],
            RepoDigests=[f"{LONG}@sha256:{'1' * 64}"],
            Created=now - 5 * HOUR - 60,
            **facts,
        ),
        an_image(RepoTags=["größe/镜像:1", "e\u0301te\u0301:한국어"], **facts),
        an_image(RepoTags=[f"x:{'t' * 128}"], **facts),
        an_image(**facts),
    ]
    with holding(images, answers=ANSWERS) as host:
        yield host


VIEWS = [
    [],
    ["--digests"],
    ["--no-trunc", "--digests"],
    ["--manifests", "--shared-size"],
    ["--tree", "--total"],
    ["-q"],
    ["plan", "--older-than", "1h"],
    ["diff", "/dev/null"],
    ["doctor"],
]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(
    view: list[str], columns: int
) -> None:
    with engine() as host:
        piped = run("-H", host, *view).stdout
        shown = on_a_terminal("-H", host, *view, columns=columns, NO_COLOR="1").stdout

    if view == ["-q"]:
        assert shown == piped
        return
    lines = shown.splitlines()
    assert max(map(width, lines)) <= columns
    # A cell stands whole on one line, unless it is longer than the terminal.
    words = {word for word in re.split(r"[ \n:/]+", piped) if 0 < width(word) <= columns - 2}
    assert words <= {*re.split(r"[ \n:/]+", shown)}
    squeezed = re.sub(r"\s", "", shown)
    for long in (LONG, "t" * 128):
        assert (long in squeezed) is (view != ["doctor"])


NARROW = """\
REPOSITORY:TAG
  IMAGE ID      CREATED       SIZE
shop/web:2.4.1
  0123456789ab  3 hours ago  123MB
alpine:3
  0123456789ab  3 hours ago  123MB
<none>:<none>
  0123456789ab  -              1kB
"""
MEDIUM = """\
REPOSITORY    TAG     IMAGE ID      CREATED       SIZE
shop/web      2.4.1   0123456789ab  3 hours ago  123MB
registry.example.com:5000/shop/web
              2.4.1   0123456789ab  3 hours ago  123MB
<none>        <none>  0123456789ab  -              1kB
"""
WIDE = """\
REPOSITORY                           TAG      IMAGE ID       CREATED        SIZE
registry.example.com:5000/shop/web   2.4.1    0123456789ab   3 hours ago   123MB
<none>                               <none>   0123456789ab   -               1kB
"""
FOLDED = """\
REPOSITORY  TAG    IMAGE ID      CREATED       SIZE  PLATFORMS
shop/web    2.4.1  0123456789ab  3 hours ago  123MB  linux/amd64,
                                                     linux/riscv64,
                                                     windows/amd64
"""


@pytest.mark.parametrize(
    ("columns", "names", "view", "table"),
    [
        (40, [["shop/web:2.4.1", "alpine:3"], []], [], NARROW),
        (54, [["shop/web:2.4.1"], ["registry.example.com:5000/shop/web:2.4.1"], []], [], MEDIUM),
        (80, [["registry.example.com:5000/shop/web:2.4.1"], []], [], WIDE),
        (68, [["shop/web:2.4.1"]], ["--manifests"], FOLDED),
    ],
)
def test_columns_give_way_in_a_fixed_order(
    columns: int, names: list[list[str]], view: list[str], table: str
) -> None:
    created = int(time.time()) - 3 * HOUR - 60
    more: dict[str, Any] = MANY if view else {}
    images = [
        an_image(RepoTags=tags, Created=created, Size=123_000_000, **more)
        if tags
        else an_image(Size=1000)
        for tags in names
    ]
    with holding(images) as host:
        shown = on_a_terminal("-H", host, *view, columns=columns, NO_COLOR="1").stdout

    assert shown == table


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run(name, "--help").stdout.splitlines()

    # Python itself breaks no option, however narrow the terminal is.
    texts = [line for line in lines if not line.lstrip().startswith(("-", "[", "usage:"))]
    assert max(map(width, texts)) <= columns


WATCHED = {
    40: """\
2026-01-31 12:00:00  +  0123456789ab
    shop/web:2.4.1, größe/镜像:1  187MB
2026-01-31 12:00:00  +  0123456789ab
    <none>  0B
""",
    60: """\
2026-01-31 12:00:00  +  0123456789ab  shop/web:2.4.1,
                                      größe/镜像:1  187MB
2026-01-31 12:00:00  +  0123456789ab  <none>  0B
""",
    80: """\
2026-01-31 12:00:00  +  0123456789ab  shop/web:2.4.1, größe/镜像:1  187MB
2026-01-31 12:00:00  +  0123456789ab  <none>  0B
""",
}


@pytest.mark.parametrize("columns", WATCHED)
def test_a_change_goes_on_below_its_text(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    names = ("shop/web:2.4.1", "größe/镜像:1")
    images = [
        msgspec.convert(an_image(**facts), ImageSummary)
        for facts in ({"RepoTags": names, "Size": 187_000_000}, {})
    ]
    update = ImagesUpdate(at=datetime(2026, 1, 31, 12).astimezone(), images=[], added=(*images,))
    with redirect_stdout(Screen()) as screen:
        for_people(update)

    assert screen.getvalue() == WATCHED[columns]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("größe", 5),
        ("镜像", 4),
        ("e\u0301te\u0301", 3),
        ("한국어", 6),
        ("\u1112\u1161\u11ab", 2),  # the same kind of letters, in their parts
        ("\u1112\ud7b9\ud7cd", 2),
        ("ｱ", 1),
        ("Ａ", 2),
        ("", 0),
    ],
)
def test_a_character_takes_the_columns_that_a_terminal_gives_it(text: str, columns: int) -> None:
    assert width(text) == columns


def test_only_the_word_is_broken_that_no_line_can_hold() -> None:
    titles = [Column("NAME", name=True), Column("WHY", folds=" ")]
    rows = [["a", f"{'abcd/' * 4}x and y/z:1 too"]]

    assert "".join(drawn(titles, rows, fits=14)) == (
        "NAME\n  WHY\na\n  abcd/abcd/\n  abcd/abcd/x\n  and y/z:1\n  too\n"
    )


def test_a_table_of_nothing_is_its_titles_on_any_terminal() -> None:
    columns = [Column("REPOSITORY", name=True), Column("TAG", name=True), Column("SIZE")]

    assert list(drawn(columns, [])) == ["REPOSITORY   TAG   SIZE\n"]
    assert list(drawn(columns, [], fits=10)) == ["REPOSITORY\n", ":TAG\n", "  SIZE\n"]


READABLE = """\
IMAGE     WHY                        SIZE
alpine:3  nobody knows whether a      8MB
          container uses it
registry.example.com/shop/web:2.4.1
          it is old enough          187MB
"""
NARROWER = """\
IMAGE  WHY                 SIZE
alpine:3
       nobody knows         8MB
       whether a
       container uses it
registry.example.com/shop/web:
2.4.1
       it is old enough   187MB
"""


@pytest.mark.parametrize(("columns", "table"), [(41, READABLE), (31, NARROWER)], ids=[41, 31])
def test_text_stays_readable_where_names_may_give_way(columns: int, table: str) -> None:
    titles = [Column("IMAGE", name=True), Column("WHY", folds=" "), Column("SIZE", right=True)]
    rows = [
        ["alpine:3", "nobody knows whether a container uses it", "8MB"],
        ["registry.example.com/shop/web:2.4.1", "it is old enough", "187MB"],
    ]
    assert "".join(drawn(titles, rows, fits=columns)) == table


HOSTILE = "\x1b]0;x\x07\x9b1m\r\n\u202e\u2066\x00\x7f"


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("view", [*VIEWS, ["--json"], ["--jsonl"]], ids=" ".join)
def test_no_byte_of_an_engine_steers_a_terminal(view: list[str], columns: int) -> None:
    platform = {"os": HOSTILE, "architecture": HOSTILE, "variant": HOSTILE}
    manifest = {
        "ID": f"sha256:{HOSTILE}",
        "Available": True,
        "Kind": "image",
        "ImageData": {"Platform": platform},
    }
    hostile = an_image(
        Id=f"sha256:{HOSTILE}",
        RepoTags=[f"{HOSTILE}:{HOSTILE}", f"a{HOSTILE}:1"],
        RepoDigests=[f"{HOSTILE}@sha256:{HOSTILE}", f"a@sha256:{'1' * 64}{HOSTILE}"],
        Labels={HOSTILE: HOSTILE},
        Manifests=[manifest],
        Descriptor={"digest": HOSTILE},
    )
    with holding([hostile], answers=ANSWERS) as host:
        done = on_a_terminal("-H", host, *view, columns=columns)

    assert done.returncode == (1 if "diff" in view else 0)
    # Colours are ours, and the only thing that a terminal obeys.
    text = re.sub(r"\x1b\[\d+m", "", done.stdout)
    assert all(char.isprintable() or char == "\n" for char in text)


# ── A wait ──────────────────────────────────────────────────────────────────────────────────────


def waited(*arguments: str, answer: bytes) -> Done:
    """How a call ended, with a terminal for its errors, whose engine was slow to answer."""
    for seconds in (1.2, 5, 20):  # a busy machine may be late to show anything

        def script(peer: hostile.Peer, seconds: float = seconds) -> None:
            peer.wait(seconds if peer.number == 0 else 0)
            while peer.request():
                peer.send(answer)

        with hostile.serving(script) as server:
            done = on_a_terminal(*arguments, "-H", server.host, columns=50, stderr=True)
        if done.stderr.startswith("\r"):
            break
    return done


@pytest.mark.parametrize(
    ("view", "status"), [(["-q"], 0), (["doctor"], 1), (["watch"], 1), (["metrics"], 1)]
)
def test_a_wait_shows_that_it_goes_on_and_leaves_nothing_behind(
    view: list[str], status: int
) -> None:
    answer = hostile.LIST if status == 0 else hostile.answer(b"", "500 Oh")

    done = waited(*view, answer=answer)

    assert done.returncode == status
    assert len(done.stdout.splitlines()) == 3 or status
    _, *told, wiped, after = done.stderr.split("\r")
    assert told[0].startswith("docker-images: waiting for ")
    assert max(map(len, told)) < 50
    assert wiped == " " * 49
    assert after.startswith("docker-images: ") is (view in (["watch"], ["metrics"]))


def test_a_wait_is_not_told_to_a_pipe() -> None:
    def script(peer: hostile.Peer) -> None:
        peer.wait(1.2)
        hostile.answering(hostile.LIST)(peer)

    with hostile.serving(script) as server:
        done = run("-q", "-H", server.host)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_quick_answer_tells_nothing() -> None:
    with holding([an_image()]) as host:
        ends = (on_a_terminal("-q", "-H", host, columns=50, stderr=True) for _ in range(5))
        assert any((done.returncode, done.stderr) == (0, "") for done in ends)
