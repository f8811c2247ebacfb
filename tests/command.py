"""The command, run inside the process of a test, and what it left behind."""

import fcntl
import io
import os
import pty
import struct
import termios
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import NamedTuple
from unittest.mock import patch

from docker_images.cli import main


class Done(NamedTuple):
    """How a call ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, encoding: str = "utf-8") -> Done:
    """Call the command with an output of this encoding that is a pipe."""
    out, err = io.BytesIO(), io.BytesIO()
    with (
        io.TextIOWrapper(out, encoding=encoding) as stdout,
        io.TextIOWrapper(err, encoding=encoding) as stderr,
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        status = called(arguments)
        stdout.flush()
        stderr.flush()
        return Done(status, out.getvalue().decode(), err.getvalue().decode())


def called(arguments: tuple[str, ...]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def on_a_terminal(*arguments: str, columns: int, stderr: bool = False, **environment: str) -> Done:
    """Call the command with a terminal of so many columns as its output, or for its errors."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # Linux: the other side is closed
            while data := os.read(master, 65536):
                shown.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    other = io.StringIO()
    with (
        patch.dict(os.environ, {"TERM": "xterm-256color", **environment}),
        os.fdopen(slave, "w", encoding="utf-8") as terminal,
        redirect_stdout(other if stderr else terminal),
        redirect_stderr(terminal if stderr else other),
    ):
        status = called(arguments)
    reader.join()
    os.close(master)
    text = shown.decode().replace("\r\n", "\n")
    texts = (other.getvalue(), text) if stderr else (text, other.getvalue())
    return Done(status, *texts)
