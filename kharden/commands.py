"""What each command does: an ordered, readable list of steps. No step prints; a reporter is told.

What only one of them needs it imports itself: a plan or an apply with nothing to do is mostly waiting for imports.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from kharden import lab as lab_nodes
from kharden import ssh
from kharden.apply.choice import Choice, chosen
from kharden.apply.cluster import apply as apply_build
from kharden.apply.saved import load as load_plan
from kharden.artifacts.store import cache_root
from kharden.buildlock import held
from kharden.errors import InputError, MissingError, RefusedError
from kharden.plan import transport
from kharden.plan.cluster import make
from kharden.seal import load_or_create_identity
from kharden.validation import examined, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from kharden import personal
    from kharden.apply.runner import ApplyResult
    from kharden.apply.saved import SavedPlan
    from kharden.observe.host_keys import HostKey
    from kharden.pki.bundle import Secrets
    from kharden.place import Place
    from kharden.plan.model import ClusterPlan
    from kharden.progress import Reporter
    from kharden.report import Report
    from kharden.spec.load import Loaded
    from kharden.spec.model import Cluster


_EVERYTHING = Choice()


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a render did: paths that changed below build/<cluster>/, and notes about keys and certificates."""

    folder: Path
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def make_plan(place: Place, now: datetime | None = None) -> ClusterPlan:
    """cluster.yaml and the facts of the lab's host → the plan; `now` as in `validate`."""
    loaded = validate(place, now)
    lab = lab_of(loaded)
    return make(loaded.cluster, loaded.digest, lab_nodes.prepare(lab) if lab else None)


def scan_host_keys(place: Callable[[], Place], machine: str, port: int) -> tuple[HostKey, ...]:
    """The host keys that an address shows, or a node or jump host of cluster.yaml, over the jump host on its way.

    Raises:
        InputError: the name is unknown, or of the lab.
    """
    from kharden.observe.host_keys import is_address, scan, scan_planned

    if is_address(machine):
        return scan(machine, port)
    loaded = validate(place(), pinned=False)
    if loaded.cluster.spec.lab is not None:
        raise InputError(f"{loaded.path}: is of the lab, which makes host keys itself", remedy="there is nothing to do")
    plan = make(loaded.cluster, loaded.digest, None)
    return scan_planned(plan, machine)


def lab_of(loaded: Loaded) -> lab_nodes.Lab | None:
    """The lab that a cluster's nodes are, or None where they are real machines."""
    cluster = loaded.cluster
    if cluster.spec.lab is None:
        return None
    section = cluster.spec.lab
    subnet, *more = cluster.spec.network.node_cidrs
    nodes = [
        lab_nodes.LabNode(
            node.name,
            node.address,
            node.ssh.user,
            node.ssh.port,
            second_address=node.second_address,
            suite=section.suites.get(node.name, section.suite),
        )
        for node in cluster.spec.nodes
    ]
    # A rule of the spec says that theirs are no names in the lab.
    nodes += [
        lab_nodes.LabNode(
            host.name,
            ip_address(str(host.address)),
            host.user,
            host.port,
            sudo=False,
            suite=section.suites.get(host.name, section.suite),
        )
        for host in cluster.spec.jump_hosts
    ]
    return lab_nodes.Lab(cluster.metadata.name, subnet, tuple(nodes), second_subnet=more[0] if more else None)


def render(place: Place, reporter: Reporter, *, now: datetime) -> Rendered:
    """Write build/<cluster>/."""
    from kharden import supply
    from kharden.pki.views import for_node
    from kharden.render.cluster import render_cluster
    from kharden.render.output import write

    reporter.phase("Read cluster.yaml")
    loaded, network = examined(validate(place))
    warnings = tuple(f"{warning} (a warning)" for warning in loaded.warnings)
    for line in warnings:
        reporter.note(line)
    plan = make_plan(place, now)
    reporter.phase("Fetch programs and images")
    lock = supply.refuse_older_lock(place.build)
    artifacts = supply.fetch(plan, reporter)
    # Nothing is rendered under an apply that reads it, and no two renders make keys.
    with held(place.build):
        reporter.phase("Open keys and certificates")
        secrets, notes = _open_secrets(place, plan, reporter, now)
        reporter.phase("Render")
        shares = {node.name: for_node(secrets, node) for node in plan.nodes}
        build = render_cluster(plan, shares, supply.for_rendering(artifacts, lock), place.build, network)
        changed = write(build, place.build, secrets.recipients)
    reporter.end_phase()
    return Rendered(place.build, changed, (*warnings, *notes))


def _open_secrets(
    place: Place, plan: ClusterPlan, reporter: Reporter, now: datetime
) -> tuple[Secrets, tuple[str, ...]]:
    """The cluster's secrets; what was done is told at once, since an error may come after it."""
    from kharden.pki.bundle import identities_to_make, load_or_create

    identities, made = load_or_create_identity(os.environ, create=identities_to_make(plan, place.secrets))
    told = _told(made)
    for line in told:
        reporter.note(line)
    secrets, issued = load_or_create(plan, place.secrets, identities, now, alive=place.build.exists())
    for line in issued:
        reporter.note(line)
    return secrets, (*told, *issued)


def _told(made: Sequence[Path]) -> tuple[str, ...]:
    """A plain word about new identities: without them nothing of this cluster can be opened again."""
    return tuple(f"{path}: made; back it up, without it the store can never be opened again" for path in made)


def give_kubeconfig(
    place: Place, person: personal.Person, output: str | None, *, now: datetime, replace: bool
) -> personal.Given:
    """Write a person's kubeconfig, good for an hour at most."""
    from kharden import personal

    path = Path(output).absolute() if output else personal.default_path(os.environ, place.cluster)
    if not replace:
        personal.require_free(path)
    return personal.give(make_plan(place), place.secrets, person, path, now)


def choose(place: Place, **words: str | None) -> Choice:
    """What a person's options of plan and apply mean for this cluster; `words` as of `kharden.apply.choice.chosen`."""
    nodes = validate(place).cluster.spec.nodes
    given = dict.fromkeys(("limit", "tags", "wave", "max_fail")) | words
    return chosen([node.name for node in nodes], **given)


def choose_saved(place: Place, path: Path, **words: str | None) -> tuple[Choice, SavedPlan]:
    """What a saved plan is for, with the options of an apply that a plan doesn't have.

    Raises:
        InputError: it is none of this cluster, or it is told besides what to apply.
    """
    for option in ("limit", "tags"):
        if words.pop(option) is not None:
            raise InputError(f"--{option} and --plan: the plan says that itself", remedy="leave one of them out")
    saved = load_plan(path, place.cluster)
    return choose(place, limit=saved.limit, tags=saved.tags, **words), saved


def agree_to_apply(place: Place, consent: Callable[[Sequence[str]], bool], choice: Choice) -> None:
    """On machines that are not the lab's, a person agrees to an apply beforehand.

    Raises:
        RefusedError: nobody agreed.
    """
    cluster = validate(place).cluster
    nodes = [node for node in cluster.spec.nodes if not choice.limit or node.name in choice.limit]
    machines = [f"{node.name} ({node.address}) becomes what build/{place.cluster} says" for node in nodes]
    if cluster.spec.lab is None and not consent(machines):
        raise RefusedError("nothing was applied: nobody agreed to it", remedy="look at the plan, then add --yes")


def agree_to_lab(place: Place, consent: Callable[[Sequence[str]], bool]) -> bool:
    """Where the nodes are the lab's: see that this machine can have them; what they change on it is asked first.

    Returns:
        True where it was looked at, False where the nodes are machines of their own.

    Raises:
        MissingError: this machine can't have a lab.
        RefusedError: nobody agreed.
    """
    lab = lab_of(validate(place))
    if lab is None:
        return False
    lab_nodes.check(lab)
    changes = [str(change) for change in lab_nodes.host_changes(lab)]
    if changes and not consent(changes):
        raise RefusedError("the lab was not started: nobody agreed to the changes on this machine", remedy="add --yes")
    return True


def bring_up_lab(place: Place, reporter: Reporter, choice: Choice = _EVERYTHING) -> None:
    """Start the nodes where they are the lab's and don't run yet; of those that weren't chosen none, but jump hosts."""
    loaded = validate(place)
    lab = lab_of(loaded)
    if lab is not None:
        reporter.phase("Start the lab's nodes")
        others = {node.name for node in loaded.cluster.spec.nodes}.difference(choice.limit) if choice.limit else set()
        lab_nodes.up(lab, reporter, only=[node.name for node in lab.nodes if node.name not in others])


def apply(  # noqa: PLR0913  # the options of plan and apply
    place: Place,
    reporter: Reporter,
    *,
    choice: Choice = _EVERYTHING,
    saved: SavedPlan | None = None,
    check: bool = False,
    break_lock: bool = False,
) -> ApplyResult:
    """Make the nodes what build/<cluster>/ says; with `check`, look only."""
    loaded = validate(place)
    _refuse_other_nodes(place)
    _require_keys(loaded.cluster)
    identities, _ = load_or_create_identity(os.environ)
    result = apply_build(
        place.build,
        spec_digest=loaded.digest,
        identities=identities,
        cache=cache_root(),
        progress=reporter,
        choice=choice,
        saved=saved,
        check=check,
        break_lock=break_lock,
    )
    reporter.end_phase()
    return result


def _refuse_other_nodes(place: Place) -> None:
    """Lab nodes that were made anew have new host keys: what was rendered for the old ones is not for them.

    Raises:
        RefusedError: that is so.
    """
    path = place.build / "ansible" / "known_hosts"
    if path.exists() and path.read_text(encoding="utf-8") != transport.known_hosts(make_plan(place)):
        raise RefusedError(f"{place.build}: was rendered for other nodes than the lab has now", remedy="render again")


def _require_keys(cluster: Cluster) -> None:
    """The private keys that cluster.yaml names lie on this machine.

    Raises:
        MissingError: one doesn't.
    """
    machines: list[tuple[str, str | None]] = [(node.name, node.ssh.key) for node in cluster.spec.nodes]
    machines += [(host.name, host.key) for host in cluster.spec.jump_hosts]
    for name, key in machines:
        if key is not None and not ssh.is_key_file(key):
            raise MissingError(f"{key}: there is no such key here, and {name} asks for it", remedy="correct its key")


@dataclass(frozen=True, slots=True)
class Verified:
    """What verify found, and where it wrote that down."""

    report: Report
    path: Path


def verify(place: Place, reporter: Reporter, *, now: datetime, passive: bool = False) -> Verified:
    """Observe the nodes, judge every control and write the report."""
    from kharden import supply
    from kharden.observe import collect, suite
    from kharden.report import judge
    from kharden.report import write as write_report

    cluster = validate(place).cluster
    _require_keys(cluster)
    plan = make_plan(place)
    reporter.phase("Observe the nodes")
    snapshot = collect(plan, supply.pause_image(plan), passive=passive, now=now)
    reporter.phase("Run the state suite")
    observations = suite.run(plan, snapshot, supply.locked_digests(plan), _known_authorities(place))
    report = judge(plan, observations, cluster.spec.waivers, now, snapshot.away)
    path = write_report(report, place.evidence)
    reporter.end_phase()
    return Verified(report, path)


def _known_authorities(place: Place) -> Mapping[str, str]:
    """Fingerprints of the cluster's authorities; none where nothing was rendered: what needs them is then unknown."""
    from kharden.pki.public import FILE as AUTHORITIES_FILE
    from kharden.pki.public import fingerprints

    return fingerprints(place.secrets) if (place.secrets / AUTHORITIES_FILE).exists() else {}


def next_steps(place: Place, program: str) -> str:
    """What to do after a successful apply; `program` is what the user types, "invoke" or "kharden"."""
    name = f"--cluster {place.cluster}"
    spec = validate(place).cluster.spec
    steps = [
        f"Next: {program} verify {name}       observe the cluster and judge every control",
        f"      {program} plan {name}         what an apply would change; run it on a timer",
    ]
    if spec.network.plugin == "none":
        steps.append("      install a network plugin: nodes are not ready and DNS does not run before that")
    if spec.lab is not None:
        steps.append(f"      {program} lab.shell NODE {name}, {program} lab.down {name}")
    return "\n".join(steps)
