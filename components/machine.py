"""The libvirt side of a stack: the fabric all nodes share, and a machine per node. The only file that knows libvirt.

Every resource is named, and deleted before it is replaced: two of one name cannot exist, and a volume created beside
its predecessor would be the predecessor (pulumi.md, rule 2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import pulumi
import pulumi_libvirt as lv

from components.cmdline import EMULATED, GUEST, canonical
from components.images import Image, ImageFile
from components.seed import Seed
from components.stylesheet import stylesheet
from components.topology import Network, Node, Topology

#: Where a pool's folder is made; the usual place of a system's libvirtd, and inside the embedded hypervisor.
_POOLS = "/var/lib/libvirt/images"
_GIB = 1024**3
#: What the provider would accept and then not do to a running domain (pulumi.md, A.2); property names of the schema.
_DOMAIN_REPLACES = [
    "kernel",
    "initrd",
    "machine",
    "arch",
    "emulator",
    "cloudinit",
    "cpu.mode",
    "video",
    "bootDevices",
    "disks",
    "filesystems",
    "networkInterfaces[*].networkId",
    "networkInterfaces[*].mac",
]


def _options(
    parent: pulumi.Resource,
    provider: lv.Provider,
    replace_on_changes: list[str],
    replace_with: Iterable[pulumi.Resource] = (),
    **more: Any,
) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions(
        parent=parent,
        provider=provider,
        delete_before_replace=True,
        replace_on_changes=replace_on_changes,
        replace_with=list(replace_with) or None,
        **more,
    )


class Fabric(pulumi.ComponentResource):
    """A stack's provider, pool, images and networks. The pool's folder holds nothing but the stack's volumes."""

    def __init__(
        self, topology: Topology, images: Mapping[str, Image], uri: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`images` by name, for every `Node.image` of the topology; `uri`: the libvirt to use, a remote one too."""
        super().__init__("halab:libvirt:Fabric", "fabric", opts=opts)
        self.topology, self.images = topology, images
        self.provider = lv.Provider("libvirt", uri=uri, opts=pulumi.ResourceOptions(parent=self))
        self.folder = f"{_POOLS}/{topology.prefix}"
        self.pool = lv.Pool(
            "pool",
            name=topology.prefix,
            type="dir",
            target=lv.PoolTargetArgs(path=self.folder),
            opts=_options(self, self.provider, ["*"]),
        )
        self._volumes: dict[str, lv.Volume] = {}
        for image in sorted({node.image for node in topology.nodes}):
            self._upload(image, images[image].disk, "qcow2")
            # Kernels are hypervisor paths: from the pool they are, wherever the hypervisor is.
            self._upload("kernel", images[image].kernel, "raw")
            self._upload("initrd", images[image].initrd, "raw")
        self.networks = {network.key: self._network(network) for network in topology.networks}
        self.register_outputs({"pool": self.pool.name})

    def _upload(self, what: str, file: ImageFile, format_: str) -> None:
        """A file as a volume, once: images share kernels. Another content is another resource."""
        if file.digest not in self._volumes:
            name = f"{what}-{file.digest[:12]}"
            self._volumes[file.digest] = lv.Volume(
                name,
                name=f"{self.topology.prefix}-{name}.{format_}",
                pool=self.pool.name,
                source=str(file.path),
                format=format_,
                # The content's hash names the volume; where the file lay when it was uploaded does not matter.
                opts=_options(self, self.provider, ["*"], ignore_changes=["source"]),
            )

    def volume(self, file: ImageFile) -> lv.Volume:
        """The volume that holds a file of an image."""
        return self._volumes[file.digest]

    def _network(self, network: Network) -> lv.Network:
        return lv.Network(
            network.key,
            name=network.name,
            mode="none",
            bridge=network.bridge,
            addresses=[str(network.cidr)],
            dhcp=lv.NetworkDhcpArgs(enabled=False),
            autostart=True,
            xml=lv.NetworkXmlArgs(xslt=stylesheet("network", stack=self.topology.stack.cloud)),
            # Another stylesheet would replace the network, and every VM with it, for what is the same network.
            opts=_options(self, self.provider, ["mtu", "dnsmasqOptions", "dhcp", "routes"], ignore_changes=["xml"]),
        )


class Machine(pulumi.ComponentResource):
    """One node as a VM: overlay, seed and domain. Whatever defines it rebuilds all three, with an empty disk."""

    def __init__(
        self, fabric: Fabric, node: Node, seed: Seed, domain_type: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`domain_type`: "kvm" or "qemu"."""
        super().__init__("halab:libvirt:Machine", node.name, opts=opts)
        self.node, self._fabric, self._seed, self._type = node, fabric, seed, domain_type
        image = fabric.images[node.image]
        self.seed = lv.CloudInitDisk(
            f"{node.name}-seed",
            name=f"{node.domain}-seed.iso",
            pool=fabric.pool.name,
            user_data=pulumi.Output.secret(seed.user_data),
            meta_data=seed.meta_data,
            network_config=seed.network_config,
            opts=_options(self, fabric.provider, ["*"]),
        )
        self.overlay = lv.Volume(
            f"{node.name}-root",
            name=f"{node.domain}.qcow2",
            pool=fabric.pool.name,
            base_volume_id=fabric.volume(image.disk).id,
            size=node.disk * _GIB,
            opts=_options(self, fabric.provider, ["*"], [self.seed], replacement_trigger=self._epoch),
        )
        networks = [fabric.networks[nic.network] for nic in node.nics]
        self.domain: lv.Domain = lv.Domain(
            f"{node.name}-domain",
            name=node.domain,
            type=domain_type,
            machine="pc",
            vcpu=node.vcpus,
            memory=node.memory,
            cpu=lv.DomainCpuArgs(mode="host-passthrough" if domain_type == "kvm" else "custom"),
            kernel=fabric.volume(image.kernel).id,
            initrd=fabric.volume(image.initrd).id,
            cmdlines=self._cmdline,
            cloudinit=self.seed.id,
            disks=[lv.DomainDiskArgs(volume_id=self.overlay.id)],
            network_interfaces=[
                lv.DomainNetworkInterfaceArgs(network_id=network.id, mac=nic.mac)
                for network, nic in zip(networks, node.nics, strict=True)
            ],
            consoles=[lv.DomainConsoleArgs(type="pty", target_type="serial", target_port="0")],
            autostart=False,
            xml=lv.DomainXmlArgs(xslt=self._stylesheet),
            opts=_options(
                self,
                fabric.provider,
                _DOMAIN_REPLACES,
                replace_with=[self.overlay, self.seed, *networks],
                custom_timeouts=pulumi.CustomTimeouts(create="10m"),
            ),
        )
        self.register_outputs({"domain": self.domain.name})

    @property
    def parts(self) -> tuple[pulumi.Resource, ...]:
        """What the VM is made of: if any of it is replaced, the VM is another."""
        return (self.overlay, self.seed, self.domain)

    @property
    def _cmdline(self) -> list[dict[str, str]]:
        return canonical(GUEST if self._type == "kvm" else (*GUEST, *EMULATED))

    @cached_property
    def _stylesheet(self) -> str:
        stack = self._fabric.topology.stack
        return stylesheet(
            "domain",
            uuid=self.node.uuid,
            stack=stack.cloud,
            node=self.node.name,
            pool=self._fabric.folder,
            cache=stack.hypervisor.disk_cache,
            translations=str(self.node.translations),
        )

    @property
    def _epoch(self) -> str:
        """A hash of everything that defines the VM: with any of it the disk is new too, never the last VM's."""
        image, seed, node = self._fabric.images[self.node.image], self._seed, self.node
        parts = [file.digest for file in (image.disk, image.kernel, image.initrd)]
        parts += [seed.user_data, seed.meta_data, seed.network_config, self._stylesheet, self._type]
        parts += [str(part) for part in (node.vcpus, node.memory, node.disk, self._cmdline)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()
