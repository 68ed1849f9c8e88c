"""Fixed stand-ins for what comes from outside of a rendering: facts of a host, secrets, programs and images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.artifacts import lock
from kharden.pki.contents import AUTHORITY_KEY, SERVICE_ACCOUNT_KEY, Data, Leaves, Roots, RootsDoor, Secrets, Trust
from kharden.pki.material import EncryptionKey, KeyedCertificate
from kharden.pki.tree import AUTHORITIES, LEAVES
from kharden.pki.views import for_node
from kharden.plan.cluster import make
from kharden.plan.facts import LabFacts
from kharden.render.artefact import Image
from kharden.render.cluster import LockId, StoredProgram, Supply, render_cluster
from kharden.spec.load import load

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build

GOLDEN = Path(__file__).parents[2] / "golden"
# Where the builds would lie; ssh_config names its neighbours by their whole paths.
PLACE = Path("/srv/kharden/build")
# In every secret of the stand-ins, so that whatever holds one can be told.
CANARY = b"canary, sing only in cages"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _image(reference: str) -> Image:
    name = reference.removeprefix("registry.k8s.io/")
    return Image(reference, f"sha256:{_digest(name)}", _digest(f"archive of {name}"), len(name))


def supplied(version: str) -> Supply:
    """What belongs to a version of Kubernetes, by the names of the lock and with digests of these names."""
    release = lock.load().kubernetes(version)
    return Supply(
        programs={one.name: StoredProgram(_digest(one.name), len(one.name)) for one in release.programs},
        images=tuple(_image(one.reference) for one in release.images),
        lock=LockId(7, _digest("lock")),
    )


def _pair(name: str) -> KeyedCertificate:
    """A certificate that names what it is of, and a key that nobody may see."""
    certificate = f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"
    key = b"-----BEGIN PRIVATE KEY-----\n%s: %s\n-----END PRIVATE KEY-----\n" % (name.encode(), CANARY)
    return KeyedCertificate(certificate.encode(), key)


def stand_ins(plan: ClusterPlan) -> Secrets:
    """Secrets of constant bytes; each has the canary in it."""
    authorities = {row.name: _pair(row.name) for row in AUTHORITIES}
    service_account = _pair("service accounts").key
    digests = {
        AUTHORITY_KEY: hashlib.sha256(authorities["ca"].key).hexdigest(),
        SERVICE_ACCOUNT_KEY: hashlib.sha256(service_account).hexdigest(),
    }
    certificates = {name: pair.certificate for name, pair in authorities.items()}
    trust = Trust(certificates, b"-----BEGIN PUBLIC KEY-----\n", digests, ())
    nodes = {node.name: {row.name: _pair(f"{row.name} of {node.name}") for row in LEAVES} for node in plan.nodes}
    return Secrets(
        RootsDoor.opened_with(Roots(authorities, (service_account,), _pair("super-admin"), ())),
        Leaves(trust, nodes, ()),
        Data("", (EncryptionKey(CANARY[:16] * 2), EncryptionKey(CANARY[-16:] * 2)), ()),
    )


def rendered(plan: ClusterPlan, secrets: Secrets | None = None, supply: Supply | None = None) -> Build:
    """The build of a plan."""
    own = secrets or stand_ins(plan)
    shares = {node.name: for_node(own, node) for node in plan.nodes}
    supplies = {node.architecture: supply or supplied(plan.kubernetes) for node in plan.nodes}
    return render_cluster(plan, shares, supplies, PLACE / plan.name)


def facts(*names: str) -> LabFacts:
    """A host that is as unlike a real machine as can be."""
    return LabFacts(
        cgroup_version=1,
        oom_adjustable=False,
        file_limit=4096,
        ssh_key=Path("/srv/kharden/lab/key"),
        host_keys={name: (f"ssh-ed25519 {name}",) for name in names},
    )


def planned(path: Path) -> ClusterPlan:
    """The plan of a cluster.yaml; a lab's with `facts`."""
    loaded = load(path)
    names = [node.name for node in loaded.cluster.spec.nodes]
    return make(loaded.cluster, loaded.digest, facts(*names) if loaded.cluster.spec.lab else None)
