"""The command line: which subcommand is meant, what it takes, and what that asks of an engine.

Refuses to know what an answer looks like. Only the parser of the one subcommand is built.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn, TypeVar

from docker_images.cli.words import PROG, moment
from docker_images.endpoint.hosts import host_shown
from docker_images.text import printable

__all__ = [
    "COMMANDS",
    "Command",
    "Named",
    "add_arguments",
    "build",
    "checked",
    "how_often",
    "parse",
    "question",
    "which_engine",
    "which_images",
]

T = TypeVar("T")


class Command(NamedTuple):
    """A subcommand; the module of its name in this room has `arguments(parser)` and `run`."""

    help: str
    failed: int = 1
    """The exit status where the engine, the network or the configuration failed."""
    misused: int = 2
    """The exit status of a command line that cannot work."""


COMMANDS = {
    "list": Command("list the images; this is the default"),
    "watch": Command("print each change as it happens, until you stop it"),
    "diff": Command("show what changed since a list was saved", failed=2),
    "plan": Command("show which images can be removed, and why; removes nothing"),
    "check": Command("compare the list with thresholds, for monitoring", failed=3, misused=3),
    "metrics": Command("print metrics about the images, once, for a textfile collector"),
    "exporter": Command("serve metrics about the images to Prometheus, until you stop it"),
    "doctor": Command("show which engine is used and why, and what is found there"),
    "completion": Command("print the completion script for bash, zsh or fish"),
}


class Named(NamedTuple):
    """An engine, as the command line names it."""

    host: str | None = None
    context: str | None = None

    def __str__(self) -> str:
        return host_shown(self.host) if self.host else self.context or ""


def parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """The subcommand and its options. `SystemExit` for help, and for what cannot work."""
    name, words = _split(list(argv))
    parser = build(name)
    options = parser.parse_args(words)
    if getattr(options, "demo", False) and options.engines:
        parser.error("argument --demo: not allowed with argument -H/--host or -c/--context")
    return name, options


# Options of the list whose value is the next word: a subcommand is not looked for there.
VALUED = """
    --host --context --timeout --label --exclude-label --reference --before --since --until --filter
    --format --sort
"""
VALUED_LETTERS = "Hcf"


def _split(argv: list[str]) -> tuple[str, list[str]]:
    """The subcommand, which is the first bare word if anything, and the other words."""
    position = 0
    while position < len(argv):
        word = argv[position]
        if not word.startswith("-"):
            if word in COMMANDS:
                return word, argv[:position] + argv[position + 1 :]
            break
        if word == "--":
            break
        position += 2 if _takes_next(word) else 1
    return "list", argv


def _takes_next(word: str) -> bool:
    if word.startswith("--"):
        return word in VALUED.split()
    letters = [at for at, letter in enumerate(word) if letter in VALUED_LETTERS]
    return letters[:1] == [len(word) - 1]


# ── Parsers ─────────────────────────────────────────────────────────────────────────────────────


class _Parser(argparse.ArgumentParser):
    misused = 2

    def error(self, message: str) -> NoReturn:
        self.exit(self.misused, f"{PROG}: {printable(message, 1000)}; see {self.prog} --help\n")


class _Formatter(argparse.HelpFormatter):
    """Keeps the lines of a text; one that is too long for the terminal continues below its text."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from textwrap import fill

        lines: list[str] = []
        for line in text.splitlines():
            name = re.match(r"  \S+ +", line)
            below = indent + " " * (len(name[0]) if name else 0)
            lines.append(fill(line, width, initial_indent=indent, subsequent_indent=below))
        return "\n".join(lines)


def build(name: str) -> argparse.ArgumentParser:
    """The parser of one subcommand."""
    command = COMMANDS[name]
    prog, text, epilog = PROG, DESCRIPTION, _epilog()
    if name != "list":
        prog, epilog = f"{PROG} {name}", ""
        text = f"{command.help[0].upper()}{command.help[1:]}."
    parser = _Parser(
        prog=prog,
        allow_abbrev=False,
        formatter_class=_Formatter,
        description=text,
        epilog=epilog or None,
    )
    parser.misused = command.misused
    add_arguments(name, parser)
    return parser


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    """Teach a parser what a subcommand takes."""
    import_module(f"docker_images.cli.{name}").arguments(parser)


DESCRIPTION = """\
List the images of the container engine that the docker command would talk to.
A table, or JSON with exact numbers and the engine's own keys."""


def _epilog() -> str:
    commands = "\n".join(f"  {name:<12}{command.help}" for name, command in COMMANDS.items())
    return f"""\
subcommands ({PROG} SUBCOMMAND --help; after -- every word is a name):
{commands}

exit status: 0 for success, 1 if the engine or the network failed, 2 for a wrong \
command line, 130 after Ctrl-C"""


def which_engine(
    parser: argparse.ArgumentParser,
    *,
    several: bool = False,
    demo: bool = True,
    timeout: float = 60.0,
) -> None:
    """`-H`, `-c`, `--demo` and `--timeout`; `options.engines` are the `Named`, or None."""
    group = parser.add_argument_group("which engine")
    again = "; can be repeated" if several else ""
    for short, long, of, text in (
        ("-H", "--host", _host, "address of the engine, such as unix:///var/run/docker.sock"),
        ("-c", "--context", _context, "docker context of the engine"),
    ):
        group.add_argument(
            *(short, long),
            dest="engines",
            action="append" if several else _Once,
            type=of,
            metavar=long.strip("-").upper(),
            help=text + again,
        )
    if demo:
        group.add_argument("--demo", action="store_true", help="a fake engine with sample images")
    group.add_argument(
        "--timeout",
        type=float,
        default=timeout,
        metavar="SECONDS",
        help=f"limit for the whole answer ({timeout:g})",
    )


def _host(text: str) -> Named:
    return Named(host=text)


def _context(text: str) -> Named:
    return Named(context=text)


class _Once(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, options: Any, value: Any, *_: Any) -> None:
        if options.engines:
            parser.error("this takes one engine; leave out one --host or --context")
        options.engines = [value]


def which_images(parser: argparse.ArgumentParser) -> None:
    """The options that `question` reads."""
    group = parser.add_argument_group("which images")
    group.add_argument("-a", "--all", action="store_true", help="also intermediate images")
    group.add_argument(
        "--dangling",
        action=argparse.BooleanOptionalAction,
        help="only images without a tag or digest, or only the others",
    )
    for option, metavar, text in (
        ("--label", "KEY[=VALUE]", "images with this label; repeated: with all of these"),
        (
            "--exclude-label",
            "KEY[=VALUE]",
            "images without this label; repeated: without any of these",
        ),
        (
            "--reference",
            "PATTERN",
            "images with such a name, as in 'ghcr.io/team/*:1.*'; repeated: any of these",
        ),
    ):
        group.add_argument(option, action="append", metavar=metavar, help=text)
    group.add_argument("--before", metavar="IMAGE", help="images older than this one")
    group.add_argument("--since", metavar="IMAGE", help="images newer than this one")
    group.add_argument(
        "--until",
        type=checked(moment),
        metavar="WHEN",
        help="images made before this: 2026-01-31, 2026-01-31T00:00:00Z, seconds since 1970, or an "
        "age such as 24h or 7d",
    )
    group.add_argument(
        *("-f", "--filter"),
        dest="filters",
        action="append",
        default=[],
        type=checked(_filter),
        metavar="KEY=VALUE",
        help="a filter of the docker command, such as dangling=true",
    )


def how_often(parser: argparse.ArgumentParser) -> None:
    """How often a watch lists: `--resync-interval` and `--poll-interval`."""
    for option, seconds, text in (
        ("--resync-interval", 300.0, "without any event"),
        ("--poll-interval", 30.0, "if the engine refuses events"),
    ):
        parser.add_argument(
            option,
            type=float,
            default=seconds,
            metavar="SECONDS",
            help=f"list this often {text} ({seconds:g})",
        )


def checked(read: Callable[[str], T]) -> Callable[[str], T]:
    """`read`, whose `ValueError` argparse shows with its text."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


# ── The question ────────────────────────────────────────────────────────────────────────────────


def _filter(text: str) -> tuple[str, Any]:
    """A keyword of `list_images` and its value; the engine's own filters keep their name."""
    key, equals, value = text.partition("=")
    key, value = key.strip().lower(), value.strip()
    if not (equals and key):
        raise ValueError(f"{text!r} is not a filter; write KEY=VALUE, such as dangling=true")
    if key == "dangling":
        if value not in _FLAGS:
            raise ValueError(f"dangling={value} must be true or false")
        return key, _FLAGS[value]
    if key == "until":
        return key, moment(value)
    return {"label!": "exclude_label"}.get(key, key), value


_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_MANY = ("label", "exclude_label", "reference")
_ONE = ("dangling", "before", "since", "until")


def question(options: argparse.Namespace) -> dict[str, Any]:
    """What is asked, as keywords of `list_images`. A `ValueError` where two answers are asked."""
    asked: dict[str, Any] = {name: list(getattr(options, name) or ()) for name in _MANY}
    if getattr(options, "name", None) is not None:
        asked["reference"].append(options.name)
    asked |= {name: getattr(options, name) for name in _ONE}
    others: dict[str, list[str]] = {}
    for key, value in options.filters:
        if key in _MANY:
            asked[key].append(value)
        elif key not in _ONE:
            others.setdefault(key, []).append(value)
        elif asked[key] in (None, value):
            asked[key] = value
        else:
            raise ValueError(f"{key} is given twice; leave one of them out")
    asked |= {name: asked[name] or None for name in _MANY}
    return {**asked, "all": options.all, "filters": others or None}
