"""HTTP/1.1 as far as one GET and its answer need it, over any byte stream.

httptools (llhttp) parses. This module knows what llhttp leaves open: where an answer ends that says
no length, what may follow an answer, which framings to refuse, and how much an engine may send
before it says anything. Refuses to know URLs, addresses and Docker.
"""

import re

import anyio
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from docker_images.transport.deadline import time_limit
from docker_images.transport.sockets import Stream

__all__ = ["Connection", "HungUpError", "ProtocolError"]

# Bytes that may come without a byte of body among them: heads, 1xx, chunk extensions, trailers.
# llhttp waits for their end forever; Go's client allows 1 MiB, httpcore 100 KiB, h11 16 KiB.
MAX_HEAD = 64 * 1024

# Bytes to read at once. Of 120 KiB each read costs page faults, which takes 1000 images 5 % longer.
READ = 64 * 1024

_OTHER_PROTOCOL = re.compile(rb"(?m)^(RTSP|ICE)/")


class ProtocolError(Exception):
    """The peer does not speak HTTP/1.1, or not as one may; `data` is what it said."""

    def __init__(self, fact: str, data: bytes = b"") -> None:
        super().__init__(fact)
        self.data = data


class HungUpError(Exception):
    """The peer closed the connection before its answer was complete."""


class Connection:
    """One connection to an engine, for one exchange at a time.

    The methods `on_…` are called by the parser; none raises, since llhttp would wrap the exception.
    """

    def __init__(self, stream: Stream, max_body: int) -> None:
        self.stream = stream
        self._max_body = max_body
        self.used: float = 0.0
        """When it was given back, for its pool."""
        self._read_timeout: float | None = None
        self._begin()

    def _begin(self) -> None:
        # It refers to us: only while an answer is read, so that no cycle keeps an idle socket open.
        self._parser: HttpResponseParser | None = None
        self.status: int = 0  # until the head of the answer is complete
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._framed = False  # the answer says where it ends
        self._done = False
        self._keep_alive = False
        self._fault = ""
        self._bodyless = 0  # bytes since the last byte of body
        self._silent = True  # not a byte has come
        self._begun = False  # a byte has come that is no empty line
        self._interim = False  # an answer of status 1xx has come

    async def ask(self, request: bytes, read_timeout: float | None = None) -> None:
        """Send a request and read the head of the answer into `status` and `headers`.

        `read_timeout` bounds each wait for more of the answer. Raises `HungUpError`,
        `ProtocolError`, `TimeLimitError`, and what the stream raises; then it is closed.
        """
        self._begin()
        self._read_timeout = read_timeout
        self._parser = HttpResponseParser(self)
        try:
            await self.stream.send(request)
            while not self.status:
                await self._read()
        except BaseException:
            await self.aclose()
            raise

    async def read(self) -> bytes:
        """The next bytes of the answer's body; `b""` at its end. Raises as `ask` does."""
        while not self._body:
            if self._done:
                return b""
            await self._read()
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return data

    @property
    def is_silent(self) -> bool:
        """Whether not one byte of the answer has come."""
        return self._silent

    @property
    def is_reusable(self) -> bool:
        """Whether the answer was read to its end and another request may follow."""
        return self._done and self._keep_alive

    async def aclose(self) -> None:
        self._parser = None
        await self.stream.aclose()

    async def _read(self) -> None:
        assert self._parser is not None
        try:
            if self._read_timeout is None:
                data = await self.stream.receive(READ)
            else:
                with time_limit(self._read_timeout, "the read timeout"):
                    data = await self.stream.receive(READ)
        except anyio.EndOfStream:
            if self.status and not self._framed:
                self._done = True
                return
            raise HungUpError from None
        # llhttp takes RTSP and ICE for HTTP, also after an interim answer.
        if not self._begun and (start := data.lstrip(b"\r\n")):
            self._begun = True
            if start[:1] != b"H":
                raise ProtocolError(f"it begins {start[:40]!r}", start)
        had_status = self.status > 0
        self._silent = False
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            raise ProtocolError("it switches to another protocol") from None
        except HttpParserError as error:
            # What follows a complete answer does not make it wrong.
            if not self._done:
                raise ProtocolError(f"{error}: it begins {data[:40]!r}") from error
            self._keep_alive = False
        if self._interim and not had_status and (other := _OTHER_PROTOCOL.search(data)):
            raise ProtocolError(f"it begins {data[other.start() :][:40]!r}")
        if self._fault:
            raise ProtocolError(self._fault)
        if self._done:
            self._parser = None
        self._bodyless = 0 if self._body else self._bodyless + len(data)
        if self._bodyless > MAX_HEAD and not self._done:
            raise ProtocolError(f"more than {MAX_HEAD} bytes without a byte of body")

    def on_message_begin(self) -> None:
        if self._done:
            self._keep_alive = False  # an answer that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the head come trailers; one of those must not pass for a header.
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self.status:
            return  # not asked for
        if 100 <= status < 200:
            self._interim = True
            return
        self.status = status
        version = self._parser.get_http_version()
        lengths: list[bytes] = []
        codings: list[bytes] = []
        for name, value in self.headers:
            if name[:1] in b"CcTt":  # most others need not be looked at
                if name.lower() == b"content-length":
                    lengths.append(value.strip())
                elif name.lower() == b"transfer-encoding":
                    codings.append(value.strip())
        if status < 100:
            self._fault = f"it answers with the status {status:03}"
        elif version not in ("1.1", "1.0"):
            self._fault = f"it answers in HTTP/{version}"
        elif len(lengths) + len(codings) > 1:
            self._fault = "it declares its length twice"
        elif codings and version == "1.0":
            self._fault = "it uses a transfer encoding in HTTP/1.0"  # RFC 9112, section 6.1
        elif codings and codings[0].lower() != b"chunked":
            self._fault = f"it uses the transfer encoding {codings[0][:40]!r}"
        elif lengths and (not lengths[0].isdigit() or len(lengths[0]) > 18):
            self._fault = f"it declares the length {lengths[0][:40]!r}"
        elif lengths and int(lengths[0]) > self._max_body:
            self._fault = f"it announces more than max_response_bytes={self._max_body}"
        self._framed = bool(lengths or codings) or status in (204, 304)
        self._keep_alive = self._framed and self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self.status:
            self._fault = "it sends a body with an interim answer"
        elif not self._done:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self.status:
            self._done = True
        else:
            self.headers.clear()  # the end of an interim answer
