"""What stands in messages: text of others made harmless, and the names of arguments."""

from contextvars import ContextVar

__all__ = ["by_option", "keyword", "printable", "said"]

by_option: ContextVar[bool] = ContextVar("by_option", default=False)
"""Whether whoever reads a message wrote a command line: the command sets it."""


def keyword(name: str, value: str = "") -> str:
    """An argument as its user writes it: `host=`, and on the command line `--host`."""
    if not by_option.get():
        return f"{name}={value}"
    option = f"--{name.replace('_', '-')}"
    return option if value in ("", "True") else f"{option} {value}"


def printable(text: str, limit: int = 400) -> str:
    """The beginning of `text`, without what would steer a terminal or fill a log."""
    line = " ".join(text[: 4 * limit].split())
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def said(error: BaseException | None) -> str:
    """What an error says, without the path that the message names already."""
    text = str(getattr(error, "strerror", None) or error)
    return text[:1].lower() + text[1:] if isinstance(error, OSError) else text
