"""A real Docker engine, filled with the images of `bodies`."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .bodies import make_images

sys.path.append(str(Path(__file__).parents[1]))  # where pytest finds it, too
import engines


@contextmanager
def engine(host: str | None, images: int) -> Iterator[str | None]:
    """Give `host`, or start an engine with so many images; None where that is not possible."""
    with ExitStack() as stack:
        if host is None:
            try:
                folder = stack.enter_context(engines.folder())
                host = stack.enter_context(engines.start(engines.at_hand("docker"), folder))
            except pytest.skip.Exception as why:
                print(why, file=sys.stderr)
            else:
                _load(host, images)
        yield host


def _load(host: str, count: int) -> None:
    images = [
        {
            "tags": image["RepoTags"] or [],
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(image["Created"])),
            "labels": {**(image["Labels"] or {}), "id": image["Id"]},
            "layer": "one for all",
        }
        for image in make_images(count)
    ]
    engines.load(host, images)
