"""A real sshd on loopback, with its own host key, its own users' keys and its own client files.

Knows how to start and end it, by process id. Each key that may log in meets another far side: see
`FAR_SIDES`. Nothing of this machine's ssh configuration is read or written.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import engines
import suites

FAR_SIDES = {
    "good": "",
    "no-docker": 'command="PATH=/nonexistent; eval \\"$SSH_ORIGINAL_COMMAND\\""',
    "chatty": 'command="echo Welcome to vm; eval \\"$SSH_ORIGINAL_COMMAND\\""',
    "mute": 'command="exec cat >/dev/null"',
}
"""What happens to whoever logs in with a key of this name: sshd(8), AUTHORIZED_KEYS FILE FORMAT."""


class Sshd(NamedTuple):
    """A running server; everything about it lies in `folder`."""

    folder: Path
    port: int

    def command(self, key: str = "good", known_hosts: str = "known_hosts") -> tuple[str, ...]:
        """The ssh client with a configuration of its own, in which nobody can be asked anything."""
        config = self.folder / f"config-{key}-{known_hosts}"
        config.write_text(
            f"Host *\n  IdentityFile {self.folder}/{key}\n  IdentitiesOnly yes\n"
            f"  IdentityAgent none\n  UserKnownHostsFile {self.folder}/{known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
        )
        return ("ssh", "-F", str(config))


@contextmanager
def start_sshd(folder: Path, docker_host: str) -> Iterator[Sshd]:
    """An sshd where `docker` talks to the engine at `docker_host`; skips the test without one."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None or shutil.which("ssh") is None or shutil.which("docker") is None:
        engines.absent("sshd, ssh or the docker command is not installed")
    if os.geteuid() != 0:
        engines.absent("starting an sshd of our own takes root")
    assert server is not None
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # OpenSSH's privilege separation wants it
    for name in ("host", "other-host", "stranger", *FAR_SIDES):
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        subprocess.run(command, check=True)
    (folder / "authorized_keys").write_text(
        "".join(f"{opts} {(folder / f'{key}.pub').read_text()}" for key, opts in FAR_SIDES.items())
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name, key in (("known_hosts", "host"), ("changed_hosts", "other-host")):
        public = (folder / f"{key}.pub").read_text()
        (folder / name).write_text(f"[127.0.0.1]:{port} {public}")
    (folder / "no_hosts").touch()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        # A bash that sshd starts reads ~/.bashrc, which may take a minute: SHLVL says it is inner.
        f"KbdInteractiveAuthentication no\nSetEnv DOCKER_HOST={docker_host} SHLVL=1\n"
    )
    log = folder / "sshd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            suites.tied(server, "-D", "-e", "-f", str(folder / "sshd_config")), stderr=output
        )
    try:
        deadline = time.monotonic() + 300
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                engines.absent(f"sshd did not start: {log.read_text()[-1000:]}")
            time.sleep(0.02)
        yield Sshd(folder, port)
    finally:
        engines.end(process)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False
