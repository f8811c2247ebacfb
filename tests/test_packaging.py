"""What is installed, what is imported, and who knows what."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import docker_images
from docker_images import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "docker_images"
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_all_names_what_is_public_sorted() -> None:
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("docker_images")
        for alias in node.names
    }
    assert set(docker_images.__all__) == imported
    assert list(docker_images.__all__) == sorted(docker_images.__all__, key=_isort)


def _isort(name: str) -> tuple[bool, str]:
    return (not name.isupper(), name)  # constants first, as ruff sorts


def test_names_that_are_loaded_later_are_listed_from_the_start() -> None:
    program = "import docker_images; print({*docker_images.__all__} - {*dir(docker_images)})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        docker_images.nothing_such  # noqa: B018


def test_every_error_is_below_the_root_and_in_the_drawing() -> None:
    drawing = errors.__doc__ or ""
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert {error.__name__ for error in classes} == {*errors.__all__} - {"ErrorData", "Reason"}
    for error in classes:
        assert issubclass(error, docker_images.DockerImagesError)
        assert error.__name__ in drawing
        for builtin in re.findall(rf"{error.__name__} .*\((\w+)\)", drawing):
            assert builtin in {base.__name__ for base in error.__mro__}
    stray = [
        (f"{module.parent.name}/{module.name}", node.name)
        for module in MODULES
        if module.name != "errors.py" and "testing" not in module.parts
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
        and {"Exception"} & {ast.unparse(base) for base in node.bases}
    ]
    # The transport translates its own, the command catches its own.
    assert sorted(stray) == [
        ("cli/words.py", "UsageError"),
        ("transport/exceptions.py", "ProxyError"),
        ("transport/exceptions.py", "RemoteTextError"),
        ("transport/exceptions.py", "SSHEndedError"),
        ("transport/http1.py", "HungUpError"),
        ("transport/http1.py", "ProtocolError"),
    ]


def imports(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def test_httpx_is_known_in_few_modules() -> None:
    knowing = {place(module) for module in MODULES if "httpx" in imports(module)}
    assert knowing <= {
        "client.py",
        "engine/engine.py",
        "engine/request.py",
        "transport/failures.py",
        "transport/__init__.py",
    }


def test_versions_are_compared_in_one_module_only() -> None:
    comparing = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Compare) and any(
                isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for operator in node.ops
            ):
                sides = ast.unparse(node)
                if re.search(r"\b(version|theirs|NEWEST|OLDEST|NEEDS|ApiVersion)\b", sides):
                    comparing.add(place(module))
    # The fake engine plays the other side, with a table of its own.
    assert {name for name in comparing if not name.startswith("testing/")} == {"engine/versions.py"}


def test_only_the_way_to_the_network_is_async() -> None:
    asynchronous = {
        place(module)
        for module in MODULES
        if any(
            isinstance(node, ast.AsyncFunctionDef)
            for node in ast.walk(ast.parse(module.read_text()))
        )
    }
    network = ("client.py", "engine/", "fleet.py", "sync.py", "transport/")
    network += ("watch/", "cli/", "testing/")
    assert {name for name in asynchronous if not name.startswith(network)} == set()


def test_importing_opens_nothing_of_the_user() -> None:
    program = """
import sys
seen = []
def hook(event, args):
    if event == "open" and isinstance(args[0], str): seen.append(args[0])
    if event.startswith(("socket.", "subprocess.", "ssl.")): seen.append(event)
sys.addaudithook(hook)
import docker_images
docker_images.DockerClient()
home = __import__("os").path.expanduser("~")
events = ("socket.connect", "socket.bind", "subprocess.")
assert not [name for name in seen if "/.docker" in name or name.startswith(events)]
assert "ssl.SSLContext" not in seen
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_a_client_that_nobody_closed_warns_of_nothing(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from docker_images import DockerClient
from docker_images.testing import FakeEngine, image
client = DockerClient(sys.argv[1])
print(len(asyncio.run(client.list_images())), len(asyncio.run(client.list_images())))
import trio
print(len(trio.run(client.list_images)))
"""
    from docker_images.testing import FakeEngine, image

    with FakeEngine([image("alpine:3")]) as engine:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, engine.host],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
    assert (done.stdout, done.stderr) == ("1 1\n1\n", "")


@pytest.mark.slow
def test_the_wheel_installs_in_an_empty_environment_and_brings_few(tmp_path: Path) -> None:
    """Ten distributions at most, this one among them; types, plugin and command included."""
    wheels = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"docker_images/py.typed", "pytest_docker_images.py"} <= set(names)
    assert not [name for name in names if name.startswith("tests")]
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "empty")], check=True)
    python = str(tmp_path / "empty" / "bin" / "python")
    before = _installed(python)
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    brought = _installed(python) - before
    assert "docker-images" in brought
    assert len(brought) <= 10, brought
    heavy = "{'trio', 'rich', 'uvloop', 'httpcore'}"
    lean = f"import docker_images, sys; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [python, "-W", "error", "-c", lean], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
    command = str(tmp_path / "empty" / "bin" / "docker-images")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"docker-images \d+\.\d+\.\d+\n", done.stdout)


def _installed(python: str) -> set[str]:
    listing = (
        "from importlib.metadata import distributions as d; print(*{x.name.lower() for x in d()})"
    )
    done = subprocess.run([python, "-c", listing], capture_output=True, text=True, check=True)
    return set(done.stdout.lower().split())


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("had_one", [True, False])
def test_a_python_without_venv_is_told_and_takes_no_environment_away(
    tmp_path: Path, had_one: bool
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    if had_one:
        (tmp_path / ".venv").mkdir()
    words = ["make", "-C", str(tmp_path), "list", "PYTHON=false"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "false cannot make virtual environments: install" in done.stderr
    assert (tmp_path / ".venv").exists() == had_one


def test_every_python_that_is_claimed_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    claimed = [text.rpartition(" ")[2] for text in project["classifiers"] if ":: 3." in text]
    (looked_for,) = re.findall(r"for version in (.*); do", (ROOT / ".ci" / "run").read_text())
    assert looked_for.split() == claimed
    assert f"Python {claimed[0]} to {claimed[-1]}" in (ROOT / "README.md").read_text()
