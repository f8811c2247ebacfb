"""docker_images.client: construction, life cycle, and use from anywhere."""

import asyncio
import copy
import json
import math
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
import respx

from docker_images import ApiVersion, DockerClient, Endpoint, EndpointError, ResponseFormatError
from docker_images.testing import FakeEngine, image

MANY = [image(f"many/{n:03}:1") for n in range(30)]


# ── Construction ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"host": ""}, ValueError),
        ({"host": 1}, TypeError),
        ({"host": "foo://host"}, EndpointError),
        ({"host": "tcp://host:99999"}, EndpointError),
        ({"context": ""}, ValueError),
        ({"host": "unix:///x", "context": "x"}, ValueError),
        (
            {"host": "unix:///x", "transport": httpx.MockTransport(lambda _: httpx.Response(200))},
            ValueError,
        ),
        ({"transport": "unix:///x"}, TypeError),
        ({"api_version": 1.47}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": math.inf}, ValueError),
        ({"timeout": "5"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"max_response_bytes": 0}, ValueError),
        ({"max_response_bytes": 1.5}, TypeError),
        ({"max_response_bytes": True}, TypeError),
    ],
    ids=lambda value: re.sub(" object at 0x[0-9a-f]+", "", str(value)),
)
def test_a_bad_argument_is_refused_at_once(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(reversed(arguments))):
        DockerClient(**arguments)


def test_a_version_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"^api_version= is not an API version: 'latest'"):
        DockerClient(api_version="latest")


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))],
    ids=["copied", "copied deeply", "pickled"],
)
def test_a_copy_has_the_arguments_and_connections_of_its_own(
    copied: Callable[[DockerClient], DockerClient],
) -> None:
    async def both() -> None:
        async with DockerClient(engine.host, timeout=7) as client:
            await client.list_images()
            other = copied(client)
            assert len(await other.list_images()) == 30
            await other.aclose()
            assert repr(other) == repr(client).replace("open", "closed")
            assert len(await client.list_images()) == 30

    with FakeEngine(MANY) as engine:
        asyncio.run(both())
        assert len(engine.requests) == 5, "each found out the version"


def test_a_client_is_made_without_an_event_loop_and_without_looking_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense://x")
    client = DockerClient()
    assert client.api_version is None
    with pytest.raises(EndpointError, match="DOCKER_HOST"):
        _ = client.endpoint
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/engine.sock")
    assert client.endpoint == Endpoint(
        kind="unix", host="unix:///run/engine.sock", source="DOCKER_HOST", path="/run/engine.sock"
    )


def test_the_first_look_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/one.sock")
    client = DockerClient()
    first = client.endpoint
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/two.sock")
    assert client.endpoint is first


@pytest.mark.parametrize("pinned", ["1.44", ApiVersion(1, 44)])
def test_a_version_is_pinned_as_text_or_as_a_value(pinned: Any) -> None:
    assert DockerClient(api_version=pinned).api_version == ApiVersion(1, 44)


# ── Life cycle: pytest-asyncio runs what needs no second loop ───────────────────────────────────


@pytest.mark.asyncio
async def test_a_closed_client_refuses_calls_and_may_be_closed_again() -> None:
    async with FakeEngine(MANY) as engine:
        client = DockerClient(engine.host)
        await client.list_images()
        await client.aclose()
        await client.aclose()
        for call in (client.list_images, client.ping):
            with pytest.raises(RuntimeError, match="closed"):
                await call()
        assert client.endpoint.host == engine.host


@pytest.mark.asyncio
async def test_a_bad_argument_of_a_call_is_refused_before_anything_is_sent() -> None:
    async with FakeEngine() as engine, DockerClient(engine.host) as client:
        for timeout in (0, -1, "x", math.nan):
            with pytest.raises((TypeError, ValueError), match="timeout"):
                await client.list_images(timeout=timeout)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="label"):
            await client.list_images(label=1)  # type: ignore[arg-type]
        assert not engine.requests


@pytest.mark.asyncio
async def test_the_caller_closes_the_callers_transport() -> None:
    closed = []

    class Transport(httpx.MockTransport):
        async def aclose(self) -> None:
            closed.append(True)

    transport = Transport(lambda _: httpx.Response(200, json=[]))
    async with DockerClient(transport=transport) as client:
        assert await client.list_images() == []
        assert client.endpoint.source == "transport="
    assert not closed


@pytest.mark.asyncio
async def test_a_respx_router_serves_as_transport() -> None:
    router = respx.Router(base_url="http://docker")
    listed = router.get("/v1.55/images/json", params={"all": "1"})
    listed.mock(return_value=httpx.Response(200, json=[{"Id": "sha256:ab", "RepoTags": None}]))
    async with DockerClient(transport=httpx.MockTransport(router.async_handler)) as client:
        (found,) = await client.list_images(all=True)
    assert (found.id, found.repo_tags) == ("sha256:ab", ())
    assert listed.call_count == 1


@pytest.mark.asyncio
async def test_httpx_itself_can_be_the_transport() -> None:
    with FakeEngine(MANY, tcp=True) as engine:
        address = httpx.URL(engine.host.replace("tcp", "http"))

        class Elsewhere(httpx.AsyncHTTPTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                url = request.url.copy_with(host=address.host, port=address.port)
                return await super().handle_async_request(httpx.Request("GET", url))

        async with Elsewhere() as transport, DockerClient(transport=transport) as client:
            assert len(await client.list_images()) == 30


@pytest.mark.asyncio
async def test_ours_is_an_ordinary_httpx_transport() -> None:
    from docker_images import resolve_endpoint
    from docker_images.transport import EngineTransport

    with FakeEngine(MANY) as engine:
        transport = EngineTransport(resolve_endpoint(host=engine.host))
        async with httpx.AsyncClient(transport=transport, base_url="http://docker") as client:
            answer = await client.get("/v1.51/images/json")
            assert len(answer.json()) == 30
            assert not hasattr(answer, "header")
            with pytest.raises(ValueError, match="GET"):
                await client.post("/v1.51/images/create")
        theirs = httpx.AsyncHTTPTransport(uds=engine.host.removeprefix("unix://"))
        async with httpx.AsyncClient(transport=theirs, base_url="http://docker") as client:
            expected = await client.get("/v1.51/images/json")
    del answer.headers["Date"], expected.headers["Date"]
    assert answer.headers.multi_items() == expected.headers.multi_items()
    for name in ("status_code", "reason_phrase", "http_version", "text", "encoding", "is_success"):
        assert getattr(answer, name) == getattr(expected, name), name
    for name in (
        "is_closed",
        "is_stream_consumed",
        "history",
        "next_request",
        "has_redirect_location",
    ):
        assert getattr(answer, name) == getattr(expected, name), name
    assert answer.request.url == expected.request.url
    assert answer.elapsed.total_seconds() > 0
    assert pickle.loads(pickle.dumps(answer)).json() == expected.json()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "first", ["headers", "is_closed", "extensions", "aread", "num_bytes_downloaded"]
)
async def test_an_answer_of_our_transport_is_whole_whatever_is_asked_of_it_first(
    first: str,
) -> None:
    from docker_images import resolve_endpoint
    from docker_images.transport import EngineTransport

    with FakeEngine(MANY) as engine:
        transport = EngineTransport(resolve_endpoint(host=engine.host))
        request = httpx.Request("GET", "http://docker/v1.51/images/json")
        answer = await transport.handle_async_request(request)
        answer.request = request  # as AsyncClient does, before it is whole
        getattr(answer, first)
        assert answer.request is request
        assert len(json.loads(await answer.aread())) == 30
        assert answer.headers["Api-Version"]
        assert (answer.is_closed, answer.status_code) == (True, 200)
        await transport.aclose()


@pytest.mark.asyncio
async def test_a_body_over_the_bound_is_refused() -> None:
    async with (
        FakeEngine(MANY) as engine,
        DockerClient(engine.host, max_response_bytes=1000) as client,
    ):
        with pytest.raises(ResponseFormatError, match="max_response_bytes=1000"):
            await client.list_images()


# ── Event loops ─────────────────────────────────────────────────────────────────────────────────


def test_one_client_serves_one_event_loop_after_the_other() -> None:
    with FakeEngine(MANY) as engine:
        client = DockerClient(engine.host)
        for _ in range(3):
            assert len(asyncio.run(client.list_images())) == 30
            assert len(anyio.run(client.list_images, backend="trio")) == 30
        asyncio.run(client.aclose())


def test_one_client_serves_event_loops_in_threads_at_once() -> None:
    counts: list[int] = []

    async def twenty_times(client: DockerClient) -> None:
        counts.extend([len(await client.list_images()) for _ in range(20)])

    with FakeEngine(MANY, "docker 20.10") as engine:
        client = DockerClient(engine.host)
        threads = [
            threading.Thread(
                target=anyio.run, args=(twenty_times, client), kwargs={"backend": backend}
            )
            for backend in ("asyncio", "trio", "asyncio")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(client.aclose())
    assert counts == [30] * 60
