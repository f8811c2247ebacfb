"""`docker-images plan`: which images may go, and why."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import run

from docker_images.testing import FakeEngine, image

DAY = 86_400
NOW = int(time.time())
ENGINES = ["docker 20.10", "docker 26.1 containerd", "docker 28.5", "podman 5.4"]


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[FakeEngine]:
    images = [
        image("ghcr.io/shop/web:1", created=NOW - 30 * DAY, size=10),
        image("ghcr.io/shop/web:2", created=NOW - 20 * DAY, size=20, containers=1),
        image("ghcr.io/shop/web:3", created=NOW - 10 * DAY, size=30, labels={"keep": "yes"}),
        image("ghcr.io/shop/web:4", "ghcr.io/shop/web:stable", created=NOW - 5 * DAY, size=40),
        image("ghcr.io/shop/web:5", created=NOW - 2 * DAY, size=50),
    ]
    with FakeEngine(images, request.param) as engine:
        yield engine


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        ("--keep-latest 1", "1 3 4 stable"),
        ("--keep-latest 1 --keep-label keep", "1 4 stable"),
        ("--keep-latest 1 --keep-reference ghcr.io/*/*:stable", "1 3 4"),
        ("--older-than 7d", "1 3"),
        pytest.param(f"--older-than {NOW - 7 * DAY}", "1 3", id="older than a moment"),
        ("--only-reference ghcr.io/shop/web:[15] --older-than 1d", "1 5"),
        ("--dangling-only", ""),
    ],
)
def test_names_are_what_docker_takes(engine: FakeEngine, policy: str, names: str) -> None:
    done = run("plan", "-H", engine.host, *policy.split(), "--names")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == {f"ghcr.io/shop/web:{tag}" for tag in names.split()}


def test_people_see_every_image_and_why(engine: FakeEngine) -> None:
    done = run("plan", "-H", engine.host, "--older-than", "7d", "--keep-label", "keep")
    lines = [line.split(None, 3) for line in done.stdout.splitlines()]
    assert lines[0][0] == "IMAGE"
    told = {line[0].rpartition(":")[2]: (line[2], line[3]) for line in lines[1:-1]}
    assert told["1"] == ("remove", "it is old enough".ljust(len(told["1"][1]) - 3) + "10B")
    assert [told[tag][0] for tag in ("2", "3", "4", "5")] == ["keep"] * 4
    text = " ".join(lines[-1])
    if "20.10" in repr(engine) or "podman" in repr(engine):  # what is shared they do not tell
        assert text == "frees at most 10B"
    elif "containerd" in repr(engine):  # 26.1: nor what there is
        assert text == "frees about 10B"
    else:
        assert text == "frees 10B"


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (["--dangling-only"], "nothing to remove"),
        (["--only-reference", "ghcr.io/*/*:stable"], "frees nothing: only names are removed"),
        (["--keep-latest", "3"], "frees 10B"),
        (["--older-than", "3d"], "frees 40B to 80B"),
    ],
)
def test_the_last_line_says_what_comes_of_it(policy: list[str], line: str) -> None:
    images = [
        image("shop/web:4", created=NOW - 2 * DAY, size=40),
        image(
            "shop/web:3", "ghcr.io/shop/web:stable", created=NOW - 5 * DAY, size=50, shared_size=40
        ),
        image("shop/web:2", created=NOW - 6 * DAY, size=20, shared_size=0),
        image("shop/web:1", created=NOW - 7 * DAY, size=10, shared_size=0),
    ]
    with FakeEngine(images, "docker 28.5") as engine:
        done = run("plan", "-H", engine.host, *policy)
    assert done.stdout.splitlines()[-1] == line


def test_programs_get_one_object(engine: FakeEngine) -> None:
    done = run("plan", "-H", engine.host, "--keep-latest", "2", "--json")
    plan = json.loads(done.stdout)
    assert {one["reason"] for one in plan["remove"]} == {"superseded"}
    assert {one["reason"] for one in plan["keep"]} == {"in-use", "latest"}
    # 26.1 counts less than there is.
    assert plan["frees_at_most"] == (None if "26.1" in repr(engine) else 40)


def test_labels_are_asked_about_only_where_a_list_may_not_show_them(engine: FakeEngine) -> None:
    run("plan", "-H", engine.host, "--older-than", "1d", "--keep-label", "keep")
    asked = sum("filters" in request.query for request in engine.requests)
    assert asked == ("containerd" in repr(engine))


@pytest.fixture
def another() -> Iterator[FakeEngine]:
    with FakeEngine([image("db:1", created=NOW - 30 * DAY, size=7)]) as engine:
        yield engine


def test_several_engines_have_a_plan_each(engine: FakeEngine, another: FakeEngine) -> None:
    words = ["plan", "-H", engine.host, "-H", another.host, "--only-reference", "*"]
    words += ["--older-than", "7d"]
    done = run(*words)
    lines = [re.split(r" {3,}", line) for line in done.stdout.splitlines()]
    assert (done.returncode, lines[0][-1]) == (0, "ENGINE")
    assert [line[0] for line in lines if line[-1] == another.host] == ["db:1"]
    assert len([line for line in lines if line[-1] == engine.host]) == 6
    plans = json.loads(run(*words, "--json").stdout)
    assert [one["engine"] for one in plans] == [engine.host, another.host]
    assert [len(one["remove"]) for one in plans] == [0, 1]


def test_one_of_several_engines_may_fail(another: FakeEngine) -> None:
    words = ["plan", "-H", "unix:///nowhere.sock", "-H", another.host, "--older-than", "7d"]
    for form in [], ["--json"]:
        done = run(*words, *form)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "/nowhere.sock" in done.stderr
        assert "db:1" in done.stdout


def test_without_any_of_several_engines_there_are_no_plans() -> None:
    words = ["plan", "-H", "unix:///nowhere.sock", "-H", "unix:///other.sock", "--dangling-only"]
    assert json.loads(run(*words, "--json").stdout) == []
    done = run(*words)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)


def test_names_are_of_one_engine_as_docker_rmi_talks_to_one(another: FakeEngine) -> None:
    words = ["plan", "-H", another.host, "--dangling-only", "--names"]
    done = run(*words, "-H", "unix:///nowhere.sock")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--names takes one engine" in done.stderr
    assert run(*words, "-H", another.host).returncode == 0


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (["--keep-reference", "ghcr.io/shop/wbe"], "--keep-reference 'ghcr.io/shop/wbe'"),
        (["--keep-label", "kep=yes"], "--keep-label 'kep=yes'"),
        (["--only-reference", "web"], "--only-reference 'web'"),
        (["--keep-reference", "db"], ""),
    ],
)
def test_what_matches_nothing_is_a_warning(
    another: FakeEngine, policy: list[str], told: str
) -> None:
    with FakeEngine([image("shop/api:1")]) as engine:
        words = ["plan", "-H", engine.host, "-H", another.host, "--older-than", "7d"]
        done = run(*words, *policy)
    warning = f"docker-images: warning: {told} matches no image\n" if told else ""
    assert (done.returncode, done.stderr) == (0, warning)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "nothing says which images can be removed; give --keep-latest"),
        (["--keep-label", "a"], "nothing says which images can be removed"),
        (["--keep-latest", "0"], "--keep-latest must be 1 or more"),
        (["--older-than", "soon"], "--older-than"),
        (["--only-reference", "["], "--only-reference has a bad pattern"),
        (["--dangling-only", "--names", "--json"], "not allowed with"),
    ],
)
def test_a_policy_that_is_none_is_refused_before_anybody_is_asked(
    arguments: list[str], text: str
) -> None:
    done = run("plan", "-H", "unix:///nowhere.sock", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr


def test_without_an_engine_nothing_is_planned() -> None:
    done = run("plan", "-H", "unix:///nowhere.sock", "--dangling-only", "--names")
    assert (done.returncode, done.stdout) == (1, "")
