"""`docker-images completion`: what a shell reads to complete the command line, made by shtab."""

import argparse

from docker_images.cli.arguments import COMMANDS, add_arguments
from docker_images.cli.list import add_options
from docker_images.cli.words import PROG, UsageError

__all__ = ["arguments", "run"]

FILES = ("kept", "later", "output")
"""What arguments that name a file are called by argparse."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def run(options: argparse.Namespace) -> int:
    """Print the script of the shell."""
    try:
        import shtab
    except ImportError:
        raise UsageError(
            "completion needs shtab; install it: pip install 'docker-images[cli]'"
        ) from None
    parser = argparse.ArgumentParser(prog=PROG, allow_abbrev=False)
    add_options(parser)
    subcommands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        subparser = subcommands.add_parser(name, help=command.help)
        add_arguments(name, subparser)
        for action in subparser._actions:
            if action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    return 0
