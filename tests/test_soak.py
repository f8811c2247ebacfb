"""Short runs of tests/soak.py and tests/watch_soak.py; the long ones are in docs/reliability.md."""

import os
import random
import signal
import subprocess
from collections import Counter
from threading import Timer

import anyio
import anyio.lowlevel
import pytest
import soak
import watch_soak

from docker_images import DockerClient, EngineConnectionError, ImageSummary

pytestmark = pytest.mark.anyio

NAMES = ("liar: lists", "real: lists", "liar: cancelled", "liar: EngineTimeoutError")
SECONDS = float(os.environ.get("DOCKER_IMAGES_SOAK", "5"))


def everything(tally: Counter[str]) -> bool:
    """Whether all that can happen did; a busy machine needs longer for it."""
    return all(tally[name] for name in NAMES)


@pytest.mark.slow
async def test_polling_through_faults_leaks_nothing_and_is_never_wrong(dockerd: str) -> None:
    result = await soak.soak(SECONDS, dockerd, seed=1, say=print, enough=everything)
    print(result)
    assert soak.bad(result) == []


@pytest.mark.slow
async def test_watching_through_faults_leaks_nothing_and_ends_right() -> None:
    result = await watch_soak.soaked(SECONDS, seed=1)
    print(result)
    assert result["right"]
    for name in ("descriptors", "sockets", "tasks"):
        assert result["after"][name] <= result["before"][name], name


async def test_its_clock_starts_when_the_engines_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    start = soak.start

    def start_late(*of: object) -> subprocess.Popen[bytes]:
        # As on a busy machine: nobody listens yet when all that was asked for has passed.
        process = start(*of)  # type: ignore[arg-type]
        process.send_signal(signal.SIGSTOP)
        Timer(0.3, process.send_signal, (signal.SIGCONT,)).start()
        return process

    monkeypatch.setattr(soak, "start", start_late)
    result = await soak.soak(0.1, None, seed=1, say=print, enough=Counter.total)
    assert result["tally"]
    assert not [text for text in result["said"].values() if "no such socket" in text]


async def test_its_tally_shows_what_the_last_error_of_each_kind_said() -> None:
    class Failing(DockerClient):
        async def list_images(self, **_: object) -> list[ImageSummary]:  # type: ignore[override]
            raise errors.pop() if errors else KeyError("the last")

    errors: list[Exception] = [KeyError("the first"), EngineConnectionError("it hung up")]
    tally: Counter[str] = Counter()
    said: dict[str, str] = {}
    async with anyio.create_task_group() as tasks:
        client = Failing("unix:///nowhere")
        tasks.start_soon(soak.agent, "x", client, bool, random.Random(1), tally, said)
        while tally["x: FOREIGN KeyError"] < 2:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert tally["x: EngineConnectionError"] == 1
    assert said == {"x: EngineConnectionError": "it hung up", "x: FOREIGN KeyError": "'the last'"}
    figures = soak.figures()
    result = {"before": figures, "after": figures, "tally": tally, "said": said}
    assert soak.bad(result) == ["x: FOREIGN KeyError: 'the last'"]
