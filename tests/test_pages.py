"""Every page to the letter: programs run, what they print is compared, commands are understood."""

import asyncio
import functools
import hashlib
import inspect
import io
import itertools
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiodocker
import anyio
import docker
import engines
import httpx
import pytest
import trio
from command import run
from pages import DOCS, PAGES, ROOT, blocks, printed, programs, rows
from test_rooms import FLOOR

import docker_images
from docker_images import DockerClient, DockerImagesError, ImageSummary, sync
from docker_images.cli.arguments import COMMANDS as SUBCOMMANDS
from docker_images.testing import FakeEngine, FakeImage, faults, image

ELSEWHERE = {
    "README.md": "test_docs.py",
    "cleanup.md": "test_cleanup.py",
    "cli.md": "test_cli_docs.py",
    "connecting.md": "test_engine_transport.py",
    "metrics.md": "test_metrics.py",
    "testing.md": "test_testing_docs.py",
    "watching.md": "test_docs.py",
}
"""Pages with tests of their own."""
FOR_DEVELOPERS = ["adding-an-api-version.md"]
"""Commands that need an engine that is not there yet; the files that they name are."""
HERE = [
    "index.md",
    "asking.md",
    "ci.md",
    "event-loops.md",
    "fastapi.md",
    "many-engines.md",
    "reliability.md",
]
"""Pages that are run from their first block to their last, each with an engine of its own."""


def images() -> list[FakeImage]:
    """What the pages show: one in production, one with a name only, one without any."""
    hour = time.time() - 3600
    web = image(
        "shop/web:2.4.1",
        "shop/web:latest",
        id=f"sha256:d51327e533c3{'0' * 52}",
        size=187_400_123,
        created=hour,
        labels={"stage": "prod"},
    )
    return [
        web,
        image("alpine:3.20", created=hour - 60),
        image(created=hour - 120, labels={"stage": "test"}),
    ]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeEngine(images()) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        yield engine.host


def test_every_page_with_something_to_run_is_run_somewhere() -> None:
    for page in PAGES:
        languages = {block.language for block in blocks(page)} & {"python", "console"}
        if languages and page.name not in ("tutorial.md", *FOR_DEVELOPERS, *HERE):
            test = ROOT / "tests" / ELSEWHERE[page.name]
            assert page.name.removesuffix(".md") in test.read_text(), page


@pytest.mark.parametrize("name", HERE)
def test_the_programs_of_a_page_run_and_print_what_it_shows(name: str, host: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for program, shown in programs(DOCS / name):
        out = printed(program, name, names, host)
        assert shown is None or out == shown
    for test in [names[name] for name in names if name.startswith("test_")]:
        test()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another task does; a minute at most."""
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.01)


def functions_of(name: str, host: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    for program, _ in programs(DOCS / name):
        printed(program, name, names, host)
    return names


def test_the_functions_about_many_engines_do_what_the_page_says(host: str) -> None:
    names = functions_of("many-engines.md", host)
    digest = f"shop/web@sha256:{'a' * 64}"

    async def main(there: FakeEngine) -> None:
        async with DockerClient(host) as here, DockerClient(there.host) as other:
            assert await names["missing"](other, here) == {digest.partition("@")[2]}
            seen: dict[str, int] = {}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(names["follow_all"], {"here": here, "there": other}, seen)
                await eventually(lambda: seen == {"here": 3, "there": 1})
                there.images.add(image("db:1"))
                await eventually(lambda: seen == {"here": 3, "there": 2})
                tasks.cancel_scope.cancel()

    with FakeEngine([image("shop/web:1", digests=[digest])]) as there:
        anyio.run(main, there)


def test_the_function_about_keeping_an_eye_on_an_engine_tells_of_outages(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        out = io.StringIO()
        with redirect_stdout(out):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(names["watch"])
                await eventually(lambda: out.getvalue() == "3 images\n")
                engine.images.add(image("db:1"))
                await eventually(lambda: out.getvalue() == "3 images\n4 images\n")
                engine.stop()
                await eventually(lambda: "no engine at" in caplog.text)
                tasks.cancel_scope.cancel()

    with FakeEngine(images()) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        names = functions_of("reliability.md", engine.host)
        anyio.run(main)


@pytest.mark.parametrize("name", HERE)
def test_the_commands_of_a_page_print_what_it_shows(name: str, host: str) -> None:
    for block in blocks(DOCS / name):
        if block.language == "console":
            first, _, shown = block.text.partition("\n")
            out = run(*shlex.split(first.removeprefix("$ docker-images"))).stdout
            clock = r"(?<=newest=)\d+|(?<=oldest=)\d+|\d+(?= years ago)"
            assert re.sub(clock, "N", out) == re.sub(clock, "N", shown)


def commands(script: str) -> Iterator[list[str]]:
    """Each `docker-images …` of a script, without what it is piped to."""
    for line in re.findall(r"docker-images .*", script):
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        words.whitespace_split = True
        yield list(itertools.takewhile(lambda word: word not in ("|", "&&", ";", ">"), words))


COMMANDS = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)}")
    for page in PAGES
    for block in blocks(page)
    if block.language in ("sh", "yaml")
    for words in commands(block.text)
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_in_a_script_is_understood(words: list[str], host: str) -> None:
    Path("before.json").write_text(run("--json").stdout)
    done = run(*(word.replace("$TAG", "2.4.1") for word in words[1:]))
    assert done.returncode in (0, 1), done.stderr


# ── The pages about moving here, and about others ───────────────────────────────────────────────

MOVING = DOCS / "moving.md"


def moves(name: str) -> list[Any]:
    return [
        pytest.param(*(re.findall("`([^`]+)`", cell)[0] for cell in row), id=row[1])
        for row in rows(MOVING, name)
    ]


async def ours(expression: str, host: str) -> Any:
    names: dict[str, Any] = {"timedelta": timedelta}
    async with DockerClient(host) as client:
        names |= {"client": client, "images": await client.list_images()}
        exec(f"async def value():\n    return {expression}", names)
        return alike(await names["value"]())


def alike(value: Any) -> Any:
    """The same for a list of images of any of the libraries."""
    if isinstance(value, list) and value:
        if isinstance(value[0], ImageSummary):
            return sorted(one.id for one in value)
        if isinstance(value[0], dict):
            return sorted(one["Id"] for one in value)
        if hasattr(value[0], "attrs"):
            return sorted(one.id for one in value)
    return value


def is_answer(value: Any) -> bool:
    return isinstance(value, docker_images.EngineInfo)


@pytest.mark.parametrize(("theirs", "here"), moves("docker-py"))
def test_a_call_of_docker_py_has_its_call_here(theirs: str, here: str, host: str) -> None:
    client = docker.DockerClient(base_url=host)
    try:
        expected = alike(eval(theirs, {"client": client}))
    finally:
        client.close()
    found = asyncio.run(ours(here, host))
    assert found == expected or (is_answer(found) and expected is True)


@pytest.mark.parametrize(("theirs", "here"), moves("aiodocker"))
def test_a_call_of_aiodocker_has_its_call_here(theirs: str, here: str, host: str) -> None:
    async def both() -> tuple[Any, Any]:
        names: dict[str, Any] = {}
        exec(f"async def value(docker):\n    return {theirs}", names)
        async with aiodocker.Docker(url=host) as other:
            return alike(await names["value"](other)), await ours(here, host)

    expected, found = asyncio.run(both())
    assert found == expected


@pytest.mark.xdist_group(engines.at_hand("podman 5.8"))
@pytest.mark.parametrize(("theirs", "here"), moves("podman-py"))
def test_a_call_of_podman_py_has_its_call_here(theirs: str, here: str, live: engines.Live) -> None:
    """podman-py speaks Podman's own API, which the fake engine does not."""
    import podman  # no other test needs it

    host = live.host("podman 5.8")
    theirs, here = (text.replace("shop/web", "demo/web") for text in (theirs, here))
    with podman.PodmanClient(base_url=host) as client:
        expected = eval(theirs, {"client": client})
    if "until" in theirs:  # ours leaves out images whose time is unknown, as the page says
        expected = [one for one in expected if one.attrs["Created"] > 0]
    found = asyncio.run(ours(here, host))
    assert plain(found) == plain(alike(expected))
    assert found


def plain(value: Any) -> Any:
    """Without the prefix of ids, and without order: Podman's own API has neither."""
    if not isinstance(value, list):
        return value
    return sorted(one.removeprefix("sha256:") if isinstance(one, str) else one for one in value)


@pytest.mark.parametrize(("theirs", "here"), moves("command"))
def test_a_call_says_what_the_docker_command_prints(theirs: str, here: str, host: str) -> None:
    found = asyncio.run(ours(here, host))
    assert found
    if not shutil.which("docker"):
        pytest.skip("the docker command is not installed")
    version = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=True)
    if int(re.findall(r"version (\d+)", version.stdout)[0]) >= 29:
        pytest.skip("it hides images without a tag: docs/moving.md")
    done = subprocess.run(shlex.split(theirs), capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()) == set(found)


def test_what_others_ask_is_counted() -> None:
    async def with_aiodocker(host: str) -> list[int]:
        counts = []
        async with aiodocker.Docker(url=host) as client:
            for _ in range(2):
                await client.images.list()
                counts.append(len(engine.requests))
        return counts

    async def with_ours(host: str) -> list[int]:
        counts = []
        async with DockerClient(host) as client:
            for _ in range(2):
                await client.list_images()
                counts.append(len(engine.requests))
        return counts

    def with_docker_py(host: str, listing: str) -> list[int]:
        counts = []
        client = docker.DockerClient(base_url=host)
        for _ in range(2):
            eval(listing, {"client": client})
            counts.append(len(engine.requests))
        client.close()
        return counts

    told = {
        re.findall("`(.+)`", row[0])[0]: row[1:] for row in rows(DOCS / "compared.md", "requests")
    }
    for listing, cells in told.items():
        with FakeEngine(images(), "docker 29.7") as engine:
            if listing.startswith("docker.images"):
                first, both = asyncio.run(with_aiodocker(engine.host))
            elif listing == "client.list_images()":
                first, both = asyncio.run(with_ours(engine.host))
            else:
                first, both = with_docker_py(engine.host, listing)
        assert cells == [str(first), str(both - first)], listing


OTHERS = {row[0]: [row[1], row[2], row[4]] for row in rows(DOCS / "compared.md", "others")}
"""What the page says of docker-py, aiodocker and this library."""


def with_docker_py(host: str | None = None) -> list[Any]:
    with closing(docker.DockerClient(base_url=host) if host else docker.from_env()) as client:
        found: list[Any] = client.api.images()
        return found


async def with_aiodocker(host: str | None = None) -> list[Any]:
    async with aiodocker.Docker(url=host) as client:
        return await client.images.list()


def asking(host: str | None = None) -> list[Callable[[], list[Any]]]:
    """A list by docker-py, aiodocker and this library."""
    return [
        lambda: with_docker_py(host),
        lambda: asyncio.run(with_aiodocker(host)),
        lambda: sync.list_images(host),
    ]


def yes_or_no(try_out: Callable[[], object]) -> str:
    try:
        try_out()
    except (
        docker.errors.DockerException,
        aiodocker.DockerError,
        DockerImagesError,
        RuntimeError,
    ):
        return "no"
    return "yes"


def lists_of_objects(_: Path) -> list[str]:
    with FakeEngine(images()) as engine:
        with closing(docker.DockerClient(base_url=engine.host)) as client:
            assert isinstance(client.images.list()[0].attrs, dict)
        assert type(asyncio.run(with_aiodocker(engine.host))[0]) is dict
        assert sync.list_images(engine.host) == sync.list_images(engine.host)
    return ["classes around a dict", "dicts", "Structs, compared by value"]


def one_meaning(_: Path) -> list[str]:
    answers: list[list[Any]] = []
    for name in ("docker 20.10", "docker 28.5"):
        with FakeEngine([image(created=None)], name) as engine:
            answers.append([ask() for ask in asking(engine.host)])
    keys = ("RepoTags", "RepoDigests", "Created")
    old, new = ([{key: one[0][key] for key in keys} for one in each[:2]] for each in answers)
    same = [before == after for before, after in zip(old, new, strict=True)]
    (before,), (after,) = answers[0][2], answers[1][2]
    same.append(
        (before.repo_tags, before.repo_digests, before.created_at)
        == (after.repo_tags, after.repo_digests, after.created_at)
    )
    return ["yes" if one else "no" for one in same]


def event_loops(_: Path) -> list[str]:
    async def ours(host: str) -> None:
        async with DockerClient(host) as client:
            await client.list_images()

    with FakeEngine(images()) as engine:
        found = []
        for ask in (with_aiodocker, ours):
            asyncio.run(ask(engine.host))
            found.append(yes_or_no(functools.partial(trio.run, ask, engine.host)))
    words = {"no": "asyncio", "yes": "both"}
    return ["no", *(words[one] for one in found)]


def several_loops(_: Path) -> list[str]:
    async def made() -> Any:
        return aiodocker.Docker(url=engine.host)

    with FakeEngine(images()) as engine, asyncio.Runner() as first, asyncio.Runner() as second:
        theirs, ours = first.run(made()), DockerClient(engine.host)
        found = []
        for ask in (theirs.images.list, ours.list_images):
            first.run(ask())
            found.append(yes_or_no(lambda: second.run(ask())))  # noqa: B023 - called at once
        first.run(theirs.close())
        first.run(ours.aclose())
    return ["–", *found]


def default_deadline(_: Path) -> list[str]:
    async def of_aiodocker() -> float | None:
        async with aiodocker.Docker(url="unix:///nowhere.sock") as client:
            return client.session.timeout.total

    ours = inspect.signature(DockerClient).parameters["timeout"].default
    assert asyncio.run(of_aiodocker()) is None
    return [
        f"{docker.constants.DEFAULT_TIMEOUT_SECONDS} s for each wait",
        "none",
        f"{ours:g} s for the whole call",
    ]


def negotiation(_: Path) -> list[str]:
    with FakeEngine(images()) as engine:
        with closing(docker.DockerClient(base_url=engine.host)):
            assert [one.path for one in engine.requests] == ["/version"]
        engine.requests.clear()
        asyncio.run(with_aiodocker(engine.host))
        assert [one.path for one in engine.requests] == ["/version", "/images/json"]
        engine.requests.clear()
        sync.list_images(engine.host)
        assert {one.path for one in engine.requests} == {"/images/json"}
    return ["asked for when the client is made", "asked for at the first call", "from the answer"]


def an_older_engine(_: Path) -> list[str]:
    def docker_py() -> None:
        with closing(docker.DockerClient(base_url=engine.host)) as client:
            client.api.images()
            engine.become("docker 20.10")
            client.api.images()

    async def of_aiodocker() -> None:
        async with aiodocker.Docker(url=engine.host) as client:
            await client.images.list()
            engine.become("docker 20.10")
            await client.images.list()

    async def ours() -> None:
        async with DockerClient(engine.host) as client:
            await client.list_images()
            engine.become("docker 20.10")
            await client.list_images()

    found = []
    for ask in (docker_py, lambda: asyncio.run(of_aiodocker()), lambda: asyncio.run(ours())):
        with FakeEngine(images(), "docker 28.5") as engine:
            found.append(yes_or_no(ask))
    return found


def in_the_context(home: Path, named: FakeEngine) -> None:
    """Make an engine that of the current context of docker's configuration."""
    folder = home / ".docker/contexts/meta" / hashlib.sha256(b"here").hexdigest()
    folder.mkdir(parents=True)
    endpoint = {"Host": named.host, "SkipTLSVerify": False}
    context = {"Name": "here", "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (folder / "meta.json").write_text(json.dumps(context))
    (home / ".docker/config.json").write_text(json.dumps({"currentContext": "here"}))


def contexts(home: Path) -> list[str]:
    with FakeEngine(images()) as engine:
        in_the_context(home, engine)
        return ["yes" if len(ask()) == 3 else "no" for ask in asking()]


def host_first(home: Path) -> list[str]:
    with FakeEngine(images()) as engine, FakeEngine() as other:
        in_the_context(home, engine)
        os.environ["DOCKER_HOST"] = other.host
        return ["yes" if ask() == [] else "no" for ask in asking()]


def only_lists(_: Path) -> list[str]:
    refused = [faults.forbidden(path=path) for path in ("/version", "/_ping")]
    with FakeEngine(images(), faults=refused) as engine:
        return [yes_or_no(ask) for ask in asking(engine.host)]


TRIED: dict[str, Callable[[Path], list[str]]] = {
    "a list as typed, immutable objects": lists_of_objects,
    "one meaning on every engine (`null`, `<none>`, times)": one_meaning,
    "asyncio / trio": event_loops,
    "one client for several event loops": several_loops,
    "default deadline": default_deadline,
    "the API version": negotiation,
    "follows an engine that is replaced by an older one": an_older_engine,
    "contexts of the docker command": contexts,
    "`DOCKER_HOST` before the current context, as in docker": host_first,
    "works behind a proxy that only lets lists through": only_lists,
}


@pytest.mark.parametrize("row", OTHERS | TRIED)
def test_what_others_do_was_tried(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "")  # for its end
    monkeypatch.delenv("DOCKER_HOST")
    assert TRIED[row](tmp_path) == OTHERS[row]


def test_the_errors_that_stand_beside_each_other_exist() -> None:
    page = MOVING.read_text()
    table = page.partition("| docker-py 7 raises | here |\n|---|---|\n")[2].partition("\n\n")[0]
    for row in table.splitlines():
        theirs, ours = row.strip("|").split(" | ")
        for name in re.findall("`(.+?)`", theirs):
            assert issubclass(pkgutil.resolve_name(name), Exception)
        for name in re.findall("`(.+?)`", ours):
            assert issubclass(getattr(docker_images, name), DockerImagesError)


def test_the_files_that_a_page_for_developers_names_are_there() -> None:
    text = (DOCS / FOR_DEVELOPERS[0]).read_text()
    names = re.findall(r"`((?:tests|docker_images|docs)/[\w./-]+)`", text)
    assert len(names) > 10
    assert [name for name in names if not (ROOT / name).exists()] == []
    for test in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {test}(" in file.read_text() for file in (ROOT / "tests").glob("*.py"))


# ── FastAPI ─────────────────────────────────────────────────────────────────────────────────────


def test_the_applications_answer_what_the_page_shows() -> None:
    names: dict[str, Any] = {}
    page = DOCS / "fastapi.md"
    for program, _ in programs(page):
        exec(compile(program, "fastapi.md", "exec"), names)
    (shown,) = (block.text for block in blocks(page) if block.language == "json")

    async def ask(app: Any, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    async def main(engine: FakeEngine) -> None:
        async with names["lifespan"](names["app"]):
            answer = await ask(names["app"], "/images?stage=prod")
            assert (answer.status_code, answer.json()) == (
                200,
                httpx.Response(200, text=shown).json(),
            )
            async with names["watching"](names["watched"]):
                before = (await ask(names["watched"], "/images")).json()
                assert len(before["images"]) == 3
                engine.images.add(image("db:1"))
                while (now := (await ask(names["watched"], "/images")).json()) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert len(now["images"]) == 4
            engine.stop()
            answer = await ask(names["app"], "/images")
            assert (answer.status_code, answer.json()["reason"]) == (503, "no-socket")

    with FakeEngine(images()) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.host)
        asyncio.run(main(engine))


# ── The tutorial ────────────────────────────────────────────────────────────────────────────────


class Program:
    """A program in a terminal of its own."""

    def __init__(self, *words: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Ends with the test, whatever fails.
        self._guard = threading.Timer(600, self._process.kill)
        self._guard.start()

    def reads(self, text: str) -> str:
        """As many lines as the text has."""
        assert self._process.stdout is not None
        return "".join(self._process.stdout.readline() for _ in text.splitlines())

    def complains(self) -> str:
        """The next line of its errors."""
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def enter(self, text: str | None) -> None:
        """Type a line, or Ctrl-D."""
        assert self._process.stdin is not None
        if text is None:
            self._process.stdin.close()
        else:
            self._process.stdin.write(text)
            self._process.stdin.flush()

    def end(self) -> None:
        self._guard.cancel()
        with self._process:
            self._process.kill()


def scrape(url: str, pattern: str) -> str:
    """What `curl -s URL | grep -E PATTERN` prints, with any name for the folder of the socket."""
    lines = httpx.get(url, trust_env=False).text.splitlines()
    found = "".join(f"{line}\n" for line in lines if re.search(pattern, line))
    return re.sub("/tmp/[^/]+/", "/tmp/…/", found)


def test_the_tutorial_works_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    started: dict[str, Program] = {}
    years = r"\d+(?= years ago)"
    try:
        for block in blocks(DOCS / "tutorial.md"):
            first, _, shown = block.text.partition("\n")
            if block.language == "python":
                (name,) = re.findall(r"^(?:.* )?Save this as `(\w+\.py)`", block.before)
                Path(name).write_text(block.text)
            elif first == "$ python engine.py":
                if "engine" in started:
                    started["engine"].end()
                started["engine"] = Program("engine.py", environment=environment)
                export = started["engine"].reads(shown)
                assert re.sub("/tmp/[^/]+/", "/tmp/…/", export) == shown
                host = export.removeprefix("export DOCKER_HOST=").strip()
                environment["DOCKER_HOST"] = host
                monkeypatch.setenv("DOCKER_HOST", host)
            elif first == "$ python -u watch.py":
                started["watch"] = Program("-u", "watch.py", environment=environment)
                assert started["watch"].reads(shown) == shown
            elif block.language == "text" and "type a name" in block.before:
                started["engine"].enter(block.text)
            elif block.language == "text":
                if "Ctrl-D" in block.before:
                    started["engine"].enter(None)
                assert started["watch"].reads(block.text) == block.text
            elif first.startswith("$ python "):
                words = shlex.split(first)[2:]
                done = subprocess.run(
                    [sys.executable, *words], env=environment, capture_output=True, text=True
                )
                assert done.stdout == shown, done.stderr
                assert done.stderr == ""
            elif "curl" in block.text:
                if first.startswith("$ docker-images exporter"):
                    words = first.removesuffix(" &").replace("19587", "0").split()[2:]
                    started["exporter"] = Program(
                        "-m", "docker_images", *words, environment=environment
                    )
                    serving, _, shown = shown.partition("\n")
                    told = started["exporter"].complains()
                    url = re.findall(r"http://\S+", told)[0]
                    assert told == f"{serving}\n".replace("19587", url.split(":")[2][:-8])
                    first, _, shown = shown.partition("\n")
                else:
                    assert "Ctrl-D" in block.before
                    started["engine"].enter(None)
                (pattern,) = re.findall(r"grep -E '(.+)'", first)
                # Who reads the page takes longer than a list.
                for _ in range(100):
                    scraped = scrape(url, pattern)
                    if scraped == shown:
                        break
                    time.sleep(0.1)
                assert scraped == shown
            elif first.startswith("$ docker-images"):
                out = run(*shlex.split(first)[2:]).stdout
                assert re.sub(years, "N", out) == re.sub(years, "N", shown)
            else:
                assert "python3 -m venv" in first
                (extras,) = re.findall(r"docker-images\[([\w,]+)\]", block.text)
                project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
                assert {*extras.split(",")} <= project["optional-dependencies"].keys()
    finally:
        for program in started.values():
            program.end()


# ── Names ───────────────────────────────────────────────────────────────────────────────────────

ABOUT_OTHERS = ("moving.md", "compared.md", "CHANGELOG.md", "changelog.md")
"""Pages that name what is not ours, or is not any more."""
FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
INLINE = sorted(
    {
        (page.name, code)
        for page in PAGES
        if page.name not in ABOUT_OTHERS
        for code in re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text()))
    }
)
THINGS = {
    "client": DockerClient,
    "image": ImageSummary,
    "plan": docker_images.CleanupPlan,
    "update": docker_images.ImagesUpdate,
    "watch": docker_images.ImagesWatch,
    **{name: getattr(docker_images, name) for name in docker_images.__all__},
}


def has(thing: Any, name: str) -> bool:
    """Whether a class has this attribute, or its objects do."""
    annotated = any(name in getattr(base, "__annotations__", ()) for base in thing.__mro__)
    return hasattr(thing, name) or annotated or f"self.{name}:" in inspect.getsource(thing)


def test_each_file_that_a_page_names_is_there() -> None:
    folders = r"(?:tests|docs|docker_images|\.ci|\.github|examples)/[\w./*-]+"
    paths = [code for _, code in INLINE if re.fullmatch(folders, code)]
    paths += [f"tests/{code}" for _, code in INLINE if re.fullmatch(r"test_\w+\.py", code)]
    assert len(paths) > 20
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_each_name_of_ours_that_a_page_says_exists() -> None:
    checked = 0
    for page, code in INLINE:
        match = re.fullmatch(r"(\w+)\.(\w+)(?:\(.*\))?(?:\.\w+)*", code)
        if match and match[1] in THINGS and match[2] not in ("py", "api", "images"):
            checked += 1
            assert has(THINGS[match[1]], match[2]), (page, code)
        elif code.startswith("docker_images.") and re.fullmatch(r"[\w.]+(?:\(\))?", code):
            checked += 1
            assert pkgutil.resolve_name(code.removesuffix("()")), (page, code)
    assert checked > 10


def test_each_attribute_in_the_tables_about_watching_exists() -> None:
    watch, update = (DOCS / "watching.md").read_text().split("\n| of an update |")
    for thing, text in ((docker_images.ImagesWatch, watch), (docker_images.ImagesUpdate, update)):
        table = text.partition("|---|---|\n")[2].partition("\n\n")[0]
        names = [
            name for row in table.splitlines() for name in re.findall("`(.+?)`", row.split("|")[1])
        ]
        assert len(names) > 4
        assert [name for name in names if not has(thing, name)] == []


def test_each_option_that_a_page_names_exists() -> None:
    told = {
        option for _, code in INLINE for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code)
    }
    helps = [run(name, "--help").stdout for name in SUBCOMMANDS]
    ours = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(helps)))
    # Of docker rmi, of tests/soak.py and pytest, and a name that would steer a command line.
    assert told - ours <= {"--no-prune", "--seconds", "--backend", "--force"}


def test_each_room_that_contributing_draws_is_there() -> None:
    drawing = blocks(ROOT / "CONTRIBUTING.md")[1].text
    rooms = re.findall(r"^  ([\w/, ]+?)  ", drawing, re.MULTILINE)
    names = [name.rstrip("/") for room in rooms for name in room.split(", ")]
    assert len(names) > 10
    package = ROOT / "docker_images"
    there = {path.stem for path in package.iterdir() if path.stem[0] not in "_p."}
    assert set(names) == there
    *floors, last = names
    assert [FLOOR[name] for name in floors] == sorted(FLOOR[name] for name in floors)
    assert last == "testing"


# ── The reference ───────────────────────────────────────────────────────────────────────────────


def test_the_inventories_name_what_is_there() -> None:
    """Names of other projects that our reference links to can be imported."""
    import importlib

    for source in (DOCS / "inventories").glob("*.txt"):
        for line in source.read_text().splitlines()[1:]:
            name, role, *_ = line.split()
            module, _, attribute = name.rpartition(".")
            if role == "py:module":
                importlib.import_module(name)
                continue
            thing: Any = importlib.import_module(module or "builtins")
            assert hasattr(thing, attribute) or attribute in ("None", "True", "False"), name
