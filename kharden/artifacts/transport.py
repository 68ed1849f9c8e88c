"""Reaching a file: over HTTPS or in a folder, from any byte on, and what it means where that fails.

Neither plain HTTP nor a redirect to it is ever followed. TLS trusts what this machine trusts, or SSL_CERT_FILE and
SSL_CERT_DIR; HTTPS_PROXY and NO_PROXY are heeded.
"""

from __future__ import annotations

import re
import ssl
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from kharden.errors import KhardenError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPMessage, HTTPResponse

ELSEWHERE = "look at the network and HTTPS_PROXY, or name another mirror (artifacts.mirror)"
CUSTOM_CA = "if its authority is your own, name its certificate in SSL_CERT_FILE"
_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)")
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


class DownloadError(KhardenError, ConnectionError):
    """Something could not be fetched; nothing was changed, and what came already is kept for the next time."""


class AbsentError(DownloadError):
    """The server or the folder has no such file."""


class PassingError(Exception):
    """Something that another attempt may not meet; its text is the reason."""


class WholeError(Exception):
    """There is no more of the file than what was fetched before."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The bytes of a file: from which one on, and how many the whole has (0: it isn't said)."""

    stream: IO[bytes] | HTTPResponse
    begins: int
    total: int

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they come, so that a slow server is noticed; none at the end."""
        read = getattr(self.stream, "read1", self.stream.read)
        content: bytes = read(size)
        return content


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTPS alone: publishers use them, but a downgrade shows what is fetched, and to whom."""

    def redirect_request(  # noqa: PLR0913, PLR0917 - the base class's
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            what = f"{shown(req.full_url)}: redirects to {shown(newurl)}, which is not https"
            raise DownloadError(what, remedy=ELSEWHERE)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Transport:
    """Opens files; `timeout` is in seconds, without a byte or without a connection."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
            _OnlyHttps(),
        ):
            self._opener.add_handler(handler)

    @contextmanager
    def open(self, location: str, have: int = 0) -> Iterator[Opened]:
        """The file at `location`, an https address or an absolute path, where possible without its first `have` bytes.

        Raises:
            AbsentError: there is none.
            DownloadError: it can't be had.
            PassingError: it can't be had just now.
            WholeError: it has no more than `have` bytes.
        """
        try:
            if location.startswith("/"):
                with _local(Path(location)) as opened:
                    yield opened
            else:
                with self._answer(location, have) as answer:
                    yield Opened(answer, *_extent(answer, have))
        except KhardenError:  # some of ours are OSErrors as well
            raise
        except HTTPError as error:
            error.close()
            raise _refused(error.code, location, have) from None
        except (OSError, HTTPException, ValueError) as error:
            raise _failed(error, location) from None

    def _answer(self, location: str, have: int) -> HTTPResponse:
        if urlsplit(location).scheme != "https":
            raise DownloadError(f"{shown(location)}: not an https address", remedy="write https, or a folder's path")
        headers = {"User-Agent": "kharden", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        request = urllib.request.Request(location, headers=headers)  # noqa: S310 - https alone, see above
        answer: HTTPResponse = self._opener.open(request, timeout=self._timeout)
        return answer


def shown(location: str) -> str:
    """`location` without what may be secret in an address: user, password, query."""
    if location.startswith("/"):
        return location
    try:
        parts = urlsplit(location)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that can't be read"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


@contextmanager
def _local(path: Path) -> Iterator[Opened]:
    if not path.is_file():
        raise AbsentError(f"{path}: not there", remedy="see that the mirror is whole: artifacts.bundle makes one")
    with path.open("rb") as stream:
        yield Opened(stream, 0, path.stat().st_size)


def _extent(answer: HTTPResponse, have: int) -> tuple[int, int]:
    length = answer.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() else 0
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, size
    said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if not said or int(said[1]) != have:
        raise PassingError("it answered with another part of the file than was asked for")
    return have, have + size


def _refused(code: int, location: str, have: int) -> Exception:
    if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        return WholeError()
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR or code in _PASSING:
        return PassingError(f"status {code}")
    kind = AbsentError if code in _ABSENT else DownloadError
    return kind(f"{shown(location)}: can't fetch (status {code})", remedy=ELSEWHERE)


def _failed(error: Exception, location: str) -> Exception:
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return DownloadError(f"{shown(location)}: not trusted ({cause.verify_message})", remedy=CUSTOM_CA)
    if isinstance(cause, TimeoutError):
        return PassingError("no answer in time")
    if isinstance(cause, ConnectionResetError | BrokenPipeError | ssl.SSLEOFError | HTTPException):
        return PassingError("cut off")
    reason = getattr(cause, "strerror", None) or getattr(error, "reason", None) or type(cause).__name__
    return DownloadError(f"{shown(location)}: can't fetch ({reason})", remedy=ELSEWHERE)
