"""Blocks of the pages: which there are, and how they are run."""

import asyncio
import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from docker_images import DockerClient

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG"))]
PAGES += sorted(DOCS.rglob("*.md"))


class Block(NamedTuple):
    """A fenced block, with the line before it that is not empty."""

    language: str
    text: str
    before: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order; those in lists too."""
    found: list[Block] = []
    before, fence = "", None
    lines: list[str] = []
    for line in page.read_text().splitlines():
        match = re.match(r"( *)```(.*)$", line)
        if fence is None and match:
            fence, lines = (match[1], match[2]), []
        elif fence is not None and match:
            found.append(Block(fence[1], textwrap.dedent("".join(lines)), before))
            fence, before = None, ""
        elif fence is not None:
            lines.append(f"{line}\n")
        elif line.strip():
            before = line.strip()
    assert fence is None, f"{page.name} ends inside a block"
    return found


def programs(page: Path) -> Iterator[tuple[str, str | None]]:
    """Each program of a page, and what the page says that it prints."""
    all_ = blocks(page)
    for block, after in zip(all_, [*all_[1:], None], strict=True):
        if block.language == "python":
            shown = after is not None and after.language == "text" and not after.before
            yield block.text, after.text if shown and after is not None else None


def printed(program: str, name: str, names: dict[str, Any], host: str) -> str:
    """What a program prints; a piece of one with `await` is given a `client`."""
    out = io.StringIO()
    with redirect_stdout(out):
        try:
            code = compile(program, name, "exec")
        except SyntaxError:  # await outside of a function
            indented = f"async def piece(client):\n{textwrap.indent(program, '    ')}"
            exec(compile(indented, name, "exec"), names)

            async def run() -> None:
                async with DockerClient(host) as client:
                    await names["piece"](client)

            asyncio.run(run())
        else:
            exec(code, names)
    return out.getvalue()


def rows(page: Path, name: str) -> list[list[str]]:
    """The cells of a table between `<!-- name -->` and `<!-- /name -->`, without its head."""
    (table,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page.read_text(), re.DOTALL)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def tables(page: Path) -> Iterator[str]:
    """The head of each table of a page, without those between `<!-- figures -->` and their end."""
    figures = r"<!-- figures -->.*?<!-- end of figures -->"  # made by the benchmark
    text = re.sub(figures, "", page.read_text(), flags=re.DOTALL)
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"^(\|.*\|)\n\|[-|: ]+\|$", text, re.MULTILINE)
