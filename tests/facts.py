"""What docs/engines.md says that engines differ in; tests ask here rather than for a version.

An engine goes by the name that the embedded engine has for it, or by that of `engines.TABLE`.
"""

import re
from pathlib import Path

from docker_images.testing.shapes import shape_named

PAGE = Path(__file__).parent.parent / "docs" / "engines.md"


def table(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """The heads of a table of the page, and its rows by their first cell."""
    part = PAGE.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    lines = [line.strip("| \n").split(" | ") for line in part.strip().splitlines()]
    heads, _, *rows = lines
    return heads, {row[0]: row[1:] for row in rows}


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def facts() -> dict[str, dict[str, str]]:
    """Each engine's row: `{"docker 28.5": {"API": "1.24–1.51", "store": "graph", …}, …}`."""
    heads, rows = table("engines")
    return {code(name)[0]: dict(zip(heads[1:], row, strict=True)) for name, row in rows.items()}


FACTS = facts()


def fact(engine: str, about: str) -> str:
    """One cell: `fact("podman 4.3", "store")`."""
    return FACTS[shape_named(engine).name][about]
