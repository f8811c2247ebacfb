"""A cleanup plan, carried out by real engines: what goes is what was shown."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import engines
import pytest
from command import run

from docker_images import plan_cleanup, sync

POLICIES: list[dict[str, Any]] = [
    {"only_reference": ["*/labels", "localhost/*/labels"], "keep_reference": ["demo/labels:2"]},
    {"dangling_only": True},
    {"older_than": timedelta(days=30), "keep_label": "stage"},
    {"only_reference": ["*", "*/*", "*/*/*"]},
    {"older_than": timedelta(0)},
]


@pytest.mark.parametrize("name", engines.quickly())
def test_an_engine_removes_what_was_shown_and_nothing_else(name: str) -> None:
    with engines.folder() as folder, engines.start(name, folder) as host:
        engines.fill(host)
        tagged = engines.call(host, "POST", "/images/demo/labels:1/tag?repo=demo/labels&tag=2")
        assert tagged.status == 201
        removed: list[bool] = []
        for policy in POLICIES:
            images = sync.list_images(host, all=True, containers=True)
            plan = plan_cleanup(images, **policy)
            for gone in plan.names:  # as `docker rmi --no-prune` asks for it
                answer = engines.call(host, "DELETE", f"/images/{quote(gone, safe='')}?noprune=1")
                assert answer.status == 200, (gone, policy, answer)
            left = {(image.id, image.repo_tags) for image in sync.list_images(host, all=True)}
            stays = {(one.image.id, one.image.repo_tags) for one in plan.keep}
            for one in plan.remove:
                tags = tuple(tag for tag in one.image.repo_tags if tag not in one.names)
                stays |= set() if one.whole else {(one.image.id, tags)}
            assert left == stays
            removed += [one.whole for one in plan.remove]
        assert {*removed} == {True, False}


@pytest.mark.parametrize("name", engines.NAMES)
def test_the_command_keeps_what_has_a_label_on_any_platform(live: engines.Live, name: str) -> None:
    words = ["plan", "-H", live.host(name, more=True), "--older-than", "1h", "--json"]
    words += ["--only-reference", "more/*", "--only-reference", "localhost/more/*"]

    def names(*more: str) -> set[str]:
        removed = json.loads(run(*words, *more).stdout)["remove"]
        return {name.rpartition("/")[2] for one in removed for name in one["names"]}

    # The containerd store lists `whole` with the labels of its other platform.
    assert names() >= {"whole:1", "foreign:1"}
    assert names("--keep-label", "stage=test").isdisjoint({"whole:1", "foreign:1"})
