"""docker_images.engine.versions: an API version is a value, and what each can do is a table."""

import pytest

from docker_images import ApiVersion, EndpointError
from docker_images.engine.versions import (
    NEEDS,
    NEWEST,
    OLDEST,
    Pin,
    agree,
    first_missing,
    has,
    is_refusal,
    pin_in,
    spoken,
)


def version(text: str) -> ApiVersion:
    return ApiVersion.parse(text)


def test_versions_are_ordered_as_numbers_and_not_as_text() -> None:
    assert ApiVersion(1, 47) > ApiVersion(1, 9)
    assert ApiVersion(2, 0) > ApiVersion(1, 99)
    assert version("1.47") == ApiVersion(1, 47)
    assert str(ApiVersion(1, 47)) == "1.47"
    assert len({ApiVersion(1, 47), version("1.47")}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.",
        ".1",
        "1.47.1",
        "v1.47",
        " 1.47",
        "1.47\n",
        "1.x",
        "-1.4",
        "1.47 ",
        "１.４",
        "1.99999",
    ],
)
def test_text_that_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an API version"):
        ApiVersion.parse(text)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        pytest.param("1.41", "1.41", id="an older engine"),
        pytest.param("1.55", "1.55", id="the newest that we know"),
        pytest.param("1.56", "1.55", id="an engine newer than we are"),
        pytest.param("1.24", "1.24", id="the oldest"),
        pytest.param("1.23", None, id="an engine too old"),
    ],
)
def test_the_older_of_two_newest_versions_is_spoken(theirs: str, expected: str | None) -> None:
    agreed = agree(version(theirs))
    assert agreed == (version(expected) if expected else None)


def test_an_answer_is_in_the_version_asked_for_unless_the_engine_is_older() -> None:
    assert spoken(version("1.41"), version("1.51")) == version("1.41")
    assert spoken(version("1.55"), version("1.41")) == version("1.41")


@pytest.mark.parametrize(
    ("option", "since"), [("shared_size", "1.42"), ("manifests", "1.47"), ("identity", "1.54")]
)
def test_an_option_is_missing_below_the_version_that_brought_it(option: str, since: str) -> None:
    # moby daemon/server/router/image/image_routes.go:490-505@b985e23
    brought = version(since)
    assert NEEDS[option] == brought
    assert first_missing([option], brought) is None
    assert first_missing([option], ApiVersion(1, brought.minor - 1)) == option


def test_the_store_shows_from_1_48_on() -> None:
    assert has(version("1.48"), "descriptors")
    assert not has(version("1.47"), "descriptors")


def test_the_range_is_what_the_documentation_says() -> None:
    assert (str(OLDEST), str(NEWEST)) == ("1.24", "1.55")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("client version 1.55 is too new. Maximum supported API version is 1.41", True),
        ("client version 1.24 is too old. Minimum supported API version is 1.44, please …", True),
        (
            "client is newer than server (client API version: 1.55, server API version: 1.24)",
            True,
        ),
        ("Invalid filter 'nope'", False),
        ("invalid filter 'dangling=[client version]'", False),
        ("", False),
    ],
)
def test_a_refused_version_is_told_from_a_refused_question(message: str, expected: bool) -> None:
    assert is_refusal(message) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1.47", "1.47"), ("v1.47", "1.47"), (" 1.47 ", "1.47"), ("9.99", "9.99"), ("", None)],
)
def test_docker_api_version_pins(value: str, expected: str | None) -> None:
    pin = pin_in({"DOCKER_API_VERSION": value})
    assert pin == (Pin(version(expected), "DOCKER_API_VERSION") if expected else None)


def test_no_variable_pins_nothing() -> None:
    assert pin_in({}) is None


def test_nonsense_in_docker_api_version_is_named() -> None:
    with pytest.raises(EndpointError, match=r"DOCKER_API_VERSION.*'latest'.*unset"):
        pin_in({"DOCKER_API_VERSION": "latest"})
