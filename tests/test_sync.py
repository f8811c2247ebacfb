"""docker_images.sync: one blocking call."""

import inspect
import os
import threading
import time

import pytest

from docker_images import DockerClient, DockerImagesError, EngineTimeoutError, sync
from docker_images.testing import FakeEngine, faults, image


def test_it_takes_the_engine_as_the_client_does_and_returns_the_same() -> None:
    blocking = inspect.signature(sync.list_images)
    asynchronous = inspect.signature(DockerClient.list_images)
    made = inspect.signature(DockerClient)
    for name in ("host", "context"):
        assert blocking.parameters[name] == made.parameters[name]
    assert blocking.return_annotation == asynchronous.return_annotation


KEYWORDS = [*inspect.signature(DockerClient.list_images).parameters][1:]


@pytest.mark.parametrize("argument", KEYWORDS)
def test_every_keyword_reaches_the_client(argument: str) -> None:
    refused = {argument: object()}
    with pytest.raises(TypeError, match=argument):
        sync.list_images("unix:///nowhere/engine.sock", **refused)  # type: ignore[arg-type]


def test_it_answers_as_the_client_does_and_leaves_nothing_behind() -> None:
    with FakeEngine([image("web:1", labels={"stage": "prod"}), image("web:2")]) as engine:
        sync.list_images(engine.host)
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        images = sync.list_images(engine.host, label={"stage": "prod"})
        assert [one.repo_tags for one in images] == [("web:1",)]
        with pytest.raises(DockerImagesError, match="/nowhere"):
            sync.list_images("unix:///nowhere/engine.sock")
        for _ in range(600):  # a thread that has answered takes a moment to end
            if threading.active_count() <= threads:
                break
            time.sleep(0.1)
        assert threading.active_count() <= threads
    assert len(os.listdir("/proc/self/fd")) <= files


def test_its_deadline_is_that_of_the_call() -> None:
    with FakeEngine([], faults=[faults.hang()]) as engine, pytest.raises(EngineTimeoutError):
        sync.list_images(engine.host, timeout=0.05)


@pytest.mark.anyio
async def test_inside_an_event_loop_it_blocks_and_answers() -> None:
    with FakeEngine([image("web:1")]) as engine:
        assert len(sync.list_images(engine.host)) == 1
