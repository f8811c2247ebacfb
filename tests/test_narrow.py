"""A narrow question has the same answer as a wide one, and asks an engine for less.

What an engine's filters let through is proved by random stores: in fake engines here, in live ones
at the end.
"""

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import anyio
import engines
import httpx
import pytest
from facts import fact
from hostile import until

from docker_images import (
    DockerClient,
    DockerImagesError,
    EngineConnectionError,
    EngineTimeoutError,
    ImageSummary,
    ResponseFormatError,
    resolve_endpoint,
)
from docker_images.engine.questions import MAX_LOOKUPS, RULES, narrow_filters
from docker_images.engine.versions import ApiVersion
from docker_images.query import build_query
from docker_images.testing import FakeEngine, faults, image
from docker_images.transport import EngineTransport

pytestmark = pytest.mark.anyio

CONTAINERD = "docker 29 containerd"


def paths(engine: FakeEngine) -> list[str]:
    """What was asked of an engine, without ids."""
    return [
        "/images/{id}/json" if request.path.startswith("/images/sha256:") else request.path
        for request in engine.requests
    ]


# What is asked of the containerd store, by the row of `RULES` that decides it; None is everything.
OLD, SHOWS, CANONICAL = ApiVersion(1, 47), ApiVersion(1, 48), ApiVersion(1, 55)
DIGEST = "sha256:" + "0" * 64
ASKED: list[tuple[str, dict[str, Any], ApiVersion, dict[str, list[str]] | None]] = [
    ("name", {"reference": "alpine"}, SHOWS, {"reference": ["alpine"]}),
    ("name", {"reference": "docker.io/library/alpine"}, SHOWS, {"reference": ["alpine"]}),
    ("name", {"reference": ["shop/web:1", "a"]}, SHOWS, {"reference": ["shop/web:1", "a"]}),
    ("name", {"reference": "ghcr.io/team/web:1.2"}, SHOWS, {"reference": ["ghcr.io/team/web:1.2"]}),
    ("name", {"reference": "localhost/web"}, SHOWS, {"reference": ["localhost/web"]}),
    ("name", {"reference": "a", "since": "x"}, SHOWS, {"reference": ["a"], "since": ["x"]}),
    ("name", {"reference": "alpine"}, OLD, None),
    ("pattern", {"reference": "ghcr.io/team/*"}, CANONICAL, {"reference": ["ghcr.io/team/*"]}),
    ("pattern", {"reference": "alp*"}, SHOWS, None),
    ("pattern", {"reference": ["alpine", "sho?/web"]}, SHOWS, None),
    ("library/", {"reference": "library/*"}, CANONICAL, None),
    ("digest", {"reference": f"alpine@{DIGEST}"}, CANONICAL, None),
    ("digest", {"reference": DIGEST}, CANONICAL, None),
    ("other", {"reference": "Not A Name"}, CANONICAL, None),
    ("dangling", {"dangling": True}, SHOWS, {"dangling": ["true"]}),
    ("dangling", {"dangling": True, "reference": "alp*"}, SHOWS, {"dangling": ["true"]}),
    (
        "dangling",
        {"dangling": True, "label": "stage"},
        SHOWS,
        {"dangling": ["true"], "label": ["stage"]},
    ),
    ("dangling", {"dangling": True}, OLD, None),
    ("all", {"all": True, "reference": "alpine"}, CANONICAL, None),
    ("all", {"all": True, "dangling": True}, CANONICAL, None),
    ("", {}, CANONICAL, None),
    ("", {"dangling": False}, CANONICAL, None),
    ("", {"label": "stage"}, CANONICAL, None),
]


@pytest.mark.parametrize(("row", "question", "version", "filters"), ASKED, ids=str)
def test_what_is_sure_to_hold_every_image_is_asked_narrowly_and_the_rest_widely(
    row: str, question: dict[str, Any], version: ApiVersion, filters: dict[str, list[str]] | None
) -> None:
    assert narrow_filters(build_query(**question), version) == filters


def test_every_rule_is_shown_to_decide() -> None:
    shown = {(row, filters is not None) for row, _, _, filters in ASKED if row}
    can = {(row, True) for row, since in RULES.items() if since is not None}
    never = {(row, False) for row in RULES}
    assert shown == can | never


async def test_one_name_takes_one_list_and_one_look_up(anyio_backend: str) -> None:
    with FakeEngine(
        [image("alpine:3", "alpine:latest"), image("web:1")], engine=CONTAINERD
    ) as engine:
        async with DockerClient(engine.host) as client:
            (found,) = await client.list_images(reference="alpine:3")
            assert found.repo_tags == ("alpine:3", "alpine:latest")
            assert await client.list_images(reference="nothing") == []
    assert paths(engine) == ["/images/json", "/images/{id}/json", "/images/json"]
    assert engine.requests[0].filters == {"reference": {"alpine:3": True}}


async def test_more_images_than_are_worth_looking_up_are_listed_as_a_whole(
    anyio_backend: str,
) -> None:
    many = [image(f"web:{number}") for number in range(MAX_LOOKUPS + 1)]
    with FakeEngine([*many, image("alpine:3")], engine=CONTAINERD) as engine:
        async with DockerClient(engine.host) as client:
            assert len(await client.list_images(reference="web")) == MAX_LOOKUPS + 1
    assert paths(engine) == ["/images/json", "/images/json"]
    assert "filters" not in engine.requests[1].query


async def test_what_is_no_image_keeps_the_digest_of_the_list(anyio_backend: str) -> None:
    chart = image("chart:1", id=DIGEST, digests=[DIGEST], created=None)
    with FakeEngine([chart], engine=CONTAINERD) as engine:
        async with DockerClient(engine.host) as client:
            found = await client.list_images(reference="chart")
            assert found == await client.list_images()
    assert found[0].repo_digests == (DIGEST,)
    assert paths(engine) == ["/images/json", "/images/{id}/json", "/images/json"]


async def test_an_image_in_several_repositories_is_taken_from_the_whole_list(
    anyio_backend: str,
) -> None:
    digest = "sha256:" + "0" * 64
    held = image("web:1", "shop/web:1", digests=[f"web@{digest}", f"shop/web@{digest}"])
    with FakeEngine([held], engine=CONTAINERD) as engine:
        async with DockerClient(engine.host) as client:
            assert await client.list_images(reference="web") == await client.list_images()
    assert paths(engine)[:3] == ["/images/json", "/images/{id}/json", "/images/json"]


@pytest.mark.parametrize(
    "id_",
    ["../../containers/x", "sha256:ab?all=1", "a#b", "sha256:ab\r\nX: y", "", "x" * 70_000],
    ids=lambda id_: id_[:16],
)
async def test_an_id_that_leads_elsewhere_is_asked_for_nowhere(
    anyio_backend: str, id_: str
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        found = {"Id": id_, "RepoTags": ["web:1"], "Descriptor": {"digest": id_}}
        return httpx.Response(200, json=[found], headers={"Api-Version": "1.55"})

    async with DockerClient(transport=httpx.MockTransport(answer)) as client:
        (found,) = await client.list_images(reference="web")
    assert (found.id, found.repo_tags) == (id_, ("web:1",))
    assert set(asked) == {"/v1.55/images/json"}


async def test_more_names_than_an_address_can_hold_are_looked_for_in_the_whole_list(
    anyio_backend: str,
) -> None:
    names = [f"ghcr.io/team/service-{number}:1.2.{number}" for number in range(3000)]
    with FakeEngine([image(names[7])], engine=CONTAINERD) as engine:
        async with DockerClient(engine.host) as client:
            (found,) = await client.list_images(reference=names)
    assert found.repo_tags == (names[7],)
    assert [request.target for request in engine.requests] == ["/v1.55/images/json"]


async def test_labels_that_no_address_can_hold_are_an_error_before_anything_is_sent(
    anyio_backend: str,
) -> None:
    labels = [f"{number:04000}" for number in range(20)]
    with FakeEngine() as engine:
        async with DockerClient(engine.host) as client:
            with pytest.raises(ValueError, match="fewer or shorter labels") as caught:
                await client.list_images(label=labels)
    assert not isinstance(caught.value, DockerImagesError)
    assert engine.requests == []


@pytest.mark.parametrize("status", [401, 403, 405])
async def test_that_look_ups_are_not_let_through_is_remembered(
    anyio_backend: str, status: int
) -> None:
    held = image("alpine:3", "alpine:latest")
    with FakeEngine([held], engine=CONTAINERD) as engine:
        engine.faults.append(
            faults.error(status, "no", "text/plain", path=f"/images/{held.id}/json")
        )
        async with DockerClient(engine.host) as client:
            for _ in range(2):
                (found,) = await client.list_images(reference="alpine:3")
                assert found.repo_tags == ("alpine:3", "alpine:latest")
    assert paths(engine) == ["/images/json", "/images/{id}/json", "/images/json", "/images/json"]


class Heard(httpx.AsyncBaseTransport):
    """An engine, and what it is asked."""

    def __init__(self, host: str) -> None:
        self.asked: list[str] = []
        self._transport = EngineTransport(resolve_endpoint(host=host))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


WIDE = [name for name in engines.NAMES if "manifests" not in fact(name, "options")]
"""Whatever is not the containerd store of Docker 28 or later."""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("first", [{}, {"reference": "demo/web"}, {"dangling": True}], ids=str)
async def test_other_stores_are_asked_one_thing_a_question_after_the_first(
    live: engines.Live, name: str, first: dict[str, Any], anyio_backend: str
) -> None:
    async with Heard(live.host(name)) as transport, DockerClient(transport=transport) as client:
        assert await client.list_images(**first)
        transport.asked.clear()
        for question in ({"reference": "demo/web"}, {"reference": "none"}, {"dangling": True}):
            await client.list_images(**question)
    assert len(transport.asked) == 3
    assert not any("filters" in url for url in transport.asked)


class Between(Heard):
    """Something happens to an engine between a narrow list and the first look-up."""

    def __init__(self, engine: FakeEngine, happens: Callable[[FakeEngine], object]) -> None:
        super().__init__(engine.host)
        self._engine, self._happens = engine, happens

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/images/sha256:" in request.url.path and self._happens:
            self._happens, happens = lambda engine: None, self._happens
            happens(self._engine)
        return await super().handle_async_request(request)


@pytest.mark.parametrize(
    ("happens", "names"),
    [
        (lambda engine: engine.images.remove("alpine:3"), ["alpine:2"]),
        (
            lambda engine: engine.images.tag("alpine:3", "alpine:4"),
            ["alpine:2", "alpine:3,alpine:4"],
        ),
        (lambda engine: engine.images.untag("alpine:3"), ["alpine:2"]),
        (lambda engine: engine.become("docker 28 containerd"), ["alpine:2", "alpine:3"]),
        (lambda engine: engine.become("docker 20"), ["alpine:2", "alpine:3"]),
        (lambda engine: engine.become("podman"), ["alpine:2", "alpine:3"]),
    ],
    ids=["removed", "named", "renamed", "older", "another store", "another engine"],
)
async def test_an_image_is_judged_by_what_the_engine_says_last(
    anyio_backend: str, happens: Callable[[FakeEngine], object], names: list[str]
) -> None:
    held = [image("alpine:2"), image("alpine:3"), image("web:1")]
    with FakeEngine(held, engine=CONTAINERD) as engine:
        async with (
            Between(engine, happens) as transport,
            DockerClient(transport=transport) as client,
        ):
            found = await client.list_images(reference="alpine")
            assert sorted(",".join(map(str, one.tags)) for one in found) == names
            again = await client.list_images(reference="alpine")
            assert sorted(",".join(map(str, one.tags)) for one in again) == names


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_what_an_engine_refuses_once_is_asked_again_the_next_time(
    anyio_backend: str, status: int
) -> None:
    held = image("alpine:3")
    with FakeEngine([held], engine=CONTAINERD) as engine:
        engine.faults.append(faults.error(status, "no", path=f"/images/{held.id}/json", nth=1))
        async with DockerClient(engine.host) as client:
            for _ in range(2):
                assert len(await client.list_images(reference="alpine:3")) == 1
    narrow = ["/images/json", "/images/{id}/json"]
    assert paths(engine) == [*narrow, "/images/json", *narrow]


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (faults.reset, EngineConnectionError, "broke"),
        (faults.truncated, EngineConnectionError, "closed"),
        (faults.garbage, ResponseFormatError, "TLS"),
        (partial(faults.error, 200, "[]"), ResponseFormatError, "Expected `object`"),
        (partial(faults.error, 200, "{}" * 2000), ResponseFormatError, "max_response_bytes=3000"),
    ],
    ids=["reset", "truncated", "garbage", "another type", "too long"],
)
async def test_what_goes_wrong_in_a_look_up_goes_wrong_as_in_a_list(
    anyio_backend: str,
    fault: Callable[..., faults.Fault],
    error: type[DockerImagesError],
    says: str,
) -> None:
    held = [image("alpine:2"), image("alpine:3")]
    with FakeEngine(held, engine=CONTAINERD) as engine:
        engine.faults += [fault(path=f"/images/{one.id}/json") for one in held]
        async with DockerClient(engine.host, max_response_bytes=3000) as client:
            with pytest.raises(error, match=says) as caught:
                await client.list_images(reference="alpine")
            assert caught.value.endpoint == client.endpoint
            engine.faults.clear()
            assert len(await client.list_images(reference="alpine")) == 2


async def test_the_deadline_is_that_of_the_whole_question(anyio_backend: str) -> None:
    held = [image("alpine:2"), image("alpine:3")]
    with FakeEngine(held, engine=CONTAINERD) as engine:
        engine.faults += [faults.hang(path=f"/images/{one.id}/json") for one in held]
        async with DockerClient(engine.host) as client:
            timeout = 0.05
            while "/images/{id}/json" not in paths(engine):
                timeout *= 2
                with pytest.raises(EngineTimeoutError) as caught:
                    await client.list_images(reference="alpine", timeout=timeout)
            assert caught.value.seconds == timeout
            assert caught.value.stage == "looking up the names of images"


def has_heard(engine: FakeEngine, requests: int) -> bool:
    return len(engine.requests) >= requests


async def test_whoever_is_cancelled_in_a_look_up_leaves_nothing(anyio_backend: str) -> None:
    held = [image("alpine:2"), image("alpine:3")]
    with FakeEngine(held, engine=CONTAINERD) as engine:
        engine.faults += [faults.hang(path=f"/images/{one.id}/json") for one in held]
        async with DockerClient(engine.host) as client:
            # Two look-ups a call would soon keep all of the hundred turns.
            for calls in range(1, 60):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(client.list_images, reference="alpine", timeout=None))
                    heard = partial(has_heard, engine, 3 * calls)
                    assert await anyio.to_thread.run_sync(until, heard)
                    tasks.cancel_scope.cancel()
            engine.faults.clear()
            assert len(await client.list_images(reference="alpine")) == 2


REPOSITORIES = (
    "alpine",
    "shop/web",
    "ghcr.io/team/web",
    "localhost/web",
    "registry.example.com:5000/a",
)
NAMES = tuple(f"{repository}:{tag}" for repository in REPOSITORIES for tag in ("1", "2"))
QUESTIONS: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    lambda draw: {"reference": draw.choice((*REPOSITORIES, *NAMES, "docker.io/library/alpine"))},
    lambda draw: {"reference": draw.sample(NAMES, 2)},
    lambda draw: {"reference": draw.choice(("alp*", "*/web", "ghcr.io/*/*:1"))},
    lambda draw: {"dangling": True},
    lambda draw: {"dangling": True, "label": "stage=prod"},
    lambda draw: {"reference": draw.choice(REPOSITORIES), "exclude_label": "stage=prod"},
    lambda draw: {"reference": draw.choice(NAMES), "all": True},
)


def random_store(draw: random.Random) -> Iterator[dict[str, Any]]:
    """A few images as `engines.load` takes them, with names that no two share."""
    names = draw.sample(NAMES, draw.randrange(len(NAMES)))
    for number in range(draw.randrange(1, 7)):
        own = [names.pop() for _ in range(min(len(names), draw.randrange(3)))]
        labels = draw.choice(({}, {"stage": "prod"}, {"stage": "test"}))
        created = f"2024-01-01T00:00:0{number}Z"
        yield {"tags": own, "labels": labels, "created": created, "layer": str(number)}


class NoLookups(Heard):
    """A proxy in front of an engine that lets lists through, and no single image."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/images/sha256:" in request.url.path:
            return httpx.Response(403, text="not here", headers={"Api-Version": "1.55"})
        return await super().handle_async_request(request)


async def both(host: str, questions: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """The answers of a client that may ask narrowly, and of one that cannot."""
    async with (
        NoLookups(host) as proxy,
        DockerClient(transport=proxy) as wide,
        DockerClient(host) as client,
    ):
        await client.list_images()
        return [
            (await client.list_images(**question), await wide.list_images(**question))
            for question in questions
        ]


def compare(host: str, questions: list[dict[str, Any]]) -> None:
    answers = anyio.run(both, host, questions)
    for question, (narrow, wide) in zip(questions, answers, strict=True):
        assert narrow == wide, question


SHAPES = ("docker 20", "docker 28", "docker 28 containerd", CONTAINERD, "podman")


@pytest.mark.parametrize(
    "stores", [20, pytest.param(400, marks=pytest.mark.slow)], ids=["some", "many"]
)
@pytest.mark.parametrize("name", SHAPES)
def test_the_narrow_answer_equals_the_wide_one(name: str, stores: int) -> None:
    draw = random.Random(f"{name} {stores}")
    for _ in range(stores):
        held = []
        for number, one in enumerate(random_store(draw)):
            chart = "containerd" in name and draw.random() < 0.2
            id_ = f"sha256:{number:064x}"
            what = {"id": id_, "digests": [id_]} if chart else {"labels": one["labels"]}
            created = None if chart else datetime.fromisoformat(one["created"])
            held.append(image(*one["tags"], created=created, **what))
        with FakeEngine(held, engine=name) as engine:
            compare(engine.host, [draw.choice(QUESTIONS)(draw) for _ in range(5)])


@pytest.mark.slow
@pytest.mark.parametrize("name", engines.NAMES)
def test_a_live_engine_answers_alike_whatever_it_holds(name: str) -> None:
    draw = random.Random(name)
    with engines.folder() as folder, engines.start(name, folder) as host:
        for _ in range(4):
            for held in engines.call(host, "GET", "/v1.40/images/json?all=1").json():
                engines.call(host, "DELETE", f"/v1.40/images/{held['Id']}?force=1")
            engines.load(host, random_store(draw))
            compare(host, [draw.choice(QUESTIONS)(draw) for _ in range(60)])


@pytest.mark.parametrize("name", engines.quickly())
def test_a_live_engine_gives_the_narrow_answer_and_the_wide_one_alike(
    live: engines.Live, name: str
) -> None:
    host = live.host(name)
    names = [tag for one in anyio.run(listed, host) for tag in one.repo_tags]
    draw = random.Random(name)
    questions: list[dict[str, Any]] = [{"dangling": True}, {"dangling": True, "label": "stage"}]
    questions += [{"reference": tag} for tag in names]
    questions += [{"reference": tag.rpartition(":")[0]} for tag in names]
    questions += [{"reference": draw.sample(names, 2), "label": "stage"} for _ in range(10)]
    questions += [{"reference": "demo/web", "exclude_label": "stage=prod"}, {"reference": "none"}]
    compare(host, questions)


async def listed(host: str) -> list[ImageSummary]:
    async with DockerClient(host) as client:
        return await client.list_images()
