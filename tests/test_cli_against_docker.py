"""The docker command in front of each live Docker engine, and `docker-images` beside it.

Both are asked the same, in the same words; what differs on purpose is in docs/cli.md.

    DOCKER_IMAGES_STORES=10 .venv/bin/python -m pytest -n 0 -m '' tests/test_cli_against_docker.py

takes so many stores by chance of each engine.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import engines
import pytest
import registry
import suites
from command import run
from random_store import Store

ENGINES = [name for name in engines.NAMES if name.startswith("docker")]
ROW = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"


HIDES_UNTAGGED = 29
"""From this version on the docker command shows less than the engine lists: docs/cli.md."""
STORES = int(os.environ.get("DOCKER_IMAGES_STORES", "2"))
STORE_KINDS = [
    [name for name in ENGINES if engines.TABLE[name].containerd is it] for it in (False, True)
]


def asked(*questions: list[str], more: tuple[list[str], ...] = ()) -> list[Any]:
    """Each question of each engine; but for .ci/run, of one of each store, in turns.

    `more` is asked of an engine that holds what went wrong: of one of them at a time.
    """
    found = []
    few = [name for name in engines.SOME if name in ENGINES]
    for number, question in enumerate((*questions, *more)):
        now = {name for names in STORE_KINDS for name in engines.in_turn(number, names)}
        holds_more = number >= len(questions)
        if holds_more:
            now = {few[number % len(few)]}
        for name in ENGINES:
            words = " ".join((name, *["more"][: int(holds_more)], *question))
            marks = () if name in now else pytest.mark.slow
            found.append(pytest.param(name, holds_more, question, id=words, marks=marks))
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
            version = said.stdout.split()[2].strip(",")
            if int(version.partition(".")[0]) < HIDES_UNTAGGED:
                found[version] = path
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


def rows(host: str, *arguments: str) -> list[list[str]]:
    """The rows of our table."""
    done = run("-H", host, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return in_order(re.split(r" {3,}", line) for line in done.stdout.splitlines()[1:])


def in_order(rows: Iterable[list[str]]) -> list[list[str]]:
    return sorted([*row[:-2], when(row[-2]), row[-1]] for row in rows)


def when(created: str) -> str:
    """An age, unless it changes while the test runs, or docs/cli.md names a difference."""
    if re.match(r"in |Less than|About a|\d+ (second|minute)", created):
        return "just now, or to come"
    years = re.match(r"(\d+) years", created)
    return "unknown" if created in ("-", "N/A", "") or (years and int(years[1]) > 50) else created


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


MORE: list[list[str]] = [
    [],
    ["-a"],
    ["--no-trunc"],
    ["more/half"],
    ["x"],
    ["localhost/x"],
    ["-f", "dangling=true"],
    ["-f", "dangling=false"],
    ["-f", "label=stage=prod"],
    ["-f", "label=stage=test"],
    ["-f", "label=stage", "-f", "reference=more/*"],
    ["-f", "before=near:1"],
    ["-f", "since=more/half:1", "-a"],
]


@pytest.mark.parametrize(("engine", "more", "question"), asked(*QUESTIONS, more=tuple(MORE)))
def test_the_rows_are_the_same(
    engine: str, more: bool, question: list[str], docker: list[str], live: engines.Live
) -> None:
    the_rows_are_the_same(live.host(engine, more=more), question, docker)


def the_rows_are_the_same(host: str, question: list[str], docker: list[str]) -> None:
    ours = rows(host, *question)
    for command in docker:
        lines = theirs(command, host, *question, "--format", ROW)
        if "dangling=true" in question:  # docker calls more images dangling: docs/cli.md
            named = {row[2] for row in rows(host) if row[0] != "<none>"}
            lines = [line for line in lines if line.split("\t")[2] not in named]
        assert in_order(line.split("\t") for line in lines) == ours, command


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
    ours = rows(host, *question)
    assert ours

    for command in docker:
        words = [command, "-H", host, "images", *question, "--format", ROW]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            assert in_order(line.split("\t") for line in done.stdout.splitlines()) == ours
        else:
            assert "nvalid filter" in done.stderr


IDS = (["-q"], ["-aq"], ["-q", "--no-trunc"])


@pytest.mark.parametrize(("engine", "more", "question"), asked(*IDS, ["-q", "demo/web"], more=IDS))
def test_the_ids_are_the_same(
    engine: str, more: bool, question: list[str], docker: list[str], live: engines.Live
) -> None:
    the_ids_are_the_same(live.host(engine, more=more), question, docker)


def the_ids_are_the_same(host: str, question: list[str], docker: list[str]) -> None:
    ours = sorted(run("-H", host, *question).stdout.splitlines())
    for command in docker:
        assert sorted(theirs(command, host, *question)) == ours, command


DIGESTS = ["--digests"]


@pytest.mark.parametrize(("engine", "more", "question"), asked(DIGESTS, more=(DIGESTS,)))
def test_the_digests_are_the_same(
    engine: str, more: bool, question: list[str], docker: list[str], live: engines.Live
) -> None:
    the_digests_are_the_same(live.host(engine, more=more), question, docker)


def the_digests_are_the_same(host: str, question: list[str], docker: list[str]) -> None:
    form = ROW.replace("{{.ID}}", "{{.Digest}}\t{{.ID}}")
    ours = rows(host, *question)
    for command in docker:
        lines = theirs(command, host, *question, "--format", form)
        assert in_order(line.split("\t") for line in lines) == ours, command


TREE = ["--tree", "-a"]


@pytest.mark.parametrize(("engine", "more", "question"), asked(TREE, more=(TREE,)))
def test_the_tree_has_the_same_numbers(
    engine: str, more: bool, question: list[str], docker: list[str], live: engines.Live
) -> None:
    assert the_tree_has_the_same_numbers(live.host(engine, more=more), question, docker) > 5


def the_tree_has_the_same_numbers(host: str, question: list[str], docker: list[str]) -> int:
    ours, used = numbers(run("-H", host, *question).stdout)
    for command in docker:
        words = [command, "-H", host, "images", *question]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:  # the tree came with 27.2, and takes API 1.47
            sizes, marked = numbers(done.stdout)
            assert sizes == ours, command
            assert marked <= used  # 28.2 does not ask in 1.51, which would tell it of all
    return len(ours)


def numbers(tree: str) -> tuple[list[tuple[str, str, str]], set[str]]:
    """Id, bytes on disk and bytes of content of each line, and the ids of what is in use."""
    found = re.findall(r"\b([0-9a-f]{12})\s+(\S+B)\s+(\S+) *(U|yes)?", tree)
    # Docker calls the content 0B where nobody knows it.
    sizes = sorted((short, size, {"0B": "-"}.get(of, of)) for short, size, of, _ in found)
    return sizes, {short for short, *_, mark in found if mark}


# ── Stores by chance ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_store_by_chance_is_the_same(engine: str, docker: list[str]) -> None:
    with (
        engines.folder() as folder,
        engines.start(engine, folder) as host,
        registry.serving() as source,
    ):
        store = Store(engine, host, folder)
        for number in range(STORES):
            chance = random.Random(number)
            store.fill(chance, source)
            dated = [image for image in store.images() if image["Created"] > 0]
            tags = [tag for image in dated for tag in image["RepoTags"] or ()]
            if any("@" in tag for tag in tags):
                # 26.1 calls a digest a tag on the containerd store, and docker shows no row for it.
                store.empty()
                continue
            anchor = chance.choice([tag for tag in tags if "<none>" not in tag])
            for question in (
                *([], ["-a"], ["--no-trunc"], [anchor], ["shop/*"]),
                *(["-f", "dangling=true"], ["-f", "dangling=false", "-a"]),
                *(["-f", "label=keep"], ["-f", "label=keep=yes", "-f", "reference=shop/*"]),
                *(["-f", f"before={anchor}"], ["-f", f"since={anchor}"]),
            ):
                the_rows_are_the_same(host, question, docker)
            for question in IDS:
                the_ids_are_the_same(host, question, docker)
            the_digests_are_the_same(host, DIGESTS, docker)
            the_tree_has_the_same_numbers(host, TREE, docker)
            store.empty()
