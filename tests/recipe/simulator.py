"""A rendered CIB as a running cluster, and what Pacemaker's own scheduler (crm_simulate) does when something fails."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from components.topology import Cluster, Topology
from tests.recipe.test_cib import SIMULATE, live

#: Transitions until a whole cloud has started; the simulation says when there is nothing left to do.
_MOST = 6
#: Of the text: Pacemaker 3.0.0 ends its XML at the first simulated failure.
_ACTION = re.compile(r"^ +\* (Resource action|Fencing)", re.MULTILINE)
_DONE = re.compile(r"^ +\* Resource action: (\S+) +(start|stop|promote|demote) on (\S+)$", re.MULTILINE)
_FENCED = re.compile(r"^ +\* Fencing (\S+) \(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reaction:
    """`fenced`: nodes. `done`: (operation, resource, node) of start, stop, promote and demote.

    `busy`: whether there was anything to do at all, probes and monitors too.
    """

    fenced: frozenset[str]
    done: frozenset[tuple[str, str, str]]
    busy: bool

    def on(self, operation: str, resource: str) -> set[str]:
        """The nodes on which that was done to the resource."""
        return {node for op, what, node in self.done if (op, what) == (operation, resource)}

    def stopped(self, node: str) -> set[str]:
        """What was taken down on a node."""
        return {what for op, what, where in self.done if op in ("stop", "demote") and where == node}


@dataclass
class Simulation:
    """A cluster on which all runs that should.

    `unfit`: members whose database Galera's agent would not promote.
    """

    topology: Topology
    cluster: Cluster
    folder: Path
    unfit: frozenset[str] = frozenset()
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        root = live(self.topology, self.cluster)
        for state in root.iter("node_state"):
            node = state.get("id") or ""
            attributes = ET.SubElement(state, "transient_attributes", id=node)
            score = "-1" if state.get("uname") in self.unfit else "100"
            values = ET.SubElement(attributes, "instance_attributes", id=f"status-{node}")
            ET.SubElement(values, "nvpair", id=f"status-{node}-galera", name="master-galera", value=score)
        self._file.write_text(ET.tostring(root, encoding="unicode"))
        self.react()
        self._connect()

    def _connect(self) -> None:
        """What the cluster notes of a pacemaker_remote node whose connection is up."""
        root = ET.parse(self._file).getroot()
        status = root.find("status")
        assert status is not None
        for node in self.cluster.remotes:
            for state in status.findall(f"node_state[@id='{node.name}']"):
                status.remove(state)
            values = {"id": node.name, "uname": node.name, "remote_node": "true", "in_ccm": "true"}
            ET.SubElement(status, "node_state", values | {"node_fenced": "0", "crm-debug-origin": "test"})
        self._file.write_text(ET.tostring(root, encoding="unicode"))
        self.react()

    @property
    def _file(self) -> Path:
        return self.folder / f"{self._count}.xml"

    def _step(self, *options: str) -> str:
        before = self._file
        self._count += 1
        command = [str(SIMULATE), "--simulate", "--xml-file", str(before), "--save-output", str(self._file), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # So it ends too when all that is left waits for a promotion that does not come.
        assert done.returncode == 0 or "Transition failed: terminated" in done.stdout + done.stderr, done.stderr
        return done.stdout

    def once(self, *options: str) -> Reaction:
        """The first transition after an event (options of crm_simulate(8))."""
        said = self._step(*options)
        transition = said.partition("Executing Cluster Transition:")[2].partition("Revised Cluster Status:")[0]
        done = ((operation, what, node) for what, operation, node in _DONE.findall(transition))
        return Reaction(frozenset(_FENCED.findall(transition)), frozenset(done), bool(_ACTION.search(transition)))

    def react(self, *options: str) -> Reaction:
        """What follows an event, until there is nothing left to do."""
        all_ = self.once(*options)
        for _ in range(_MOST):
            one = self.once()
            if not one.busy:
                return all_
            all_ = Reaction(all_.fenced | one.fenced, all_.done | one.done, True)
        raise AssertionError(f"not settled after {_MOST} transitions: {sorted(one.fenced)} {sorted(one.done)}")

    def configure(self, wanted: ET.Element) -> None:
        """The cluster is given another configuration: everything but what it knows of nodes and their state."""
        root = ET.parse(self._file).getroot()
        old, new = root.find("configuration"), wanted.find("configuration")
        assert old is not None
        assert new is not None
        for section in new:
            before = old.find(section.tag)
            if section.tag != "nodes" and before is not None:
                position = list(old).index(before)
                old.remove(before)
                old.insert(position, section)
        self._file.write_text(ET.tostring(root, encoding="unicode"))

    def lose(self, node: str) -> Reaction:
        """The node is silent all at once."""
        return self.react("--node-fail", node)

    def fail(self, resource: str, node: str, interval: int) -> Reaction:
        """The resource's monitor (`interval` seconds) finds it not running."""
        return self.react(*self.failure(resource, node, interval))

    @staticmethod
    def failure(resource: str, node: str, interval: int) -> tuple[str, str]:
        return "--op-inject", f"{resource}_monitor_{interval}000@{node}=7"

    def running(self) -> dict[str, set[str]]:
        """Primitive to the nodes on which it runs."""
        command = [str(SIMULATE), "--output-as=xml", "--xml-file", str(self._file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        status = ET.fromstring(said).find("cluster_status")
        assert status is not None
        found: dict[str, set[str]] = {}
        for resource in status.iter("resource"):
            name = (resource.get("id") or "").partition(":")[0]
            found.setdefault(name, set()).update(node.get("name") or "" for node in resource.iter("node"))
        return found
