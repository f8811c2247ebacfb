"""The docker command in front of each live Docker engine, and `docker-images` beside it.

Both are asked the same, in the same words; what differs on purpose is in docs/cli.md.
"""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import engines
import pytest
import suites
from command import run

ENGINES = [name for name in engines.NAMES if name.startswith("docker")]
ROW = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Size}}"


def asked(*questions: list[str]) -> list[Any]:
    """Each question of each engine; but for .ci/run, of one of each store, in turns."""
    stores = [
        [name for name in ENGINES if engines.TABLE[name].containerd is it] for it in (False, True)
    ]
    found = []
    for number, question in enumerate(questions):
        now = {name for store in stores for name in engines.in_turn(number, store)}
        for name in ENGINES:
            marks = () if name in now else pytest.mark.slow
            found.append(
                pytest.param(name, question, id=f"{name}-{' '.join(question)}", marks=marks)
            )
    return found


@cache
def commands() -> dict[str, str]:
    """The docker commands of this machine and of the suites, by version."""
    of_suites = [str(suites.folder(suite) / "usr/bin/docker") for suite in suites.PACKAGES]
    paths = [shutil.which("docker"), *of_suites]
    found = {}
    for path in paths:
        if path and Path(path).exists():
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
            found[said.stdout.split()[2].strip(",")] = path
    return found


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The docker commands that there are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if not commands():
        engines.absent("the docker command is not installed")
    return list(commands().values())


def theirs(command: str, host: str, *arguments: str) -> list[str]:
    words = [command, "-H", host, "images", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def rows(host: str, *arguments: str, digests: bool = False) -> list[str]:
    """Repository, tag, digest, id and size of each row of our table."""
    done = run("-H", host, *arguments, *(["--digests"] if digests else []))
    assert (done.returncode, done.stderr) == (0, "")
    cells = [re.split(r" {3,}", line) for line in done.stdout.splitlines()[1:]]
    created = 4 if digests else 3
    return ["\t".join(row[:created] + row[created + 1 :]) for row in cells]


QUESTIONS = [
    [],
    ["-a"],
    ["--no-trunc"],
    ["demo/web"],
    ["demo/web:1.0"],
    ["demo/*:1"],
    ["registry.example.com:5000/team/web"],
    ["nothing"],
    ["-f", "dangling=true"],
    ["-f", "dangling=false"],
    ["--filter", "label=stage"],
    ["-f", "label=stage=prod"],
    ["-f", "label=stage=prod", "-f", "label=built"],
    ["-f", "reference=demo/web"],
    ["-f", "reference=demo/web:1.*", "-f", "reference=demo/labels"],
    ["-f", "before=demo/labels:1"],
    ["-f", "since=demo/labels:1"],
    ["-f", "since=demo/labels:1", "-f", "label=stage=prod", "-a"],
]


@pytest.mark.parametrize(("engine", "question"), asked(*QUESTIONS))
def test_the_rows_are_the_same(
    engine: str, question: list[str], docker: list[str], live: engines.Live
) -> None:
    host = live.host(engine)
    ours = sorted(rows(host, *question))

    for command in docker:
        assert sorted(theirs(command, host, *question, "--format", ROW)) == ours


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "question",
    [
        ["-f", "label!=stage"],
        # Up to 29.4 the containerd store misses the images without such a label.
        ["-f", "label!=stage=prod", "-f", "label=stage"],
        # Without a label there are images of unknown time, which docker calls older.
        ["-f", "until=2023-06-01T00:00:00Z", "-f", "label=stage"],
    ],
    ids=" ".join,
)
def test_what_only_newer_engines_filter_is_the_same_where_they_do(
    engine: str, question: list[str], docker: list[str], live: engines.Live
) -> None:
    if "containerd" in engine and "until" in question[1]:
        pytest.skip("that store means the time of the pull: docs/cli.md")
    host = live.host(engine)
    ours = sorted(rows(host, *question))
    assert ours

    for command in docker:
        words = [command, "-H", host, "images", *question, "--format", ROW]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            assert sorted(done.stdout.splitlines()) == ours
        else:
            assert "nvalid filter" in done.stderr


@pytest.mark.parametrize(
    ("engine", "question"), asked(["-q"], ["-aq"], ["-q", "--no-trunc"], ["-q", "demo/web"])
)
def test_the_ids_are_the_same(
    engine: str, question: list[str], docker: list[str], live: engines.Live
) -> None:
    host = live.host(engine)
    ours = sorted(run("-H", host, *question).stdout.splitlines())

    for command in docker:
        assert sorted(theirs(command, host, *question)) == ours


@pytest.mark.parametrize("engine", ENGINES)
def test_the_digests_are_the_same(engine: str, docker: list[str], live: engines.Live) -> None:
    host = live.host(engine)
    form = ROW.replace("{{.ID}}", "{{.Digest}}\t{{.ID}}")
    ours = sorted(rows(host, digests=True))

    for command in docker:
        assert sorted(theirs(command, host, "--digests", "--format", form)) == ours


@pytest.mark.parametrize("engine", ENGINES)
def test_the_tree_has_the_same_numbers(engine: str, docker: list[str], live: engines.Live) -> None:
    host = live.host(engine)
    ours, used = numbers(run("-H", host, "--tree", "-a").stdout)
    assert len(ours) > 10

    for command in docker:
        words = [command, "-H", host, "images", "--tree", "-a"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:  # the tree came with 27.2, and takes API 1.47
            sizes, marked = numbers(done.stdout)
            assert sizes == ours
            assert marked <= used  # 28.2 does not ask in 1.51, which would tell it of all


def numbers(tree: str) -> tuple[list[tuple[str, str, str]], set[str]]:
    """Id, bytes on disk and bytes of content of each line, and the ids of what is in use."""
    found = re.findall(r"\b([0-9a-f]{12})\s+(\S+B)\s+(\S+) *(U|yes)?", tree)
    # Docker calls the content 0B where nobody knows it.
    sizes = sorted((short, size, {"0B": "-"}.get(of, of)) for short, size, of, _ in found)
    return sizes, {short for short, *_, mark in found if mark}
