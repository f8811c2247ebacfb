"""Draw docs/command.svg: the command on a terminal, by rich's export. `make pictures`."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
COLUMNS = 90
LINE = "docker-images --demo --until 1m"


def shown() -> str:
    """What the terminal shows, with its colours."""
    from command import on_a_terminal

    screen = on_a_terminal(*LINE.split()[1:], columns=COLUMNS).stdout
    return f"\x1b[2m$\x1b[0m {LINE}\n{screen}"


def draw(text: str) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(text))
    picture = console.export_svg(title="docker-images", theme=DIMMED_MONOKAI, unique_id="command")
    # No font from elsewhere: a picture on a page may not load any.
    return re.sub(r"@font-face \{.*?\}\n *", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    (ROOT / "docs/command.svg").write_text(draw(shown()))
