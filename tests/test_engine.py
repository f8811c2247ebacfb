"""docker_images.engine.engine: the conversation with one engine, and the version it is held in."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
import respx

from docker_images import (
    ApiVersion,
    ApiVersionError,
    DockerClient,
    EngineResponseError,
    UnsupportedByEngineError,
)
from docker_images.testing import FakeEngine, demo_images
from docker_images.testing import faults as faulty

pytestmark = pytest.mark.anyio


def paths(engine: FakeEngine) -> list[str]:
    return [request.target for request in engine.requests]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker 20.10", ["/v1.55/images/json", "/v1.41/images/json"]),
        ("docker 25", ["/v1.55/images/json", "/v1.44/images/json"]),
        ("docker 28.5 containerd", ["/v1.55/images/json", "/v1.51/images/json"]),
        ("docker master", ["/v1.55/images/json"]),
        ("podman 4", ["/v1.55/images/json"]),
    ],
)
async def test_the_first_call_takes_one_request_or_two_and_later_ones_take_one(
    name: str, expected: list[str]
) -> None:
    async with FakeEngine(demo_images(), name) as engine, DockerClient(engine.host) as client:
        first = await client.list_images()
        assert paths(engine) == expected
        engine.requests.clear()
        assert await client.list_images() == first
        assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("docker 20.10", "1.41"), ("docker master", "1.55"), ("podman 4", "1.41")],
)
async def test_the_version_is_known_after_the_first_answer(name: str, expected: str) -> None:
    async with FakeEngine(engine=name) as engine, DockerClient(engine.host) as client:
        assert client.api_version is None
        await client.list_images()
        assert client.api_version == ApiVersion.parse(expected)


async def test_twenty_first_calls_at_once_to_an_older_engine_take_21_requests() -> None:
    async with FakeEngine(engine="docker 20.10") as engine, DockerClient(engine.host) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.list_images)
        assert len(engine.requests) == 21
        assert paths(engine).count("/v1.55/images/json") == 1


async def test_the_others_wait_for_the_leaders_head_and_not_for_its_body() -> None:
    slow = faulty.hang(after="half", nth=1)
    async with (
        FakeEngine(demo_images(), "docker master", faults=[slow]) as engine,
        DockerClient(engine.host) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.list_images)
        while client.api_version is None:  # noqa: ASYNC110
            await anyio.sleep(0.001)
        with anyio.fail_after(60):
            assert await client.list_images()
        tasks.cancel_scope.cancel()


async def test_a_leader_that_is_cancelled_hands_over() -> None:
    async with (
        FakeEngine(engine="docker 20.10", faults=[faulty.hang(nth=1)]) as engine,
        DockerClient(engine.host) as client,
        anyio.create_task_group() as tasks,
    ):
        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await client.list_images()

        tasks.start_soon(lead)
        while not engine.requests:  # noqa: ASYNC110
            await anyio.sleep(0.001)
        tasks.start_soon(client.list_images)
        leader.cancel()
    assert paths(engine) == ["/v1.55/images/json", "/v1.55/images/json", "/v1.41/images/json"]


async def test_a_leader_that_fails_hands_over() -> None:
    async with (
        FakeEngine(engine="docker 20.10", faults=[faulty.error(nth=1)]) as engine,
        DockerClient(engine.host) as client,
    ):
        outcomes: list[object] = []

        async def call() -> None:
            try:
                outcomes.append(await client.list_images())
            except EngineResponseError as error:
                outcomes.append(error.status)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)
    assert sorted(map(str, outcomes)) == ["500", "[]", "[]"]


async def test_an_engine_that_was_upgraded_is_followed_without_a_failed_call() -> None:
    async with FakeEngine(engine="docker 20.10") as engine, DockerClient(engine.host) as client:
        await client.list_images()
        engine.become("docker master containerd")
        engine.requests.clear()
        await client.list_images()
        await client.list_images()
        assert paths(engine) == ["/v1.41/images/json", "/v1.55/images/json"]
        assert client.api_version == ApiVersion(1, 55)


async def test_an_engine_that_was_downgraded_is_followed_without_a_failed_call() -> None:
    async with FakeEngine(engine="docker master") as engine, DockerClient(engine.host) as client:
        await client.list_images()
        engine.become("docker 20.10")
        engine.requests.clear()
        await client.list_images()
        await client.list_images()
        assert paths(engine) == ["/v1.55/images/json"] + 2 * ["/v1.41/images/json"]


async def test_an_engine_that_no_longer_speaks_the_remembered_version_is_followed() -> None:
    async with FakeEngine(engine="docker 20.10") as engine, DockerClient(engine.host) as client:
        await client.list_images()
        # Docker 29.0: 1.52, and at least 1.44.
        engine.become("docker master", api_version="1.52", min_api_version="1.44")
        engine.requests.clear()
        await client.list_images()
        assert paths(engine) == ["/v1.41/images/json", "/v1.52/images/json"]


async def test_a_bad_filter_is_the_engines_answer_and_no_reason_to_ask_again() -> None:
    async with FakeEngine(engine="docker 20.10") as engine, DockerClient(engine.host) as client:
        await client.list_images()
        engine.requests.clear()
        with pytest.raises(EngineResponseError, match="Invalid filter 'nope'") as caught:
            await client.list_images(filters={"nope": "x"})
        assert (caught.value.status, caught.value.message) == (400, "Invalid filter 'nope'")
        assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("option", "name", "found"),
    [
        ("shared_size", "docker 20.10", "API 1.41"),
        ("manifests", "docker 25 containerd", "API 1.44"),
        ("identity", "docker 28.5 containerd", "API 1.51"),
        ("shared_size", "podman 4", "no such option"),
        ("manifests", "podman 4", "no such option"),
        ("identity", "podman 4", "no such option"),
    ],
)
async def test_what_an_engine_would_ignore_is_refused(option: str, name: str, found: str) -> None:
    asked: dict[str, Any] = {option: True}
    async with FakeEngine(demo_images(), name) as engine, DockerClient(engine.host) as client:
        with pytest.raises(UnsupportedByEngineError) as caught:
            await client.list_images(**asked)
        error = caught.value
        assert (error.option, error.found) == (option, found)
        assert error.engine.split()[0].lower() == name.split()[0]
        assert len(engine.requests) == 1  # on an answer of this very call, not before


async def test_identity_brings_the_manifests_along() -> None:
    async with (
        FakeEngine(demo_images(), "docker master containerd") as engine,
        DockerClient(engine.host) as client,
    ):
        images = await client.list_images(identity=True)
        assert any(image.manifests for image in images)
        assert engine.requests[-1].query == {"manifests": "1", "identity": "1"}


@pytest.mark.parametrize("option", ["manifests", "identity"])
async def test_a_store_that_ignores_manifests_is_named(option: str) -> None:
    asked: dict[str, Any] = {option: True}
    async with (
        FakeEngine(demo_images(), "docker master") as engine,
        DockerClient(engine.host) as client,
    ):
        with pytest.raises(UnsupportedByEngineError, match="containerd image store") as caught:
            await client.list_images(**asked)
        assert caught.value.option == option
        assert caught.value.needed == "the containerd image store"


async def test_an_empty_list_cannot_tell_the_store_and_is_no_error() -> None:
    async with FakeEngine(engine="docker master") as engine, DockerClient(engine.host) as client:
        assert await client.list_images(manifests=True) == []


async def test_an_option_works_as_soon_as_the_engine_was_upgraded() -> None:
    async with (
        FakeEngine(demo_images(), "docker 20.10") as engine,
        DockerClient(engine.host) as client,
    ):
        await client.list_images()
        engine.become("docker master")
        engine.requests.clear()
        images = await client.list_images(shared_size=True)
        assert all(image.shared_size is not None for image in images)
        assert len(engine.requests) == 1


# A version that somebody pinned.


async def test_a_pinned_version_is_asked_for_and_never_negotiated() -> None:
    async with (
        FakeEngine(engine="docker master") as engine,
        DockerClient(engine.host, api_version="1.44") as client,
    ):
        assert client.api_version == ApiVersion(1, 44)
        await client.list_images()
        await client.list_images()
        assert paths(engine) == 2 * ["/v1.44/images/json"]


async def test_a_refused_pin_says_who_pinned_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEngine(engine="docker 20.10") as engine:
        async with DockerClient(engine.host, api_version="1.44") as client:
            with pytest.raises(ApiVersionError, match=r"1\.44, pinned by api_version=.*too new"):
                await client.list_images()
        monkeypatch.setenv("DOCKER_API_VERSION", "1.48")
        async with DockerClient(engine.host) as client:
            with pytest.raises(ApiVersionError, match=r"pinned by DOCKER_API_VERSION"):
                await client.list_images()
            assert client.api_version == ApiVersion(1, 48)
        assert len(engine.requests) == 2


async def test_a_pin_too_old_for_an_option_is_refused_without_asking() -> None:
    async with (
        FakeEngine(engine="docker master") as engine,
        DockerClient(engine.host, api_version="1.41") as client,
    ):
        with pytest.raises(UnsupportedByEngineError, match=r"pinned by api_version=") as caught:
            await client.list_images(shared_size=True)
        assert (caught.value.needed, caught.value.option) == ("API 1.42", "shared_size")
        assert not engine.requests


async def test_a_bad_filter_under_a_pin_is_the_engines_answer() -> None:
    async with (
        FakeEngine(engine="docker 20.10") as engine,
        DockerClient(engine.host, api_version="1.41") as client,
    ):
        with pytest.raises(EngineResponseError, match="Invalid filter"):
            await client.list_images(filters={"nope": "x"})


# Nothing in common, and nothing told: pure HTTP, through a transport of the caller.

Answer = Callable[[httpx.Request], httpx.Response]


def client_of(router: respx.Router, **options: Any) -> DockerClient:
    return DockerClient(transport=httpx.MockTransport(router.async_handler), **options)


def message(status: int, text: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"message": text})


@pytest.mark.parametrize(
    ("answer", "there"),
    [
        pytest.param(
            message(
                400,
                "client version 1.55 is too old. Minimum supported API version is 1.60, "
                "please upgrade your client to a newer version",
                **{"Api-Version": "1.62"},
            ),
            r"Minimum supported API version is 1\.60",
            id="an engine of the future",
        ),
        pytest.param(
            message(
                400,
                "client version 1.55 is too new. Maximum supported API version is 1.20",
                **{"Api-Version": "1.20"},
            ),
            r"Maximum supported API version is 1\.20",
            id="an engine of the past",
        ),
        pytest.param(
            httpx.Response(200, headers={"Api-Version": "1.20"}, json=[]),
            r"up to 1\.20",
            id="an engine of the past that accepts everything",
        ),
    ],
)
async def test_nothing_in_common_names_both_ranges(answer: httpx.Response, there: str) -> None:
    router = respx.Router(base_url="http://docker")
    router.get("/v1.55/images/json").mock(return_value=answer)
    async with client_of(router) as client:
        with pytest.raises(ApiVersionError, match=rf"here 1\.24 to 1\.55, there .*{there}"):
            await client.list_images()


async def test_an_engine_without_the_header_is_asked_for_its_version() -> None:
    # Docker 1.12: no Api-Version anywhere, and the refusal in words of its own.
    router = respx.Router(base_url="http://docker")
    too_new = "client is newer than server (client API version: 1.55, server API version: 1.24)"
    router.get("/v1.55/images/json").mock(return_value=message(400, too_new))
    router.get("/_ping").mock(return_value=httpx.Response(200, text="OK"))
    router.get("/version").mock(return_value=httpx.Response(200, json={"ApiVersion": "1.24"}))
    listed = router.get("/v1.24/images/json").mock(return_value=httpx.Response(200, json=[]))
    async with client_of(router) as client:
        assert await client.list_images() == []
        assert await client.list_images() == []
    assert listed.call_count == 2
    assert router.calls.call_count == 5


async def test_the_header_of_ping_spares_asking_for_the_version() -> None:
    router = respx.Router(base_url="http://docker")
    too_new = "client version 1.55 is too new. Maximum supported API version is 1.41"
    router.get("/v1.55/images/json").mock(return_value=message(400, too_new))
    router.get("/_ping").mock(return_value=httpx.Response(200, headers={"Api-Version": "1.41"}))
    router.get("/v1.41/images/json").mock(return_value=httpx.Response(200, json=[]))
    async with client_of(router) as client:
        assert await client.list_images() == []
    assert router.calls.call_count == 3


async def test_an_engine_that_tells_its_version_in_a_refusal_only_is_asked_in_that() -> None:
    router = respx.Router(base_url="http://docker")
    too_new = "client version 1.55 is too new. Maximum supported API version is 1.41"
    router.get("/v1.55/images/json").mock(return_value=message(400, too_new))
    router.get("/_ping").mock(return_value=httpx.Response(403))
    router.get("/version").mock(return_value=httpx.Response(403))
    listed = router.get("/v1.41/images/json").mock(return_value=httpx.Response(200, json=[]))
    async with client_of(router) as client:
        assert await client.list_images() == []
        assert await client.list_images() == []
        assert client.api_version == ApiVersion(1, 41)
    assert (listed.call_count, router.calls.call_count) == (2, 5)


async def test_an_engine_that_never_tells_its_version_is_an_error_where_it_refuses_ours() -> None:
    router = respx.Router(base_url="http://docker")
    too_new = "client version 1.55 is too new"
    router.get("/v1.55/images/json").mock(return_value=message(400, too_new))
    router.get("/_ping").mock(return_value=httpx.Response(403))
    router.get("/version").mock(return_value=httpx.Response(403))
    async with client_of(router) as client:
        with pytest.raises(ApiVersionError, match=r"1\.55 is too new"):
            await client.list_images()


@pytest.mark.parametrize("header", ["", "latest", "1.x", "1.41\x1b[31m", "9" * 40])
async def test_a_header_that_says_nothing_is_as_good_as_none(header: str) -> None:
    router = respx.Router(base_url="http://docker")
    answer = httpx.Response(200, headers={"Api-Version": header} if header else {}, json=[])
    listed = router.get("/v1.55/images/json").mock(return_value=answer)
    async with client_of(router) as client:
        assert await client.list_images() == []
        assert await client.list_images() == []
        assert client.api_version is None
    assert listed.call_count == 2


@pytest.mark.parametrize(
    ("told", "works"),
    [
        pytest.param({"ApiVersion": "1.44"}, True, id="new enough"),
        pytest.param({"ApiVersion": "1.41"}, False, id="too old"),
        pytest.param({}, False, id="it does not tell"),
        pytest.param([], False, id="it is no version"),
        pytest.param(
            {"ApiVersion": "1.44", "Components": [{"Name": "Podman Engine"}]}, False, id="Podman"
        ),
    ],
)
async def test_without_the_header_the_version_decides_about_options(
    told: object, works: bool
) -> None:
    router = respx.Router(base_url="http://docker")
    router.get("/v1.55/images/json").mock(return_value=httpx.Response(200, json=[]))
    router.get("/version").mock(return_value=httpx.Response(200, json=told))
    async with client_of(router) as client:
        if works:
            assert await client.list_images(shared_size=True) == []
        else:
            with pytest.raises(UnsupportedByEngineError):
                await client.list_images(shared_size=True)


async def test_an_engine_that_accepts_versions_too_new_is_believed_by_its_header() -> None:
    # Docker 1.13 to 17.10, and Podman.
    router = respx.Router(base_url="http://docker")
    old = httpx.Response(
        200, headers={"Api-Version": "1.30", "Server": "Docker/17.06 (linux)"}, json=[]
    )
    router.get("/v1.55/images/json").mock(return_value=old)
    router.get("/v1.30/images/json").mock(return_value=old)
    async with client_of(router) as client:
        assert await client.list_images() == []
        assert client.api_version == ApiVersion(1, 30)
        with pytest.raises(UnsupportedByEngineError, match=r"Docker 17\.06 .* has API 1\.30"):
            await client.list_images(shared_size=True)


async def test_a_pin_that_an_old_engine_lets_pass_does_not_make_it_new() -> None:
    router = respx.Router(base_url="http://docker")
    old = httpx.Response(200, headers={"Api-Version": "1.30"}, json=[])
    router.get("/v1.44/images/json").mock(return_value=old)
    async with client_of(router, api_version="1.44") as client:
        with pytest.raises(UnsupportedByEngineError, match=r"has API 1\.30"):
            await client.list_images(shared_size=True)


# Ping.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker 20.10", ("Docker", "20.10.24+dfsg1", "1.41", "linux")),
        ("docker 28.5 containerd", ("Docker", "28.5.2", "1.51", "linux")),
        ("podman 4", ("Podman", "4.3.1", "1.41", "linux")),
    ],
)
async def test_ping_tells_who_answers(name: str, expected: tuple[str, ...]) -> None:
    async with FakeEngine(engine=name) as engine, DockerClient(engine.host) as client:
        info = await client.ping()
        assert (info.name, info.version, str(info.api_version), info.os_type) == expected
        assert paths(engine) == ["/_ping"]
        assert str(info) == f"{expected[0]} {expected[1]}"


async def test_ping_tells_the_engines_own_newest_version_and_not_ours() -> None:
    async with (
        FakeEngine(engine="docker master") as engine,
        DockerClient(engine.host, api_version="1.44") as client,
    ):
        assert (await client.ping()).api_version == ApiVersion(1, 56)


async def test_ping_reads_the_version_where_headers_are_missing() -> None:
    router = respx.Router(base_url="http://docker")
    router.get("/_ping").mock(
        return_value=httpx.Response(200, headers={"Server": "Docker/1.12.6 (linux)"})
    )
    router.get("/version").mock(return_value=httpx.Response(200, json={"ApiVersion": "1.24"}))
    async with client_of(router) as client:
        info = await client.ping()
    assert (str(info), info.api_version) == ("Docker 1.12.6", ApiVersion(1, 24))


async def test_a_refused_ping_is_the_engines_error() -> None:
    router = respx.Router(base_url="http://docker")
    router.get("/_ping").mock(return_value=httpx.Response(403, html="<h1>Forbidden</h1>"))
    async with client_of(router) as client:
        with pytest.raises(EngineResponseError, match="403: Forbidden") as caught:
            await client.ping()
    assert caught.value.status == 403


# Other answers.


@pytest.mark.parametrize(
    ("answer", "said", "step"),
    [
        pytest.param(
            message(404, "No such image: x"),
            "No such image: x",
            "; name an image that this engine has",
            id="404",
        ),
        pytest.param(
            httpx.Response(500, json={"cause": "image not known", "message": "x: image not known"}),
            "x: image not known",
            "; name an image that this engine has",
            id="no such image, as Podman says it",
        ),
        pytest.param(
            message(400, "invalid filter 'x'"),
            "invalid filter 'x'",
            "'; check the arguments",
            id="an engine's own words",
        ),
        pytest.param(
            httpx.Response(500, json={"cause": "c", "message": "m", "response": 500}),
            "m",
            "log may say more",
            id="Podman",
        ),
        pytest.param(
            httpx.Response(403, html="<html><style>p{}</style><h1>403</h1> Forbidden</html>"),
            "403 Forbidden",
            "must allow GET /images/json",
            id="a filtering proxy",
        ),
        pytest.param(httpx.Response(503, text=""), "", "try again later", id="nothing"),
        pytest.param(httpx.Response(500, json=[1]), "[1]", "", id="JSON of another shape"),
        pytest.param(
            httpx.Response(500, json={"error": True, "reason": "no"}), "no", "", id="reason"
        ),
        pytest.param(
            httpx.Response(500, json={"message": None}), '{"message":null}', "", id="null"
        ),
        pytest.param(
            httpx.Response(404, text="Not Found\n"),
            "Not Found",
            "; check the arguments, and whether this is the address of a Docker API",
            id="plain text",
        ),
        pytest.param(
            httpx.Response(301, headers={"Location": "http://elsewhere/"}),
            "",
            "redirects are not followed; use the final address",
            id="redirect",
        ),
        pytest.param(httpx.Response(204), "", "of a Docker API?", id="204"),
        pytest.param(
            httpx.Response(400, text="Client sent an HTTP request to an HTTPS server.\n"),
            "Client sent an HTTP request to an HTTPS server.",
            "set DOCKER_TLS_VERIFY=1, or use a context with TLS",
            id="a TLS port",
        ),
        pytest.param(
            httpx.Response(500, json={"message": "a\x1b[31mb\u202ec\nd"}),
            "a\ufffd[31mb\ufffdc d",
            "",
            id="control characters",
        ),
    ],
)
async def test_a_refusal_tells_the_status_the_words_and_the_next_step(
    answer: httpx.Response, said: str, step: str
) -> None:
    router = respx.Router(base_url="http://docker")
    router.get("/v1.55/images/json").mock(return_value=answer)
    async with client_of(router) as client:
        with pytest.raises(EngineResponseError) as caught:
            await client.list_images()
    assert (caught.value.status, caught.value.message) == (answer.status_code, said)
    assert str(caught.value).startswith(f"http://docker (transport=) answered {answer.status_code}")
    assert str(caught.value).endswith(step)


async def test_a_long_refusal_is_cut() -> None:
    router = respx.Router(base_url="http://docker")
    endless = json.dumps({"message": "x" * 1_000_000})
    router.get("/v1.55/images/json").mock(return_value=httpx.Response(500, text=endless))
    async with client_of(router) as client:
        with pytest.raises(EngineResponseError) as caught:
            await client.list_images()
    assert len(caught.value.message) <= 400
