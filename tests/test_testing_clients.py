"""Clients that are not ours list from the fake: the docker command, docker-py, aiodocker."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from docker_images.testing import ENGINE_NAMES, FakeEngine, demo_images

TAGS = {
    "shop/web:2.4.1",
    "shop/web:latest",
    "registry.example.com:5000/shop/web:2.4.1",
    "shop/web:2.4.0",
    "alpine:3.20",
    "alpine:latest",
    "postgres:16",
    "localhost/tools/lint:dev",
    "registry.example.org:443/ml/train:cuda12",
    "demo/reproducible:1",
    "demo/undated:1",
    "demo/future:1",
    "demo/empty:scratch",
}


def familiar(name: str) -> str:
    return name.removeprefix("docker.io/").removeprefix("library/")


def docker(engine: FakeEngine, home: Path, *arguments: str) -> str:
    command = shutil.which("docker")
    if command is None:
        pytest.skip("the docker command is not installed")
    done = subprocess.run(
        [command, "-H", engine.host, *arguments],
        env={"HOME": str(home), "DOCKER_CONFIG": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_docker_images_shows_the_demo(name: str, tmp_path: Path) -> None:
    with FakeEngine(demo_images(), engine=name) as engine:
        listed = docker(engine, tmp_path, "images", "--format", "{{.Repository}}:{{.Tag}}")
        everything = docker(engine, tmp_path, "images", "-a", "-q", "--no-trunc")
    assert {familiar(line) for line in listed.splitlines()} >= TAGS
    assert len(set(everything.split())) == len(demo_images())


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_docker_images_filters_what_is_dangling(name: str, tmp_path: Path) -> None:
    with FakeEngine(demo_images(), engine=name) as engine:
        listed = docker(engine, tmp_path, "images", "--filter", "dangling=true", "--format", "json")
    rows = [json.loads(line) for line in listed.splitlines()]
    assert {row["Tag"] for row in rows} == {"<none>"}
    # Graph drivers count an image that only a digest names.
    graph = name.startswith("docker") and "containerd" not in name
    assert len(rows) == (2 if graph else 1)


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_docker_version_tells_the_engine(name: str, tmp_path: Path) -> None:
    with FakeEngine(engine=name) as engine:
        told = docker(engine, tmp_path, "version", "--format", "{{json .Server}}")
    kind, number = name.split()[:2]
    server = json.loads(told)
    assert server["Version"].startswith(number)
    assert server["Components"][0]["Name"] == {"docker": "Engine", "podman": "Podman Engine"}[kind]


@pytest.mark.parametrize("name", ENGINE_NAMES)
# docker-py leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_docker_py_lists_the_demo(name: str) -> None:
    docker_py = pytest.importorskip("docker", reason="docker-py is not installed")
    with FakeEngine(demo_images(), engine=name) as engine:
        client = docker_py.DockerClient(base_url=engine.host.replace("unix://", "unix:/"))
        try:
            rows = client.api.images()
            dangling = client.api.images(filters={"dangling": True})
        finally:
            client.close()
    assert {familiar(tag) for row in rows for tag in row["RepoTags"] or ()} >= TAGS
    assert 1 <= len(dangling) <= 2


@pytest.mark.parametrize("name", ENGINE_NAMES)
@pytest.mark.asyncio
async def test_aiodocker_lists_the_demo(name: str) -> None:
    aiodocker = pytest.importorskip("aiodocker", reason="aiodocker is not installed")
    async with (
        FakeEngine(demo_images(), engine=name) as engine,
        aiodocker.Docker(url=engine.host) as client,
    ):
        rows = await client.images.list()
    assert {familiar(tag) for row in rows for tag in row["RepoTags"] or ()} >= TAGS
