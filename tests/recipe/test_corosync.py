"""The rendered corosync.conf of every cluster of every stack, judged by corosync itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from components.cluster import corosync
from components.topology import derive
from components.variant import Variant, load

PROJECT = Path(__file__).resolve().parents[2]
COROSYNC = shutil.which("corosync", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
CONFIGS = {
    f"{name}-{cluster.name}": corosync.config(topology, cluster)
    for name in Variant
    if (topology := derive(load(PROJECT, name)))
    for cluster in topology.clusters
}
needs_corosync = pytest.mark.skipif(COROSYNC is None, reason="corosync is absent: install the package corosync")


def checked(config: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """`corosync -t` on it as its first member, with a key of the size that the stack's has.

    corosync must find one of the ring's addresses on its own host: a network namespace has it.
    """
    file, key = tmp_path / "corosync.conf", tmp_path / "authkey"
    file.write_text(config.replace("totem {\n", f"totem {{\n    keyfile: {key}\n"))
    key.write_bytes(bytes(256))
    address = re.search(r"ring0_addr: (\S+)", config)
    assert address
    script = 'ip link set lo up && ip address add "$1" dev lo && exec "$2" -t -c "$3"'
    command = ["unshare", "--map-root-user", "--net", "sh", "-euc", script, "sh", address[1], str(COROSYNC), str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_corosync
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_corosync_accepts_its_configuration(config: str, tmp_path: Path) -> None:
    done = checked(config, tmp_path)
    assert done.returncode == 0, done.stderr


@needs_corosync
def test_corosync_refuses_a_ring_without_its_nodes_ids(tmp_path: Path) -> None:
    broken = next(iter(CONFIGS.values())).replace("nodeid:", "nodeidentity:")
    assert checked(broken, tmp_path).returncode != 0


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_ring_is_encrypted(config: str) -> None:
    assert "crypto_cipher: aes256" in config
    assert "crypto_hash: sha256" in config
