"""What halab needs of its host, as data: commands and files, the packages that bring them, and why.

Pure: `missing` takes what exists as a predicate. Package names are those of the archives of the releases in `Release`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Release(StrEnum):
    """The hosts halab installs packages on; ID and VERSION_ID of os-release(5)."""

    DEBIAN_12 = "debian 12"
    DEBIAN_13 = "debian 13"
    UBUNTU_2404 = "ubuntu 24.04"


CODENAME = {Release.DEBIAN_12: "bookworm", Release.DEBIAN_13: "trixie", Release.UBUNTU_2404: "noble"}


class Need(StrEnum):
    """Who needs it: every stack, only the embedded hypervisor, only `halab test`."""

    ALWAYS = "always"
    EMBEDDED = "embedded"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing the host must have.

    `anyof`: command names (searched on PATH and in the sbin folders), absolute globs, or "user:" and a user's name; one
    hit satisfies it.
    `packages`: what brings it; `on` overrides that per release.
    `backports`: releases on which it comes from the backports archive.
    """

    name: str
    why: str
    anyof: tuple[str, ...]
    packages: tuple[str, ...]
    need: Need = Need.ALWAYS
    on: tuple[tuple[Release, tuple[str, ...]], ...] = ()
    backports: tuple[Release, ...] = ()

    def packages_on(self, release: Release) -> tuple[str, ...]:
        return dict(self.on).get(release, self.packages)


QEMU_MINIMUM = (8, 2)
"""Older software emulation crashes guests (7.2: three of five, see the design); only warned about under KVM."""

QEMU_TESTED = (10, 0)

_OLD = (Release.DEBIAN_12,)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "qemu",
        "runs the VMs; Debian 12's own 7.2 crashes emulated guests, its backports have 10",
        ("qemu-system-x86_64",),
        ("qemu-system-x86",),
        backports=_OLD,
    ),
    Requirement("qemu-img", "makes disks", ("qemu-img",), ("qemu-utils",), backports=_OLD),
    Requirement(
        "libvirtd",
        "the embedded hypervisor's daemon",
        ("libvirtd",),
        ("libvirt-daemon",),
        Need.EMBEDDED,
        backports=_OLD,
    ),
    Requirement(
        "virtlogd",
        "keeps the VMs' console logs",
        ("virtlogd",),
        ("libvirt-daemon-log",),
        Need.EMBEDDED,
        on=((Release.UBUNTU_2404, ("libvirt-daemon",)),),
        backports=_OLD,
    ),
    Requirement(
        "libvirt's qemu driver",
        "runs VMs for libvirtd, as the user libvirt-qemu",
        ("/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so",),
        ("libvirt-daemon-driver-qemu",),
        Need.EMBEDDED,
        backports=_OLD,
    ),
    Requirement(
        "libvirt's user",
        "qemu runs as it, not as root",
        ("user:libvirt-qemu",),
        ("libvirt-daemon-driver-qemu",),
        Need.EMBEDDED,
        on=((Release.UBUNTU_2404, ("libvirt-daemon-system",)),),
        backports=_OLD,
    ),
    Requirement(
        "libvirt's network driver",
        "makes the stack's bridges",
        ("/usr/lib/*/libvirt/connection-driver/libvirt_driver_network.so",),
        ("libvirt-daemon-driver-network",),
        Need.EMBEDDED,
        on=((Release.UBUNTU_2404, ("libvirt-daemon",)),),
        backports=_OLD,
    ),
    Requirement(
        "libvirt's storage driver",
        "makes the stack's pool and volumes",
        ("/usr/lib/*/libvirt/connection-driver/libvirt_driver_storage.so",),
        ("libvirt-daemon-driver-storage",),
        Need.EMBEDDED,
        on=((Release.UBUNTU_2404, ("libvirt-daemon",)),),
        backports=_OLD,
    ),
    Requirement("virsh", "a look at the VMs by hand", ("virsh",), ("libvirt-clients",), backports=_OLD),
    Requirement("fence_virtd", "fences VMs on the cluster's request", ("fence_virtd",), ("fence-virtd",)),
    Requirement(
        "fence_virtd's libvirt backend",
        "lets fence_virtd reach libvirtd",
        ("/usr/lib/*/fence-virt/*virt.so",),
        ("fence-virtd",),
    ),
    Requirement("mkisofs", "makes the seed ISOs", ("mkisofs",), ("genisoimage",)),
    Requirement("xsltproc", "the libvirt plugin edits domains with it", ("xsltproc",), ("xsltproc",)),
    Requirement("mmdebstrap", "builds the images", ("mmdebstrap",), ("mmdebstrap",)),
    Requirement(
        "the Debian archive's keys",
        "verify what the images are built from",
        ("/usr/share/keyrings/debian-archive-keyring.*",),
        ("debian-archive-keyring",),
    ),
    Requirement("mke2fs", "makes the images' file systems", ("mke2fs",), ("e2fsprogs",)),
    Requirement("zstd", "packs images and kernels", ("zstd",), ("zstd",)),
    Requirement(
        "static busybox",
        "the initrd of images and of the probe guest",
        ("/bin/busybox", "/usr/bin/busybox"),
        ("busybox-static",),
    ),
    Requirement(
        "iptables",
        "libvirt's network driver starts no network without; its nftables way needs more of the kernel",
        ("iptables",),
        ("iptables",),
        Need.EMBEDDED,
    ),
    Requirement("mount", "the stack's mount namespace", ("mount",), ("mount",), Need.EMBEDDED),
    Requirement("ip", "network namespaces and bridges", ("ip",), ("iproute2",)),
    Requirement("ssh", "the way into the VMs", ("ssh",), ("openssh-client",)),
    Requirement("ssh-keygen", "keys of the stack", ("ssh-keygen",), ("openssh-client",)),
    Requirement("dot", "draws the topology", ("dot",), ("graphviz",)),
    Requirement("fence_xvm", "asks fence_virtd as a guest does", ("fence_xvm",), ("fence-virt",), Need.TEST),
    Requirement("haproxy", "checks the rendered haproxy.cfg", ("haproxy",), ("haproxy",), Need.TEST),
    Requirement("keepalived", "checks the rendered keepalived.conf", ("keepalived",), ("keepalived",), Need.TEST),
    Requirement("crm_verify", "checks the rendered CIB", ("crm_verify",), ("pacemaker-cli-utils",), Need.TEST),
    Requirement("corosync", "checks the rendered corosync.conf", ("corosync",), ("corosync",), Need.TEST),
    Requirement("nft", "checks the rendered firewall", ("nft",), ("nftables",), Need.TEST),
    Requirement("dnsmasq", "checks the rendered dnsmasq.conf", ("dnsmasq",), ("dnsmasq-base",), Need.TEST),
    Requirement("mariadbd", "checks the rendered Galera file", ("mariadbd",), ("mariadb-server-core",), Need.TEST),
    Requirement("sshd", "a node to run commands on", ("sshd",), ("openssh-server",), Need.TEST),
)

UNWANTED_UNITS: tuple[str, ...] = (
    "fence_virtd.service",
    "libvirtd.service",
    "libvirtd.socket",
    "libvirtd-ro.socket",
    "libvirtd-admin.socket",
    "libvirt-guests.service",
    "virtlogd.service",
    "virtlogd.socket",
    "virtlogd-admin.socket",
    "virtlockd.service",
    "virtlockd.socket",
    "virtlockd-admin.socket",
    "virtqemud.service",
    "virtqemud.socket",
    "virtqemud-ro.socket",
    "virtqemud-admin.socket",
    "virtnetworkd.service",
    "virtnetworkd.socket",
    "virtnetworkd-ro.socket",
    "virtnetworkd-admin.socket",
    "virtstoraged.service",
    "virtstoraged.socket",
    "virtstoraged-ro.socket",
    "virtstoraged-admin.socket",
    "virtproxyd.service",
    "virtproxyd.socket",
    "virtproxyd-ro.socket",
    "virtproxyd-admin.socket",
    "haproxy.service",
    "keepalived.service",
    "corosync.service",
    "nftables.service",
    "ssh.service",
    "ssh.socket",
)
"""Units the packages above enable and halab does not use: disabled again when halab's install brought them."""


def release_of(os_release: str) -> Release | None:
    """The release an os-release(5) text names, None when halab does not install packages there."""
    pairs = (line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    values = {key.strip(): value.strip().strip("\"'") for key, value in pairs}
    try:
        return Release(f"{values.get('ID', '')} {values.get('VERSION_ID', '')}")
    except ValueError:
        return None


def wanted(needs: Iterable[Need]) -> list[Requirement]:
    """The requirements of these needs, in the order of the list."""
    chosen = set(needs)
    return [requirement for requirement in REQUIREMENTS if requirement.need in chosen]


def missing(exists: Callable[[str], bool], needs: Iterable[Need]) -> list[Requirement]:
    """The requirements of these needs of which nothing in `anyof` exists."""
    return [requirement for requirement in wanted(needs) if not any(exists(one) for one in requirement.anyof)]


@dataclass(frozen=True, slots=True)
class Packages:
    """What to install: `backports` from the backports archive, `plain` from the release itself; sorted, no repeats."""

    plain: tuple[str, ...]
    backports: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.plain or self.backports)


def packages_for(requirements: Iterable[Requirement], release: Release) -> Packages:
    """What to install on that release; a package that is wanted from backports is not taken from the release too."""
    plain: set[str] = set()
    backports: set[str] = set()
    for requirement in requirements:
        (backports if release in requirement.backports else plain).update(requirement.packages_on(release))
    return Packages(tuple(sorted(plain - backports)), tuple(sorted(backports)))
