"""What is written is run: the README, the example, and the claims that can be checked."""

import ast
import asyncio
import builtins
import html
import inspect
import io
import os
import pkgutil
import pydoc
import re
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
from command import on_a_terminal
from pages import rows

import docker_images
import docker_images.metrics
import docker_images.query
import docker_images.sync
import docker_images.testing
from docker_images import DockerClient, DockerImagesError
from docker_images.engine.engine import MAX_ERROR_BODY
from docker_images.engine.versions import NEEDS, NEWEST, OLDEST
from docker_images.testing import FakeEngine, image
from docker_images.text import printable
from docker_images.transport.http1 import MAX_HEAD
from docker_images.transport.pool import (
    MAX_CALLS,
    MAX_IDLE,
    MAX_IDLE_SECONDS,
    MAX_RESPONSE_BYTES,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def web() -> dict[str, object]:
    return image(
        "shop/web:2.4.1",
        "shop/web:latest",
        id=f"sha256:d51327e533c3{'0' * 52}",
        size=187400123,
        created=1789740187,
        labels={"stage": "prod"},
    )


def test_the_first_program_prints_what_the_readme_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    program, output = blocks("python")[0], blocks("text")[0]
    with FakeEngine([web(), image("shop/web:next")], "docker 28.5") as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == output


@contextmanager
def adding(engine: FakeEngine, labels: dict[str, str]) -> Iterator[None]:
    """Images that come again and again, whenever a program begins to watch."""
    over = threading.Event()

    def add() -> None:
        number = 0
        while not over.wait(0.5):
            number += 1
            engine.images.add(image(f"db:{number}", labels=labels))

    thread = threading.Thread(target=add)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("block", blocks("python")[1:])
def test_every_other_block_of_the_readme_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asynchronous = f"async def run(client):\n{textwrap.indent(block, '    ')}"

    async def main(host: str) -> None:
        names: dict[str, object] = {}
        exec(compile(asynchronous, "README.md", "exec"), names)
        async with DockerClient(host) as client:
            await names["run"](client)  # type: ignore[operator]

    with FakeEngine([web()]) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        # For the block that watches.
        with adding(engine, {"stage": "prod"}):
            asyncio.run(main(engine.host))


def test_the_page_about_watching_shows_a_program_that_runs() -> None:
    (block,) = blocks("python", (ROOT / "docs/watching.md").read_text())
    program = f"async def run(client):\n{textwrap.indent(block + '        break', '    ')}"

    async def main(host: str) -> None:
        names: dict[str, object] = {}
        exec(compile(program, "watching.md", "exec"), names)
        async with DockerClient(host) as client:
            await names["run"](client)  # type: ignore[operator]

    with FakeEngine([web()]) as engine:
        printed = io.StringIO()
        with adding(engine, {"stage": "prod"}), redirect_stdout(printed):
            asyncio.run(main(engine.host))
    assert re.match(r"\d+ images\n\(ImageSummary\(", printed.getvalue())


def test_the_readme_is_a_screen_long_and_its_figures_are_those_of_the_page() -> None:
    assert len(README.splitlines()) < 90
    page = (ROOT / "docs/performance.md").read_text()
    latency = page.partition("latency, docker wire")[2]
    head = re.search(r"^\| client \|(.+)\|$", latency, re.MULTILINE)
    assert head is not None
    place = [cell.strip() for cell in head[1].split("|")].index("N=1000")
    for ours, theirs in (
        ("docker_images", "ours"),
        ("aiodocker", "aiodocker"),
        ("docker-py, one request", "docker-py"),
    ):
        row = re.search(rf"^\| {theirs} \|(.+)\|$", latency, re.MULTILINE)
        assert row is not None
        figure = row[1].split("|")[place].partition("×")[0].strip()
        assert f"| {ours} | {figure} |" in README
    ((images, engine),) = re.findall(
        r"\| (\d+) images, (Docker [\d.]+), containerd store \|", README
    )
    row = re.search(
        rf"^\| {engine}, containerd store \(native\) \| {images} \|(.+)", page, re.MULTILINE
    )
    assert row is not None
    asked = [cell.split(" ×")[0].strip() for cell in row[1].split("|")[1:4]]
    assert re.findall(r"\| (\d+ ms) \|$", README, re.MULTILINE) == asked


def test_the_picture_shows_what_the_command_prints() -> None:
    picture = (ROOT / "docs/command.svg").read_text()
    lines: dict[str, str] = {}
    for top, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]*)</text>', picture):
        lines[top] = lines.get(top, "") + html.unescape(text)
    _, line, *shown = ("".join(line.split()) for line in lines.values() if line.split())
    assert line == "$docker-images--demo--until1m"
    printed = on_a_terminal("--demo", "--until", "1m", columns=90, NO_COLOR="1").stdout
    assert ["".join(line.split()) for line in printed.splitlines()] == shown
    assert "http://" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_the_readme_opens_with_a_program_and_then_the_two_commands() -> None:
    assert re.findall(r"^```(\w+)", README, re.MULTILINE)[:3] == ["python", "text", "sh"]
    targets = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^make (\w+)", blocks("sh")[0], re.MULTILINE):
        assert re.search(rf"^{command}:", targets, re.MULTILINE)


def test_the_example_lists_and_tells_what_to_do_without_an_engine() -> None:
    def run(host: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "examples/list_images.py"],
            env={**os.environ, "DOCKER_HOST": host, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    with FakeEngine([web()]) as engine:
        done = run(engine.host)
    assert (done.returncode, done.stderr) == (0, "")
    assert "shop/web:2.4.1, shop/web:latest" in done.stdout
    assert "187,400,123" in done.stdout
    done = run("unix:///nowhere/engine.sock")
    assert done.returncode == 1
    assert "unix:///nowhere/engine.sock (DOCKER_HOST)" in done.stderr


def anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, as GitHub and MyST write them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        if "://" not in target:
            there = page.parent / target if target else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), (target, anchor)


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(
        r"^\d+\. \[(.+)\]\((.+)\)$", (folder / "index.md").read_text(), re.MULTILINE
    )
    assert [name for _, name in listed] == sorted(page.name for page in folder.glob("0*.md"))
    for place, (title, name) in enumerate(listed, 1):
        assert (folder / name).read_text().startswith(f"# {place}. {title}\n")


@pytest.mark.parametrize(
    ("kind", "question"), [(TypeError, {"label": 3}), (ValueError, {"timeout": -1})]
)
def test_bad_arguments_are_no_failures_of_an_engine_as_the_page_says(
    kind: type[Exception], question: dict[str, object]
) -> None:
    page = (ROOT / "docs/asking.md").read_text()
    assert "Bad arguments raise `TypeError` or `ValueError` before anything is sent" in page
    with FakeEngine() as engine:
        with pytest.raises(kind) as caught:
            asyncio.run(DockerClient(engine.host).list_images(**question))  # type: ignore[arg-type]
        assert not isinstance(caught.value, DockerImagesError)
        assert not engine.requests


def test_who_reports_something_is_asked_for_what_doctor_says() -> None:
    asked = [*(ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")]
    asked.append(ROOT / ".github/pull_request_template.md")
    assert len(asked) == 3
    for form in asked:
        assert "docker-images doctor --json" in form.read_text(), form


def test_the_versions_in_the_readme_are_those_of_the_code() -> None:
    assert f"Docker API {OLDEST} to {NEWEST}" in README
    asking = (ROOT / "docs/asking.md").read_text()
    for option, needed in NEEDS.items():
        assert re.search(rf"`{option}=True` \(API {re.escape(str(needed))}\b", asking)
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"Python {oldest} to " in README
    for name in (requirement.partition(">=")[0] for requirement in PROJECT["dependencies"]):
        assert name in README


def test_the_bounds_in_the_pages_are_those_of_the_code() -> None:
    security = (ROOT / "SECURITY.md").read_text()
    assert f"over tcp, idle for at most {MAX_IDLE_SECONDS:g} s" in security
    reliability = (ROOT / "docs" / "reliability.md").read_text()
    assert f"at most {MAX_IDLE} connections are kept" in reliability
    default = inspect.signature(DockerClient).parameters["timeout"].default
    shown = inspect.signature(printable).parameters["limit"].default
    for limit, row in zip(
        (
            f"one deadline for the whole call, {default:g} s by default",
            f"{MAX_RESPONSE_BYTES // 2**20} MiB by default",
            f"{MAX_HEAD // 1024} KiB without a byte of body",
            f"the first {MAX_ERROR_BODY // 1024} KiB are read, {shown} characters are shown",
            "the recursion limit of the interpreter",
            f"{MAX_CALLS} requests at the same time and {MAX_IDLE} idle connections in each event",
        ),
        rows(ROOT / "SECURITY.md", "limits"),
        strict=True,
    ):
        assert row[1].startswith(limit)
        for name in re.findall(r"`(\w+\.\w+)`", row[2]):
            room = {"http1": "transport", "pool": "transport", "engine": "engine"}[
                name.split(".")[0]
            ]
            assert pkgutil.resolve_name(f"docker_images.{room}.{name}")


def test_everything_public_has_words_of_its_own() -> None:
    silent = []
    for name in docker_images.__all__:
        thing = getattr(docker_images, name)
        if not (thing.__doc__ or "").strip():
            silent.append(name)
        for attribute, value in vars(thing).items():
            public = not attribute.startswith("_") and (
                callable(value) or isinstance(value, property)
            )
            if public and not (value.__doc__ or "").strip():
                silent.append(f"{name}.{attribute}")
    assert silent == []


def test_every_public_attribute_has_words_of_its_own() -> None:
    silent = []
    public = [getattr(docker_images, name) for name in docker_images.__all__]
    public += [getattr(docker_images.testing, name) for name in docker_images.testing.__all__]
    for thing in public:
        if not inspect.isclass(thing):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
        assert isinstance(node, ast.ClassDef)
        inits = [one.body for one in node.body if getattr(one, "name", "") == "__init__"]
        for body in (node.body, *inits):
            for line, following in zip(body, [*body[1:], None], strict=True):
                if isinstance(line, ast.AnnAssign):
                    name = ast.unparse(line.target).removeprefix("self.")
                    said = isinstance(following, ast.Expr)
                    # What the reason of an error is, the root of the errors says.
                    if not said and not name.startswith("_") and name != "reason":
                        silent.append(f"{thing.__name__}.{name}")
    assert silent == []


def test_every_public_name_is_in_the_reference() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs/api").glob("*.rst"))
    kinds = "class|exception|function|data"
    named = re.findall(rf"auto(?:{kinds}):: (?:[\w.]+\.)?(\w+)$", pages, re.MULTILINE)
    public = [*docker_images.__all__, *docker_images.testing.__all__, "EngineTransport", "Host"]
    public += [*docker_images.sync.__all__, *docker_images.metrics.__all__]
    public += [name for name in docker_images.query.__all__ if name.endswith("Argument")]
    assert sorted(named) == sorted({*public} - {"faults"})
    assert "automodule:: docker_images.testing.faults" in pages


def test_every_page_has_its_place_on_the_site() -> None:
    index = (ROOT / "docs/index.md").read_text()
    listed = re.findall(r"^[\w/-]+$", "\n".join(blocks(r"\{toctree\}", index)), re.MULTILINE)
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert sorted(listed) == sorted(pages | {"api/index", "decisions/index"})


@pytest.mark.parametrize(
    ("function", "needed"),
    [
        pytest.param(function, needed, id=function.__qualname__)
        for function, needed in (
            (DockerClient, {"self"}),
            (DockerClient.list_images, {"self"}),
            (DockerClient.watch_images, {"self"}),
            (docker_images.plan_cleanup, set()),
            (docker_images.gather_images, set()),
            (docker_images.diff_images, set()),
            (docker_images.resolve_endpoint, set()),
            (docker_images.sync.list_images, set()),
        )
    ],
)
def test_help_says_what_each_argument_means_and_what_is_raised(
    function: Callable[..., object], needed: set[str]
) -> None:
    text = inspect.getdoc(function) or ""
    arguments = text.partition("\nArgs:\n")[2].partition("\n\n")[0]
    told = set(re.findall(r"^    \*{0,2}(\w+): ", arguments, re.MULTILINE))
    assert told == inspect.signature(function).parameters.keys() - needed
    for version, option in ((version, option) for option, version in NEEDS.items()):
        if f"\n    {option}: tell" in text:
            said = arguments.partition(f"    {option}: ")[2].partition("\n    c")[0]
            assert f"API {version}" in said, option
    raised = re.findall(r"^    (\w+): ", text.partition("\nRaises:\n")[2], re.MULTILINE)
    for name in raised:
        error = getattr(docker_images, name, None) or getattr(builtins, name)
        assert issubclass(error, Exception)


@pytest.mark.parametrize(
    "module", sorted((ROOT / "docker_images").rglob("*.py")), ids=lambda path: path.stem
)
def test_every_module_opens_by_saying_what_it_knows(module: Path) -> None:
    if module.name != "__main__.py":
        assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize(
    "function",
    [DockerClient.list_images, DockerClient.watch_images, docker_images.sync.list_images],
)
def test_help_shows_the_names_of_types(function: Callable[..., object]) -> None:
    first = next(line for line in pydoc.render_doc(function).splitlines() if "label:" in line)
    assert re.search(r"label: '?LabelArgument \| None'?", first)
    assert "collections.abc" not in first


def test_no_change_is_listed_twice() -> None:
    """Not in other words either: what two merges of one line leave begins alike."""
    changes = re.findall(r"^- (.{20})", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert [one for one in changes if changes.count(one) > 1] == []
