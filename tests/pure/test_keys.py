"""A stack's keys on disk: made once, private, the same for everyone who asks, gone when removed."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.topology import Topology
from halab.keys import Keys, KeysError


def test_before_the_first_up_there_are_none_and_ephemeral_ones_leave_no_trace(state: Path) -> None:
    assert Keys.load("mine", state) is None
    first, second = Keys.ephemeral("mine", state), Keys.ephemeral("mine", state)
    assert first.secrets.seed != second.secrets.seed
    assert list(state.iterdir()) == []


def test_keys_are_made_once(state: Path) -> None:
    made = Keys.create("mine", state)
    assert Keys.create("mine", state) == made
    assert Keys.load("mine", state) == made
    assert Keys.create("other", state).secrets.seed != made.secrets.seed


def test_of_many_who_make_them_at_once_all_get_the_same(state: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        seeds = {keys.secrets.seed for keys in pool.map(lambda _: Keys.create("mine", state), range(32))}
    assert len(seeds) == 1


def test_only_their_owner_reads_them(state: Path, collapsed: Topology) -> None:
    keys = Keys.create("collapsed", state)
    keys.write_files(collapsed)
    assert keys.folder.stat().st_mode & 0o777 == 0o700
    files = list(keys.folder.iterdir())
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_ssh_finds_every_node_in_known_hosts_by_name_and_address(state: Path, collapsed: Topology) -> None:
    keys = Keys.create("collapsed", state)
    keys.write_files(collapsed)
    for node in collapsed.nodes:
        for name in (node.name, f"{node.name}.{collapsed.domain}", str(node.ip)):
            command = ["ssh-keygen", "-F", name, "-f", str(keys.known_hosts)]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert keys.secrets.ssh_public(node.name) in found


def test_files_that_are_right_are_left_alone_and_wrong_ones_mended(state: Path, collapsed: Topology) -> None:
    keys = Keys.create("collapsed", state)
    keys.write_files(collapsed)
    before = {path: path.stat().st_mtime_ns for path in keys.folder.iterdir()}
    keys.write_files(collapsed)
    assert {path: path.stat().st_mtime_ns for path in keys.folder.iterdir()} == before
    keys.client.chmod(0o644)
    keys.ca.write_text("")
    keys.write_files(collapsed)
    assert keys.client.stat().st_mode & 0o777 == 0o600
    assert keys.ca.read_text() == keys.secrets.ca_pem


def test_removal_leaves_nothing_but_what_is_not_theirs(state: Path, collapsed: Topology) -> None:
    keys = Keys.create("collapsed", state)
    keys.write_files(collapsed)
    keys.remove()
    assert not keys.folder.exists()
    keys = Keys.create("collapsed", state)
    (keys.folder / "fence_xvm.key").write_text("another's")
    keys.remove()
    assert [path.name for path in keys.folder.iterdir()] == ["fence_xvm.key"]
    keys.remove()


@pytest.mark.parametrize("text", ["", "{}", '{"seed": "xyz", "made": "2026-01-01"}', '{"seed": "00", "made": "soon"}'])
def test_a_damaged_seed_is_said_to_be_damaged(state: Path, text: str) -> None:
    keys = Keys.create("mine", state)
    (keys.folder / "seed.json").write_text(text)
    with pytest.raises(KeysError, match="not the seed of stack mine"):
        Keys.load("mine", state)
