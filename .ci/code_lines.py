"""Count code lines: no blank lines, no comments, no docstrings. A table, then the sum.

`code_lines.py --most 3400 docker_images` fails above that; `testing` and `cli` are left out.
"""

import argparse
import ast
import io
import sys
import tokenize
from pathlib import Path

LAYOUT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def code_lines(text: str) -> int:
    """How many lines of a module hold code."""
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone is a docstring, of a module, class, function or attribute.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - prose)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int)
    options = parser.parse_args()
    total = 0
    for path in sorted(options.folder.rglob("*.py")):
        place = path.relative_to(options.folder)
        if place.parts[0] not in ("testing", "cli"):
            count = code_lines(path.read_text())
            total += count
            print(f"{count:6}  {place}")
    print(f"{total:6}  without testing and cli")
    if options.most is not None and total > options.most:
        print(f"more than {options.most}: what can go?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
