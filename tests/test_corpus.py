"""What real engines answered means what the design says, file by file: `recordings/*.json`.

A new file is a new test. Each answer is replayed through the client; what it should come to is
computed by `wire.py`, which is written from the structs of the engine and shares no code with the
library, and told by hand for the images that tell most.
"""

import json
import re
from typing import Any

import httpx
import msgspec
import pytest
import respx
from recorded import NAMES, exchanges, of_path, paths, recording
from wire import PODMANS_OWN, SUMMARY, keys, meaning, order

from docker_images import (
    ApiVersion,
    ApiVersionError,
    DockerClient,
    DockerImagesError,
    EngineResponseError,
    ImageSummary,
    ResponseFormatError,
)
from docker_images.engine.versions import NEWEST

LISTS = [
    pytest.param(name, path, id=f"{name} {path.removeprefix('GET ')}")
    for name in NAMES
    for path in paths(name)
    if "/images/json" in path
]


def answer(exchange: dict[str, Any]) -> httpx.Response:
    body = exchange["body"].encode()
    return httpx.Response(exchange["status"], headers=exchange["headers"], content=body)


async def ask(name: str, request: str) -> list[ImageSummary]:
    """Have the client get the recorded answer to the recorded request."""
    exchange = exchanges(name)[request]
    found = re.match(r"GET /v([0-9.]+)/", request)
    version = ApiVersion.parse(found[1]) if found else None
    transport = httpx.MockTransport(lambda _: answer(exchange))
    client = DockerClient(api_version=version, transport=transport)
    computed = version is not None and version >= ApiVersion(1, 42) and "podman" not in name
    return await client.list_images(shared_size="shared-size=1" in request and computed)


def version_of(name: str, request: str) -> ApiVersion:
    """The version that an answer is in: Podman lets those pass that it does not know."""
    newest = ApiVersion.parse(recording(name)["api_version"])
    found = re.match(r"GET /v([0-9.]+)/", request)
    return min(ApiVersion.parse(found[1]), newest) if found else newest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # nothing here waits; one test below runs on trio, too


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "path"), LISTS)
async def test_every_recorded_answer_means_what_the_design_says(name: str, path: str) -> None:
    for request, exchange in of_path(name, path).items():
        if exchange["status"] != 200 or not exchange["body"]:
            with pytest.raises(DockerImagesError) as raised:
                await ask(name, request)
            assert_is_told(raised.value, name, request)
            continue
        rows = json.loads(exchange["body"])
        shared_size = "shared-size=1" in request and not name.startswith("podman")
        virtual_size = version_of(name, request) < ApiVersion(1, 44)
        expected = [
            meaning(row, shared_size=shared_size, virtual_size=virtual_size)
            for row in sorted(rows, key=order)
        ]

        images = await ask(name, request)

        encoded = msgspec.json.encode(images)
        assert json.loads(encoded) == expected, request
        assert msgspec.json.decode(encoded, type=list[ImageSummary]) == images


def assert_is_told(error: DockerImagesError, name: str, request: str) -> None:
    """That an error says what the engine said."""
    exchange = exchanges(name)[request]
    if exchange["status"] == 200:
        assert "digests=1" in request, "only Podman's answer to this is empty"
        assert name.startswith("podman")
        assert isinstance(error, ResponseFormatError)
        return
    try:
        said = json.loads(exchange["body"])["message"]
    except ValueError:
        said = exchange["body"].strip()
    assert said in str(error), request
    if said.startswith("client version"):
        assert isinstance(error, ApiVersionError), request
    else:
        assert isinstance(error, EngineResponseError), request
        assert (error.status, error.message) == (exchange["status"], said)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_recording_is_known_or_podmans_own(name: str) -> None:
    known = keys(meaning_of_everything(), SUMMARY) | PODMANS_OWN
    for request, exchange in exchanges(name).items():
        if "/images/json" in request and exchange["status"] == 200 and exchange["body"]:
            for row in json.loads(exchange["body"]):
                assert keys(row, SUMMARY) <= known


@pytest.mark.anyio
@pytest.mark.parametrize("name", NAMES)
async def test_what_is_encoded_has_the_keys_that_engines_use_and_no_other(name: str) -> None:
    known = keys(meaning_of_everything(), SUMMARY)
    for request, exchange in exchanges(name).items():
        if "/images/json" in request and exchange["status"] == 200 and exchange["body"]:
            for image in await ask(name, request):
                assert keys(json.loads(msgspec.json.encode(image)), SUMMARY) <= known


def meaning_of_everything() -> dict[str, Any]:
    """One row that has every key there is."""

    def full(shape: Any) -> Any:
        if isinstance(shape, list):
            return [full(shape[0])]
        if not isinstance(shape, dict):
            return shape(1)
        if str in shape:
            return {"key": "value"}
        return {name.removesuffix("?"): full(inner) for name, inner in shape.items()}

    return dict(full(SUMMARY))


def test_a_row_with_every_key_there_is_comes_back_as_it_was() -> None:
    row = meaning_of_everything()
    image = msgspec.json.decode(json.dumps(row), type=ImageSummary)
    assert json.loads(msgspec.json.encode(image)) == row
    assert msgspec.to_builtins(image).keys() == row.keys()


# A whole engine, replayed: the client finds the version by itself.


def lists_by_version(name: str) -> dict[ApiVersion, dict[str, Any]]:
    return {
        ApiVersion.parse(found[1]): exchange
        for request, exchange in exchanges(name).items()
        if (found := re.fullmatch(r"GET /v([0-9.]+)/images/json", request))
    }


def nearest(name: str, asked: ApiVersion) -> ApiVersion:
    """The recorded version that answers for one that was not recorded."""
    newest = ApiVersion.parse(recording(name)["api_version"])
    recorded = lists_by_version(name)
    if asked > newest:
        return min(version for version in recorded if version > newest)
    return max(version for version in recorded if version <= asked)


def replay(name: str) -> respx.Router:
    """A router that answers as the engine did, in any version, by what was recorded nearest."""
    router = respx.Router(assert_all_called=False)
    router.get("/_ping").mock(answer(exchanges(name)["GET /_ping"]))

    def listing(request: httpx.Request, version: str) -> httpx.Response:
        return answer(lists_by_version(name)[nearest(name, ApiVersion.parse(version))])

    router.get(path__regex=r"^/v(?P<version>[0-9.]+)/images/json$").mock(side_effect=listing)
    return router


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", NAMES)
async def test_the_client_finds_the_version_of_a_recorded_engine(
    name: str, anyio_backend: str
) -> None:
    theirs = recording(name)["api_version"]
    ours = min(ApiVersion.parse(theirs), NEWEST)
    router = replay(name)
    client = DockerClient(transport=httpx.MockTransport(router.async_handler))

    images = await client.list_images()

    rows = sorted(json.loads(lists_by_version(name)[nearest(name, ours)]["body"]), key=order)
    virtual_size = ours < ApiVersion(1, 44)
    assert json.loads(msgspec.json.encode(images)) == [
        meaning(row, virtual_size=virtual_size) for row in rows
    ]
    assert client.api_version == ours
    # Podman lets every version pass.
    refused = ours < NEWEST and not name.startswith("podman")
    assert router.calls.call_count == 1 + refused

    info = await client.ping()
    assert str(info.api_version) == theirs
    engine = recording(name)["engine"].partition(",")[0].partition(" (")[0].split()
    assert str(info).replace("-", " ").split()[: len(engine)] == engine or (
        info.version.startswith(engine[1]) and info.name == engine[0]
    )


# The images that tell most, told by hand.

WEB = ("demo/web:1.0", "demo/web:latest", "registry.example.com:5000/team/web:1.0")
APP = {
    "empty": "",
    "org.opencontainers.image.source": "https://git.example.com/team/app",
    "stage": "test",
}

WORKER = "sha256:fb1a1427e280dac4d549d51af186a4ae063c387764a84fe077f3a70c497fd516"

TELLING: list[Any] = [
    pytest.param(
        *("docker-20.10.24", "GET /v1.41/images/json", "sha256:89ecb6f4"),
        {
            "repo_tags": (),
            "repo_digests": (),
            "labels": {},
            "containers": None,
            "shared_size": None,
            "virtual_size": 3,
            "size": 3,
            "is_dangling": True,
            "references": (),
            "in_use": None,
            "parent_id": "",
        },
        id="Docker 20.10: <none>, null and -1",
    ),
    pytest.param(
        *("docker-20.10.24", "GET /v1.41/images/json", "sha256:c453d463"),
        {
            "repo_tags": (),
            "repo_digests": (f"127.0.0.1:5000/team/worker@{WORKER}",),
            "labels": {},
            "is_dangling": False,
        },
        id="Docker 20.10: null tags, and a digest that refers to it",
    ),
    pytest.param(
        *("docker-20.10.24", "GET /v1.41/images/json", "sha256:9e54138d"),
        {
            "repo_tags": ("127.0.0.1:5000/team/worker:nightly", "demo/built:1"),
            "parent_id": "sha256:435c3a393682ff94a30d995ed769320161507f8726d3626dd056bff55cc95f30",
            "labels": APP,
            "short_id": "9e54138dc588",
            "manifests": None,
            "descriptor": None,
            "platforms": (),
            "content_size": None,
            "unpacked_size": None,
        },
        id="Docker 20.10: built by the classic builder",
    ),
    pytest.param(
        *("docker-25.0.5", "GET /v1.44/images/json?all=1&shared-size=1", "sha256:d7c68e24"),
        {
            "repo_tags": WEB,
            "shared_size": 2048,
            "containers": None,
            "virtual_size": None,
            "labels": {"maintainer": "ops", "stage": "prod", "unicode": "héllo ✓"},
        },
        id="Docker 25: a shared size that was computed",
    ),
    pytest.param(
        *("docker-25.0.5", "GET /v1.42/images/json", "sha256:540e59f1"),
        {"repo_tags": (), "repo_digests": (), "virtual_size": 3, "is_dangling": True},
        id="Docker 25 asked in 1.42: <none> and VirtualSize again",
    ),
    pytest.param(
        *("docker-28.5.2-containerd", "GET /v1.51/images/json?manifests=1", "sha256:f94e164a"),
        {"repo_tags": WEB, "containers": 2, "in_use": True, "size": 46142},
        id="Docker 28: containers are counted",
    ),
    pytest.param(
        *("docker-28.5.2-containerd", "GET /v1.47/images/json?manifests=1", "sha256:f94e164a"),
        {"containers": None, "in_use": True, "descriptor": None},
        id="Docker 28 asked in 1.47: not counted, but its manifest names two",
    ),
    pytest.param(
        *("docker-28.5.2-containerd", "GET /v1.47/images/json?manifests=1", "sha256:9f2073a5"),
        {"containers": None, "in_use": None},
        id="Docker 28 asked in 1.47: nobody counted, and no manifest names any",
    ),
    pytest.param(
        *("docker-28.5.2-containerd", "GET /v1.51/images/json?manifests=1", "sha256:9f2073a5"),
        {
            "repo_tags": ("demo/multi:3",),
            "size": 15617,
            "content_size": 846 + 808 + 867 + 808,
            "unpacked_size": 12288,
            "in_use": False,
        },
        id="Docker 28: an image for three platforms, one of them whole",
    ),
    pytest.param(
        *("docker-master-containerd", "GET /v1.56/images/json", "sha256:61e475c8"),
        {"repo_tags": (), "repo_digests": (), "is_dangling": True, "labels": {}},
        id="Docker 29: no names at all",
    ),
    pytest.param(
        *("podman-4.3.1", "GET /v1.41/images/json", "sha256:d7c68e24"),
        {
            "repo_tags": (
                "registry.example.com:5000/team/web:1.0",
                "localhost/demo/web:latest",
                "localhost/demo/web:1.0",
            ),
            "containers": 2,
            "in_use": True,
            "shared_size": None,
            "virtual_size": 22163,
            "is_dangling": False,
        },
        id="Podman: full names, real count, a 0 that nobody computed",
    ),
    pytest.param(
        *("podman-4.3.1", "GET /v1.41/images/json", "sha256:c453d463"),
        {"parent_id": "sha256:6a4539f50243e97bacea5a7e9d0c44612b0ba61bbce9ce394cf0a3e9972bca1b"},
        id="Podman: the parent gets its algorithm",
    ),
    pytest.param(
        *("podman-4.3.1", "GET /v1.41/images/json", "sha256:1d6c41b9"),
        {"repo_tags": (), "repo_digests": (), "labels": {}, "is_dangling": True},
        id="Podman: null tags and labels",
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "request_", "id_", "values"), TELLING)
async def test_a_telling_image_reads(
    name: str, request_: str, id_: str, values: dict[str, Any]
) -> None:
    (image,) = [image for image in await ask(name, request_) if image.id.startswith(id_)]
    assert {attribute: getattr(image, attribute) for attribute in values} == values


@pytest.mark.anyio
async def test_docker_25_lists_an_image_once_a_platform_under_one_id() -> None:
    images = await ask("docker-25.0.5-containerd", "GET /v1.44/images/json")
    multi = [image for image in images if image.id.startswith("sha256:9f2073a5")]
    assert [image.size for image in multi] == [13134, 13155]
    assert len({image.id for image in multi}) == 1
    assert len(set(multi)) == 2


@pytest.mark.anyio
async def test_a_name_reads_alike_on_docker_and_on_podman_where_it_has_a_registry() -> None:
    docker = await ask("docker-28.5.2", "GET /v1.51/images/json")
    podman = await ask("podman-4.3.1", "GET /v1.41/images/json")
    names = [
        {
            str(reference)
            for image in images
            if image.id.startswith("sha256:d7c68e24")
            for reference in image.references
            if reference.tag
        }
        for images in (docker, podman)
    ]
    at_home = {"localhost/demo/web:1.0", "localhost/demo/web:latest", WEB[2]}
    assert names == [set(WEB), at_home]


@pytest.mark.anyio
async def test_platforms_of_a_recorded_image_are_its_manifests_in_their_order() -> None:
    images = await ask("docker-28.5.2-containerd", "GET /v1.51/images/json?manifests=1")
    (multi,) = [image for image in images if image.id.startswith("sha256:9f2073a5")]
    assert [str(platform) for platform in multi.platforms] == [
        "linux/amd64",
        "linux/arm64/v8",
        "linux/arm/v7",
    ]
    assert [str(platform) for platform in multi.available_platforms] == [
        "linux/amd64",
        "linux/arm64/v8",
    ]


@pytest.mark.anyio
async def test_an_image_built_with_buildkit_tells_its_build() -> None:
    images = await ask("docker-master-containerd", "GET /v1.56/images/json?manifests=1&identity=1")
    (image,) = [image for image in images if image.repo_tags == ("demo/buildkit:1",)]
    assert image.manifests is not None
    built, attestation = image.manifests
    assert (built.kind, attestation.kind) == ("image", "attestation")
    assert built.image_data is not None
    assert built.image_data.identity is not None
    (build,) = built.image_data.identity.build
    assert build.ref == "uuu0qro8ihr7zkh2rh1xmiswi"
    assert build.created_at == "2026-11-21T23:10:22.079633105Z"
    assert str(build.created_at_datetime) == "2026-11-21 23:10:22.079633+00:00"
    assert attestation.attestation_data is not None
    assert attestation.attestation_data.for_ == built.id
