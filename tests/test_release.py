"""A release: version, changelog and tag agree, and PyPI shows no link that leads nowhere."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()

spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
assert spec is not None
assert spec.loader is not None
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


def changelog(*headings: str) -> str:
    return "# Changes\n" + "".join(f"\n## {heading}\n\n- Something.\n" for heading in headings)


FIRST, SECOND = "0.9.0 - 2026-01-31", "0.10.0 - 2026-02-01"


@pytest.mark.parametrize(
    ("version", "headings", "tag"),
    [
        ("0.9.0", ["Unreleased"], None),
        ("0.10.0", ["Unreleased", FIRST], None),
        ("0.9.0", [FIRST], "v0.9.0"),
        ("0.10.0", [SECOND, FIRST], "v0.10.0"),
    ],
)
def test_a_release_whose_parts_agree(version: str, headings: list[str], tag: str | None) -> None:
    assert release.disagreements(version, changelog(*headings), tag) == []


@pytest.mark.parametrize(
    ("version", "headings", "tag", "says"),
    [
        ("0.9.0", ["Unreleased", FIRST], None, "unreleased changes, but pyproject.toml still has"),
        ("0.9.0", [SECOND, FIRST], None, "pyproject.toml has 0.9.0, and the changelog 0.10.0"),
        ("0.10.0", [FIRST, SECOND], None, "not newest first: 0.9.0, 0.10.0"),
        ("0.9.0", [FIRST, FIRST], None, "not newest first"),
        ("0.10.0", [FIRST, "Unreleased"], None, "Unreleased is not at the top"),
        ("0.9.0", ["0.9.0 - soon"], None, "no `VERSION - YYYY-MM-DD` in the changelog: 0.9.0 - s"),
        ("0.9.0", ["0.9.0"], None, "no `VERSION - YYYY-MM-DD` in the changelog: 0.9.0"),
        ("0.9.0", ["Unreleased"], "v0.9.0", "the changelog still says Unreleased"),
        ("0.9.0", [FIRST], "v0.9.1", "the tag is v0.9.1, and pyproject.toml has 0.9.0"),
        ("0.9.0", [FIRST], "0.9.0", "the tag is 0.9.0, and pyproject.toml has 0.9.0"),
        ("0.9.0", [], None, "and the changelog None"),
    ],
)
def test_a_disagreement_is_named(
    version: str, headings: list[str], tag: str | None, says: str
) -> None:
    assert says in "\n".join(release.disagreements(version, changelog(*headings), tag))


def test_the_version_of_this_project_agrees_with_its_changelog() -> None:
    assert release.disagreements(PYPROJECT["project"]["version"], CHANGELOG) == []


def test_what_a_release_is_tried_out_with_is_there() -> None:
    assert all((ROOT / "tests" / name).exists() for name in release.TESTS)


def test_pypi_shows_absolute_links_to_the_files_of_this_very_version() -> None:
    """As hatch-fancy-pypi-readme makes them: `re.sub`, one rule after the other."""
    text = (ROOT / "README.md").read_text()
    relative = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    for rule in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"][
        "substitutions"
    ]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    homepage = PYPROJECT["project"]["urls"]["Homepage"]
    raw = homepage.replace("github.com", "raw.githubusercontent.com")
    ours = [
        match[1]
        for target in targets
        if (match := re.match(rf"(?:{homepage}/blob|{raw})/v\$HFPR_VERSION/([^#]+)", target))
    ]
    assert ours == relative
    assert all((ROOT / path).exists() for path in ours)


def test_a_tag_publishes_what_was_checked_and_tested_on_every_python() -> None:
    publish = (ROOT / ".github/workflows/publish.yml").read_text()
    assert 'make release-check ARGS="--tag $GITHUB_REF_NAME dist"' in publish
    assert "needs: [test, build]" in publish
    tests = (ROOT / ".github/workflows/tests.yml").read_text()
    (versions,) = re.findall(r"python: \[(.+)\]", tests)
    assert versions.replace('"', "").split(", ") == [f"3.{minor}" for minor in range(11, 16)]
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"run: make ([\w-]+)", tests + publish):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target


def test_the_workflows_run_actions_of_others_by_their_hash_and_name_the_version() -> None:
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        for action in re.findall(r"uses: +(\S.*)", workflow.read_text()):
            assert re.fullmatch(r"\./\S+|[\w/.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
