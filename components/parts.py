"""What a service tells the others about itself: its steps, how Pacemaker runs it, how HAProxy fronts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from components.steps import Step
from components.topology import Topology
from components.variant import Service

#: The agent of a resource that is a systemd unit, named by its parameter `unit`; Pacemaker's own class for them takes
#: a start that is queued in systemd for a failed one (components/cluster/files/unit.ocf).
UNIT_AGENT = "ocf:halab:unit"


@dataclass(frozen=True, slots=True)
class Operation:
    """One `<op>` of a primitive; seconds. `role` is Promoted or Unpromoted for a promotable clone's monitors."""

    name: str
    interval: int = 0
    timeout: int = 60
    role: str | None = None
    on_fail: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A Pacemaker clone of one primitive on every full member that runs the service.

    `agent` is "class:provider:type" or "class:type"; `meta` the clone's, `primitive_meta` the primitive's meta
    attributes; `after` names other services whose clone starts first; `ordering` is the kind of that rsc_order;
    `together`: services without whose clone on the same node it does not run.
    """

    service: Service
    agent: str
    operations: tuple[Operation, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    primitive_meta: Mapping[str, str] = field(default_factory=dict)
    after: tuple[Service, ...] = ()
    ordering: Literal["Mandatory", "Optional"] = "Optional"
    together: tuple[Service, ...] = ()

    @property
    def clone(self) -> str:
        """The clone's id in the CIB; the primitive's is the service's name."""
        return f"{self.service}-clone"


@dataclass(frozen=True, slots=True)
class Listener:
    """How HAProxy fronts a service on its VIP: `port` on the VIP, `backend_port` on each node that runs it.

    `tls`: HAProxy ends TLS with the stack's certificate. `check` is an HTTP path asked on `check_port`, every
    `check_interval` seconds. `single`: one active backend, the others `backup`.
    """

    service: Service
    port: int
    backend_port: int
    mode: Literal["http", "tcp"]
    tls: bool
    check: str
    check_port: int
    single: bool = False


@dataclass(frozen=True, slots=True)
class ServicePart:
    """One service module's contribution; `resource` and `listener` are None where the service has none."""

    service: Service
    steps: Callable[[Topology], tuple[Step, ...]]
    resource: Callable[[Topology], Resource] | None = None
    listener: Callable[[Topology], Listener] | None = None


def endpoints(topology: Topology, parts: Mapping[Service, ServicePart]) -> dict[str, str]:
    """The URL of each service that the stack offers on a VIP, by service name; within the cloud."""
    urls: dict[str, str] = {}
    for vip in topology.vips:
        for service in vip.services:
            make = parts[service].listener if service in parts else None
            if make is not None:
                found = make(topology)
                scheme = "tcp" if found.mode == "tcp" else "https" if found.tls else "http"
                urls[str(service)] = f"{scheme}://{vip.name}.{topology.domain}:{found.port}"
    return urls
