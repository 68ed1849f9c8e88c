"""Files: what they are, never what is in them, but for certificates."""

from __future__ import annotations

import base64
import grp
import hashlib
import pwd
import re
import stat
from glob import glob
from pathlib import Path
from typing import Any

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----")
_ENTRY = re.compile(r"^[ -]*(?P<key>[A-Za-z-]+):[ ]*(?P<value>.*?)[ ]*$", re.MULTILINE)
_SIZE_LIMIT = 1 << 20
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket"}
# Keys of a kubeconfig's user that are a secret by themselves or fetch one (k8s.io/client-go clientcmd/api/v1).
_CREDENTIALS = ("token", "tokenFile", "username", "password", "exec", "auth-provider")


def find(patterns: list[str]) -> dict[str, dict[str, Any]]:
    """Pattern → path → attributes of what lies there (links are followed)."""
    return {pattern: {path: _attributes(path) for path in _matches(pattern)} for pattern in patterns}


def _matches(pattern: str) -> list[str]:
    # Path.glob finds folders only where a pattern ends in ** (before Python 3.13).
    found = glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207
    return sorted({path.rstrip("/") for path in found})


def _attributes(path: str) -> dict[str, Any]:
    try:
        status = Path(path).stat()
    except OSError as error:
        return {"error": error.strerror}
    return {
        "type": _KINDS.get(stat.S_IFMT(status.st_mode), "other"),
        "mode": stat.S_IMODE(status.st_mode),
        "user": user_name(status.st_uid),
        "group": _group_name(status.st_gid),
    }


def user_name(number: int) -> str:
    """The user's name; the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def names(folder: str) -> list[str]:
    """What lies in a folder; nothing where there is no such folder."""
    try:
        return sorted(entry.name for entry in Path(folder).iterdir())
    except FileNotFoundError:
        return []


def digest(path: str) -> str:
    """SHA-256 of a file's content, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def certificates(path: str) -> list[str]:
    """Certificates in PEM: those in a file, or the client's in a kubeconfig. What else is in it stays there."""
    content = _content(path)
    embedded = re.findall(rb'client-certificate-data:\s*"?([A-Za-z0-9+/=]+)', content)
    blocks = [base64.b64decode(value) for value in embedded] or [content]
    return [found.decode() for block in blocks for found in _CERTIFICATE.findall(block)]


def kubeconfig(path: str) -> dict[str, Any]:
    """What a kubeconfig says, without any of its credentials."""
    entries = [(entry["key"], entry["value"].strip('"')) for entry in _ENTRY.finditer(_content(path).decode())]
    return {
        "servers": [value for key, value in entries if key == "server"],
        "contexts": sum(key == "context" for key, _ in entries),
        "embedded_authorities": sum(key == "certificate-authority-data" for key, _ in entries),
        "unverified": any(key == "insecure-skip-tls-verify" and value != "false" for key, value in entries),
        "credentials": sorted({key for key, _ in entries if key in _CREDENTIALS}),
    }


def _content(path: str) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(_SIZE_LIMIT)
