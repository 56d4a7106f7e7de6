"""Where a stack's embedded hypervisor keeps what it has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_LIMIT = 107
"""Bytes: `sun_path` of unix(7) less its final zero."""

_STACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class HypervisorError(Exception):
    """The embedded hypervisor could not do it; the message says what was awaited, seen, and where the log is."""


def state_folder() -> Path:
    """`$HALAB_STATE`, else /var/lib/halab for root and ~/.local/state/halab for others. Not created here."""
    chosen = os.environ.get("HALAB_STATE")
    if chosen:
        return Path(chosen).absolute()
    return Path("/var/lib/halab") if os.geteuid() == 0 else Path.home() / ".local/state/halab"


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one stack, all but `cache` below `root`, as seen from outside the namespaces.

    Inside, `run` is /run, `lib` /var/lib/libvirt, `etc` /etc/libvirt, `log` /var/log/libvirt, `cache`
    /var/cache/libvirt and `pool` /var/lib/libvirt/images: a saved domain's paths are the same in every stack.
    """

    stack: str
    root: Path

    @classmethod
    def of(cls, stack: str, state: Path | None = None) -> Paths:
        """Raises HypervisorError for a stack name that is no file name, or a socket path too long for the kernel."""
        if _STACK.fullmatch(stack) is None or len(stack) > 64:
            raise HypervisorError(
                f"stack name {stack!r}: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
            )
        paths = cls(stack, (state or state_folder()) / "stacks" / stack)
        for covered in (
            "/run",
            "/var/run",
            "/var/lib/libvirt",
            "/etc/libvirt",
            "/var/cache/libvirt",
            "/var/log/libvirt",
        ):
            if paths.root.is_relative_to(covered):
                raise HypervisorError(f"{paths.root} would vanish inside the stack's namespaces: set HALAB_STATE")
        excess = len(os.fsencode(paths.socket)) - SOCKET_PATH_LIMIT
        if excess > 0:
            raise HypervisorError(f"{paths.socket} is {excess} bytes too long for a socket: set HALAB_STATE shorter")
        return paths

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def lib(self) -> Path:
        return self.root / "lib"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def cache(self) -> Path:
        """libvirt's knowledge of this host's qemu, common to all stacks: 12 s to find out; it checks it itself."""
        return self.root.parent.parent / "cache" / "libvirt"

    @property
    def pool(self) -> Path:
        return self.root / "pool"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def fence(self) -> Path:
        return self.root / "fence"

    @property
    def socket(self) -> Path:
        """libvirtd's read-write socket."""
        return self.run / "libvirt" / "libvirt-sock"

    @property
    def lock(self) -> Path:
        """Held while a stack's hypervisor is started or stopped; outlives `root`."""
        return self.root.parent / f".{self.stack}.lock"

    @property
    def uri(self) -> str:
        """The connection URI that works from outside the namespaces."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Everything the hypervisor keeps below `root`; nothing else there is its own."""
        return (self.run, self.lib, self.etc, self.log, self.pool, self.keys, self.fence)


INSIDE_POOL = Path("/var/lib/libvirt/images")
"""What `Paths.pool` is called inside the namespaces (and a system libvirtd's usual pool folder)."""
