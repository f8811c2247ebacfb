"""Text of others in messages of ours: bounded, on one line, and harmless to a terminal."""

__all__ = ["printable"]


def printable(text: str, limit: int = 400) -> str:
    """The beginning of `text`, without what would steer a terminal or fill a log."""
    line = " ".join(text[: 4 * limit].split())
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
