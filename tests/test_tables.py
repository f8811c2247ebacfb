"""Every table of the pages: which test checks it, and the tests of those that no other file has."""

import json
import re
import time
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import engines
import pytest
import soak
from command import run
from facts import FACTS, code, fact
from pages import DOCS, PAGES, ROOT, rows, tables
from recorded import exchanges, recording
from test_watch_engines import SILENT

from docker_images import errors, plan_cleanup, resolve_endpoint, sync
from docker_images.cli.arguments import build
from docker_images.cli.check import MEASURES
from docker_images.testing import ENGINE_NAMES, FakeEngine, faults, image
from docker_images.testing.shapes import Shape, shape_named, version_text

CHECKED = {
    "README.md": {
        "| 1000 images, as Docker": "test_the_readme_is_a_screen_long_and_its_figures_are",
    },
    "SECURITY.md": {"| what | limit": "test_the_bounds_in_the_pages_are_those_of_the_code"},
    "asking.md": {"| `reason` |": "test_each_reason_has_an_error_with_the_attributes_of_its_row"},
    "cleanup.md": {
        "| argument |": "test_an_image_can_go_if_what_the_row_says_is_so",
        "| engine |": "test_what_a_plan_frees_is_known_where_the_row_says_so",
    },
    "cli.md": {
        "| format |": "test_each_format_prints_what_its_row_says",
        "| option |": "test_every_option_that_chooses_images_has_a_row",
        "| status |": "test_each_exit_status_is_met",
        "| change |": "test_each_change_is_called_as_its_row_says",
        "| name | what | limit |": "test_every_measure_has_a_row_and_takes_its_limits",
    },
    "compared.md": {
        "| | docker-py |": "test_what_others_do_was_tried",
        "| | first list |": "test_what_others_ask_is_counted",
    },
    "connecting.md": {
        "| written |": "test_an_address_means_what_its_row_says",
        "| | `host=`, `DOCKER_HOST` |": "test_tls_is_used_where_the_row_says_so",
    },
    "engines.md": {
        "| engine | tested |": "test_every_engine_has_a_row_and_those_are_live_that_the_tests_run",
        "| key, attribute |": "test_a_key_that_is_never_there_was_never_recorded",
        "| what is there |": "test_an_image_with_missing_parts_was_recorded_as_its_row_says",
        "| type | keys |": "test_every_key_of_every_nested_type_has_its_place",
        "| keyword | needs |": "test_every_option_has_a_row_with_what_it_needs",
        "| keyword | who answers |": "test_every_question_has_a_row",
    },
    "metrics.md": {"| name | kind |": "test_the_page_has_every_series_with_its_help"},
    "moving.md": {
        "| docker-py 7 | here |": "test_a_call_of_docker_py_has_its_call_here",
        "| docker-py 7 raises |": "test_the_errors_that_stand_beside_each_other_exist",
        "| aiodocker": "test_a_call_of_aiodocker_has_its_call_here",
        "| podman-py": "test_a_call_of_podman_py_has_its_call_here",
        "| the docker command |": "test_a_call_says_what_the_docker_command_prints",
    },
    "performance.md": {
        "| engine | images |": "test_measured_engines_are_those",
        "| Docker 28.5.2, containerd store": "test_measured_engines_are_those",
    },
    "reliability.md": {
        "| what | how much |": "test_what_was_tried_can_be_repeated_and_adds_up",
        "| | asyncio, before |": "test_what_was_tried_can_be_repeated_and_adds_up",
    },
    "testing.md": {
        "| name | API |": "test_the_fake_engines_are_what_their_rows_say",
        "| argument |": "test_every_fault_of_a_stream_has_a_row",
    },
    "watching.md": {
        "| of the watch |": "test_each_attribute_in_the_tables_about_watching_exists",
        "| of an update |": "test_each_attribute_in_the_tables_about_watching_exists",
        "| change |": "test_what_is_not_reported_is_what_the_watch_of_a_live_engine_waits_for",
        "| engine | cuts": "test_measured_engines_are_those",
    },
}
"""Page, the beginning of a table's head, and the beginning of the name of the test."""


def test_every_table_is_checked_by_some_test() -> None:
    defined = "".join(file.read_text() for file in (ROOT / "tests").glob("test_*.py"))
    for page in PAGES:
        checked = CHECKED.get(page.name, {})
        heads = list(tables(page))
        for head in heads:
            assert [begin for begin in checked if head.startswith(begin)], (page.name, head)
        for begin, test in checked.items():
            assert [head for head in heads if head.startswith(begin)], (page.name, begin)
            assert f"def {test}" in defined, test


# ── Errors ──────────────────────────────────────────────────────────────────────────────────────


def test_each_reason_has_an_error_with_the_attributes_of_its_row() -> None:
    table = {code(row[0])[0]: row[1] for row in rows(DOCS / "asking.md", "reasons")}
    assert tuple(table) == get_args(errors.Reason)
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    for reason, what in table.items():
        told = {name for one in classes if one.reason == reason for name in one.__annotations__}
        assert {*code(what)} <= told, reason


# ── A cleanup plan ──────────────────────────────────────────────────────────────────────────────


def images_of(engine: str, *images: Any) -> list[Any]:
    shared = "shared_size" in fact(engine, "options")
    with FakeEngine(images, engine) as fake:
        return sync.list_images(fake.host, all=True, containers=True, shared_size=shared)


def test_an_image_can_go_if_what_the_row_says_is_so() -> None:
    held = [image(f"ghcr.io/team/web:{age}", created=10**9 * 1.5 - age) for age in range(4)]
    held += [image("new:1", created=time.time() - 3600), image(created=1_400_000_000)]
    listed = images_of("docker 28.5", *held)
    expected = {
        "keep_latest": {"ghcr.io/team/web:3"},
        "older_than": {*(f"ghcr.io/team/web:{age}" for age in range(4)), listed[-1].id},
        "dangling_only": {listed[-1].id},
        "only_reference": {f"ghcr.io/team/web:{age}" for age in range(4)},
    }
    keywords = [name for name in signature(plan_cleanup).parameters if name != "images"]
    table = [code(row[0])[0] for row in rows(DOCS / "cleanup.md", "criteria")]
    assert [row.partition("=")[0] for row in table] == keywords[: len(expected)]
    for row in table:
        names = {"listed": listed, "plan_cleanup": plan_cleanup, "timedelta": timedelta}
        plan = eval(f"plan_cleanup(listed, {row})", names)
        assert {*plan.names} == expected[row.partition("=")[0]], row


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_what_a_plan_frees_is_known_where_the_row_says_so(name: str) -> None:
    podman, version = name.startswith("podman"), float(re.sub("master", "99", name).split()[1])
    table = rows(DOCS / "cleanup.md", "frees")
    graph, containerd, before, others = [row[1:] for row in table]
    if fact(name, "store") == "containerd":
        row = containerd if version >= 28 else before
    else:
        row = others if podman or version < 23 else graph
    plan = plan_cleanup(images_of(name, image("a:1", shared_size=1)), only_reference="a")
    assert len(plan.remove) == 1
    known = [plan.frees_at_least is not None, plan.frees_at_most is not None]
    assert known == [not cell.startswith("None") for cell in row]


# ── The command ─────────────────────────────────────────────────────────────────────────────────

CLI = DOCS / "cli.md"


def test_each_format_prints_what_its_row_says() -> None:
    table = rows(CLI, "formats")
    assert [code(row[0])[:1] for row in table] == [[], ["-q"], ["--tree"], ["--json"], ["--jsonl"]]
    assert [f"`{name}`" in table[0][1] for name in ("<none>",)] == [True]
    images = json.loads(run("--demo", "--json").stdout)
    tags = sum(len(one["RepoTags"]) or 1 for one in images)
    assert len(run("--demo").stdout.splitlines()) == 1 + tags
    ids = run("--demo", "-q").stdout.split()
    assert len(ids) == tags
    assert {*ids} == {one["Id"].removeprefix("sha256:")[:12] for one in images}
    assert "└─ linux/amd64" in run("--demo", "--tree").stdout
    assert run("--demo", "--json").stdout.count("\n") == len(images)
    lines = run("--demo", "--jsonl").stdout.splitlines()
    assert [json.loads(line)["Id"] for line in lines] == [one["Id"] for one in images]


def test_every_option_that_chooses_images_has_a_row() -> None:
    (group,) = [one for one in build("list")._action_groups if one.title == "which images"]
    options = {option for one in group._group_actions for option in one.option_strings}
    told = {
        word
        for row in rows(CLI, "questions")
        for cell in code(row[0])
        for word in re.findall(r"--?[a-z-]+", cell)
    }
    assert told == options - {"-f", "--filter"}
    until = code(rows(CLI, "questions")[-1][1])
    assert len(until) > 5
    for when in until:
        assert run("--demo", "--until", when).returncode == 0, when


def test_each_exit_status_is_met() -> None:
    met = {
        "0": run("--demo").returncode,
        "1": run("-H", "unix:///nowhere.sock").returncode,
        "2": run("--nonsense").returncode,
        # These are met in test_cli_watch.py and test_cli_metrics.py.
        "130": 128 + 2,
        "143": 128 + 15,
    }
    assert [row[0] for row in rows(CLI, "statuses")] == [str(status) for status in met.values()]
    assert all(name == str(status) for name, status in met.items())


def test_each_change_is_called_as_its_row_says(tmp_path: Path) -> None:
    def kept(name: str, size: int, **images: list[str]) -> str:
        path = tmp_path / name
        listed = [
            {"Id": f"sha256:{id_ * 64}", "RepoTags": tags, "Size": size if id_ == "9" else 1}
            for id_, tags in images.items()
        ]
        path.write_text(json.dumps(listed))
        return str(path)

    before = {"1": ["gone:1"], "2": ["moved:1", "stays:1"], "3": ["swap:1"]}
    after = {"2": ["stays:1"], "4": ["moved:1", "new:1"], "5": ["swap:1"]}
    before |= {"6": ["kept:1", "old:1"], "9": ["size:1"]}
    after |= {"6": ["kept:1", "tag:1"], "9": ["size:1"]}
    done = run("diff", kept("before", 1, **before), kept("after", 2, **after))
    assert dict(line.split()[:2] for line in done.stdout.splitlines()[1:]) == {
        "gone:1": "removed",
        "moved:1": "moved",
        "new:1": "added",
        "old:1": "untagged",
        "size:1": "changed",
        "swap:1": "replaced",
        "tag:1": "tagged",
    }
    called = {line.split()[1] for line in done.stdout.splitlines()[1:]}
    assert sorted(code(row[0])[0] for row in rows(CLI, "changes")) == sorted(called)


def test_every_measure_has_a_row_and_takes_its_limits() -> None:
    table = {code(row[0])[0]: row[2] for row in rows(CLI, "thresholds")}
    assert list(table) == list(MEASURES)
    for name, limits in table.items():
        for limit in code(limits):
            assert run("check", "--demo", "--warning", f"{name}>{limit}").returncode in (0, 1)


# ── Connecting ──────────────────────────────────────────────────────────────────────────────────


def test_tls_is_used_where_the_row_says_so(tmp_path: Path) -> None:
    def found(**environment: str) -> Any:
        return resolve_endpoint({"HOME": str(tmp_path), "DOCKER_HOST": "tcp://h"} | environment).tls

    verified, unverified, files = rows(DOCS / "connecting.md", "tls")
    assert code(verified[1]) == ["DOCKER_TLS_VERIFY"]
    assert code(unverified[1]) == ["DOCKER_TLS"]
    assert code(files[1]) == ["DOCKER_CERT_PATH", "config.json"]
    (tmp_path / "certs").mkdir()
    for folder in (tmp_path / "certs", tmp_path / ".docker"):
        folder.mkdir(exist_ok=True)
        (folder / "ca.pem").touch()
    assert found() is None
    for value in ("1", "0", "no"):
        assert found(DOCKER_TLS_VERIFY=value).verify
    assert found(DOCKER_TLS_VERIFY="1", DOCKER_TLS="1").verify
    assert not found(DOCKER_TLS="1").verify
    assert found(DOCKER_TLS_VERIFY="1").ca == str(tmp_path / ".docker/ca.pem")
    certs = str(tmp_path / "certs")
    assert found(DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=certs).ca == f"{certs}/ca.pem"


# ── Engines ─────────────────────────────────────────────────────────────────────────────────────


def missing(row: dict[str, Any]) -> str:
    """What the table says of an image with missing parts that an engine sent."""
    year = "created in 1970" if row["Created"] == 0 else "created later"
    counted = "not counted" if row["Containers"] == -1 else "counted"
    (digest,) = row["RepoDigests"]
    labels = json.dumps(row["Labels"])
    name = "a named digest" if "@" in digest else "a bare digest"
    return f"{year}, labels `{labels}`, {counted}, {name}"


def test_an_image_with_missing_parts_was_recorded_as_its_row_says() -> None:
    name = "docker-29.7.2-containerd"
    body = exchanges(name)[f"GET /v{recording(name)['api_version']}/images/json"]["body"]
    listed = {tag: row for row in json.loads(body) for tag in row["RepoTags"]}
    found = [missing(listed[f"h1/{kind}:1"]) for kind in ("onlyarm", "noconfig", "chart")]
    assert found == [row[2] for row in rows(DOCS / "engines.md", "missing")]


@pytest.mark.slow
def test_an_image_with_missing_parts_is_on_docker_28_as_its_row_says(live: engines.Live) -> None:
    host = live.host("docker 28.5 containerd", more=True)
    listed = engines.call(host, "GET", "/images/json").json()
    found = {tag: row for row in listed for tag in row["RepoTags"]}
    foreign, _, chart = [row[1] for row in rows(DOCS / "engines.md", "missing")]
    assert missing(found["more/chart:1"]) == chart
    assert foreign.startswith("like any image")
    assert found["more/foreign:1"]["Labels"]["made"] == "foreign"
    assert found["more/foreign:1"]["Created"] > 0


# ── The fake engine ─────────────────────────────────────────────────────────────────────────────


def test_the_fake_engines_are_what_their_rows_say() -> None:
    stores = {"graph": "graph driver", "containerd": "containerd", "podman": "Podman's own"}

    def spoken(shape: Shape) -> str:
        return f"{version_text(shape.oldest)}–{version_text(shape.api)}"

    told: list[str] = []
    for names, api, kinds in rows(DOCS / "testing.md", "engines"):
        shapes = [shape_named(name) for name in code(names)]
        told += code(names)
        assert kinds == ", ".join(dict.fromkeys(stores[shape.store] for shape in shapes))
        assert {api} == {"any" if one.store == "podman" else spoken(one) for one in shapes}
    assert told == list(ENGINE_NAMES) == list(FACTS)


def test_every_fault_of_a_stream_has_a_row() -> None:
    told: set[str] = set()
    for row in rows(DOCS / "testing.md", "streams"):
        for arguments in code(row[0]):
            given = eval(f"dict({arguments})")
            faults.events(**given)
            told |= given.keys()
    assert told == signature(faults.events).parameters.keys() - {"nth"}


# ── What was measured ───────────────────────────────────────────────────────────────────────────


def test_measured_engines_are_those_of_the_benchmark() -> None:
    from benchmarks import engines as benchmark

    def named(text: str) -> str:
        kind, version, *rest = text.lower().replace(",", "").split()
        store = " containerd" if "containerd" in rest else ""
        return f"{kind} {'.'.join(version.split('.')[:2])}{store}"

    performance = (DOCS / "performance.md").read_text().partition("## Against other clients")[0]
    found = re.findall(r"^\| ((?:Docker|Podman) .*?) \| (\d+) \| \d", performance, re.MULTILINE)
    assert [(named(engine), int(size)) for engine, size in found] == [
        (engine, size) for engine in benchmark.NAMES for size in benchmark.SIZES
    ]
    watched = re.findall(r"^\| (idle|a tag .*?), (?:\[?watched|polled)", performance, re.MULTILINE)
    assert len(watched) == 4
    watching = (DOCS / "watching.md").read_text()
    rests = re.findall(r"^\| ((?:Docker|Podman) .*?) \| \d", watching, re.MULTILINE)
    assert sorted(map(named, rests)) == sorted(engines.NAMES)


def test_what_was_tried_can_be_repeated_and_adds_up() -> None:
    text = (DOCS / "reliability.md").read_text()
    commands = re.findall(r"`((?:DOCKER_IMAGES_\w+=\d+ )?(?:pytest|python) [^`]+)`", text)
    assert len(commands) > 7
    for command in commands:
        names = re.findall(r"DOCKER_IMAGES_\w+", command)
        files = [ROOT / name for name in re.findall(r"tests/\w+\.py", command)]
        assert files, command
        source = "".join(file.read_text() for file in files)
        assert all(name in source for name in names), command
        chosen = re.search(r"-k (\w+)", command)
        assert chosen is None or re.search(rf"def test_\w*{chosen[1]}", source), command

    def numbers(begin: str) -> list[int]:
        (row,) = re.findall(rf"^\| {re.escape(begin)}.*", text, re.MULTILINE)
        return [int(one.replace(" ", "")) for one in re.findall(r"\d{1,3}(?: \d{3})+|\d+", row)]

    calls, cut, over = [one for one in numbers("calls cancelled at chosen points") if one > 1000]
    assert calls == cut + over
    polls = max(numbers("polls of a lying"))
    lists, cancelled = numbers("of these: correct lists")[:2]
    assert polls == lists + cancelled + numbers("of these: faults")[0]
    names = {
        "file descriptors": "descriptors",
        "of these, sockets": "sockets",
        "tasks": "tasks",
        "resident memory, MiB": "KiB",
        "objects known to the garbage collector": "objects",
    }
    table = {names[row[0]]: row[1:] for row in rows(DOCS / "reliability.md", "soak")}
    assert len(table) == len(names)
    for place in (0, 2):
        before, after = (
            {name: float(row[at].replace(" ", "")) for name, row in table.items()}
            for at in (place, place + 1)
        )
        assert soak.bad({"tally": {}, "before": before, "after": after}) == []


# ── Watching ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_reported_is_what_the_watch_of_a_live_engine_waits_for() -> None:
    page = {row[0]: dict(zip(("docker", "podman"), row[1:], strict=True)) for row in ROWS}
    names = {
        "import without a name": "an untagged import",
        "plain build without a name": "an untagged build or commit",
        "prune": "`image prune`",
    }
    silent = {(names[what], who.split()[0]) for who, kinds in SILENT.items() for what in kinds}
    told = {
        (change, who)
        for change, cells in page.items()
        for who, cell in cells.items()
        if re.search(r"\bnot\b", cell)
    }
    assert told == silent


ROWS = rows(DOCS / "watching.md", "reported")
