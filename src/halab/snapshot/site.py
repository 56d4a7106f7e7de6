"""Where a stack lives, for those that save and restore it: its hypervisor, its fencing, its VMs, its guests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from urllib.parse import urlsplit

from halab import hypervisors
from halab.embedded.engine.lock import Lock, cli_locks
from halab.embedded.hypervisor import Fence, Hypervisor
from halab.embedded.hypervisor.waiting import wait_for
from halab.embedded.providers.libvirt.host import api
from halab.errors import HalabError, RefusedError
from halab.keys import Keys
from halab.remote import Remote
from halab.snapshot.live import Live
from halab.workspace import Workspace

#: Around something that takes time: its name goes in, and whoever watches is shown it and how long it took.
Step = Callable[[str], AbstractContextManager[None]]
#: Told a line that is not a step.
Say = Callable[[str], None]


class Site:
    """Raises RefusedError for a hypervisor on which RAM and disks are out of reach."""

    def __init__(self, workspace: Workspace, choice: hypervisors.Choice) -> None:
        self.workspace, self.name = workspace, choice.name
        forced = workspace.topology.stack.hypervisor.domain_type
        kvm = None if forced == "auto" else forced == "kvm"
        self.embedded = Hypervisor(workspace.stack, workspace.state, kvm) if choice.embedded else None
        self._uri = choice.uri
        self.fence = self.embedded.fence if self.embedded else Fence(workspace.paths, choice.uri)
        if os.geteuid() != 0:
            raise RefusedError(f"{workspace.stack}: snapshots need root: RAM and disks of VMs are root's")
        if not choice.embedded and (urlsplit(choice.uri).hostname or urlsplit(choice.uri).path != "/system"):
            raise RefusedError(
                f"{workspace.stack}: it lives on {choice.uri}; snapshots are of the embedded hypervisor and of "
                f"{hypervisors.SYSTEM} on this host"
            )

    @property
    def kind(self) -> str:
        return "embedded" if self.embedded else "system"

    @property
    def prefix(self) -> Sequence[str]:
        """What to put before a command for it to run where the stack's libvirtd is."""
        return self.embedded.inside() if self.embedded else ()

    def start(self) -> None:
        """The hypervisor runs, and this process is where the guests' addresses are. With no other thread alive."""
        if self.embedded is None:
            return
        self.embedded.start()
        holder = next(one for one in self.embedded.processes() if one.role == "holder")
        if os.stat("/proc/self/ns/net").st_ino != holder.netns:
            # threads that were joined are gone a moment later
            wait_for(lambda: len(os.listdir("/proc/self/task")) == 1, 5.0)
            self.embedded.enter()

    @contextmanager
    def live(self) -> Iterator[Live]:
        """The stack's VMs. An error of libvirt within the block leaves it as a HalabError."""
        libvirt = api()
        found = Live(self._uri, self.workspace.topology.prefix, self.workspace.paths if self.embedded else None)
        try:
            yield found
        except libvirt.libvirtError as error:
            raise HalabError(
                f"libvirt on {self._uri}: {error.get_error_message()}; run the command again, it goes on from there"
            ) from error
        finally:
            with suppress(libvirt.libvirtError):  # the daemon may be gone, the connection with it
                found.close()

    def remote(self) -> Remote:
        """SSH to the stack's nodes. Raises RefusedError where the stack has no keys."""
        keys = Keys.load(self.workspace.stack, self.workspace.state)
        if keys is None:
            raise RefusedError(f"{self.workspace.stack}: no keys, so it is not up")
        keys.write_files(self.workspace.topology)
        nodes = self.workspace.topology.nodes
        return Remote({node.name: str(node.ip) for node in nodes}, keys.client, keys.known_hosts)

    def known(self, nodes: Iterable[str]) -> list[str]:
        """Those of `nodes` that the stack's file still has, whose addresses and host keys are known by that."""
        return [node.name for node in self.workspace.topology.nodes if node.name in set(nodes)]


@contextmanager
def locked(workspace: Workspace, say: Say) -> Iterator[None]:
    """No engine changes the stack meanwhile, and nobody else saves or restores it. Raises LockedError."""
    state = workspace.checkpoint
    lock = Lock(state.with_suffix(".lock"), say, cli_locks(state))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
