"""Build a release twice, and check what users would get of it.

`release.py dist` leaves the files in `dist`; `release.py --tag v0.1.0 dist` also asks whether they
are what the tag says. Needs the dependency group `release`.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ["test_client.py", "test_cli.py", "test_decode.py", "test_models.py", "test_testing.py"]
"""What is run against the wheel: a bit of each room. All tests run before, against the sources."""


def disagreements(version: str, changelog: str, tag: str | None = None) -> list[str]:
    """Where version, changelog and tag do not agree; nothing where they do."""
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    found: list[str] = []
    released: list[str] = []
    for place, heading in enumerate(headings):
        if heading == "Unreleased":
            if place:
                found.append("Unreleased is not at the top of the changelog")
            continue
        number, _, day = heading.partition(" - ")
        try:
            date.fromisoformat(day)
        except ValueError:
            found.append(f"no `VERSION - YYYY-MM-DD` in the changelog: {heading}")
        released.append(number)
    numbers = [_ordered(number) for number in released]
    if numbers != sorted(set(numbers), reverse=True):
        found.append(f"the versions of the changelog are not newest first: {', '.join(released)}")
    newest = released[0] if released else None
    if headings[:1] != ["Unreleased"]:
        if newest != version:
            found.append(f"pyproject.toml has {version}, and the changelog {newest}")
    elif newest is not None and _ordered(version) <= _ordered(newest):
        found.append(f"unreleased changes, but pyproject.toml still has {version}")
    if tag is not None:
        if tag != f"v{version}":
            found.append(f"the tag is {tag}, and pyproject.toml has {version}")
        if headings[:1] == ["Unreleased"]:
            found.append(f"the tag is {tag}, and the changelog still says Unreleased")
    return found


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag")
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for disagreement in disagreements(version, (ROOT / "CHANGELOG.md").read_text(), options.tag):
        raise SystemExit(disagreement)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built = build(ROOT, folder / "once")
        sources = unpacked(built, folder / "sources")
        # From other files, in another folder, at another time.
        again = build(sources, folder / "again")
        for path in built:
            twin = folder / "again" / path.name
            if sha256(path) != sha256(twin):
                raise SystemExit(f"{path.name} has other bytes when it is built again")
        print(f"built twice, the same bytes: {', '.join(path.name for path in again)}", flush=True)
        run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built))
        try_out(built, sources, folder / "venv")
        if options.folder is not None:
            options.folder.mkdir(exist_ok=True)
            for path in built:
                shutil.copy(path, options.folder)
    return 0


def build(sources: Path, out: Path) -> list[Path]:
    """The sdist, and the wheel that is built from it."""
    words = ["-m", "build", "--no-isolation", "--outdir", str(out), str(sources)]
    run(sys.executable, *words, quiet=True)
    return sorted(out.iterdir())


def unpacked(built: list[Path], out: Path) -> Path:
    (sdist,) = (path for path in built if path.name.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    (sources,) = out.iterdir()
    (sources / "PKG-INFO").unlink()  # made by the build, which would pack it as a source
    return sources


def try_out(built: list[Path], sources: Path, environment: Path) -> None:
    """Install the wheel alone, use it, and run tests of the sdist against it."""
    (wheel,) = (path for path in built if path.suffix == ".whl")
    venv.create(environment)
    python = str(environment / "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, str(wheel))
    run(python, "-W", "error", "-c", "import docker_images; print(docker_images.__version__)")
    run(str(environment / "bin/docker-images"), "--version")
    run(*pip, "--group", f"{sources / 'pyproject.toml'}:test", f"{wheel}[cli,metrics,testing]")
    # So that nothing but the wheel can be imported.
    shutil.rmtree(sources / "docker_images")
    (sources / "pytest_docker_images.py").unlink()
    tests = [f"tests/{name}" for name in TESTS]
    words = ["-m", "pytest", "-q", "-n", "auto", "--dist", "loadgroup", "-m", "not slow"]
    run(python, *words, "-p", "no:cacheprovider", *tests, cwd=sources)


def run(*words: str, cwd: Path | None = None, quiet: bool = False) -> None:
    # Without live engines: they are asked where the sources are tested.
    environment = os.environ | {"DOCKER_IMAGES_REQUIRE_ENGINES": "0"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=quiet, text=quiet)
    if done.returncode:
        raise SystemExit(f"{done.stdout or ''}{done.stderr or ''}failed: {' '.join(words)}")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
