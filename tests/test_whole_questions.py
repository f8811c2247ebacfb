"""What one list does not tell: labels of several platforms, and anchors without a time."""

import json
import sys
from typing import Any

import httpx
import pytest

from docker_images import DockerClient, UnsupportedByEngineError

pytestmark = pytest.mark.anyio

MULTI, PLAIN, UNDATED = (f"sha256:{digit * 64}" for digit in "abc")


class Store(httpx.AsyncBaseTransport):
    """Docker 28.5 on the containerd store, with an image of two platforms and an undated one.

    The list shows the labels of one platform (`stage=prod`); the filter knows those of both.
    """

    def __init__(self, server: str = "Docker/28.5.2 (linux)") -> None:
        self.server = server
        self.asked: list[dict[str, Any]] = []
        self.flags: list[dict[str, str]] = []
        self.labels: dict[str, list[dict[str, str]]] = {
            MULTI: [{"stage": "prod"}, {"stage": "test"}],
            PLAIN: [{"stage": "test"}],
            UNDATED: [{}],
        }
        self.created = {MULTI: 300, PLAIN: 200, UNDATED: 0}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        filters = json.loads(request.url.params.get("filters", "{}"))
        self.asked.append(filters)
        self.flags.append(
            {name: value for name, value in request.url.params.items() if name != "filters"}
        )
        rows = [self.row(id_) for id_ in self.labels if self.passes(id_, filters)]
        headers = {"Api-Version": "1.51", "Server": self.server}
        return httpx.Response(200, json=rows, headers=headers)

    def passes(self, id_: str, filters: dict[str, Any]) -> bool:
        for label in filters.get("label", ()):
            key, _, value = label.partition("=")
            if not any(one.get(key) == value for one in self.labels[id_]):
                return False
        # moby compares nothing where the anchor has no time.
        return all(
            anchor in ("undated", UNDATED) or self.created[id_] < 300
            for anchor in filters.get("before", ())
        )

    def row(self, id_: str) -> dict[str, Any]:
        return {
            "Id": id_,
            "RepoTags": ["undated:latest"] if id_ == UNDATED else [f"shop/{id_[7]}:1"],
            "RepoDigests": [],
            "Created": self.created[id_],
            "Labels": self.labels[id_][0],
            "Containers": -1,
            "Size": 1,
            "SharedSize": -1,
            "Descriptor": {"mediaType": "x", "digest": id_, "size": 1},
        }


async def ids(store: Store, **question: Any) -> set[str]:
    async with DockerClient(transport=store) as client:
        return {image.id for image in await client.list_images(**question)}


async def test_what_docker_says_of_a_label_is_final(anyio_backend: str) -> None:
    assert await ids(Store(), label="stage=test") == {MULTI, PLAIN}


async def test_what_podman_says_of_labels_is_looked_at_again(anyio_backend: str) -> None:
    assert await ids(Store("Libpod/4.3.1 (linux)"), label="stage=test") == {PLAIN}


async def test_an_excluded_label_of_any_platform_excludes(anyio_backend: str) -> None:
    store = Store()
    assert await ids(store, exclude_label="stage=test") == {UNDATED}
    assert store.asked == [{}, {"label": {"stage=test": True}}]


async def test_what_is_only_to_be_known_of_the_answer_is_not_asked_again_for_a_label(
    anyio_backend: str,
) -> None:
    store = Store()
    await ids(store, exclude_label="stage=test", shared_size=True)
    assert store.flags == [{"shared-size": "1"}, {}]


async def test_a_label_that_cannot_be_sent_is_answered_from_the_list(anyio_backend: str) -> None:
    store = Store()
    assert await ids(store, exclude_label={"a=b": "c"}) == {MULTI, PLAIN, UNDATED}
    assert store.asked == [{}]


@pytest.mark.parametrize("anchor", ["undated", UNDATED, UNDATED[7:19]])
@pytest.mark.parametrize("more", [{}, {"label": "stage=test"}, {"reference": "shop/*"}], ids=str)
async def test_an_anchor_without_a_time_is_refused_and_never_a_list_of_everything(
    anyio_backend: str, anchor: str, more: dict[str, Any]
) -> None:
    store = Store()
    store.passes = lambda id_, filters: "label" not in filters or id_ != UNDATED  # type: ignore[method-assign]
    async with DockerClient(transport=store) as client:
        with pytest.raises(
            UnsupportedByEngineError, match=r"without a time.*; name another"
        ) as caught:
            await client.list_images(before=anchor, **more)
    assert caught.value.option == "before"


async def test_an_anchor_with_a_time_is_a_filter(anyio_backend: str) -> None:
    assert await ids(Store(), before=MULTI) == {PLAIN, UNDATED}


async def test_an_anchor_is_looked_for_without_taking_all_names_apart(anyio_backend: str) -> None:
    # Between two turns of the event loop: 50 000 images took 300 ms.
    calls = 0

    def count(frame: Any, event: str, function: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_name == "parse"

    store = Store()
    others = [f"sha256:{number:064}" for number in range(100)]
    store.labels |= {id_: [{}] for id_ in others}
    store.created |= dict.fromkeys(others, 200)
    async with DockerClient(transport=store) as client:
        sys.setprofile(count)
        try:
            assert len(await client.list_images(before="shop/a:1")) > 100
        finally:
            sys.setprofile(None)
    assert calls < 20
