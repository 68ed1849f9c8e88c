"""Connections as anybody could make them: what does a port answer, and to whom?"""

from __future__ import annotations

import json
import select
import socket
import ssl
import warnings
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

# A kernel takes a connection up at once, however busy its machine is; an answer is a program's, and may be slow.
_CONNECT_SECONDS = 2.5
_SECONDS = 60.0
_FIRST_WORD_SECONDS = 0.5
_BODY_LIMIT = 1 << 16
_MESSAGE_LIMIT = 300
# Alerts by which a server refuses a credential (RFC 8446, 6.2), by OpenSSL's names.
_ABOUT_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")
# Alerts by which it refuses what was offered to speak.
_ABOUT_PROTOCOL = ("HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "INSUFFICIENT_SECURITY")
# Everything that OpenSSL can speak in TLS 1.2 but the suites that are forward secret and authenticated.
_WEAK = "ALL:!ECDHE+AESGCM:!ECDHE+CHACHA20:@SECLEVEL=0"


def probe(  # noqa: PLR0913  # the fields of a probe, as the request has them
    *,
    host: str,
    port: int,
    method: str,
    path: str,
    headers: dict[str, str],
    body: str | None,
    credential: list[str],
    over_tls: bool,
) -> dict[str, str]:
    """Send one request; its outcome is the HTTP status, "connection refused", "no answer" or "TLS refused".

    Args:
        host: an address; the server's certificate is not verified, since whoever answers is the one to judge.
        port: the TCP port.
        method: of HTTP.
        path: of HTTP, with its query.
        headers: of HTTP.
        body: of HTTP, or None.
        credential: paths of a client certificate and its key (one path where a file holds both), or nothing.
        over_tls: whether to speak TLS.
    """
    connection = HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(_SECONDS)
        if over_tls:
            connection.sock = _speak(connection.sock, _context(credential), host)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return {"outcome": str(answer.status), "message": _message(answer.read(_BODY_LIMIT))}
    except ConnectionRefusedError:
        return {"outcome": "connection refused", "message": ""}
    except TimeoutError:
        return {"outcome": "no answer", "message": ""}
    except ssl.SSLError as error:
        if _is_alert(error, _ABOUT_CERTIFICATE):
            return {"outcome": "TLS refused", "message": str(error.reason)}
        raise
    except HTTPException as error:
        return {"outcome": "not HTTP", "message": type(error).__name__}
    finally:
        connection.close()


def _context(credential: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if credential:
        context.load_cert_chain(*credential)
    return context


def _speak(plain: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Handshake, and hear what the server thinks of it.

    In TLS 1.3 a client is done before the server has judged its certificate. A request sent at once could meet a
    closed connection, and the reset would hide the alert: so its first word (session tickets or the alert) is awaited.
    """
    secured = context.wrap_socket(plain, server_hostname=host)
    if secured.version() == "TLSv1.3" and select.select([secured], [], [], _FIRST_WORD_SECONDS)[0]:
        secured.settimeout(0)
        with suppress(ssl.SSLWantReadError):
            secured.recv(1)  # no HTTP server sends data unasked: this takes in tickets or raises the alert
        secured.settimeout(_SECONDS)
    return secured


def _message(body: bytes) -> str:
    """The message of an API's Status object; nothing of any other body."""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        return str(answer.get("message", ""))[:_MESSAGE_LIMIT]
    return ""


def handshake(*, host: str, port: int) -> dict[str, Any]:
    """What a TLS port speaks: version, suite and leaf certificate at best, and whether it would speak worse."""
    with (
        _connected(host, port) as plain,
        _context([]).wrap_socket(plain, server_hostname=host) as secured,
    ):
        suite = secured.cipher()
        spoken = {
            "version": secured.version(),
            "suite": suite[0] if suite else "",
            "certificate": ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b""),
        }
    return {
        **spoken,
        "old_versions": _speaks(host, port, ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        "weak_suites": _speaks(host, port, ssl.TLSVersion.TLSv1_2, _WEAK),
    }


def _connected(host: str, port: int) -> socket.socket:
    plain = socket.create_connection((host, port), _CONNECT_SECONDS)
    plain.settimeout(_SECONDS)
    return plain


def _speaks(host: str, port: int, latest: ssl.TLSVersion, suites: str) -> str:
    """Whether the server takes up an offer of these suites and no version after `latest`: "accepted" or "refused"."""
    context = _context([])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # to offer what is old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = latest
    context.set_ciphers(suites)
    with _connected(host, port) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host):
                return "accepted"
        except ssl.SSLError as error:
            if _is_alert(error, _ABOUT_PROTOCOL):
                return "refused"
            if _is_alert(error, _ABOUT_CERTIFICATE):
                return "accepted"  # it came as far as asking for a certificate
            raise


def _is_alert(error: ssl.SSLError, about: tuple[str, ...]) -> bool:
    reason = str(error.reason)
    return "ALERT" in reason and any(word in reason for word in about)
