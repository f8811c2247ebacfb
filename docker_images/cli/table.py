"""Columns of text for a terminal or a pipe; in a pipe nothing is folded or coloured.

Where a terminal is too narrow, columns give way in this order: the gaps between them shrink; those
that may fold do so between words, the last one first; a name that is too long for its column has a
line of its own; folded text becomes as narrow as its longest word; at last every name has a line of
its own, and the other cells stand below it, in as many lines as they need. Nothing is left out, and
nothing is broken that a whole line could hold. Refuses to know what a cell means.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

__all__ = ["Column", "colours", "columns_of_terminal", "drawn", "hanging", "show", "width", "write"]

UNSAID = ("<none>", "-")
GAP, NARROW_GAP = 3, 2
INDENT = 2
READABLE = 24
"""Folded text is this wide, as long as names may give way in its place."""
DIM = "2"
IN_NAMES = "/:@ "
"""Characters after which a name may be broken that is longer than the terminal."""


class Column(NamedTuple):
    """What stands above the cells, and how they are shown."""

    title: str
    style: str = ""
    """Parameters of the terminal's SGR sequence, such as `"1"` for bold."""
    right: bool = False
    folds: str = ""
    """Characters after which a cell may go on in the next line; `""`: it stays in one."""
    name: bool = False
    """Whether it is part of the name, which may have a line of its own: the first columns."""


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0  # combining marks
    if "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff":
        return 0  # vowels and finals of Hangul
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def drawn(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    fits: int | None = None,
    coloured: bool = False,
) -> Iterator[str]:
    """The lines of the table, each with its newline; `fits` is the width of a terminal."""
    titles = [column.title for column in columns]
    heads = [column._replace(style=DIM) for column in columns]
    widths = _widths(titles, rows)
    gap, spaces = GAP, len(columns) - 1
    if fits is not None and sum(widths) + GAP * spaces > fits:
        gap = NARROW_GAP
        narrow = _narrowed(columns, rows, widths, fits - gap * spaces)
        if narrow is None:
            yield from _stacked(columns, rows, widths, fits, coloured)
            return
        widths = narrow
    yield from _row(heads, titles, widths, gap, coloured)
    for row in rows:
        cells = row
        if width(row[0]) > widths[0]:
            yield from _row(columns[:1], row[:1], [fits or 0], 0, coloured)
            cells = ["", *row[1:]]
        if any(cells):
            yield from _row(columns, cells, widths, gap, coloured)


def _widths(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(width, cells)) for cells in zip(titles, *rows, strict=True)]


def _narrowed(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], wanted: Sequence[int], room: int
) -> list[int] | None:
    """Widths that fit; None where there are none."""
    widths = list(wanted)
    for readable in (READABLE, 0):
        for at in reversed(range(len(columns))):
            excess = sum(widths) - room
            least = width(columns[at].title)
            if folds := columns[at].folds:
                words = (word for row in rows for word in _words(row[at], folds))
                least = max(readable, least, *(width(word.rstrip()) for word in words))
            if excess > 0 and (folds or at == 0):
                widths[at] = min(widths[at], max(least, widths[at] - excess))
    return widths if sum(widths) <= room else None


def _row(
    columns: Sequence[Column],
    cells: Sequence[str],
    widths: Sequence[int],
    gap: int,
    coloured: bool,
    indent: int = 0,
) -> Iterator[str]:
    """A line, or several where a cell is folded."""
    folded = [
        _fold(cell, column.folds, room)
        for column, cell, room in zip(columns, cells, widths, strict=True)
    ]
    for line in zip_longest(*folded, fillvalue=""):
        shown: list[str] = []
        for column, piece, room in zip(columns, line, widths, strict=True):
            blank = " " * (room - width(piece))
            style = DIM if piece in UNSAID else column.style
            text = f"\x1b[{style}m{piece}\x1b[0m" if coloured and style and piece else piece
            shown.append(blank + text if column.right else text + blank)
        yield (" " * indent + (" " * gap).join(shown)).rstrip() + "\n"


def _stacked(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    fits: int,
    coloured: bool,
) -> Iterator[str]:
    """The name of each row on a line of its own, the other cells in as many lines as they need."""
    names = sum(column.name for column in columns)
    groups = list(_groups([min(room, fits - INDENT) for room in widths], names, fits - INDENT))
    heads = [column._replace(style=DIM) for column in columns]
    titles = [column.title for column in columns]
    for shown, row in ((heads, titles), *((columns, row) for row in rows)):
        yield from _row(shown[:1], [":".join(row[:names])], [fits], 0, coloured)
        for group in groups:
            if any(row[group]):
                room = [min(one, fits - INDENT) for one in widths[group]]
                yield from _row(shown[group], row[group], room, NARROW_GAP, coloured, INDENT)


def _groups(widths: Sequence[int], start: int, room: int) -> Iterator[slice]:
    """Which columns share a line below a name."""
    end = start
    while start < len(widths):
        end += 1
        if end == len(widths) or sum(widths[start : end + 1]) + NARROW_GAP * (end - start) > room:
            yield slice(start, end)
            start = end


def _words(text: str, ends: str) -> list[str]:
    """The pieces between which a text may be folded, each with what ends it."""
    ends = re.escape(ends)
    return re.findall(f"[^{ends}]*[{ends}]+|[^{ends}]+", text) or [""]


def _fold(text: str, ends: str, room: int) -> list[str]:
    """The text in lines of at most `room` columns; a word is broken only where none can hold it."""
    if width(text) <= room:
        return [text]
    lines = [""]
    for word in _words(text, ends or IN_NAMES):
        for piece in [word] if width(word.rstrip()) <= room else _words(word, IN_NAMES):
            needed = width(piece.rstrip())
            if width(lines[-1]) + needed > room >= needed:
                lines.append("")
            for char in piece:
                if width(lines[-1]) + width(char) > room:
                    lines.append("")
                lines[-1] += char
    return [line.strip() for line in lines if line.strip()]


def hanging(start: str, text: str) -> Iterator[str]:
    """A line of text after its beginning; on a terminal it goes on below itself.

    Where a word of it has no room there, it goes on below the beginning.
    """
    fits = columns_of_terminal()
    if fits is None or width(start + text) <= fits:
        yield f"{start}{text}\n"
        return
    indent = width(start)
    longest = max(width(word.rstrip()) for word in _words(text, " "))
    if indent + longest > fits:
        yield f"{start.rstrip()}\n"
        start, indent = " " * 2 * INDENT, 2 * INDENT
    for line in _fold(text, " ", fits - indent):
        yield f"{start}{line}\n"
        start = " " * indent


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
