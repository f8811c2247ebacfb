"""`EngineTransport` in httpx, and the transports of others in the client."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import httpx2
import pytest
from hostile import LIST, Peer, answering, ids, serving, until

from docker_images import (
    DockerClient,
    EngineConnectionError,
    EngineTimeoutError,
    resolve_endpoint,
)
from docker_images.transport import EngineTransport
from docker_images.transport.pool import MAX_CALLS

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[1] / "docs/connecting.md").read_text()
SECTION = PAGE.partition("\n## Our transport in httpx")[2].partition("\n## ")[0]
OURS, THEIRS = re.findall(r"^```python\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)


def client_to(host: str, **options: Any) -> httpx.AsyncClient:
    transport = EngineTransport(resolve_endpoint(host=host))
    return httpx.AsyncClient(transport=transport, base_url="http://docker", **options)


async def test_what_the_docs_show_works_on_a_real_engine(
    dockerd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", dockerd)
    names: dict[str, Any] = {}
    exec(OURS, names)
    networks: Callable[[], Awaitable[list[str]]] = names["networks"]
    assert {"host", "none"} <= set(await networks())


async def test_its_answers_are_those_of_httpx_on_a_real_engine(dockerd: str) -> None:
    async with client_to(dockerd, timeout=httpx.Timeout(60)) as client:
        ours = await client.get("/v1.41/images/json", params={"all": "1"})
        again = await client.get("/v1.41/images/json", params={"all": "1"})
    theirs = httpx.AsyncHTTPTransport(uds=dockerd.removeprefix("unix://"))
    async with httpx.AsyncClient(transport=theirs, base_url="http://docker") as client:
        expected = await client.get("/v1.41/images/json", params={"all": "1"})
    for response in (ours, again):
        assert type(response) is httpx.Response
        assert response.status_code == 200
        assert len(response.json()) == len(expected.json()) > 0
        kept = {name for name in expected.headers if name != "date"}
        assert {name: response.headers[name] for name in kept} == {
            name: expected.headers[name] for name in kept
        }


@pytest.mark.parametrize("part", [b"", LIST[:30], LIST[:-1]], ids=["silent", "head", "body"])
async def test_the_read_timeout_is_for_each_piece_of_an_answer(part: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(part)
        peer.request()

    with serving(script) as server:
        async with client_to(server.host, timeout=httpx.Timeout(60, read=0.05)) as client:
            with pytest.raises(EngineTimeoutError, match="the read timeout") as info:
                await client.get("/v1.41/images/json")
    assert info.value.seconds == 0.05


async def test_the_pool_timeout_is_for_a_turn() -> None:
    def silent(peer: Peer) -> None:
        while peer.request():
            waiting.append(1)

    waiting: list[int] = []
    with serving(silent) as server:
        async with (
            client_to(server.host, timeout=httpx.Timeout(None, pool=0.05)) as client,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(MAX_CALLS):
                tasks.start_soon(client.get, "/_ping")
            assert await anyio.to_thread.run_sync(until, lambda: len(waiting) == MAX_CALLS)
            with pytest.raises(EngineTimeoutError, match="the pool timeout") as info:
                await client.get("/_ping")
            assert info.value.stage == "waiting for its turn"
            tasks.cancel_scope.cancel()


async def test_its_failures_are_errors_of_this_library() -> None:
    async with client_to("unix:///nowhere/engine.sock") as client:
        with pytest.raises(EngineConnectionError) as info:
            await client.get("/_ping")
    assert info.value.reason == "no-socket"


async def test_a_request_is_the_same_after_it_was_sent() -> None:
    request = httpx.Request("GET", "http://docker/v1.41/images/json")
    before = (dict(request.extensions), request.headers.raw, request.url)
    with serving(answering(LIST)) as server:
        transport = EngineTransport(resolve_endpoint(host=server.host))
        response = await transport.handle_async_request(request)
        assert len(await response.aread()) > 0
        await transport.aclose()
    assert (dict(request.extensions), request.headers.raw, request.url) == before


async def test_a_transport_is_whatever_handles_requests() -> None:
    class Mine:
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"Api-Version": "1.55"}, json=[{"Id": "sha256:ab"}])

    async with DockerClient(transport=Mine()) as client:  # type: ignore[arg-type]
        assert [image.id for image in await client.list_images()] == ["sha256:ab"]


async def test_a_transport_of_httpx2_works_by_the_adapter_of_the_docs() -> None:
    names: dict[str, Any] = {}
    exec(THEIRS, names)
    with serving(answering(LIST)) as server:
        transport = httpx2.AsyncHTTPTransport(uds=server.host.removeprefix("unix://"))
        async with transport, DockerClient(transport=names["FromHttpx2"](transport)) as client:
            for _ in range(3):
                assert [image.id for image in await client.list_images()] == ids(3)


def test_an_address_is_no_endpoint() -> None:
    with pytest.raises(TypeError, match=r"endpoint takes an Endpoint, such as .*, not str"):
        EngineTransport("unix:///x.sock")  # type: ignore[arg-type]
