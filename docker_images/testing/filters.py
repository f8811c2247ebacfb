"""How engines filter a list, and what they say of a filter they do not like.

Pure. Both dialects are here, as each engine's own code has them: moby's
`daemon/{images,containerd}/image_list.go` and `api/types/filters`, Podman's `libimage/filters.go`.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import msgspec

from docker_images.testing.images import (
    FakeImage,
    canonical,
    familiar,
    find,
    repository,
    split_name,
)
from docker_images.testing.shapes import Shape

__all__ = ["RefusedError", "docker_filters", "go_match", "podman_filters"]

Filters: TypeAlias = dict[str, dict[str, bool]]
Keep: TypeAlias = Callable[[FakeImage], bool]


class RefusedError(Exception):
    """The engine answers with an error."""

    status: int
    message: str
    cause: str

    def __init__(self, status: int, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.cause = message if cause is None else cause


def go_match(pattern: str, name: str) -> bool:
    """Go's `path.Match`; a pattern it calls bad is a `ValueError`."""
    return re.fullmatch(_translated(pattern), name, re.DOTALL) is not None


_CLASS = re.compile(r"\[(\^?)((?:(?:\\.|[^]\\-])(?:-(?:\\.|[^]\\-]))?)+)\]", re.DOTALL)


_RANGE = re.compile(r"(\\.|[^]\\-])(?:-(\\.|[^]\\-]))?", re.DOTALL)


def _translated(pattern: str) -> str:
    bad = ValueError("syntax error in pattern")
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\":
            if at == len(pattern):
                raise bad
            out.append(re.escape(pattern[at]))
            at += 1
        elif char == "[":
            found = _CLASS.match(pattern, at - 1)
            if found is None:
                raise bad
            ends = [(low[-1], (high or low)[-1]) for low, high in _RANGE.findall(found[2])]
            ranges = [f"{re.escape(low)}-{re.escape(high)}" for low, high in ends if low <= high]
            out.append(f"[{found[1]}{''.join(ranges)}]" if ranges else "." if found[1] else "(?!)")
            at = found.end()
        else:
            out.append(re.escape(char))
    return "".join(out)


def docker_filters(
    shape: Shape,
    images: Sequence[FakeImage],
    text: str,
    singular: str,
    *,
    everything: bool,
    now: float,
) -> list[FakeImage]:
    """What Docker lists: filtered, with the tags that a `reference` filter leaves."""
    filters = _docker_parse(shape, text)
    if singular:
        filters.setdefault("reference", {})[singular] = True
    word = "Invalid" if shape.old_filters else "invalid"
    for key in filters:
        if key not in shape.filters:
            raise RefusedError(400, f"{word} filter '{key}'")
    dangling = _docker_dangling(shape, filters, word)
    keep: list[Keep] = []
    for key, older in (("before", True), ("since", False)):
        values = filters.get(key, {})
        # Docker up to 23 lets one of several win, whichever Go's map gives last.
        counting = list(values)[-1:] if shape.old_filters else values
        keep += [_compared(_docker_find(shape, images, value), older, shape) for value in counting]
    keep += [_until(shape, value, now) for value in filters.get("until", {})]
    for key, negated in (("label", False), ("label!", True)):
        keep += [_docker_label(shape, value, negated) for value in filters.get(key, {})]
    parents = {held.parent for held in images if held.parent}
    # With dangling=true a graph driver looks only at images that nothing was built on.
    heads = dangling is True and shape.store == "graph"
    listed: list[FakeImage] = []
    for held in images:
        named = _is_named(held)
        visible = held.id not in parents or ((everything or named) and not heads)
        if not visible or not all(wanted(held) for wanted in keep):
            continue
        left = _referenced(shape, held, filters.get("reference"))
        if left is None:
            continue
        if dangling and left.dangling_record and shape.store == "containerd":
            listed.append(_named(left, [], []))
        elif _as_dangling(shape, left, dangling):
            listed.append(left)
    return listed


def _as_dangling(shape: Shape, held: FakeImage, dangling: bool | None) -> bool:
    if dangling is None:
        return True
    if shape.store == "graph":
        # An image with a digest and no tag is on both sides.
        return not held.tags if dangling else _is_named(held)
    return dangling is not _is_named(held)


def _is_named(held: FakeImage) -> bool:
    # The bare digest that a list shows of what is no image is not a name.
    return bool(held.tags) or any("@" in digest for digest in held.digests or ())


def _docker_parse(shape: Shape, text: str) -> Filters:
    if not text:
        return {}
    try:
        given = _go_json(text)
        try:
            return _maps(given)
        except ValueError as first:
            with suppress(ValueError):
                lists = _lists(given, shape)
                return {key: dict.fromkeys(values, True) for key, values in lists.items()}
            raise first
    except ValueError as error:
        if shape.old_filters:
            raise RefusedError(500, str(error)) from None
        raise RefusedError(400, "invalid filter") from None


def _maps(given: object) -> Filters:
    """What Go decodes into a `map[string]map[string]bool`, or a `ValueError` with its text."""
    filters: Filters = {}
    for key, value in _object(given, "map[string]map[string]bool").items():
        filters[key] = {}
        for one, yes in _object(value, "map[string]bool").items():
            if not isinstance(yes, bool):
                raise _unfit(yes, "bool")
            filters[key][one] = yes
    return filters


def _lists(given: object, shape: Shape) -> dict[str, list[str]]:
    """What Go decodes into a `map[string][]string`, or a `ValueError` with its text."""
    told = shape.podman >= (5, 8)  # built with a Go that says where
    filters: dict[str, list[str]] = {}
    for key, value in _object(given, "map[string][]string").items():
        if not isinstance(value, list):
            raise _unfit(value, "[]string", f"Go struct field .{key}" if told else "Go value")
        filters[key] = []
        for number, one in enumerate(cast("list[object]", value)):
            if not isinstance(one, str):
                raise _unfit(one, "string", f".{key}.{number}" if told else "Go value")
            filters[key].append(one)
    return filters


def _object(value: object, wanted: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _unfit(value, wanted)
    return cast("dict[str, object]", value)


def _unfit(value: object, wanted: str, place: str = "Go value") -> ValueError:
    kinds: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "bool"}
    kind = kinds.get(type(value), "number")
    return ValueError(f"json: cannot unmarshal {kind} into {place} of type {wanted}")


def _go_json(text: str) -> Any:
    """JSON, with the errors of Go's decoder for the commonest mistakes."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
            raise ValueError("unexpected end of JSON input") from None
        where = {
            "Expecting property name": "looking for beginning of object key string",
            "Expecting ':'": "after object key",
            "Expecting ','": "after object key:value pair",
            "Extra data": "after top-level value",
        }
        place = next(
            (go for start, go in where.items() if error.msg.startswith(start)),
            "looking for beginning of value",
        )
        rest = text[error.pos :]
        for literal in ("null", "true", "false"):
            if place == "looking for beginning of value" and rest[0] == literal[0]:
                same = next(n for n in range(9) if literal[: n + 1] != rest[: n + 1])
                if same == len(rest):
                    raise ValueError("unexpected end of JSON input") from None
                raise ValueError(
                    f"invalid character '{rest[same]}' in literal {literal} "
                    f"(expecting '{literal[same]}')"
                ) from None
        raise ValueError(f"invalid character '{text[error.pos]}' {place}") from None


def _docker_dangling(shape: Shape, filters: Filters, word: str) -> bool | None:
    values = filters.get("dangling")
    if values is None:
        return None
    asked = f"{word} filter 'dangling=[{' '.join(values)}]'"
    if shape.old_filters:
        if not values or values.get("true"):
            return True
        if values.get("false"):
            return False
        raise RefusedError(400, asked)
    if not values:
        raise RefusedError(400, f"{word} filter 'dangling'")
    yes = values.get("1", False) or values.get("true", False)
    no = values.get("0", False) or values.get("false", False)
    if yes == no:
        raise RefusedError(400, asked)
    return yes


def _docker_find(shape: Shape, images: Sequence[FakeImage], name: str) -> FakeImage:
    held = find(images, name)
    if held is not None:
        return held
    if split_name(name)[0] != split_name(name)[0].lower():
        whole = "" if shape.old_filters else f"({split_name(canonical(name))[0]}) "
        whole = whole.replace("docker.io/", "")
        raise RefusedError(
            400, f"invalid reference format: repository name {whole}must be lowercase"
        )
    tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
    raise RefusedError(404, f"No such image: {familiar(tagged)}")


_ZERO = -62135596800


def _compared(other: FakeImage, older: bool, shape: Shape) -> Keep:
    theirs = _created(other, shape)
    if theirs is not None and shape.store == "graph" and not shape.old_filters:
        # Go's zero time is none; `since` takes the latest of several, beginning with that.
        theirs = None if theirs == _ZERO or (not older and theirs < _ZERO) else theirs

    def keep(held: FakeImage) -> bool:
        ours = _created(held, shape)
        # To Docker since 25 a time that nobody told is as good as no filter.
        return theirs is None or (ours is not None and (ours < theirs if older else ours > theirs))

    return keep


def _created(held: FakeImage, shape: Shape) -> float | None:
    if held.created is not None:
        return held.created
    if shape.store == "podman":
        return held.loaded
    # Go's zero time is a time like any other up to Docker 23; later it never matches.
    return shape.undated if shape.old_filters else None


def _until(shape: Shape, value: str, now: float) -> Keep:
    try:
        limit = _moment(value, now)
    except ValueError:
        status, text = shape.bad_until
        raise RefusedError(status, text.format(value)) from None

    def keep(held: FakeImage) -> bool:
        if shape.store == "containerd":
            return held.loaded is not None and held.loaded < limit
        created = _created(held, shape)
        return created is not None and created < limit

    return keep


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def _moment(value: str, now: float) -> float:
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    sign, duration = (-1, value[1:]) if value[:1] == "-" else (1, value.removeprefix("+"))
    if duration and _DURATION.sub("", duration) == "":
        parts = _DURATION.findall(duration)
        return now - sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _docker_label(shape: Shape, value: str, negated: bool) -> Keep:
    key, equals, wanted = value.partition("=")
    if shape.store == "containerd" and key.endswith("!") and equals:
        key, negated = key[:-1], not negated

    def keep(held: FakeImage) -> bool:
        if shape.store == "containerd" and held.without_config:
            return False
        labels = held.labels or {}
        has = key in labels and (not equals or labels[key] == wanted)
        if negated and equals and shape.negation_needs_label:
            return key in labels and not has
        return has is not negated

    return keep


def _referenced(
    shape: Shape, held: FakeImage, patterns: dict[str, bool] | None
) -> FakeImage | None:
    """The image with the names that match, or None; no name, no match."""
    if not patterns:
        return held
    try:
        tags = [tag for tag in held.tags if _familiar_match(shape, patterns, tag)]
        digests = [name for name in held.digests or () if _familiar_match(shape, patterns, name)]
        if shape.store == "containerd" and not _is_named(held):
            # It has a name nevertheless, which no list shows.
            nameless = f"moby-dangling@{held.id}"
            return held if _familiar_match(shape, patterns, nameless) else None
    except ValueError as error:
        # The containerd store drops the error, and with it every image.
        if shape.store == "graph":
            raise RefusedError(500, str(error)) from None
        return None
    if not tags and not digests:
        return None
    if shape.store == "containerd":
        # Names are what the filter looks at; the digest is made of one that is left.
        kept = {repository(tag) for tag in tags}
        digests = [name for name in digests if repository(name) in kept] or [
            f"{familiar(split_name(tags[0])[0])}@{held.id}" if tags else digests[0]
        ]
    return _named(held, tags, digests)


def _named(held: FakeImage, tags: list[str], digests: list[str]) -> FakeImage:
    return msgspec.structs.replace(held, tags=tags, digests=digests)


def _familiar_match(shape: Shape, patterns: Iterable[str], name: str) -> bool:
    candidates = [familiar(name), split_name(familiar(name))[0]]
    if shape.canonical_references:
        candidates += [canonical(name), split_name(canonical(name))[0]]
    return any(go_match(pattern, one) for pattern in patterns for one in candidates)


def podman_filters(
    shape: Shape,
    images: Sequence[FakeImage],
    text: str | None,
    singular: str,
    *,
    everything: bool,
    now: float,
) -> list[FakeImage]:
    """What Podman lists."""
    given = _podman_parse(shape, text)
    if singular:
        given.append(f"reference={singular}")
    parents = {held.parent.removeprefix("sha256:") for held in images if held.parent}
    if not images:
        # The filters are compiled only when there is something to filter.
        return []
    wanted: dict[str, list[Keep]] = {}
    split = [_podman_split(expression) for expression in given]
    flags: dict[str, bool] = {"manifest": False}
    if not everything and (
        shape.podman < (5,) or all(key != "intermediate" for key, _, _ in split)
    ):
        flags["intermediate"] = False
    for key, value, negated in split:
        if key in ("dangling", "intermediate", "manifest", "readonly", "containers"):
            flag = _podman_bool(key, value)
            if flags.setdefault(key, flag) is not flag:
                raise RefusedError(
                    500,
                    f'specifying "{key}" filter more than once with different values '
                    "is not supported",
                )
            keep = _podman_flag(key, flag, parents)
        else:
            keep = _podman_keep(shape, images, key, value, now)
        wanted.setdefault(key, []).append(_negated(keep) if negated else keep)
    for key in ("intermediate", "manifest"):
        if key in flags and key not in wanted:
            wanted[key] = [_podman_flag(key, flags[key], parents)]
    names = [value for key, value, negated in split if key == "reference" and not negated]
    exact = names[0] if len(split) == 1 and len(names) == 1 and shape.podman >= (5, 8) else None
    return [
        _podman_exact(held, exact)
        for held in images
        if all(
            (any if shape.podman < (5,) or key == "reference" else all)(
                keep(held) for keep in several
            )
            for key, several in wanted.items()
        )
    ]


def _podman_exact(held: FakeImage, exact: str | None) -> FakeImage:
    """Asked for one whole name, Podman 5.8 leaves the image's other names out."""
    if exact not in held.tags:
        return held
    digests = [name for name in held.digests or () if repository(name) == repository(exact)]
    return _named(held, [exact], digests)


def _negated(keep: Keep) -> Keep:
    return lambda held: not keep(held)


def _podman_parse(shape: Shape, text: str | None) -> list[str]:
    """`key=value` each. 4.3 joins the values of a list to one, as `a=b=c`."""
    if text is None:
        return []
    try:
        given = _go_json(text)
        try:
            maps = _maps(given).items()
            return [f"{key}={one}" for key, values in maps for one, yes in values.items() if yes]
        except ValueError:
            lists = _lists(given, shape).items()
            if shape.podman < (5,):
                return ["=".join((key, *values)) for key, values in lists]
            return [f"{key}={one}" for key, values in lists for one in values]
    except ValueError as error:
        raise RefusedError(500, str(error)) from None


def _podman_split(expression: str) -> tuple[str, str, bool]:
    key, unequal, value = expression.partition("!=")
    if not unequal:
        key, equals, value = expression.partition("=")
        if not equals:
            raise _podman_bad(expression)
    return key, value, bool(unequal)


def _podman_bad(expression: str) -> RefusedError:
    text = 'must be in the format "filter=value or filter!=value"'
    return RefusedError(500, f'invalid image filter "{expression}": {text}')


def _podman_bool(key: str, value: str) -> bool:
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise RefusedError(
        500,
        f'non-boolean value "{key}" for {value} filter: '
        f'strconv.ParseBool: parsing "{value}": invalid syntax',
        "invalid syntax",
    )


def _podman_flag(key: str, flag: bool, parents: set[str]) -> Keep:
    def keep(held: FakeImage) -> bool:
        parent = held.id.removeprefix("sha256:") in parents
        named = bool(held.tags or held.digests)
        is_so = {
            "dangling": not named and not parent,
            "intermediate": not named and parent,
            "containers": held.containers > 0,
        }
        return is_so.get(key, False) is flag

    return keep


def _podman_keep(
    shape: Shape, images: Sequence[FakeImage], key: str, value: str, now: float
) -> Keep:
    if key in ("after", "since", "before"):
        # A short name is looked for on this host first.
        other = find(images, f"localhost/{value}") or find(images, value)
        if other is None:
            raise RefusedError(500, *_podman_unknown(shape, key, value))
        return _compared(other, key == "before", shape)
    if key == "until":
        return _until(shape, value, now)
    if key == "label":
        name, _, wanted = value.partition("=")
        return lambda held: (
            name in (held.labels or {}) and wanted in ("", (held.labels or {})[name])
        )
    if key == "id":
        if shape.podman < (5,):
            return lambda held: held.id.removeprefix("sha256:") == value
        return lambda held: held.id.removeprefix("sha256:").startswith(value)
    if key == "digest" and shape.podman >= (5,):
        return lambda held: held.extra.get("Digest", held.id).startswith(value)
    if key == "reference":
        return lambda held: any(_podman_reference(value, name) for name in _podman_names(held))
    if shape.podman < (5,):
        raise RefusedError(500, f'unsupported image filter "{key}"')
    raise _podman_bad(key)


def _podman_names(held: FakeImage) -> list[str]:
    tagged = {repository(tag) for tag in held.tags}
    # A digest is a name of its own only where the image was pulled by it.
    return [*held.tags, *(name for name in held.digests or () if repository(name) not in tagged)]


def _podman_unknown(shape: Shape, key: str, value: str) -> tuple[str, str]:
    cause, detail = "image not known", f"{value}: image not known"
    if value.startswith("sha256:") and not re.fullmatch("sha256:[0-9a-f]{64}", value):
        cause = detail = f"{value}: invalid format: no 64-byte hexadecimal value"
    if split_name(value)[0] != split_name(value)[0].lower():
        cause = detail = "repository name must be lowercase"
        if shape.podman >= (5,):
            detail = f'parsing reference "{value}": {cause}'
    word = "filter filter" if shape.podman < (5,) else "filter"
    return f'could not find local image for {word} "{key}"="{value}": {detail}', cause


def _podman_reference(pattern: str, name: str) -> bool:
    whole = canonical(name)
    named, rest = split_name(whole)
    path = named.partition("/")[2]
    candidates = (whole, named, path, path + rest)
    short = [one.rpartition("/")[2] for one in (whole, named)]
    try:
        return any(go_match(pattern, one) for one in (*candidates, *short))
    except ValueError:
        # Podman drops the error.
        return False
