"""What docker's configuration folder says, and what becomes of one that is broken."""

import hashlib
import os
from pathlib import Path

import pytest

from docker_images.address import Endpoint
from docker_images.endpoint.config import (
    config_folder,
    home_folder,
    read_config,
    stored_context_names,
)
from docker_images.endpoint.hosts import resolve_endpoint
from docker_images.engine.request import build_request
from docker_images.errors import EndpointError


def meta_of(folder: Path, name: str) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    path = folder / "contexts/meta" / key / "meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def resolve(folder: Path, **env: str) -> Endpoint:
    return resolve_endpoint({"DOCKER_CONFIG": str(folder), **env})


@pytest.mark.parametrize(
    ("env", "platform", "folder"),
    [
        pytest.param({"HOME": "/h"}, "linux", "/h/.docker", id="home"),
        pytest.param({"USERPROFILE": "/u", "HOME": "/h"}, "win32", "/u/.docker", id="Windows"),
        pytest.param({"HOME": "/h", "DOCKER_CONFIG": "/c"}, "linux", "/c", id="DOCKER_CONFIG"),
        pytest.param({"HOME": "/h", "DOCKER_CONFIG": ""}, "linux", "/h/.docker", id="empty"),
    ],
)
def test_the_folder_is_that_of_the_environment(
    env: dict[str, str], platform: str, folder: str
) -> None:
    assert config_folder(env, platform) == Path(folder)


def test_a_user_without_home_has_that_of_the_password_database() -> None:
    pwd = pytest.importorskip("pwd")

    assert home_folder({"HOME": ""}, "linux") == Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize(
    ("text", "current"),
    [
        pytest.param('{"currentContext": "eng"}', "eng", id="plain"),
        pytest.param('{"CURRENTCONTEXT": "eng"}', "eng", id="any case"),
        pytest.param('{"currentContext": "a", "CurrentContext": "eng"}', "eng", id="last wins"),
        pytest.param('{"currentContext": "eng", "currentcontext": null}', "eng", id="null is none"),
        pytest.param('{"currentContext": "eng"} trailing', "eng", id="text behind"),
        pytest.param('\n\t {"currentContext": "eng"}', "eng", id="space before"),
        pytest.param('{"currentContext": "eng", "auths": 5}', "eng", id="others are not read"),
        pytest.param('{"x": {"currentContext": "no"}}', "", id="only at the top"),
        pytest.param("", "", id="empty file"),
        pytest.param(" \n", "", id="blank file"),
        pytest.param("null", "", id="null"),
        pytest.param("{}", "", id="empty object"),
    ],
)
def test_config_json_is_read_as_go_reads_it(tmp_path: Path, text: str, current: str) -> None:
    (tmp_path / "config.json").write_text(text)

    found = read_config(tmp_path)

    assert (found.current_context, found.warnings) == (current, ())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b'{"currentContext": "eng"', "ignoring ", id="cut off"),
        pytest.param(b'\xef\xbb\xbf{"currentContext": "eng"}', "ignoring ", id="BOM"),
        pytest.param(b'{"currentContext": NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b'["currentContext"]', "not a JSON object", id="list"),
        pytest.param(b'"eng"', "not a JSON object", id="string"),
        pytest.param(b'{"currentContext": 5}', "currentContext is of the wrong type", id="number"),
        pytest.param(b'{"HttpHeaders": []}', "HttpHeaders is of the wrong type", id="headers"),
        pytest.param(b"[" * 100_000, "ignoring ", id="deep"),
        pytest.param(b"9" * 10_000, "ignoring ", id="long number"),
    ],
)
def test_a_broken_config_json_is_passed_over_with_a_warning(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "config.json").write_bytes(content)

    found = resolve(tmp_path)

    assert found.source == "default"
    assert len(found.warnings) == 1
    assert told in found.warnings[0]
    assert str(tmp_path / "config.json") in found.warnings[0]


def test_a_config_json_that_is_a_folder_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()

    assert "is a directory" in resolve(tmp_path).warnings[0]


@pytest.fixture
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What is no file of a sensible size."""
    path = tmp_path / "odd"
    match request.param:
        case "FIFO":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            with path.open("wb") as file:
                file.truncate(16 * 2**20 + 1)
    return path


ODD = pytest.mark.parametrize(
    ("odd", "fact"),
    [
        ("FIFO", "not a regular file"),
        ("device", "not a regular file"),
        ("large file", "larger than 16 MiB"),
    ],
    indirect=["odd"],
)


@ODD
@pytest.mark.skipif("sys.platform == 'win32'", reason="no FIFO")
def test_a_config_json_that_is_no_usual_file_is_passed_over_with_a_warning(
    tmp_path: Path, odd: Path, fact: str
) -> None:
    (tmp_path / "config.json").symlink_to(odd)

    assert resolve(tmp_path).warnings == (f"ignoring {tmp_path}/config.json: {fact}",)


@ODD
@pytest.mark.skipif("sys.platform == 'win32'", reason="no FIFO")
def test_a_context_that_is_no_usual_file_is_an_error(tmp_path: Path, odd: Path, fact: str) -> None:
    meta_of(tmp_path, "x").symlink_to(odd)

    with pytest.raises(EndpointError, match=fact):
        resolve(tmp_path, DOCKER_CONTEXT="x")
    assert stored_context_names(tmp_path) == ()


def test_a_missing_folder_is_no_reason_to_warn(tmp_path: Path) -> None:
    assert resolve(tmp_path / "nowhere").warnings == ()


def test_headers_are_carried_but_not_those_of_the_transport(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"httpheaders": {"X-Auth": "s3cret", "Host": "x", "user-agent": "x", "Connection": "x",'
        ' "Content-Length": "9", "Transfer-Encoding": "x", "X-Empty": ""}}'
    )

    found = resolve(tmp_path)

    assert found.headers == (("X-Auth", "s3cret"), ("X-Empty", ""))
    assert found.warnings == ()


@pytest.mark.parametrize(
    "pair",
    [
        '"X": "a\\r\\nY: b"',
        '"X": "\\u0000"',
        '"a b": "x"',
        '"": "x"',
        '"X": 5',
        '"X:": ""',
    ],
)
def test_what_is_no_header_is_left_out_with_a_warning(tmp_path: Path, pair: str) -> None:
    (tmp_path / "config.json").write_text('{"HttpHeaders": {"Good": "1", ' + pair + "}}")

    found = resolve(tmp_path)

    assert found.headers == (("Good", "1"),)
    assert "not a header" in found.warnings[0]


@pytest.mark.parametrize(
    ("name", "text", "sent"),
    [
        pytest.param("X-Api.Key", "a", b"a", id="a dot in the name"),
        pytest.param("!#$%&'*+-.^_`|~09azAZ", "a", b"a", id="every character of a token"),
        pytest.param("X", "a\\tb", b"a\tb", id="tab"),
        pytest.param("X", "é☃", "é☃".encode(), id="UTF-8"),
        pytest.param("X", "\\u0085", b"\xc2\x85", id="C1"),
        pytest.param("X", "\\ud800", "\ufffd".encode(), id="half a surrogate pair"),
        pytest.param("X", " \\ta ", b"a", id="space around"),
    ],
)
def test_headers_that_docker_sends_are_sent(
    tmp_path: Path, name: str, text: str, sent: bytes
) -> None:
    (tmp_path / "config.json").write_text(f'{{"HttpHeaders": {{"{name}": "{text}"}}}}')

    found = resolve(tmp_path)
    request = build_request("http://docker", "/_ping", headers=found.headers)

    assert found.warnings == ()
    assert (name.encode(), sent) in request.headers.raw


def test_headers_go_to_the_engine_of_a_context_as_well(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "x", "HttpHeaders": {"A": "b"}}')
    meta_of(tmp_path, "x").write_text('{"Endpoints": {"docker": {"Host": "unix:///s"}}}')

    assert resolve(tmp_path).headers == (("A", "b"),)


@pytest.mark.parametrize(
    "name", ["eng", "default2", "../../etc", "ünïcode", "a b", "x" * 500, "DEFAULT"]
)
def test_a_context_is_found_by_the_hash_of_its_name(tmp_path: Path, name: str) -> None:
    meta_of(tmp_path, name).write_text('{"Endpoints": {"docker": {"Host": "unix:///s"}}}')

    assert resolve(tmp_path, DOCKER_CONTEXT=name).host == "unix:///s"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        pytest.param('{"Endpoints":{"docker":{"Host":"unix:///s"}}}', "unix:///s", id="plain"),
        pytest.param('{"ENDPOINTS":{"docker":{"hOST":"unix:///s"}}}', "unix:///s", id="any case"),
        pytest.param(
            '{"Name":"other","Endpoints":{"docker":{"Host":"unix:///s"}}}', "unix:///s", id="name"
        ),
        pytest.param(
            '{"Metadata":5,"Endpoints":{"docker":{"Host":"unix:///s"}}}',
            "unix:///s",
            id="Metadata is not looked at",
        ),
        pytest.param('{"Endpoints":{"docker":{}}}', "unix:///var/run/docker.sock", id="no host"),
        pytest.param(
            '{"Endpoints":{"docker":{"Host":""}}}', "unix:///var/run/docker.sock", id="empty host"
        ),
        pytest.param(
            '{"Endpoints":{"docker":{"Host":null}}}', "unix:///var/run/docker.sock", id="null host"
        ),
    ],
)
@pytest.mark.skipif("sys.platform == 'win32'", reason="the default is another")
def test_a_stored_context_is_read_as_go_reads_it(tmp_path: Path, text: str, host: str) -> None:
    meta_of(tmp_path, "x").write_text(text)

    assert resolve(tmp_path, DOCKER_CONTEXT="x").host == host


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        pytest.param("", "is not JSON", id="empty"),
        pytest.param("{", "is not JSON", id="cut off"),
        pytest.param('{"Endpoints":{"docker":{"Host":"unix:///s"}}} x', "is not JSON", id="behind"),
        pytest.param("[" * 100_000, "is not JSON", id="deep"),
        pytest.param("[]", "not a JSON object", id="list"),
        pytest.param("null", "not a JSON object", id="null"),
        pytest.param("{}", "no docker endpoint", id="no endpoints"),
        pytest.param('{"Endpoints":5}', "no docker endpoint", id="endpoints a number"),
        pytest.param('{"Endpoints":{}}', "no docker endpoint", id="none"),
        pytest.param('{"Endpoints":{"Docker":{"Host":"unix:///s"}}}', "no docker", id="map case"),
        pytest.param('{"Endpoints":{"docker":null}}', "no docker endpoint", id="docker null"),
        pytest.param('{"Endpoints":{"docker":{"Host":5}}}', "Host is of the wrong", id="host"),
        pytest.param(
            '{"Endpoints":{"docker":{"Host":"unix:///s","SkipTLSVerify":"no"}}}',
            "SkipTLSVerify is of the wrong",
            id="skip",
        ),
    ],
)
def test_a_broken_context_is_an_error_and_never_another_engine(
    tmp_path: Path, text: str, fact: str
) -> None:
    meta_of(tmp_path, "x").write_text(text)

    with pytest.raises(EndpointError) as caught:
        resolve(tmp_path, DOCKER_CONTEXT="x")

    message = str(caught.value)
    assert message.startswith("context 'x' from DOCKER_CONTEXT: ")
    assert fact in message
    assert "docker context update" in message


def test_an_unknown_context_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    meta_of(tmp_path, "eng").write_text('{"Name": "eng"}')
    meta_of(tmp_path, "b").write_text('{"Name": "not the one of the hash"}')
    (tmp_path / "config.json").write_text('{"currentContext": "gone"}')

    with pytest.raises(EndpointError, match=r"choose one of: default, eng$") as caught:
        resolve(tmp_path)

    assert f"context 'gone' from currentContext of {tmp_path}/config.json" in str(caught.value)


@pytest.mark.parametrize("name", ["\ud800", "a\0b", " ", "é" * 9999])
def test_a_name_that_no_context_can_have_is_unknown_like_any_other(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(EndpointError):
        resolve(tmp_path, DOCKER_CONTEXT=name)


def test_a_folder_that_cannot_be_read_is_not_taken_for_one_without_contexts(tmp_path: Path) -> None:
    meta_of(tmp_path, "x").mkdir()

    with pytest.raises(EndpointError, match=r"cannot read .*is a directory; check DOCKER_CONFIG"):
        resolve(tmp_path, DOCKER_CONTEXT="x")


def test_the_names_of_contexts_are_sorted_and_readable_ones_only(tmp_path: Path) -> None:
    for name in ("b", "a"):
        meta_of(tmp_path, name).write_text(f'{{"Name": "{name}"}}')
    meta_of(tmp_path, "c").write_text("broken")
    (tmp_path / "contexts/meta/stray").write_text("")

    assert stored_context_names(tmp_path) == ("a", "b")
    assert stored_context_names(tmp_path / "nowhere") == ()
