"""The step graph of a stack: every node's own steps, the clusters', and those of the services it has."""

from __future__ import annotations

from components.cluster import corosync, machine, pacemaker, remote
from components.parts import Resource, ServicePart
from components.services import PARTS
from components.steps import StepGraph, merge
from components.topology import Topology


def parts(topology: Topology) -> tuple[ServicePart, ...]:
    """The services that some node runs, in their own order."""
    return tuple(part for service, part in PARTS.items() if topology.running(service))


def managed(topology: Topology) -> tuple[Resource, ...]:
    """The resources that Pacemaker has for the stack's services."""
    return tuple(
        part.resource(topology) for part in parts(topology) if part.resource and topology.managed(part.service)
    )


def plan(topology: Topology) -> StepGraph:
    """Everything that has to be done on the nodes, in its order. Raises GraphError for a plan without one."""
    return merge(
        (
            machine.steps(topology),
            corosync.steps(topology, managed(topology)),
            pacemaker.steps(topology, managed(topology)),
            remote.steps(topology),
            *(part.steps(topology) for part in parts(topology)),
        )
    )
