"""A stack's VMs as whoever stands at the machines has them: off, on, frozen, their cables out. By virsh."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from components.topology import Topology
from halab.errors import HalabError

_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Vm:
    """`id` is libvirt's number of this run of the VM, "" when it is off: a VM that was off and on has another."""

    id: str
    state: str

    @property
    def runs(self) -> bool:
        return self.state == "running"


class Power:
    """`uri`: the stack's libvirt. Every method raises HalabError where libvirt refuses or does not answer."""

    def __init__(self, topology: Topology, uri: str) -> None:
        self._topology, self._uri = topology, uri

    def off(self, node: str) -> None:
        """At once, as by pulling the plug."""
        self._virsh("destroy", self._domain(node))

    def on(self, node: str) -> None:
        self._virsh("start", self._domain(node))

    def freeze(self, node: str) -> None:
        self._virsh("suspend", self._domain(node))

    def thaw(self, node: str) -> None:
        self._virsh("resume", self._domain(node))

    def link(self, node: str, *, up: bool) -> None:
        """All cables of the VM; one that is switched off and on again has them in."""
        for nic in self._topology.node(node).nics:
            self._virsh("domif-setlink", self._domain(node), nic.mac, "up" if up else "down")

    def vms(self) -> Mapping[str, Vm]:
        """By node."""
        found = {}
        for line in self._virsh("list", "--all").splitlines():
            fields = line.split(None, 2)
            if len(fields) == 3:
                found[fields[1]] = Vm(fields[0].strip("-"), fields[2].strip())
        return {node.name: found.get(node.domain, Vm("", "absent")) for node in self._topology.nodes}

    def _domain(self, node: str) -> str:
        return self._topology.node(node).domain

    def _virsh(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["virsh", "--quiet", "-c", self._uri, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
            )
        except subprocess.TimeoutExpired:
            raise HalabError(f"virsh {' '.join(arguments)}: no answer within {_LIMIT:.0f} s") from None
        if done.returncode:
            raise HalabError(f"virsh {' '.join(arguments)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
        return done.stdout
