"""The same question gets the same answer on every engine.

One suite of questions, each with its answer written by hand, is asked of every real engine of
`engines.TABLE`, and of the embedded engine in the shapes of others, all holding the images of
`engines.fill`. Where an answer differs, the one reason stands in `REASONS`, and every reason
stands in docs/engines.md.
"""

import inspect
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import engines
import pytest
from facts import fact

from docker_images import (
    DockerClient,
    EngineResponseError,
    ImageSummary,
    UnsupportedByEngineError,
)
from docker_images.testing import ENGINE_NAMES, AnyImage, FakeEngine, image

REAL = {f"real {name}": name for name in engines.NAMES}
EVERY = [*REAL, *ENGINE_NAMES]


def those(about: str, *said: str) -> set[str]:
    """The engines of which docs/engines.md says so."""
    return {name for name in EVERY if fact(name.removeprefix("real "), about) in said}


PODMAN = those("store", "podman")
CONTAINERD = those("store", "containerd")
DOCKER = set(EVERY) - PODMAN
NEVER_DATED = those("not dated", "1970")
COUNTING = those("containers", "counted")
ANY_LABEL = those("several labels in `filters`", "any")


def without(option: str) -> set[str]:
    """The engines that cannot do what an option asks."""
    return {name for name in EVERY if option not in fact(name.removeprefix("real "), "options")}


def too_old(option: str) -> set[str]:
    """Those of them where no store can."""
    can = {name.removesuffix(" containerd") for name in set(EVERY) - without(option)}
    return {name for name in without(option) if name.removesuffix(" containerd") not in can}


REASONS = {
    "home": "A name without a registry belongs to docker.io on Docker and to localhost on Podman.",
    "undated": "The time of an image is unknown: Podman uses the time of loading, Docker 25 uses "
    "1970 and leaves it out of comparisons, Docker 20.10 uses the year 1.",
    "unknown": "An image that does not exist is a 404 on Docker and a 500 on Podman.",
    "digest": "A loaded image has a digest with the containerd store and on Podman, but not with "
    "Docker's graph drivers.",
    "raw": "`filters=` is answered by the engine.",
    "store": "Only the containerd image store supports the option.",
    "option": "Only newer engines support the option.",
}
"""Every reason why an answer may differ."""


class What(NamedTuple):
    """An image that every engine holds, as every engine should tell it."""

    names: frozenset[str]
    labels: dict[str, str]
    created: int | None
    """None where it was just made."""
    used: bool = False


def names(*text: str) -> frozenset[str]:
    return frozenset(text)


WEB = names("demo/web:latest", "demo/web:1.0", "registry.example.com:5000/team/web:1.0")
HELD = {
    "web": What(WEB, {"stage": "prod", "maintainer": "team@example.com"}, 1714979289, used=True),
    "labels": What(
        names("demo/labels:1"),
        {"stage": "test", "empty": "", "größe": "40 µm 🐳", "a.b/c": "x=y!=z"},
        1672628645,
    ),
    "undated": What(names("demo/undated:1"), {}, None),
    "epoch": What(names("demo/epoch:1"), {}, 0),
    "year0": What(names("demo/year0:1"), {}, -62167219200),
    "year1": What(names("demo/year1:1"), {}, None),
    "year9999": What(names("demo/year9999:1"), {}, 253402300799),
    "local": What(names("demo/local:1"), {}, 1643767322),
    "orphan": What(names(), {"stage": "prod"}, 1609459200),
    "imported": What(names("demo/imported:1"), {"from": "import"}, None),
    "built": What(names("demo/built:1"), {"stage": "prod", "built": "yes"}, None, used=True),
}
ALL = frozenset(HELD)
NOW = {"imported", "built"}
STEP = "step"
"""What building left behind; only with all=True."""


Answer: TypeAlias = frozenset[str] | int | None
"""The images, by their names in `HELD`; the status of a refusal; None for an option that the engine
cannot do."""


class Question(NamedTuple):
    arguments: dict[str, Any]
    answer: Answer
    differs: tuple[tuple[str, set[str], Answer], ...] = ()
    """Reason, engines, and their answer."""


def question(
    arguments: dict[str, Any],
    answer: set[str] | Answer,
    *differs: tuple[str, set[str], set[str] | Answer],
    id: str,
) -> Any:
    others = [(reason, where, frozen(other)) for reason, where, other in differs]
    return pytest.param(Question(arguments, frozen(answer), tuple(others)), id=id)


def frozen(answer: set[str] | Answer) -> Answer:
    return frozenset(answer) if isinstance(answer, set) else answer


PROD = {"web", "orphan", "built"}
STAGE = PROD | {"labels"}
TAGGED = ALL - {"orphan"}
OLDER = {"labels", "local", "orphan", "epoch", "year0", "year1", "undated"}
"""Older than web."""
NEWER = {"year9999"} | NOW
DEMO = TAGGED - {"local"}
"""What is called `demo/…` on Docker; on Podman that is a short form of `localhost/demo/…`, too."""
DATED = ALL - {"undated", "epoch", "year0", "year1"}
LOADED_LATE = {"year1", "undated"}
"""What Podman takes for just made."""
DAY = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
"""When web was made."""

QUESTIONS = [
    question({}, ALL, id="everything"),
    # Podman's build leaves a step too, and so does Docker's classic builder.
    question({"all": True}, ALL | {STEP}, id="all"),
    question({"dangling": True}, {"orphan"}, id="dangling"),
    question({"dangling": False}, TAGGED, id="not dangling"),
    question({"all": True, "dangling": True}, {"orphan", STEP}, id="all, dangling"),
    question({"all": True, "dangling": False}, TAGGED, id="all, not dangling"),
    # label
    question({"label": "stage"}, STAGE, id="label of any value"),
    question({"label": "stage=prod"}, PROD, id="label"),
    question({"label": {"stage": "prod"}}, PROD, id="label in a mapping"),
    question({"label": {"stage": None}}, STAGE, id="label in a mapping, of any value"),
    question({"label": ["stage=prod", "maintainer"]}, {"web"}, id="two labels: both"),
    question({"label": [{"stage": "prod"}, "built=yes"]}, {"built"}, id="a mapping and a text"),
    question({"label": ["stage=prod", "stage=test"]}, set(), id="two values of one label: none"),
    question({"label": "empty="}, {"labels"}, id="label that is empty"),
    question({"label": {"empty": ""}}, {"labels"}, id="label that is empty, in a mapping"),
    question({"label": "maintainer="}, set(), id="label that is not empty"),
    question({"label": "größe=40 µm 🐳"}, {"labels"}, id="label of any script"),
    question({"label": {"a.b/c": "x=y!=z"}}, {"labels"}, id="label with = and !="),
    question({"label": "sta*"}, set(), id="a star is no pattern in a label"),
    question({"label": "stage=pro*"}, set(), id="nor in its value"),
    question({"label": "STAGE"}, set(), id="label in another case"),
    question({"label": "nope"}, set(), id="label that nothing has"),
    question(
        {"all": True, "label": "stage=prod"},
        PROD,
        id="label, all",
    ),
    question({"label": "stage=prod", "dangling": True}, {"orphan"}, id="label, dangling"),
    question(
        {"label": "stage=prod", "dangling": False}, PROD - {"orphan"}, id="label, not dangling"
    ),
    # exclude_label
    question({"exclude_label": "stage"}, ALL - STAGE, id="without a label"),
    question({"exclude_label": "stage=prod"}, ALL - PROD, id="without a value of a label"),
    question(
        {"exclude_label": ["stage=test", "from"]},
        ALL - {"labels", "imported"},
        id="without any of two labels",
    ),
    question(
        {"label": "stage", "exclude_label": "built"}, STAGE - {"built"}, id="one, not another"
    ),
    question({"label": "stage", "exclude_label": "stage"}, set(), id="with and without"),
    # reference
    question({"reference": "demo/web"}, {"web"}, id="name"),
    question({"reference": "demo/web:1.0"}, {"web"}, id="name and tag"),
    question({"reference": "demo/web:2"}, set(), id="another tag"),
    question({"reference": "web"}, set(), id="half a name"),
    question({"reference": "demo/*"}, DEMO, ("home", PODMAN, TAGGED), id="pattern"),
    question(
        {"reference": "*/*:1"},
        DEMO - {"web"},
        ("home", PODMAN, TAGGED - {"web"}),
        id="pattern with a tag",
    ),
    question({"reference": "*"}, set(), id="a star does not cross a slash"),
    question({"reference": "*/*/*"}, TAGGED, id="three parts, as every canonical name has"),
    question({"reference": "registry.example.com:5000/team/web"}, {"web"}, id="registry, port"),
    question(
        {"reference": "registry.example.com:5000/*/web:1.?"}, {"web"}, id="registry and pattern"
    ),
    question({"reference": "demo/year[0-1]:?"}, {"year0", "year1"}, id="class"),
    question({"reference": "demo/year[^0-1]*"}, {"year9999"}, id="negated class"),
    question({"reference": ["demo/web", "demo/bu*"]}, {"web", "built"}, id="either of two"),
    question(
        {"reference": "docker.io/demo/web"},
        {"web"},
        ("home", PODMAN, set()),
        id="canonical name",
    ),
    question({"reference": "docker.io/demo/built:1"}, {"built"}, id="canonical name, built"),
    question(
        {"reference": "localhost/demo/web"},
        set(),
        ("home", PODMAN, {"web"}),
        id="localhost before a name",
    ),
    question({"reference": "localhost/demo/local"}, {"local"}, id="localhost in the name"),
    question(
        {"reference": "registry.example.com:5000/team/web@sha256:*"},
        set(),
        ("digest", PODMAN | CONTAINERD, {"web"}),
        id="digest",
    ),
    question({"reference": "demo/*", "dangling": True}, set(), id="name, dangling"),
    question({"reference": "demo/*", "label": "stage=prod"}, {"web", "built"}, id="name, label"),
    # before, since
    question(
        {"before": "demo/web:1.0"},
        OLDER,
        ("undated", PODMAN, OLDER - LOADED_LATE),
        ("undated", NEVER_DATED, OLDER - {"undated"}),
        id="before",
    ),
    question(
        {"since": "demo/web:1.0"},
        NEWER,
        ("undated", PODMAN, NEWER | LOADED_LATE),
        id="since",
    ),
    question(
        {"before": "registry.example.com:5000/team/web:1.0", "label": "stage"},
        {"labels", "orphan"},
        id="before a name with a port, label",
    ),
    question(
        {"before": "demo/web:1.0", "since": "localhost/demo/local:1"},
        {"labels"},
        id="before and since",
    ),
    question({"since": "demo/year9999:1"}, set(), id="since the newest"),
    question({"before": "demo/year0:1"}, set(), id="before the oldest"),
    question(
        {"before": "no/such:image"}, 404, ("unknown", PODMAN, 500), id="before an unknown image"
    ),
    question(
        {"since": "no/such:image"}, 404, ("unknown", PODMAN, 500), id="since an unknown image"
    ),
    # until
    question({"until": DAY}, {"labels", "local", "orphan"}, id="until"),
    question(
        {"until": DAY + timedelta(seconds=1)},
        {"labels", "local", "orphan", "web"},
        id="until a second later",
    ),
    question(
        {"until": timedelta(hours=3)},
        {"labels", "local", "orphan", "web"},
        id="until hours ago",
    ),
    question(
        {"until": timedelta(0)},
        DATED - {"year9999"},
        ("undated", PODMAN, DATED - {"year9999"} | LOADED_LATE),
        id="until now",
    ),
    question({"until": 0}, set(), id="until 1970"),
    question({"until": 1.5, "reference": "demo/epoch"}, set(), id="until, name"),
    question(
        {"until": 2**60},
        DATED,
        ("undated", PODMAN, DATED | LOADED_LATE),
        id="until the end of days",
    ),
    question(
        {"until": DAY, "exclude_label": "stage", "dangling": False, "reference": "demo/*"},
        set(),
        ("home", PODMAN, {"local"}),
        id="everything at once",
    ),
    # filters: the engine's own answer
    question({"filters": {"label": "stage=prod"}}, PROD, id="filters: label"),
    question({"filters": {"dangling": True}}, {"orphan"}, id="filters: dangling"),
    question({"filters": {"dangling": "false"}}, TAGGED, id="filters: not dangling"),
    question(
        {"filters": {"label": ["stage=prod", "maintainer"]}},
        {"web"},
        ("raw", ANY_LABEL, PROD),
        id="filters: two labels",
    ),
    question(
        {"filters": {"reference": "demo/bui*"}, "label": "stage"},
        {"built"},
        id="filters: reference, label",
    ),
    question({"filters": {"nope": "x"}}, 400, ("raw", PODMAN, 500), id="filters: unknown"),
    question({"filters": {}}, ALL, id="filters: none"),
    question({"containers": True}, ALL, id="containers"),
    question({"containers": True, "label": "built"}, {"built"}, id="containers, label"),
    # What not every engine can do.
    question(
        {"shared_size": True},
        ALL,
        ("option", too_old("shared_size"), None),
        id="shared size",
    ),
    question(
        {"manifests": True},
        ALL,
        ("option", too_old("manifests"), None),
        ("store", without("manifests") - too_old("manifests"), None),
        id="manifests",
    ),
    question(
        {"identity": True},
        ALL,
        ("option", too_old("identity"), None),
        ("store", without("identity") - too_old("identity"), None),
        id="identity",
    ),
]


# The engines.


def loaded(podman: bool) -> Iterator[AnyImage]:
    """What `engines.fill` makes of an engine, for one that cannot be filled."""
    home = "localhost/" if podman else ""
    for one in engines.LOADED:
        tags = [
            tag if tag.startswith(("registry.", "localhost/")) else home + tag
            for tag in one["tags"]
        ]
        created = one.get("created")
        seconds = None if created is None else SECONDS[created]
        # Podman takes Go's zero time for none.
        seconds = None if podman and seconds == -62135596800 else seconds
        used = 1 if "demo/web:1.0" in one["tags"] else 0
        yield image(*tags, labels=one.get("labels"), created=seconds, containers=used)
    now = int(time.time())
    hub = "docker.io/" if podman else ""
    yield image(f"{hub}demo/imported:1", labels={"from": "import"}, created=now)
    step = image(created=now, size=5)
    yield step
    labels = {"stage": "prod", "built": "yes"}
    yield image(f"{hub}demo/built:1", labels=labels, created=now, parent=step.id, containers=2)


SECONDS = {
    "2024-05-06T07:08:09Z": 1714979289,
    "2023-01-02T03:04:05.678901234Z": 1672628645,
    "1970-01-01T00:00:00Z": 0,
    "0000-01-01T00:00:00Z": -62167219200,
    "0001-01-01T00:00:00Z": -62135596800,
    "9999-12-31T23:59:59Z": 253402300799,
    "2022-02-02T02:02:02Z": 1643767322,
    "2021-01-01T00:00:00Z": 1609459200,
}


def answer_of(name: str, asked: Question) -> Answer:
    """What an engine should answer."""
    answer = asked.answer
    for _, where, other in asked.differs:
        if name in where:
            answer = other
    return answer


def asked_of() -> Iterator[Any]:
    """Each question, of every real engine, and of one fake for each answer that it may get.

    The fakes take turns; `test_testing_conformance` holds them to the real ones. So do the real
    ones of each kind with each answer, except in .ci/run.
    """
    for number, row in enumerate(QUESTIONS):
        (asked,) = row.values
        alike: dict[Answer, list[str]] = {}
        real: dict[Answer, list[str]] = {}
        for name in EVERY:
            same = real if name in REAL else alike
            same.setdefault(answer_of(name, asked), []).append(name)
        for names in alike.values():
            name = names[number % len(names)]
            yield pytest.param(name, asked, id=f"{name}-{row.id}")
        for names in real.values():
            now = engines.in_turn(number, [REAL[name] for name in names])
            for name in names:
                marks = () if REAL[name] in now else pytest.mark.slow
                yield pytest.param(name, asked, id=f"{name}-{row.id}", marks=marks)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, live: engines.Live) -> Iterator[tuple[str, str]]:
    """An engine's name, and its host."""
    name = request.param
    if name in REAL:
        yield name, live.host(REAL[name])
        return
    with FakeEngine(loaded(name in PODMAN), engine=name) as fake:
        yield name, fake.host


def called(found: ImageSummary) -> frozenset[str]:
    """The tags, at home: what is built or loaded on Podman is called `localhost/…`."""
    return frozenset(str(tag).removeprefix("localhost/") for tag in found.tags)


def nickname(found: ImageSummary) -> str:
    tags = called(found)
    for name, what in HELD.items():
        if what.names and tags == what.names:
            return name
    assert not tags, f"all tags of an image are kept: {tags}"
    return "orphan" if found.created == HELD["orphan"].created else STEP


def told(found: ImageSummary) -> tuple[Any, ...]:
    """What can be compared over engines: not ids, sizes and digests."""
    # Podman's builder leaves its mark.
    labels = {key: value for key, value in found.labels.items() if key != "io.buildah.version"}
    return (
        called(found),
        labels,
        found.is_dangling,
        found.manifests is None,
        found.shared_size is None,
    )


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("engine", "asked"), [*asked_of()], indirect=["engine"])
async def test_the_same_question_gets_the_same_answer(
    engine: tuple[str, str], asked: Question, anyio_backend: str
) -> None:
    name, host = engine
    answer = answer_of(name, asked)
    arguments = dict(asked.arguments)
    async with DockerClient(host) as client:
        if answer is None:
            with pytest.raises(UnsupportedByEngineError) as unsupported:
                await client.list_images(**arguments)
            assert unsupported.value.option in arguments
            return
        if isinstance(answer, int):
            with pytest.raises(EngineResponseError) as refused:
                await client.list_images(**arguments)
            assert refused.value.status == answer
            return
        images = await client.list_images(**arguments)

    assert sorted(map(nickname, images)) == sorted(answer)
    assert images == sorted(images, key=lambda one: (-one.created, one.id, one.size))
    for found in images:
        nick = nickname(found)
        if nick == STEP:
            continue
        what = HELD[nick]
        manifests = "manifests" in arguments or "identity" in arguments
        assert told(found) == (
            what.names,
            what.labels,
            not what.names,
            not manifests,
            "shared_size" not in arguments,
        )
        if what.created is not None:
            assert found.created == what.created
        counted = name in COUNTING or "containers" in arguments
        assert found.in_use is (what.used if counted else None)


def test_there_are_questions_enough_and_every_keyword_is_among_them() -> None:
    assert len(QUESTIONS) >= 40
    asked = {name for row in QUESTIONS for name in row.values[0].arguments}
    assert asked == inspect.signature(DockerClient.list_images).parameters.keys() - {
        *("self", "timeout")
    }


def test_every_difference_has_a_reason_that_is_documented() -> None:
    page = " ".join((Path(__file__).parent.parent / "docs" / "engines.md").read_text().split())
    used = {reason for row in QUESTIONS for reason, _, _ in row.values[0].differs}
    assert used == REASONS.keys()
    for reason in REASONS.values():
        assert reason in page
