"""`docker-images completion`: what a shell reads to complete the command line, made by shtab."""

import argparse

from docker_images.cli.arguments import COMMANDS, add_arguments
from docker_images.cli.list import add_options
from docker_images.cli.words import PROG, UsageError

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="who completes")


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
        add_arguments(name, subcommands.add_parser(name, help=command.help))
    print(shtab.complete(parser, options.shell))
    return 0
