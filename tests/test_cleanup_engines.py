"""A cleanup plan, carried out by real engines: what goes is what was shown."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import engines
import pytest

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
