"""Suites of Debian, each unpacked into a folder of its own: several generations of engines, and of
Python, on any machine, without a registry.

    python tests/suites.py [SUITE …]      (or: make engines)

makes the folders that are missing or unfinished, with debootstrap, as root, in about two minutes
each. They stay outside the checkout, in `docker_images_engines` of the user's cache; to have newer
packages of a suite, delete its folder. Where packages come from is what the machine's own apt
says; `MIRROR=http://…` says it on a machine that is not Debian.

    python tests/suites.py --in SUITE COMMAND …

runs a command there, in this directory. Knows what a folder holds, and the way into one. What runs
there is the caller's business.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docker_images_engines"
SCRIPTS = Path("/usr/share/debootstrap/scripts")

ENGINES = ("docker.io", "podman", "containerd", "netavark", "crun")
PACKAGES = {
    "bookworm": ENGINES,
    "trixie": ENGINES,
    "forky": (*ENGINES, "python3.14-venv", "python3.15-venv"),
}
COMMANDS = {"trixie": ("docker-cli",), "forky": ("docker-cli",)}
"""The docker command, where docker.io does not bring it along; older folders do without."""
MOVING = {"forky"}
"""Suites whose packages change from day to day, so that one may be broken on one of them."""


class SuiteError(Exception):
    """A folder cannot be made, and why."""


def folder(suite: str) -> Path:
    return CACHE / suite


def is_made(suite: str) -> bool:
    """Whether the folder is there, whole, and holds what is listed above."""
    try:
        return _mark(suite).read_text() == _packages(suite)
    except OSError:
        return False


def _mark(suite: str) -> Path:
    # Written last, so that an unfinished folder has none.
    return folder(suite) / "made"


def _packages(suite: str) -> str:
    return ",".join(PACKAGES[suite])


def make(suite: str) -> None:
    """Make the folder, unless it is made; two that try at once take turns."""
    if os.geteuid() != 0:
        raise SuiteError("making the folder of a suite takes root")
    if shutil.which("debootstrap") is None:
        raise SuiteError("debootstrap is not installed (apt-get install debootstrap)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_made(suite):
            return
        _run("rm", "-rf", "--one-file-system", str(folder(suite)))
        script = SCRIPTS / suite
        _run(
            # What debootstrap mounts goes with it, however it ends.
            *("unshare", "--mount", "--propagation", "private", "debootstrap"),
            "--variant=minbase",
            f"--include={','.join((*PACKAGES[suite], *COMMANDS.get(suite, ())))}",
            *(suite, str(folder(suite)), _mirror(suite)),
            str(script if script.exists() else SCRIPTS / "sid"),
        )
        for archive in (folder(suite) / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        _mark(suite).write_text(_packages(suite))


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        last = done.stdout.decode(errors="replace").strip()[-2000:]
        raise SuiteError(f"{command[0]} failed with {done.returncode}:\n{last}")


def _mirror(suite: str) -> str:
    """The first place that this machine gets packages from, and that has this suite."""
    own = os.environ.get("MIRROR")
    places = [own] if own else list(dict.fromkeys(_apt_sources()))
    for place in places:
        try:
            with urllib.request.urlopen(f"{place.rstrip('/')}/dists/{suite}/Release", timeout=60):
                return place
        except (urllib.error.URLError, OSError, ValueError):
            continue
    raise SuiteError(
        f"none of the places that apt knows has {suite} ({', '.join(places) or 'it knows none'}); "
        "name one: MIRROR=http://…"
    )


def _apt_sources() -> Iterator[str]:
    apt = Path("/etc/apt")
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for found in re.findall(r"(?im)^URIs:(.*)$", path.read_text()):
            yield from found.split()
    for path in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))):
        if path.exists():
            yield from re.findall(r"(?m)^deb\s+(?:\[.*?\]\s*)?(\S+)", path.read_text())


# A plain chroot does not do: engines look for the mount of their root, and for cgroups. All that
# is mounted here is gone with the process that is started. /dev/shm is its own, since Podman keeps
# its locks there, and begins by freeing all of them.
_ENTER = """
root=$1 shared=$2 last=${2##* }; shift 2
mount --bind "$root" "$root"; cd "$root"
mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm; mount -t tmpfs tmpfs run
for path in $shared; do mkdir -p ".$path"; mount --bind "$path" ".$path"; done
exec chroot . env --chdir="$last" "$@"
"""


def command(suite: str, *inner: str, share: Sequence[str] = ()) -> list[str]:
    """The command that runs `inner` in the suite's folder, with this machine's network.

    The folder for temporary files, and those of `share`, are there by the same path; the last of
    them is the current one. Whatever `inner` starts ends with it, and it ends when the thread that
    started it does.
    """
    shared = " ".join((tempfile.gettempdir(), *share))
    return [*_TIED, "sh", "-euc", _ENTER, "sh", str(folder(suite)), shared, *inner]


_TIED = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
)


def tied(*inner: str) -> list[str]:
    """The command that runs `inner` on this machine itself.

    Whatever `inner` starts ends with it, and it ends when the thread that started it does.
    """
    return [*_TIED, "--mount-proc", *inner]


def _main(suites: Sequence[str]) -> int:
    broken = 0
    for suite in suites:
        if is_made(suite):
            print(f"{suite}: {folder(suite)}")
            continue
        print(f"{suite}: making {folder(suite)} …", flush=True)
        try:
            make(suite)
        except SuiteError as error:
            what = "MISSING TODAY" if suite in MOVING else "MISSING"
            print(f"{suite}: {what}: {error}", file=sys.stderr)
            broken |= suite not in MOVING
    return broken


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        _, _, name, *inner = sys.argv
        os.execvp("setpriv", command(name, *inner, share=[os.getcwd()]))
    for name in sys.argv[1:]:
        if name not in PACKAGES:
            raise SystemExit(f"no such suite: {name}; there are {', '.join(PACKAGES)}")
    raise SystemExit(_main(sys.argv[1:] or list(PACKAGES)))
