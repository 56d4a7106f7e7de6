"""What fits a host beside what is there, to the MiB; what runs, as qemu's command line tells it."""

from __future__ import annotations

import random

import pytest

from components.topology import Topology
from halab.embedded.hypervisor.processes import parse_mountinfo
from halab.stacks import budget
from halab.stacks.budget import Use, short_of_disk, short_of_memory
from halab.stacks.machines import root_of, sizes

GIB = 1024**3


def test_a_vm_takes_its_memory_qemu_and_under_emulation_the_translated_code(collapsed: Topology) -> None:
    plain = sum(node.memory + budget.QEMU_OVERHEAD for node in collapsed.nodes)
    assert budget.memory(collapsed, emulated=False) == plain
    assert budget.memory(collapsed, emulated=True) == plain + sum(node.translations for node in collapsed.nodes)


def test_the_default_stack_fits_24_gib_emulated_and_two_of_it_do_not(collapsed: Topology) -> None:
    need = budget.memory(collapsed, emulated=True)
    assert short_of_memory(need, [], 24_000) is None
    line = short_of_memory(need, [Use("stack other", need)], 24_000)
    assert line is not None
    assert line.startswith(f"memory: {2 * need + budget.RESERVE - 24_000} MiB short: ")
    assert f"stack other {need} MiB" in line


def test_memory_is_refused_exactly_where_the_sum_and_the_reserve_exceed_the_host() -> None:
    rng = random.Random(3)
    for _ in range(500):
        need = rng.randint(1, 20_000)
        others = [Use(f"s{index}", rng.randint(0, 9_000)) for index in range(rng.randint(0, 5))]
        host = rng.randint(1_000, 64_000)
        line = short_of_memory(need, others, host)
        assert (line is None) == (need + sum(one.amount for one in others) + budget.RESERVE <= host)
        for one in others:
            assert line is None or (f"{one.who} {one.amount} MiB" in line) == (one.amount > 0)


@pytest.mark.parametrize(("free", "fits"), [(30 * GIB, True), (30 * GIB - 1, False)])
def test_disk_is_refused_exactly_where_what_will_be_written_exceeds_what_is_free(free: int, fits: bool) -> None:
    line = short_of_disk(20 * GIB, [Use("stack other", 10 * GIB), Use("idle", 0)], free, "/var/lib/halab")
    assert (line is None) == fits
    if line:
        assert line.startswith("disk: 1 GiB short at /var/lib/halab: ")
        assert "stack other (to grow) 10 GiB" in line
        assert "idle" not in line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-accel tcg,tb-size=768 -m size=3145728k", (3072, 768)),
        ("-accel kvm -m size=3145728k,slots=16,maxmem=8388608k", (3072, 0)),
        ("-m 512", (512, 0)),
        ("-m 4G -smp 2", (4096, 0)),
        ("-nographic", (0, 0)),
    ],
)
def test_sizes_are_read_from_a_command_line(line: str, expected: tuple[int, int]) -> None:
    assert sizes(("qemu-system-x86_64", *line.split())) == expected


OURS = parse_mountinfo(
    "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
    "30 22 254:16 /data /srv/halab rw - ext4 /dev/vdb rw\n"
    "31 22 0:25 / /run rw - tmpfs tmpfs rw\n"
)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("40 22 254:0 /var/lib/halab/stacks/mine/run /run rw - ext4 /dev/vda rw", "/var/lib/halab/stacks/mine"),
        ("40 22 254:16 /data/stacks/mine/run /run rw - ext4 /dev/vdb rw", "/srv/halab/stacks/mine"),
        ("40 22 254:0 /var/lib/halab/stacks/mine/run//deleted /run rw - ext4 d rw", "/var/lib/halab/stacks/mine"),
        ("31 22 0:25 / /run rw - tmpfs tmpfs rw", None),
        ("40 22 254:0 /var/lib/containers/x/run /run rw - ext4 /dev/vda rw", None),
    ],
)
def test_a_process_is_of_the_hypervisor_whose_folder_is_its_run(theirs: str, expected: str | None) -> None:
    found = root_of(theirs, OURS)
    assert (str(found) if found else None) == expected
