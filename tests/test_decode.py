"""From bytes to images while the bytes arrive: the list, and the error, of one whole decode."""

import json
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import NAMES, exchanges
from wire import SUMMARY

from docker_images import DockerClient, ImageSummary, ResponseFormatError
from docker_images.images.decode import SLICE, ImageDecoder


def rows(number: int, **more: Any) -> list[dict[str, Any]]:
    """Images of some 650 bytes, as Docker writes them."""
    return [
        {
            "Containers": -1,
            "Created": 1_700_000_000 - count,
            "Id": f"sha256:{count:064x}",
            "Labels": {"text": "x" * 200, "awkward": '},{"Containers":1,"]['},
            "RepoTags": [f"registry.example.com:5000/team/{count}:latest"],
            "Size": count,
            **more,
        }
        for count in range(number)
    ]


def dumps(value: object, **how: Any) -> bytes:
    return json.dumps(value, **({"separators": (",", ":")} | how)).encode() + b"\n"


def decode(body: bytes, cut: int) -> tuple[list[ImageSummary], int]:
    """What the decoder makes of a body that comes in pieces, and how many slices it took."""
    decoder, images, slices = ImageDecoder(), list[ImageSummary](), 0
    for start in range(0, len(body), cut):
        decoder.feed(body[start : start + cut])
        while found := decoder.step():
            images += found
            slices += 1
    return images + decoder.finish(), slices


BIG = rows(900)
MANIFESTS = [{"ID": "x", "Descriptor": {"size": 1}, "Size": {"Content": 2}}] * 3

BODIES = [
    pytest.param(dumps(BIG), True, id="as Docker writes it"),
    pytest.param(dumps(rows(600, Manifests=MANIFESTS)), True, id="with manifests inside"),
    pytest.param(dumps([dict(reversed(row.items())) for row in BIG]), True, id="other key first"),
    pytest.param(dumps([*BIG, {"Id": "x"}, *BIG]), True, id="one with another first key"),
    pytest.param(dumps([{"Id": "x"}, *BIG]), False, id="the first with another first key"),
    pytest.param(dumps(BIG, indent=2), False, id="indented"),
    pytest.param(dumps(BIG, separators=(", ", ": ")), False, id="with blanks"),
    pytest.param(b"  \n" + dumps(BIG), False, id="blanks before it"),
    pytest.param(dumps(rows(3)), False, id="short"),
    pytest.param(b"[]\n", False, id="no image"),
    pytest.param(b" [ ] ", False, id="no image, with blanks"),
    pytest.param(
        dumps(rows(900, Labels={"q": "\\" * 50 + '"},{"Containers":'})), True, id="a mark in text"
    ),
    # The mark of this list stands inside its images, too: a slice that ends there is no list.
    pytest.param(
        dumps([{"ID": "?", "Id": str(n), "Manifests": MANIFESTS * 9} for n in range(200)]),
        None,
        id="the mark inside an image",
    ),
]


@pytest.mark.parametrize(("body", "sliced"), BODIES)
@pytest.mark.parametrize("cut", [7777, 65536, 10**9])
def test_a_list_in_slices_is_the_list_in_one_piece(
    body: bytes, sliced: bool | None, cut: int
) -> None:
    images, slices = decode(body, cut)
    expected = json.loads(body)
    assert [(image.id, image.size) for image in images] == [
        (row["Id"], row.get("Size", 0)) for row in expected
    ]
    assert [len(image.manifests or ()) for image in images] == [
        len(row.get("Manifests", ())) for row in expected
    ]
    if sliced is not None:
        assert bool(slices) is sliced


def test_memory_holds_one_slice_and_not_the_body() -> None:
    decoder, body, most = ImageDecoder(), dumps(rows(4000)), 0
    for start in range(0, len(body), 4096):
        decoder.feed(body[start : start + 4096])
        while decoder.step():
            pass
        most = max(most, len(decoder._window))
    assert len(body) > 8 * SLICE
    assert most < 2 * SLICE


# What is wrong, and where, counted from the start of the body however it was cut.


def wrong(number: int, **fields: Any) -> bytes:
    """900 images, one of them with something wrong."""
    return dumps([*BIG[:number], {**BIG[number], **fields}, *BIG[number + 1 :]])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(wrong(3, Labels=5), "$[3].Labels", id="early"),
        pytest.param(wrong(899, Labels=5), "$[899].Labels", id="late"),
        pytest.param(wrong(650, Id=None), "$[650].Id", id="no id"),
        pytest.param(wrong(650, RepoTags=["a", 5]), "$[650].RepoTags[1]", id="a tag of no text"),
        pytest.param(wrong(650, RepoTags=[None]), "$[650].RepoTags[0]", id="null among tags"),
        pytest.param(wrong(650, Labels={"a": None}), "$[650].Labels[...]", id="null for a label"),
        pytest.param(wrong(650, Created=1.5), "$[650].Created", id="half a second"),
        pytest.param(wrong(650, Size="5"), "$[650].Size", id="text for a number"),
        pytest.param(wrong(650, Size=None), "$[650].Size", id="null for a number"),
        pytest.param(wrong(650, Size=True), "$[650].Size", id="true for a number"),
        pytest.param(
            wrong(650, Manifests=[{"Kind": 3}]), "$[650].Manifests[0].Kind", id="deep inside"
        ),
        pytest.param(
            wrong(650, Manifests=[{}, None]), "$[650].Manifests[1]", id="null among manifests"
        ),
        pytest.param(dumps([*BIG, 5]), "$[900]", id="a number among images"),
        pytest.param(dumps([*BIG, None]), "$[900]", id="null among images"),
        pytest.param(dumps({"message": "no"}), "`array`, got `object`", id="an object"),
        pytest.param(b"null\n", "`array`, got `null`", id="null"),
        pytest.param(b"", "truncated", id="nothing, as Podman to digests=1"),
        pytest.param(b"\n", "truncated", id="a blank"),
        pytest.param(b"<html>", "malformed", id="HTML"),
        pytest.param(dumps(BIG)[:-1000], "truncated", id="cut off"),
        pytest.param(dumps(BIG) + b"[]", "trailing", id="something behind it"),
        pytest.param(b"\xef\xbb\xbf[]", "malformed", id="a byte order mark"),
        pytest.param(wrong(650, Labels={"a": "b"}).replace(b'"b"', b'"\xff"'), "UTF-8", id="Latin"),
        pytest.param(b'[{"Id":"a","x":' + b"[" * 10**6, "nested", id="nested too deeply"),
        pytest.param(b'[{"Id":"a","Size":1e400}]', "", id="a number too large for a float"),
        pytest.param(b'[{"Id":"a","Size":NaN}]', "malformed", id="NaN"),
        pytest.param(b'[{"Id":"a","Size":01}]', "", id="a leading zero"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: bytes, message: str) -> None:
    told = set()
    for cut in (7777, 65536, 10**9):
        with pytest.raises(ValueError) as raised:
            decode(body, cut)
        told.add(str(raised.value))
    (text,) = told
    assert message in text


def test_the_byte_of_malformed_json_is_counted_from_the_start() -> None:
    body = dumps(BIG)
    place = body.index(b'"Id":"sha256:' + b"%064x" % 350)
    broken = body[:place] + b"?" + body[place + 1 :]
    for cut in (7777, 10**9):
        with pytest.raises(ValueError, match=rf"\(byte {place}\)"):
            decode(broken, cut)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'[{"Id":"a","Id":"b"}]', id="a key given twice: the last counts"),
        pytest.param(b'[{"Id":"b","New":{"a":[1,null,{}]},"N":-1e9}]', id="unknown keys"),
        pytest.param(b'[{"Id":"\\u0062"}]', id="an escape"),
        pytest.param(b'[{"Id":"b","Size":9223372036854775807}]', id="as many bytes as Go can say"),
        pytest.param(b'\r\n\t[\n{ "Id" :\t"b" } ]\r\n', id="blanks everywhere"),
    ],
)
def test_odd_json_that_is_right_is_read(body: bytes) -> None:
    (found,) = decode(body, 5)[0]
    assert found.id == "b"


# Any JSON that an engine could send, through the client.


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**30)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=12) | st.sampled_from(["<none>:<none>", "image", "sha256:" + "a" * 64]),
    int: st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, -62135596800, -62167219200]),
    bool: st.booleans(),
}


def sent(shape: Any, junk: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What an engine could send for this: any key missing, null for a list or map, new keys.

    `junk` is what may stand in place of anything.
    """
    if isinstance(shape, list):
        return junk | st.none() | st.lists(sent(shape[0], junk), max_size=2)
    if not isinstance(shape, dict):
        return junk | SCALARS[shape]
    if str in shape:
        return junk | st.none() | st.dictionaries(st.text(max_size=5), SCALARS[str], max_size=2)
    known = {
        name.removesuffix("?"): sent(inner, junk) | (st.none() if name[-1] == "?" else st.nothing())
        for name, inner in shape.items()
    }
    return junk | st.builds(
        lambda found, more: {**more, **found},
        st.fixed_dictionaries({}, optional=known),
        st.dictionaries(st.text(max_size=8), JUNK, max_size=1),
    )


def bodies(junk: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = {key: shape for key, shape in SUMMARY.items() if key != "Id"}
    row = sent(fields, junk).filter(lambda row: isinstance(row, dict))
    named = st.builds(lambda row, id_: {**row, "Id": id_}, row, st.text(max_size=5))
    return st.lists(named, max_size=3)


async def listed(body: bytes) -> list[ImageSummary]:
    answer = httpx.Response(200, headers={"Api-Version": "1.55"}, content=body)
    client = DockerClient(transport=httpx.MockTransport(lambda _: answer))
    return await client.list_images(shared_size=True)


def outcome(body: bytes) -> list[ImageSummary] | str:
    """What the client makes of a body: a list, or what the error says. No other error passes."""
    try:
        return anyio.run(listed, body)
    except ResponseFormatError as error:
        return str(error)


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=100, suppress_health_check=SLOW)
@given(bodies(st.nothing()), st.booleans())
def test_whatever_an_engine_leaves_out_or_nulls_or_adds_is_read(
    rows: list[dict[str, Any]], indented: bool
) -> None:
    images = outcome(dumps(rows, ensure_ascii=False, indent=1 if indented else None))
    assert not isinstance(images, str)
    check(rows, images)


@settings(max_examples=100, suppress_health_check=SLOW)
@given(bodies(JUNK))
def test_anything_in_place_of_anything_is_read_or_told_with_its_place(
    rows: list[dict[str, Any]],
) -> None:
    images = outcome(dumps(rows))
    if isinstance(images, str):
        assert "`$[" in images
    else:
        check(rows, images)


def check(rows: list[dict[str, Any]], images: list[ImageSummary]) -> None:
    """The list is whole, and its helpers are total."""
    assert sorted(image.id for image in images) == sorted(row["Id"] for row in rows)
    for image in images:
        assert None not in (image.repo_tags, image.repo_digests, image.labels)
        assert image.containers != -1
        assert image.shared_size is None or image.shared_size >= 0
        assert isinstance(image.is_dangling, bool)
        assert len(image.references) <= len(image.repo_tags) + len(image.repo_digests)
        assert image.short_id is not None
        assert image.in_use in (True, False, None)
        assert (image.content_size is None) is (image.manifests is None)
        assert image.unpacked_size is None or image.manifests is not None
        assert len(image.available_platforms) <= len(image.platforms)
        assert image.created_at is None or image.created_at.tzinfo is not None


@settings(max_examples=100)
@given(JUNK | st.lists(JUNK, max_size=3))
def test_json_of_no_engine_is_a_format_error(value: object) -> None:
    found = outcome(dumps(value))
    assert found == [] if value == [] else isinstance(found, str)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_list_made_long_comes_in_slices(name: str) -> None:
    for request, exchange in exchanges(name).items():
        if request.endswith(("/images/json", "manifests=1")) and exchange["status"] == 200:
            body = exchange["body"].encode()
            one = body.strip()[1:-1]
            times = SLICE // len(one) + 2
            images, slices = decode(b"[" + b",".join([one] * times) + b"]\n", 8192)
            ids = [row["Id"] for row in json.loads(body)]
            assert [image.id for image in images] == ids * times, request
            assert slices
