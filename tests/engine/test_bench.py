"""Benches in processes of their own, and CPU time as libvirt tells it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from halab import cpu

ROOT = Path(__file__).parents[2]


def test_a_bench_prints_and_keeps_the_same_figures_with_the_machine_they_were_taken_on(state: Path) -> None:
    environment = {**os.environ, "HALAB_STATE": str(state)}
    done = subprocess.run(
        [ROOT / "halab", "bench", "graph", "--repeat", "3", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    kept = json.loads(Path(found["file"]).read_text())
    assert kept["results"] == found["results"]
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert {"qemu", "load", "memory_mib", "virtualization"} <= found["machine"].keys()
    for result in found["results"]:
        plan, empty = (baseline["lowest"] for baseline in result["baselines"])
        # A busy host makes any command wait: of several runs the quickest.
        assert 0 < empty < min(plan, result["figure"]["lowest"]), "what does more takes longer"


def test_cpu_seconds_of_domains_come_from_libvirt_by_name() -> None:
    pytest.importorskip("libvirt")
    first = cpu.of_domains("test:///default", ["test", "other"])
    assert first is not None
    assert first.keys() == {"test"}
    time.sleep(0.05)
    second = cpu.of_domains("test:///default", ["test"])
    assert second is not None
    assert second["test"] > first["test"] > 0, "libvirt's test driver has a domain that is always busy"


@pytest.mark.parametrize("uri", ["qemu+ssh://root@lab.invalid/system", "qemu+unix:///system?socket=/nowhere/sock"])
def test_cpu_seconds_of_another_host_or_of_a_libvirt_that_does_not_answer_are_unknown(uri: str) -> None:
    pytest.importorskip("libvirt")
    assert cpu.of_domains(uri, ["test"]) is None


def test_halab_s_own_cpu_seconds_grow_with_its_work_and_with_that_of_its_children() -> None:
    before = cpu.own()
    subprocess.run(["python3", "-c", "sum(range(3_000_000))"], check=True)
    assert cpu.own() > before
