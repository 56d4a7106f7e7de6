"""What a killed create left at a hypervisor is removed by name; what is not there is no error."""

from __future__ import annotations

from pathlib import Path

from halab.embedded.provider import Recovers
from tests.engine.test_libvirt_provider import DOMAIN, NETWORK, POOL, SEED, VOLUME, Driver, fake, host, pool, qemu, real

__all__ = ["fake", "host", "pool", "qemu"]


@real
def test_a_killed_create_is_taken_back_by_name(qemu: Driver, tmp_path: Path) -> None:
    provider = qemu.provider
    assert isinstance(provider, Recovers)
    asked = {
        POOL: {"name": "p", "type": "dir", "target": {"path": "/var/lib/libvirt/images/p"}},
        VOLUME: {"name": "v", "pool": "p", "size": 1 << 20},
        SEED: {"name": "s", "pool": "p", "userData": "#cloud-config\n"},
        NETWORK: {"name": "n", "mode": "none", "bridge": "halabtb0"},
        DOMAIN: {"name": "d", "memory": 64, "type": "qemu", "running": False, "graphics": {"type": "vnc"}},
    }
    made = {type_: qemu.create(type_, inputs) for type_, inputs in asked.items()}
    for type_, inputs in reversed(asked.items()):
        for _ in range(2):
            provider.take_back(type_, qemu.call, qemu.check(type_, inputs))
        assert qemu.read(type_, made[type_]) is None
