"""Which HTTP proxy stands between us and a tcp engine: Go's ProxyFromEnvironment.

The docker command is written in Go, so its reading of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`
decides, not that of httpx: golang.org/x/net/http/httpproxy@094d438. Refuses to know `ALL_PROXY`,
the settings of the platform, unix sockets and ssh, which never pass a proxy.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from docker_images.errors import EndpointError

__all__ = ["proxy_for"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_USABLE = ("http", "https", "socks5", "socks5h")


def proxy_for(scheme: str, host: str, port: int, env: Mapping[str, str]) -> str | None:
    """The URL of the proxy for `scheme://host:port`, or None to go there directly.

    `scheme` is `"http"` or `"https"`, `host` a name or an IP address without brackets. The URL may
    hold a password. `HTTP_PROXY` does not count in a CGI process, where a client can set it by a
    header; a value that is no URL does not count either.

    Raises `EndpointError` for a proxy of a kind that nobody here can speak to.
    """
    variable = "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY"
    if scheme == "http" and env.get("REQUEST_METHOD"):
        return None
    proxy = _proxy_url(_either(env, variable))
    if proxy is None or not _passes(host, port, _either(env, "NO_PROXY")):
        return None
    if urlsplit(proxy).scheme not in _USABLE:
        raise EndpointError(
            f"{variable}: the proxy is none of {', '.join(_USABLE)}; write {variable}=http://host:port"
            f" or name {host} in NO_PROXY"
        )
    return proxy


def _either(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.lower()) or ""


def _proxy_url(value: str) -> str | None:
    """The value as a URL; `host` and `host:port` mean `http://…`."""
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        # `port` is parsed when it is asked for; urlsplit itself removes some control characters.
        sound = parts.hostname and parts.port != 0 and not re.search(r"[\x00-\x20\x7f]", url)
    except ValueError:
        return None
    return url if sound else None


def _passes(host: str, port: int, no_proxy: str) -> bool:
    """Whether a request to this address goes through the proxy."""
    host = _ascii(host.strip().lower())
    address = _ip(host)
    if host == "localhost" or (address and address.is_loopback):
        return False
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return not any(_names(entry, host, address, str(port)) for entry in entries if entry)


def _names(entry: str, host: str, address: _Address | None, port: str) -> bool:
    """Whether one entry of NO_PROXY names the address."""
    if entry == "*":
        return True
    if network := _network(entry):
        return address is not None and address in network
    name, entry_port = _split(entry)
    if entry_port not in ("", port):
        return False
    if (named := _ip(name)) is not None:
        return address == named
    if ":" in host:
        return False  # the zone of an IPv6 address may look like a name: CVE-2025-22870
    # `x.com` means itself and what is below it, `.x.com` and `*.x.com` only what is below.
    name = name.removeprefix("*") if name.startswith("*.") else name
    below = name.startswith(".")
    name = _ascii(name.removeprefix("."))
    return bool(name) and (host.endswith(f".{name}") or (host == name and not below))


def _split(entry: str) -> tuple[str, str]:
    """`name:port`, `[IPv6]:port`, or either without a port, as (name, port)."""
    if bracketed := re.fullmatch(r"\[(.*)\](?::(.*))?", entry):
        return bracketed[1], bracketed[2] or ""
    name, colon, port = entry.partition(":")
    return (name, port) if colon and ":" not in port else (entry, "")


def _ip(text: str) -> _Address | None:
    """An IP address; an IPv4 one inside IPv6 is the IPv4 one, as for Go. No zone."""
    try:
        found = ipaddress.ip_address(text if "%" not in text else "")
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not re.search(r"/[0-9]+$", entry):
        return None
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _ascii(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name
