"""The command `docker-images`: what it shows to people and programs, and how it ends."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import engines
import msgspec
import pytest
from command import on_a_terminal, run
from hostile import an_image, holding

from docker_images import ImageSummary
from docker_images.cli import main
from docker_images.cli.words import age

NOW = int(time.time())
DAY = 86_400


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, where every warning is an error."""
    command = [sys.executable, "-W", "error", "-m", "docker_images", *arguments]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=300, check=False, **options
    )


def table(text: str) -> list[list[str]]:
    """The cells below the header; columns are at least three spaces apart."""
    return [re.split(r" {3,}", line.strip()) for line in text.splitlines()[1:]]


@pytest.fixture(params=["dockerd", "podman"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


# ── Real engines ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_json_has_the_numbers_of_the_engine(engine: str, form: str) -> None:
    raw = {one["Id"]: one for one in engines.call(engine, "GET", "/v1.41/images/json").json()}

    done = run("--host", engine, form)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    found = json.loads(done.stdout) if form == "--json" else [json.loads(line) for line in lines]
    assert len(found) == len({(one["Id"], one["Size"]) for one in found}) >= len(raw) > 5
    for one in found:
        for key in ("Id", "Created", "Size"):
            assert one[key] == raw[one["Id"]][key]
        assert one["Labels"] == (raw[one["Id"]]["Labels"] or {})


def test_every_question_can_be_asked_of_a_real_engine(dockerd: str) -> None:
    def names(*arguments: str) -> set[str]:
        done = run("--host", dockerd, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return {":".join(row[:2]) for row in table(done.stdout)}

    web = {"demo/web:latest", "demo/web:1.0", "registry.example.com:5000/team/web:1.0"}
    assert names("--reference", "demo/web:1.*") == web
    assert names("--reference", "demo/web", "--reference", "demo/labels") == web | {"demo/labels:1"}
    assert names("--label", "stage=prod", "--label", "built") == {"demo/built:1"}
    assert names("--label", "stage", "--exclude-label", "stage=prod") == {"demo/labels:1"}
    assert names("--dangling", "--label", "stage=prod") == {"<none>:<none>"}
    assert "<none>:<none>" not in names("--no-dangling")
    assert names("--since", "demo/labels:1", "--until", "2024-06-01T00:00:00+02:00") == web
    assert "demo/epoch:1" in names("--before", "demo/labels:1")
    assert names("--all") > web


# ── The table ───────────────────────────────────────────────────────────────────────────────────

FACTS = ["0123456789ab", "-", "0B"]


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        pytest.param(
            {"RepoTags": ["a:1", "r.example:5000/b/c:2"]},
            [["a", "1", *FACTS], ["r.example:5000/b/c", "2", *FACTS]],
            id="a row for each tag",
        ),
        pytest.param({}, [["<none>", "<none>", *FACTS]], id="no name"),
        pytest.param(
            {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]},
            [["<none>", "<none>", *FACTS]],
            id="no name in the words of older engines",
        ),
        pytest.param(
            {"RepoDigests": [f"a@sha256:{'1' * 64}", f"a@sha256:{'2' * 64}"]},
            [["a", "<none>", *FACTS]],
            id="only digests",
        ),
        pytest.param(
            {"RepoTags": ["a:1"], "RepoDigests": [f"{n}@sha256:{'1' * 64}" for n in "ab"]},
            [["a", "1", *FACTS], ["b", "<none>", *FACTS]],
            id="a digest beside its tag, and one alone",
        ),
        pytest.param(
            {"RepoTags": ["docker.io/library/alpine:3", "localhost/web:1"]},
            [["alpine", "3", *FACTS], ["localhost/web", "1", *FACTS]],
            id="the long names of Podman",
        ),
        pytest.param(
            {"RepoTags": ["[red]x", "[/]:smile:"]},
            [["[red]x", "<none>", *FACTS], ["[/]:smile:", "<none>", *FACTS]],
            id="markup is text",
        ),
        pytest.param(
            {"RepoTags": ["a\x1b]0;x\x07\x9b1m:1\r\n\u202eb\u2066"]},
            [["a�]0;x��1m:1 �b�", "<none>", *FACTS]],
            id="what a terminal would obey",
        ),
        pytest.param(
            {"Id": "sha256:\x1b[2J" + "a" * 64},
            [["<none>", "<none>", "�[2Jaaaaaaaa", "-", "0B"]],
            id="an id that no engine has",
        ),
        pytest.param(
            {"RepoTags": [f"{'long/' * 60}x:{'1' * 128}"]},
            [[f"{'long/' * 60}x", "1" * 128, *FACTS]],
            id="nothing is cut",
        ),
        pytest.param(
            {"RepoTags": ["größe/镜像:1"]},
            [["größe/镜像:1", "<none>", *FACTS]],
            id="unicode",
        ),
    ],
)
def test_a_row_says_what_the_docker_command_says(
    capsys: pytest.CaptureFixture[str], keys: dict[str, Any], rows: list[list[str]]
) -> None:
    with holding([an_image(**keys)]) as host:
        assert main(["--host", host]) == 0

    out, err = capsys.readouterr()
    assert (table(out), err) == (rows, "")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1023, "1.02kB"),
        (7_797_760, "7.8MB"),
        (77_804_331, "77.8MB"),
        (187_432_118, "187MB"),
        (999_499_999, "999MB"),
        (999_500_000, "1GB"),
        (11_900_000_000, "11.9GB"),
        (2**63 - 1, "9.22EB"),
    ],
)
def test_a_size_has_three_digits(capsys: pytest.CaptureFixture[str], size: int, shown: str) -> None:
    with holding([an_image(Size=size)]) as host:
        main(["--host", host])

    assert table(capsys.readouterr().out)[0][-1] == shown


@pytest.mark.parametrize("created", [0, -62135596800, 2**62])
def test_a_time_that_nobody_told_is_a_dash(
    capsys: pytest.CaptureFixture[str], created: int
) -> None:
    with holding([an_image(Created=created)]) as host:
        main(["--host", host])

    assert table(capsys.readouterr().out)[0][-2] == "-"


# The boundaries of units.HumanDuration, docker/go-units@v0.5.0 duration.go.
@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "Less than a second ago"),
        (0.9, "Less than a second ago"),
        (1.9, "1 second ago"),
        (59.9, "59 seconds ago"),
        (60, "About a minute ago"),
        (120, "2 minutes ago"),
        (3599, "59 minutes ago"),
        (3600, "About an hour ago"),
        (5399, "About an hour ago"),
        (5400, "2 hours ago"),
        (47.4 * 3600, "47 hours ago"),
        (47.5 * 3600, "2 days ago"),
        (13.9 * DAY, "13 days ago"),
        (14 * DAY, "2 weeks ago"),
        (59 * DAY, "8 weeks ago"),
        (60 * DAY, "2 months ago"),
        (729 * DAY, "24 months ago"),
        (730 * DAY, "2 years ago"),
        (-3.2 * DAY, "in 3 days"),
        (-3600, "in about an hour"),
    ],
)
def test_an_age_is_told_in_the_words_of_docker(seconds: float, shown: str) -> None:
    created = datetime(2026, 1, 31, tzinfo=UTC)
    assert age(created, created.timestamp() + seconds) == shown


def test_columns_are_in_line_for_wide_characters_too(capsys: pytest.CaptureFixture[str]) -> None:
    with holding([an_image(RepoTags=["a:1"]), an_image(RepoTags=["镜像"])]) as host:
        main(["--host", host])

    head, narrow, wide = capsys.readouterr().out.splitlines()
    # Each of the two takes two columns of a terminal.
    assert head.index("IMAGE ID") == narrow.index("0123") == wide.index("0123") + 2


def test_an_empty_list_is_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    with holding([]) as host:
        assert main(["--host", host]) == 0

    assert capsys.readouterr().out.split() == [
        "REPOSITORY",
        "TAG",
        "IMAGE",
        "ID",
        "CREATED",
        "SIZE",
    ]


def test_shared_size_adds_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    images = [an_image(Created=2, SharedSize=1_500), an_image(Created=1, SharedSize=-1)]
    with holding(images) as host:
        main(["--host", host, "--shared-size"])

    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("SIZE   SHARED")
    assert [row[-1] for row in table(out)] == ["1.5kB", "-"]


def test_manifests_add_the_platforms_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    def manifest(available: bool, **platform: str) -> dict[str, Any]:
        data = {"Platform": platform}
        return {"ID": "x", "Available": available, "Kind": "image", "ImageData": data}

    manifests = [
        manifest(True, os="linux", architecture="amd64"),
        manifest(True, os="linux", architecture="arm64", variant="v8"),
        manifest(False, os="windows", architecture="amd64"),
    ]
    with holding([an_image(Manifests=manifests, Descriptor={"digest": "sha256:x"})]) as host:
        main(["--host", host, "--manifests"])

    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("PLATFORMS")
    assert table(out)[0][-1] == "linux/amd64, linux/arm64/v8"


# ── Terminals and pipes ─────────────────────────────────────────────────────────────────────────


LONG = f"registry.example.com:5000/{'team/' * 8}web"


@pytest.fixture
def named() -> Iterator[str]:
    with holding([an_image(RepoTags=[f"{LONG}:1"]), an_image(Created=9, Size=1)]) as host:
        yield host


def test_a_person_sees_colours_and_whole_names(named: str) -> None:
    shown = on_a_terminal("--host", named, columns=80).stdout

    assert "\x1b[" in shown
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert "0123456789ab" in lines[1]
    assert lines[2] == LONG
    assert "0123456789ab" in lines[3]


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(named: str, environment: dict[str, str]) -> None:
    assert "\x1b" not in on_a_terminal("--host", named, columns=80, **environment).stdout


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"COLUMNS": "40"}])
def test_a_pipe_gets_whole_names_without_colours(
    named: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    done = run("--host", named)

    assert "\x1b" not in done.stdout
    assert table(done.stdout)[1][0] == LONG
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_an_output_that_lacks_letters_shows_question_marks() -> None:
    with holding([an_image(RepoTags=["镜像"])]) as host:
        done = run("--host", host, encoding="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert "??" in done.stdout


@pytest.mark.parametrize("form", ["--jsonl", "--all"])
def test_a_reader_that_has_enough_is_no_error(form: str) -> None:
    with holding([an_image(Created=n, RepoTags=["a:1"]) for n in range(5000)]) as host:
        command = [sys.executable, "-W", "default", "-m", "docker_images", "--host", host, form]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            complaint = process.stderr.read()
    assert (process.returncode, complaint) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_an_error(named: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-W", "default", "-m", "docker_images", "--host", named]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("docker-images: cannot write the answer: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("descriptor", "complaint"),
    [(1, "docker-images: standard output is closed; open it, or send it to a file\n"), (2, "")],
)
def test_a_closed_stream_is_no_crash(named: str, descriptor: int, complaint: str) -> None:
    close = f"import os, sys; os.close({descriptor}); os.execv(sys.argv[1], sys.argv[1:])"
    missing = named if descriptor == 1 else f"{named}-missing"
    command = [sys.executable, "-c", close, sys.executable, "-m", "docker_images", "-H", missing]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", complaint)


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def test_json_is_one_array_that_decodes_to_equal_images(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    big = 2**63 - 1
    images = [
        an_image(Created=3, Size=big, Labels={"größe": "40 µm 🐳", "": ""}, RepoTags=["a:1"]),
        an_image(Created=2),
    ]
    with holding(images) as host:
        assert main(["--host", host, "--json"]) == 0
        array = capsysbinary.readouterr().out
        assert main(["--host", host, "--jsonl"]) == 0
        lines = capsysbinary.readouterr().out.splitlines()

    assert json.loads(array)[0]["Size"] == big
    assert [one["Labels"] for one in json.loads(array)] == [{"größe": "40 µm 🐳", "": ""}, {}]
    decoded = msgspec.json.decode(array, type=list[ImageSummary])
    assert decoded == [msgspec.json.decode(line, type=ImageSummary) for line in lines]
    assert "SharedSize" not in json.loads(lines[0])


@pytest.mark.parametrize(("form", "written"), [("--json", "[]\n"), ("--jsonl", "")])
def test_no_image_is_an_empty_answer(
    capsys: pytest.CaptureFixture[str], form: str, written: str
) -> None:
    with holding([]) as host:
        assert main(["--host", host, form]) == 0

    assert capsys.readouterr().out == written


def test_json_holds_nothing_that_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    value = 'a\x1b[2J\x7f\x9b\u202e\U000e0041\n"\\ ü'
    with holding([an_image(Labels={"x": value})]) as host:
        main(["--host", host, "--jsonl"])

    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert json.loads(line)["Labels"] == {"x": value}


def test_json_is_utf_8_whatever_the_locale() -> None:
    with holding([an_image(Labels={"x": "größe"})]) as host:
        done = run("--host", host, "--json", encoding="ascii")

    assert json.loads(done.stdout)[0]["Labels"] == {"x": "größe"}


# ── Without h11 ─────────────────────────────────────────────────────────────────────────────────

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from docker_images.cli import main
sys.exit(main(sys.argv[2:]))
"""


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", WITHOUT, module, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_without_h11_the_demo_says_what_to_install() -> None:
    done = without("h11", "--demo")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "docker-images: --demo needs h11; install it: pip install 'docker-images[testing]'\n"
    )


def test_the_demo_needs_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/engine.sock")

    done = run("--demo")

    assert (done.returncode, done.stderr) == (0, "")
    assert ["alpine", "3.20"] in [row[:2] for row in table(done.stdout)]


# ── Errors, and how it ends ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense; see docker-images --help"),
        (["--lable", "a"], "unrecognized arguments: --lable"),
        (["a", "b"], "unrecognized arguments: b"),
        (["--format", "{{.ID}}"], "use json or table, and jq instead of a Go template"),
        (["--filter", "dangling"], "'dangling' is not a filter; write KEY=VALUE"),
        (["-f", "dangling=maybe"], "dangling=maybe must be true or false"),
        (["-f", "until=soon"], "'soon' is not a time"),
        (["--json", "--jsonl"], "not allowed with argument --json"),
        (["--demo", "--host", "unix:///a"], "not allowed with argument"),
        (["doctor", "--exclude-label", "a"], "unrecognized arguments: --exclude-label a"),
        (["doctor", "-H", "unix:///a", "-H", "unix:///b"], "this takes one engine"),
        (["--until", "yesterday"], "'yesterday' is not a time; write 2026-01-31T00:00:00Z"),
        (["--until", "2026-01-31T00:00:00"], "has no time zone; add Z for UTC"),
        (["--until", "9" * 30 + "d"], "is not a time"),
        (["--timeout", "soon"], "invalid float value: 'soon'"),
        (["--bad\x1b[31m"], "unrecognized arguments: --bad�[31m"),
    ],
)
def test_a_command_line_that_cannot_work_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("docker-images: ")
    assert words in err
    assert err.endswith("\n")
    assert err[:-1].isprintable()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reference", "["], "--reference has a bad pattern '['"),
        (["--label", "=x"], "--label needs a key before the '='"),
        (["--timeout", "0"], "timeout must be positive and finite, not 0.0\n"),
        (["--timeout", "nan"], "timeout must be positive"),
    ],
)
def test_a_question_that_nobody_can_answer_is_refused_before_it_is_asked(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["--host", "unix:///nowhere/engine.sock", *arguments]) == 2

    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--host", "unix:///nowhere/engine.sock"],
            "no engine at unix:///nowhere/engine.sock (--host): there is no such socket; start the",
        ),
        (
            ["--host", "unix:///nowhere/engine.sock"],
            "or name another one with --host, --context, DOCKER_HOST or DOCKER_CONTEXT\n",
        ),
        (["--context", "lost"], "there is no such context"),
        (["--host", "fd://x"], "is an address for dockerd, not for clients"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_status_1_and_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("docker-images: ")
    assert words in err
    assert err.count("\n") == 1


def test_an_engine_that_refuses_is_quoted_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = {"/images/json": (500, {"message": "disk\n\x1b[31m on fire \u202e"})}
    with holding([], answers=refusal) as host:
        assert main(["--host", host]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert f"{host} (--host) answered 500: disk �[31m on fire �; " in line


def test_what_an_engine_says_is_not_taken_for_an_argument_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refusal = {"/images/json": (500, {"message": "label= is odd, and host='x' as well"})}
    with holding([], answers=refusal) as host:
        assert main(["--host", host]) == 1

    assert f"{host} (--host) answered 500: label= is odd, and host='x' as well; " in (
        capsys.readouterr().err
    )


def test_an_option_that_the_engine_would_ignore_is_named_as_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with holding([], api="1.41") as host:
        assert main(["--host", host, "--shared-size"]) == 1

    assert "docker-images: --shared-size needs API 1.42, but Docker 29.0.0" in (
        capsys.readouterr().err
    )


def test_what_is_odd_in_the_configuration_is_said_once_beside_the_list(
    named: str, tmp_path: Path
) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")

    done = run("--host", named)

    assert done.returncode == 0
    assert len(table(done.stdout)) == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"docker-images: warning: ignoring {tmp_path}/.docker/config.json: ")


def heed_ctrl_c() -> None:
    """What a shell runs in the background ignores it, and so would what we start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("arguments", [[], ["doctor"]])
def test_ctrl_c_ends_silently(tmp_path: Path, arguments: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        # A name that needs no folder: Linux keeps it as long as the socket lives.
        silent.bind(f"\0docker-images-{os.getpid()}")
        silent.listen()
        host = f"unix://@docker-images-{os.getpid()}"
        command = [sys.executable, "-m", "docker_images", "-H", host, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c
        ) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                # asyncio sleeps on if the signal comes just before it falls asleep: wake it.
                with suppress(OSError):
                    connection.send(b"H")
                _, complaint = process.communicate(timeout=300)

    assert (process.returncode, complaint) == (130, b"")


def test_a_deadline_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"\0docker-images-{os.getpid()}")
        silent.listen()
        host = f"unix://@docker-images-{os.getpid()}"
        assert main(["--host", host, "--timeout", "0.1"]) == 1

    assert "took longer than 0.1 s" in capsys.readouterr().err


# ── Until, help, version ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("until", "ages"),
    [
        ("0", set[int]()),
        (str(NOW - 5 * DAY), {9, 100}),
        (f"{NOW - 5 * DAY}.5", {9, 100}),
        ("2d", {3, 9, 100}),
        ("1w", {9, 100}),
        ("1w3d", {100}),
        ("1.5d", {3, 9, 100}),
        ("24h60m60s", {3, 9, 100}),
        (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 5 * DAY)), {9, 100}),
        (time.strftime("%Y-%m-%dT%H:%M:%S+23:00", time.gmtime(NOW - 9 * DAY)), {100}),
        (time.strftime("%Y-%m-%dT%H:%M:%S-23:00", time.gmtime(NOW - 10 * DAY)), {100}),
        (time.strftime("%Y-%m-%dT%H:%M:%S-23:59", time.gmtime(NOW - 9 * DAY - 3600)), {9, 100}),
    ],
    ids=itertools.count(),  # the times of day differ between the workers of pytest-xdist
)
def test_until_is_a_moment_or_an_age(
    capsys: pytest.CaptureFixture[str], until: str, ages: set[int]
) -> None:
    images = [an_image(Created=NOW - age * DAY, Size=age) for age in (1, 3, 9, 100)]
    with holding(images) as host:
        assert main(["--host", host, "--jsonl", "--until", until]) == 0

    found = {json.loads(line)["Size"] for line in capsys.readouterr().out.splitlines()}
    assert found == ages


def test_help_names_the_command_however_it_was_started() -> None:
    done = process("--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: docker-images ")
    for option in ("--all", "--host", "--context", "--json", "--jsonl", "doctor", "--demo"):
        assert option in done.stdout


def test_the_version_is_that_of_the_installed_distribution(tmp_path: Path) -> None:
    metadata = tmp_path / "docker_images-9.8.7.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: docker-images\nVersion: 9.8.7\n")
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"

    done = process("--version", env={**os.environ, "PYTHONPATH": path})

    assert (done.returncode, done.stdout, done.stderr) == (0, "docker-images 9.8.7\n", "")


IMPORTED = """
import sys
from docker_images.cli import main
main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
"""


def test_a_call_imports_only_what_it_needs(named: str) -> None:
    command = [sys.executable, "-c", IMPORTED, "--jsonl", "--host", named]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    loaded = set(done.stderr.split())
    ours = {name.removeprefix("docker_images.") for name in loaded}
    assert "cli.forms" in ours
    assert not ours & {"cli.views", "cli.table", "cli.doctor", "cli.check", "testing"}
    assert not loaded & {"rich", "shtab", "trio", "uvloop"}
