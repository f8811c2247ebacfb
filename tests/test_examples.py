"""What stands in examples/ runs, with the embedded engine and, where that is cheap, a real one."""

import ast
import asyncio
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engines
import httpx
import pytest

from docker_images import sync
from docker_images.testing import FakeEngine, faults, image

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
DAY = 86_400


def run(
    name: str, *arguments: str, host: str, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", f"examples/{name}", *arguments],
        env={**os.environ, "DOCKER_HOST": host, "PYTHONPATH": str(ROOT)}
        | ({"PATH": path} if path else {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["fake", "dockerd"])
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != "fake":
        yield request.getfixturevalue(request.param)
        return
    with FakeEngine([image("web:1"), image(size=3_000_000, created=None), image(size=2)]) as engine:
        yield engine.host


@pytest.mark.slow
def test_all_of_them_are_typed() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "examples"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in EXAMPLES.glob("*.*"):
        assert f"examples/{path.name}" in readme


def test_the_report_of_dangling_images(host: str) -> None:
    dangling = sync.list_images(host, dangling=True)
    done = run("dangling_report.py", host=host)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1 if dangling else 0, "")
    assert len(lines) == len(dangling) + 1
    assert lines[-1].startswith(f"{len(dangling)} dangling images")
    assert run("dangling_report.py", host="unix:///nowhere.sock").returncode == 2


def versions(present: float) -> list[dict[str, Any]]:
    """Four versions, the newest last; the first has a label that is kept."""
    return [
        {
            "tags": [f"shop/web:{number}"],
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(present - days * DAY)),
            "labels": {"keep": "yes"} if number == 1 else {},
            "layer": f"version {number}",
        }
        for number, days in enumerate((40, 30, 20, 10), 1)
    ]


def test_the_cleanup_in_ci_removes_only_when_told_and_what_was_shown(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    docker.chmod(0o755)
    present = time.time()
    images = [
        image(f"shop/web:{number}", created=int(present - days * DAY))
        for number, days in enumerate((40, 30, 20, 10), 1)
    ]
    with FakeEngine(images) as engine:
        path = f"{tmp_path}:{os.environ['PATH']}"
        shown = run("cleanup_in_ci.py", host=engine.host, path=path)
        assert not (tmp_path / "called").exists()
        done = run("cleanup_in_ci.py", "--remove", host=engine.host, path=path)
    assert sorted(shown.stdout.splitlines()[:2]) == [
        f"remove shop/web:{number} - its repository has enough newer images" for number in (1, 2)
    ]
    assert "no image matches keep_reference='ci/*'" in shown.stderr
    assert (done.returncode, done.stdout) == (0, shown.stdout)
    words = (tmp_path / "called").read_text().split()
    assert (words[:2], sorted(words[2:])) == (["rmi", "--no-prune"], ["shop/web:1", "shop/web:2"])


@pytest.mark.parametrize("name", ["docker 20.10", "docker 28.5 containerd", "podman 5.4"])
def test_docker_removes_exactly_what_was_shown(name: str) -> None:
    if shutil.which("docker") is None:
        pytest.skip("the docker command is not here")
    with engines.folder() as folder, engines.start(name, folder) as host:
        engines.load(host, versions(time.time()))

        def tags() -> list[str]:
            tags = (tag for one in sync.list_images(host) for tag in one.repo_tags)
            return sorted(tag.removeprefix("localhost/") for tag in tags)

        done = run("cleanup_in_ci.py", "--remove", host=host)
        assert (done.returncode, tags()) == (0, ["shop/web:1", "shop/web:3", "shop/web:4"])

        # The same in one line, as the docs have it.
        plan = f"{sys.executable} -m docker_images plan --older-than 15d --keep-label keep --names"
        pipe = f"{plan} | xargs -r docker rmi --no-prune"
        environment = {**os.environ, "DOCKER_HOST": host, "PYTHONPATH": str(ROOT)}
        for _ in range(2):  # the second time there is nothing to remove
            subprocess.run(["sh", "-c", pipe], env=environment, check=True, capture_output=True)
            assert tags() == ["shop/web:1", "shop/web:4"]


def test_several_hosts_are_compared(host: str) -> None:
    with FakeEngine([image("web:1", size=4_000_000)]) as one, FakeEngine([image("web:1")]) as two:
        hosts = [one.host, "unix:///nowhere.sock", two.host, host]
        done = run("several_hosts.py", *hosts, host=host)
    assert done.returncode == 1
    assert "unix:///nowhere.sock: no-socket: " in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{hosts[0]}: 1 images, 4.0 MB"
    assert lines[2].startswith(f"{host}: ")
    (differs,) = [line for line in lines if line.startswith("web:1 ")]
    assert f" {hosts[0]}=" in differs
    assert f" {hosts[2]}=" in differs


# ── A FastAPI application ───────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_application_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    app = runpy.run_path(str(EXAMPLES / "fastapi_app.py"))["app"]
    held = image("shop/web:1", size=5, created=0)
    with FakeEngine([held, image("db:1")]) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as web,
        ):
            answer = await web.get("/images", params={"reference": "shop/*"})
            statuses = [answer.status_code, (await web.get("/images?reference=[")).status_code]
            engine.faults.append(faults.error(500, "no"))
            statuses.append((await web.get("/images")).status_code)
            engine.stop()
            gone = await web.get("/images")
    id_ = held.id.removeprefix("sha256:")[:12]
    assert answer.json() == [
        {"id": id_, "tags": ["shop/web:1"], "bytes": 5, "created_at": None, "in_use": False}
    ]
    assert statuses == [200, 400, 502]
    assert (gone.status_code, gone.json()["reason"]) == (503, "no-socket")


# ── An agent ────────────────────────────────────────────────────────────────────────────────────


def test_the_agent_tells_of_each_change_until_it_is_ended() -> None:
    with FakeEngine([image("web:1")]) as engine:
        agent = subprocess.Popen(
            [sys.executable, "-W", "error", "examples/agent.py"],
            env={**os.environ, "DOCKER_HOST": engine.host, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        with agent:
            assert agent.stdout is not None
            told = [json.loads(agent.stdout.readline())]
            engine.images.add(image("web:2"))
            told.append(json.loads(agent.stdout.readline()))
            agent.send_signal(signal.SIGTERM)
            told += map(json.loads, agent.stdout)
    assert agent.returncode == 0
    assert [one["event"] for one in told] == ["started", "tag", "ended"]
    assert (told[0]["images"], told[1]["tag"], told[1]["before"]) == (1, "web:2", None)
    assert run("agent.py", host="unix:///nowhere.sock").returncode == 1


# ── A notebook ──────────────────────────────────────────────────────────────────────────────────


def test_the_notebook_runs(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    cells = json.loads((EXAMPLES / "images.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in cells), "outputs are of one machine"

    async def execute() -> dict[str, Any]:
        names: dict[str, Any] = {}
        for source in sources:  # as IPython compiles a cell
            code = compile(source, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            ended = eval(code, names)
            if ended is not None:
                await ended
        return names

    names = asyncio.run(execute())
    assert len(names["images"]) == len(sync.list_images(host))
    assert not names["changes"]
