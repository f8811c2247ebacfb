"""No file, process or name is touched in the event loop: BlockBuster looks on (asyncio only)."""

import hashlib
import json
import os
import shutil
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from blockbuster import BlockingError, blockbuster_ctx
from hostile import answer, answering, serving
from sshd import start_sshd
from test_proxied import Socks, over_tls, passing_to, url_of

from docker_images import DockerClient, DockerImagesError, EngineConnectionError
from docker_images.testing import FakeEngine, image

pytestmark = pytest.mark.anyio

LIST = answer(b"[]")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a configuration that has everything to read."""
    folder = tmp_path / "home/.docker"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"HttpHeaders": {"X-Team": "blue"}}')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return folder


async def listed(**arguments: str) -> int:
    """List twice, with a kept connection as well, while BlockBuster looks on."""
    with blockbuster_ctx():
        async with DockerClient(**arguments) as client:  # type: ignore[arg-type]
            await client.list_images()
            return len(await client.list_images())


async def test_blockbuster_sees_what_blocks(home: Path) -> None:
    with blockbuster_ctx(), pytest.raises(BlockingError):
        (home / "config.json").read_text()


async def test_the_endpoint_is_read_in_place_before_the_first_call_only() -> None:
    with FakeEngine() as engine, blockbuster_ctx():
        with pytest.raises(BlockingError):
            DockerClient().endpoint  # noqa: B018
        async with DockerClient(engine.host) as client:
            await client.list_images()
            assert client.endpoint.host == engine.host


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
async def test_a_socket_or_an_address(tcp: bool) -> None:
    with FakeEngine([image("web:1")], tcp=tcp) as engine:
        assert await listed(host=engine.host) == 1


async def test_a_name_that_is_looked_up() -> None:
    with FakeEngine([image("web:1")], tcp=True) as engine:
        assert await listed(host=engine.host.replace("127.0.0.1", "localhost")) == 1


async def test_a_context(home: Path) -> None:
    with FakeEngine([image("web:1")]) as engine:
        folder = home / "contexts/meta" / hashlib.sha256(b"fake").hexdigest()
        folder.mkdir(parents=True)
        endpoints = {"docker": {"Host": engine.host, "SkipTLSVerify": False}}
        (folder / "meta.json").write_text(json.dumps({"Name": "fake", "Endpoints": endpoints}))
        assert await listed(context="fake") == 1


async def test_a_default_socket_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its error looks for other engines on this machine.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(EngineConnectionError, match="no engine at"):
        await listed()


async def test_a_watch_and_a_ping() -> None:
    with FakeEngine([image("web:1")]) as engine, blockbuster_ctx():
        async with DockerClient(engine.host) as client:
            await client.ping()
            async with client.watch_images() as watch:
                assert len(watch.images) == 1


@pytest.mark.parametrize("what", ["refused", "a loop", "a file", "no ssh", "no context"])
async def test_an_error_that_looks_around(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = {
        "refused": {"host": f"tcp://127.0.0.1:{port}"},
        "a loop": {"host": f"unix://{tmp_path}/loop"},
        "a file": {"host": f"unix://{tmp_path}/file"},
        "no ssh": {"host": "ssh://host"},
        "no context": {"context": "nowhere"},
    }
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerImagesError):
        await listed(**arguments[what])


@pytest.fixture
def secure(home: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What an engine shows, and an environment that trusts it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(home / "ca.pem"))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", "engine.test").configure_cert(context)
    return context


async def test_tls_by_the_environment(
    secure: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(over_tls(answering(LIST), secure), tcp=True) as server:
        monkeypatch.setenv("DOCKER_HOST", url_of(server).replace("http", "tcp"))
        assert await listed() == 0


async def test_a_proxy_and_tls_behind_it(
    secure: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(over_tls(answering(LIST), secure), tcp=True) as engine,
        serving(passing_to(engine), tcp=True) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
        assert await listed(host="tcp://engine.test:2376") == 0


@pytest.mark.parametrize("scheme", ["https", "socks5"])
@pytest.mark.parametrize("engine", ["engine.test:2375", "engine.test:2376"], ids=["plain", "TLS"])
async def test_a_proxy_with_tls_or_of_another_kind(
    scheme: str, engine: str, secure: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = engine.endswith("2375")
    if plain:
        monkeypatch.delenv("DOCKER_TLS_VERIFY")
    # A proxy with TLS is trusted as the engine is, so a plain one's by the system's store.
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(os.environ["HOME"], ".docker/ca.pem")))
    script = answering(LIST) if plain else over_tls(answering(LIST), secure)
    with (
        serving(script, tcp=True) as behind,
        serving(
            Socks(behind) if scheme == "socks5" else passing_to(behind, secure), tcp=True
        ) as proxy,
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, url_of(proxy).replace("http", scheme))
        assert await listed(host=f"tcp://{engine}") == 0
        assert proxy.connections == 1


async def test_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        FakeEngine([image("web:1")]) as engine,
        start_sshd(tmp_path, engine.host) as server,
    ):
        script = tmp_path / "bin/ssh"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {server.command()[2]} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        assert await listed(host=f"ssh://root@127.0.0.1:{server.port}") == 1
