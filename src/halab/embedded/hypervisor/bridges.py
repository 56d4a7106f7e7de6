"""The bridges of a stack's networks that a killed libvirtd made and never noted: the next start of one finds them."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from halab.embedded.hypervisor.namespaces import inside
from halab.embedded.hypervisor.paths import Paths
from halab.embedded.hypervisor.processes import Process


def forget_unnoted(paths: Paths, holder: Process) -> None:
    """Delete every bridge in the stack's network namespace that is not of a network libvirt has noted as active.

    To be called while no libvirtd runs. With such a bridge left, its network cannot be started: "File exists".
    """
    noted = set(_noted(paths))
    show = [*inside(holder), "ip", "-json", "link", "show", "type", "bridge"]
    links = subprocess.run(show, capture_output=True, text=True, check=False).stdout
    for link in json.loads(links or "[]"):
        if link["ifname"] not in noted:
            subprocess.run([*inside(holder), "ip", "link", "delete", link["ifname"]], capture_output=True, check=False)


def _noted(paths: Paths) -> Iterator[str]:
    """The bridges in libvirt's notes on active networks (run/libvirt/network/<name>.xml)."""
    for status in (paths.run / "libvirt" / "network").glob("*.xml"):
        try:
            tree = ElementTree.parse(status)
        except ElementTree.ParseError:
            continue
        for bridge in tree.iter("bridge"):
            yield bridge.get("name", "")
