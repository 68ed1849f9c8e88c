"""Rules about keys and certificates."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath, duplicates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule

_SECRETS = "secrets/"
_AGE = ".age"
_AUTHORITY: KeyPath = ("spec", "pki", "authority")


def leaves_end_before_authorities(cluster: Cluster) -> Iterator[Finding]:
    """A certificate is worth nothing once its issuer's has expired."""
    lifetimes = cluster.spec.pki.lifetimes
    if lifetimes.leaf_days > lifetimes.authority_days:
        remedy = f"write at most {lifetimes.authority_days}, or a larger authorityDays"
        path = ("spec", "pki", "lifetimes", "leafDays")
        yield Finding(path, "leaf certificates would outlive their authority", remedy)


def extra_names_differ(cluster: Cluster) -> Iterator[Finding]:
    """A certificate names each once, and whoever takes one off a list means it to be gone."""
    external: KeyPath = ("spec", "endpoint", "external")
    extra: KeyPath = ("spec", "pki", "extraSANs")
    others = (((*external, i), name) for i, name in enumerate(cluster.spec.endpoint.external))
    own = (((*extra, i), name) for i, name in enumerate(cluster.spec.pki.extra_sans))
    # Those of endpoint.external have a rule of their own.
    return (found for found in duplicates(chain(others, own), "remove one") if found.path[:-1] == extra)


def authority_key_is_sealed(cluster: Cluster) -> Iterator[Finding]:
    """What the file holds is looked at when it is read; its name tells a person and a reviewer beforehand."""
    authority = cluster.spec.pki.authority
    if authority and not authority.key.endswith(_AGE):
        remedy = f"seal the key with age and name that file, ending in {_AGE}"
        yield Finding((*_AUTHORITY, "key"), "this isn't the name of a file sealed with age", remedy)


def authority_lies_beside_the_stores(cluster: Cluster) -> Iterator[Finding]:
    """The stores are made in one step, with their folder: nothing else may lie in it."""
    authority = cluster.spec.pki.authority
    for name in ("certificate", "key") if authority else ():
        if getattr(authority, name).startswith(_SECRETS):
            remedy = "put it into another folder, such as pki/"
            yield Finding((*_AUTHORITY, name), "this folder is for the sealed stores alone", remedy)


PKI_RULES: tuple[Rule, ...] = (
    leaves_end_before_authorities,
    extra_names_differ,
    authority_key_is_sealed,
    authority_lies_beside_the_stores,
)
