"""A stack: fabric, machines, fencing daemon, steps; and what it tells the user."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_command import local

from components.bootstrap import Bootstrap
from components.cluster import fencing
from components.images import Image
from components.machine import Fabric, Machine
from components.secrets import Secrets
from components.seed import seed
from components.steps import StepGraph
from components.topology import Topology
from components.variant import Fencing


class Lab(pulumi.ComponentResource):
    """One cloud. `outputs` is what the stack exports."""

    def __init__(
        self,
        topology: Topology,
        plan: StepGraph,
        secrets: Secrets,
        images: Mapping[str, Image],
        uri: str,
        domain_type: str,
        endpoints: Mapping[str, str],
        ca: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`endpoints`: URL by service; `ca`: path of the CA certificate that the user's clients trust."""
        super().__init__("halab:lab:Lab", topology.stack.name, opts=opts)
        self._topology, self._secrets, self._uri = topology, secrets, uri
        mine = pulumi.ResourceOptions(parent=self)
        self.fabric = Fabric(topology, images, uri, mine)
        self.machines = {
            node.name: Machine(self.fabric, node, seed(topology, node, secrets), domain_type, mine)
            for node in topology.nodes
        }
        daemon = self._fence_daemon() if topology.stack.cluster.fencing is Fencing.XVM and topology.clusters else None
        after = [daemon] if daemon else []
        self.bootstrap = Bootstrap(plan, topology, secrets, self.machines, after, mine)
        self.outputs: dict[str, Any] = {
            "vips": {vip.name: str(vip.ip) for vip in topology.vips},
            "nodes": {node.name: str(node.ip) for node in topology.nodes},
            "endpoints": dict(endpoints),
            "ssh": f"./halab ssh --stack {topology.stack.name} NODE",
            "ca_certificate": ca,
            "admin_password": pulumi.Output.secret(secrets.value("KEYSTONE_ADMIN")),
        }
        self.register_outputs(self.outputs)

    def _fence_daemon(self) -> local.Command:
        """fence_virtd on the cloud's bridge. It goes before the domains do: on the way down nothing is to be fenced."""
        topology = self._topology
        network = self.fabric.networks[topology.cloud.key]
        config = {
            "uri": self._uri,
            "bridge": topology.cloud.bridge,
            "address": str(topology.cloud.host.ip),
            "key": base64.b64encode(self._secrets.bytes("FENCE_KEY", 512)).decode(),
            "groups": [
                {
                    "name": cluster.name,
                    "addresses": [str(node.ip) for node in cluster.members],
                    "domains": [node.domain for node in fencing.targets(topology, cluster)],
                }
                for cluster in topology.clusters
            ],
        }
        stack = topology.stack.name
        return local.Command(
            "fencing",
            create=f"./halab fence-daemon start --stack {stack}",
            delete=f"./halab fence-daemon stop --stack {stack}",
            stdin=pulumi.Output.secret(json.dumps(config)),
            add_previous_output_in_env=False,
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[network, *(machine.domain for machine in self.machines.values())],
                delete_before_replace=True,
                replace_with=[network],
            ),
        )
