"""The engines that tests start are what they claim to be."""

import engines
import pytest


@pytest.mark.parametrize("name", ["dockerd", "podman"])
def test_a_started_engine_holds_what_it_was_filled_with(
    name: str, request: pytest.FixtureRequest
) -> None:
    host = request.getfixturevalue(name)
    answer = engines.call(host, "GET", "/v1.41/images/json")
    assert answer.status == 200
    tags = {tag for image in answer.json() for tag in image["RepoTags"] or ()}
    loaded = {tag for image in engines.LOADED for tag in image["tags"]}
    assert {tag.removeprefix("localhost/") for tag in loaded} <= {
        tag.removeprefix("localhost/") for tag in tags
    }
    assert sum("demo/built:1" in tag for tag in tags) == 1
