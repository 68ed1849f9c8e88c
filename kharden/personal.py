"""What `kubeconfig` does: a person's own way to the API, for an hour at most."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kharden import securefile
from kharden.certificates.facts import parse_one
from kharden.errors import InputError, RefusedError
from kharden.pki.people import MAX_LIFETIME, issue_person
from kharden.pki.stores import read_store, store_path
from kharden.pki.written import load_roots
from kharden.plan.endpoints import people_server
from kharden.render.control_plane import kubeconfig
from kharden.seal import load_or_create_identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from kharden.plan.model import ClusterPlan


@dataclass(frozen=True, slots=True)
class Person:
    """Who gets it: a user's name, groups that RBAC knows, and for how long."""

    user: str
    groups: tuple[str, ...]
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Given:
    """What was written where.

    Attributes:
        expires: when the certificate ends.
        notes: what a person should know.
    """

    path: Path
    server: str
    user: str
    groups: tuple[str, ...]
    expires: datetime
    notes: tuple[str, ...]


def lifetime(hours: str) -> timedelta:
    """A number of hours as a person writes it, such as "0.5".

    Raises:
        InputError: it is none, or not more than nothing and an hour at most.
    """
    try:
        value = float(hours)
    except ValueError:
        value = 0.0
    if not 0 < value <= MAX_LIFETIME / timedelta(hours=1):
        raise InputError(
            f"--hours {hours[:20]}: is not a part of an hour", remedy="write a number up to 1, such as 0.5"
        )
    return timedelta(hours=value)


def default_path(environ: Mapping[str, str], cluster: str) -> Path:
    """In memory where the user has a folder there that ends with the session, else in their configuration."""
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute():
        return runtime / "kharden" / f"{cluster}.kubeconfig"
    return Path(environ.get("HOME", "~")).expanduser() / ".config/kharden/kubeconfigs" / f"{cluster}.kubeconfig"


def require_free(path: Path) -> None:
    """Nothing is overwritten that nobody asked about.

    Raises:
        RefusedError: there is a file already.
    """
    if path.exists() or path.is_symlink():
        raise RefusedError(f"{path}: is there already", remedy="add --replace, or name another with --output")


def give(plan: ClusterPlan, secrets: Path, person: Person, path: Path, now: datetime) -> Given:
    """Issue a certificate from the people's authority and write the kubeconfig that holds it.

    Args:
        plan: the cluster.
        secrets: the folder of its stores; the roots are opened, and no other one.
        person: who it is for.
        path: where it goes, with mode 0600.
        now: the time.

    Raises:
        InputError: a name or group can't be given.
        RefusedError: the people's authority has expired.
        MissingError: no identity of this machine opens the roots.
        IntegrityError: they are damaged.
    """
    identities, _ = load_or_create_identity(os.environ)
    where = store_path(secrets, "roots")
    roots = load_roots(read_store(secrets, "roots", identities), plan.name, where)
    pair = issue_person(roots, person.user, person.groups, now, person.lifetime)
    server = people_server(plan)
    authority = roots.authorities["ca"].certificate
    securefile.make_folder(path.parent, mode=0o700)
    securefile.write(path, kubeconfig(plan.name, authority, pair, user=person.user, server=server), mode=0o600)
    expires = parse_one(pair.certificate, what=person.user).not_after
    notes = [f"{where}: was opened to issue the certificate"]
    if not plan.access.api:
        notes.append("spec.access.api is empty: the firewall lets nobody reach the API from outside the cluster")
    return Given(path, server, person.user, person.groups, expires, tuple(notes))
