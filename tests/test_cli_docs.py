"""docs/cli.md to the letter: each block is what the command prints."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import on_a_terminal, run
from test_cli_metrics import exporting

from docker_images.cli.arguments import COMMANDS
from docker_images.testing import FakeEngine, image

PAGE = Path(__file__).parent.parent / "docs/cli.md"
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
EXAMPLES = [
    (line.strip(), printed)
    for block in BLOCKS
    for line, printed in re.findall(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monday = json.loads(run("--demo", "--json").stdout)
    Path("monday.json").write_text(json.dumps(monday))
    Path("tuesday.json").write_text(json.dumps(tuesday(monday)))
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="di") as folder:
        monkeypatch.setenv("HOME", folder)
        yield folder


def printed_by(line: str) -> str:
    line, _, file = line.partition(" > ")
    command, _, filter_ = line.partition(" | ")
    *settings, arguments = re.split(r"docker-images ", command)
    words = shlex.split(arguments)
    if settings != [""]:
        columns = int(settings[0].partition("=")[2])
        return on_a_terminal(*words, columns=columns, NO_COLOR="1").stdout
    done = run(*words)
    if file:
        Path(file).write_text(done.stdout)
        return ""
    if not filter_:
        return done.stdout
    if not shutil.which(shlex.split(filter_)[0]):
        pytest.skip(f"{filter_} is not installed")
    return subprocess.run(
        shlex.split(filter_), input=done.stdout, capture_output=True, text=True, check=True
    ).stdout


def tuesday(monday: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The list of the demo a day later."""
    kept = [one for one in monday if "alpine:3.20" not in one["RepoTags"]]
    for one in kept:
        if "shop/web:latest" in one["RepoTags"]:
            one["RepoTags"].remove("shop/web:latest")
        elif "shop/web:2.4.0" in one["RepoTags"]:
            one["RepoTags"].append("shop/web:latest")
    return [*kept, {"Id": "sha256:2f7c1f0a4b5d" + "0" * 52, "RepoTags": ["postgres:17"]}]


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        pytest.param(*one, id=one[0])
        for one in EXAMPLES
        if not any(word in one[0] for word in ("doctor", "exporter", "curl"))
    ],
)
def test_an_example_is_what_the_command_prints(line: str, printed: str) -> None:
    # The newest image was made an hour ago, or an hour and a second.
    clock = r"(?<=newest=)\d+|(?<=oldest=)\d+"
    clock += r"""|(?<=_seconds\{engine="demo"\} )\S+|(?<=_seconds_sum\{engine="demo"\} )\S+"""
    said = re.sub(clock, "N", printed_by(line))
    said = re.sub(r"e\+0(?=\d\d$)", "e+", said, flags=re.MULTILINE)  # prometheus_client up to 0.24
    assert said == re.sub(clock, "N", printed)


def test_doctor_prints_what_the_page_shows(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    ((_, printed),) = [example for example in EXAMPLES if "doctor" in example[0]]
    monkeypatch.setenv("DOCKER_CONTEXT", "colima")
    name = hashlib.sha256(b"colima").hexdigest()
    meta = Path(home) / ".docker/contexts/meta" / name / "meta.json"
    meta.parent.mkdir(parents=True)
    context = {"Name": "colima", "Endpoints": {"docker": {"Host": "ssh://colima.example"}}}
    meta.write_text(json.dumps(context))
    with FakeEngine([image("a:1"), image("b:1")], "docker 28.5") as engine:
        host = engine.host
        monkeypatch.setenv("DOCKER_HOST", host)
        done = run("doctor")
    text = done.stdout.replace(host, "unix:///run/user/1000/docker.sock")
    lines = text.replace(home, "/home/me").splitlines()
    # Other engines of this machine are its own business.
    lines = [line for line in lines if "other engine" not in line or "colima" in line]
    assert lines == printed.splitlines()


def test_the_exporter_serves_what_the_page_shows(home: str) -> None:
    (line, said), (_, printed) = [one for one in EXAMPLES if "exporter" in one[0]] + [
        one for one in EXAMPLES if "curl" in one[0]
    ]
    assert line == "docker-images exporter -H unix:///run/user/1000/docker.sock -c prod-1 &"
    meta = Path(home) / ".docker/contexts/meta" / hashlib.sha256(b"prod-1").hexdigest()
    meta.mkdir(parents=True)
    context = {"Name": "prod-1", "Endpoints": {"docker": {"Host": "unix:///nowhere.sock"}}}
    (meta / "meta.json").write_text(json.dumps(context))
    with FakeEngine([image("a:1")]) as engine, exporting("-H", engine.host, "-c", "prod-1") as it:
        it.until(lambda series: series["docker_images_up", (engine.host,)] == 1)
        assert it.said[0].replace(it.url, "http://127.0.0.1:19587") == said
        lines = [one for one in it.ask()[1].splitlines() if one.startswith("docker_images_up")]
        text = "\n".join(lines).replace(engine.host, "unix:///run/user/1000/docker.sock")
    assert text + "\n" == printed


def test_every_option_is_on_the_page() -> None:
    page = PAGE.read_text()
    helps = [run(name, "--help").stdout for name in COMMANDS]
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(helps)))

    assert {option for option in options if option not in page} <= {"--help", "--version"}
