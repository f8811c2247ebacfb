"""Which proxy is used: rows from the documented behaviour of golang.org/x/net/http/httpproxy."""

import pytest

from docker_images.address import without_password
from docker_images.endpoint.proxy import proxy_for
from docker_images.errors import EndpointError

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("env", "url"),
    [
        pytest.param({}, None, id="nothing set"),
        pytest.param({"HTTP_PROXY": "127.0.0.1:8080"}, "http://127.0.0.1:8080", id="address"),
        pytest.param({"HTTP_PROXY": "cache.corp:1"}, "http://cache.corp:1", id="name and port"),
        pytest.param({"HTTP_PROXY": "cache"}, "http://cache", id="one label"),
        pytest.param({"HTTP_PROXY": "https://cache"}, "https://cache", id="https proxy"),
        pytest.param({"HTTP_PROXY": "socks5://s"}, "socks5://s", id="socks5"),
        pytest.param({"HTTP_PROXY": "http://u:p@h:1"}, "http://u:p@h:1", id="credentials stay"),
        pytest.param({"HTTP_PROXY": "http://[::2]:1"}, "http://[::2]:1", id="IPv6"),
        pytest.param({"http_proxy": PROXY}, PROXY, id="lower case"),
        pytest.param({"HTTP_PROXY": PROXY, "http_proxy": "x"}, PROXY, id="upper case first"),
        pytest.param({"HTTP_PROXY": "", "http_proxy": PROXY}, PROXY, id="empty is unset"),
        pytest.param({"HTTPS_PROXY": PROXY}, None, id="HTTPS_PROXY is not for http"),
        pytest.param({"ALL_PROXY": PROXY, "all_proxy": PROXY}, None, id="ALL_PROXY is nobody's"),
        pytest.param({"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, None, id="NO_PROXY of all"),
        pytest.param({"HTTP_PROXY": PROXY, "no_proxy": "engine.corp"}, None, id="no_proxy"),
    ],
)
def test_the_variables_name_the_proxy_of_an_http_engine(
    env: dict[str, str], url: str | None
) -> None:
    assert proxy_for("http", "engine.corp", 2375, env) == url


@pytest.mark.parametrize(
    ("env", "url"),
    [
        pytest.param({"HTTP_PROXY": "h", "HTTPS_PROXY": "s"}, "http://s", id="both"),
        pytest.param({"HTTP_PROXY": "h"}, None, id="HTTP_PROXY is not for https"),
        pytest.param({"https_proxy": "s"}, "http://s", id="lower case"),
        pytest.param({"HTTPS_PROXY": "s", "REQUEST_METHOD": "GET"}, "http://s", id="CGI"),
    ],
)
def test_an_engine_behind_tls_has_its_own_variable(env: dict[str, str], url: str | None) -> None:
    assert proxy_for("https", "engine.corp", 2376, env) == url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"])
def test_loopback_never_passes_a_proxy(host: str) -> None:
    assert proxy_for("http", host, 2375, {"HTTP_PROXY": PROXY}) is None


@pytest.mark.parametrize(
    "host", ["localhost.net", "my.localhost", "128.0.0.1", "::2", "0.0.0.0", "LOCALHOST"]
)
def test_what_only_looks_like_loopback_passes_the_proxy(host: str) -> None:
    assert proxy_for("http", host, 2375, {"HTTP_PROXY": PROXY}) == PROXY


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        pytest.param("x.com", "x.com", True, id="name"),
        pytest.param("x.com", "a.x.com", True, id="name and below"),
        pytest.param("x.com", "ax.com", False, id="name, only whole labels"),
        pytest.param("x.com", "x.com.de", False, id="name, only at the end"),
        pytest.param(".x.com", "a.x.com", True, id="dot, below"),
        pytest.param(".x.com", "x.com", False, id="dot, not itself"),
        pytest.param("*.x.com", "a.x.com", True, id="star, below"),
        pytest.param("*.x.com", "x.com", False, id="star, not itself"),
        pytest.param("*x.com", "ax.com", False, id="star without a dot is literal"),
        pytest.param("X.COM", "x.com", True, id="case of the entry"),
        pytest.param("x.com", "X.Com", True, id="case of the host"),
        pytest.param(" a.de , x.com ", "x.com", True, id="spaces"),
        pytest.param(",,", "x.com", False, id="empty entries"),
        pytest.param("x.com:80", "x.com", True, id="port of the engine"),
        pytest.param("x.com:81", "x.com", False, id="another port"),
        pytest.param("x.com:080", "x.com", False, id="ports are text"),
        pytest.param(":80", "x.com", False, id="port alone names nobody"),
        pytest.param(".", "x.com", False, id="dot alone names nobody"),
        pytest.param("a.de,*", "x.com", True, id="star among others"),
        pytest.param("xn--fsq092h.com", "www.示例.com", True, id="IDNA, host"),
        pytest.param("示例.com", "www.xn--fsq092h.com", True, id="IDNA, entry"),
        pytest.param(".示例.com", "www.示例.com", True, id="IDNA, both"),
        pytest.param("192.168.1.1", "192.168.1.1", True, id="IPv4"),
        pytest.param("192.168.1.1", "192.168.1.10", False, id="IPv4 is no prefix"),
        pytest.param("192.168.1.1:80", "192.168.1.1", True, id="IPv4 and port"),
        pytest.param("192.168.1.1:81", "192.168.1.1", False, id="IPv4, another port"),
        pytest.param("10.0.0.0/30", "10.0.0.2", True, id="CIDR"),
        pytest.param("10.0.0.0/30", "10.0.0.4", False, id="CIDR, outside"),
        pytest.param("10.0.0.9/8", "10.200.0.1", True, id="CIDR with host bits"),
        pytest.param("10.0.0.0/255.0.0.0", "10.0.0.1", False, id="a mask is no CIDR"),
        pytest.param("10.0.0.0/33", "10.0.0.1", False, id="CIDR beyond its size"),
        pytest.param("10.0.0.0/8", "x.com", False, id="CIDR names no name"),
        pytest.param("10.0.0.0/8", "::ffff:10.0.0.1", True, id="CIDR, IPv4 inside IPv6"),
        pytest.param("2001:db8::1", "2001:db8:0::1", True, id="IPv6"),
        pytest.param("[2001:db8::1]:80", "2001:db8::1", True, id="IPv6 and port"),
        pytest.param("[2001:db8::1]:443", "2001:db8::1", False, id="IPv6, another port"),
        pytest.param("[2001:db8::1]", "2001:db8::1", False, id="brackets need a port"),
        pytest.param("[10.0.0.1]", "10.0.0.1", False, id="IPv4 in brackets"),
        pytest.param("[10.0.0.1]:80", "10.0.0.1", True, id="IPv4 in brackets and port"),
        pytest.param("x.com:", "x.com", True, id="an empty port is any"),
        pytest.param(".1", "10.0.0.1", False, id="an address is not below a name"),
        pytest.param("::ffff:10.0.0.1", "10.0.0.1", True, id="IPv4 inside IPv6"),
        pytest.param("::ffff:10.0.0.0/104", "10.9.9.9", True, id="CIDR inside IPv6"),
        pytest.param("::ffff:10.0.0.0/104", "11.0.0.1", False, id="CIDR inside IPv6, outside"),
        pytest.param("::ffff:10.0.0.0/64", "10.0.0.1", False, id="CIDR larger than IPv4"),
        pytest.param("2002:db8:a::45/64", "2002:db8:a::123", True, id="IPv6 CIDR"),
        pytest.param("2002:db8:a::45/64", "fe80::1", False, id="IPv6 CIDR, outside"),
        pytest.param("x.com", "fe80::1%.x.com", False, id="a zone is no name"),
    ],
)
def test_no_proxy_names_hosts_that_are_reached_directly(
    no_proxy: str, host: str, direct: bool
) -> None:
    env = {"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy}

    assert proxy_for("http", host, 80, env) == (None if direct else PROXY)


UNREACHABLE = [
    pytest.param("foo://me:secret@h", id="unknown kind"),
    pytest.param("http://me:secret@p:99999", id="port beyond 65535"),
    pytest.param("http://p:0", id="port 0"),
    pytest.param("h:port", id="a word as port"),
    pytest.param("http:p:3128", id="no slashes"),
    pytest.param("http://p:3128 ", id="trailing space"),
    pytest.param("http://p:3128\r", id="trailing return"),
    pytest.param("http://a b", id="space"),
    pytest.param("http://[::1", id="open bracket"),
    pytest.param("http://", id="no host"),
    pytest.param(" ", id="blank"),
]


@pytest.mark.parametrize("url", UNREACHABLE)
def test_a_proxy_that_cannot_be_reached_is_an_error_and_not_a_direct_connection(url: str) -> None:
    with pytest.raises(EndpointError, match="HTTP_PROXY=http://host:port") as caught:
        proxy_for("http", "engine.corp", 2375, {"HTTP_PROXY": url})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", UNREACHABLE)
def test_a_proxy_that_is_not_asked_for_need_not_be_reachable(url: str) -> None:
    env = {"HTTP_PROXY": url, "NO_PROXY": "engine.corp"}

    assert proxy_for("http", "engine.corp", 2375, env) is None


def test_a_cgi_process_refuses_a_proxy_that_a_client_may_have_set() -> None:
    env = {"http_proxy": PROXY, "REQUEST_METHOD": "GET"}

    with pytest.raises(EndpointError, match="CGI"):
        proxy_for("http", "engine.corp", 2375, env)
    assert proxy_for("http", "localhost", 2375, env) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("http://h:1", "http://h:1", id="nothing to hide"),
        pytest.param("http://me:secret@h:1", "http://h:1", id="password"),
        pytest.param("socks5://secret@[::2]:1", "socks5://[::2]:1", id="user"),
        pytest.param("http://me:se@cr@et@h", "http://h", id="an @ in it"),
        pytest.param("https://h:1/secret?secret#secret", "https://h:1", id="path"),
        pytest.param("", "", id="none"),
    ],
)
def test_a_proxy_is_shown_by_its_address_alone(url: str, shown: str) -> None:
    assert without_password(url) == shown
