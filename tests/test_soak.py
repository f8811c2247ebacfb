"""Short runs of tests/soak.py and tests/watch_soak.py; the long ones are in docs/reliability.md."""

import os
from collections import Counter

import pytest
import soak
import watch_soak

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NAMES = ("liar: lists", "real: lists", "liar: cancelled", "liar: EngineTimeoutError")
SECONDS = float(os.environ.get("DOCKER_IMAGES_SOAK", "5"))


def everything(tally: Counter[str]) -> bool:
    """Whether all that can happen did; a busy machine needs longer for it."""
    return all(tally[name] for name in NAMES)


async def test_polling_through_faults_leaks_nothing_and_is_never_wrong(dockerd: str) -> None:
    result = await soak.soak(SECONDS, dockerd, seed=1, say=print, enough=everything)
    print(result)
    assert soak.bad(result) == []


async def test_watching_through_faults_leaks_nothing_and_ends_right() -> None:
    result = await watch_soak.soaked(SECONDS, seed=1)
    print(result)
    assert result["right"]
    for name in ("descriptors", "sockets", "tasks"):
        assert result["after"][name] <= result["before"][name], name
