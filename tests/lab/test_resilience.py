"""What `up` and `down` make of a host on which things went wrong, with three VMs that have no steps.

Run after the default stack's test, so the images are there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.hypervisor import Hypervisor

ROOT = Path(__file__).parents[2]
LIMIT = 300.0
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="the embedded hypervisor needs root"),
]
STACK = """
config:
  halab:stack:
    variant: collapsed
    hypervisor: {uri: embedded}
    roles:
      controller:
        count: 3
        memory: 832
        cluster: core
        membership: full
        services: [galera, rabbitmq, haproxy, keystone]
    cluster:
      manages: [galera, rabbitmq, haproxy]
"""
PROGRAM = f"""
import runpy
import sys

sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "src")!r}]
import components.plan
from components.steps import StepGraph

components.plan.plan = lambda topology: StepGraph(())
runpy.run_path({str(ROOT / "__main__.py")!r})
"""


class Trial:
    """A project whose program is this one without steps, and a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state, self.project = folder / "s", folder / "p"
        (self.project / "stacks").mkdir(parents=True)
        (self.project / "stacks" / "Pulumi.bare.yaml").write_text(STACK)
        (self.project / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
        (self.project / "__main__.py").write_text(PROGRAM)
        (self.project / "halab").symlink_to(ROOT / "halab")
        self.environment = {**os.environ, "HALAB_STATE": str(self.state), "HALAB_PROJECT": str(self.project)}

    @property
    def hypervisor(self) -> Hypervisor:
        return Hypervisor("bare", self.state)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ROOT / "halab", *arguments, "--stack", "bare"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, said
        return said

    def up(self) -> dict[str, Any]:
        process = subprocess.run(
            [ROOT / "halab", "up", "--json", "--no-verify", "--no-fence-proof", "--no-doctor", "--stack", "bare"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert process.returncode == 0, process.stderr
        found: dict[str, Any] = json.loads(process.stdout)
        return found

    def steps(self) -> list[str]:
        """What an up did, by label."""
        times = self.up()["times"]
        return sorted(step["step"] for step in times["steps"]) if times else []

    def virsh(self, *arguments: str) -> str:
        command = ["virsh", "--quiet", "-c", self.hypervisor.uri, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def running(self) -> list[str]:
        return sorted(name.removeprefix("halab-bare-") for name in self.virsh("list", "--name").split())


ALL = ["controller-1", "controller-2", "controller-3"]


@contextmanager
def a_trial() -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        made = Trial(Path(folder))
        try:
            yield made
        finally:
            assert made.hypervisor.remove() == []


@pytest.fixture
def trial() -> Iterator[Trial]:
    """A stack that is not up."""
    with a_trial() as made:
        yield made


@pytest.fixture(scope="module")
def stack() -> Iterator[Trial]:
    """One that is up, and that each test leaves so."""
    with a_trial() as made:
        assert len(made.steps()) > 10
        yield made
        made.run("down")
        left = [path for path in made.state.rglob("*") if path.is_file()]
        assert not [path for path in left if "key" in path.name or path.name == "passphrase"]


def test_an_up_that_changes_nothing_runs_nothing(stack: Trial) -> None:
    assert stack.steps() == []


def test_a_vm_that_was_switched_off_is_started_and_nothing_else_is_touched(stack: Trial) -> None:
    stack.virsh("destroy", "halab-bare-controller-2")
    assert stack.steps() == ["VM controller-2"]
    assert stack.running() == ALL


def test_a_vm_that_was_removed_by_hand_is_made_again(stack: Trial) -> None:
    stack.virsh("destroy", "halab-bare-controller-3")
    stack.virsh("undefine", "halab-bare-controller-3")
    assert "VM controller-3" in stack.steps()
    assert stack.running() == ALL


def test_after_a_reboot_of_the_host_up_starts_vms_and_fencing_again(stack: Trial) -> None:
    for process in [*stack.hypervisor.processes(), *stack.hypervisor.fence.processes()]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    status = stack.start("status")
    said, _ = status.communicate(timeout=LIMIT)
    assert status.returncode == 2
    assert "./halab up" in said
    assert stack.steps() == [f"VM {name}" for name in ALL]
    assert stack.running() == ALL
    assert stack.hypervisor.fence.listening()


def test_an_interrupted_up_ends_what_runs_and_the_next_one_goes_on_from_there_and_down_needs_no_state(
    trial: Trial,
) -> None:
    process = trial.start("up", "--no-verify", "--no-fence-proof", "--no-doctor")
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("[ 1/"):
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT) == 1, seen
    assert "interrupted" in seen
    assert "./halab up" in seen
    done = {line.split("] ")[1].rpartition("  ")[0] for line in seen.splitlines() if line.startswith("[")}
    rest = trial.steps()
    assert done
    assert not done & set(rest), "what was done before is not done again"
    assert trial.running() == ALL

    (trial.state / "pulumi" / ".pulumi" / "stacks" / "halab" / "bare.json").unlink()
    (trial.state / "stacks" / "bare" / "halab.json").unlink()
    began = time.monotonic()
    assert "none left" in trial.run("down")
    print(f"[lab] down without a state: {time.monotonic() - began:.1f} s")
    assert not (trial.state / "stacks" / "bare").exists()
    assert "is down" in trial.run("down"), "a second down has nothing to do"
