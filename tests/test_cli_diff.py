"""`docker-images diff`: what changed since a list was kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from command import on_a_terminal, run
from hostile import an_image, holding

from docker_images.testing import FakeEngine, image

ONE, TWO, THREE = (f"sha256:{digit * 64}" for digit in "123")


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def keep(name: str, *images: dict[str, Any]) -> None:
    Path(name).write_text(json.dumps(images))


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        pytest.param(
            {ONE: ["a:1"]},
            {ONE: ["a:1"], TWO: ["b:1", "b:2"]},
            [["b:1", "added", "-", "2" * 12], ["b:2", "added", "-", "2" * 12]],
            id="an image is added",
        ),
        pytest.param(
            {ONE: ["a:1"], TWO: [], THREE: []},
            {ONE: ["a:1"]},
            [["<none>", "removed", "2" * 12, "-"], ["<none>", "removed", "3" * 12, "-"]],
            id="images are removed",
        ),
        pytest.param(
            {ONE: ["a:1"]},
            {ONE: [], TWO: ["a:1"]},
            [["a:1", "moved", "1" * 12, "2" * 12]],
            id="a new build takes the tag",
        ),
        pytest.param(
            {ONE: ["a:1"]},
            {TWO: ["a:1"]},
            [["a:1", "replaced", "1" * 12, "2" * 12]],
            id="a new build takes the tag, and the old one is removed",
        ),
        pytest.param(
            {ONE: ["a:1", "a:2"]},
            {ONE: ["a:1", "a:3"]},
            [["a:3", "tagged", "-", "1" * 12], ["a:2", "untagged", "1" * 12, "-"]],
            id="a tag is added, another one removed",
        ),
    ],
)
def test_each_change_has_a_row_and_the_status_is_1(
    before: dict[str, list[str]], after: dict[str, list[str]], rows: list[list[str]]
) -> None:
    for name, held in (("before.json", before), ("after.json", after)):
        keep(name, *(an_image(Id=id_, RepoTags=tags) for id_, tags in held.items()))

    done = run("diff", "before.json", "after.json")

    assert (done.returncode, done.stderr) == (1, "")
    title, *lines = [line.split() for line in done.stdout.splitlines()]
    assert title == ["IMAGE", "CHANGE", "BEFORE", "AFTER"]
    assert sorted(lines) == sorted(rows)


@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_nothing_changed_is_status_0_without_a_word(form: str) -> None:
    with holding([an_image(RepoTags=["a:1"]), an_image(Id=TWO)]) as host:
        Path("kept").write_text(run("-H", host, form).stdout)
        done = run("diff", "kept", "-H", host)

    assert done == (0, "", "")


def test_a_kept_list_is_compared_with_the_engine() -> None:
    keep("kept.json", an_image(Id=ONE, RepoTags=["a:1"]))
    with holding([an_image(Id=TWO, RepoTags=["a:1"], Labels={"x": "\x1b[2J"})]) as host:
        done = run("diff", "kept.json", "-H", host, "--json")

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout[:-1].isprintable()
    changes = json.loads(done.stdout)
    assert [image["Id"] for image in changes["added"]] == [TWO]
    assert [image["Id"] for image in changes["removed"]] == [ONE]
    assert changes["tag_changes"] == {"a:1": [ONE, TWO]}


def test_the_engine_is_asked_for_what_the_options_say_and_the_files_are_no_part_of_it() -> None:
    held = [image("a:1", created=3000), image("b:1", created=2000), image("c:1", created=1000)]
    with FakeEngine(held) as engine:
        Path("kept").write_text(run("-H", engine.host, "--json").stdout)
        assert run("diff", "kept", "-H", engine.host) == (0, "", "")
        done = run("diff", "kept", "-H", engine.host, "--before", "b:1", "--json")

    changes = json.loads(done.stdout)
    assert [name for gone in changes["removed"] for name in gone["RepoTags"]] == ["a:1", "b:1"]


def test_no_kept_byte_steers_a_terminal() -> None:
    hostile = "\x1b]0;x\x07\x9b1m\r\n\u202e"
    keep("a", an_image(Id=f"sha256:{hostile}", RepoTags=[f"{hostile}:1"]))
    keep("b")

    shown = on_a_terminal("diff", "a", "b", columns=80, NO_COLOR="1").stdout

    assert all(char.isprintable() or char == "\n" for char in shown)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read kept: No such file or directory"),
        ("hello", "kept does not contain a list of images: "),
        ('[{"Id": 1}]', "kept does not contain a list of images: "),
        ("[" * 100_000, "kept does not contain a list of images: "),
        ('{"message": "no"}', "create one with docker-images --json > kept"),
    ],
)
def test_what_is_no_list_is_trouble(content: str | None, words: str) -> None:
    if content is not None:
        Path("kept").write_text(content)

    done = run("diff", "kept", "kept")

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_an_engine_that_cannot_be_asked_is_trouble() -> None:
    keep("kept")

    done = run("diff", "kept", "-H", "unix:///nowhere/engine.sock")

    assert done.returncode == 2
    assert "no engine at unix:///nowhere/engine.sock" in done.stderr
