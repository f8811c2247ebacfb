"""Columns of text for a terminal or a pipe; in a pipe nothing is folded or coloured.

Where a terminal is too narrow, columns give way in this order: the gaps between them shrink; the
columns that may fold do so between words, the last one first; at last each row has its name on a
line of its own, and the other cells below it. Nothing is left out, and no word is broken that a
whole line could hold. Refuses to know what a cell means.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

__all__ = ["Column", "colours", "columns_of_terminal", "drawn", "show", "width", "write"]

UNSAID = ("<none>", "-")
GAP, NARROW_GAP = 3, 2
INDENT = 2


class Column(NamedTuple):
    """What stands above the cells, and how they are shown."""

    title: str
    style: str = ""
    """Parameters of the terminal's SGR sequence, such as `"1"` for bold."""
    right: bool = False
    folds: str = ""
    """Characters after which a cell may go on in the next line; `""`: it stays in one."""
    name: bool = False
    """Whether it stands on the line above the others where the terminal is narrow."""


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0  # combining marks; vowels and finals of Hangul
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def drawn(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    fits: int | None = None,
    coloured: bool = False,
) -> Iterator[str]:
    """The lines of the table, each with its newline; `fits` is the width of a terminal."""
    wanted = _widths(columns, rows)
    spaces = len(columns) - 1
    if fits is None or sum(wanted) + GAP * spaces <= fits:
        yield from _grid(columns, rows, wanted, GAP, coloured)
        return
    if widths := _folded(columns, rows, wanted, fits - NARROW_GAP * spaces):
        yield from _grid(columns, rows, widths, NARROW_GAP, coloured)
    else:
        yield from _stacked(columns, rows, fits, coloured)


def _widths(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> list[int]:
    titles = [column.title for column in columns]
    return [max(map(width, cells)) for cells in zip(titles, *rows, strict=True)]


def _folded(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], wanted: list[int], room: int
) -> list[int] | None:
    """Widths that fit, the last columns folded first; None where there are none."""
    widths = list(wanted)
    for at in reversed(range(len(columns))):
        excess = sum(widths) - room
        if excess > 0 and columns[at].folds:
            words = (word for row in rows for word in _words(row[at], columns[at].folds))
            least = max(map(width, words), default=0)
            widths[at] = max(least, width(columns[at].title), widths[at] - excess)
    return widths if sum(widths) <= room else None


def _grid(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    gap: int,
    coloured: bool,
    indent: int = 0,
    head: bool = True,
) -> Iterator[str]:
    """A line for each row, or several where a cell is folded."""
    titles = [[column.title for column in columns]] if head else []
    for number, row in enumerate((*titles, *rows)):
        title = head and number == 0
        folded = [
            _fold(cell, column.folds, room)
            for column, cell, room in zip(columns, row, widths, strict=True)
        ]
        for line in zip_longest(*folded, fillvalue=""):
            cells: list[str] = []
            for column, piece, room in zip(columns, line, widths, strict=True):
                blank = " " * (room - width(piece))
                style = "2" if title or piece in UNSAID else column.style
                shown = f"\x1b[{style}m{piece}\x1b[0m" if coloured and style and piece else piece
                cells.append(blank + shown if column.right else shown + blank)
            yield (" " * indent + (" " * gap).join(cells)).rstrip() + "\n"


def _stacked(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], fits: int, coloured: bool
) -> Iterator[str]:
    """The name of each row on a line of its own, the other cells in as many lines as they need."""
    names = [at for at, column in enumerate(columns) if column.name]
    name = columns[names[0]]._replace(folds="/:@")
    groups = list(_groups(columns, _widths(columns, rows), fits - INDENT))
    titles = [column.title for column in columns]
    for number, row in enumerate([titles, *rows]):
        style = "2" if number == 0 else name.style
        whole = [":".join(row[at] for at in names)]
        yield from _grid([name._replace(style=style)], [whole], [fits], 0, coloured, head=False)
        for group, widths in groups:
            shown = [columns[at] if number else columns[at]._replace(style="2") for at in group]
            cells = [row[at] for at in group]
            if any(cells):
                yield from _grid(shown, [cells], widths, NARROW_GAP, coloured, INDENT, head=False)


def _groups(
    columns: Sequence[Column], widths: Sequence[int], room: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Which columns share a line below a name, and their widths."""
    group: list[int] = []
    taken = 0
    for at, column in enumerate(columns):
        if column.name:
            continue
        needed = min(widths[at], room)
        if group and taken + NARROW_GAP + needed > room:
            yield group, [min(widths[one], room) for one in group]
            group, taken = [], 0
        taken += needed + (NARROW_GAP if group else 0)
        group.append(at)
    if group:
        yield group, [min(widths[one], room) for one in group]


def _words(text: str, ends: str) -> list[str]:
    """The pieces between which a text may be folded, each with what ends it."""
    if not ends:
        return [text]
    return re.findall(f"[^{re.escape(ends)}]*[{re.escape(ends)}]+|[^{re.escape(ends)}]+", text)


def _fold(text: str, ends: str, room: int) -> list[str]:
    """The text in lines of at most `room` columns; a word is broken only where none can hold it."""
    if width(text) <= room:
        return [text]
    lines = [""]
    for word in _words(text, ends):
        needed = width(word.rstrip())
        if width(lines[-1]) + needed > room >= needed:
            lines.append("")
        for char in word:
            if width(lines[-1]) + width(char) > room:
                lines.append("")
            lines[-1] += char
    return [line.strip() for line in lines if line.strip()]


# ── The terminal ────────────────────────────────────────────────────────────────────────────────


def show(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print the table as stdout can show it."""
    write(drawn(columns, rows, fits=columns_of_terminal(), coloured=colours()))


def write(lines: Iterable[str]) -> None:
    """Print, with question marks for letters that the output does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write("".join(lines).encode(encoding, "replace").decode(encoding))


def columns_of_terminal() -> int | None:
    """The width of the terminal that stdout is; None where it is none."""
    if not sys.stdout.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def colours() -> bool:
    """Whether the terminal that stdout is shows colours, and its user wants them."""
    unable = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return sys.stdout.isatty() and not unable and not os.environ.get("NO_COLOR")
