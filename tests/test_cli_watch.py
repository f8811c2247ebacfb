"""`docker-images watch`: a line a change, and how it ends. A process each: it ends by signals."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime

import msgspec
import pytest
from command import run
from hostile import an_image

from docker_images import ImageSummary
from docker_images.cli.watch import for_programs
from docker_images.testing import FakeEngine, image
from docker_images.watch import ImagesUpdate


@contextmanager
def watching(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "docker_images", "watch", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_people_read_a_line_a_change() -> None:
    with FakeEngine([image("web:1")]) as engine, watching("-H", engine.host) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "watching 1 image of unix://" in process.stderr.readline()
        engine.images.add(image("db:1", size=7_800_000))
        assert process.stdout.readline().endswith("  db:1  7.8MB\n")
        engine.images.tag("db:1", "db:2")
        line = process.stdout.readline()
        assert "  ~  " in line
        assert line.endswith(" +db:2\n")
        engine.images.remove("db:1")
        assert "  -  " in process.stdout.readline()
        engine.stop()
        assert "  !  " in process.stdout.readline()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_programs_read_an_object_an_update_and_end_it(number: int, status: int) -> None:
    with FakeEngine([image("web:1")]) as engine, watching("-H", engine.host, "--jsonl") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert [one["RepoTags"] for one in first["images"]] == [["web:1"]]
        engine.images.add(image("db:1"))
        update = json.loads(process.stdout.readline())
        assert list(update) == ["at", "added", "removed", "changed", "tag_changes", "error"]
        assert update["tag_changes"] == {"db:1": [None, update["added"][0]["Id"]]}
        process.send_signal(number)
        assert process.wait(60) == status


def test_json_is_utf_8_whatever_the_locale() -> None:
    added = msgspec.convert(an_image(Labels={"x": "größe"}), ImageSummary)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with redirect_stdout(out):
        for_programs(ImagesUpdate(at=datetime.now(UTC), images=[], added=(added,)))

    assert isinstance(out.buffer, io.BytesIO)
    assert json.loads(out.buffer.getvalue())["added"][0]["Labels"] == {"x": "größe"}


def test_without_an_engine_it_says_so_as_the_list_does() -> None:
    done = run("watch", "-H", "unix:///nowhere/docker.sock")
    assert done.returncode == 1
    assert "no engine at unix:///nowhere/docker.sock" in done.stderr


def test_no_byte_of_an_engine_steers_a_terminal() -> None:
    with FakeEngine([]) as engine, watching("-H", engine.host) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()
        engine.images.add({"Id": "sha256:\x1b[31m", "RepoTags": ["a\x1b]0;b\x07:1"]})
        assert "\x1b" not in process.stdout.readline()
