"""An API server, asked as the administrator of its own machine, without a program in between.

A call of kubectl costs a tenth of a second of a core, and a run makes a hundred calls.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

# A loaded machine takes its time; an API server ends a request after a minute (control apiserver-request-timeout).
_SECONDS = 60
_READY_SECONDS = 20.0
_MESSAGE_LIMIT = 300
_OK, _REFUSED, _TOO_MANY, _FAILED = 200, 400, 429, 500


@dataclass(frozen=True)
class Api:
    """The API server at an address, and the kubeconfig whose credential and authority are used."""

    host: str
    port: int
    kubeconfig: str
    known: bool = True

    def on_loopback(self, port: int) -> Api:
        """Another component here, with the same credential; it made a certificate of its own that nobody can know.

        A certificate is all that it is shown, and who listens on loopback is a check of its own.
        """
        return Api("127.0.0.1", port, self.kubeconfig, known=False)

    def await_ready(self) -> None:
        """See that it is ready; one that has only just started, or has much to do, has a little time.

        Raises:
            RuntimeError: it isn't.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while reason := self._unready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"its API server is not ready: {reason}")
            time.sleep(0.5)  # the pace of looking

    def _unready(self) -> str:
        try:
            self.text("/readyz")
        except RuntimeError as reason:
            return str(reason)
        return ""

    def get(self, path: str) -> dict[str, Any]:
        """The object or list under a path.

        Raises:
            RuntimeError: the API server said no, or nothing; the message is its own.
        """
        status, answer = self._call("GET", path)
        if status != _OK:
            raise RuntimeError(_message(answer, status))
        return answer

    def text(self, path: str) -> str:
        """What is answered under a path, such as metrics.

        Raises:
            RuntimeError: the server said no, or nothing.
        """
        status, content = self._answered("GET", path, accept="text/plain")
        if status != _OK:
            raise RuntimeError(f"GET {path}: status {status}")
        return content.decode(errors="replace")

    def create(self, path: str, body: object) -> None:
        """Make an object in the list under a path.

        Raises:
            RuntimeError: the API server said no, or nothing.
        """
        status, answer = self._call("POST", path, body)
        if status >= _REFUSED:
            raise RuntimeError(_message(answer, status))

    def delete(self, path: str) -> None:
        """Delete an object, or all of a list, at once.

        Raises:
            RuntimeError: the API server said no, or nothing.
        """
        status, answer = self._call(
            "DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        )
        if status >= _REFUSED:
            raise RuntimeError(_message(answer, status))

    def tried(self, path: str, body: object) -> dict[str, Any]:
        """Whether an object would be made (a dry run on the server), what it would be, or why not.

        Raises:
            RuntimeError: the API server didn't judge it.
        """
        status, answer = self._call("POST", f"{path}?dryRun=All", body)
        if status < _REFUSED:
            return {"admitted": True, "reason": "", "message": "", "object": answer}
        if status == _TOO_MANY or status >= _FAILED:
            raise RuntimeError(_message(answer, status))
        return {
            "admitted": False,
            "reason": str(answer.get("reason", "")),
            "message": _message(answer, status),
            "object": {},
        }

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Status and document of one request."""
        status, content = self._answered(method, path, body)
        try:
            document = json.loads(content)
        except ValueError as error:
            raise RuntimeError(f"{method} {path.partition('?')[0]}: {type(error).__name__}: {error}") from None
        return status, document if isinstance(document, dict) else {}

    def _answered(
        self, method: str, path: str, body: object = None, accept: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = HTTPSConnection(self.host, self.port, timeout=_SECONDS, context=self._context)
        headers = {"Accept": accept, "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException) as error:
            raise RuntimeError(f"{method} {path.partition('?')[0]}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()

    @cached_property
    def _context(self) -> ssl.SSLContext:
        said = Path(self.kubeconfig).read_bytes()
        context = ssl.create_default_context(cadata=_embedded(said, "certificate-authority").decode())
        if not self.known:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        # OpenSSL takes a key from a file alone: this one has no name and never meets a disk.
        anonymous = os.memfd_create("kharden")
        try:
            os.write(anonymous, _embedded(said, "client-certificate") + b"\n" + _embedded(said, "client-key"))
            context.load_cert_chain(f"/proc/self/fd/{anonymous}")
        finally:
            os.close(anonymous)
        return context


def _embedded(kubeconfig: bytes, what: str) -> bytes:
    found = re.search(rb"\b" + what.encode() + rb'-data:\s*"?([A-Za-z0-9+/=]+)', kubeconfig)
    if found is None:
        raise RuntimeError(f"the kubeconfig has no {what}-data")
    return base64.b64decode(found[1])


def _message(answer: dict[str, Any], status: int) -> str:
    return str(answer.get("message") or f"status {status}")[:_MESSAGE_LIMIT]
