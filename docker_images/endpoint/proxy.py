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

_SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(scheme: str, host: str, port: int, env: Mapping[str, str]) -> str | None:
    """The URL of the proxy for `scheme://host:port`, or None to go there directly.

    `scheme` is `"http"` or `"https"`, `host` a name or an IP address without brackets. The URL may
    hold a password.

    Raises `EndpointError` for a proxy that nobody here can reach, and for any `HTTP_PROXY` in a CGI
    process, where a client can set it by a header: a direct connection could leak what it carries.
    """
    variable = "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY"
    value = _either(env, variable)
    if not value or not _passes(host, port, _either(env, "NO_PROXY")):
        return None
    if scheme == "http" and env.get("REQUEST_METHOD"):
        raise EndpointError(
            f"{variable} is not used in a CGI process (REQUEST_METHOD is set), where a client can"
            f" set it by a header; unset {variable} or name {host} in NO_PROXY"
        )
    url = value if "://" in value else f"http://{value}"
    if not _usable(url):
        raise EndpointError(
            f"{variable} is not the URL of a proxy that can be reached ({', '.join(_SCHEMES)});"
            f" write {variable}=http://host:port or name {host} in NO_PROXY"
        )
    return url


def _either(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.lower()) or ""


def _usable(url: str) -> bool:
    # urlsplit itself removes some control characters.
    if re.search(r"[\x00-\x20\x7f]", url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.scheme in _SCHEMES and parts.hostname and parts.port != 0)
    except ValueError:  # such as a port above 65535
        return False


def _passes(host: str, port: int, no_proxy: str) -> bool:
    """Whether a request to this address goes through the proxy."""
    if host == "localhost":  # in this case only
        return False
    host = _ascii(host.strip().lower())
    address = _ip(host)
    if address and address.is_loopback:
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
    if not name or entry_port not in ("", port):
        return False
    if (named := _ip(name)) is not None:
        return address == named
    if address is not None or ":" in host:
        return False  # the zone of an IPv6 address may look like a name: CVE-2025-22870
    # `x.com` means itself and what is below it, `.x.com` and `*.x.com` only what is below.
    name = name.removeprefix("*") if name.startswith("*.") else name
    below = "." + _ascii(name.removeprefix("."))
    return host.endswith(below) or (host == below[1:] and not name.startswith("."))


def _split(entry: str) -> tuple[str, str]:
    """`name:port` or `[IPv6]:port` as (name, port); all others have no port, as for Go."""
    found = re.fullmatch(r"(?:\[([^][]*)\]|([^][:]*)):([^][:]*)", entry)
    return (found[1] or found[2] or "", found[3]) if found else (entry, "")


def _ip(text: str) -> _Address | None:
    """An IP address; an IPv4 one inside IPv6 is the IPv4 one, as for Go. No zone."""
    try:
        found = ipaddress.ip_address(text if "%" not in text else "")
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "%" in entry or not re.search(r"/[0-9]+$", entry):
        return None
    try:
        found = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
    if found.version == 6 and (inside := found.network_address.ipv4_mapped):
        return ipaddress.IPv4Network((inside, found.prefixlen - 96))
    return found


def _ascii(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name
