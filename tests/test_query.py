"""What a question becomes: what the engine is asked, and what is answered from its list."""

import inspect
import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

import docker_images
from docker_images import DockerClient, sync
from docker_images.fleet import Question
from docker_images.images.models import ImageSummary
from docker_images.query import Query, build_query

DIGEST = "sha256:" + "0123456789abcdef" * 4


def asked(query: Query) -> dict[str, Any]:
    """What an engine reads, with the standard library's eyes."""
    pairs = parse_qsl(
        query.asked.params, keep_blank_values=True, strict_parsing=bool(query.asked.params)
    )
    found: dict[str, Any] = dict(pairs)
    assert len(found) == len(pairs), "a parameter is given once"
    if "filters" in found:
        found["filters"] = json.loads(found["filters"])
    return found


def image(name: str, **fields: Any) -> ImageSummary:
    return ImageSummary(id=name, **fields)


def answer(query: Query, *images: ImageSummary, podman: bool = False) -> list[str]:
    return [found.id for found in query.select(list(images), podman=podman)]


# Editors and type checkers see the keywords of the question wherever it is asked.


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """With types where the annotations are text."""
    hints = get_type_hints(function, localns={"ImagesWatch": docker_images.ImagesWatch})
    found = inspect.signature(function).parameters
    return {name: one.replace(annotation=hints.get(name)) for name, one in found.items()}


CLIENT = parameters(DockerClient.list_images)


@pytest.mark.parametrize(
    ("function", "own", "missing"),
    [
        pytest.param(build_query, {"now"}, {"self", "timeout"}, id="build_query"),
        pytest.param(
            DockerClient.watch_images,
            {"resync_interval", "poll_interval"},
            set(),
            id="watch_images",
        ),
        pytest.param(sync.list_images, {"host", "context"}, {"self"}, id="sync.list_images"),
    ],
)
def test_the_question_has_the_same_keywords_wherever_it_is_asked(
    function: Callable[..., Any], own: set[str], missing: set[str]
) -> None:
    found = parameters(function)
    assert own <= found.keys()
    question = [one for name, one in found.items() if name not in own]
    assert question == [one for name, one in CLIENT.items() if name not in missing]


def test_several_engines_are_asked_with_the_same_keywords() -> None:
    keywords = {name: one.annotation for name, one in CLIENT.items() if name != "self"}
    assert get_type_hints(Question) == keywords


# What the engine is asked.


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        pytest.param({}, "", id="nothing"),
        pytest.param({"all": True}, "all=1", id="all"),
        pytest.param({"shared_size": True}, "shared-size=1", id="shared_size"),
        pytest.param({"manifests": True}, "manifests=1", id="manifests"),
        pytest.param({"identity": True}, "manifests=1&identity=1", id="identity needs manifests"),
        pytest.param(
            {"manifests": True, "identity": True}, "manifests=1&identity=1", id="manifests once"
        ),
        pytest.param(
            {"dangling": False},
            "filters=%7B%22dangling%22%3A%7B%22false%22%3Atrue%7D%7D",
            id="not dangling",
        ),
        pytest.param(
            {"all": True, "before": "b", "shared_size": True, "identity": True},
            "all=1&filters=%7B%22before%22%3A%7B%22b%22%3Atrue%7D%7D"
            "&shared-size=1&manifests=1&identity=1",
            id="all at once",
        ),
    ],
)
def test_the_query_string_is(arguments: dict[str, Any], params: str) -> None:
    assert build_query(**arguments).asked.params == params


@pytest.mark.parametrize(
    ("arguments", "filters"),
    [
        pytest.param({"label": "a"}, {"label": {"a": True}}, id="label of any value"),
        pytest.param({"label": "a=b=c"}, {"label": {"a=b=c": True}}, id="label"),
        pytest.param({"label": {"a": "b"}}, {"label": {"a=b": True}}, id="label in a mapping"),
        pytest.param({"label": {"a": ""}}, {"label": {"a=": True}}, id="empty value"),
        pytest.param({"label": {"a": None}}, {"label": {"a": True}}, id="None is any value"),
        pytest.param(
            {"label": ["a", {"b": "1", "c": None}, "d=x"]},
            {"label": {"a": True, "b=1": True, "c": True, "d=x": True}},
            id="iterable of both",
        ),
        pytest.param({"label": ["a", "a"]}, {"label": {"a": True}}, id="twice the same"),
        pytest.param(
            {"label": 'ü=\x00\n\U0001f40b"&%'},
            {"label": {'ü=\x00\n\U0001f40b"&%': True}},
            id="any text",
        ),
        pytest.param({"before": "a:1"}, {"before": {"a:1": True}}, id="before"),
        pytest.param({"since": DIGEST}, {"since": {DIGEST: True}}, id="since"),
        pytest.param({"filters": {"x": "y"}}, {"x": {"y": True}}, id="filters, a text"),
        pytest.param(
            {"filters": {"dangling": True, "y": False}},
            {"dangling": {"true": True}, "y": {"false": True}},
            id="filters, a bool",
        ),
        pytest.param(
            {"filters": {"label!": ["a", "b!=c"]}},
            {"label!": {"a": True, "b!=c": True}},
            id="filters, several",
        ),
        pytest.param(
            {"filters": {"reference": "["}}, {"reference": {"[": True}}, id="filters as it is"
        ),
        pytest.param({"filters": {"x": ""}}, {"x": {"": True}}, id="filters, an empty text"),
        pytest.param(
            {"filters": {"x": "y"}, "label": "a", "dangling": False},
            {"x": {"y": True}, "dangling": {"false": True}, "label": {"a": True}},
            id="filters and keywords",
        ),
    ],
)
def test_filters_travel_as_a_map_of_maps(arguments: dict[str, Any], filters: object) -> None:
    assert asked(build_query(**arguments)) == {"filters": filters}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"dangling": True}, id="the containerd store names tagged images"),
        pytest.param({"reference": "alpine"}, id="reference"),
        pytest.param({"until": 5}, id="until"),
        pytest.param({"exclude_label": "a"}, id="exclude_label"),
        pytest.param({"label": "a=x!=y"}, id="Podman would negate, or answer 500"),
        pytest.param({"label": "a!"}, id="the containerd store would negate"),
        pytest.param({"label": "a!=b"}, id="both would negate"),
        pytest.param({"label": {"a=b": "c"}}, id="engines would read the key a"),
        pytest.param({"label": "a=" + "ü" * 2048}, id="more bytes than the containerd store takes"),
        pytest.param({"label": []}, id="no label at all"),
        pytest.param({"label": {}}, id="an empty mapping"),
        pytest.param({"exclude_label": ()}, id="nothing to exclude"),
        pytest.param({"filters": {}}, id="no filters at all"),
    ],
)
def test_what_engines_answer_differently_is_not_sent(arguments: dict[str, Any]) -> None:
    assert build_query(**arguments).asked.params == ""


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, ()),
        ({"all": True, "dangling": True}, ()),
        ({"identity": True}, ("identity",)),
        (
            {"identity": True, "manifests": True, "shared_size": True},
            ("shared_size", "manifests", "identity"),
        ),
    ],
    ids=repr,
)
def test_the_options_that_take_a_certain_engine_are_named(
    arguments: dict[str, Any], options: tuple[str, ...]
) -> None:
    assert build_query(**arguments).asked.options == options


# What is answered from the list.


@pytest.mark.parametrize(
    "arguments",
    [{}, {"all": True, "shared_size": True, "manifests": True, "identity": True, "before": "x"}],
    ids=["plain", "all from the engine"],
)
def test_where_the_engine_answers_it_all_the_list_is_not_touched(
    arguments: dict[str, Any],
) -> None:
    images = [image("a")]
    assert build_query(**arguments).select(images) is images


def test_dangling_splits_the_list() -> None:
    images = [
        image("untagged"),
        image("tagged", repo_tags=("a:1",)),
        image("digest", repo_digests=(f"a@{DIGEST}",)),
        image("both", repo_tags=("a:1",), repo_digests=(f"a@{DIGEST}",)),
    ]
    assert answer(build_query(dangling=True), *images) == ["untagged"]
    assert answer(build_query(dangling=False), *images) == ["tagged", "digest", "both"]


LABELLED = (
    image("none"),
    image("prod", labels={"stage": "prod"}),
    image("prod-me", labels={"stage": "prod", "maintainer": "me"}),
    image("empty", labels={"stage": ""}),
    image("odd", labels={"c": "x!=y", "a!": "1", "k=v": "w"}),
)


@pytest.mark.parametrize(
    ("label", "has_all", "has_none"),
    [
        ("stage", ["prod", "prod-me", "empty"], ["none", "odd"]),
        ("stage=prod", ["prod", "prod-me"], ["none", "empty", "odd"]),
        ("stage=", ["empty"], ["none", "prod", "prod-me", "odd"]),
        ({"stage": ""}, ["empty"], ["none", "prod", "prod-me", "odd"]),
        ({"stage": None}, ["prod", "prod-me", "empty"], ["none", "odd"]),
        (["stage=prod", "maintainer"], ["prod-me"], ["none", "empty", "odd"]),
        ({"stage": "prod", "maintainer": "me"}, ["prod-me"], ["none", "empty", "odd"]),
        (["stage=prod", "stage="], [], ["none", "odd"]),
        ("c=x!=y", ["odd"], ["none", "prod", "prod-me", "empty"]),
        ("a!", ["odd"], ["none", "prod", "prod-me", "empty"]),
        ("a!=1", ["odd"], ["none", "prod", "prod-me", "empty"]),
        ({"k=v": "w"}, ["odd"], ["none", "prod", "prod-me", "empty"]),
        ("k=v=w", [], ["none", "prod", "prod-me", "empty", "odd"]),
        ("sta*", [], ["none", "prod", "prod-me", "empty", "odd"]),
        ("Stage", [], ["none", "prod", "prod-me", "empty", "odd"]),
        ([], *[["none", "prod", "prod-me", "empty", "odd"]] * 2),
    ],
    ids=repr,
)
def test_label_keeps_what_has_all_and_exclude_label_what_has_none(
    label: Any, has_all: list[str], has_none: list[str]
) -> None:
    assert answer(build_query(label=label), *LABELLED, podman=True) == has_all
    assert answer(build_query(exclude_label=label), *LABELLED) == has_none


def test_reference_keeps_an_image_with_all_its_names() -> None:
    images = [
        image("alpine", repo_tags=("alpine:3", "other:1")),
        image("pulled", repo_digests=(f"docker.io/library/alpine@{DIGEST}",)),
        image("other", repo_tags=("other:2",)),
        image("untagged"),
    ]
    found = build_query(reference="alpine").select(images)
    assert found == images[:2]
    assert answer(build_query(reference=("other:2", "alpine:*")), *images) == ["alpine", "other"]


NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "until",
    [
        NOON,
        NOON.astimezone(timezone(timedelta(hours=-7))),
        1717243200,
        1717243200.0,
        timedelta(hours=1),
    ],
    ids=["UTC", "another zone", "int", "float", "ago"],
)
def test_until_keeps_what_was_created_before(until: Any) -> None:
    images = [
        image("before", created=1717243199),
        image("then", created=1717243200),
        image("after", created=1717243201),
        image("epoch", created=0),
        image("nobody said", created=-62135596800),
        image("year 0", created=-62167219200),
    ]
    query = build_query(until=until, now=lambda: 1717243200.0 + 3600)
    assert answer(query, *images) == ["before"]


@pytest.mark.parametrize(
    "until",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
        timedelta.max,
        10**400,
        -(10**400),
        1e300,
    ],
    ids=["first", "last", "longest ago", "huge", "hugely negative", "huge float"],
)
def test_until_takes_any_moment(until: Any) -> None:
    assert len(answer(build_query(until=until), image("a", created=1))) in (0, 1)


def test_several_questions_are_all_answered_and_the_order_stays() -> None:
    images = [
        image("1", created=5, repo_tags=("a:1",), labels={"k": "v"}),
        image("2", created=5, repo_tags=("a:2",), labels={"k": "v", "x": ""}),
        image("3", created=50, repo_tags=("a:3",), labels={"k": "v"}),
        image("4", created=4, repo_tags=("b:4",), labels={"k": "v"}),
        image("5", created=4, repo_tags=("a:5",), labels={"k": "v"}),
        image("6", created=4, labels={"k": "v"}),
    ]
    query = build_query(
        label="k", exclude_label="x", until=10, reference="a", dangling=False, filters={"n": "m"}
    )
    assert answer(query, *images) == ["1", "5"]
    assert answer(query, *images[3:]) == ["5"], "a slice of the list is answered alike"


# A real answer: Docker's master (API 1.56) with the containerd store lists 11 images, 3 of them
# untagged, and says `dangling=true` of 5. `web` is tagged three times and used by two containers.


def test_a_tagged_image_is_never_called_dangling_by_the_containerd_store() -> None:
    plain = [
        image("8e620ad4"),
        image("9f2073a5", repo_tags=("demo/multi:3",)),
        image("f94e164a", repo_tags=("demo/web:1.0", "demo/web:latest"), containers=2),
        image("cb4e1c9f"),
        image("61e475c8"),
    ]
    query = build_query(dangling=True)
    assert "dangling" not in query.asked.params
    assert answer(query, *plain) == ["8e620ad4", "cb4e1c9f", "61e475c8"]


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"all": 1}, TypeError, "all="),
        ({"all": None}, TypeError, "all="),
        ({"shared_size": "yes"}, TypeError, "shared_size="),
        ({"manifests": 0}, TypeError, "manifests="),
        ({"identity": []}, TypeError, "identity="),
        ({"dangling": 1}, TypeError, "dangling="),
        ({"dangling": "true"}, TypeError, "dangling="),
        ({"label": ""}, ValueError, "label="),
        ({"label": "=v"}, ValueError, "label="),
        ({"label": {"": "v"}}, ValueError, "label="),
        ({"label": [""]}, ValueError, "label="),
        ({"label": b"k"}, TypeError, "label="),
        ({"label": [b"k"]}, TypeError, "label="),
        ({"label": 5}, TypeError, "label="),
        ({"label": {"k": 5}}, TypeError, "label="),
        ({"label": {5: "v"}}, TypeError, "label="),
        ({"label": {"k": True}}, TypeError, "label="),
        ({"label": ["a", None]}, TypeError, "label="),
        ({"label": [["a"]]}, TypeError, "label="),
        ({"label": "\ud800"}, ValueError, "label="),
        ({"label": {"a": "\udfff"}}, ValueError, "label="),
        ({"exclude_label": ""}, ValueError, "exclude_label="),
        ({"exclude_label": 5}, TypeError, "exclude_label="),
        ({"reference": ""}, ValueError, "reference="),
        ({"reference": []}, ValueError, "reference="),
        ({"reference": ["a", ""]}, ValueError, "reference="),
        ({"reference": "["}, ValueError, "reference="),
        ({"reference": {"a": "b"}}, TypeError, "reference="),
        ({"reference": b"a"}, TypeError, "reference="),
        ({"reference": ["a", 5]}, TypeError, "reference="),
        ({"reference": "a\udc80"}, ValueError, "reference="),
        ({"before": ""}, ValueError, "before="),
        ({"before": ["a"]}, TypeError, "before="),
        ({"since": 5}, TypeError, "since="),
        ({"since": "\ud800"}, ValueError, "since="),
        ({"until": datetime(2024, 1, 1)}, ValueError, "until="),
        ({"until": date(2024, 1, 1)}, TypeError, "until="),
        ({"until": timedelta(-1)}, ValueError, "until="),
        ({"until": math.nan}, ValueError, "until="),
        ({"until": math.inf}, ValueError, "until="),
        ({"until": True}, TypeError, "until="),
        ({"until": "24h"}, TypeError, "until="),
        ({"until": Decimal(1)}, TypeError, "until="),
        ({"filters": "a=b"}, TypeError, "filters="),
        ({"filters": [("a", "b")]}, TypeError, "filters="),
        ({"filters": {"": "b"}}, ValueError, "filters="),
        ({"filters": {5: "b"}}, TypeError, "filters="),
        ({"filters": {"a": 5}}, TypeError, "filters['a']="),
        ({"filters": {"a": None}}, TypeError, "filters['a']="),
        ({"filters": {"a": [True]}}, TypeError, "filters['a']="),
        ({"filters": {"a": {"b": True}}}, TypeError, "filters['a']="),
        ({"filters": {"a": []}}, ValueError, "filters['a']="),
        ({"filters": {"a": "\ud800"}}, ValueError, "filters['a']="),
        ({"filters": {"label": "a"}, "label": "b"}, ValueError, "label is given twice"),
        ({"filters": {"label": "a"}, "label": []}, ValueError, "label is given twice"),
        ({"filters": {"dangling": True}, "dangling": True}, ValueError, "dangling is given twice"),
        ({"filters": {"until": "5"}, "until": 5}, ValueError, "until is given twice"),
        ({"filters": {"before": "a"}, "before": "a"}, ValueError, "before is given twice"),
        ({"filters": {"since": "a"}, "since": "a"}, ValueError, "since is given twice"),
        ({"filters": {"reference": "a"}, "reference": "a"}, ValueError, "reference is given twice"),
    ],
    ids=ascii,
)
def test_a_bad_argument_is_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as raised:
        build_query(**arguments)
    assert type(raised.value) is error
    assert str(raised.value).startswith(text)
    str(raised.value).encode()  # fit for any log


# What is the caller's stays the caller's.


def test_an_iterator_is_used_up_once_and_the_question_can_be_answered_again() -> None:
    query = build_query(label=iter(["stage=prod"]), reference=(name for name in ["a"]))
    tagged = image("a", repo_tags=("a:1",), labels={"stage": "prod"})
    assert asked(query) == {"filters": {"label": {"stage=prod": True}}}
    assert answer(query, tagged) == answer(query, tagged) == ["a"]


def test_what_the_caller_passed_is_neither_changed_nor_watched() -> None:
    labels, filters, images = {"stage": "prod"}, {"x": ["y"]}, [image("a"), LABELLED[1]]
    query = build_query(label=labels, filters=filters, dangling=True)
    labels["stage"] = "dev"
    assert query.select(images, podman=True) == [LABELLED[1]]
    assert (labels, filters) == ({"stage": "dev"}, {"x": ["y"]})
    assert len(images) == 2


def test_a_str_of_another_class_is_its_text() -> None:
    class Name(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    assert asked(build_query(before=Name("a"))) == {"filters": {"before": {"a": True}}}
    assert answer(build_query(label=Name("stage")), LABELLED[1], podman=True) == ["prod"]


# Any argument at all.

any_text = st.text(st.characters(exclude_categories=()), max_size=5)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | any_text
    | st.sampled_from(["k=v", "k!=v", "[a-", "*", b"k", NOON])
    | st.datetimes()
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(any_text | st.none(), inner, max_size=3)
    ),
    max_leaves=4,
)
FLAGS = {"all": "all", "shared_size": "shared-size", "manifests": "manifests"}
KEYWORDS = [
    *("dangling", "label", "exclude_label", "reference", "before", "since", "until", "filters"),
    *(*FLAGS, "identity"),
]


@given(st.dictionaries(st.sampled_from(KEYWORDS), anything, max_size=3))
def test_any_argument_is_refused_or_asks_something(arguments: dict[str, Any]) -> None:
    try:
        query = build_query(**arguments)
    except (TypeError, ValueError) as error:
        str(error).encode()
        return
    assert query.asked.params.isascii()
    assert query.asked.params.isprintable()
    assert asked(query).keys() <= {"all", "filters", "shared-size", "manifests", "identity"}
    query.select([image("a", repo_tags=("a:1",), labels={"k": "v"}), image("b")])


text = st.text(min_size=1, max_size=8)
label = text.filter(lambda label: "!" not in label and not label.startswith("="))
key = label.filter(lambda key: "=" not in key)


@given(
    flags=st.dictionaries(st.sampled_from([*FLAGS]), st.booleans()),
    identity=st.booleans(),
    labels=st.lists(label, max_size=3),
    pairs=st.dictionaries(key, key, max_size=3),
    names=st.dictionaries(st.sampled_from(["before", "since"]), text),
    dangling=st.none() | st.booleans(),
    filters=st.dictionaries(text.map("x-".__add__), st.lists(text, min_size=1, max_size=3)),
)
def test_the_engine_is_asked_exactly_what_was_meant(
    flags: dict[str, bool],
    identity: bool,
    labels: list[str],
    pairs: dict[str, str],
    names: dict[str, str],
    dangling: bool | None,
    filters: dict[str, list[str]],
) -> None:
    simple: dict[str, Any] = {**flags, **names, "identity": identity, "dangling": dangling}
    query = build_query(label=[*labels, pairs], filters=filters, **simple)
    meant = {name: set(values) for name, values in filters.items()}
    meant |= {name: {value} for name, value in names.items()}
    if labels or pairs:
        meant["label"] = {*labels, *(f"{name}={value}" for name, value in pairs.items())}
    if dangling is False:
        meant["dangling"] = {"false"}
    expected: dict[str, Any] = {FLAGS[flag]: "1" for flag, value in flags.items() if value}
    if identity:
        expected |= {"manifests": "1", "identity": "1"}
    if meant:
        expected["filters"] = {name: dict.fromkeys(values, True) for name, values in meant.items()}
    assert asked(query) == expected
