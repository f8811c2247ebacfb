"""What ssh and proxies raise of their own, until `failures` says what it means."""

__all__ = ["ProxyError", "RemoteTextError", "SSHEndedError"]


class SSHEndedError(Exception):
    """ssh ended, or closed its output, before it had logged in.

    `status` is its exit status, negative for a signal, None while it still runs; `words` is what it
    wrote to its stderr, in one line that is safe to print.
    """

    status: int | None
    words: str

    def __init__(self, status: int | None, words: str) -> None:
        super().__init__(status, words)
        self.status, self.words = status, words


class RemoteTextError(Exception):
    """The remote shell prints this text before the engine's answer."""


class ProxyError(Exception):
    """The proxy was not reached, or refused: what it said, or None where the cause says it."""

    said: str | None
    wants_password: bool

    def __init__(self, said: str | None = None, *, wants_password: bool = False) -> None:
        super().__init__(said)
        self.said, self.wants_password = said, wants_password
