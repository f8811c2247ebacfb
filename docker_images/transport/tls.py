"""TLS as the docker command does it: what to trust, what to show, and what a failure means.

Knows Python's `ssl` and the words of OpenSSL. Refuses to know where the paths of an endpoint came
from, how its socket was connected, and HTTP.
"""

import contextlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import anyio.to_thread
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from docker_images.address import TLS, Endpoint
from docker_images.errors import EndpointError, EngineConnectionError

if TYPE_CHECKING:
    from docker_images.transport.sockets import SocketStream

__all__ = ["SecureStream", "explain", "open_tls", "ssl_context"]

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
        _trust(context, tls.ca, endpoint)
    if tls.cert is not None and tls.key is not None:
        _show(context, tls.cert, tls.key, endpoint)
    return context


def _trust(context: ssl.SSLContext, ca: str, endpoint: Endpoint) -> None:
    _check_readable(ca, "the CA certificate", endpoint)
    try:
        context.load_verify_locations(cafile=ca)
    except OSError as exc:
        _refuse(
            endpoint, f"{ca} holds no certificate in PEM form", "put the engine's ca.pem there", exc
        )


def _show(context: ssl.SSLContext, cert: str, key: str, endpoint: Endpoint) -> None:
    def locked() -> str:
        # Without this callback OpenSSL would ask on the terminal.
        _refuse(
            endpoint,
            f"the key {key} is locked by a passphrase, and nobody is asked for one",
            f"write an unlocked copy with 'openssl pkey -in {key}' and name that",
        )

    _check_readable(cert, "the client certificate", endpoint)
    _check_readable(key, "the client's key", endpoint)
    try:
        context.load_cert_chain(cert, key, password=locked)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            fact, step = f"the key {key} does not belong to {cert}", "take both from the same pair"
        elif exc.library == "SSL" and exc.reason:
            fact = f"OpenSSL refuses {cert}: {_words(exc.reason)}"
            step = "have a new certificate made"
        elif not _holds_certificate(cert):
            fact, step = (
                f"{cert} holds no certificate in PEM form",
                "put the client's cert.pem there",
            )
        else:
            fact, step = f"{key} holds no private key in PEM form", "put the client's key.pem there"
        _refuse(endpoint, fact, step, exc)
    except OSError as exc:
        _refuse(endpoint, f"{cert}, {key}: {exc.strerror or exc}", "put the files in place", exc)


def _check_readable(path: str, what: str, endpoint: Endpoint) -> None:
    """`ssl` does not say which file it could not read."""
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as exc:
        fact = getattr(exc, "strerror", None) or str(exc)
        _refuse(
            endpoint, f"{what} {path}: {fact[:1].lower()}{fact[1:]}", "put it there, readable", exc
        )


def _holds_certificate(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError:
        return False
    return True


def _refuse(endpoint: Endpoint, fact: str, step: str, cause: Exception | None = None) -> NoReturn:
    raise EndpointError(
        f"no TLS for {endpoint.host} ({endpoint.source}): {fact}; {step}", endpoint=endpoint
    ) from cause


async def open_tls(stream: "SocketStream", endpoint: Endpoint) -> "SecureStream":
    """Do the TLS handshake over `stream`, checking the name that the endpoint was given.

    The files are read each time, so that renewed certificates are used without a restart. Closes
    `stream` when it fails. Raises `EndpointError` as `ssl_context` does, and
    `EngineConnectionError` with the reason.
    """
    # crypto/x509.VerifyHostname leaves out the dot of a fully qualified name; a zone is no part of
    # the address that a certificate can hold.
    name = endpoint.hostname.partition("%")[0].removesuffix(".")
    try:
        context = await anyio.to_thread.run_sync(ssl_context, endpoint)
        tls = await _handshake(_Wire(stream), context, name, endpoint)
    except BaseException:
        stream.abort()
        raise
    return SecureStream(tls, stream, endpoint)


async def _handshake(
    wire: "_Wire", context: ssl.SSLContext, name: str, endpoint: Endpoint
) -> TLSStream:
    try:
        return await TLSStream.wrap(
            wire, server_side=False, hostname=name, ssl_context=context, standard_compatible=False
        )
    except (OSError, ValueError, anyio.EndOfStream, anyio.BrokenResourceError) as exc:
        raise _error(exc, endpoint) from exc


class SecureStream(ByteStream):
    """A TLS connection over a socket.

    Until the first byte has come a failure is an `EngineConnectionError` with the reason: under
    TLS 1.3 an engine that refuses the client says so after the handshake. After that byte the
    exceptions are those of anyio's streams.
    """

    def __init__(self, tls: TLSStream, stream: "SocketStream", endpoint: Endpoint) -> None:
        self._tls, self._stream, self._endpoint = tls, stream, endpoint
        self._answered = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._tls.receive(max_bytes)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as exc:
            if self._answered:
                raise
            raise _error(exc, self._endpoint) from exc
        self._answered = True
        return data

    async def send(self, item: bytes) -> None:
        await self._tls.send(item)

    async def send_eof(self) -> None:
        raise NotImplementedError

    def is_stale(self) -> bool:
        """Whether it is of no use any more: closed, or bytes came that nobody asked for."""
        unread = self._tls.extra(TLSAttribute.ssl_object).pending()  # noqa: S610
        return unread > 0 or self._stream.is_stale()

    def abort(self) -> None:
        """Close at once, from any thread, with or without a running event loop."""
        self._stream.abort()

    async def aclose(self) -> None:
        self._stream.abort()


class _Wire(ByteStream):
    """The socket below TLS, which reports what broke when it is read, not when it is written to.

    An engine that refuses the client sends an alert and closes: the request that is sent then finds
    the connection broken, while the reason lies unread in the buffer of the socket.
    """

    def __init__(self, stream: "SocketStream") -> None:
        self._stream = stream

    async def send(self, item: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await self._stream.send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send_eof(self) -> None:
        raise NotImplementedError  # anyio's TLSStream does not call it

    async def aclose(self) -> None:
        await self._stream.aclose()


def _error(exc: Exception, endpoint: Endpoint) -> EngineConnectionError:
    fact = explain(exc, endpoint)
    if fact is None:
        cause = exc.__cause__ or exc
        fact = f"the connection broke before an answer came: {str(cause) or type(cause).__name__}"
    text = f"cannot connect to {endpoint.host} ({endpoint.source}): {fact}"
    return EngineConnectionError(text, endpoint=endpoint, reason="tls")


# X509_V_ERR_… of openssl/x509_vfy.h, and what to do about each.
_UNKNOWN_CA = frozenset({2, 18, 19, 20, 21, 27})
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = frozenset({62, 64})

# What a server that does not speak TLS looks like; OpenSSL 3.2 and newer say RECORD_LAYER_FAILURE.
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST",
     "PACKET_LENGTH_TOO_LONG", "RECORD_TOO_SMALL"}
)  # fmt: skip

# Alerts by which a server asks for a client certificate, or refuses the one that it was shown:
# Go's servers sent BAD_CERTIFICATE for a missing one before they learned CERTIFICATE_REQUIRED.
_CLIENT_CERTIFICATE = (
    "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "UNSUPPORTED_CERTIFICATE", "DECRYPT_ERROR",
    "ACCESS_DENIED",
)  # fmt: skip


def explain(exc: BaseException, endpoint: Endpoint) -> str | None:
    """What a failure on a TLS connection to `endpoint` means and what to do, without the address.

    Takes what a stream raised, in the handshake or later: an `ssl.SSLError` (also as a cause), an
    end or a reset of the connection. None: it says nothing about TLS.
    """
    tls = endpoint.tls
    if tls is None:
        return None
    error = _ssl_error(exc)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, tls)
    if error is not None:
        return _explain_reason(error.reason or str(error), tls)
    hung_up = (anyio.EndOfStream, anyio.BrokenResourceError, ConnectionError)
    if isinstance(exc, hung_up) and tls.cert is None:
        return (
            "it hung up on a TLS connection that shows no client certificate; if it runs with"
            " --tlsverify, name one: cert.pem and key.pem in DOCKER_CERT_PATH or in the context"
        )
    return None


def _ssl_error(exc: BaseException | None) -> ssl.SSLError | None:
    while exc is not None:
        if isinstance(exc, ssl.SSLError):
            return exc
        exc = exc.__cause__
    return None


def _explain_certificate(error: ssl.SSLCertVerificationError, tls: TLS) -> str:
    fact = error.verify_message.rstrip(".")
    if error.verify_code in _UNKNOWN_CA:
        trusted = "the system's store" if tls.ca is None else tls.ca
        step = "name the ca.pem of its CA" if tls.ca is None else "is it the CA of this engine?"
        return f"its certificate is signed by a CA that is not in {trusted} ({fact}); {step}"
    if error.verify_code in _OTHER_NAME:
        return (
            f"its certificate is for another name: {fact}; use a name that"
            " the certificate has, or add this one to its subjectAltName"
        )
    if error.verify_code == _EXPIRED:
        return "its certificate has expired; renew it, or set this machine's clock right"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet; set the clocks of both machines right"
    return f"its certificate is refused: {fact}; have a new one made"


def _explain_reason(reason: str, tls: TLS) -> str:
    if reason in _NOT_TLS:
        return (
            "the port does not speak TLS; name the engine's TLS port (usually 2376), or turn TLS"
            " off for a plain one (DOCKER_TLS_VERIFY, DOCKER_TLS, or the context)"
        )
    if "ALERT_PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return "it speaks no TLS of version 1.2 or newer; update it"
    alert = _words(reason.partition("ALERT_")[2])
    shown = tls.cert is not None and tls.key is not None
    # OpenSSL's servers answer a missing certificate with HANDSHAKE_FAILURE below TLS 1.3.
    refusals = _CLIENT_CERTIFICATE if shown else (*_CLIENT_CERTIFICATE, "HANDSHAKE_FAILURE")
    if alert and reason.endswith(refusals):
        if not shown:
            return (
                f"it wants a client certificate (TLS alert: {alert}), as with --tlsverify; name"
                " one: cert.pem and key.pem in DOCKER_CERT_PATH or in the context"
            )
        return (
            f"it refused the client certificate {tls.cert} (TLS alert: {alert}); is it signed by"
            " the CA that the engine was given as --tlscacert, for client authentication?"
        )
    return f"TLS failed: {_words(reason)}"


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
