"""A short run of tests/soak.py; the long ones are in docs/reliability.md."""

import os
from collections import Counter

import pytest
import soak

pytestmark = pytest.mark.anyio

NAMES = ("liar: lists", "real: lists", "liar: cancelled", "liar: EngineTimeoutError")
SECONDS = float(os.environ.get("DOCKER_IMAGES_SOAK", "5"))


async def test_polling_through_faults_leaks_nothing_and_is_never_wrong(dockerd: str) -> None:
    tally: Counter[str] = Counter()
    for seed in range(1, 11):
        result = await soak.soak(SECONDS, dockerd, seed=seed, say=print)
        print(result)
        assert soak.bad(result) == []
        tally.update(result["tally"])
        if all(tally[name] for name in NAMES):  # a busy machine may need longer for all of them
            break
    assert all(tally[name] for name in NAMES), tally
