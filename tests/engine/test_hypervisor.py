"""The embedded hypervisor for real: daemons, namespaces, VMs, fencing; on this host, as root."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import libvirt  # type: ignore[import-untyped]
import pytest

from halab.embedded.hypervisor import (
    INSIDE_POOL,
    Fence,
    FenceConfig,
    FenceGroup,
    Hypervisor,
    HypervisorError,
    Paths,
    Process,
)
from halab.embedded.hypervisor.waiting import wait_for
from halab.host.install import exists
from tests.engine.private_libvirt import needs_libvirt

pytestmark = needs_libvirt
BRIDGE = "halabtest0"
ADDRESS = "198.18.70.1"
NETWORK = f"""
<network>
  <name>lab</name><bridge name='{BRIDGE}' stp='off' delay='0'/><dns enable='no'/>
  <ip address='{ADDRESS}' netmask='255.255.255.0'/>
</network>"""
DOMAIN = """
<domain type='qemu'>
  <name>tiny</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <interface type='network'><source network='lab'/><model type='virtio'/></interface>
    <serial type='pty'><log file='/var/log/libvirt/qemu/tiny-console.log'/></serial>
  </devices>
</domain>"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short enough for sockets, however many runs pytest has numbered."""
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        yield Path(folder)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Callable[[str], Hypervisor]]:
    """Makes hypervisors that are removed, whatever happened, and leave nothing."""
    with ExitStack() as cleanup:

        def make(name: str) -> Hypervisor:
            hypervisor = Hypervisor(name, tmp_path, kvm=False)
            cleanup.callback(hypervisor.remove)
            return hypervisor

        yield make


def with_vm(hypervisor: Hypervisor) -> libvirt.virDomain:
    """Starts `tiny` on the network `lab`; the connection lives as long as the domain object."""
    connection = libvirt.open(hypervisor.uri)
    connection.networkDefineXML(NETWORK).create()
    domain = connection.defineXML(DOMAIN)
    domain.create()
    return domain


def one(hypervisor: Hypervisor, role: str) -> Process:
    found = [process for process in hypervisor.processes() if process.role == role]
    assert len(found) == 1, [process.role for process in hypervisor.processes()]
    return found[0]


def kill(process: Process) -> None:
    fd = os.pidfd_open(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    assert wait_for(lambda: not alive(process.pid), 60), f"{process.role} survived SIGKILL"
    os.close(fd)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def host_state() -> set[tuple[str, object]]:
    """What a hypervisor could leave on the host."""
    found: dict[str, Iterable[object]] = {
        "link": (entry.name for entry in Path("/sys/class/net").iterdir()),
        "mount": Path("/proc/self/mountinfo").read_text().splitlines(),
        "run": [n for n in os.listdir("/run") if "virt" in n],
        "/dev/kvm": [mode("/dev/kvm")],
    }
    return {(kind, one) for kind, seen in found.items() for one in seen}


def mode(path: str) -> int | None:
    return os.stat(path).st_mode if os.path.exists(path) else None


def test_a_vm_runs_unprivileged_and_removing_the_hypervisor_leaves_the_host_as_it_was(
    stack: Callable[[str], Hypervisor],
) -> None:
    before = host_state()
    hypervisor = stack("alone")
    hypervisor.start()
    domain = with_vm(hypervisor)
    status = hypervisor.status()
    assert status.running
    assert {process.role for process in status.processes} == {"holder", "virtlogd", "libvirtd", "qemu:tiny"}
    assert status.rss < 80 * 2**20
    qemu = one(hypervisor, "qemu:tiny")
    uid = next(line.split()[1] for line in Path(f"/proc/{qemu.pid}/status").read_text().splitlines() if "Uid:" in line)
    assert uid != "0"
    assert BRIDGE not in {entry.name for entry in Path("/sys/class/net").iterdir()}
    assert (hypervisor.paths.log / "qemu" / "tiny-console.log").exists()
    assert domain.isActive()
    assert hypervisor.remove() == []
    assert hypervisor.processes() == []
    assert not alive(qemu.pid)
    assert not hypervisor.paths.root.exists()
    assert host_state() - before == set()


def test_leftovers_name_what_is_left(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("named")
    assert hypervisor.leftovers() == []
    hypervisor.start()
    with_vm(hypervisor)
    text = "\n".join(hypervisor.leftovers())
    for expected in ("(libvirtd)", "(qemu:tiny)", "network namespace", f"link {BRIDGE}", "domain ", "network "):
        assert expected in text
    assert hypervisor.stop() == []
    text = "\n".join(hypervisor.leftovers())
    assert "process" not in text
    assert "namespace" not in text
    assert "tiny.xml" in text


def test_start_and_stop_may_be_repeated(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("again")
    assert hypervisor.stop() == []
    hypervisor.start()
    first = {process.pid for process in hypervisor.processes()}
    hypervisor.start()
    assert {process.pid for process in hypervisor.processes()} == first
    assert hypervisor.stop() == []
    assert hypervisor.stop() == []
    hypervisor.start()
    assert hypervisor.status().running


def test_domains_survive_a_stop(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("kept")
    hypervisor.start()
    identity = with_vm(hypervisor).UUIDString()
    hypervisor.stop()
    hypervisor.start()
    connection = libvirt.open(hypervisor.uri)
    domain = connection.lookupByName("tiny")
    assert domain.UUIDString() == identity
    assert not domain.isActive()


@pytest.mark.parametrize("victims", [["libvirtd"], ["virtlogd"], ["holder"], ["holder", "libvirtd", "virtlogd"]])
def test_start_heals_what_was_killed_and_the_vm_runs_on(stack: Callable[[str], Hypervisor], victims: list[str]) -> None:
    hypervisor = stack("healed")
    hypervisor.start()
    with_vm(hypervisor)
    qemu = one(hypervisor, "qemu:tiny")
    for victim in victims:
        kill(one(hypervisor, victim))
    hypervisor.start()
    assert hypervisor.status().running
    assert one(hypervisor, "qemu:tiny").pid == qemu.pid
    assert len({process.netns for process in hypervisor.processes()}) == 1
    connection = libvirt.open(hypervisor.uri)
    assert connection.lookupByName("tiny").isActive()
    assert connection.networkLookupByName("lab").isActive()
    assert hypervisor.remove() == []


def test_start_heals_after_everything_was_killed(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("dead")
    hypervisor.start()
    domain = with_vm(hypervisor)
    domain.connect().networkLookupByName("lab").setAutostart(1)
    for process in hypervisor.processes():
        kill(process)
    assert hypervisor.processes() == []
    hypervisor.start()
    connection = libvirt.open(hypervisor.uri)
    again = connection.lookupByName("tiny")
    assert not again.isActive()
    assert connection.networkLookupByName("lab").isActive()
    again.create()
    assert again.isActive()


def test_a_libvirtd_that_hangs_is_replaced(stack: Callable[[str], Hypervisor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halab.embedded.hypervisor.hypervisor._HUNG", 1.0)
    hypervisor = stack("hung")
    hypervisor.start()
    hung = one(hypervisor, "libvirtd").pid
    os.kill(hung, signal.SIGSTOP)
    hypervisor.start()
    assert hypervisor.status().running
    assert one(hypervisor, "libvirtd").pid != hung


def test_stop_ends_what_is_left_of_a_killed_hypervisor(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("half")
    hypervisor.start()
    with_vm(hypervisor)
    qemu = one(hypervisor, "qemu:tiny")
    for role in ("holder", "libvirtd", "virtlogd"):
        kill(one(hypervisor, role))
    os.kill(qemu.pid, signal.SIGSTOP)
    assert hypervisor.remove() == []
    assert not alive(qemu.pid)


def test_processes_whose_folders_were_deleted_are_found_and_ended(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("deleted")
    hypervisor.start()
    old = one(hypervisor, "libvirtd").pid
    subprocess.run(["rm", "-rf", str(hypervisor.paths.root)], check=True)
    assert one(hypervisor, "libvirtd").pid == old
    hypervisor.start()
    assert one(hypervisor, "libvirtd").pid != old
    assert hypervisor.status().running


def test_two_stacks_live_side_by_side_with_the_same_names_and_addresses(stack: Callable[[str], Hypervisor]) -> None:
    left, right = stack("left"), stack("right")
    for hypervisor in (left, right):
        hypervisor.start()
        with_vm(hypervisor)
    assert one(left, "qemu:tiny").netns != one(right, "qemu:tiny").netns
    assert left.remove() == []
    assert right.status().running
    connection = libvirt.open(right.uri)
    assert connection.lookupByName("tiny").isActive()


ENTERS = f"""
import socket, sys
from pathlib import Path
from halab.embedded.hypervisor import Hypervisor
Hypervisor("entered", Path(sys.argv[1])).enter()
for address in ("{ADDRESS}", "127.0.0.1"):
    with socket.create_server((address, 0)) as server, socket.create_connection(server.getsockname()):
        print(address)
"""


def test_a_process_that_enters_reaches_the_stacks_addresses(stack: Callable[[str], Hypervisor], tmp_path: Path) -> None:
    hypervisor = stack("entered")
    hypervisor.start()
    with_vm(hypervisor)
    done = subprocess.run(
        [sys.executable, "-c", ENTERS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stderr == ""
    assert done.stdout.split() == [ADDRESS, "127.0.0.1"]
    with pytest.raises(OSError, match="assign"), socket.create_server((ADDRESS, 0)):
        pass


def test_a_process_left_in_the_network_namespace_is_reported(stack: Callable[[str], Hypervisor]) -> None:
    hypervisor = stack("visited")
    hypervisor.start()
    holder = one(hypervisor, "holder")
    with subprocess.Popen(["nsenter", "-t", str(holder.pid), "-n", "sleep", "600"]) as visitor:
        try:
            assert wait_for(lambda: os.stat(f"/proc/{visitor.pid}/ns/net").st_ino == holder.netns, 60)
            assert hypervisor.stop() == [
                f"process {visitor.pid} (sleep) still uses the stack's network namespace",
            ]
        finally:
            visitor.kill()


def test_a_stack_that_does_not_run_cannot_be_entered(stack: Callable[[str], Hypervisor]) -> None:
    with pytest.raises(HypervisorError, match="hypervisor of stack absent is not running"):
        stack("absent").enter()


GUEST = "198.18.70.11"
GUEST_SETUP = f"""
set -e
ip link add guest0 type veth peer name eth0 netns "$GUEST_PID"
ip link set guest0 master {BRIDGE} up
nsenter --target "$GUEST_PID" --net sh -c '
    ip link set lo up; ip address add {GUEST}/24 dev eth0; ip link set eth0 up; ip route add default dev eth0'
"""


def guest_on_the_bridge(hypervisor: Hypervisor) -> list[str]:
    """A network namespace cabled to the stack's bridge as a VM would be; what to put before a command to run in it."""
    holder = one(hypervisor, "holder")
    subprocess.run([*hypervisor.inside(), "setsid", "--fork", "unshare", "--net", "sleep", "600"], check=True)

    def is_in_another() -> bool:
        return [p.netns != holder.netns for p in hypervisor.processes() if p.role == "sleep"] == [True]

    assert wait_for(is_in_another, 60)
    guest = one(hypervisor, "sleep")
    environment = {**os.environ, "GUEST_PID": str(guest.pid)}
    subprocess.run([*hypervisor.inside(), "sh", "-c", GUEST_SETUP], check=True, env=environment)
    return ["nsenter", "--target", str(guest.pid), "--mount", "--net", "--"]


def fence_xvm(guest: list[str], key: Path, *arguments: str, limit: int = 60) -> subprocess.CompletedProcess[str]:
    command = [*guest, "fence_xvm", "-k", str(key), "-t", str(limit), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not exists("fence_xvm"), reason="needs fence_xvm, which `halab doctor --test` installs")
def test_a_stack_fences_its_own_vm_only_with_its_own_key_and_only_for_whom_it_may(
    stack: Callable[[str], Hypervisor], tmp_path: Path
) -> None:
    hypervisor = stack("fenced")
    hypervisor.start()
    domain = with_vm(hypervisor)
    guest = guest_on_the_bridge(hypervisor)
    groups = (FenceGroup("mine", (GUEST,), ("tiny", domain.UUIDString())),)
    hypervisor.start_fence(FenceConfig(BRIDGE, os.urandom(512), groups))
    key = hypervisor.fence.key_file
    assert oct(key.stat().st_mode)[-3:] == "600"

    wrong = tmp_path / "wrong"
    wrong.write_bytes(os.urandom(512))
    assert fence_xvm(guest, wrong, "-H", "tiny", "-o", "off", limit=6).returncode != 0
    assert domain.isActive()

    done = fence_xvm(guest, key, "-H", "tiny", "-o", "off")
    assert done.returncode == 0, done.stderr
    assert not domain.isActive()
    assert fence_xvm(guest, key, "-H", "tiny", "-o", "on").returncode == 0
    assert domain.isActive()

    kill(one(hypervisor, "libvirtd"))
    kill(one(hypervisor, "fence_virtd"))
    hypervisor.start()
    assert fence_xvm(guest, key, "-H", "tiny", "-o", "off").returncode == 0

    stranger = (FenceGroup("others", ("198.18.70.9",), ("tiny", domain.UUIDString())),)
    hypervisor.start_fence(FenceConfig(BRIDGE, key.read_bytes(), stranger))
    refused = fence_xvm(guest, key, "-H", "tiny", "-o", "on", limit=6)
    assert refused.returncode != 0
    hypervisor.stop_fence()
    assert not key.exists()
    assert [process for process in hypervisor.processes() if process.role == "fence_virtd"] == []
    assert hypervisor.remove() == []


@pytest.mark.skipif(not exists("fence_xvm"), reason="needs fence_xvm, which `halab doctor --test` installs")
def test_a_fence_daemon_on_the_host_reaches_a_libvirtd_by_its_uri(
    stack: Callable[[str], Hypervisor], tmp_path: Path
) -> None:
    hypervisor = stack("system")
    hypervisor.start()
    domain = with_vm(hypervisor)
    guest = guest_on_the_bridge(hypervisor)
    fence = Fence(Paths.of("other", tmp_path), hypervisor.uri)
    fence.configure(FenceConfig(BRIDGE, os.urandom(512), (FenceGroup("mine", (GUEST,), ("tiny",)),)))
    # the host's own mounts, and only the bridge's network
    fence.start(["nsenter", "--target", str(one(hypervisor, "holder").pid), "--net", "--"])
    try:
        assert [process.role for process in fence.processes()] == ["fence_virtd"]
        done = fence_xvm(guest, fence.key_file, "-H", "tiny", "-o", "off")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not domain.isActive()
    finally:
        fence.remove()
    assert fence.processes() == []
    assert not fence.key_file.exists()


def test_a_vm_with_a_disk_on_a_base_image_in_the_pool_may_write_it(stack: Callable[[str], Hypervisor]) -> None:
    """The overlay is handed to qemu's user and back; the base, read by every VM, stays readable."""
    hypervisor = stack("disks")
    hypervisor.start()
    base, overlay = hypervisor.paths.pool / "base.qcow2", hypervisor.paths.pool / "vm.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "8M"], check=True)
    inside = INSIDE_POOL / base.name
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", str(inside), str(overlay), "8M"]
    subprocess.run(command, check=True)
    base.chmod(0o600)
    overlay.chmod(0o600)
    disk = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{INSIDE_POOL / overlay.name}'/><target dev='vda' bus='virtio'/></disk>"""
    connection = libvirt.open(hypervisor.uri)
    connection.networkDefineXML(NETWORK).create()
    domain = connection.defineXML(DOMAIN.replace("<devices>", "<devices>" + disk))
    domain.create()
    assert domain.isActive()
    assert overlay.stat().st_uid != 0
    domain.destroy()
    assert overlay.stat().st_uid == 0
