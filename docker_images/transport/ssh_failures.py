"""What a failure of ssh means, and what to do next.

The words of ssh and of docker on the other side are their only interface. They are looked at here
and nowhere else.
"""

import re
import shlex

from docker_images.address import Endpoint
from docker_images.errors import DockerImagesError, EngineConnectionError, EnginePermissionError
from docker_images.transport.exceptions import RemoteTextError, SSHEndedError
from docker_images.transport.ssh import by_hand, login_words

__all__ = ["translate_ssh"]

# What ssh says (status 255), and what docker on the other side says: first match.
_SSH_SAYS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key is not the known one; if that is on purpose, remove the old one: {forget}",
    ),
    (
        "Host key verification failed",
        "the host's key is not known here; log in once by hand and accept it: {login}",
    ),
    (
        r"Permission denied \(|Too many authentication failures",
        "ssh cannot ask for a password here; offer a key that the host accepts (ssh-add)",
    ),
    ("Could not resolve hostname", "check the name, or give it a HostName in ~/.ssh/config"),
    (
        r"kex_exchange_identification|banner exchange.*(reset|closed)",
        "sshd or a firewall refused the login; too many at the same time? (MaxStartups there)",
    ),
    (
        "Connection refused|timed out|[Nn]o route|unreachable",
        "check that sshd runs there, and its port",
    ),
)
_DIAL_REFUSED = r"dial (unix|tcp).*permission denied"
_DOCKER_SAYS = (
    (
        _DIAL_REFUSED,
        "the remote user may not open the engine's socket; add it to the group of the socket there",
    ),
    (
        r"dial (unix|tcp)|Cannot connect to the Docker daemon",
        "no engine answers at the socket on the other side; check that it runs, and the path",
    ),
    (
        r"is not a docker command|unknown (shorthand )?(command|flag)",
        "the docker command there is older than 18.09; update it",
    ),
)


def translate_ssh(error: Exception, endpoint: Endpoint) -> DockerImagesError | None:
    """The error of this library that a failure of ssh is; None for what says nothing about ssh."""
    is_denied = False
    match error:
        case SSHEndedError(status=status, words=words):
            fact, step = _end(status, words, endpoint)
            is_denied = status not in (None, 127, 255) and bool(re.search(_DIAL_REFUSED, words))
        case RemoteTextError():
            fact = f"the remote shell prints text before the engine's answer: {str(error)!r}"
            step = "keep its start-up files silent without a terminal"
        case OSError(filename=str() as program):
            fact = f"cannot start {program!r}: {error.strerror}"
            step = "is the OpenSSH client installed?"
        case _:
            return None
    text = f"cannot connect to {endpoint}: {fact}; {step}"
    if is_denied:
        return EnginePermissionError(text, endpoint=endpoint)
    number = error.errno if isinstance(error, OSError) else None
    return EngineConnectionError(text, endpoint=endpoint, reason="ssh", errno=number)


def _end(status: int | None, words: str, endpoint: Endpoint) -> tuple[str, str]:
    said = f": {words}" if words else ""
    if status is None:
        return f"ssh closed its output but is still running{said}", _try_it(endpoint)
    if status < 0:
        return f"ssh was killed by signal {-status}{said}", _try_it(endpoint)
    if status == 127:
        fact = f"docker was not found on the other side{said}"
        return fact, "install it there, or put it on the PATH that a non-login shell has"
    if status == 255:
        return f"ssh failed{said}", _step(_SSH_SAYS, words, endpoint)
    return f"ssh ended with status {status}{said}", _step(_DOCKER_SAYS, words, endpoint)


def _step(says: tuple[tuple[str, str], ...], words: str, endpoint: Endpoint) -> str:
    for pattern, step in says:
        if re.search(pattern, words):
            return step.format(
                login=shlex.join(["ssh", *login_words(endpoint), endpoint.hostname]),
                forget=shlex.join(["ssh-keygen", "-R", _known_as(endpoint)]),
            )
    return _try_it(endpoint)


def _known_as(endpoint: Endpoint) -> str:
    """How ssh names a host in known_hosts: the port belongs to it unless it is 22."""
    if endpoint.port in (None, 22):
        return endpoint.hostname
    return f"[{endpoint.hostname}]:{endpoint.port}"


def _try_it(endpoint: Endpoint) -> str:
    return f"try {by_hand(endpoint)!r}"
