"""`logging.getLogger("docker_images")` tells what an operator asks about, and no secrets."""

import base64
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hostile import LIST, Peer, answering, docker, serving

from docker_images import DockerClient, DockerImagesError

pytestmark = pytest.mark.anyio


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    assert {record.name for record in caplog.records} <= {"docker_images"}
    return [(record.levelname, record.getMessage()) for record in caplog.records]


async def test_negotiation_is_told_once_and_again_when_the_engine_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "docker_images")
    with tempfile.TemporaryDirectory(prefix="di-") as folder:
        path = Path(folder) / "engine.sock"
        async with DockerClient(f"unix://{path}") as client:
            for version in ("1.41", "1.55"):
                with serving(docker(version), path=path):
                    for _ in range(3):
                        await client.list_images()
    at = f"unix://{path} (host=)"
    assert told(caplog) == [
        ("INFO", f"{at} speaks API 1.41; before: unknown"),
        ("INFO", f"{at} speaks API 1.55; before: 1.41"),
    ]


async def test_connecting_and_a_connection_that_died_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "docker_images")

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(LIST)
        peer.request()

    with serving(script) as server:
        async with DockerClient(server.host, api_version="1.55") as client:
            await client.list_images()
            caplog.clear()
            await client.list_images()
        at = f"{server.host} (host=)"
        assert told(caplog) == [
            ("DEBUG", f"{at} closed an idle connection"),
            ("DEBUG", f"connecting to {at}"),
        ]


async def test_a_warm_call_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answering(LIST)) as server:
        async with DockerClient(server.host) as client:
            await client.list_images()
            caplog.set_level("DEBUG")
            caplog.clear()
            await client.list_images()
            assert [record for record in caplog.records if record.name == "docker_images"] == []


async def test_no_secret_is_ever_logged_shown_or_raised(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    secret = "correct-horse-battery"
    auth = base64.b64encode(f"user:{secret}".encode()).decode()
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "HttpHeaders": {"X-Registry-Auth": secret, "Authorization": f"Bearer {secret}"},
                "auths": {"registry.example.com": {"auth": auth}},
            }
        )
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    shown: list[str] = []
    with serving(docker("1.41"), tcp=True) as server:
        async with DockerClient(server.host) as client:
            await client.list_images()
            shown += [repr(client), repr(client.endpoint), str(client.endpoint), repr(vars(client))]
            for question in ({"manifests": True}, {"filters": {"no": ["such"]}, "timeout": 0.001}):
                try:
                    await client.list_images(**question)  # type: ignore[arg-type]
                except DockerImagesError as error:
                    shown += [str(error), repr(error), repr(error.__cause__)]
        assert any(secret.encode() in request for request in server.requests), "it is sent"
    everything = "\n".join([*shown, caplog.text])
    assert secret not in everything
    assert auth not in everything


def test_importing_says_and_configures_nothing() -> None:
    code = (
        "import logging, docker_images; "
        "print(logging.root.handlers, logging.getLogger('docker_images').handlers, "
        "logging.getLogger('docker_images').level)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == (f"[] [] {logging.NOTSET}\n", "")
