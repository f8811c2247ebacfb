"""What people who type `docker images` expect of `docker-images`."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import hostile
import pytest
from command import run
from hostile import LIST, an_image, answering, holding

from docker_images.cli.arguments import COMMANDS, VALUED, VALUED_LETTERS, build
from docker_images.testing import FakeEngine, image

DAY = 86_400
NOW = int(time.time())


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COLUMNS", raising=False)


IMAGES = [
    image("shop/web:2", "shop/web:latest", "plan:1", size=300, created=NOW - 60, labels={"a": "1"}),
    image("shop/api:1", size=100, created=NOW - 3 * DAY, labels={"a": "2", "b": ""}),
    image("doctor:1", size=200, created=NOW - 9 * DAY),
    image(size=50, created=NOW - 5 * DAY),
]
WEB, API, DOCTOR, UNTAGGED = (one.id for one in IMAGES)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with FakeEngine(IMAGES, "docker 28.5") as engine:
        yield engine.host


def ids(*arguments: str) -> list[str]:
    done = run("-q", "--no-trunc", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], [WEB, WEB, WEB, API, UNTAGGED, DOCTOR]),
        (["list"], [WEB, WEB, WEB, API, UNTAGGED, DOCTOR]),
        (["list", "shop/web"], [WEB, WEB]),
        (["shop/web"], [WEB, WEB]),
        (["shop/web:2"], [WEB]),
        (["shop/*"], [WEB, WEB, API]),
        (["list", "doctor"], [DOCTOR]),
        (["--", "doctor"], [DOCTOR]),
        (["--label", "list"], []),
        (["-aq", "doctor:1"], [DOCTOR]),
        (["-f", "reference=shop/web:2"], [WEB]),
        (["--filter", "reference=shop/web:2", "shop/api"], [WEB, API]),
        (["--reference", "shop/web:2"], [WEB, WEB, WEB]),
        (["-f", "dangling=true"], [UNTAGGED]),
        (["-f", "dangling=0", "shop/api"], [API]),
        (["-f", "label=a", "-f", "label=b"], [API]),
        (["-f", "label=a", "-f", "label!=b"], [WEB, WEB, WEB]),
        (["-f", "LABEL = a=2"], [API]),
        (["-f", "before=shop/api:1"], [UNTAGGED, DOCTOR]),
        (["-f", "since=shop/api:1"], [WEB, WEB, WEB]),
        (["-f", "until=4d"], [UNTAGGED, DOCTOR]),
        (["--sort", "size"], [WEB, WEB, WEB, DOCTOR, API, UNTAGGED]),
        (["--sort", "name"], [DOCTOR, WEB, API, WEB, WEB, UNTAGGED]),
        (["--sort", "repository", "--reverse"], [UNTAGGED, WEB, WEB, API, WEB, DOCTOR]),
        (["--sort", "created", "--reverse"], [DOCTOR, UNTAGGED, API, WEB, WEB, WEB]),
        (["--reverse"], [DOCTOR, UNTAGGED, API, WEB, WEB, WEB]),
    ],
)
def test_what_is_listed(host: str, arguments: list[str], found: list[str]) -> None:
    assert ids("-H", host, *arguments) == found


def test_a_bare_word_that_is_a_subcommand_is_one(host: str) -> None:
    assert "ok  engine" in run("-H", host, "doctor").stdout


def test_which_words_are_values_is_known_of_every_option_that_takes_one() -> None:
    taking = {
        option
        for action in build("list")._actions
        if action.nargs is None and action.option_strings
        for option in action.option_strings
    }
    assert {option for option in taking if option.startswith("--")} == set(VALUED.split())
    assert {option for option in taking if not option.startswith("--")} == {
        f"-{letter}" for letter in VALUED_LETTERS
    }


def test_ids_are_short_unless_somebody_asks_for_whole_ones(host: str) -> None:
    assert run("-H", host, "-q", "doctor:1").stdout == f"{DOCTOR[7:19]}\n"
    assert DOCTOR in run("-H", host, "--no-trunc", "doctor:1").stdout


@pytest.mark.parametrize("form", ["--jsonl", "--format=json"])
def test_the_form_json_is_an_object_a_line(host: str, form: str) -> None:
    lines = run("-H", host, form, "--sort", "size").stdout.splitlines()

    assert [json.loads(line)["Size"] for line in lines] == [300, 200, 100, 50]


def test_the_form_table_is_the_table(host: str) -> None:
    assert run("-H", host, "--format", "table").stdout == run("-H", host).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-f", "dangling=true", "--no-dangling"], "dangling is given twice"),
        (["-f", "before=a", "-f", "before=b"], "before is given twice"),
        ([""], "--reference is an empty string"),
        (["-q", "--total"], "--total only works with the table and --tree"),
        (["--tree", "--digests"], "--digests does not work with --tree; leave one of them out"),
    ],
)
def test_what_contradicts_itself_is_refused(host: str, arguments: list[str], words: str) -> None:
    done = run("-H", host, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_filter_of_the_engine_itself_goes_to_the_engine(host: str) -> None:
    done = run("-H", host, "-f", "colour=red")

    assert done.returncode == 1
    assert "invalid filter 'colour'" in done.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["doc"], ["doctor"]),
        (["--forma"], ["--format"]),
        (["--sort", ""], ["name", "created", "size", "repository"]),
        (["doctor", "--hos"], ["--host"]),
        (["exporter", "--lis"], ["--listen"]),
        (["metrics", "--out"], ["--output"]),
        (["metrics", "--output", "/dev/nul"], ["/dev/null"]),
        (["diff", "/dev/nul"], ["/dev/null"]),
        (["diff", "kept.json", "/dev/nul"], ["/dev/null"]),
    ],
)
def test_bash_completes(words: list[str], offered: list[str]) -> None:
    completing = f"""
COMP_WORDS=(docker-images {" ".join(word or "''" for word in words)})
COMP_CWORD={len(words)}
_shtab_docker_images
echo "${{COMPREPLY[@]}}"
"""
    script = run("completion", "bash").stdout + completing
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)

    assert done.stdout.split() == offered


@pytest.mark.parametrize("name", COMMANDS)
def test_zsh_can_read_what_the_value_of_an_option_is_called(name: str) -> None:
    # shtab writes it into a specification of zsh as it is, where a colon ends it.
    for action in build(name)._actions:
        assert not (action.option_strings and ":" in str(action.metavar))


@pytest.mark.parametrize(("shell", "start"), [("zsh", "#compdef docker-images"), ("fish", "")])
def test_other_shells_get_a_script_of_their_own(shell: str, start: str) -> None:
    done = run("completion", shell)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(start)
    assert "doctor" in done.stdout


DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def test_digests_have_a_column(host: str) -> None:
    images = [an_image(RepoTags=["a:1", "c:1"], RepoDigests=[f"a@{DIGEST}", f"b@{OTHER}"])]
    with holding(images) as engine:
        done = run("-H", engine, "--digests")

    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["REPOSITORY", "TAG", "DIGEST"],
        ["a", "1", DIGEST],
        ["c", "1", "<none>"],
        ["b", "<none>", OTHER],
    ]


@pytest.mark.parametrize(
    ("shared", "line"),
    [
        ([], "Total: 2 images, size 1.2kB"),
        (["--shared-size"], "Total: 2 images, size 1.2kB, unique size 1.1kB"),
    ],
)
def test_the_total_counts_each_image_once(shared: list[str], line: str) -> None:
    images = [
        an_image(Id="sha256:a", RepoTags=["a:1", "a:2"], Size=1000, SharedSize=50),
        an_image(Id="sha256:b", Size=200, SharedSize=50),
    ]
    with holding(images) as engine:
        done = run("-H", engine, "--total", *shared)

    assert done.stdout.splitlines()[-1] == line


def test_unique_bytes_are_told_only_where_they_can_be_known() -> None:
    # The containerd store leaves archives out of what it calls shared.
    facts: dict[str, Any] = {"RepoTags": ["a:1"], "Size": 1000, "SharedSize": 50}
    graph, unknown = an_image(**facts), an_image(**facts | {"SharedSize": -1})
    containerd = an_image(**facts, Descriptor={"digest": "sha256:x"})
    words = ["--total", "--shared-size"]
    with holding([graph]) as one, holding([containerd]) as two, holding([unknown]) as three:
        for hosts, line in (
            ([one, two], "Total: 2 images, size 2kB"),
            ([three], "Total: 1 image, size 1kB"),
            ([one], "Total: 1 image, size 1kB, unique size 950B"),
        ):
            done = run(*words, *(word for host in hosts for word in ("-H", host)))
            assert done.stdout.splitlines()[-1] == line


# ── Several engines ─────────────────────────────────────────────────────────────────────────────


def test_several_engines_are_listed_together() -> None:
    with holding([an_image(RepoTags=["a:1"])]) as one, holding([an_image()]) as two:
        rows = run("-H", one, "-H", two).stdout.splitlines()
        lines = run("-H", two, "-H", one, "--jsonl").stdout.splitlines()

    assert [row.split()[-1] for row in rows] == ["ENGINE", one, two]
    assert [json.loads(line)["engine"] for line in lines] == [two, one]


def test_an_engine_that_fails_does_not_hide_the_others() -> None:
    with holding([an_image(RepoTags=["a:1"])]) as host:
        done = run("-H", "unix:///nowhere/engine.sock", "-H", host, "-c", "lost")

    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split()[-1] == host
    assert len(done.stdout.splitlines()) == 2
    first, second = sorted(done.stderr.splitlines())
    assert "no engine at unix:///nowhere/engine.sock" in second
    assert "'lost'" in first


@pytest.mark.parametrize("view", [["--json"], ["metrics"], ["plan", "--dangling-only"]])
def test_what_may_be_a_password_in_an_address_is_not_shown(view: list[str]) -> None:
    with hostile.serving(answering(LIST), tcp=True) as server:
        host = server.host.replace("://", "://me:secret@")
        done = run(*view, "-H", host, "-H", "unix:///nowhere/engine.sock")

    assert "tcp://***@127.0.0.1:" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_a_date_is_the_midnight_with_which_it_begins_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        midnight = 1_769_814_000  # 2026-01-31T00:00:00+01:00
        images = [an_image(Id=f"sha256:{n}", Created=midnight + n) for n in (-1, 0, 1)]
        with holding(images) as host:
            assert ids("-H", host, "--until", "2026-01-31") == ["sha256:-1"]
    finally:
        monkeypatch.undo()
        time.tzset()
