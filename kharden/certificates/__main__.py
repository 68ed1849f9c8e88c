"""`python -m kharden.certificates`: which of the pending kubelet serving requests may be approved.

Reads on standard input {"requests": <output of kubectl get csr -o json>, "expected": [{"name", "addresses", "dns"}]},
prints {"approve": [name…], "notes": [a line for each…], "pending": [{"name", "reason", "note"}…]}. Requests for other
signers and those already decided are left out. Exit status 1 and one line on standard error where the input can't be
used.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from ipaddress import ip_address
from typing import Any

from kharden.certificates.serving import SIGNER, ServingIdentity, ServingRequest, judge_serving_request
from kharden.errors import InputError, KhardenError

# Object names are DNS subdomains (RFC 1123); anything else would not come from an API server and may be an option.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_DECIDED = {"Approved", "Denied", "Failed"}


def decide(document: object) -> dict[str, list[Any]]:
    """The answer to `document`, both as described for this module.

    Raises:
        InputError: the document has another form.
    """
    if not isinstance(document, dict):
        raise _malformed()
    try:
        expected = {identity.name: identity for identity in map(_identity, document["expected"])}
        requests = [_request(item) for item in document["requests"]["items"] if _is_ours(item)]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _malformed() from None
    approve, notes, pending = [], [], []
    for request in requests:
        reason = _judge(request, expected)
        if reason is None:
            approve.append(request.name)
            whose = f"{request.name!a} of {request.requester[:100]!a}"
            notes.append(f"certificate request {whose} matches the plan: apply approves it")
        else:
            note = f"certificate request {request.name[:100]!a} of {request.requester[:100]!a} stays pending: {reason}"
            pending.append({"name": request.name, "reason": reason, "note": note})
    return {"approve": approve, "notes": notes, "pending": pending}


def _judge(request: ServingRequest, expected: dict[str, ServingIdentity]) -> str | None:
    if not _NAME.fullmatch(request.name):
        return "the object's name is none that an API server gives"
    identity = expected.get(request.node)
    return judge_serving_request(request, identity) if identity else "the requester is no node of this cluster"


def _is_ours(item: dict[str, Any]) -> bool:
    status = item.get("status") or {}
    decided = any(condition["type"] in _DECIDED for condition in status.get("conditions") or ())
    return item["spec"]["signerName"] == SIGNER and not decided and not status.get("certificate")


def _request(item: dict[str, Any]) -> ServingRequest:
    spec = item["spec"]
    return ServingRequest(
        name=str(item["metadata"]["name"]),
        pem=base64.b64decode(spec["request"], validate=True),
        requester=str(spec["username"]),
        groups=tuple(spec.get("groups") or ()),
        signer=spec["signerName"],
        usages=tuple(spec.get("usages") or ()),
    )


def _identity(entry: dict[str, Any]) -> ServingIdentity:
    return ServingIdentity(
        str(entry["name"]), frozenset(map(ip_address, entry["addresses"])), frozenset(map(str, entry["dns"]))
    )


def _malformed() -> InputError:
    return InputError(
        "standard input: not a list of requests and of expected nodes",
        remedy="give it what kubectl get csr -o json says",
    )


def main() -> int:
    """Answer standard input on standard output; the exit status."""
    try:
        answer = decide(json.load(sys.stdin))
    except ValueError:
        # InputError is a ValueError as well, and so is what json and a wrong encoding raise.
        print(_malformed(), file=sys.stderr)  # noqa: T201  # a program's own output
        return KhardenError.exit_code
    print(json.dumps(answer))  # noqa: T201  # a program's own output
    return 0


if __name__ == "__main__":
    sys.exit(main())
