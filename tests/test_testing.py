"""The fake engine as users of `docker_images.testing` meet it."""

import gc
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import engines
import pytest
from facts import fact

from docker_images import DockerClient, ImageSummary
from docker_images.testing import (
    ENGINE_NAMES,
    FakeEngine,
    UnknownRequest,
    demo_images,
    faults,
    image,
)

LIST = "/v1.41/images/json"


def raw(host: str, *requests: bytes) -> bytes:
    """Send requests on one connection, and return all that comes back until it ends."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(host.removeprefix("unix://"))
        for request in requests:
            connection.sendall(request)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def get(target: str, last: bool = True) -> bytes:
    connection = b"Connection: close\r\n" if last else b""
    return b"GET " + target.encode() + b" HTTP/1.1\r\nHost: x\r\n" + connection + b"\r\n"


def chunks(response: bytes) -> list[int]:
    """The lengths of the chunks of a response."""
    body, lengths = response.partition(b"\r\n\r\n")[2], []
    while body:
        size, _, rest = body.partition(b"\r\n")
        lengths.append(int(size, 16))
        body = rest[int(size, 16) + 2 :]
    return lengths


# Serving


@pytest.mark.anyio
async def test_it_serves_in_the_event_loop_of_the_test() -> None:
    threads = threading.active_count()
    async with FakeEngine([image("alpine:3.20")]) as engine:
        assert threading.active_count() <= threads
        async with DockerClient(host=engine.host) as client:
            assert [one.repo_tags for one in await client.list_images()] == [("alpine:3.20",)]


def test_it_serves_from_a_thread_for_synchronous_code() -> None:
    with FakeEngine([image("alpine:3.20")]) as engine:
        answer = engines.call(engine.host, "GET", LIST)
    assert answer.status == 200
    assert answer.json()[0]["RepoTags"] == ["alpine:3.20"]


@pytest.mark.anyio
async def test_a_thread_serves_any_event_loop() -> None:
    with FakeEngine([image("alpine:3.20")]) as engine:
        async with DockerClient(host=engine.host) as client:
            assert len(await client.list_images()) == 1


def test_it_listens_on_loopback_where_tcp_is_asked_for() -> None:
    with FakeEngine(tcp=True) as engine:
        assert engine.host.startswith("tcp://127.0.0.1:")
        assert engines.call(engine.host, "GET", "/_ping").body == b"OK"
        engine.restart()
        assert engines.call(engine.host, "GET", "/_ping").body == b"OK"


def test_it_has_an_address_only_inside_the_block() -> None:
    engine = FakeEngine()
    with pytest.raises(RuntimeError, match="only inside its `with` block"):
        engine.host  # noqa: B018
    with engine:
        path = Path(engine.host.removeprefix("unix://"))
        assert path.is_socket()
    assert not path.parent.exists()


def test_it_can_run_again_but_not_twice_at_once() -> None:
    engine = FakeEngine()
    with engine, pytest.raises(RuntimeError, match="already running"):
        engine.__enter__()
    with engine:
        assert engines.call(engine.host, "GET", "/_ping").status == 200


@pytest.mark.anyio
async def test_an_engine_that_could_not_start_can_be_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = FakeEngine()
    with monkeypatch.context() as full:
        full.setattr(tempfile, "tempdir", "/nowhere")
        with pytest.raises(FileNotFoundError):
            engine.__enter__()
        with pytest.raises(FileNotFoundError):
            await engine.__aenter__()
    badly = FakeEngine(mode=2**40)  # fails when the socket is there already
    for _ in range(2):
        with pytest.raises(OverflowError):
            badly.__enter__()
        with pytest.raises(OverflowError):
            await badly.__aenter__()
        gc.collect()  # a socket that was left open would warn
    async with engine:
        engine.restart()
    with engine:
        assert engines.call(engine.host, "GET", "/_ping").status == 200


@pytest.mark.anyio
async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with FakeEngine():
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), FakeEngine():
        raise ZeroDivisionError


@pytest.mark.anyio
async def test_cancelling_the_block_ends_the_engine() -> None:
    with anyio.CancelScope() as scope:
        async with FakeEngine() as engine:
            host = engine.host
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(FileNotFoundError):
        raw(host)


def test_one_connection_carries_many_requests() -> None:
    with FakeEngine() as engine:
        received = raw(engine.host, get("/_ping", last=False), get(LIST))
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.endswith(b"\r\n\r\n[]\n")


def test_requests_in_one_piece_are_answered_one_after_the_other() -> None:
    with FakeEngine() as engine:
        received = raw(engine.host, get("/_ping", last=False) + get(LIST))
    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_a_long_body_of_docker_is_one_chunk() -> None:
    with FakeEngine(demo_images(), engine="docker 28.5") as engine:
        received = raw(engine.host, get(LIST))
    first, end = chunks(received)
    assert first > 2048
    assert end == 0


def test_a_long_body_of_podman_comes_in_chunks_of_2048_bytes() -> None:
    with FakeEngine(demo_images(), engine="podman 4") as engine:
        *full, last, end = chunks(raw(engine.host, get(LIST)))
    assert set(full) == {2048}
    assert 0 < last <= 2048
    assert end == 0


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_a_short_body_has_a_length(name: str) -> None:
    with FakeEngine(engine=name) as engine:
        assert engines.call(engine.host, "GET", LIST).headers["Content-Length"] == "3"


def test_what_is_not_http_is_refused_as_go_does() -> None:
    with FakeEngine() as engine:
        assert raw(engine.host, b"\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request")


# Engines


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("docker 28", "docker 28.5"),
        ("Docker 28 containerd", "docker 28.5 containerd"),
        ("docker 29 containerd", "docker 29.7 containerd"),
        ("docker 20.10", "docker 20.10"),
        ("podman", "podman 4"),
    ],
)
def test_an_engine_goes_by_several_names(name: str, known: str) -> None:
    assert FakeEngine(engine=name).engine == known


def test_a_name_is_no_image_and_not_every_text_a_version() -> None:
    with pytest.raises(TypeError, match=r"what image\('alpine:3'\) returns, .* not 'alpine:3'"):
        FakeEngine(["alpine:3"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"'1\.x' is not an API version"):
        FakeEngine(api_version="1.x")


def test_an_unknown_engine_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"no engine is called 'rkt'; known are 'docker 20\.10',"):
        FakeEngine(engine="rkt")


def test_the_api_version_can_be_another() -> None:
    with FakeEngine(api_version="1.47", min_api_version="1.44") as engine:
        new = engines.call(engine.host, "GET", "/v1.48/images/json")
        old = engines.call(engine.host, "GET", "/v1.43/images/json")
        version = engines.call(engine.host, "GET", "/version").json()
    assert new.json()["message"].endswith("Maximum supported API version is 1.47")
    assert new.headers["Api-Version"] == "1.47"
    assert "Minimum supported API version is 1.44" in old.json()["message"]
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.47", "1.44")


@pytest.mark.anyio
@pytest.mark.parametrize("name", ENGINE_NAMES)
async def test_the_library_lists_the_same_demo_from_every_engine(name: str) -> None:
    async with (
        FakeEngine(demo_images(), engine=name) as engine,
        DockerClient(host=engine.host) as client,
    ):
        images = await client.list_images()
        ping = await client.ping()
    assert len(images) == 12
    assert str(ping.api_version) == fact(name, "API").rpartition("–")[2]
    assert sum(one.is_dangling for one in images) == 1
    assert {"größe": "klein 🐳", "作者": "田中", "empty": ""} in [one.labels for one in images]


# Images


def tags(engine: FakeEngine) -> list[list[str]]:
    return [one["RepoTags"] for one in engines.call(engine.host, "GET", "/images/json").json()]


def test_images_come_and_go_while_it_runs() -> None:
    with FakeEngine() as engine:
        engine.images.add(image("alpine:3.20"))
        assert tags(engine) == [["alpine:3.20"]]
        engine.images.tag("alpine:3.20", "mine")
        assert tags(engine) == [["alpine:3.20", "mine:latest"]]
        engine.images.untag("docker.io/library/alpine:3.20")
        assert tags(engine) == [["mine:latest"]]
        engine.images.untag("mine")
        assert tags(engine) == [[]]
        (left,) = engine.images
        engine.images.remove(left.id[:19])
        assert tags(engine) == []


def test_a_tag_belongs_to_one_image() -> None:
    with FakeEngine([image("web:1", size=1)]) as engine:
        engine.images.add(image("web:1", size=2, created=1_800_000_000))
        assert tags(engine) == [["web:1"], []]
        engine.images.tag("web:1", "web:2")
        assert engine.images["web:2"].size == 2


@pytest.mark.parametrize("name", ["web:9", "0123456789ab"])
@pytest.mark.parametrize("method", ["untag", "remove", "__getitem__"])
def test_an_image_that_is_not_there_is_a_key_error(method: str, name: str) -> None:
    images = FakeEngine([image("web:1", id="sha256:" + "f" * 64)]).images
    assert name not in images
    with pytest.raises(KeyError):
        getattr(images, method)(name)


def test_an_image_is_described_in_any_of_three_ways() -> None:
    built = image("web:1", labels={"a": "b"}, size=7, created=8, containers=1, digests=[])
    wire = {
        "Id": built.id,
        "RepoTags": ["web:1"],
        "RepoDigests": None,
        "Labels": {"a": "b"},
        "Size": 7,
        "Created": 8,
        "Containers": 1,
    }
    typed = ImageSummary(
        id=built.id, repo_tags=("web:1",), labels={"a": "b"}, size=7, created=8, containers=1
    )
    answers = []
    for given in (built, wire, typed):
        with FakeEngine([given], engine="docker 28.5") as engine:
            answers.append(engines.call(engine.host, "GET", "/images/json").json())
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0]["Containers"] == 1


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_what_an_engine_lists_makes_another_that_lists_the_same(name: str) -> None:
    with FakeEngine(demo_images(), engine=name) as first:
        listing = engines.call(first.host, "GET", "/images/json?all=1").json()
    with FakeEngine(listing, engine=name) as second:
        assert engines.call(second.host, "GET", "/images/json?all=1").json() == listing


def test_the_id_of_a_built_image_follows_from_the_rest() -> None:
    assert image("web:1").id == image("web:1").id
    assert len({image("web:1").id, image("web:2").id, image("web:1", size=1).id}) == 3


def test_times_are_aware_or_seconds_and_a_list_has_whole_ones() -> None:
    with FakeEngine([image("a", created=1.75), image("b", created=None)]) as engine:
        rows = engines.call(engine.host, "GET", "/images/json").json()
    assert [row["Created"] for row in rows] == [1, 0]


def test_a_nameless_record_beside_the_names_shows_as_on_the_containerd_store() -> None:
    web = image("web:1")
    web.dangling_record = True
    dangling = LIST + "?filters=%7B%22dangling%22%3A%7B%22true%22%3Atrue%7D%7D"
    with FakeEngine([web], engine="docker master containerd") as engine:
        assert tags(engine) == [["web:1"]]
        (row,) = engines.call(engine.host, "GET", dangling.replace("1.41", "1.56")).json()
    assert row["RepoTags"] == []


def test_an_image_that_cannot_be_written_is_an_error_of_the_test() -> None:
    with pytest.raises(UnicodeEncodeError), FakeEngine([image(labels={"a": "\ud800"})]) as engine:
        assert raw(engine.host, get(LIST)) == b""


# What was asked


def test_it_records_what_was_asked() -> None:
    with FakeEngine() as engine:
        query = "?all=1&filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D"
        engines.call(engine.host, "GET", LIST + query, headers={"X-A": "b"})
        engines.call(engine.host, "HEAD", "/_ping")
        listed, pinged = engine.requests
    assert (listed.method, listed.target) == ("GET", LIST + query)
    assert (listed.path, listed.version) == ("/images/json", "1.41")
    assert listed.query["all"] == "1"
    assert listed.filters == {"label": {"a=b": True}}
    assert listed.headers["x-a"] == "b"
    assert (pinged.method, pinged.path, pinged.version) == ("HEAD", "/_ping", None)
    assert pinged.filters is None


def test_an_unknown_path_is_answered_as_the_engine_does_and_fails_the_test() -> None:
    with (
        pytest.raises(UnknownRequest, match=r"GET /v1\.41/networks"),
        FakeEngine() as engine,
    ):
        answer = engines.call(engine.host, "GET", "/v1.41/networks")
    assert (answer.status, answer.json()) == (404, {"message": "page not found"})


@pytest.mark.anyio
async def test_an_unknown_path_fails_an_asynchronous_test_too() -> None:
    with pytest.raises(UnknownRequest, match="GET /info"):
        async with FakeEngine() as engine:
            await anyio.to_thread.run_sync(engines.call, engine.host, "GET", "/info")


def test_an_unknown_path_can_be_let_pass() -> None:
    with FakeEngine(strict=False) as engine:
        assert engines.call(engine.host, "GET", "/info").status == 404


def test_an_unknown_path_does_not_hide_what_the_test_found_first() -> None:
    def fail() -> None:
        with FakeEngine() as engine:
            engines.call(engine.host, "GET", "/info")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert "GET /info" in caught.value.__notes__[0]


# Faults


def test_a_fault_hits_the_nth_request_of_a_path() -> None:
    hit = faults.error(500, nth=2, path="/images/json")
    with FakeEngine(faults=[hit]) as engine:
        statuses = [
            engines.call(engine.host, "GET", path).status
            for path in ("/_ping", LIST, "/_ping", LIST, LIST)
        ]
    assert statuses == [200, 200, 200, 500, 200]


def test_a_fault_comes_and_goes_while_it_runs() -> None:
    with FakeEngine() as engine:
        engine.faults.append(faults.forbidden())
        assert engines.call(engine.host, "GET", LIST).status == 403
        engine.faults.clear()
        assert engines.call(engine.host, "GET", LIST).status == 200


def faulty(fault: faults.Fault) -> bytes:
    with FakeEngine(demo_images(), engine="docker 28.5", faults=[fault]) as engine:
        return raw(engine.host, get(LIST))


def test_close_after_head() -> None:
    received = faulty(faults.close_after_head())
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n")


def test_truncated() -> None:
    received = faulty(faults.truncated())
    whole = chunks(faulty(faults.slow(size=4096, pause=0)))[0]
    assert whole // 3 < len(received.partition(b"\r\n\r\n")[2]) < whole


def test_garbage() -> None:
    assert faulty(faults.garbage(b"SSH-2.0-OpenSSH_9.2\r\n")) == b"SSH-2.0-OpenSSH_9.2\r\n"
    assert not faulty(faults.garbage()).startswith(b"HTTP/")


def test_an_error_page_in_html() -> None:
    received = faulty(faults.error())
    assert received.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"Content-Type: text/html" in received
    assert b"Api-Version" not in received


def test_the_403_of_a_filtering_proxy() -> None:
    received = faulty(faults.forbidden())
    assert received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"administrative rules" in received


def test_no_api_version() -> None:
    received = faulty(faults.no_api_version())
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Api-Version" not in received
    assert b"Server: Docker/28.5.2" in received


def test_slow() -> None:
    with FakeEngine(faults=[faults.slow(pause=0.002, size=50)]) as engine:
        started = time.monotonic()
        received = raw(engine.host, get("/_ping"))
        assert time.monotonic() - started > 0.002 * (len(received) // 50)
    assert received.endswith(b"OK")


@pytest.mark.parametrize("after", ["nothing", "head", "half"])
@pytest.mark.parametrize("tcp", [False, True])
def test_reset(after: Any, tcp: bool) -> None:
    with FakeEngine(demo_images(), faults=[faults.reset(after=after)], tcp=tcp) as engine:
        received = bytearray()
        with connected(engine.host) as connection:
            connection.sendall(get(LIST))
            with pytest.raises(ConnectionResetError):
                receive(connection, received)
    if not tcp:  # there the reset may overtake what was sent
        assert received.startswith(b"HTTP/1.1 200 OK" if after != "nothing" else b"")
        assert bool(received) is (after != "nothing")


@pytest.mark.parametrize("after", ["nothing", "head", "half"])
def test_hang(after: Any) -> None:
    hanging = faults.hang(after=after)
    with FakeEngine(demo_images(), faults=[hanging]) as engine, connected(engine.host) as one:
        one.sendall(get(LIST))
        received = bytearray()
        if after != "nothing":
            received += one.recv(65536)
        one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            receive(one, received)
        assert bool(received) is (after != "nothing")


def receive(connection: socket.socket, received: bytearray) -> None:
    while data := connection.recv(65536):
        received += data


def connected(host: str) -> socket.socket:
    scheme, _, address = host.partition("://")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
    else:
        name, _, port = address.partition(":")
        connection = socket.create_connection((name, int(port)))
    connection.settimeout(60)
    return connection


# Operations


def test_a_restart_drops_connections_and_keeps_the_address() -> None:
    with FakeEngine() as engine, connected(engine.host) as connection:
        connection.sendall(get("/_ping", last=False))
        assert connection.recv(65536).endswith(b"OK")
        engine.restart()
        assert connection.recv(65536) == b""
        assert engines.call(engine.host, "GET", "/_ping").status == 200


def test_a_stopped_engine_has_no_socket_until_it_starts() -> None:
    with FakeEngine() as engine:
        engine.stop()
        with pytest.raises(FileNotFoundError):
            engines.call(engine.host, "GET", "/_ping")
        engine.start()
        assert engines.call(engine.host, "GET", "/_ping").status == 200


@pytest.mark.anyio
async def test_an_upgrade_and_a_downgrade_keep_socket_and_images() -> None:
    async with (
        FakeEngine([image("alpine:3.20")], engine="docker 25") as engine,
        DockerClient(host=engine.host) as client,
    ):
        for name, version in [("docker 28.5", "1.51"), ("podman 4", "1.41")]:
            engine.become(name)
            assert len(await client.list_images()) == 1
            assert str(client.api_version) == version


@pytest.mark.parametrize("operation", ["stop", "start", "restart"])
def test_an_engine_that_does_not_run_cannot_be_operated(operation: str) -> None:
    with pytest.raises(RuntimeError, match="not running"):
        getattr(FakeEngine(), operation)()


CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.mark.parametrize(("mode", "refused"), [(0o600, True), (0o666, False)])
def test_the_socket_has_the_permissions_it_is_told(mode: int, refused: bool) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user takes root")
    # One that another user may run: that of a .venv may lie below /root.
    path = "/usr/bin:/bin"
    python = shutil.which("python3", path=path) or os.path.realpath(sys.executable)
    with FakeEngine(mode=mode) as engine:
        done = subprocess.run(
            [python, "-c", CONNECT, engine.host.removeprefix("unix://")],
            user=65534,
            env={"PATH": path},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert ("PermissionError" in done.stderr) is refused


def test_chmod_changes_the_permissions_while_it_runs() -> None:
    with FakeEngine() as engine:
        path = Path(engine.host.removeprefix("unix://"))
        engine.chmod(0)
        assert path.stat().st_mode & 0o777 == 0


# Nothing is left


def traces(folder: str) -> tuple[int, int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir(folder))


async def start_and_stop(times: int) -> None:
    for _ in range(times):
        async with FakeEngine():
            pass


def threaded(times: int) -> None:
    for _ in range(times):
        with FakeEngine():
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda: threaded(600), id="600 in threads"),
        pytest.param(lambda: anyio.run(start_and_stop, 200), id="200 on asyncio"),
        pytest.param(lambda: anyio.run(start_and_stop, 200, backend="trio"), id="200 on trio"),
    ],
)
def test_a_thousand_starts_leave_nothing(
    run: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="di-") as folder:  # other processes use /tmp, too
        monkeypatch.setattr(tempfile, "tempdir", folder)
        threaded(1)
        before = traces(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run()
        after = traces(folder)
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)


# The pytest plugin


def test_the_fixture_is_a_running_engine(docker_engine: FakeEngine) -> None:
    docker_engine.images.add(image("alpine:3.20"))
    assert tags(docker_engine) == [["alpine:3.20"]]


@pytest.mark.anyio
async def test_the_fixture_serves_asynchronous_tests(docker_engine: FakeEngine) -> None:
    async with DockerClient(host=docker_engine.host) as client:
        assert await client.list_images() == []


def test_the_factory_starts_as_many_as_wanted(
    docker_engine_factory: Callable[..., FakeEngine],
) -> None:
    docker = docker_engine_factory([image("a:1")], engine="docker 20.10")
    podman = docker_engine_factory(engine="podman 4")
    assert docker.host != podman.host
    assert tags(docker) == [["a:1"]]


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_docker_images; "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pytest_docker_images']"
