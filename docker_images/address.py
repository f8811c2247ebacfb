"""An engine's address, as plain values: what to connect to, how, and where that came from.

Refuses to know how an address is found (`endpoint`) and how it is connected
to (`transport`).
"""

import re
from typing import Any, Literal

import msgspec

__all__ = ["TLS", "Endpoint", "without_password"]


class TLS(msgspec.Struct, frozen=True):
    """Where the TLS files of an endpoint are. They have not been read."""

    ca: str | None = None
    """Path of the only certificates to trust; None for the system's."""
    cert: str | None = None
    """Path of the client's certificate chain."""
    key: str | None = None
    """Path of the client's private key."""
    verify: bool = True
    """False if the user's configuration says not to verify the engine."""


class Endpoint(msgspec.Struct, frozen=True):
    """An engine's address, how to reach it, and where the address came from."""

    kind: Literal["unix", "tcp", "ssh", "npipe"]
    """How the engine is reached."""
    host: str
    """The address as in `DOCKER_HOST`, such as `"unix:///var/run/docker.sock"`."""
    source: str
    """Where the address came from: `"default"`, `"DOCKER_HOST"`, `"host="`, `"context 'x'"`, or
    `"context 'x' from DOCKER_CONTEXT"`."""
    path: str = ""
    """unix: the socket, `"\\0name"` for an abstract one; ssh: the remote one; npipe: the pipe."""
    hostname: str = ""
    """tcp, ssh: name or IP address, IPv6 without brackets."""
    port: int | None = None
    """tcp, ssh: the port; None for ssh's own default."""
    user: str | None = None
    """ssh: the user to log in as; None for ssh's own default."""
    base_path: str = ""
    """tcp: what comes before `/v1.47/…`, percent-encoded, without a trailing slash."""
    tls: TLS | None = None
    """tcp: how to verify; None for plain HTTP."""
    headers: tuple[tuple[str, str], ...] = ()
    """`HttpHeaders` of config.json, sent with every request. The repr hides their values."""
    warnings: tuple[str, ...] = ()
    """What was wrong in the configuration and was ignored, as the docker command does."""
    proxy: str | None = None
    """tcp: the URL of the proxy. The repr does not show user and password."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What is set, without secrets: only names of headers, only the address of a proxy."""
        told = [
            (at.name, getattr(self, at.name), at.default) for at in msgspec.structs.fields(self)
        ]
        hidden: dict[str, Any] = {"headers": tuple(name for name, _ in self.headers)}
        hidden["proxy"] = without_password(self.proxy or "")
        return [(name, hidden.get(name, value)) for name, value, unset in told if value != unset]

    def __repr__(self) -> str:
        return f"Endpoint({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __str__(self) -> str:
        """The address, where it came from, and the proxy, as in every message."""
        way = f", through the proxy {without_password(self.proxy)}" if self.proxy else ""
        return f"{self.host} ({self.source}{way})"


def without_password(proxy: str) -> str:
    """The URL of a proxy as it may be shown: scheme, host and port."""
    scheme, marked, rest = proxy.partition("://")
    return scheme + marked + re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
