"""docs/connecting.md says what `resolve_endpoint` does."""

import re
from pathlib import Path

import pytest
from test_endpoint_against_docker import DEVIATIONS

from docker_images import resolve_endpoint

PAGE = (Path(__file__).parents[1] / "docs/connecting.md").read_text()
ADDRESSES = re.findall(
    r"^\| `([^`]+)` \| (.*) \|$",
    PAGE.partition("\n## Addresses\n")[2].partition("\n## ")[0],
    re.MULTILINE,
)


def test_the_table_of_addresses_is_found() -> None:
    assert len(ADDRESSES) == 10


@pytest.mark.parametrize(("written", "means"), ADDRESSES)
def test_an_address_means_what_its_row_says(written: str, means: str) -> None:
    found = resolve_endpoint({"HOME": "/nowhere"}, host=written)
    named = re.match("`([^`]+)`", means)
    assert found.host == (named[1] if named else written)
    assert (found.tls is not None) == ("TLS" in means)
    assert bool(found.warnings) == ("a warning" in means)
    base_path = re.match("requests go to `(.*)/v1.55/…`", means)
    assert base_path is None or found.base_path == base_path[1]


@pytest.mark.parametrize("name", DEVIATIONS)
def test_each_difference_to_the_docker_command_has_its_line(name: str) -> None:
    side, _, words = name.partition(": ")
    differences = PAGE.partition("\n## Where we differ")[2]
    (listed,) = re.findall(
        rf"^{side.capitalize()}\b.*:\n\n((?:- .*\n)+)", differences, re.MULTILINE
    )
    assert f"- {words}\n" in listed
