"""What an image's name means, and which patterns find it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_images.images.references import Reference, expression, reference_test

HEX = "0123456789abcdef" * 4


def path_match(pattern: str, name: str) -> bool:
    return re.fullmatch(expression(pattern), name) is not None


DIGEST = f"sha256:{HEX}"


# Expectations: github.com/distribution/reference 2.8.2, but for `localhost/`, which is Podman's and
# not familiar there, and for what newer versions of it take (upper-case hosts, IPv6).
@pytest.mark.parametrize(
    ("text", "parts", "familiar", "canonical"),
    [
        pytest.param(
            "alpine:3",
            ("docker.io", "alpine", "3", None),
            "alpine:3",
            "docker.io/library/alpine:3",
            id="Docker's short name",
        ),
        pytest.param(
            "docker.io/library/alpine:3",
            ("docker.io", "alpine", "3", None),
            "alpine:3",
            "docker.io/library/alpine:3",
            id="Podman's name of the same",
        ),
        pytest.param(
            "index.docker.io/alpine",
            ("docker.io", "alpine", None, None),
            "alpine",
            "docker.io/library/alpine",
            id="the old name of the Hub",
        ),
        pytest.param(
            "docker.io/library/a/b",
            ("docker.io", "library/a/b", None, None),
            "library/a/b",
            "docker.io/library/a/b",
            id="library is no prefix of a deeper path",
        ),
        pytest.param(
            "team/web:1.0",
            ("docker.io", "team/web", "1.0", None),
            "team/web:1.0",
            "docker.io/team/web:1.0",
            id="someone's repository of the Hub",
        ),
        pytest.param(
            "localhost/team/web:1.0",
            ("localhost", "team/web", "1.0", None),
            "localhost/team/web:1.0",
            "localhost/team/web:1.0",
            id="Podman's name of what has no registry",
        ),
        pytest.param(
            "localhost:5000/web",
            ("localhost:5000", "web", None, None),
            "localhost:5000/web",
            "localhost:5000/web",
            id="a registry on this machine is a registry",
        ),
        pytest.param(
            "reg:5000/team/web:2",
            ("reg:5000", "team/web", "2", None),
            "reg:5000/team/web:2",
            "reg:5000/team/web:2",
            id="registry with a port",
        ),
        pytest.param(
            "reg:5000",
            ("docker.io", "reg", "5000", None),
            "reg:5000",
            "docker.io/library/reg:5000",
            id="without a slash it is a tag",
        ),
        pytest.param(
            f"ghcr.io/o/n:t@{DIGEST}",
            ("ghcr.io", "o/n", "t", DIGEST),
            f"ghcr.io/o/n:t@{DIGEST}",
            f"ghcr.io/o/n:t@{DIGEST}",
            id="tag and digest",
        ),
        pytest.param(
            f"127.0.0.1:5000/team/api@{DIGEST}",
            ("127.0.0.1:5000", "team/api", None, DIGEST),
            f"127.0.0.1:5000/team/api@{DIGEST}",
            f"127.0.0.1:5000/team/api@{DIGEST}",
            id="digest",
        ),
        pytest.param(
            f"alpine@{DIGEST}",
            ("docker.io", "alpine", None, DIGEST),
            f"alpine@{DIGEST}",
            f"docker.io/library/alpine@{DIGEST}",
            id="digest of the Hub",
        ),
        pytest.param(
            "[::1]:5000/x",
            ("[::1]:5000", "x", None, None),
            "[::1]:5000/x",
            "[::1]:5000/x",
            id="IPv6",
        ),
        pytest.param(
            "REG/x", ("REG", "x", None, None), "REG/x", "REG/x", id="an upper-case host is a host"
        ),
        pytest.param(DIGEST, ("", "", None, DIGEST), DIGEST, DIGEST, id="a digest without a name"),
        pytest.param(
            f"app:{HEX[:40]}",
            ("docker.io", "app", HEX[:40], None),
            f"app:{HEX[:40]}",
            f"docker.io/library/app:{HEX[:40]}",
            id="a git commit as tag is no digest",
        ),
    ],
)
def test_a_name_is_split_as_docker_splits_it(
    text: str, parts: tuple[str, str, str | None, str | None], familiar: str, canonical: str
) -> None:
    reference = Reference.parse(text)
    found = (reference.registry, reference.path, reference.tag, reference.digest)
    assert found == parts
    assert str(reference) == familiar
    assert reference.canonical == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "<none>:<none>",
        "<none>@<none>",
        "Alpine",
        "a//b",
        "a/",
        "/a",
        ":tag",
        "a:",
        "a:b:c",
        "a@sha256:short",
        "a_-b",
        "-.example/x",
        "naïve",
        "x\n",
        "moby-dangling@",
        f"a:{'t' * 129}",
    ],
)
def test_what_is_no_name_is_kept_whole(text: str) -> None:
    reference = Reference.parse(text)
    assert reference == Reference("", text)
    assert str(reference) == reference.canonical == text


@given(st.text() | st.text("aA0/:@.-_[]") | st.from_regex(r"[a-z.]{1,9}(/[a-z]{1,9}){0,3}(:\w+)?"))
def test_any_text_is_a_reference_and_its_canonical_form_is_another_spelling_of_it(
    text: str,
) -> None:
    reference = Reference.parse(text)
    assert Reference.parse(reference.canonical) == reference


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        ("docker.io/library/alpine:3", "alpine"),
        ("team/web:1", "team/web"),
        ("ghcr.io/team/web:1", "ghcr.io/team/web"),
        ("registry.example.com:5000/shop/web@" + DIGEST, "registry.example.com:5000/shop/web"),
        ("localhost/web:1", "localhost/web"),
        (DIGEST, ""),
    ],
)
def test_a_repository_is_what_docker_prints_with_its_registry(text: str, repository: str) -> None:
    assert Reference.parse(text).repository == repository


def test_a_reference_is_a_value() -> None:
    assert len({Reference.parse("alpine:3"), Reference.parse("docker.io/library/alpine:3")}) == 1


# Each row was asked of Go 1.27's path.Match.
@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("*", "", True),
        ("*", "abc", True),
        ("*", "a/b", False),
        ("*/*", "a/b", True),
        ("*/b", "a/b", True),
        ("a*", "a/b", False),
        ("a*/b", "a/c/b", False),
        ("a*b*c", "axbxc", True),
        ("a*b*c", "axbxcx", False),
        ("*ab", "aab", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("a***b", "ab", True),
        ("?", "a", True),
        ("?", "/", False),
        ("?", "", False),
        ("?", "é", True),
        ("?", "\n", True),
        ("[a-c]", "b", True),
        ("[a-c]", "d", False),
        ("[^a-c]", "d", True),
        ("[^a]", "/", True),
        ("[!-/]", "/", True),
        ("[/]", "/", True),
        ("[c-a]", "b", False),
        ("[^c-a]", "b", True),
        ("[c-ax]", "x", True),
        ("[a^]", "^", True),
        ("[!a]", "!", True),
        ("[[]", "[", True),
        (r"[\]]", "]", True),
        (r"[\-x]", "-", True),
        (r"[a\-c]", "-", True),
        (r"[a\-c]", "b", False),
        ("[&&a]", "&", True),
        ("]", "]", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        (r"\\", "\\", True),
        ("a.c", "abc", False),
        ("(a)+$", "(a)+$", True),
        ("*[ab]/c", "xa/c", True),
        ("A", "a", False),
        ("*[^x]*c", "ab/c", False),
    ],
)
def test_a_pattern_matches_as_go_matches(pattern: str, name: str, matches: bool) -> None:
    assert path_match(pattern, name) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "[", "[]", "[]a]", "[^", "[^]", "[^]a]", "[-]", "[-x]", "[x-]", "[a-b-c]", "[a", "[a-",
        "a[", "\\", "a\\", "[\\", "[a\\", "*[", "[]*", "[a]*[", "\\\\\\",
    ],
)  # fmt: skip
def test_a_pattern_that_go_calls_bad_is_refused_whatever_the_name(pattern: str) -> None:
    with pytest.raises(ValueError, match="bad pattern"):
        expression(pattern)
    with pytest.raises(ValueError, match="bad pattern"):
        reference_test([pattern])


@given(st.text())
def test_an_escaped_text_matches_itself_only(text: str) -> None:
    pattern = "".join(f"\\{char}" for char in text)
    assert path_match(pattern, text)
    assert not path_match(pattern, f"{text}x")


@given(st.text("ab/*?[]^-\\"), st.text("ab/]^-"))
def test_a_pattern_is_either_refused_or_answers(pattern: str, name: str) -> None:
    try:
        expression(pattern)
    except ValueError:
        return
    path_match(pattern, name)


def test_a_pattern_of_many_stars_takes_no_exponential_time() -> None:
    # With backtracking between the stars this would take longer than the universe has.
    assert not path_match("*a" * 30 + "b", "a" * 2000)


DOCKER = {
    "alpine": ("alpine:3.20", f"alpine@{DIGEST}"),
    "local": ("x:1",),
    "own": ("localhost/y:1",),
    "team": ("reg:5000/team/web:1.0", "team/web:1.0"),
}
PODMAN = {
    "alpine": ("docker.io/library/alpine:3.20", f"docker.io/library/alpine@{DIGEST}"),
    "local": ("localhost/x:1",),
    "own": ("localhost/y:1",),
    "team": ("reg:5000/team/web:1.0", "docker.io/team/web:1.0"),
}


@pytest.mark.parametrize(
    ("engine", "podman"),
    [pytest.param(DOCKER, False, id="Docker"), pytest.param(PODMAN, True, id="Podman")],
)
@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["alpine"], ["alpine"]),
        (["alpine:3*"], ["alpine"]),
        (["alpine:4*"], []),
        (["library/alpine"], ["alpine"]),
        (["library/alp*"], ["alpine"]),
        (["docker.io/alpine"], ["alpine"]),
        (["docker.io/library/alpine"], ["alpine"]),
        (["docker.io/library/alpine:3*"], ["alpine"]),
        (["index.docker.io/library/alpine:3.20"], ["alpine"]),
        (["docker.io/alpine:3.20"], ["alpine"]),
        ([f"alpine@{DIGEST}"], ["alpine"]),
        ([f"docker.io/library/alpine@{DIGEST}"], ["alpine"]),
        (["alpine@sha256:0123*"], ["alpine"]),
        ([DIGEST], []),
        (["alpin"], []),
        (["ALPINE"], []),
        (["x"], ["local"]),
        (["x:1"], ["local"]),
        (["localhost/y"], ["own"]),
        (["localhost/y:*"], ["own"]),
        (["reg:5000/team/*"], ["team"]),
        (["reg:5000/team/web:1.0"], ["team"]),
        (["reg:5000/*"], []),
        (["*:5000/*/*"], ["team"]),
        (["team/*"], ["team"]),
        (["*web*"], []),
        (["x", "alpine"], ["alpine", "local"]),
        (["x", "team/?eb"], ["local", "team"]),
    ],
    ids=repr,
)
def test_the_same_pattern_finds_the_same_images_on_docker_and_podman(
    engine: dict[str, tuple[str, ...]], podman: bool, patterns: list[str], found: list[str]
) -> None:
    test = reference_test(patterns, podman=podman)
    assert [image for image, names in engine.items() if test(names)] == found


@pytest.mark.parametrize(
    ("pattern", "docker", "podman"),
    [
        ("y", [], ["own"]),
        ("*", ["alpine", "local"], ["alpine", "local", "own"]),
        ("*:1", ["local"], ["local", "own"]),
    ],
)
def test_localhost_is_a_registry_of_its_own_to_docker(
    pattern: str, docker: list[str], podman: list[str]
) -> None:
    here, there = reference_test([pattern]), reference_test([pattern], podman=True)
    assert [image for image, names in DOCKER.items() if here(names)] == docker
    assert [image for image, names in PODMAN.items() if there(names)] == podman


def test_a_text_too_long_to_be_a_name_matches_nothing() -> None:
    # It would hold up the event loop: 16 MiB took five seconds.
    assert not reference_test(["*a*b*c*"])(["abc" * 6_000_000])
    assert reference_test(["*a*b*c*"])(["abc" * 100])


def test_a_name_without_a_registry_belongs_to_docker_io_on_docker_and_to_localhost_on_podman() -> (
    None
):
    """The one difference: say `x`, which means the same on both."""
    full, local = reference_test(["docker.io/library/x"]), reference_test(["localhost/x"])
    assert (full(DOCKER["local"]), local(DOCKER["local"])) == (True, False)
    assert (full(PODMAN["local"]), local(PODMAN["local"])) == (False, True)


def test_a_digest_without_a_name_is_found_by_itself_only() -> None:
    assert reference_test([DIGEST])([DIGEST])
    assert reference_test(["sha256:*"])([DIGEST])
    assert not reference_test(["sha256"])([DIGEST])
    assert not reference_test(["other"])([DIGEST])


def test_no_name_matches_nothing() -> None:
    assert not reference_test(["*"])([])
    assert not reference_test([])(["alpine:3"])
