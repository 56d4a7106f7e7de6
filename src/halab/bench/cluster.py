"""halab's cluster stage against the same cluster made with pcs, each on fresh VMs of the same kind."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

from components.cluster import cib, corosync
from components.plan import managed, plan
from components.recipe import File, Recipe
from components.steps import Step, StepGraph
from components.topology import Cluster
from halab import crm
from halab.bench import pcs
from halab.bench.figures import Figure, Result
from halab.bench.lab import Lab, Run
from halab.errors import HalabError

DESCRIPTION = Path(__file__).with_name("cluster.yaml")
_RECIPE = Recipe(Path(__file__).with_name("pcs.sh"))
_COMMANDS = "/run/halab/pcs-commands"
_STAGES = frozenset({"corosync", "pacemaker"})
_GATE = "pacemaker.ready"
#: Seconds for a cluster to run everything once it is configured.
_LIMIT = 900.0
_NOTES = (
    "both begin on fresh VMs with the services' files in place and end when every resource runs everywhere it should; "
    "the two live configurations were compared and are the same but for operations and ids",
    "pcsd runs on every member before the clock of pcs starts, as it would from boot",
)


def before(steps: StepGraph) -> tuple[str, ...]:
    """Every step that halab's cluster stage needs done and that is not its own."""
    return tuple(sorted(name for name in steps.ancestors(_GATE) if steps.by_name[name].stage not in _STAGES))


def expected(configuration: ET.Element) -> dict[str, int]:
    """Primitive to the number of its instances that run when all is well."""
    found: dict[str, int] = {}
    for element in configuration.iterfind("resources/*"):
        primitive = element if element.tag == "primitive" else element.find("primitive")
        if primitive is None:
            raise ValueError(f"{element.get('id')}: no primitive and no clone of one")
        meta = {pair.get("name"): pair.get("value") for pair in element.iterfind("meta_attributes/nvpair")}
        found[primitive.attrib["id"]] = int(meta.get("clone-max") or 1) if element.tag == "clone" else 1
    return found


def unsettled(state: crm.ClusterState, wanted: Mapping[str, int]) -> str:
    """Why the cluster does not yet run all it should; "" when it does."""
    if not state.quorum:
        return "no quorum"
    for id_, instances in wanted.items():
        mine = [one for one in state.resources if one.id == id_]
        if any(one.failed for one in mine):
            return f"{id_} failed"
        running = sum(len(one.nodes) for one in mine if one.role in ("Started", "Promoted", "Unpromoted"))
        if running != instances:
            return f"{id_} runs {running} of {instances} times"
    return ""


def run(lab: Lab, repeat: int, tell: Callable[[str], None]) -> list[Result]:
    """Raises HalabError where either does not come up, or where the two clusters are not the same."""
    topology = lab.topology
    (cluster,) = topology.clusters
    steps = plan(topology)
    document = ET.fromstring(cib.document(topology, cluster, managed(topology)))
    configuration = document.find("configuration")
    assert configuration is not None, "every CIB has one"
    wanted = expected(configuration)
    lines: list[str] = []
    ways: dict[str, Callable[[], float]] = {
        "halab": lambda: _halab(lab, cluster, wanted),
        "pcs": lambda: _pcs(lab, cluster, steps, pcs.commands(configuration), wanted, lines),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    live: dict[str, ET.Element] = {}
    for turn in range(repeat):
        # each round begun by the other one
        for name in sorted(ways, reverse=bool(turn % 2)):
            tell(f"fresh VMs for {name}, {turn + 1} of {repeat}")
            lab.run("up", *_until(before(steps)))
            tell(f"the cluster by {name}")
            seconds[name].append(ways[name]())
            live[name] = _live(lab, cluster)
            lab.run("down")
    if different := pcs.differences(live["halab"], live["pcs"]):
        raise HalabError(
            f"bench: the two clusters are not the same, so neither's time counts: {'; '.join(different[:5])}"
        )
    mine = Figure("the cluster stage by halab: corosync, Pacemaker, the CIB as one document", tuple(seconds["halab"]))
    count = 2 + len(pcs.commands(configuration))
    theirs = Figure(f"the same by {count} pcs commands (host auth, cluster setup, …)", tuple(seconds["pcs"]))
    members = f"{len(cluster.members)} members, {sum(wanted.values())} resource instances"
    return [Result("cluster", mine, (theirs,), (members, *_NOTES), {"pcs": lines})]


def _until(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--until", name))


def _halab(lab: Lab, cluster: Cluster, wanted: Mapping[str, int]) -> float:
    seconds = lab.run("up", *_until([_GATE])).seconds
    return seconds + _settle(lab, cluster, wanted)


def _settle(lab: Lab, cluster: Cluster, wanted: Mapping[str, int]) -> float:
    first = cluster.members[0].name

    def why() -> str:
        try:
            return unsettled(crm.parse(lab.run("ssh", first, "--", crm.COMMAND).stdout), wanted)
        except (HalabError, ValueError) as error:
            return str(error)

    return lab.wait(f"every resource of cluster {cluster.name}", _LIMIT, why)


def _pcs(
    lab: Lab,
    cluster: Cluster,
    steps: StepGraph,
    commands: Iterable[pcs.Command],
    wanted: Mapping[str, int],
    lines: list[str],
) -> float:
    """The time from `pcs host auth` on; what halab has on the nodes besides pcs is there before.

    `lines` gets what each command took.
    """
    # on stdin and in the script's environment only; it goes with the VMs
    password = secrets.token_urlsafe(18)
    members = [node.name for node in cluster.members]
    theirs = [steps.by_name[f"{corosync.RECIPE.name}.start@{name}"] for name in members]
    with ThreadPoolExecutor(len(members)) as pool:
        prepared = [
            pool.submit(_on, lab, step.node, "prepare", {**step.env, "PASSWORD": password}, files(step))
            for step in theirs
        ]
        for one in prepared:
            one.result()
    nodes = " ".join(f"{node.name} addr={node.ip}" for node in cluster.members)
    token = lab.topology.stack.timers.token
    typed = [pcs.setup(f"{lab.stack}-{cluster.name}", cluster, token), *commands]
    listed = File(_COMMANDS, "".join("\t".join(words) + "\n" for words in typed), mode=0o600)
    env = {"NODES": nodes, "PASSWORD": password, "COMMANDS": _COMMANDS}
    built = _on(lab, members[0], "build", env, [listed])
    lines += built.stdout.splitlines()
    return built.seconds + _settle(lab, cluster, wanted)


def files(step: Step) -> list[File]:
    """Of the step that starts corosync: the agent and the units' drop-ins. The ring and the CIB are pcs's to make."""
    return [file for file in step.files if file.path.startswith(("/usr/lib/ocf/", "/etc/systemd/"))]


def _on(lab: Lab, node: str, action: str, env: Mapping[str, str], files: Iterable[File]) -> Run:
    script = _RECIPE.script(f"bench.{action}", env, files)
    return lab.run("ssh", node, "--", "bash", "-s", action, stdin=script)


def _live(lab: Lab, cluster: Cluster) -> ET.Element:
    found = ET.fromstring(lab.run("ssh", cluster.members[0].name, "--", "cibadmin", "--query").stdout)
    configuration = found.find("configuration")
    if configuration is None:
        raise HalabError(f"bench: cibadmin gave no configuration (log: {lab.log})")
    return configuration
