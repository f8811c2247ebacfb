"""docker_images.fleet: many engines at once."""

import os
from typing import Any

import anyio
import httpx
import pytest

from docker_images import (
    DockerClient,
    DockerImagesError,
    EngineConnectionError,
    EngineTimeoutError,
    gather_images,
)
from docker_images.testing import FakeEngine, faults, image

pytestmark = pytest.mark.anyio


async def test_no_engine_has_no_answer() -> None:
    assert await gather_images({}) == {}


async def test_the_dead_and_the_slow_among_200_engines_are_entries_and_nothing_leaks() -> None:
    files = len(os.listdir("/proc/self/fd"))
    async with (
        FakeEngine([image("web:1")]) as alive,
        FakeEngine([], faults=[faults.hang()]) as silent,
    ):
        clients: dict[int, DockerClient] = {}
        for number in range(200):
            if number % 10 == 0:
                clients[number] = DockerClient(f"unix:///nowhere/{number}.sock")
            elif number % 10 == 1:
                clients[number] = DockerClient(silent.host, timeout=0.05)
            else:
                clients[number] = DockerClient(alive.host)
        answers = await gather_images(clients, reference="web")
        for client in clients.values():
            await client.aclose()
    assert [*answers] == [*clients]
    for number, answer in answers.items():
        if number % 10 == 0:
            assert isinstance(answer, EngineConnectionError)
            assert f"/nowhere/{number}.sock" in str(answer)
        elif number % 10 == 1:
            assert isinstance(answer, EngineTimeoutError)
        else:
            assert not isinstance(answer, DockerImagesError)
            assert [one.repo_tags for one in answer] == [("web:1",)]
    assert len(os.listdir("/proc/self/fd")) <= files


class Barrier:
    """Answers nobody before everybody has asked: an engine after the other would wait forever."""

    def __init__(self, parties: int) -> None:
        self.missing = parties
        self.all_here = anyio.Event()
        self.ended = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.missing -= 1
        if not self.missing:
            self.all_here.set()
        try:
            await self.all_here.wait()
        finally:
            self.ended += 1
        return httpx.Response(200, json=[], headers={"Api-Version": "1.47"}, request=request)


async def test_all_are_asked_at_once_so_that_all_deadlines_are_one() -> None:
    barrier = Barrier(200)
    clients = {n: DockerClient(transport=barrier) for n in range(200)}  # type: ignore[arg-type]
    assert await gather_images(clients, timeout=None) == {key: [] for key in clients}


async def test_an_iterator_is_the_same_question_for_each() -> None:
    async with FakeEngine([image("web:1", labels={"a": ""}), image("web:2")]) as engine:
        clients = {name: DockerClient(engine.host) for name in ("one", "two")}
        for answer in (
            await gather_images(clients, label=iter(["a"])),
            await gather_images(clients, filters={"label": iter(["a"])}),
        ):
            tags = [[one.repo_tags for one in images] for images in answer.values()]  # type: ignore[union-attr]
            assert tags == [[("web:1",)]] * 2
        for client in clients.values():
            await client.aclose()


@pytest.mark.parametrize(
    ("question", "error"),
    [({"label": 1}, TypeError), ({"reference": "["}, ValueError), ({"nothing": 1}, TypeError)],
)
async def test_a_bug_in_the_program_is_raised_as_it_is(
    question: dict[str, object], error: type[Exception]
) -> None:
    clients = {name: DockerClient("unix:///nowhere/engine.sock") for name in ("one", "two")}
    with pytest.raises(error) as caught:
        await gather_images(clients, **question)  # type: ignore[arg-type]
    assert not isinstance(caught.value, DockerImagesError)


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ({"b": "unix:///x.sock"}, "clients= takes a mapping of DockerClient objects, not str"),
        ({"b": None}, "clients= takes a mapping of DockerClient objects, not NoneType"),
        ([], "clients= takes a mapping of DockerClient objects, not list"),
    ],
)
async def test_what_is_no_client_is_refused_before_anybody_is_asked(second: Any, text: str) -> None:
    async with FakeEngine() as engine, DockerClient(engine.host) as client:
        clients = {"a": client, **second} if isinstance(second, dict) else [client]
        with pytest.raises(TypeError, match=text):
            await gather_images(clients)  # type: ignore[arg-type]
        assert engine.requests == []


async def test_a_bug_ends_the_calls_that_are_under_way() -> None:
    closed = DockerClient("unix:///nowhere/engine.sock")
    await closed.aclose()
    barrier = Barrier(2)  # whom only one asks
    waiting = DockerClient(transport=barrier)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="closed"):
        await gather_images({"waiting": waiting, "closed": closed}, timeout=None)
    assert barrier.ended == 2 - barrier.missing  # who had asked was ended
