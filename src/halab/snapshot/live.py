"""The VMs of one cloud on one libvirtd: suspended, saved, brought back and resumed all together."""

from __future__ import annotations

import importlib
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lxml import etree

from components.variant import Role
from halab.embedded.hypervisor import INSIDE_POOL, Paths
from halab.embedded.hypervisor.waiting import wait_for
from halab.embedded.providers.libvirt.host import api, find, gone
from halab.errors import HalabError
from halab.snapshot import ram

T = TypeVar("T")
#: What libvirt calls a file that it has qemu write RAM into.
_OUTGOING = "libvirt-outgoing-migrate"
_JOB_LIMIT = 120.0
#: The first libvirt whose save images may be sparse files written by qemu itself.
_SPARSE_SINCE = 11_002_000
_FORMAT = "image_format"


class Live:
    """`prefix`: what the names of the cloud's libvirt objects start with; `paths`: the stack's folders when its
    hypervisor is the embedded one, whose pool is elsewhere than it thinks; None on a system's libvirtd.
    """

    def __init__(self, uri: str, prefix: str, paths: Paths | None) -> None:
        libvirt = api()
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self._libvirt, self._prefix, self._paths = libvirt, prefix, paths
        try:
            self._connection = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise HalabError(f"libvirt on {uri}: {error.get_error_message()}") from None

    def close(self) -> None:
        self._connection.close()

    def here(self, seen: Path) -> Path:
        """A path in the hypervisor's pools as this process sees it."""
        return self._paths.pool / seen.relative_to(INSIDE_POOL) if self._paths else seen

    # What there is.

    def domains(self) -> dict[str, Any]:
        """Node to its domain: those whose names only this cloud's VMs have."""
        name = re.compile(rf"{re.escape(self._prefix)}-((?:{'|'.join(Role)})-[0-9]+)")
        found = ((name.fullmatch(domain.name()), domain) for domain in self._connection.listAllDomains())
        return {match[1]: domain for match, domain in sorted(found, key=lambda one: one[1].name()) if match}

    def states(self) -> dict[str, str]:
        """Node to "running", "paused", "off" or libvirt's number for anything else."""
        lv = self._libvirt
        words = {
            lv.VIR_DOMAIN_RUNNING: "running",
            lv.VIR_DOMAIN_BLOCKED: "running",
            lv.VIR_DOMAIN_PAUSED: "paused",
            lv.VIR_DOMAIN_SHUTOFF: "off",
            lv.VIR_DOMAIN_CRASHED: "off",
        }
        return {node: words.get(one.state()[0], str(one.state()[0])) for node, one in self.domains().items()}

    def definition(self, node: str) -> str:
        flags = self._libvirt.VIR_DOMAIN_XML_INACTIVE | self._libvirt.VIR_DOMAIN_XML_SECURE
        return str(self.domains()[node].XMLDesc(flags))

    def memory(self) -> int:
        """MiB of all VMs."""
        return int(sum(domain.maxMemory() for domain in self.domains().values())) // 1024

    def networks(self) -> dict[str, str]:
        """Name to definition."""
        flag = self._libvirt.VIR_NETWORK_XML_INACTIVE
        found = (one for one in self._connection.listAllNetworks() if one.name().startswith(f"{self._prefix}-"))
        return {one.name(): one.XMLDesc(flag) for one in found}

    def pool(self) -> str:
        """The definition of the cloud's pool. Raises HalabError where it has none."""
        found = find(lambda: self._connection.storagePoolLookupByName(self._prefix), "VIR_ERR_NO_STORAGE_POOL")
        if found is None:
            raise HalabError(f"there is no storage pool {self._prefix}: ./halab up makes it")
        return str(found.XMLDesc(self._libvirt.VIR_STORAGE_XML_INACTIVE))

    # All VMs at once.

    def each(self, what: str, nodes: Iterable[str], do: Callable[[str, Any], T]) -> dict[str, T]:
        """`do(node, domain)` for all nodes at once; every one is waited for. Raises HalabError naming who failed."""
        domains, wanted = self.domains(), list(nodes)
        if not wanted:
            return {}
        if missing := [node for node in wanted if node not in domains]:
            raise HalabError(f"{what}: there is no VM {', '.join(missing)}")
        with ThreadPoolExecutor(len(wanted)) as pool:
            begun = {node: pool.submit(do, node, domains[node]) for node in wanted}
        failed = {node: error for node, one in begun.items() if (error := one.exception())}
        for node, error in failed.items():
            if not isinstance(error, self._libvirt.libvirtError):
                raise error
            raise HalabError(f"{what} of {node}: {error.get_error_message()}; run the command again")
        return {node: one.result() for node, one in begun.items()}

    def suspend(self, nodes: Iterable[str]) -> None:
        self.each("suspending", nodes, lambda _, domain: domain.suspend())

    def resume(self, nodes: Iterable[str]) -> None:
        self.each("resuming", nodes, lambda _, domain: domain.resume())

    def start(self, nodes: Iterable[str]) -> None:
        """Boot VMs that are off."""
        self.each("starting", nodes, lambda _, domain: domain.create())

    def save_ram(self, folder: Path, nodes: Iterable[str]) -> None:
        """Each VM's RAM and devices into `ram.image`; the VMs are off then. They are to be paused."""
        flags = self._libvirt.VIR_DOMAIN_SAVE_PAUSED

        def save(node: str, domain: Any) -> None:
            path = str(ram.image(folder, node))
            if self._sparse:
                domain.saveParams({"file": path, _FORMAT: "sparse"}, flags)
            else:
                domain.saveFlags(path, None, flags)

        self.each("saving RAM", nodes, save)

    def load_ram(self, folder: Path, nodes: Iterable[str]) -> None:
        """VMs that are off, as `save_ram` saved them, paused."""
        paused, secure = self._libvirt.VIR_DOMAIN_SAVE_PAUSED, self._libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE

        def load(node: str, _: Any) -> None:
            path = str(ram.image(folder, node))
            xml = _unchained(self._connection.saveImageGetXMLDesc(path, secure))
            self._connection.restoreFlags(path, xml, paused)

        self.each("bringing back RAM", nodes, load)

    @property
    def _sparse(self) -> bool:
        return bool(self._connection.getLibVersion() >= _SPARSE_SINCE)

    def abandon_jobs(self) -> None:
        """End the saving that a dead process or a dead libvirtd began; a VM whose save is not whole stays as it was.

        After it a libvirtd that was started anew knows which VMs live. Raises HalabError when it does not let go.
        """
        libvirt = self._libvirt

        def idle(domain: Any) -> bool:
            try:
                if not domain.isActive():
                    return True
                if domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
                    domain.abortJob()
                    return False
                self._close_images(domain)
            except libvirt.libvirtError:
                if not self._connection.isAlive():
                    raise
                return False
            return True

        for node, domain in self.domains().items():
            if not wait_for(lambda domain=domain: idle(domain), _JOB_LIMIT):  # type: ignore[misc]
                raise HalabError(f"{node}: libvirt still saves it after {_JOB_LIMIT:.0f} s; run the command again")

    def _close_images(self, domain: Any) -> None:
        """Have qemu forget the files of a save whose libvirtd died: the next one may give the next file the same number
        (libvirt 11.3), and qemu would write RAM into the old file. Waits for a VM that libvirtd takes up again.
        """
        ask = importlib.import_module("libvirt_qemu").qemuMonitorCommand
        for one in json.loads(ask(domain, json.dumps({"execute": "query-fdsets"}), 0))["return"]:
            if any(file.get("opaque", "").startswith(_OUTGOING) for file in one["fds"]):
                ask(domain, json.dumps({"execute": "remove-fd", "arguments": {"fdset-id": one["fdset-id"]}}), 0)

    # Making it what a snapshot says.

    def clear(self, kept: Iterable[str]) -> None:
        """No VM of the cloud runs any more, and those not in `kept` are not even defined."""
        libvirt = self._libvirt

        def off(_: str, domain: Any) -> None:
            try:
                if domain.isActive():
                    domain.destroy()
            except libvirt.libvirtError as error:
                if not gone(error, "VIR_ERR_OPERATION_INVALID"):
                    raise

        domains = self.domains()
        self.each("switching off", domains, off)
        for node in domains.keys() - set(kept):
            domains[node].undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)

    def define_networks(self, networks: Mapping[str, str]) -> None:
        """These networks run, as defined, on their bridges. No VM may be on one that is otherwise.

        To be called where their bridges are (Site.start).
        """
        flag = self._libvirt.VIR_NETWORK_XML_INACTIVE
        links = {name for _, name in socket.if_nameindex()}
        for name, xml in networks.items():
            found = find(lambda name=name: self._connection.networkLookupByName(name), "VIR_ERR_NO_NETWORK")  # type: ignore[misc]
            same = found is not None and found.XMLDesc(flag) == xml
            # a bridge that was deleted by hand still runs, to libvirt
            lost = found is not None and found.isActive() and found.bridgeName() not in links
            self._run(found, same and not lost, self._connection.networkDefineXML, xml)

    def define_pool(self, xml: str) -> None:
        """The pool is defined with that identity, runs, and knows what is in its folder."""
        found = find(lambda: self._connection.storagePoolLookupByName(self._prefix), "VIR_ERR_NO_STORAGE_POOL")
        same = found is not None and found.UUIDString() == _uuid(xml)
        self._run(found, same, self._connection.storagePoolDefineXML, xml).refresh()

    def _run(self, found: Any, same: bool, define: Callable[[str], Any], xml: str) -> Any:
        """A network or pool that runs: the one found if it is the `same`, else one made anew in its place."""
        if not same:
            if found is not None:
                if found.isActive():
                    found.destroy()
                found.undefine()
            found = define(xml)
            found.setAutostart(1)
        if not found.isActive():
            found.create()
        return found

    def define_domains(self, definitions: Mapping[str, str]) -> None:
        """Node to definition; one of that name with another identity is replaced. The VMs are to be off."""
        for node, domain in self.domains().items():
            if node in definitions and domain.UUIDString() != _uuid(definitions[node]):
                domain.undefineFlags(self._libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(self._connection.defineXML, definitions.values()))


def _unchained(xml: str) -> str:
    """A domain whose disks' layers libvirt finds out by itself.

    One that was restarted while the VM ran (11.3) has written them into the RAM image as they were before the disks
    were frozen, and would pass over the layer that came since: the guest would see its disk as it was a save earlier.
    """
    domain = etree.fromstring(xml)
    for disk in domain.iterfind("devices/disk"):
        for layers in disk.findall("backingStore"):
            disk.remove(layers)
    return str(etree.tostring(domain, encoding="unicode"))


def _uuid(xml: str) -> str | None:
    return etree.fromstring(xml).findtext("uuid")


def pool_folder(xml: str) -> Path:
    """The folder of a pool, as its hypervisor sees it."""
    return Path(etree.fromstring(xml).findtext("target/path") or "/")


def disks(xml: str, pool: Path) -> tuple[str, ...]:
    """The names in the pool's folder of the disks that a domain writes. Raises HalabError for one that is elsewhere."""
    found = []
    for disk in etree.fromstring(xml).findall("devices/disk"):
        source = disk.find("source")
        if disk.get("device", "disk") != "disk" or disk.find("readonly") is not None or source is None:
            continue
        path = Path(source.get("file", ""))
        if path.parent != pool:
            raise HalabError(f"a disk of it is {source.attrib}, which is not in {pool}: only halab's own can be saved")
        found.append(path.name)
    return tuple(found)
