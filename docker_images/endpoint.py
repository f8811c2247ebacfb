"""Which engine to talk to: the rules of the docker command, as a pure function.

Knows the environment variables, docker's configuration folder and its contexts. Refuses to know how
a connection is made: no socket is opened here, no process started, no certificate read.
"""

from typing import Literal

import msgspec

__all__ = ["TLS", "Endpoint"]


class TLS(msgspec.Struct, frozen=True):
    """Where the TLS material of an endpoint lies; nothing of it has been read."""

    ca: str | None = None
    """Path of the certificates to trust, and nothing else; None: the system's store."""
    cert: str | None = None
    """Path of the client's certificate chain."""
    key: str | None = None
    """Path of the client's private key."""
    verify: bool = True
    """False where the user's own configuration says not to verify the engine."""


class Endpoint(msgspec.Struct, frozen=True):
    """An engine's address, how to reach it, and who said so."""

    kind: Literal["unix", "tcp", "ssh", "npipe"]
    host: str
    """The address as `DOCKER_HOST` would have it, such as `"unix:///var/run/docker.sock"`."""
    source: str
    """Where the address came from: `"default"`, `"DOCKER_HOST"`, `"host="`, `"context 'x'"`, …"""
    path: str = ""
    """unix: the socket, `"\\0name"` for an abstract one; ssh: the remote socket; npipe: the pipe."""
    hostname: str = ""
    """tcp, ssh: name or IP address, an IPv6 one without brackets."""
    port: int | None = None
    """tcp, ssh: the port; None for ssh's own default."""
    user: str | None = None
    """ssh: the user to log in as; None for ssh's own default."""
    base_path: str = ""
    """tcp: what stands before `/v1.47/…`, without a trailing slash."""
    tls: TLS | None = None
    """tcp: how to verify; None for plain HTTP."""
    headers: tuple[tuple[str, str], ...] = ()
    """`HttpHeaders` of config.json, sent with every request; values are left out of the repr."""
    warnings: tuple[str, ...] = ()
    """What was odd in the configuration, and passed over as the docker command does."""
