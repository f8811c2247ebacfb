"""Everything this library knows about API versions; the only module that compares two of them.

Pure: it is told what an answer said and returns what follows. No I/O.
"""

import re

import msgspec

__all__ = ["NEWEST", "OLDEST", "ApiVersion"]


class ApiVersion(msgspec.Struct, frozen=True, order=True):
    """A version of the Docker Engine API, ordered as numbers: 1.9 comes before 1.47."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> "ApiVersion":
        """Read `"1.47"`; anything else is a `ValueError`."""
        if not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", text):
            raise ValueError(f"not an API version: {text[:40]!r}; it looks like '1.47'")
        major, minor = text.split(".")
        return cls(int(major), int(minor))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OLDEST = ApiVersion(1, 24)
"""The oldest API version this library speaks (Docker 1.12, 2016)."""
NEWEST = ApiVersion(1, 55)
"""The newest released API version this library knows (Docker 29.6)."""
