"""Kubelets' requests for serving certificates: approved only where everything in them is what the plan says.

Kubernetes' own signer checks the form (k8s.io/kubernetes pkg/apis/certificates/helpers.go) and leaves names and
addresses to whoever approves: a node could ask for another's. What is judged here must be exactly what that signer will
read, so a request that two parsers could read in two ways is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from kharden.certificates.facts import IPAddress

SIGNER = "kubernetes.io/kubelet-serving"
_USER_PREFIX = "system:node:"
_GROUP = "system:nodes"
# The two sets that the signer takes: with and without key encipherment, which only RSA keys have a use for.
_REQUIRED = frozenset({"digital signature", "server auth"})
_ALLOWED = _REQUIRED | {"key encipherment"}
_MIN_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
# PKCS #9 extensionRequest (RFC 2985, 5.4.2), and Microsoft's, which some parsers take for the same and others ignore.
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")


@dataclass(frozen=True, slots=True)
class ServingIdentity:
    """What a node may call itself; `dns` has its own name too, if that is allowed."""

    name: str
    addresses: frozenset[IPAddress]
    dns: frozenset[str]


@dataclass(frozen=True, slots=True)
class ServingRequest:
    """A CertificateSigningRequest object: the PEM in it, and who asked the API for what."""

    name: str
    pem: bytes
    requester: str
    groups: tuple[str, ...]
    signer: str
    usages: tuple[str, ...]

    @property
    def node(self) -> str:
        """The name of the node that asks; "" where it is no node."""
        return self.requester.removeprefix(_USER_PREFIX) if self.requester.startswith(_USER_PREFIX) else ""


def judge_serving_request(request: ServingRequest, expected: ServingIdentity) -> str | None:
    """Why `request` must not be approved for the node `expected`, or None where all of it is right."""
    return _judge_asking(request, expected) or _judge_content(request.pem, expected)


def _judge_asking(request: ServingRequest, expected: ServingIdentity) -> str | None:
    if request.signer != SIGNER:
        return f"the signer is not {SIGNER}"
    if request.requester != f"{_USER_PREFIX}{expected.name}":
        return f"the requester is not {_USER_PREFIX}{expected.name}"
    if _GROUP not in request.groups:
        return f"the requester is not in the group {_GROUP}"
    usages = set(request.usages)
    if not (_REQUIRED <= usages <= _ALLOWED):
        return "the usages are not those of a serving certificate"
    return None


def _judge_content(pem: bytes, expected: ServingIdentity) -> str | None:
    try:
        request = x509.load_pem_x509_csr(pem)
        if request.public_bytes(Encoding.PEM).strip() != pem.strip():
            return "there is something beside the request"
        return (
            _judge_form(request)
            or _judge_subject(request.subject, expected.name)
            or _judge_names(request.extensions, expected)
            or _judge_key(request)
        )
    except Exception:  # noqa: BLE001  # any node may send anything: what the library stumbles over stays pending
        return "not a readable certificate request in PEM"


def _judge_form(request: x509.CertificateSigningRequest) -> str | None:
    # Where there are several attributes with extensions, Go gathers them all and Python's library takes the first.
    if [attribute.oid for attribute in request.attributes] != [_EXTENSION_REQUEST]:
        return "it has other attributes than one list of extensions"
    if any(not isinstance(extension.value, x509.SubjectAlternativeName) for extension in request.extensions):
        return "it asks for other extensions than names"
    return None


def _judge_subject(subject: x509.Name, node: str) -> str | None:
    given = sorted((attribute.oid.dotted_string, str(attribute.value)) for attribute in subject)
    wanted = sorted(
        [
            (NameOID.COMMON_NAME.dotted_string, f"{_USER_PREFIX}{node}"),
            (NameOID.ORGANIZATION_NAME.dotted_string, _GROUP),
        ]
    )
    return None if given == wanted else f"the subject is not O={_GROUP}, CN={_USER_PREFIX}{node}"


def _judge_names(extensions: x509.Extensions, expected: ServingIdentity) -> str | None:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "it names no address"
    if not len(names):
        return "it names no address"
    for name in names:
        if isinstance(name, x509.IPAddress):
            known = name.value in expected.addresses
        elif isinstance(name, x509.DNSName):
            known = name.value in expected.dns
        else:
            return "it has a name that is neither an address nor a DNS name"
        if not known:
            return f"{str(name.value)[:100]!a} is no name of this node"
    return None


def _judge_key(request: x509.CertificateSigningRequest) -> str | None:
    key = request.public_key()
    strong = (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS
    )
    if not strong:
        return "the key is too weak or of an unusual kind"
    return None if request.is_signature_valid else "the signature is not its key's"
