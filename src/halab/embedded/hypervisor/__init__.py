"""The embedded hypervisor: halab's own libvirtd, virtlogd and fence_virtd for each stack, apart from the host's."""

from halab.embedded.hypervisor.fence import Fence, FenceConfig, FenceGroup
from halab.embedded.hypervisor.hypervisor import Hypervisor, Status
from halab.embedded.hypervisor.paths import INSIDE_POOL, HypervisorError, Paths, state_folder
from halab.embedded.hypervisor.processes import Process

__all__ = [
    "INSIDE_POOL",
    "Fence",
    "FenceConfig",
    "FenceGroup",
    "Hypervisor",
    "HypervisorError",
    "Paths",
    "Process",
    "Status",
    "state_folder",
]
