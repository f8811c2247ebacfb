"""What a failure of TLS means, and what to do next.

Knows the numbers and names of OpenSSL. Pure.
"""

import ssl

from docker_images.address import TLS

__all__ = ["tls_meaning"]

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


def tls_meaning(error: Exception, tls: TLS) -> str | None:
    """The fact and the next step, without the address; None for what says nothing about TLS."""
    match error:
        case ssl.SSLCertVerificationError(verify_code=int()):
            return _certificate_meaning(error, tls)
        case ssl.SSLEOFError() if tls.cert is None:
            return (
                "it hung up on a TLS connection that shows no client certificate; if it runs with"
                " --tlsverify, name one: cert.pem and key.pem in DOCKER_CERT_PATH or in the context"
            )
        case ssl.SSLEOFError():
            return "it hung up before it had answered; its log may say why"
        case ssl.SSLError():
            return _reason_meaning(getattr(error, "reason", None) or str(error), tls)
        case _:
            return None


def _certificate_meaning(error: ssl.SSLCertVerificationError, tls: TLS) -> str:
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
        return "its certificate has expired; renew it, or correct the clock of this machine"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet; check the clocks of both machines"
    return f"its certificate is refused: {fact}; create a new one"


def _reason_meaning(reason: str, tls: TLS) -> str:
    if reason in _NOT_TLS:
        return (
            "the port does not speak TLS; name the engine's TLS port (usually 2376), or turn TLS"
            " off for a plain one (DOCKER_TLS_VERIFY, DOCKER_TLS, or the context)"
        )
    if "ALERT_PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return "it does not support TLS 1.2 or newer; update it"
    alert = _plain(reason.partition("ALERT_")[2])
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
    return f"TLS failed: {_plain(reason)}"


def _plain(reason: str) -> str:
    return reason.replace("_", " ").lower()
