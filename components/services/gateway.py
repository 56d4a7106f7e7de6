"""The gateway: names and addresses for the cloud's network, and the only way in from outside."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from components.parts import Listener, ServicePart
from components.recipe import File, Recipe
from components.services import haproxy, openstack
from components.steps import Step, on
from components.topology import Node, Topology
from components.variant import Service

RECIPE = Recipe(Path(__file__).with_suffix(".sh"))
_SYSCTL = "net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.rp_filter = 1\n"
#: Offsets in the cloud network of the addresses that DHCP gives to machines it does not know: above every role's block.
GUESTS = (1000, 1021)


def _open(topology: Topology) -> tuple[Listener, ...]:
    """What the outside may reach: every listener that speaks TLS, so the database's is not among them."""
    return tuple(listener for listener in haproxy.listeners(topology) if listener.tls)


def ports(topology: Topology) -> tuple[int, ...]:
    """The TCP ports that answer on a gateway's outer address; every other one is dropped."""
    return tuple(sorted(listener.port for listener in _open(topology)))


def ruleset(topology: Topology, node: Node) -> str:
    """nftables rules of a gateway; OUTER and CLOUD are interface names, defined by the file that is included.

    Only what was translated here is forwarded, so that nothing else of the cloud can be reached from outside, whatever
    routes the outside has. Nothing is forwarded outwards: no node of the cloud needs the outside, so none gets it.
    """
    outer = node.nics[1].ip
    translate = "".join(
        f"        iifname $OUTER ip daddr {outer} tcp dport {listener.port} "
        f"dnat to {topology.vip(listener.service).ip}:{listener.port}\n"
        for listener in _open(topology)
    )
    return f"""include "/etc/nftables.d/interfaces.nft"

table inet halab
delete table inet halab
table inet halab {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        iifname $CLOUD ip protocol icmp accept
        iifname $CLOUD ip saddr {topology.cloud.cidr} tcp dport {{ 22, 53 }} accept
        iifname $CLOUD ip saddr {topology.cloud.cidr} udp dport 53 accept
        iifname $CLOUD udp dport 67 accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname $OUTER oifname $CLOUD ct status dnat accept
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
{translate}    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname $CLOUD ct status dnat masquerade
    }}
}}
"""


def _address(topology: Topology, offset: int) -> IPv4Address:
    return topology.cloud.cidr.network_address + offset


def dnsmasq(topology: Topology, node: Node) -> str:
    """dnsmasq.conf: the cloud's own zone and leases by MAC; it asks no other server."""
    domain = topology.domain
    hosts = "".join(f"host-record={one.name}.{domain},{one.name},{one.ip}\n" for one in topology.nodes)
    vips = "".join(f"host-record={vip.name}.{domain},{vip.ip}\n" for vip in topology.vips)
    leases = "".join(f"dhcp-host={one.nics[0].mac},{one.ip},{one.name},infinite\n" for one in topology.nodes)
    first, last = (_address(topology, offset) for offset in GUESTS)
    return f"""listen-address=127.0.0.1,{node.ip}
bind-interfaces
no-hosts
no-resolv
domain-needed
bogus-priv
domain={domain}
local=/{domain}/
{hosts}{vips}dhcp-authoritative
dhcp-range={first},{last},{topology.cloud.cidr.netmask},12h
dhcp-option=option:router,{node.ip}
dhcp-option=option:dns-server,{node.ip}
{leases}"""


def steps(topology: Topology) -> tuple[Step, ...]:
    nodes = topology.running(Service.GATEWAY)
    configure = tuple(
        Step(
            name=on(RECIPE, "configure", node.name),
            node=node.name,
            recipe=RECIPE,
            action="configure",
            env={"CLOUD_ADDRESS": str(node.ip), "OUTER_ADDRESS": str(node.nics[1].ip)},
            files=(
                File("/etc/nftables.conf", ruleset(topology, node)),
                File("/etc/dnsmasq.conf", dnsmasq(topology, node)),
                File("/etc/sysctl.d/60-halab-gateway.conf", _SYSCTL),
            ),
            after=frozenset({f"machine.secrets@{node.name}"}),
        )
        for node in nodes
    )
    checks = {vip.name: vip.ip for vip in topology.vips}
    ready = Step(
        name="gateway.ready",
        node=nodes[0].name,
        recipe=RECIPE,
        action="ready",
        env={
            "CLOUD_ADDRESS": str(nodes[0].ip),
            "PORTS": " ".join(str(port) for port in ports(topology)),
            "NAMES": " ".join(f"{name}.{topology.domain}/{ip}" for name, ip in checks.items()),
            "FRONTS": " ".join(f"{topology.vip(one.service).ip}/{one.port}" for one in _open(topology)),
        },
        after=frozenset({*(step.name for step in configure), "haproxy.ready"}).union(
            *(openstack.entered(topology, one.service) for one in _open(topology))
        ),
        timeout=900,
    )
    return (*configure, ready)


PART = ServicePart(Service.GATEWAY, steps)
