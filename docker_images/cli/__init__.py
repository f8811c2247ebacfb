"""The command `docker-images`: a list for people, for pipes and for programs.

Knows the command line, the three forms of the list, and what an exit status means: 0 for a list,
1 where the engine or the network failed, 2 for a command line that cannot work, 130 for ctrl-c.
Refuses to know how a list is had. Nothing of an engine's text can steer a terminal.
"""

import argparse
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, NoReturn

import anyio
import msgspec

from docker_images.cli.doctor import Mark, examine
from docker_images.client import DockerClient
from docker_images.errors import DockerImagesError
from docker_images.images.models import ImageSummary
from docker_images.images.references import Reference
from docker_images.text import printable

__all__ = ["main"]

PROG = "docker-images"

# Beyond this nobody reads, and rich takes half a millisecond a row.
MAX_STYLED_ROWS = 2000


class UsageError(Exception):
    """The command line cannot work; the text says why, and the next step."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. `SystemExit` only from the argument parser."""
    options = _parse(argv)
    if getattr(sys, "stdout", None) is None:
        _say("standard output is closed; open it, or send it to a file")
        return 1
    try:
        status = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough. Nothing is left for Python to flush, and to complain, at exit.
        _let_go_of_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    except DockerImagesError as error:
        _say(str(error))
        return 1
    except (UsageError, TypeError, ValueError) as error:
        _say(str(error))
        return 2
    except OSError as error:
        _say(f"cannot write the answer: {error.strerror or error}; free what is full, or try again")
        _let_go_of_stdout()
        return 1
    return status


def _run(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        with _logged_by(logging.NullHandler()):  # it tells the warnings itself
            return 0 if anyio.run(_doctor, options) else 1
    write = _json if options.json else _json_lines if options.jsonl else _table(options)
    with _logged_by(_Warnings(logging.WARNING)):
        images = anyio.run(_list, options)
    write(images)
    return 0


class _Warnings(logging.Handler):
    """Prints what the library warns of, such as a config.json that cannot be read."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(f"warning: {record.getMessage()}")


@contextmanager
def _logged_by(handler: logging.Handler) -> Iterator[None]:
    log = logging.getLogger("docker_images")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


async def _list(options: argparse.Namespace) -> list[ImageSummary]:
    async with AsyncExitStack() as stack:
        host = options.host
        if options.demo:
            host = (await stack.enter_async_context(_demo_engine())).host
        client = DockerClient(host, context=options.context, timeout=options.timeout)
        await stack.enter_async_context(client)
        return await client.list_images(
            all=options.all,
            dangling=options.dangling,
            label=options.label,
            exclude_label=options.exclude_label,
            reference=options.reference,
            before=options.before,
            since=options.since,
            until=options.until,
            shared_size=options.shared_size,
            manifests=options.manifests,
        )


def _demo_engine() -> Any:
    try:
        from docker_images.testing import FakeEngine, demo_images
    except ImportError:
        raise UsageError(
            "--demo needs h11; install it: pip install 'docker-images[testing]'"
        ) from None
    return FakeEngine(demo_images())


async def _doctor(options: argparse.Namespace) -> bool:
    def tell(mark: Mark, check: str, result: str) -> None:
        print(f"{mark}  {_as_options(check):<14}  {_as_options(printable(result, 2000))}")

    return await examine(
        tell,
        os.environ,
        host=options.host,
        context=options.context,
        timeout=options.timeout,
    )


# ── The command line ────────────────────────────────────────────────────────────────────────────


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROG}: {printable(message, 1000)}; see {PROG} --help\n")


class _Version(argparse.Action):
    """Looks the version up only when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        try:
            found = version("docker-images")
        except PackageNotFoundError:
            found = "(not installed)"
        print(f"{PROG} {found}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROG,
        allow_abbrev=False,
        description="List the images of the container engine that the docker command would talk "
        "to. A table, or JSON with exact numbers and the engine's own keys.",
        epilog="exit status: 0 for a list, 1 where the engine or the network failed, 2 for a "
        "command line that cannot work, 130 for ctrl-c",
    )
    parser.add_argument(
        "command",
        nargs="?",
        type=_command,
        metavar="doctor",
        help="say which engine is asked and why, and what is found there, instead of listing",
    )
    parser.add_argument("--version", nargs=0, action=_Version, help="show the version and exit")

    engine = parser.add_argument_group("which engine")
    which = engine.add_mutually_exclusive_group()
    which.add_argument("-H", "--host", help="its address, such as unix:///var/run/docker.sock")
    which.add_argument("-c", "--context", help="the docker context that names it")
    which.add_argument("--demo", action="store_true", help="a made-up engine, started for this")
    engine.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="for the answer (60)"
    )

    choice = parser.add_argument_group("which images")
    choice.add_argument("-a", "--all", action="store_true", help="also intermediate ones")
    choice.add_argument(
        "--dangling",
        action=argparse.BooleanOptionalAction,
        help="only those that no tag and no digest refers to, or only the others",
    )
    for option, metavar, text in (
        ("--label", "KEY[=VALUE]", "that have this label; given again: all of them"),
        ("--exclude-label", "KEY[=VALUE]", "that do not have this label; given again: none"),
        ("--reference", "PATTERN", "with such a name, as in 'ghcr.io/team/*:1.*'; or another"),
    ):
        choice.add_argument(option, action="append", metavar=metavar, help=text)
    choice.add_argument("--before", metavar="IMAGE", help="that are older than this image")
    choice.add_argument("--since", metavar="IMAGE", help="that are newer than this image")
    choice.add_argument(
        "--until",
        type=_moment,
        metavar="WHEN",
        help="created before: 2026-01-31T00:00:00Z, seconds since 1970, or an age as 24h or 7d",
    )

    form = parser.add_argument_group("what is shown")
    forms = form.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON array")
    forms.add_argument("--jsonl", action="store_true", help="one JSON object a line")
    form.add_argument(
        "--shared-size", action="store_true", help="also bytes shared with others (Docker 23)"
    )
    form.add_argument(
        "--manifests",
        action="store_true",
        help="also the platforms it is there for (Docker 27.2, containerd image store)",
    )
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "doctor":
        for name, value in vars(options).items():
            ours = name in ("command", "host", "context", "timeout")
            if not ours and value != parser.get_default(name):
                parser.error(f"doctor takes --host, --context and --timeout, not {_option(name)}")
    return options


def _option(keyword: str) -> str:
    return f"--{keyword.replace('_', '-')}"


def _command(text: str) -> str:
    if text != "doctor":
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a command; to list images of this name: --reference {text!r}"
        )
    return text


_AGE = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_SPAN = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _moment(text: str) -> datetime | timedelta | float:
    """A moment, an age, or seconds since 1970, as `list_images(until=…)` takes them."""
    try:
        if re.fullmatch(r"-?\d+(?:\.\d+)?", text, re.ASCII):
            return float(text)
        if _AGE.fullmatch(text):
            parts = re.findall(r"([\d.]+)([smhdw])", text)
            return timedelta(seconds=sum(float(count) * _SPAN[unit] for count, unit in parts))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2026-01-31T00:00:00Z, seconds since 1970, or 24h or 7d"
        ) from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} has no time zone; add Z for UTC, or an offset such as +02:00"
        )
    return moment


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def _json(images: Iterable[ImageSummary]) -> None:
    separator = "["
    for image in images:
        _write(separator + _encoded(image))
        separator = ",\n"
    _write("]\n" if separator != "[" else "[]\n")


def _json_lines(images: Iterable[ImageSummary]) -> None:
    for image in images:
        _write(_encoded(image) + "\n")


def _encoded(image: ImageSummary) -> str:
    """One image in one line. What a terminal might act on is escaped, which JSON reads alike."""
    text = msgspec.json.encode(image).decode()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _write(text: str) -> None:
    # JSON is UTF-8, whatever the locale. A stand-in for stdout may take nothing but text.
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:
        sys.stdout.write(text)
    else:
        raw.write(text.encode())


# ── The table ───────────────────────────────────────────────────────────────────────────────────

NONE = "<none>"
UNKNOWN = "-"
GAP = 3
MIN_NAMES = 30  # columns of a terminal for repository and tag, below which folding is no help


class _Column(NamedTuple):
    title: str
    style: str
    right: bool = False


def _table(options: argparse.Namespace) -> Callable[[list[ImageSummary]], None]:
    """How the table is written; a `UsageError` where that cannot be."""
    try:
        import_module("rich")
    except ImportError:
        raise UsageError(
            "the table needs rich; install it: pip install 'docker-images[cli]', "
            "or ask for --json or --jsonl"
        ) from None
    columns = [
        _Column("REPOSITORY", "bold"),
        _Column("TAG", "green"),
        _Column("IMAGE ID", "yellow"),
        _Column("CREATED", "none"),
        _Column("SIZE", "cyan", right=True),
    ]
    if options.shared_size:
        columns.append(_Column("SHARED", "cyan", right=True))
    if options.manifests:
        columns.append(_Column("PLATFORMS", "none"))

    def write(images: list[ImageSummary]) -> None:
        now = time.time()
        rows = [row for image in images for row in _rows(image, options, now)]
        styled = sys.stdout.isatty() and len(rows) <= MAX_STYLED_ROWS
        text = _styled(columns, rows) if styled else _plain(columns, rows)
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))

    return write


def _rows(image: ImageSummary, options: argparse.Namespace, now: float) -> Iterator[list[str]]:
    """One row a tag, as `docker images` has it."""
    facts = [
        printable(image.short_id),
        _age(image, now),
        _bytes(image.size),
    ]
    if options.shared_size:
        facts.append(_bytes(image.shared_size))
    if options.manifests:
        platforms = ", ".join(map(str, image.available_platforms))
        facts.append(_cell(platforms) or UNKNOWN)
    for repository, tag in _names(image):
        yield [_cell(repository or NONE), _cell(tag or NONE), *facts]


def _names(image: ImageSummary) -> list[tuple[str, str | None]]:
    """Repository and tag of each tag, then each repository that only a digest names."""
    found = image.references
    tags = [(_repository(name), name.tag) for name in found if name.digest is None]
    tagged = {repository for repository, _ in tags}
    untagged = dict.fromkeys(_repository(name) for name in found if name.name and name.digest)
    names = tags + [(name, None) for name in untagged if name not in tagged]
    return names or [("", None)]


def _repository(name: Reference) -> str:
    # The familiar name leaves out Podman's `localhost/`; Docker would not find the image so.
    return f"localhost/{name.name}" if name.registry == "localhost" else name.name


def _cell(text: str) -> str:
    return printable(text, limit=len(text))


def _bytes(size: int | None) -> str:
    """Three digits and a decimal unit, as the docker command has it: `7.8MB`, `187MB`."""
    if size is None:
        return UNKNOWN
    number, units = float(size), iter(("kB", "MB", "GB", "TB", "PB", "EB"))
    unit = "B"
    while abs(number) >= 999.5 and (larger := next(units, None)):
        number, unit = number / 1000, larger
    digits = max(0, 2 - int(math.log10(abs(number)))) if abs(number) >= 1 else 0
    text = f"{number:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + unit


_AGES = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
    ("second", 1),
)


def _age(image: ImageSummary, now: float) -> str:
    """How long ago, in the largest unit of which there are two; `-` where nobody said when."""
    if image.created_at is None or image.created == 0:
        return UNKNOWN
    seconds = int(now) - image.created
    span = abs(seconds)
    if span < 1:
        return "now"
    unit, size = next((row for row in _AGES if span >= 2 * row[1]), _AGES[-1])
    text = f"{span // size} {unit}{'' if span // size == 1 else 's'}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _lines(columns: list[_Column], rows: list[list[str]]) -> list[list[str]]:
    return [[column.title for column in columns], *rows]


def _plain(columns: list[_Column], rows: list[list[str]]) -> str:
    """For pipes and files: columns in line, nothing cut, folded or coloured."""
    from rich.cells import cell_len

    lines = _lines(columns, rows)
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]

    def padded(column: _Column, width: int, cell: str) -> str:
        blank = " " * (width - cell_len(cell))
        return blank + cell if column.right else cell + blank

    return "".join(
        (" " * GAP).join(map(padded, columns, widths, line)).rstrip() + "\n" for line in lines
    )


def _styled(columns: list[_Column], rows: list[list[str]]) -> str:
    """For a person: names are folded to the width of the terminal, and nothing is ever cut."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths = [max(map(cell_len, cells)) for cells in zip(*_lines(columns, rows), strict=True)]
    room = console.width - sum(GAP + width for width in widths[2:])
    if room < MIN_NAMES:
        return _plain(columns, rows)  # the terminal breaks the lines
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for column in columns[:2]:
        table.add_column(column.title, overflow="fold")
    for column in columns[2:]:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for row in rows:
        # Text, since a str would be read as markup.
        cells = zip(columns, row, strict=True)
        unsaid = (NONE, UNKNOWN)
        table.add_row(*(Text(cell, "dim" if cell in unsaid else at.style) for at, cell in cells))
    with console.capture() as captured:
        console.print(table)
    return captured.get()


# ── Words ───────────────────────────────────────────────────────────────────────────────────────

_KEYWORD = re.compile(
    r"(?<![\w/.:-])(host|context|timeout|label|exclude_label|reference|before|since|until|"
    r"shared_size|manifests)=(True\b)?(?=[\s'),;:]|$)"
)


def _as_options(text: str) -> str:
    """The library's words in the command's: `host=` is `--host` here."""

    def option(found: re.Match[str]) -> str:
        space = " " if text[found.end() : found.end() + 1] == "'" else ""
        return _option(found[1]) + space

    return _KEYWORD.sub(option, text)


def _say(text: str) -> None:
    stderr = getattr(sys, "stderr", None)
    if stderr is not None:
        with suppress(OSError):  # nobody reads; the status still tells
            print(f"{PROG}: {_as_options(printable(text, 2000))}", file=stderr, flush=True)


def _let_go_of_stdout() -> None:
    with suppress(OSError, ValueError):  # not a file of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
