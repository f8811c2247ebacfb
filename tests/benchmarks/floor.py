"""The floor: the least that Python can do, without deadline, limits, errors or trust issues.

An asyncio protocol that joins what arrives and decodes it once. No client can be shipped like this;
it shows how much of a call is the event loop, the kernel and msgspec.
"""

import asyncio

from .plain import decoder


class _Answer(asyncio.Protocol):
    def __init__(self):
        self.done = None
        self.data = bytearray()
        self.start = 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        if not self.start:
            head, mark, _ = self.data.partition(b"\r\n\r\n")
            if not mark:
                return
            self.start = len(head) + 4
            length = head.find(b"Content-Length: ")
            self.end = 0 if length < 0 else self.start + int(head[length + 16 :].split(b"\r")[0])
        if self.end:
            if len(self.data) < self.end:
                return
            body = self.data[self.start :]
        elif self.data.endswith(b"\r\n0\r\n\r\n"):
            body = self._join()
        else:
            return
        self.data, self.start = bytearray(), 0
        self.done.set_result(body)

    def _join(self):
        view, at, parts = memoryview(self.data), self.start, []
        while True:
            line = self.data.index(b"\r\n", at)
            size = int(self.data[at:line], 16)
            if not size:
                return b"".join(parts) if len(parts) != 1 else parts[0]
            parts.append(view[line + 2 : line + 2 + size])
            at = line + 4 + size


class Floor:
    """One endpoint; a connection for each call under way."""

    def __init__(self, path, manifests):
        self._path, self._idle = path, []
        query = b"?manifests=1" if manifests else b""
        self._request = b"GET /images/json%s HTTP/1.1\r\nHost: docker\r\n\r\n" % query
        self._decode = decoder(manifests=manifests).decode

    async def list(self):
        """List once."""
        loop = asyncio.get_running_loop()
        if self._idle:
            answer = self._idle.pop()
        else:
            _, answer = await loop.create_unix_connection(_Answer, self._path)
        answer.done = loop.create_future()
        answer.transport.write(self._request)
        images = self._decode(await answer.done)
        self._idle.append(answer)
        return images

    def close(self):
        """Close what is idle."""
        for answer in self._idle:
            answer.transport.close()
