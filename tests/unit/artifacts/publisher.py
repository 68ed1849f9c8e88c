"""An HTTPS server laid out like the official ones, good and bad, reached under their own names through a proxy.

Nothing here ever asks for a real address: HTTPS_PROXY leads every name to this machine, and only certificates of the
test's own authority are trusted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("dl.k8s.io", "cdn.dl.k8s.io", "github.com", "release-assets.githubusercontent.com", "mirror.example.org")


@dataclass
class Publisher:
    """What is published: "host/path" → bytes; and how a path misbehaves.

    Attributes:
        faults: "host/path" → a function that answers in the server's place; it returns False to let it answer itself.
        asked: Every request that came: "host/path" and its Range header.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Callable[[Request], bool]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class Request(BaseHTTPRequestHandler):
    """One request, as faults see it."""

    protocol_version = "HTTP/1.1"
    publisher: Publisher

    @property
    def place(self) -> str:
        return f"{self.headers['Host'].partition(':')[0]}{self.path}"

    def do_GET(self) -> None:
        self.publisher.asked.append((self.place, self.headers.get("Range", "")))
        fault = self.publisher.faults.get(self.place)
        if fault and fault(self):
            return
        content = self.publisher.files.get(self.place)
        if content is None:
            self.status(404)
            return
        begins = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if begins >= len(content) > 0:
            self.status(416)
            return
        self.head(206 if begins else 200, len(content) - begins, begins, len(content))
        self.wfile.write(content[begins:])

    def status(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def head(self, code: int, length: int, begins: int = 0, total: int = 0) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        if code == 206:
            self.send_header("Content-Range", f"bytes {begins}-{total - 1}/{total}")
        self.end_headers()

    def hang_up(self) -> None:
        """Cut the connection, without TLS's word of goodbye."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Tests say what they see."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of some tests."""


class _Proxy(BaseHTTPRequestHandler):
    """CONNECT, whatever the name, to the one server."""

    target: tuple[str, int]

    def do_CONNECT(self) -> None:
        with socket.create_connection(self.target) as far:
            self.send_response(200)
            self.end_headers()
            pair = [self.connection, far]
            while True:
                readable, _, _ = select.select(pair, [], [], 20)
                for end in readable:
                    content = end.recv(1 << 16)
                    if not content:
                        return
                    (far if end is self.connection else self.connection).sendall(content)
                if not readable:
                    return

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Publisher]:
    """A publisher that runs; its `environment` leads there."""
    publisher = Publisher()
    authority = _certificates(folder)
    handler = type("Handler", (Request,), {"publisher": publisher})
    server = _Server(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    proxy = _Server(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"target": server.server_address}))
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True) for each in (server, proxy)]
    for thread in threads:
        thread.start()
    publisher.environment = {
        "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
        "https_proxy": "",
        "NO_PROXY": "",
        "no_proxy": "",
        "SSL_CERT_FILE": str(authority),
        "SSL_CERT_DIR": str(folder / "none"),
    }
    publisher.environment["https_proxy"] = publisher.environment["HTTPS_PROXY"]
    try:
        yield publisher
    finally:
        for each in (server, proxy):
            each.shutdown()
            each.server_close()
        for thread in threads:
            thread.join()


def _certificates(folder: Path) -> Path:
    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publishers of a test")])
    made = []
    for key, extension in (
        (keys[0], x509.BasicConstraints(ca=True, path_length=None)),
        (keys[1], x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES])),
    ):
        subject = issuer if key is keys[0] else x509.Name([])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(extension, critical=True)
        )
        made.append(builder.sign(keys[0], hashes.SHA256()))
    pem = [each.public_bytes(serialization.Encoding.PEM) for each in made]
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(pem[0])
    (folder / "server.pem").write_bytes(pem[1] + private)
    return folder / "authority.pem"


def cut(after: int, times: int = 1) -> Callable[[Request], bool]:
    """Hang up once `after` bytes of the file were sent; after so many `times` it answers as it should."""
    left = [times]

    def fault(request: Request) -> bool:
        if not left[0]:
            return False
        left[0] -= 1
        content = request.publisher.files[request.place]
        begins = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        request.head(206 if begins else 200, len(content) - begins, begins, len(content))
        request.wfile.write(content[begins : begins + after])
        request.hang_up()
        return True

    return fault


def status(code: int, times: int = 1 << 30, **headers: str) -> Callable[[Request], bool]:
    """Answer with a status alone; after so many `times` as it should."""
    left = [times]

    def fault(request: Request) -> bool:
        if not left[0]:
            return False
        left[0] -= 1
        request.status(code, **headers)
        return True

    return fault


def endless(request: Request) -> bool:
    """Never say how much there is, and never end."""
    request.send_response(200)
    request.end_headers()
    with contextlib.suppress(OSError):
        while True:
            request.wfile.write(b"\0" * (1 << 16))
    request.close_connection = True
    return True


def claims(length: int) -> Callable[[Request], bool]:
    """Say that the file has `length` bytes, and send none."""

    def fault(request: Request) -> bool:
        request.head(200, length)
        request.hang_up()
        return True

    return fault


def trickle(request: Request) -> bool:
    """A byte now and then: never silent for long, and never done."""
    request.head(200, 1 << 20)
    with contextlib.suppress(OSError):
        for _ in range(1000):
            request.wfile.write(b"\0")
            time.sleep(0.02)
    request.close_connection = True
    return True


def silence(request: Request) -> bool:
    """No answer at all, for as long as the client waits."""
    with contextlib.suppress(OSError):
        request.rfile.read(1)
    request.close_connection = True
    return True


def whole(request: Request) -> bool:
    """As servers do that know no ranges."""
    content = request.publisher.files[request.place]
    request.head(200, len(content))
    request.wfile.write(content)
    return True


def elsewhere(request: Request) -> bool:
    """Another part of the file than was asked for."""
    content = request.publisher.files[request.place]
    request.head(206, len(content) - 7, 7, len(content))
    request.wfile.write(content[7:])
    return True
