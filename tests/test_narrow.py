"""A narrow question has the same answer as a wide one, and asks an engine for less.

What an engine's filters let through is proved by random stores: in fake engines here, in live ones
at the end.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import engines
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_images import DockerClient, ImageSummary, resolve_endpoint
from docker_images.engine.questions import MAX_LOOKUPS, narrow_filters
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


@pytest.mark.parametrize(
    ("question", "filters"),
    [
        ({"reference": "alpine"}, {"reference": ["alpine"]}),
        ({"reference": "docker.io/library/alpine"}, {"reference": ["alpine"]}),
        ({"reference": ["shop/web:1", "alpine"]}, {"reference": ["shop/web:1", "alpine"]}),
        ({"reference": "ghcr.io/team/web:1.2"}, {"reference": ["ghcr.io/team/web:1.2"]}),
        ({"dangling": True}, {"dangling": ["true"]}),
        (
            {"dangling": True, "label": "stage"},
            {"dangling": ["true"], "label": ["stage"]},
        ),
        ({"reference": "alpine", "since": "x"}, {"reference": ["alpine"], "since": ["x"]}),
        ({"dangling": True, "reference": "alp*"}, {"dangling": ["true"]}),
    ],
    ids=str,
)
def test_what_is_sure_to_hold_every_image_is_asked_narrowly(
    question: dict[str, Any], filters: dict[str, list[str]]
) -> None:
    assert narrow_filters(build_query(**question), canonical=False) == filters


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"dangling": False},
        {"label": "stage"},
        {"reference": "alp*"},
        {"reference": ["alpine", "sho?/web"]},
        {"reference": "alpine@sha256:" + "0" * 64},
        {"reference": "sha256:" + "0" * 64},
        {"reference": "localhost/web"},
        {"reference": "Not A Name"},
        {"all": True, "reference": "alpine"},
        {"all": True, "dangling": True},
    ],
    ids=str,
)
def test_everything_else_is_asked_widely(question: dict[str, Any]) -> None:
    assert narrow_filters(build_query(**question), canonical=False) is None


def test_a_pattern_is_asked_narrowly_where_the_engine_compares_canonical_names() -> None:
    query = build_query(reference="ghcr.io/team/*")
    assert narrow_filters(query, canonical=True) == {"reference": ["ghcr.io/team/*"]}
    assert narrow_filters(build_query(reference="library/*"), canonical=True) is None


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


async def test_an_image_in_several_repositories_is_taken_from_the_whole_list(
    anyio_backend: str,
) -> None:
    digest = "sha256:" + "0" * 64
    held = image("web:1", "shop/web:1", digests=[f"web@{digest}", f"shop/web@{digest}"])
    with FakeEngine([held], engine=CONTAINERD) as engine:
        async with DockerClient(engine.host) as client:
            assert await client.list_images(reference="web") == await client.list_images()
    assert paths(engine)[:3] == ["/images/json", "/images/{id}/json", "/images/json"]


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_refused_look_up_is_followed_by_the_whole_list(
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
    # A 404 says that the image is gone; anything else, that look-ups are not let through.
    again = ["/images/json", "/images/{id}/json"] if status == 404 else []
    assert paths(engine) == [
        *("/images/json", "/images/{id}/json", "/images/json"),
        *again,
        "/images/json",
    ]


@pytest.mark.parametrize("engine_name", ["docker 20", "docker 28", "podman"])
async def test_other_stores_are_asked_nothing_more_after_the_first_call(
    anyio_backend: str, engine_name: str
) -> None:
    with FakeEngine([image("alpine:3"), image("web:1")], engine=engine_name) as engine:
        async with DockerClient(engine.host) as client:
            for _ in range(4):
                assert len(await client.list_images(reference="alpine")) == 1
    lists = [path for path in paths(engine) if path == "/images/json"]
    assert "/images/{id}/json" not in paths(engine)
    assert len(lists) <= 4 + 2  # the narrow one, and perhaps one more to agree on a version
    assert not any(
        "reference" in request.query.get("filters", "") for request in engine.requests[3:]
    )


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


def random_store(draw: random.Random) -> Iterator[Any]:
    """A few images, with names that no two share."""
    names = draw.sample(NAMES, draw.randrange(len(NAMES)))
    for number in range(draw.randrange(1, 7)):
        own = [names.pop() for _ in range(min(len(names), draw.randrange(3)))]
        labels = draw.choice((None, {"stage": "prod"}, {"stage": "test"}))
        yield image(*own, id=f"sha256:{number:064x}", created=number, labels=labels)


class NoLookups(httpx.AsyncBaseTransport):
    """A proxy in front of an engine that lets lists through, and no single image."""

    def __init__(self, host: str) -> None:
        self._engine = EngineTransport(resolve_endpoint(host=host))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/images/sha256:" in request.url.path:
            return httpx.Response(403, text="not here", headers={"Api-Version": "1.55"})
        return await self._engine.handle_async_request(request)

    async def aclose(self) -> None:
        await self._engine.aclose()


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


ALL_ENGINES = ("docker 20", "docker 28", "docker 28 containerd", CONTAINERD, "podman")


@pytest.mark.parametrize("name", ALL_ENGINES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_the_narrow_answer_equals_the_wide_one(name: str, seed: int) -> None:
    draw = random.Random(seed)
    questions = [draw.choice(QUESTIONS)(draw) for _ in range(4)]
    with FakeEngine(list(random_store(draw)), engine=name) as engine:
        for question, (narrow, wide) in zip(
            questions, anyio.run(both, engine.host, questions), strict=True
        ):
            assert narrow == wide, question


@pytest.mark.parametrize("name", engines.NAMES)
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
    answers = anyio.run(both, host, questions)
    for question, (narrow, wide) in zip(questions, answers, strict=True):
        assert narrow == wide, question


async def listed(host: str) -> list[ImageSummary]:
    async with DockerClient(host) as client:
        return await client.list_images()
