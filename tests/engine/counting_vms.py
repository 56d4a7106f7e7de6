"""A stack of three VMs that need no system: each counts in RAM and on its disk, and notes when the two disagree."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import libvirt  # type: ignore[import-untyped]

from components.topology import derive
from components.variant import load
from halab.embedded.engine.checkpoint import Sealer, Store
from halab.embedded.engine.cipher import Cipher
from halab.embedded.engine.state import Resource
from halab.embedded.hypervisor import FenceConfig, FenceGroup, Hypervisor
from halab.embedded.provider import Secret
from halab.keys import Keys
from halab.workspace import Workspace, write_text

ROOT = Path(__file__).parents[2]
STACK = """
config:
  halab:stack:
    variant: collapsed
    hypervisor: {uri: embedded, domain_type: qemu}
    networks: {cloud: 10.250.0.0/22}
    roles:
      controller:
        count: 3
        memory: 1024
        cluster: core
        membership: full
        services: [galera, rabbitmq, haproxy, keystone]
    cluster:
      manages: [galera, rabbitmq, haproxy]
"""
NODES = ("controller-1", "controller-2", "controller-3")
_COUNTER, _READ = 0x7E00, 0x8000


def boot_sector() -> bytes:
    """A PC boot sector (16 bit): at every timer tick it reads the disk's second sector, compares it with the counter in
    RAM (0x7e00), sets a flag (0x7e04) when they differ, counts on, and writes the sector.
    """

    def disk(operation: int, address: int) -> bytes:
        return bytes([0xB8, 1, operation, 0xBB]) + address.to_bytes(2, "little") + bytes.fromhex("b90200ba8000cd13")

    load_disk, load_counter = bytes.fromhex("66a10080"), bytes.fromhex("66a3007e")
    start = bytes.fromhex("31c08ed88ec08ed0bc007c") + bytes.fromhex("66c706047e00000000")
    start += disk(2, _READ) + load_disk + load_counter
    loop = bytes.fromhex("fbf4") + disk(2, _READ) + load_disk + bytes.fromhex("663b06007e7409")
    loop += bytes.fromhex("66c706047e01000000") + bytes.fromhex("66ff06007e") + disk(3, _COUNTER)
    code = start + loop + bytes([0xEB, 256 - len(loop) - 2])
    return code.ljust(510, b"\0") + b"\x55\xaa"


class Counting:
    """`folder` gets the project and the state; `halab` runs a command of halab's on them."""

    def __init__(self, folder: Path, stack: str = "tiny") -> None:
        self.folder, self.stack = folder, stack
        self.project, self.state = folder / "p", folder / "s"
        self.environment = {**os.environ, "HALAB_STATE": str(self.state), "HALAB_PROJECT": str(self.project)}
        self.environment |= {"PULUMI_CONFIG_PASSPHRASE": "tiny"}
        self.hypervisor = Hypervisor(stack, self.state, kvm=False)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.project, derive(load(self.project, self.stack)), self.state)

    def halab(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "halab"), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300)

    def build(self) -> None:
        """The stack as an up would leave it, as far as snapshots can tell."""
        (self.project / "stacks").mkdir(parents=True)
        (self.project / "stacks" / f"Pulumi.{self.stack}.yaml").write_text(STACK)
        shutil.copy(ROOT / "Pulumi.yaml", self.project)
        workspace = self.workspace
        self.hypervisor.start()
        self._state(workspace, Keys.create(self.stack, self.state))
        workspace.note(hypervisor="embedded", engine="embedded", verified="2026-01-01T00:00:00Z", fenced={"a": 1.0})
        write_text(workspace.description, workspace.file.read_text())
        self._machines(workspace)

    def _state(self, workspace: Workspace, keys: Keys) -> None:
        config = {
            "uri": self.hypervisor.uri,
            "bridge": workspace.topology.cloud.bridge,
            "key": base64.b64encode(keys.secrets.bytes("FENCE_KEY", 512)).decode(),
            "groups": [{"name": "core", "addresses": ["10.250.0.64"], "domains": ["halab-tiny-controller-1"]}],
        }
        root = f"urn:pulumi:{self.stack}::halab::pulumi:pulumi:Stack::halab-{self.stack}"
        fencing = {"create": f"./halab fence-daemon start --stack {self.stack}", "stdin": Secret(json.dumps(config))}
        urn = f"urn:pulumi:{self.stack}::halab::command:local:Command::fencing"
        resources = (
            Resource(root, "pulumi:pulumi:Stack", False),
            Resource(urn, "command:local:Command", True, id="f1", inputs=fencing, outputs=fencing, parent=root),
        )
        store = Store(workspace.checkpoint, f"organization/halab/{self.stack}", self.project)
        store.write(Sealer(Cipher.new("tiny")), resources, ())

    def _machines(self, workspace: Workspace) -> None:
        topology = workspace.topology
        connection = libvirt.open(self.hypervisor.uri)
        network = topology.cloud
        # the guests have no address: the host refuses in their stead, where a silent one is waited for
        refusing = "".join(f"<ip family='ipv4' address='{node.ip}' prefix='32'/>" for node in topology.nodes)
        connection.networkDefineXML(
            f"<network><name>{network.name}</name><bridge name='{network.bridge}' stp='off' delay='0'/>"
            "<dns enable='no'/>"
            f"<ip address='{network.host.ip}' prefix='{network.host.network.prefixlen}'/>{refusing}</network>"
        ).create()
        connection.networkLookupByName(network.name).setAutostart(1)
        pool = self.pool
        pool.mkdir(mode=0o711)
        folder = f"/var/lib/libvirt/images/{topology.prefix}"
        connection.storagePoolDefineXML(
            f"<pool type='dir'><name>{topology.prefix}</name><target><path>{folder}</path></target></pool>"
        ).create()
        (pool / "base.raw").write_bytes(boot_sector().ljust(1 << 20, b"\0"))
        for node in topology.nodes:
            disk = f"{node.domain}.qcow2"
            create = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", f"{folder}/base.raw"]
            subprocess.run([*create, str(pool / disk), "1M"], check=True)
            connection.defineXML(
                f"<domain type='qemu'><name>{node.domain}</name><uuid>{node.uuid}</uuid><memory unit='MiB'>32</memory>"
                "<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
                f"<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='unsafe'/>"
                f"<source file='{folder}/{disk}'/><target dev='vda' bus='virtio'/></disk>"
                f"<interface type='network'><source network='{network.name}'/><model type='virtio'/></interface>"
                "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
            ).create()
        config = FenceConfig(
            network.bridge,
            Keys.create(self.stack, self.state).secrets.bytes("FENCE_KEY", 512),
            (FenceGroup("core", ("10.250.0.64",), ("halab-tiny-controller-1",)),),
        )
        self.hypervisor.start_fence(config)

    @property
    def pool(self) -> Path:
        return self.hypervisor.paths.pool / self.workspace.topology.prefix

    # What is seen of it.

    def state_text(self) -> str:
        return self.workspace.checkpoint.read_text()

    def virsh(self, *arguments: str) -> str:
        command = ["virsh", "--quiet", "-c", self.hypervisor.uri, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def running(self) -> tuple[str, ...]:
        return tuple(sorted(name.removeprefix("halab-tiny-") for name in self.virsh("list", "--name").split()))

    def counts(self) -> dict[str, int]:
        """What each VM has counted to. Fails when one has seen its disk and its RAM disagree."""
        found = {}
        for node in self.running():
            said = self.virsh("qemu-monitor-command", f"halab-tiny-{node}", "--hmp", f"xp /2wx {_COUNTER:#x}")
            count, flag = (int(word, 16) for word in re.findall(r"0x([0-9a-f]{8})\b", said))
            assert flag == 0, f"{node}: disk and RAM disagree after {count}"
            found[node] = count
        return found
