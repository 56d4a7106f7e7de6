"""Whether this host's KVM really runs guests: by booting one, since a /dev/kvm that exists proves nothing.

The guest is a Linux kernel (of a built image, else the host's own) with a 72 byte program as its only userspace, which
prints a marker on the serial line. Where no kernel is at hand it is a boot sector that enters long mode and leaves
through isa-debug-exit: weaker, and said so. The sources of both programs are in `guest/`.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from halab.host.install import find

MARKER = b"halab-probe-guest-lives"
KERNEL_LIMIT = 8.0
"""Seconds for a kernel to reach userspace under KVM: 1 to 2 is usual, software emulation itself needs 2.5."""
SECTOR_LIMIT = 1.5
"""Seconds for firmware and boot sector: 0.1 under emulation; an unusable KVM with a CPU it took, 3.2."""
_CONTROL_LIMIT = 60.0
_SECTOR_EXIT = 0x2A << 1 | 1

INIT_CODE = bytes.fromhex(
    "b801000000bf01000000488d351f000000ba180000000f05b8a9000000bfaddee1febe69191228ba674523010f05ebfe"
    "68616c61622d70726f62652d67756573742d6c697665730a"
)
SECTOR_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cbf00106631c0b9000cfc66f3ab66c70600100320"
    "000066c70600200330000066c7060030830000000f20e06683c8200f22e066b8"
    "001000000f22d866b9800000c00f32660d000100000f300f0116887c0f20c066"
    "0d010000800f22c0ea6d7c0800b82a000000e6f4f4ebfd900000000000000000"
    "00000000009a20000f00787c0000"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """`kvm`: whether to use it. `how`: the guest that was booted; `seen`: what happened; `seconds` it took."""

    kvm: bool
    how: str
    seen: str
    seconds: float

    @property
    def domain_type(self) -> str:
        """libvirt's name for it: "kvm" or "qemu"."""
        return "kvm" if self.kvm else "qemu"


def elf(code: bytes) -> bytes:
    """A static x86-64 Linux executable of one segment that starts at the first byte of `code` (elf(5))."""
    base = 0x400000
    header_size = 64 + 56
    size = header_size + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + header_size, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return ident + header + segment + code


def initrd() -> bytes:
    """An initramfs (newc cpio) of /dev/console and the probe's /init."""
    return (
        _cpio("dev", 0o040755)
        + _cpio("dev/console", 0o020600, device=(5, 1))
        + _cpio("init", 0o100755, elf(INIT_CODE))
        + _cpio("TRAILER!!!", 0)
    )


def _cpio(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def sector() -> bytes:
    """The 512 byte boot sector."""
    return SECTOR_CODE.ljust(510, b"\0") + b"\x55\xaa"


def kernels() -> list[Path]:
    """Readable kernels to boot, best first: of finished images (newest first), then the host's own."""
    caches = [Path("/var/cache/halab"), Path.home() / ".cache/halab"]
    if chosen := os.environ.get("HALAB_CACHE"):
        caches.insert(0, Path(chosen))
    built = [path for cache in caches for path in cache.glob("images/*/vmlinu*")]
    own = list(Path("/boot").glob("vmlinuz-*"))
    found = []
    for group in (built, own):
        there = [path for path in group if path.is_file() and os.access(path, os.R_OK)]
        found += sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)
    return found


def virt_type(state: Path, candidates: Sequence[Path] | None = None) -> Probe:
    """The answer for this host, from `state`/probe.json when it was found since boot, else by `probe` (and kept there).

    An answer from a boot sector is asked again once there is a kernel.
    """
    device = "no /dev/kvm" if not Path("/dev/kvm").exists() else "/dev/kvm may not be opened by this user"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Probe(False, "no guest booted", device, 0.0)
    found = list(kernels() if candidates is None else candidates)
    qemu = find("qemu-system-x86_64")
    if qemu is None:
        return Probe(False, "no guest booted", "no qemu-system-x86_64: run halab doctor", 0.0)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    identity = [boot, os.stat(qemu).st_mtime_ns, bool(found)]
    kept = state / "probe.json"
    try:
        known = json.loads(kept.read_text())
        if known["identity"] == identity:
            return Probe(**known["answer"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    answer = probe(qemu, found)
    state.mkdir(parents=True, exist_ok=True)
    beside = state / f".probe.json.{os.getpid()}"
    beside.write_text(json.dumps({"identity": identity, "answer": asdict(answer)}))
    beside.replace(kept)
    return answer


def probe(qemu: str, candidates: Sequence[Path]) -> Probe:
    """Boot a guest under KVM. A kernel that does not boot under emulation either proves nothing: the next is tried."""
    with tempfile.TemporaryDirectory(prefix="halab-probe-") as folder:
        work = Path(folder)
        (work / "initrd").write_bytes(initrd())
        (work / "sector").write_bytes(sector())
        for kernel in candidates[:3]:
            alive, seen, seconds = _boot_kernel(qemu, kernel, work, "kvm", KERNEL_LIMIT)
            if alive or _boot_kernel(qemu, kernel, work, "tcg", _CONTROL_LIMIT)[0]:
                return Probe(alive, f"kernel {kernel} with an init of its own", seen, round(seconds, 2))
        alive, seen, seconds = _boot_sector(qemu, work)
        return Probe(alive, "boot sector that enters long mode (no kernel at hand: a weaker proof)", seen, seconds)


def _machine(qemu: str, accelerator: str, memory: int) -> list[str]:
    cpu = "host" if accelerator == "kvm" else "Nehalem"
    base = [qemu, "-machine", f"pc,accel={accelerator}", "-cpu", cpu, "-m", str(memory)]
    return [*base, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]


def _boot_kernel(qemu: str, kernel: Path, work: Path, accelerator: str, limit: float) -> tuple[bool, str, float]:
    command = [*_machine(qemu, accelerator, 256), "-serial", "stdio", "-kernel", str(kernel)]
    command += ["-initrd", str(work / "initrd"), "-append", "console=ttyS0 quiet panic=-1 nokaslr mitigations=off"]
    started = time.monotonic()
    output = b""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as guest:
        assert guest.stdout is not None
        try:
            while MARKER not in output and (left := started + limit - time.monotonic()) > 0:
                if not select.select([guest.stdout], [], [], left)[0]:
                    break
                part = os.read(guest.stdout.fileno(), 65536)
                if not part:
                    break
                output += part
        finally:
            guest.kill()
    seconds = time.monotonic() - started
    if MARKER in output:
        return True, f"userspace reached in {seconds:.1f} s", seconds
    how = "no userspace" if seconds >= limit else "qemu ended without userspace"
    return False, f"{how} after {seconds:.1f} s{_last(output)}", seconds


def _boot_sector(qemu: str, work: Path) -> tuple[bool, str, float]:
    command = [*_machine(qemu, "kvm", 32), "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    command += ["-drive", f"file={work / 'sector'},format=raw,if=ide,read-only=off,snapshot=on"]
    started = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SECTOR_LIMIT)
    except subprocess.TimeoutExpired:
        return False, f"long mode not reached in {SECTOR_LIMIT:.1f} s", SECTOR_LIMIT
    seconds = round(time.monotonic() - started, 2)
    if done.returncode == _SECTOR_EXIT:
        return True, f"long mode reached in {seconds:.1f} s", seconds
    return False, f"qemu ended with {done.returncode}{_last(done.stderr)}", seconds


def _last(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""
