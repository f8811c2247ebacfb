"""The command `docker-images`: a list for people, for pipes and for programs.

Knows how a call ends: 0 for a list, 1 where the engine or the network failed, 2 for a command line
that cannot work, 130 for ctrl-c; `arguments.COMMANDS` has the subcommands that differ. Each part of
it has its module here, and only what a call needs is imported.
"""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from docker_images.cli.arguments import COMMANDS, parse
from docker_images.cli.words import UsageError, say
from docker_images.errors import DockerImagesError
from docker_images.text import by_option

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. `SystemExit` only from the argument parser."""
    if argv is None:
        # A process of its own: what is loaded now stays, and needs no collector of garbage to look
        # at it again, at the end least of all (median of 25: 242 ms of CPU, otherwise 274).
        gc.freeze()
    name, options = parse(sys.argv[1:] if argv is None else argv)
    command = COMMANDS[name]
    if getattr(sys, "stdout", None) is None:
        say("standard output is closed; open it, or send it to a file")
        return command.failed
    said = by_option.set(True)
    try:
        status = int(import_module(f"docker_images.cli.{name}").run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough. Nothing is left for Python to flush, and to complain, at exit.
        _let_go_of_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    except DockerImagesError as error:
        say(str(error))
        return command.failed
    except (UsageError, TypeError, ValueError) as error:
        say(str(error))
        return command.misused
    except OSError as error:
        say(f"cannot write the answer: {error.strerror or error}; free what is full, or try again")
        _let_go_of_stdout()
        return command.failed
    finally:
        by_option.reset(said)
    return status


def _let_go_of_stdout() -> None:
    with suppress(OSError, ValueError):  # not a file of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
