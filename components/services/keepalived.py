"""keepalived: VRRP between the nodes that run HAProxy; an address leaves a node whose HAProxy is gone."""

from __future__ import annotations

from pathlib import Path

from components.parts import ServicePart
from components.recipe import File, Recipe
from components.services import haproxy
from components.steps import Step, on, starts
from components.topology import Node, Topology, Vip
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
PASSWORD = "VRRP_AUTH"
CHECK = "/usr/local/lib/halab/haproxy_check"
_CHECK = Path(__file__).parent / "files" / "haproxy_check.sh"
#: Debian's unit stays down; an address would stay on a node that no longer says it has it.
_SUPERVISED = "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nRestart=always\nRestartSec=1\n"
#: A HAProxy that ends is noticed at once by its process, one that hangs by its silence.
_HEAD = """global_defs {{
    router_id {name}
    vrrp_version 2
    vrrp_garp_master_refresh 30
    vrrp_garp_master_refresh_repeat 1
    max_auto_priority 50
    script_user nobody nogroup
    enable_script_security
}}

vrrp_track_process haproxy {{
    process haproxy
    quorum 1
    delay 1
    weight 0
}}

vrrp_script haproxy_answers {{
    script "{check} {address} {port}"
    interval 3
    timeout 10
    fall 2
    rise 1
    weight 0
}}
"""


def _instance(topology: Topology, node: Node, vip: Vip) -> str:
    """Distinct priorities: two nodes with the same one answer to each other's address after a partition heals."""
    peers = [topology.node(name) for name in vip.nodes if name != node.name]
    rank = vip.nodes.index(node.name)
    preferred = vip.prefers == node.name
    listed = "".join(f"        {peer.ip}\n" for peer in peers)
    return f"""
vrrp_instance {vip.name} {{
    state BACKUP
    nopreempt
    interface CLOUD
    virtual_router_id {vip.vrid}
    priority {(200 if preferred else 150) - rank}
    advert_int 1
    unicast_src_ip {node.ip}
    unicast_peer {{
{listed}    }}
    authentication {{
        auth_type PASS
        auth_pass @{{{PASSWORD}}}
    }}
    virtual_ipaddress {{
        {vip.ip}/{topology.cloud.cidr.prefixlen}
    }}
    track_process {{
        haproxy
    }}
    track_script {{
        haproxy_answers
    }}
}}
"""


def config(topology: Topology, node: Node) -> str:
    """keepalived.conf of a node; CLOUD stands for the interface that has the node's cloud address."""
    instances = [_instance(topology, node, vip) for vip in topology.vips if node.name in vip.nodes]
    head = _HEAD.format(name=node.name, check=CHECK, address=haproxy.HEALTH_ADDRESS, port=haproxy.HEALTH_PORT)
    return head + "".join(instances)


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.KEEPALIVED)
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            env={"ADDRESS": str(node.ip)},
            files=(
                File("/etc/keepalived/halab.conf.in", config(topology, node), mode=0o600),
                File(CHECK, _CHECK.read_text(), mode=0o755),
                File("/etc/systemd/system/keepalived.service.d/halab.conf", _SUPERVISED),
            ),
            secrets=frozenset({PASSWORD}),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for node in nodes
    )
    start = starts(RECIPE, configure)
    ready = Step(
        name="keepalived.ready",
        node=nodes[0].name,
        recipe=RECIPE,
        action="ready",
        env={"VIPS": " ".join(str(vip.ip) for vip in topology.vips)},
        after=frozenset(step.name for step in start),
    )
    return (*configure, *start, ready)


PART = ServicePart(Service.KEEPALIVED, steps)
