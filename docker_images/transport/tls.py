"""TLS as the docker command does it: what to trust, what to show, and a stream over another one.

Refuses to know where the paths of an endpoint came from, how its socket was connected, HTTP, and
what a failed handshake means (`tls_failures`).
"""

import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar, TypeVarTuple

import anyio

from docker_images.address import TLS, Endpoint
from docker_images.endpoint.config import read_file
from docker_images.errors import EndpointError
from docker_images.text import said
from docker_images.transport.sockets import Stream

__all__ = ["TLSStream", "open_tls", "ssl_context"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Not `ssl.create_default_context`: on Python 3.13 its VERIFY_X509_STRICT refuses certificates made
# by docs.docker.com's own recipe, and it writes the session's keys to SSLKEYLOGFILE.


def ssl_context(endpoint: Endpoint) -> ssl.SSLContext:
    """What to trust and to show at `endpoint`; reads the files that its `tls` names.

    With a CA nothing else is trusted, without one the system's store, which `SSL_CERT_FILE` may
    move. As in Go a certificate of the CA file is trusted by itself, root or not, TLS is 1.2 or
    newer, and a name counts only when it is a subject alternative name. A client certificate is
    shown when there are both the certificate and its key.

    Raises `EndpointError` when a file is missing, is not what it should be, does not match the
    other one, or is a key locked by a passphrase: nobody is asked for one.
    """
    tls = endpoint.tls or TLS()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.ca is None:
        context.load_default_certs()
    else:
        _check(tls.ca, "the CA certificate", "certificate", endpoint)
        try:
            context.load_verify_locations(cafile=tls.ca)
        except OSError as exc:
            _refuse(endpoint, f"{tls.ca} cannot be used: {said(exc)}", "use another CA", exc)
    if tls.cert is not None and tls.key is not None:
        _show(context, tls.cert, tls.key, endpoint)
    return context


def _show(context: ssl.SSLContext, cert: str, key: str, endpoint: Endpoint) -> None:
    def locked() -> str:
        # Without this callback OpenSSL would ask on the terminal.
        _refuse(
            endpoint,
            f"the key {key} is locked by a passphrase, and nobody can be asked for it",
            f"write an unlocked copy with 'openssl pkey -in {key}' and use that",
        )

    _check(cert, "the client certificate", "certificate", endpoint)
    _check(key, "the client's key", "private key", endpoint)
    try:
        context.load_cert_chain(cert, key, password=locked)
    except OSError as exc:
        fact = f"{cert} and {key} cannot be used: {said(exc)}"
        if isinstance(exc, ssl.SSLError) and exc.reason == "KEY_VALUES_MISMATCH":
            fact = f"the key {key} does not belong to {cert}"
        _refuse(endpoint, fact, "use a key and a certificate that belong together", exc)


# OpenSSL does not say which of the files it could not use, and reads a device without end.
_PEM = {
    "certificate": rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----",
    "private key": rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----",
}


def _check(path: str, what: str, holds: str, endpoint: Endpoint) -> None:
    try:
        content = read_file(Path(path))
    except (OSError, ValueError) as exc:
        _refuse(endpoint, f"{what} {path}: {said(exc)}", "put it there, readable", exc)
    if not re.search(_PEM[holds], content):
        _refuse(endpoint, f"{path} does not contain a {holds} in PEM format", f"put {what} there")


def _refuse(endpoint: Endpoint, fact: str, step: str, cause: Exception | None = None) -> NoReturn:
    raise EndpointError(f"no TLS for {endpoint}: {fact}; {step}", endpoint=endpoint) from cause


async def open_tls(
    stream: Stream, endpoint: Endpoint, context: ssl.SSLContext, name: str
) -> "TLSStream":
    """Do the TLS handshake over `stream`, with the peer of this name.

    Closes `stream` when it fails. Raises `EndpointError` for a name that no certificate can have,
    `ssl.SSLError`, and what `stream` raises.
    """
    try:
        # crypto/x509.VerifyHostname leaves out the dot of a fully qualified name; a zone is no part
        # of the address that a certificate can hold.
        name = name.partition("%")[0].removesuffix(".")
        try:
            secured = TLSStream(stream, context, name)
        except ValueError as exc:
            _refuse(
                endpoint, f"{name!r} cannot be the name in a certificate", "use another name", exc
            )
        await secured.shake_hands()
    except BaseException:
        stream.abort()
        raise
    return secured


class TLSStream:
    """A TLS connection over another stream.

    Until the first byte has come, the end of the stream below is an `ssl.SSLEOFError`: under TLS
    1.3 an engine that refuses the client hangs up after the handshake.
    """

    def __init__(self, stream: Stream, context: ssl.SSLContext, name: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._answered = False

    async def shake_hands(self) -> None:
        await self._do(self._tls.do_handshake)

    async def send(self, item: bytes) -> None:
        await self._do(self._tls.write, item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._do(self._tls.read, max_bytes)
        except ssl.SSLEOFError:
            if not self._answered:
                raise
            data = b""
        if not data:
            raise anyio.EndOfStream
        self._answered = True
        return data

    async def _do(self, step: Callable[[*Ts], T], *args: *Ts) -> T:
        """Take a step of TLS, and send and receive what it takes."""
        while True:
            try:
                done = step(*args)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if self._outgoing.pending:
            # An engine that refuses the client sends an alert and closes. The request that is sent
            # then finds the connection broken, while the reason lies unread in the socket.
            with suppress(ConnectionError):
                await self._stream.send(self._outgoing.read())

    async def _fill(self) -> None:
        try:
            self._incoming.write(await self._stream.receive())
        except anyio.EndOfStream:
            self._incoming.write_eof()
        except ConnectionError:
            if self._answered:
                raise
            self._incoming.write_eof()

    def is_stale(self) -> bool:
        unread = self._incoming.pending or self._tls.pending()
        return bool(unread) or self._stream.is_stale()

    def abort(self) -> None:
        self._stream.abort()

    async def aclose(self) -> None:
        await self._stream.aclose()
