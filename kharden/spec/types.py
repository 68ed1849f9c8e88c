"""Named, constrained types of cluster.yaml.

Each knows three things: which values it takes, what to call a wrong one (a `PydanticCustomError` whose type begins with
`kharden.`, so that the loader keys on that type and never on a text of pydantic's; its context may hold a remedy), and
what to write instead, which also reaches people's editors through the JSON Schema. A rejected value is in no message.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# Begins the type of every error that is raised here.
OWN_ERRORS = "kharden."

# RFC 1123 label, as Kubernetes uses it for names (k8s.io/apimachinery validation.IsDNS1123Label).
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
# A name whose last label is a number would be read as an address (RFC 1123, 2.1).
_HOST = rf"(?=.{{1,253}}$)(?!(.*\.)?[0-9]+$){_LABEL}(\.{_LABEL})*"
# One decimal way to write a prefix: ipaddress would also take netmasks, which nothing after us does.
_PREFIX = re.compile(r"/(0|[1-9][0-9]{0,2})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _error(kind: str, message: str, **context: str) -> PydanticCustomError:
    return PydanticCustomError(f"{OWN_ERRORS}{kind}", message, context)


def _schema(write: str, **keywords: Any) -> WithJsonSchema:  # noqa: ANN401  # JSON Schema keywords are open
    return WithJsonSchema({"type": "string", **keywords, "patternErrorMessage": f"write {write}"})


@dataclass(frozen=True, slots=True)
class Matching:
    """Marks a text that a regular expression describes wholly.

    Attributes:
        kind: the error's type, without its prefix.
        expression: in the syntax that Python and ECMA 262 share, since it also goes into the JSON Schema.
        wrong: what a text is that doesn't match, for example "this isn't a name".
        write: what to write instead, for example "a DNS name, such as api.example.org".
    """

    kind: str
    expression: str
    wrong: str
    write: str

    def _checked(self, value: str) -> str:
        if not re.fullmatch(self.expression, value):
            raise _error(self.kind, self.wrong)
        return value

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401  # pydantic's protocol
        handler: GetCoreSchemaHandler,
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        pattern = f"^(?:{self.expression})$"
        return handler(schema) | {"pattern": pattern, "patternErrorMessage": f"write {self.write}"}


def _address(value: object) -> IPAddress:
    try:
        # A zone ("fe80::1%eth0") may hold any character and means something on one machine only.
        address = ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        address = None
    if address is None:
        raise _error("address", "this isn't an address")
    unusable = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    if unusable or (address.version == 6 and address.ipv4_mapped):  # noqa: PLR2004  # IP version 6
        remedy = "write the one under which other machines reach it"
        raise _error("address_unusable", "no other machine can reach this address", remedy=remedy)
    return address


def _network(value: object) -> IPNetwork:
    if isinstance(value, IPv4Network | IPv6Network):  # a default; what is read of a file is text
        return value
    if not isinstance(value, str) or "%" in value or not _PREFIX.fullmatch(value, max(value.find("/"), 0)):
        raise _error("network", "this isn't an address range")
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise _error("network", "this isn't an address range") from None
    if network.network_address != ip_address(value.partition("/")[0]):
        # It could be parsed as a range, so it is no secret.
        remedy = f"write {network}, or another prefix"
        raise _error("network_host_bits", "this range has host bits set", remedy=remedy)
    return network


def _external(value: object) -> str | IPAddress:
    try:
        return _address(value)
    except PydanticCustomError as error:
        if error.type.endswith("address_unusable"):
            raise
    if isinstance(value, str) and re.fullmatch(_HOST, value):
        return value
    raise _error("external", "this is neither a DNS name nor an address")


def _host_key(value: str) -> str:
    kind, _, blob = value.partition(" ")
    try:
        content = b64decode(blob, validate=True)
    except ValueError:
        content = b""
    # RFC 4253, 6.6: the blob begins with its type as a string, whose length comes first in 4 bytes.
    if not content.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise _error("host_key", "this isn't a whole ssh host key")
    return value


def _day(value: object) -> date:
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise _error("day", "this isn't a day of the calendar")


_as_text = PlainSerializer(str, return_type=str)
_A_LABEL = "lower-case letters, digits and inner hyphens"
_AN_ADDRESS = "an IPv4 or IPv6 address, such as 192.0.2.11"
_A_HOST_KEY = "a key as ssh-keyscan prints it, without the machine's name: type, a space, base64"

Name = Annotated[str, Matching("name", _LABEL, "this isn't a name", f"1 to 63 {_A_LABEL}")]
ClusterName = Annotated[
    str, Matching("name", r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", "this isn't a name", f"1 to 40 {_A_LABEL}")
]
# useradd(8): names that Debian takes by default.
UserName = Annotated[
    str,
    Matching("user", r"[a-z_][-a-z0-9_]{0,31}", "this isn't a user's name", "a user's name on Linux, such as admin"),
]
HostKey = Annotated[
    str,
    Matching(
        "host_key",
        r"(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+\/]{40,1000}={0,2}",
        "this isn't an ssh host key",
        _A_HOST_KEY,
    ),
    AfterValidator(_host_key),
]
# ssh itself opens it: its tilde is the home folder of whoever runs ssh. No blank, quote or percent sign has to be told.
KeyFile = Annotated[
    str,
    Matching(
        "key_file",
        r"(?=.{1,400}$)(?!.*\/\.{1,2}(\/|$))~?(\/[A-Za-z0-9._+@-]+)+",
        "this isn't a key's file",
        "its whole path, or one below your home folder, such as ~/.ssh/id_ed25519",
    ),
]
KubernetesVersion = Annotated[
    str,
    Matching(
        "version",
        r"[1-9][0-9]{0,2}(\.(0|[1-9][0-9]{0,2})){2}",
        "this isn't a whole version",
        "all three numbers without a v, such as 1.36.3",
    ),
]
_SEGMENT = r"[A-Za-z0-9_@+=-][A-Za-z0-9._@+=-]{0,127}"
Mirror = Annotated[
    str,
    Matching(
        "mirror",
        rf"(?=.{{1,500}}$)(https:\/\/{_LABEL}(\.{_LABEL})*(:[1-9][0-9]{{0,4}})?(\/{_SEGMENT})*|(\/{_SEGMENT})+)\/?",
        "this is neither an https address nor the absolute path of a folder",
        "an https address without a user or a query, or a path from the root, such as https://mirror.example.org/kharden",
    ),
]
GateName = Annotated[
    str,
    Matching(
        "gate",
        r"[A-Z][A-Za-z0-9]{1,99}",
        "this isn't a feature gate's name",
        "a feature gate's name as Kubernetes writes it, such as SchedulerAsyncAPICalls",
    ),
]
Recipient = Annotated[
    str,
    Matching(
        "recipient",
        r"age1[02-9ac-hj-np-z]{58}",
        "this isn't an age recipient",
        "the public line of age-keygen: age1 and 58 more characters",
    ),
]
# As EncryptionConfiguration names a resource of the API: its plural, and its group unless that is the core one.
Resource = Annotated[
    str,
    Matching(
        "resource",
        rf"(?=.{{1,253}}$)[a-z][a-z0-9]*(\.{_LABEL})*",
        "this isn't a resource of the API",
        "a plural and its group, such as secrets or widgets.example.com",
    ),
]
# Besides control characters, none that end a line or turn its direction: a report must show what a reviewer read.
Text = Annotated[
    str,
    Matching(
        "text",
        r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]{1,500}",
        "this text is empty, too long or not one plain line",
        "one line of 1 to 500 characters",
    ),
]
# Below the cluster's own folder: no way up or out, nothing hidden, nothing that a shell or a template would read.
FilePath = Annotated[
    str,
    Matching(
        "file_path",
        r"(?=.{1,200}$)[A-Za-z0-9_][-A-Za-z0-9_.]*(\/[A-Za-z0-9_][-A-Za-z0-9_.]*)*",
        "this isn't a path inside the cluster's folder",
        "a path relative to cluster.yaml, without .., such as pki/ca.crt",
    ),
]
# pkg/kubelet/eviction/helpers.go: a quantity, or a share of the whole.
Threshold = Annotated[
    str,
    Matching(
        "threshold",
        r"(100|[1-9]?[0-9])(\.[0-9]{1,2})?%|[1-9][0-9]{0,14}(k|M|G|T|Ki|Mi|Gi|Ti)?",
        "this is neither a quantity nor a share",
        "a quantity or a share, such as 100Mi or 10%",
    ),
]
# time.ParseDuration of Go, in whole seconds, minutes and hours.
Duration = Annotated[
    str,
    Matching(
        "duration",
        r"(?=.)([1-9][0-9]{0,3}h)?([1-9][0-9]{0,3}m)?([1-9][0-9]{0,4}s)?",
        "this isn't a duration",
        "a duration, such as 90s or 5m or 1h30m",
    ),
]
# A name as authenticators give it, such as system:serviceaccount:backup:agent or jane@example.org.
ApiUser = Annotated[
    str,
    Matching(
        "api_user",
        r"[A-Za-z0-9][-A-Za-z0-9._:@/]{0,252}",
        "this isn't a user of the API",
        "a user of the API, such as system:serviceaccount:backup:agent",
    ),
]
Digest = Annotated[
    str,
    Matching(
        "digest", r"[0-9a-f]{64}", "this isn't a SHA-256", "64 lower-case hexadecimal digits, as sha256sum prints"
    ),
]
# Beside cluster.yaml or in a folder there: no way out of it, and nothing hidden.
BesidePath = Annotated[
    str,
    Matching(
        "path",
        r"(?=.{1,200}$)[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*",
        "this isn't a path beside cluster.yaml",
        "a relative path of letters, digits, . _ - and inner slashes, such as network.yaml",
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Day = Annotated[date, BeforeValidator(_day), _schema("a day, such as 2027-01-31", format="date")]
Address = Annotated[IPAddress, BeforeValidator(_address), _schema(_AN_ADDRESS), _as_text]
Network = Annotated[
    IPNetwork, BeforeValidator(_network), _schema("an address range in CIDR notation, such as 192.0.2.0/24"), _as_text
]
External = Annotated[
    str | IPAddress,
    PlainValidator(_external),
    _schema("a lower-case DNS name or an address, such as api.example.org"),
    PlainSerializer(str, return_type=str),
]
