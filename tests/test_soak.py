"""A short run of tests/soak.py; the long ones are in docs/reliability.md."""

import os
from collections import Counter

import pytest
import soak

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
