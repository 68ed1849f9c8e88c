"""What a cluster.yaml decides, in parts: cheap ones first, so that a difference is soon found."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kharden.certificates.facts import parse_one
from kharden.commands import lab_of
from kharden.controls import CONTROLS
from kharden.errors import KhardenError, MissingError
from kharden.observe.model import Observation
from kharden.pki.create import create
from kharden.plan.cluster import make
from kharden.render.output import write
from kharden.render.pinned import read_network
from kharden.report import judge
from kharden.report.json_report import document
from kharden.spec.load import load
from kharden.spec.problems import SpecError
from tests.unit.render import stand_ins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.seal import Identities
    from kharden.spec.load import Loaded
    from kharden.spec.policy import Waiver

NOW = datetime(2026, 11, 21, tzinfo=UTC)

# Name of a part → something that can be compared.
Parts = dict[str, object]


def effects(path: Path, folder: Path, identities: Identities) -> Iterator[Parts]:
    """Everything that the cluster.yaml at `path` decides; what is written meanwhile goes below `folder`."""
    try:
        loaded = load(path)
    except SpecError as error:
        raise AssertionError("\n".join(("choose other values:", *error.details))) from None
    plan = planned(loaded)
    yield built(plan, folder / "build", identities)
    yield pinned(plan, path.parent)
    yield {"the lab's nodes": lab_of(loaded)}
    yield reported(plan, loaded.cluster.spec.waivers)
    yield issued(plan, path.with_name("secrets"), identities)


def planned(loaded: Loaded) -> ClusterPlan:
    """The plan. The file's own digest is left out: it differs with every byte, comments too."""
    names = [node.name for node in loaded.cluster.spec.nodes]
    return make(loaded.cluster, "", stand_ins.facts(*names) if loaded.cluster.spec.lab else None)


def built(plan: ClusterPlan, folder: Path, identities: Identities) -> Parts:
    """The files of build/, which apply reads; those of the same secrets for every cluster."""
    write(stand_ins.rendered(plan), folder, identities.recipients)
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".age"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.name != "sealed.json"}


def pinned(plan: ClusterPlan, folder: Path) -> Parts:
    """The file of the user's network plugin, or why it is refused."""
    try:
        return {"network": read_network(plan.network.manifest, folder)}
    except KhardenError as error:
        return {"network": error.message.replace(str(folder), "")}


def reported(plan: ClusterPlan, waivers: tuple[Waiver, ...]) -> Parts:
    """The report where nothing is as it should be."""
    failing = [
        Observation(control.id, node.name, "collector", "this", "that", NOW, ok=False)
        for control in CONTROLS
        for node in plan.nodes
        if control.concerns(node.duties)
    ]
    return {"report.json": json.dumps(document(judge(plan, failing, waivers, NOW)))}


def issued(plan: ClusterPlan, folder: Path, identities: Identities) -> Parts:
    """Certificates but for what differs each time they are made, and who can open the stores."""
    try:
        secrets, _ = create(plan, folder, identities, NOW)
    except MissingError as error:  # a file that cluster.yaml names isn't there
        return {"missing": error.message}
    authorities = secrets.leaves.trust.authorities
    certificates = {str(name): parse_one(pem, what=name) for name, pem in authorities.items()}
    for node, pairs in secrets.leaves.nodes.items():
        certificates |= {f"{name} of {node}": parse_one(pair.certificate, what=name) for name, pair in pairs.items()}
    told: Parts = {name: replace(facts, serial=0, sha256="") for name, facts in certificates.items()}
    return {**told, "recipients": {**secrets.recipients}}
