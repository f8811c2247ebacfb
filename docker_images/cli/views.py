"""The forms for people: the table, the tree and the ids. Knows what each column says.

Refuses to know how lines fit a terminal.
"""

import argparse
import time
from collections.abc import Callable, Iterator

from docker_images.cli.rows import Found, Row, images_in_order, rows_in_order, rows_of
from docker_images.cli.table import Column, show, write
from docker_images.cli.words import UNKNOWN, age, counted, shown, size
from docker_images.images.models import ImageManifestSummary, ImageSummary
from docker_images.images.store import in_containerd

__all__ = ["ids", "table", "tree"]

NONE = "<none>"


def ids(found: list[Found], options: argparse.Namespace) -> None:
    """The id of each row, as `docker images -q` has them."""
    write(_id(row.found.image, options) + "\n" for row in rows_in_order(found, options))


def table(found: list[Found], options: argparse.Namespace) -> None:
    """One row for each name."""
    now = time.time()

    def platforms(row: Row) -> str:
        return shown(", ".join(map(str, row.found.image.available_platforms))) or UNKNOWN

    columns: list[tuple[bool, Column, Callable[[Row], str]]] = [
        (True, Column("REPOSITORY", "1", name=True), lambda row: shown(row.repository) or NONE),
        (True, Column("TAG", "32", name=True), lambda row: shown(row.tag or "") or NONE),
        (options.digests, Column("DIGEST"), lambda row: shown(row.digest or "") or NONE),
        (True, Column("IMAGE ID", "33"), lambda row: _id(row.found.image, options)),
        (True, Column("CREATED"), lambda row: age(row.found.image.created_at, now)),
        (True, Column("SIZE", "36", right=True), lambda row: size(row.found.image.size)),
        (
            options.shared_size,
            Column("SHARED", "36", right=True),
            lambda row: size(row.found.image.shared_size),
        ),
        (options.manifests, Column("PLATFORMS", folds=" "), platforms),
        (_several(found), Column("ENGINE"), lambda row: shown(row.found.engine or "")),
    ]
    chosen = [(column, cell) for asked, column, cell in columns if asked]
    rows = [[cell(row) for _, cell in chosen] for row in rows_in_order(found, options)]
    show([column for column, _ in chosen], rows)
    if options.total:
        _total(found)


def tree(found: list[Found], options: argparse.Namespace) -> None:
    """Each image below its names, and below it the platforms it is made for."""
    columns = [
        Column("IMAGE", "1", name=True),
        Column("IMAGE ID", "33"),
        Column("SIZE", "36", right=True),
        Column("CONTENT", "36", right=True),
        Column("IN USE"),
    ]
    rows = [[*cells] for one in images_in_order(found, options) for cells in _branch(one, options)]
    if _several(found):
        columns.append(Column("ENGINE"))
    else:
        rows = [cells[:-1] for cells in rows]
    show(columns, rows)
    if options.total:
        _total(found)


def _branch(one: Found, options: argparse.Namespace) -> Iterator[list[str]]:
    image = one.image
    *others, last = (
        shown(f"{row.repository}:{row.tag}" if row.tag else row.repository) or NONE
        for row in rows_of(one)
    )
    for name in others:
        yield [name, "", "", "", "", ""]
    yield [
        last,
        _id(image, options),
        size(image.size),
        size(image.content_size),
        _used(image.in_use),
        shown(one.engine or ""),
    ]
    platforms = [one for one in image.manifests or () if one.image_data is not None]
    for number, manifest in enumerate(platforms, start=1):
        twig = "└─ " if number == len(platforms) else "├─ "
        yield [twig + _platform(manifest), *_leaf(manifest, options), ""]


def _platform(manifest: ImageManifestSummary) -> str:
    data = manifest.image_data
    name = shown(str(data.platform)) if data else ""
    return f"{name or UNKNOWN}{'' if manifest.available else ' (not here)'}"


def _leaf(manifest: ImageManifestSummary, options: argparse.Namespace) -> list[str]:
    data = manifest.image_data
    digest = manifest.id if options.no_trunc else manifest.id.rpartition(":")[2][:12]
    return [
        shown(digest),
        size(manifest.size.total),
        size(manifest.size.content),
        _used(bool(data and data.containers)),
    ]


def _used(used: bool | None) -> str:
    return UNKNOWN if used is None else "yes" if used else "no"


def _id(image: ImageSummary, options: argparse.Namespace) -> str:
    return shown(image.id if options.no_trunc else image.short_id)


def _several(found: list[Found]) -> bool:
    return any(one.engine for one in found)


def _total(found: list[Found]) -> None:
    images = [one.image for one in found]
    text = f"Total: {counted(len(images), 'image')}"
    text += f", size {size(sum(image.size for image in images))}"
    unique = _unique(found)
    if unique is not None:
        text += f", unique size {size(unique)}"
    show([Column(text, name=True)], [])


def _unique(found: list[Found]) -> int | None:
    """Bytes that only one image has; None where nobody knows."""
    from docker_images.cleanup import freed_at_least, summed

    by_engine: dict[str | None, list[ImageSummary]] = {}
    for one in found:
        by_engine.setdefault(one.engine, []).append(one.image)
    stores = [(images, in_containerd(images)) for images in by_engine.values()]
    own = summed(freed_at_least(image, store) for images, store in stores for image in images)
    return own if found else None
