"""Requests as a kubelet makes them, and as somebody who holds one node's credential would like them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from kharden.certificates.serving import SIGNER, ServingIdentity, ServingRequest, judge_serving_request

if TYPE_CHECKING:
    from collections.abc import Sequence

_NODE = ServingIdentity(
    "w1", frozenset({ip_address("192.0.2.21"), ip_address("2001:db8::21")}), frozenset({"w1", "w1.example.org"})
)
_GOOD_NAMES: tuple[x509.GeneralName, ...] = (x509.DNSName("w1"), x509.IPAddress(ip_address("192.0.2.21")))
_KEY = ec.generate_private_key(ec.SECP256R1())
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_MICROSOFT_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14"
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"


def _subject(common_name: str = "system:node:w1", organizations: Sequence[str] = ("system:nodes",)) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(
    names: Sequence[x509.GeneralName] = _GOOD_NAMES,
    *,
    subject: x509.Name | None = None,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = _KEY,
    extension: x509.ExtensionType | None = None,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or _subject())
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if extension:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def _request(pem: bytes | None = None) -> ServingRequest:
    return ServingRequest(
        name="csr-abcde",
        pem=_pem() if pem is None else pem,
        requester="system:node:w1",
        groups=("system:nodes", "system:authenticated"),
        signer=SIGNER,
        usages=("digital signature", "server auth"),
    )


# The little of DER that is needed to write requests which no library writes.
def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + length + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    content = bytes([40 * first + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        content += bytes(reversed(groups))
    return _der(0x06, content)


def _extensions(*names: x509.GeneralName) -> bytes:
    value = x509.SubjectAlternativeName(names).public_bytes()
    return _der(0x30, _der(0x30, _oid("2.5.29.17") + _der(0x04, value)))


def _attribute(oid: str, *values: bytes) -> bytes:
    return _der(0x30, _oid(oid) + _der(0x31, b"".join(values)))


def _by_hand(*attributes: bytes) -> bytes:
    spki = _KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = _der(0x30, b"\x02\x01\x00" + _subject().public_bytes() + spki + _der(0xA0, b"".join(attributes)))
    signature = _KEY.sign(info, ec.ECDSA(hashes.SHA256()))
    der = _der(0x30, info + _der(0x30, _oid("1.2.840.10045.4.3.2")) + _der(0x03, b"\x00" + signature))
    return _as_pem(der)


def _as_pem(der: bytes) -> bytes:
    body = base64.b64encode(der)
    lines = b"\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + lines + b"\n-----END CERTIFICATE REQUEST-----\n"


def test_what_a_kubelet_asks_for_is_right() -> None:
    assert judge_serving_request(_request(), _NODE) is None


def test_every_name_of_the_node_is_right_and_rsa_too() -> None:
    names = [x509.IPAddress(address) for address in _NODE.addresses] + [x509.DNSName(name) for name in _NODE.dns]
    request = _request(_pem(names, key=rsa.generate_private_key(65537, 2048)))
    usages = ("key encipherment", "digital signature", "server auth")
    assert judge_serving_request(replace(request, usages=usages), _NODE) is None


def test_a_request_written_by_hand_is_judged_as_any_other() -> None:
    pem = _by_hand(_attribute(_EXTENSION_REQUEST, _extensions(*_GOOD_NAMES)))
    assert judge_serving_request(_request(pem), _NODE) is None


_FOREIGN = (x509.DNSName("kubernetes"), x509.IPAddress(ip_address("10.201.0.1")))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        # Go gathers the extensions of all attributes, Python's library takes those of the first.
        pytest.param([(_EXTENSION_REQUEST, _GOOD_NAMES), (_EXTENSION_REQUEST, _FOREIGN)], "attributes", id="two"),
        # Go ignores Microsoft's attribute, Python's library takes it where it comes first.
        pytest.param(
            [(_MICROSOFT_EXTENSION_REQUEST, _GOOD_NAMES), (_EXTENSION_REQUEST, _FOREIGN)], "attributes", id="microsoft"
        ),
        pytest.param([(_MICROSOFT_EXTENSION_REQUEST, _GOOD_NAMES)], "attributes", id="microsoft-alone"),
        pytest.param([(_EXTENSION_REQUEST, _FOREIGN)], "is no name of this node", id="foreign"),
    ],
)
def test_a_request_that_two_parsers_read_in_two_ways_is_not_right(
    attributes: list[tuple[str, tuple[x509.GeneralName, ...]]], reason: str
) -> None:
    pem = _by_hand(*(_attribute(oid, _extensions(*names)) for oid, names in attributes))
    assert reason in (judge_serving_request(_request(pem), _NODE) or "")


def test_further_values_and_attributes_are_not_right() -> None:
    good, foreign = _extensions(*_GOOD_NAMES), _extensions(*_FOREIGN)
    password = _attribute(_CHALLENGE_PASSWORD, _der(0x0C, b"text"))
    assert judge_serving_request(_request(_by_hand(_attribute(_EXTENSION_REQUEST, good, foreign))), _NODE)
    assert judge_serving_request(_request(_by_hand(_attribute(_EXTENSION_REQUEST, good), password)), _NODE)
    assert judge_serving_request(_request(_by_hand()), _NODE)


@pytest.mark.parametrize(
    "names",
    [
        (),
        (*_GOOD_NAMES, x509.DNSName("w2")),
        (*_GOOD_NAMES, x509.DNSName("W1")),
        (*_GOOD_NAMES, x509.DNSName("*")),
        (*_GOOD_NAMES, x509.DNSName("kubernetes.default.svc")),
        (*_GOOD_NAMES, x509.IPAddress(ip_address("192.0.2.22"))),
        (*_GOOD_NAMES, x509.IPAddress(ip_address("::ffff:192.0.2.21"))),
        (*_GOOD_NAMES, x509.IPAddress(ip_address("127.0.0.1"))),
        (*_GOOD_NAMES, x509.RFC822Name("a@example.org")),
        (*_GOOD_NAMES, x509.UniformResourceIdentifier("spiffe://example.org/w1")),
        (*_GOOD_NAMES, x509.DirectoryName(_subject())),
        (*_GOOD_NAMES, x509.DNSName("\x1b[31m")),
    ],
)
def test_a_foreign_or_missing_name_is_not_right(names: tuple[x509.GeneralName, ...]) -> None:
    reason = judge_serving_request(_request(_pem(names)), _NODE)
    assert reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    "subject",
    [
        _subject("system:node:w2"),
        _subject("w1"),
        _subject("system:node:w1", ()),
        _subject("system:node:w1", ("system:nodes", "system:masters")),
        _subject("system:node:w1", ("system:masters",)),
        x509.Name([*_subject(), x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "more")]),
        x509.Name([*_subject(), x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]),
    ],
)
def test_another_subject_is_not_right(subject: x509.Name) -> None:
    assert "subject" in (judge_serving_request(_request(_pem(subject=subject)), _NODE) or "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signer": "kubernetes.io/kube-apiserver-client"}, "signer"),
        ({"requester": "system:node:w2"}, "requester"),
        ({"requester": "kubernetes-admin"}, "requester"),
        ({"groups": ("system:authenticated",)}, "group"),
        ({"usages": ("digital signature", "client auth")}, "usages"),
        ({"usages": ("digital signature", "server auth", "client auth")}, "usages"),
        ({"usages": ("server auth",)}, "usages"),
        ({"usages": ()}, "usages"),
    ],
)
def test_who_asks_and_for_what_is_looked_at(change: dict[str, Any], reason: str) -> None:
    assert reason in (judge_serving_request(replace(_request(), **change), _NODE) or "")


def test_other_extensions_are_not_right() -> None:
    pem = _pem(extension=x509.BasicConstraints(ca=True, path_length=None))
    assert "extensions" in (judge_serving_request(_request(pem), _NODE) or "")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505  # weak on purpose
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["RSA-1024", "secp256k1", "Ed25519"],
)
def test_a_weak_or_unusual_key_is_not_right(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    assert "key" in (judge_serving_request(_request(_pem(key=key)), _NODE) or "")


def test_a_signature_of_another_key_is_not_right() -> None:
    der = bytearray(x509.load_pem_x509_csr(_pem()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    pem = _as_pem(bytes(der))
    assert "signature" in (judge_serving_request(_request(pem), _NODE) or "")


@pytest.mark.parametrize(
    "pem", [b"", b"text", _pem() + _pem(), b"before\n" + _pem(), _pem().replace(b" CERT", b" NEW CERT"), _pem()[:-40]]
)
def test_only_one_request_and_nothing_else_is_right(pem: bytes) -> None:
    assert judge_serving_request(_request(pem), _NODE)


@settings(max_examples=200)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_no_change_of_a_byte_is_right_or_breaks_the_judge(at: int, value: int) -> None:
    der = bytearray(x509.load_pem_x509_csr(_pem()).public_bytes(Encoding.DER))
    at %= len(der)
    changed = der[at] != value
    der[at] = value
    assert (judge_serving_request(_request(_as_pem(bytes(der))), _NODE) is not None) == changed


def _item(request: ServingRequest, **status: object) -> dict[str, Any]:
    return {
        "metadata": {"name": request.name},
        "spec": {
            "request": base64.b64encode(request.pem).decode(),
            "signerName": request.signer,
            "username": request.requester,
            "groups": list(request.groups),
            "usages": list(request.usages),
        },
        "status": status,
    }


def _run(document: object) -> subprocess.CompletedProcess[str]:
    text = document if isinstance(document, str) else json.dumps(document)
    return subprocess.run(
        [sys.executable, "-m", "kharden.certificates"], input=text, capture_output=True, text=True, check=False
    )


def _document(*items: dict[str, Any]) -> dict[str, Any]:
    expected = {"name": "w1", "addresses": ["192.0.2.21"], "dns": ["w1"]}
    return {"requests": {"kind": "List", "items": list(items)}, "expected": [expected]}


def test_the_program_sorts_what_kubectl_prints() -> None:
    good = _request()
    foreign = replace(_request(_pem(_FOREIGN)), name="csr-foreign")
    unknown = replace(_request(_pem(subject=_subject("system:node:w9"))), name="csr-w9", requester="system:node:w9")
    result = _run(
        _document(
            _item(good),
            _item(replace(good, name="csr-again")),
            _item(foreign),
            _item(unknown),
            _item(replace(good, name="--all")),
            _item(replace(good, name="csr-done"), conditions=[{"type": "Approved"}], certificate="AAAA"),
            _item(replace(good, name="csr-denied"), conditions=[{"type": "Denied"}]),
            _item(replace(good, name="csr-client", signer="kubernetes.io/kube-apiserver-client-kubelet")),
        )
    )
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["approve"] == ["csr-abcde", "csr-again"]
    assert [entry["name"] for entry in answer["pending"]] == ["csr-foreign", "csr-w9", "--all"]
    for entry in answer["pending"]:
        assert entry["name"] in entry["note"]
        assert entry["note"].endswith(f" stays pending: {entry['reason']}")


@pytest.mark.parametrize("document", ["", "[]", "{}", {"requests": {}, "expected": []}, {"requests": 1, "expected": 2}])
def test_the_program_says_in_one_line_what_it_cant_use(document: object) -> None:
    result = _run(document)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("standard input:")
