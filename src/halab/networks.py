"""A stack's networks that somebody took away behind halab's back: brought back as they were, the VMs' cables put in.

A network of another UUID would be another network to the engine, and every VM on it be built anew for that.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lxml import etree

from halab.embedded.hypervisor import Fence, Hypervisor
from halab.embedded.providers.libvirt.host import Host, api, find, said
from halab.embedded.providers.libvirt.network import network_xml
from halab.embedded.providers.libvirt.xml import node, render
from halab.errors import HalabError, RefusedError
from halab.hypervisors import Choice
from halab.sound import DOMAIN, NETWORK, deployment, resources
from halab.stacks.claims import on_this_host
from halab.workspace import Workspace


def mend(workspace: Workspace, choice: Choice) -> list[str]:
    """Have all networks that the stack's state has run as they were made, its VMs on them, and fencing hear them.

    What was wrong, a line each. Raises HalabError, RefusedError where a network of that name is another's.
    """
    prefix: Sequence[str] | None = None
    if choice.embedded:
        prefix = Hypervisor(workspace.stack, workspace.state).inside()
    elif on_this_host(choice.uri):
        prefix = ()
    found = bring_back(resources(deployment(workspace) or {}), choice.uri, prefix)
    fence = Fence(workspace.paths, choice.uri)
    # a daemon that listened on a bridge that went hears nothing on the next one of its name
    if fence.bridge() in found and not fence.held:
        fence.start(prefix or ())
    if found:
        workspace.note(verified="")
    return list(found.values())


def bring_back(state: Sequence[Mapping[str, Any]], uri: str, prefix: Sequence[str] | None) -> dict[str, str]:
    """Have all networks of a state run as they were made, and its VMs on them; the bridge of each that was not so,
    and what was wrong.

    `prefix`: what to put before a command for it to run where the bridges are, None where that is out of reach.
    Raises HalabError, RefusedError where a network of that name is another's.
    """
    libvirt, host = api(), Host(uri)
    domains = {str(one["outputs"]["name"]) for one in state if one.get("type") == DOMAIN}
    found: dict[str, str] = {}
    try:
        for one in state:
            if one.get("type") == NETWORK and not one.get("delete"):
                name, bridge = str(one["outputs"]["name"]), str(one["outputs"]["bridge"])
                wrong = [
                    *_network(host, one, [] if prefix is None else _links(prefix)),
                    *_cables(host, one, domains, prefix),
                ]
                if wrong:
                    found[bridge] = f"network {name} {', '.join(wrong)}"
                if "was stopped" in wrong and prefix is None and any(_plugged(host, name, domains)):
                    raise HalabError(
                        f"{found[bridge]}; it runs again, but VMs are not on it until libvirtd at {uri} is restarted "
                        "(systemctl restart libvirtd), then ./halab up"
                    )
    except libvirt.libvirtError as error:
        raise HalabError(f"libvirt on {uri}: {said(error)}") from error
    finally:
        host.close()
    return found


def _network(host: Host, one: Mapping[str, Any], links: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was wrong with it; it is mended."""
    connection, name, id_ = host.connection(), str(one["outputs"]["name"]), str(one["id"])
    network = find(lambda: connection.networkLookupByUUIDString(id_), "VIR_ERR_NO_NETWORK")
    if network is None and find(lambda: connection.networkLookupByName(name), "VIR_ERR_NO_NETWORK") is not None:
        raise RefusedError(
            f"network {name} at {host.uri} is not the one that was made ({id_}), but another of its name: "
            f"virsh -c {host.uri} net-destroy {name}; virsh -c {host.uri} net-undefine {name}; then ./halab up"
        )
    if network is None or not network.isPersistent():
        yield "was undefined"
        tree = network_xml(one["inputs"])
        tree.insert(1, node("uuid", id_))
        network = connection.networkDefineXML(render(tree, one["inputs"]))
        network.setAutostart(int(one["inputs"].get("autostart", False)))
    if not network.isActive():
        yield "was stopped"
        network.create()
    elif links and one["outputs"]["bridge"] not in {link["ifname"] for link in links}:
        yield "had lost its bridge"
        network.destroy()
        network.create()


def _cables(host: Host, one: Mapping[str, Any], domains: Iterable[str], prefix: Sequence[str] | None) -> Iterator[str]:
    """How many VMs' interfaces were off the bridge; they are on it."""
    name, bridge = str(one["outputs"]["name"]), str(one["outputs"]["bridge"])
    masters = {str(link["ifname"]): link.get("master") for link in ([] if prefix is None else _links(prefix))}
    off = [cable for cable in _plugged(host, name, domains) if cable in masters and masters[cable] != bridge]
    for cable in off:
        command = [*(prefix or ()), "ip", "link", "set", "dev", cable, "master", bridge]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HalabError(
                f"network {name}: {cable}, a VM's interface, is not on its bridge {bridge}, and cannot be put there: "
                f"{done.stderr.strip()}; sudo ip link set dev {cable} master {bridge}, or restart libvirtd, "
                "then ./halab up"
            )
    if off:
        yield f"had {len(off)} of its VMs' interfaces off its bridge"


def _plugged(host: Host, network: str, domains: Iterable[str]) -> Iterator[str]:
    """The interfaces on this host of the VMs that run and are on the network."""
    for domain in host.connection().listAllDomains(api().VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        if domain.name() in domains:
            for nic in etree.fromstring(domain.XMLDesc(0)).iterfind("devices/interface[@type='network']"):
                source, target = nic.find("source"), nic.find("target")
                if source is not None and target is not None and source.get("network") == network:
                    yield target.get("dev", "")


def _links(prefix: Sequence[str]) -> list[dict[str, Any]]:
    """ip-link(8)'s word on every interface there. Raises HalabError where it says none."""
    command = [*prefix, "ip", "-json", "link", "show"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HalabError(f"{' '.join(command)}: {done.stderr.strip() or f'exit {done.returncode}'}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
