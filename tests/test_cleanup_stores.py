"""Cleanup plans over stores by chance, carried out by every real engine.

    DOCKER_IMAGES_STORES=25 .venv/bin/python -m pytest -n 0 -s tests/test_cleanup_stores.py

takes so many of each engine, and prints what each plan said and what it came to.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import engines
import pytest
import registry
from random_store import Store

from docker_images import (
    CleanupPlan,
    CleanupReason,
    ImageSummary,
    UnsupportedByEngineError,
    plan_cleanup,
    sync,
)

pytestmark = pytest.mark.slow

STORES = int(os.environ.get("DOCKER_IMAGES_STORES", "2"))


@pytest.fixture(params=engines.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(name: str) -> Iterator[Store]:
    with ExitStack() as stack:
        folder = stack.enter_context(engines.folder())
        yield Store(name, stack.enter_context(engines.start(name, folder)), folder)


ANY = ["*", "*/*", "*/*/*", "*/*/*/*"]
KEEP_FILTER = quote('{"label": ["keep"]}')
DANGLING = {"dangling_only": True}


PRUNES = "podman 4.3"
"""It knows no `noprune`: with an image go those without a name that it was built on."""


def a_policy(chance: random.Random) -> dict[str, Any]:
    """What may go and what stays, by chance; often most of it may go."""
    goes: list[dict[str, Any]] = [
        DANGLING,
        {"older_than": timedelta(days=chance.choice([0, 30, 2000]))},
        {"keep_latest": chance.randint(1, 2)},
        {"only_reference": ANY[: chance.randint(2, 4)]},
        {"keep_latest": 1, "older_than": timedelta(days=1)},
    ]
    stays: list[dict[str, Any]] = [
        {"keep_label": "keep"},
        {"keep_reference": ["*:1", "*/*:1", "*/*/*:1"]},
    ]
    policy = dict(chance.choice(goes))
    for kept in stays:
        policy |= kept if chance.random() < 0.3 else {}
    return policy


def planned(host: str, policy: dict[str, Any]) -> CleanupPlan:
    try:
        images = sync.list_images(host, all=True, containers=True, shared_size=True)
    except UnsupportedByEngineError:
        images = sync.list_images(host, all=True, containers=True)
    kept: list[ImageSummary] = []
    if "keep_label" in policy:
        kept = sync.list_images(host, all=True, label=policy["keep_label"])
    return plan_cleanup(images, keep_images=kept, **policy)


def test_what_a_plan_frees_is_within_what_it_said_and_nothing_that_is_kept_goes(
    store: Store,
) -> None:
    met: Counter[str] = Counter()
    with registry.serving() as source:
        for number in range(STORES):
            chance = random.Random(number)
            store.fill(chance, source)
            policies = [a_policy(chance), a_policy(chance), {"only_reference": ANY}, DANGLING]
            for step, policy in enumerate(policies):
                carry_out(store, policy, f"{number}.{step}", met)
            store.empty()
            assert store.size() == 0
    print(store.name, dict(met))
    assert met["plans that free"] >= STORES


def latest(rows: Iterable[dict[str, Any]], count: int) -> set[str]:
    """The tags that `count` images of each repository have, those that were made last."""
    named: dict[str, list[tuple[int, str, set[str]]]] = {}
    for row in rows:
        names = [*(row["RepoTags"] or ()), *(row["RepoDigests"] or ())]
        names = [name for name in names if "none>" not in name]
        for repository in {repository_of(name) for name in names}:
            tags = {tag for tag in names if repository_of(tag) == repository and "@" not in tag}
            if row["Created"] > 1_400_000_000:
                named.setdefault(repository, []).append((-row["Created"], row["Id"], tags))
    first = [image for found in named.values() for image in sorted(found)[:count]]
    return {tag for _, _, tags in first for tag in tags}


def repository_of(name: str) -> str:
    return name.partition("@")[0] if "@" in name else name.rpartition(":")[0]


def carry_out(store: Store, policy: dict[str, Any], which: str, met: Counter[str]) -> None:
    where = (store.name, which, policy)
    used = store.in_use()
    rows = {row["Id"]: row for row in store.images()}
    before = store.size()
    labelled = {row["Id"] for row in store.get(f"/images/json?all=1&filters={KEEP_FILTER}")}
    plan = planned(store.host, policy)
    for name in plan.names:
        answer = store.remove(name)
        assert answer.status == 200 or store.name == PRUNES, (*where, name, answer)
    freed = before - store.size()

    assert (plan.frees_at_least or 0) <= freed, (*where, freed, plan)
    assert plan.frees_at_most is None or freed <= plan.frees_at_most, (*where, freed, plan)
    left = {(image.id, image.repo_tags) for image in sync.list_images(store.host, all=True)}
    stays = {(one.image.id, one.image.repo_tags) for one in plan.keep}
    for one in plan.remove:
        tags = tuple(tag for tag in one.image.repo_tags if tag not in one.names)
        stays |= set() if one.whole else {(one.image.id, tags)}
    if store.name == PRUNES:
        stays -= {
            (one.image.id, ()) for one in plan.keep if one.reason is CleanupReason.NO_NAME
        } - left
    assert left == stays, where
    assert store.in_use() == used, where

    gone = [rows[id_] for id_ in rows.keys() - {id_ for id_, _ in left}]
    for row in gone:
        if "keep_label" in policy:
            assert row["Id"] not in labelled, where
        if "older_than" in policy or "keep_latest" in policy:
            assert row["Created"] > 1_000_000_000, where
    if "keep_latest" in policy:
        tags = {tag for row in store.images() for tag in row["RepoTags"] or ()}
        assert latest(rows.values(), policy["keep_latest"]) <= tags, where
    met["plans"] += 1
    met["containers whose image is not in the list"] += len(used.keys() - rows.keys())
    met["images of unknown use"] += sum(one.image.in_use is None for one in plan.keep)
    met["plans that free"] += freed > 0
    met["of these, at least is known"] += freed > 0 and plan.frees_at_least is not None
    met["of these, at most is known"] += freed > 0 and plan.frees_at_most is not None
    met["images that went"] += len(gone)
    met["images that stayed"] += len(left)
    met["names that went alone"] += sum(len(one.names) for one in plan.remove if not one.whole)
    met["bytes freed"] += freed
    met["bytes said at least"] += plan.frees_at_least or 0
    met["bytes said at most"] += plan.frees_at_most or 0
    met.update(f"kept: {one.reason.name}" for one in plan.keep)
    print(f"  {which} {policy}: {plan.frees_at_least} <= {freed} <= {plan.frees_at_most}")
