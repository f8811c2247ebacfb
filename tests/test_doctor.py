"""`docker-images doctor`: which engine is asked and why, and what is found there."""

import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
from hostile import an_image, holding

from docker_images.cli import main
from docker_images.testing import FakeEngine, image


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a path short enough for sockets, and nothing configured."""
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="di") as folder:
        monkeypatch.setenv("HOME", folder)
        yield Path(folder)


def store_context(home: Path, name: str, host: str) -> None:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker/contexts/meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, in single spaces, without the engines of the machine of the test."""
    out, err = capsys.readouterr()
    assert err == ""
    found = [" ".join(line.split()) for line in out.splitlines()]
    places = ("host 'unix:///var/", "host 'unix:///run/", "host 'unix:///Applications/")
    return [line for line in found if not any(place in line for place in places)]


VERSION = (200, {"ApiVersion": "1.51", "MinAPIVersion": "1.40"})
EVENTS = {"/events": (200, "")}
FOUND = [
    "ok engine Docker 29.0.0 on linux",
    "ok API versions engine 1.40 to 1.51, library 1.24 to 1.55; negotiated: 1.51",
    "ok images 1",
    "ok can shared_size",
    "-- cannot manifests: that needs the containerd image store, and it has another image store",
    "-- cannot identity: that needs API 1.54, and it has API 1.51",
    "ok can containers",
    "ok can events",
]


@pytest.fixture
def engine() -> Iterator[str]:
    with holding(
        [an_image(Containers=0)], api="1.51", answers={"/version": VERSION} | EVENTS
    ) as host:
        yield host


def nothing_says(home: Path) -> list[str]:
    return [
        *("-- --host not set", "-- --context not set"),
        *("-- DOCKER_HOST not set", "-- DOCKER_CONTEXT not set"),
        f"-- currentContext not set in {home}/.docker/config.json",
        "-- default unix:///var/run/docker.sock",
    ]


def test_each_place_that_may_name_the_engine_has_a_line(
    home: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--host", engine]) == 0

    expected = nothing_says(home)
    expected[0] = f"ok --host {engine}"
    assert lines(capsys) == [*expected, f"ok endpoint {engine}", *FOUND]


def test_what_was_passed_over_is_said_with_its_value(
    home: Path,
    engine: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_context(home, "mine", engine)
    store_context(home, "far", "ssh://me@far.example")
    (home / ".docker/config.json").write_text('{"currentContext": "far"}')
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")

    assert main(["doctor"]) == 0

    expected = nothing_says(home)
    expected[3] = "ok DOCKER_CONTEXT mine"
    expected[4] = f"-- currentContext far in {home}/.docker/config.json, not used"
    other = "-- other engine --context 'far' (or: docker context use far)"
    assert lines(capsys) == [*expected, f"ok endpoint {engine}", *FOUND, other]


def test_no_engine_fails_and_names_the_others_without_connecting(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".rd").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{home}/.rd/docker.sock")
        listener.listen()
        listener.setblocking(False)

        assert main(["doctor", "--host", f"unix://{home}/none.sock"]) == 1

        with pytest.raises(BlockingIOError):
            listener.accept()
    *_, endpoint, failure, other = lines(capsys)
    assert endpoint == f"ok endpoint unix://{home}/none.sock"
    assert failure.startswith(f"!! engine no engine at unix://{home}/none.sock (--host): ")
    assert other == f"-- other engine --host 'unix://{home}/.rd/docker.sock' (Rancher Desktop)"


def test_a_configuration_that_names_no_engine_fails(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "lost")

    assert main(["doctor"]) == 1

    found = lines(capsys)
    assert found[3] == "ok DOCKER_CONTEXT lost"
    assert found[-1].startswith("!! endpoint context 'lost' from DOCKER_CONTEXT: there is no such")


def test_what_is_odd_in_the_configuration_has_a_line_and_is_no_failure(
    home: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text("{")

    assert main(["doctor", "--host", engine]) == 0

    (odd,) = [line for line in lines(capsys) if line.startswith("! ")]
    assert odd.startswith(f"! configuration ignoring {home}/.docker/config.json: ")


def test_names_of_headers_are_told_and_their_values_are_not(
    home: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"HttpHeaders": {"X-Token": "secret"}}')

    assert main(["doctor", "--host", engine]) == 0

    found = lines(capsys)
    assert f"ok endpoint {engine}, headers X-Token" in found
    assert "secret" not in "".join(found)


def test_the_proxy_on_the_way_is_told_and_its_password_is_not(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []

    def engine_and_proxy(peer: hostile.Peer) -> None:
        paths.append(peer.request().split()[1])
        peer.send(hostile.LIST)

    with hostile.serving(engine_and_proxy, tcp=True) as proxy:
        url = proxy.host.replace("tcp://", "http://me:secret@")
        monkeypatch.setenv("HTTP_PROXY", url)
        assert main(["doctor", "--host", "tcp://engine.test:2375"]) == 0

    way = f"through the proxy {url.replace('me:secret@', '')}"
    found = lines(capsys)
    assert f"ok endpoint tcp://engine.test:2375, not encrypted, {way}" in found
    assert "secret" not in "".join(found)
    asked = {path.partition(b"?")[0].rpartition(b"/")[2] for path in paths}
    assert asked == {b"_ping", b"json", b"version", b"events"}


def test_who_pinned_the_version_is_named(
    home: Path,
    engine: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", "1.45")

    assert main(["doctor", "--host", engine]) == 0

    versions = "engine 1.40 to 1.51, library 1.24 to 1.55; pinned by DOCKER_API_VERSION: 1.45"
    assert f"ok API versions {versions}" in lines(capsys)


@pytest.mark.parametrize(
    ("answers", "found", "status"),
    [
        pytest.param(
            {},
            [
                FOUND[0],
                "ok API versions engine up to 1.51, library 1.24 to 1.55; negotiated: 1.51",
                *FOUND[2:],
            ],
            0,
            id="an engine that tells no oldest version",
        ),
        pytest.param(
            {"/version": VERSION, "/_ping": (403, {"message": "only lists"})},
            [
                "! engine {host} (--host) answered 403: only lists; something in front of the",
                "ok API versions engine 1.40 and up, library 1.24 to 1.55; negotiated: 1.51",
                *FOUND[2:],
            ],
            0,
            id="a proxy that lets only lists pass",
        ),
        pytest.param(
            {"/images/json": (500, {"message": "broken"})},
            [
                FOUND[0],
                "!! images {host} (--host) answered 500: broken; ",
            ],
            1,
            id="an engine that cannot list",
        ),
        pytest.param(
            {"/images/json": (200, [{"Id": 1}])},
            [FOUND[0], "!! images"],
            1,
            id="an engine that lists something else",
        ),
    ],
)
def test_a_check_that_fails_says_so_and_the_others_are_made(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, Any],
    found: list[str],
    status: int,
) -> None:
    with holding([an_image(Containers=0)], api="1.51", answers=EVENTS | answers) as host:
        assert main(["doctor", "--host", host]) == status
        told = lines(capsys)[7:]

    assert len(told) == len(found)
    for line, start in zip(told, found, strict=True):
        assert line.startswith(start.format(host=host))


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1, not encrypted"),
        (
            "https://127.0.0.1:1",
            "https://127.0.0.1:1, TLS verified with the system's certificates",
        ),
    ],
)
def test_whether_the_way_is_encrypted_is_said(
    home: Path, capsys: pytest.CaptureFixture[str], host: str, endpoint: str
) -> None:
    assert main(["doctor", "--host", host]) == 1

    assert f"ok endpoint {endpoint}" in lines(capsys)


def test_tls_is_described_by_its_files(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ca", "cert", "key"):
        (home / f"{name}.pem").write_text("")
    monkeypatch.setenv("DOCKER_TLS", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(home))

    assert main(["doctor", "--host", "tcp://127.0.0.1:1"]) == 1

    expected = "tcp://127.0.0.1:1, TLS without verification, client certificate "
    assert f"ok endpoint {expected}{home}/cert.pem" in lines(capsys)


@pytest.mark.parametrize(("engine", "name"), [("dockerd", "Docker"), ("podman", "Podman")])
def test_real_engines_pass(
    home: Path,
    engine: str,
    name: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--host", request.getfixturevalue(engine)]) == 0

    found = lines(capsys)
    assert any(line.startswith(f"ok engine {name} ") for line in found)
    (versions,) = [line for line in found if line.startswith("ok API versions engine 1.")]
    assert " library 1.24 to 1.55; negotiated: 1." in versions


@pytest.mark.parametrize(
    ("shape", "can"),
    [
        ("docker 20.10", {"events", "containers"}),
        ("docker 28.5", {"events", "shared_size", "containers"}),
        ("docker 28.5 containerd", {"events", "shared_size", "manifests", "containers"}),
        (
            "docker master containerd",
            {"events", "shared_size", "manifests", "identity", "containers"},
        ),
        ("podman 4.3", {"events", "containers"}),
    ],
)
def test_what_this_engine_can_is_told_for_programs_too(
    home: Path, shape: str, can: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeEngine([image("a:1")], shape) as engine:
        assert main(["doctor", "--host", engine.host, "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    checks = told["checks"]
    assert {one["result"] for one in checks if one["check"] == "can"} == can
    cannot = {one["result"].partition(":")[0] for one in checks if one["check"] == "cannot"}
    assert can | cannot == {"shared_size", "manifests", "identity", "containers", "events"}
    assert {one["mark"] for one in checks} <= {"ok", "information"}


def test_a_failure_is_json_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--host", f"unix://{home}/none.sock", "--json"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [one["check"] for one in told["checks"] if one["mark"] == "failed"] == ["engine"]


def test_who_may_not_ask_for_containers_is_told_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"/containers/json": (403, {"message": "only images"})}
    with holding([an_image()], api="1.50", answers=answers) as host:
        assert main(["doctor", "--host", host]) == 0

    (line,) = [line for line in lines(capsys) if "containers" in line]
    assert line.startswith(f"! cannot containers: {host} (--host) answered 403: only images")


def test_who_may_not_ask_for_events_is_told_what_a_watch_does(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"/events": (403, {"message": "only images"})}
    with holding([an_image(Containers=0)], api="1.50", answers=answers) as host:
        assert main(["doctor", "--host", host]) == 0

    (line,) = [line for line in lines(capsys) if "cannot events" in line]
    assert line.startswith(f"-- cannot events: {host} (--host) answered 403: only images")
    assert line.endswith("; watch_images() lists every 30 s instead")
