"""Images as the rows of a table: one for each name, in the order that was asked for.

Refuses to know what is shown of a row.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

from docker_images.images.models import ImageSummary
from docker_images.images.references import reference_test

__all__ = ["SORTS", "Found", "Row", "images_in_order", "rows_in_order", "rows_of"]


class Found(NamedTuple):
    """An image, and the name of its engine where several were asked."""

    engine: str | None
    image: ImageSummary


class Row(NamedTuple):
    """One line of the table: a name of an image, if it has one."""

    found: Found
    repository: str
    tag: str | None
    digest: str | None


def rows_of(found: Found, *, digests: bool = False) -> list[Row]:
    """Each tag, then each repository that only a digest names, as `docker images` has them."""
    names = found.image.references
    by_repository: dict[str, list[str]] = {}
    for name in names:
        if name.digest is not None and name.path:
            by_repository.setdefault(name.repository, []).append(name.digest)
    rows: list[Row] = []
    for repository, tag in dict.fromkeys(
        (name.repository, name.tag) for name in names if name.digest is None or name.tag
    ):
        known = by_repository.get(repository, ())
        rows += (Row(found, repository, tag, one) for one in (digests and known) or (None,))
    tagged = {row.repository for row in rows}
    for repository, known in by_repository.items():
        if repository not in tagged:
            rows += (Row(found, repository, None, one) for one in (known if digests else (None,)))
    return rows or [Row(found, "", None, None)]


# ── Order ───────────────────────────────────────────────────────────────────────────────────────

SORTS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: (not row.repository, row.repository, row.tag or ""),
    "created": lambda row: -row.found.image.created,
    "size": lambda row: -row.found.image.size,
    "repository": lambda row: (not row.repository, row.repository),
}


def _in_order(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    if options.sort:
        rows = sorted(rows, key=SORTS[options.sort])
    return rows[::-1] if options.reverse else rows


def images_in_order(found: list[Found], options: argparse.Namespace) -> list[Found]:
    """Each image at the place of its first name."""
    if not options.sort:
        return found[::-1] if options.reverse else found
    rows = [min(rows_of(one), key=SORTS[options.sort]) for one in found]
    return [row.found for row in _in_order(rows, options)]


def rows_in_order(found: list[Found], options: argparse.Namespace) -> list[Row]:
    """The rows of the table. Who asks by name, as docker's users do, sees those names only."""
    patterns = [value for key, value in options.filters if key == "reference"]
    patterns += [options.name] if options.name else []
    matches = reference_test(patterns, podman=True) if patterns else None
    rows: list[Row] = []
    for one in found:
        of = rows_of(one, digests=options.digests)
        rows += ([row for row in of if matches([_name(row)])] if matches else None) or of
    return _in_order(rows, options)


def _name(row: Row) -> str:
    if row.tag:
        return f"{row.repository}:{row.tag}"
    return f"{row.repository}@{row.digest}" if row.digest else row.repository
