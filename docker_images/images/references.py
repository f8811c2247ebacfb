"""What an image's name means: docker's rules for references, and Go's for patterns over them.

Pure, and total for what an engine sends: any text becomes a `Reference`, nothing raises. Only a
pattern, which the user writes, can be refused.

Rules of `github.com/distribution/reference` (`normalize.go`, `regexp.go`, `helpers.go`) and of Go's
`path.Match`. Refuses to know where a name comes from and what it points to.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

__all__ = ["Reference", "expression", "is_pattern", "reference_test"]

_HUB = "docker.io"
_LOCAL = "localhost"
"""Podman's registry of names that were given without one; of Docker's like any other."""
LONGEST = 4096
"""A longer text is no name: Docker's have 255 characters, with a tag 384. It matches nothing."""
_SPECIAL = r"[*?\[\\]"
"""What makes a pattern more than a name."""

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REMOTE = (
    rf"({_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?"
    r"(?:@([a-zA-Z][a-zA-Z0-9]*(?:[-_+.][a-zA-Z][a-zA-Z0-9]*)*:[a-fA-F0-9]{32,}))?"
)
# Only these: `name:40 hex digits` is a name with a git commit as its tag.
_BARE_DIGEST = r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}"


class Reference(msgspec.Struct, frozen=True, gc=False):
    """A name of an image, split into its parts: `registry/path:tag@digest`.

    `str()` returns the familiar form, as the docker command prints it, for Docker and Podman alike:
    `alpine:3` for `docker.io/library/alpine:3`. `localhost/web:1` stays as it is: for Docker that
    is just another registry, and Podman uses it for images that are built locally.

    Text that is not a reference, which no engine should send, becomes a `path` without a registry.
    """

    registry: str
    """Host and port, such as `"docker.io"`, `"ghcr.io"` or `"localhost"`; `""` for a digest without
    a name."""
    path: str
    """The path within the registry, such as `"team/web"`; `"alpine"` for docker.io's
    `library/alpine`. `""` for a digest without a name."""
    tag: str | None = None
    """Such as `"latest"`; None if the name has none."""
    digest: str | None = None
    """Such as `"sha256:…"`; None if the name has none."""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Split a tag or digest from an engine into its parts; never raises."""
        if re.fullmatch(_BARE_DIGEST, text):
            return cls("", "", None, text)
        head, slash, rest = text.partition("/")
        if slash and (head == _LOCAL or "." in head or ":" in head or head != head.lower()):
            registry, remote = head, rest
        else:
            registry, remote = _HUB, text
        parts = re.fullmatch(_REMOTE, remote)
        if parts is None or not (registry is _HUB or re.fullmatch(_DOMAIN, registry)):
            return cls("", text)
        path, tag, digest = parts.groups()
        if registry == "index.docker.io":
            registry = _HUB
        if registry == _HUB and path.count("/") == 1:
            path = path.removeprefix("library/")
        return cls(registry, path, tag, digest)

    @property
    def repository(self) -> str:
        """What docker shows in the column REPOSITORY: `"alpine"`, `"ghcr.io/team/web"`.

        This includes the registry, so images of different registries never share a repository.
        """
        return self.path if self.registry in ("", _HUB) else f"{self.registry}/{self.path}"

    @property
    def canonical_name(self) -> str:
        """The full form without tag and digest: `"docker.io/library/alpine"`."""
        if not self.registry:
            return self.path
        official = self.registry == _HUB and "/" not in self.path
        return f"{self.registry}/{'library/' if official else ''}{self.path}"

    @property
    def canonical(self) -> str:
        """The full form: `"docker.io/library/alpine:3"`."""
        return self.canonical_name + self._suffix

    def __str__(self) -> str:
        return self.repository + self._suffix

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        if self.digest is None:
            return tag
        return f"{tag}@{self.digest}" if self.path else self.digest


def is_pattern(text: str) -> bool:
    """Whether a text is more than a name: whether anything in it stands for other text."""
    return re.search(_SPECIAL, text) is not None


def reference_test(
    patterns: Iterable[str], *, podman: bool = False
) -> Callable[[Iterable[str]], bool]:
    """Compile patterns to a test over names as an engine lists them: does any match any?

    `podman`: whether `x` also finds `localhost/x`, as Podman calls what is built here.

    A pattern is held against the familiar and the canonical form of a name, each with and without
    what follows the name, as `reference.FamiliarMatch` does since Docker 29.5. So `alpine`,
    `alpine:3*`, `library/alpine` and `docker.io/library/alpine` find `alpine:3.20` on every engine.
    A bad pattern is a `ValueError`.
    """
    wanted = dict.fromkeys(spelling for pattern in patterns for spelling in _spellings(pattern))
    matches: Callable[[str], object]
    if any(re.search(_SPECIAL, pattern) for pattern in wanted):
        matches = re.compile("|".join(map(expression, wanted))).fullmatch
    else:
        matches = wanted.__contains__

    # Names repeat, with other tags and with a digest; None stands for one that matches by itself.
    seen: dict[str, tuple[str, ...] | None] = {}

    def forms_of(name: str) -> tuple[str, ...] | None:
        reference = Reference.parse(name)
        names = {reference.repository, reference.canonical_name}
        if podman and reference.registry == _LOCAL:
            names.add(reference.path)
        forms = tuple(names)
        return None if any(map(matches, forms)) else forms

    def test(names: Iterable[str]) -> bool:
        for text in names:
            if len(text) > LONGEST:
                continue
            if text.startswith("sha") and re.fullmatch(_BARE_DIGEST, text):
                if matches(text):
                    return True
                continue
            end = text.find("@")
            end = len(text) if end < 0 else end
            colon = text.find(":", text.rfind("/", 0, end) + 1, end)
            end = end if colon < 0 else colon
            name = text[:end]
            forms = seen[name] if name in seen else seen.setdefault(name, forms_of(name))
            if forms is None:
                return True
            suffix = text[end:]
            for form in forms:
                if matches(form + suffix):
                    return True
        return False

    return test


def _spellings(pattern: str) -> Iterable[str]:
    """The pattern, and what else its writer means by it."""
    yield pattern
    if pattern.startswith("library/"):
        yield f"{_HUB}/{pattern}"
    elif not re.search(_SPECIAL, pattern):
        yield Reference.parse(pattern).canonical  # docker.io/alpine, index.docker.io/library/alpine


# What stands in a pattern, one after the other: a class, an escaped character, any other character.
_CHAR = r"(?:\\.|[^\]\\-])"
_TOKEN = rf"(?s:\[(\^?+)((?:{_CHAR}(?:-{_CHAR})?)++)\]|\\(.)|([^\[\\]))"


def expression(pattern: str) -> str:
    """A regular expression for a whole name, from a pattern of Go's `path.Match`.

    A bad pattern is a `ValueError`, as where Go says `ErrBadPattern`, whatever the name.

    As in Go, what follows a `*` is looked for from left to right and never reconsidered, except for
    the last piece, which must end the name. The atomic groups say just that, so that no pattern
    takes exponential time.
    """
    if not re.fullmatch(f"(?:{_TOKEN})*+", pattern):
        shown = pattern if len(pattern) <= 80 else f"{pattern[:79]}…"
        needs = "a '[' needs its ']' and something in between, a '\\' a character"
        raise ValueError(f"bad pattern {shown!r}: {needs}")
    pieces = [""]  # what stands between the stars
    for negated, ranges, escaped, char in re.findall(_TOKEN, pattern):
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        else:
            pieces[-1] += _class(negated, ranges) if ranges else re.escape(escaped or char)
    first, *others = pieces
    if not others:
        return first
    *middle, last = others
    atomic = "".join(f"(?>[^/]*?{piece})" for piece in middle if piece)
    return f"{first}{atomic}[^/]*?{last}"


def _class(negated: str, ranges: str) -> str:
    """The expression for a character class; a range from `z` to `a` holds nothing."""
    found = re.findall(f"(?s)({_CHAR})(?:-({_CHAR}))?", ranges)
    ends = [(low[-1], (high or low)[-1]) for low, high in found]
    spans = [f"{re.escape(low)}-{re.escape(high)}" for low, high in ends if low <= high]
    if spans:
        return f"[{negated}{''.join(spans)}]"
    return r"[\s\S]" if negated else r"(?!)"
