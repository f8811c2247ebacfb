"""`docker-images check`: one line and a status, as monitoring plugins have them."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import run
from hostile import an_image, holding

from docker_images.testing import FakeEngine, image

DAY = 86_400
NOW = int(time.time())


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    images = [
        image(
            "shop/web:1",
            size=30_000_000_000,
            created=NOW - 3 * DAY,
            labels={"stage": "prod"},
            containers=2,
        ),
        image("shop/web:2", size=20_000_000_000, created=NOW - 9 * DAY),
        image(size=1_500_000_000, created=NOW - 5 * DAY),
        image("undated:1", size=0, created=None),
    ]
    with FakeEngine(images, "docker 28.5") as engine:
        yield engine.host


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 0, "IMAGES OK - 4 images, 1 dangling, 51.5GB"),
        (["--warning", "dangling>1"], 0, "IMAGES OK - 4 images, 1 dangling, 51.5GB"),
        (["--warning", "dangling>0"], 1, "IMAGES WARNING - dangling 1 > 0"),
        (["--critical", "size>50GB"], 2, "IMAGES CRITICAL - size 51.5GB > 50GB"),
        (["--critical", "size > 50gb"], 2, "IMAGES CRITICAL - size 51.5GB > 50gb"),
        (["--critical", "size>48GiB"], 0, "IMAGES OK - 4 images, 1 dangling, 51.5GB"),
        (["--critical", "dangling_size>1.4GB"], 2, "IMAGES CRITICAL - dangling_size 1.5GB > 1.4GB"),
        (["--critical", "images<5"], 2, "IMAGES CRITICAL - images 4 < 5"),
        (["--critical", "images<4"], 0, "IMAGES OK - 4 images, 1 dangling, 51.5GB"),
        (["--warning", f"size>{'9' * 400}"], 0, "IMAGES OK - 4 images, 1 dangling, 51.5GB"),
        (["--warning", "unused>2"], 1, "IMAGES WARNING - unused 3 > 2"),
        (["--warning", "unused_size>30GB"], 0, "IMAGES OK - 4 images, 1 dangling, 51.5GB"),
        (["--critical", "unused_size>20GB"], 2, "IMAGES CRITICAL - unused_size 21.5GB > 20GB"),
        (["--warning", "newest<4d"], 1, f"IMAGES WARNING - newest {3 * DAY}s < 4d"),
        (["--warning", "oldest>8d12h"], 1, f"IMAGES WARNING - oldest {9 * DAY}s > 8d12h"),
        (
            ["--warning", "images>1", "--warning", "dangling>0"],
            1,
            "IMAGES WARNING - images 4 > 1, dangling 1 > 0",
        ),
        (
            ["--warning", "images>1", "--critical", "dangling>0"],
            2,
            "IMAGES CRITICAL - dangling 1 > 0",
        ),
        (["--label", "stage=prod"], 0, "IMAGES OK - 1 image, 0 dangling, 30GB"),
        (
            ["--reference", "undated", "--critical", "newest>7d"],
            3,
            "IMAGES UNKNOWN - newest is not known",
        ),
    ],
)
def test_the_status_is_that_of_the_worst_threshold(
    host: str, arguments: list[str], status: int, text: str
) -> None:
    done = run("check", "-H", host, *arguments)

    said, bar, _ = done.stdout.partition(" | ")
    assert (done.returncode, bar, done.stderr) == (status, " | ", "")
    # A second or more may have passed.
    assert re.sub(r"\d+s\b", "N", said) == re.sub(r"\d+s\b", "N", text)
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (["--warning", "unused>9"], ["unused=3;9;;0", "unused_size=21500000000B;;;0"]),
        ([], ["images=4;;;0", "dangling=1;;;0", "size=51500000000B;;;0"]),
        (["--warning", "dangling>20"], ["dangling=1;20;;0"]),
        (["--critical", "images<1", "--critical", "images>100"], ["images=4;;1:100;0"]),
        (["--critical", "images<1"], ["images=4;;1:;0"]),
        (
            ["--warning", "size>50GB", "--critical", "size>1TB"],
            [
                "size=51500000000B;50000000000;1000000000000;0",
                "dangling_size=1500000000B;;;0",
            ],
        ),
    ],
)
def test_performance_data_have_the_ranges_of_good_values(
    host: str, arguments: list[str], data: list[str]
) -> None:
    found = run("check", "-H", host, *arguments).stdout.partition(" | ")[2].split()

    assert set(data) <= set(found)


@pytest.mark.parametrize("where", ["unix:///nowhere/engine.sock", "fd://x"])
def test_an_engine_that_cannot_be_asked_is_unknown(where: str) -> None:
    done = run("check", "-H", where)

    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("IMAGES UNKNOWN - ")
    assert where in done.stdout
    assert done.stdout.count("\n") == 1


def test_what_an_engine_says_is_no_performance_data() -> None:
    refusal = {"/images/json": (500, {"message": "on | fire\x1b[31m\n"})}
    with holding([an_image()], answers=refusal) as host:
        done = run("check", "-H", host)

        question_marks = run("check", "-H", host, encoding="ascii")

    assert done.returncode == question_marks.returncode == 3
    assert "answered 500: on / fire�[31m" in done.stdout
    assert "answered 500: on / fire?[31m" in question_marks.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--warning", "dangling"],
            "'dangling' is not a threshold; write NAME>LIMIT or NAME<LIMIT",
        ),
        (["--warning", "colour>1"], "where NAME is one of images, dangling, size"),
        (["--critical", "dangling>3GB"], "'3GB' is not a limit; write it as 20"),
        (["--critical", "size>lots"], "'lots' is not a limit; write it as 50GB"),
        (["--critical", f"newest>{'9' * 500}d"], "is longer than 999999999 days"),
        (["--critical", "newest>lots"], "'lots' is not an age; write it as 24h, 7d"),
        (["--label", "=x"], "--label needs a key"),
        (["-H", "unix:///a", "-H", "unix:///b"], "this takes one engine"),
        (["--wanring", "x"], "unrecognized arguments: --wanring"),
    ],
)
def test_a_command_line_that_cannot_work_is_unknown_too(arguments: list[str], words: str) -> None:
    done = run("check", *arguments)

    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr
