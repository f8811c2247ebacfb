"""A short run of tests/soak.py; the long ones are in docs/reliability.md."""

import os

import pytest
import soak

pytestmark = pytest.mark.anyio

SECONDS = float(os.environ.get("DOCKER_IMAGES_SOAK", "5"))


async def test_polling_through_faults_leaks_nothing_and_is_never_wrong(dockerd: str) -> None:
    result = await soak.soak(SECONDS, dockerd, seed=1, say=print)
    print(result)
    assert soak.bad(result) == []
    for name in ("liar: lists", "real: lists", "liar: cancelled", "liar: EngineTimeoutError"):
        assert result["tally"][name] > 0
