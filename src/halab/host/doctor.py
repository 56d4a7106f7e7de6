"""The examination of a host: each check is data, with what was seen and how to mend it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from halab.host import pins, pulumi_cli
from halab.host.install import exists, find, install, plan, qemu_version
from halab.host.machine import meminfo, memory_limit
from halab.host.probe import virt_type
from halab.host.requirements import (
    QEMU_MINIMUM,
    QEMU_TESTED,
    Need,
    Release,
    Requirement,
    missing,
    release_of,
    wanted,
)
from halab.stacks.budget import RESERVE
from halab.stacks.host import existing

INSTALL = "./halab doctor --install"


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `mend` is empty when there is nothing to do."""

    name: str
    verdict: Verdict
    seen: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a stack asks of its host: MiB of memory of all its VMs, GiB of disk, and whether on the embedded hypervisor.

    `state`: the folder of all stacks, whose file system the disk is taken from.
    """

    memory: int
    disk: int
    embedded: bool
    state: Path


def release() -> Release | None:
    """This host's release, None when halab does not install packages on it."""
    try:
        return release_of(Path("/etc/os-release").read_text())
    except OSError:
        return None


def needs(embedded: bool, test: bool = False) -> list[Need]:
    return [Need.ALWAYS, *([Need.EMBEDDED] if embedded else []), *([Need.TEST] if test else [])]


def examine(demand: Demand) -> list[Check]:
    """Every check of this host, in the order a reader wants them. Nothing is changed; the KVM probe boots a guest."""
    found: list[Check | None] = [_release(), _privilege(demand.embedded)]
    requirements = wanted(needs(demand.embedded))
    versions = _versions(requirements)
    found += [_requirement(one, versions) for one in requirements]
    if exists("qemu-system-x86_64"):
        kvm = virt_type(demand.state)
        found += [_qemu(qemu_version(), kvm.kvm), Check("KVM", *_kvm(kvm.kvm, f"{kvm.how}: {kvm.seen}"))]
    if demand.embedded:
        found.append(_namespaces())
    found += [_memory(demand.memory), _cgroup_memory(demand.memory), _cores(), _disk(demand)]
    found += [_clock(), _pulumi()]
    return [one for one in found if one is not None]


def failed(checks: Iterable[Check]) -> list[Check]:
    return [one for one in checks if one.verdict is Verdict.FAIL]


def mend(
    embedded: bool, ask: Callable[[list[str]], bool], say: Callable[[str], None], log: Path, *, test: bool = False
) -> bool:
    """Install what is missing after `ask` agreed to the plan (a line per change). True when nothing is missing then.

    As root on a known release; raises InstallError. An old QEMU counts as missing.
    """
    lacking = lacks(embedded, test=test)
    if not lacking:
        return True
    host = release()
    if host is None or os.geteuid() != 0:
        return False
    if not ask(plan(lacking, host, log)):
        return False
    install(lacking, host, log, say)
    return not lacks(embedded, test=test)


def lacks(embedded: bool, *, test: bool = False) -> list[Requirement]:
    """The requirements this host does not meet, an old QEMU among them."""
    chosen = needs(embedded, test)
    lacking = missing(exists, chosen)
    version = qemu_version()
    if version and version < QEMU_MINIMUM:
        lacking += [one for one in wanted(chosen) if one.name in {"qemu", "qemu-img"} and one not in lacking]
    return lacking


def how_to_get(requirement: Requirement, host: Release | None, root: bool) -> str:
    """What to type, or to ask the admin for."""
    if host is None:
        return f"install {' or '.join(requirement.packages)}, by the name it has on this system"
    packages = " ".join(requirement.packages_on(host))
    archive = " from backports" if host in requirement.backports else ""
    return f"{INSTALL} (package {packages}{archive})" if root else f"ask the admin for package {packages}{archive}"


def _release() -> Check:
    host = release()
    if host is not None:
        return Check("system", Verdict.OK, host.value)
    return Check(
        "system", Verdict.WARN, "not Debian 12, Debian 13 or Ubuntu 24.04", "install by hand what the checks below name"
    )


def _privilege(embedded: bool) -> Check:
    if os.geteuid() == 0:
        return Check("privilege", Verdict.OK, "root")
    if embedded:
        return Check(
            "privilege",
            Verdict.FAIL,
            "not root, and no system libvirtd answers",
            "run as root, or ask the admin for libvirt-daemon-system and membership in the group libvirt",
        )
    return Check("privilege", Verdict.OK, "not root; the system libvirtd answers")


def _requirement(requirement: Requirement, versions: Mapping[str, str]) -> Check:
    path = next(filter(None, (find(one) for one in requirement.anyof)), None)
    if path is not None:
        told = ", ".join(sorted({versions[package] for package in _packages(requirement) if package in versions}))
        return Check(requirement.name, Verdict.OK, f"{path} ({told})" if told else path)
    seen = f"not found; {requirement.why}"
    return Check(requirement.name, Verdict.FAIL, seen, how_to_get(requirement, release(), os.geteuid() == 0))


def _packages(requirement: Requirement) -> tuple[str, ...]:
    host = release()
    return requirement.packages_on(host) if host else requirement.packages


def _versions(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Installed packages of these requirements with their versions; empty where dpkg does not rule."""
    names = sorted({package for one in requirements for package in _packages(one)})
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\\n", *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return {}
    fields = (line.split() for line in done.stdout.splitlines())
    return {one[1]: one[2] for one in fields if len(one) == 3 and one[0] == "ii"}


def _qemu(version: tuple[int, ...], kvm: bool) -> Check:
    seen = ".".join(map(str, version)) or "qemu-system-x86_64 does not tell its version"
    if version >= QEMU_TESTED or (kvm and version >= QEMU_MINIMUM):
        return Check("qemu version", Verdict.OK, seen)
    if version >= QEMU_MINIMUM:
        return Check("qemu version", Verdict.WARN, f"{seen}: emulation is tried with {QEMU_TESTED[0]} only")
    if kvm:
        return Check("qemu version", Verdict.WARN, f"{seen}: tried with {QEMU_TESTED[0]} only", INSTALL)
    return Check("qemu version", Verdict.FAIL, f"{seen}: its software emulation crashes guests", INSTALL)


def _kvm(usable: bool, seen: str) -> tuple[Verdict, str, str]:
    if usable:
        return Verdict.OK, seen, ""
    if not Path("/dev/kvm").exists():
        mend = "none needed; with virtualization switched on in the firmware, VMs run much faster"
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        mend = "join the group of /dev/kvm (usually kvm) and log in again"
    else:
        mend = "none needed; VMs are emulated, which is slow"
    return Verdict.WARN, seen, mend


def _namespaces() -> Check:
    """Whether namespaces, a bridge and a tap device can be made: tried, in namespaces that end with the trial."""
    if os.geteuid() != 0:
        return Check("namespaces", Verdict.FAIL, "not root", "run as root, or use a system libvirtd")
    trial = (
        "ip link add name halab-trial type bridge && ip tuntap add dev halab-tap mode tap && "
        "ip link set halab-tap master halab-trial && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run"
    )
    command = ["unshare", "--net", "--mount", "--propagation", "slave", "--", "sh", "-c", trial]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return Check("namespaces", Verdict.OK, "network and mount namespace, bridge, tap")
    seen = " ".join(done.stderr.split())[:200]
    return Check(
        "namespaces",
        Verdict.FAIL,
        seen,
        "in a container: start it privileged (CAP_SYS_ADMIN, CAP_NET_ADMIN); else: modprobe bridge tun",
    )


def _memory(asked: int) -> Check:
    return judge_memory(asked, meminfo("MemTotal"), meminfo("MemAvailable"))


def judge_memory(asked: int, total: int, available: int) -> Check:
    """All in MiB; `asked`: what the stack's VMs take together at most."""
    seen = f"{total} MiB, {available} available; the stack's VMs take up to {asked}"
    if total < asked + RESERVE:
        return Check("memory", Verdict.FAIL, seen, f"{asked + RESERVE - total} MiB too few: smaller or fewer VMs")
    if available < asked:
        return Check("memory", Verdict.WARN, seen, "end other programs or stacks, else the host swaps")
    return Check("memory", Verdict.OK, seen)


def _cgroup_memory(asked: int) -> Check | None:
    """The limit of the control group we are in, where there is one."""
    if (limit := memory_limit()) is None:
        return None
    amount, name = limit
    seen = f"memory limited to {amount} MiB by {name}"
    if amount < asked + RESERVE:
        return Check("cgroup", Verdict.FAIL, seen, f"raise it to {asked + RESERVE} MiB")
    return Check("cgroup", Verdict.OK, seen)


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0))
    if cores >= 2:
        return Check("cores", Verdict.OK, str(cores))
    return Check("cores", Verdict.WARN, "1", "expect timeouts; give the host two cores or more")


def _disk(demand: Demand) -> Check:
    folder = existing(demand.state)
    free = shutil.disk_usage(folder).free >> 30
    seen = f"{free} GiB free at {folder}; wanted: {demand.disk}"
    if free < demand.disk:
        return Check("disk", Verdict.FAIL, seen, "make room, or set HALAB_STATE to a folder on a larger file system")
    return Check("disk", Verdict.OK, seen)


def _clock() -> Check:
    """Certificates and tokens are only as valid as the clock; guests take the time from the host."""
    now = time.time()
    newest = Path(__file__).stat().st_mtime
    seen = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < newest - 86400:
        return Check("clock", Verdict.FAIL, f"{seen}, before this copy of halab was written", "set the clock")
    if not _synchronised():
        return Check("clock", Verdict.WARN, f"{seen}, not synchronised", "none needed for one host; else run chrony")
    return Check("clock", Verdict.OK, seen)


def _synchronised() -> bool:
    """adjtimex(2) with modes 0 only reads; it returns TIME_ERROR (5) while the clock is not synchronised."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))) != 5


def _pulumi() -> Check:
    lacking = pulumi_cli.lacking()
    if not lacking:
        return Check("pulumi", Verdict.OK, f"{pulumi_cli.cli()} with {', '.join(_pinned())}")
    return Check(
        "pulumi",
        Verdict.OK,
        f"{'; '.join(lacking)}: the embedded engine is used",
        f"none needed; {INSTALL} offers pulumi {pins.CLI} where the internet can be reached",
    )


def _pinned() -> Iterator[str]:
    return (f"{name} {version}" for name, version in pins.PLUGINS.items())
