"""JSON: one array, or one object a line. Refuses to know the table."""

import json
import sys
from collections.abc import Iterable

import msgspec

from docker_images.cli.rows import Found

__all__ = ["write_json", "write_json_lines", "write_text", "write_value"]


def write_json(images: Iterable[Found]) -> None:
    """One array, one image a line."""
    separator = "["
    for engine, image in images:
        write_text(separator + _encoded(engine, image))
        separator = ",\n"
    write_text("]\n" if separator != "[" else "[]\n")


def write_json_lines(images: Iterable[Found]) -> None:
    """One object a line."""
    for engine, image in images:
        write_text(_encoded(engine, image) + "\n")


def write_value(value: object) -> None:
    """One value of ours, as one line."""
    write_text(_encoded(None, value) + "\n")


def _encoded(engine: str | None, value: object) -> str:
    """A value as JSON. What a terminal might act on is escaped, which JSON reads alike."""
    text = msgspec.json.encode(value).decode()
    if not text.isprintable():
        text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    return text if engine is None else f'{{"engine":{json.dumps(engine)},{text[1:]}'


def write_text(text: str) -> None:
    """UTF-8 on stdout, whatever the locale."""
    # A stand-in for stdout may take nothing but text.
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:
        sys.stdout.write(text)
    else:
        raw.write(text.encode())
