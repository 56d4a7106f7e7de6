"""kill -9 of what starts and removes a stack's hypervisor: the next command finds one of everything, or nothing."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from halab.embedded.hypervisor import Hypervisor
from halab.embedded.hypervisor.waiting import wait_for
from tests.engine import inventory
from tests.engine.test_crash_engine import ROOT, SEED, pytestmark

__all__ = ["pytestmark"]
CODE = """
import sys
from pathlib import Path
from halab.embedded.hypervisor import Hypervisor
hypervisor = Hypervisor("killed", Path(sys.argv[1]), kvm=False)
print("ready", flush=True)
getattr(hypervisor, sys.argv[2])()
"""


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    with tempfile.TemporaryDirectory(prefix="hk") as folder:
        made = Hypervisor("killed", Path(folder), kvm=False)
        yield made
        assert made.remove() == []


def begun(hypervisor: Hypervisor, what: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(hypervisor.paths.root.parent.parent), what],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", **environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def check(hypervisor: Hypervisor) -> None:
    hypervisor.start()
    assert inventory.real(hypervisor) == set()
    assert len({process.netns for process in hypervisor.processes()}) == 1
    assert hypervisor.remove() == []


def test_a_start_that_is_killed_while_it_makes_the_namespaces_is_waited_for(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    real = shutil.which("ip")
    there = tmp_path / "there"
    (tmp_path / "ip").write_text(f'#!/bin/sh\ntouch {there}\nsleep 1\nexec {real} "$@"\n')
    (tmp_path / "ip").chmod(0o755)
    process = begun(hypervisor, "start", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert wait_for(there.exists, 60)
    process.kill()
    process.wait()
    hypervisor.start()
    assert not wait_for(lambda: [one.role for one in hypervisor.processes()].count("holder") > 1, 1.5)
    check(hypervisor)


@pytest.mark.parametrize("what", ["start", "remove"])
def test_whenever_it_is_killed_the_next_start_finds_one_of_everything(hypervisor: Hypervisor, what: str) -> None:
    moments = [random.Random(f"{SEED} {what} {number}").random() * 0.4 for number in range(4)]
    print(f"HALAB_TEST_SEED={SEED} {what}: killed after {', '.join(f'{one:.3f}' for one in moments)} s")
    for moment in moments:
        if what == "remove":
            hypervisor.start()
        process = begun(hypervisor, what)
        time.sleep(moment)
        process.kill()
        process.wait()
        check(hypervisor)
