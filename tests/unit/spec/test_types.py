from __future__ import annotations

import string
from base64 import b64encode
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from kharden.spec import types

ADAPTERS = {
    name: TypeAdapter(getattr(types, name))
    for name in ("Name", "ClusterName", "UserName", "HostKey", "KubernetesVersion", "Recipient", "Resource", "Text")
} | {name: TypeAdapter(getattr(types, name)) for name in ("Day", "Address", "Network", "External")}


def kind(name: str, value: object) -> str:
    """The error's type, or nothing."""
    try:
        ADAPTERS[name].validate_python(value, strict=True)
    except ValidationError as error:
        [found] = error.errors()
        return found["type"]
    return ""


def host_key(kind: str, blob_kind: str | None = None) -> str:
    inner = (blob_kind or kind).encode()
    return f"{kind} {b64encode(len(inner).to_bytes(4, 'big') + inner + bytes(40)).decode()}"


@given(st.text(string.ascii_letters + string.digits + "-._/ \n{}$éß１", max_size=70))
def test_a_name_is_a_label(text: str) -> None:
    label = (
        0 < len(text) <= 63
        and set(text) <= set(string.ascii_lowercase + string.digits + "-")
        and text[0] != "-"
        and text[-1] != "-"
    )
    assert (kind("Name", text) == "") is label
    assert (kind("ClusterName", text) == "") is (label and len(text) <= 40)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("UserName", ["root", "admin", "_apt", "a" * 32]),
        ("KubernetesVersion", ["1.36.3", "1.0.0", "2.10.100"]),
        ("Recipient", ["age1" + "q" * 58]),
        ("Resource", ["secrets", "configmaps", "widgets.example.com", "a1.b-c.d"]),
        ("Text", ["a", "x" * 500, "{{ x }}", "Ünïcödé ✓ 漢字", "a: b # c"]),
        ("Day", ["2027-01-31", "2028-02-29", date(2027, 1, 31)]),
        (
            "HostKey",
            [host_key(one) for one in ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521")],
        ),
        ("Address", ["10.0.0.1", "2001:db8::1", "fd00::1"]),
        ("External", ["10.0.0.1", "2001:db8::1", "api", "api.example.org", "1a.b", "x" * 63 + ".org"]),
    ],
)
def test_what_is_taken(name: str, values: list[object]) -> None:
    assert [value for value in values if kind(name, value)] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("UserName", ["", "Root", "1a", "a" * 33, "a b", "a;b", "a\n", "$USER", "-a"]),
        ("KubernetesVersion", ["1.36", "v1.36.3", "1.36.03", "01.36.3", "1.36.3-rc.1", "1.36.3\n", "1.36.1234"]),
        ("KubernetesVersion", ["\uff11.36.3", "1.36.\u0663"]),
        ("Recipient", ["age1", "age1" + "b" * 58, "age1" + "q" * 57, "AGE1" + "Q" * 58, "AGE-SECRET-KEY-1" + "Q" * 58]),
        ("Resource", ["", "*", "Secrets", "a/b", "a.", ".a", "a..b", "*.*", "a" * 254, "pods/exec"]),
        ("Text", ["", "x" * 501, "a\nb", "a\n", "\x1b[31m", "a\u2028b", "a\u202eb", "\ud800", "\x85"]),
        ("Day", ["", "2027-02-30", "20270131", "2027-W01-1", "2027-1-31", "31.01.2027", "2027-01-31T00:00:00"]),
        ("Day", ["\uff12027-01-31", 5, None]),
        (
            "HostKey",
            ["", "ssh-ed25519", "ssh-ed25519 AAAA", host_key("ssh-dss"), host_key("ssh-ed25519") + " root@node"],
        ),
        ("HostKey", [host_key("ssh-ed25519", "ssh-rsa"), "node " + host_key("ssh-rsa"), "ssh-rsa " + "A" * 41 + "="]),
        ("HostKey", [host_key("ssh-rsa") + "\n"]),
        ("Address", ["", "10.0.0", "10.0.0.1/8", "010.0.0.1", "10.0.0.1 ", "localhost", 1, b"\0\0\0\0", None]),
        ("Address", ["fe80::1", "fe80::1%eth0", "2001:db8::1%a", "::", "::1", "ff02::1", "::ffff:10.0.0.1"]),
        ("Address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.0.1"]),  # noqa: S104  # refused here
        ("External", ["", "10.0.0.999", "1.2.3", "5", "a.5", "-a", "a-", "a..b", "A.org", "a_b", "a\n", 5, "::1"]),
        ("External", ["x" * 64, "a." * 127 + "aa"]),
        ("Network", ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/255.0.0.0", "10.0.0.0/08", 10]),
        ("Network", ["fe80::%a/64", "10.0.0.0/8/8"]),
    ],
)
def test_what_is_refused(name: str, values: list[object]) -> None:
    assert [value for value in values if not kind(name, value).startswith(types.OWN_ERRORS)] == []


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f:.%/]{1,40}"))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for name in ADAPTERS:
        assert kind(name, text) == "" or kind(name, text).startswith(types.OWN_ERRORS)


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_range_is_taken_as_it_is_or_corrected(address: object, prefix: int) -> None:
    text = f"{address}/{prefix}"
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        assert kind("Network", text) == "kharden.network"
        return
    assert ADAPTERS["Network"].validate_python(str(network)) == network
    assert isinstance(network, IPv4Network | IPv6Network)
    if str(network.network_address) != str(address):
        with pytest.raises(ValidationError) as caught:
            ADAPTERS["Network"].validate_python(text)
        [error] = caught.value.errors()
        assert error["type"] == "kharden.network_host_bits"
        assert error["ctx"]["remedy"] == f"write {network}, or another prefix"


@given(st.from_regex(r"[a-z0-9-]{1,5}(\.[a-z0-9-]{1,5}){0,3}", fullmatch=True))
def test_what_looks_like_an_address_is_never_a_host_name(text: str) -> None:
    if text.rpartition(".")[2].isdigit():
        taken = kind("External", text) == ""
        assert not taken or not isinstance(ADAPTERS["External"].validate_python(text), str)
