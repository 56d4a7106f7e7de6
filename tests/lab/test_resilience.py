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
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.hypervisor import Hypervisor
from halab.workspace import Workspace

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
        memory: 256
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


@pytest.fixture
def trial() -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        made = Trial(Path(folder))
        yield made
        assert made.hypervisor.remove() == []


def test_an_up_that_changes_nothing_runs_nothing(trial: Trial) -> None:
    assert len(trial.steps()) > 10
    assert trial.steps() == []


def test_a_vm_that_was_switched_off_is_started_and_nothing_else_is_touched(trial: Trial) -> None:
    trial.up()
    trial.virsh("destroy", "halab-bare-controller-2")
    assert trial.steps() == ["VM controller-2"]
    assert trial.running() == ALL


def test_a_vm_that_was_removed_by_hand_is_made_again(trial: Trial) -> None:
    trial.up()
    trial.virsh("destroy", "halab-bare-controller-3")
    trial.virsh("undefine", "halab-bare-controller-3")
    assert "VM controller-3" in trial.steps()
    assert trial.running() == ALL


def test_after_a_reboot_of_the_host_up_starts_vms_and_fencing_again(trial: Trial) -> None:
    trial.up()
    for process in [*trial.hypervisor.processes(), *trial.hypervisor.fence.processes()]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    status = trial.start("status")
    said, _ = status.communicate(timeout=LIMIT)
    assert status.returncode == 2
    assert "./halab up" in said
    assert trial.steps() == [f"VM {name}" for name in ALL]
    assert trial.running() == ALL
    assert trial.hypervisor.fence.listening()


def test_an_interrupted_up_ends_what_runs_and_the_next_one_goes_on_from_there(trial: Trial) -> None:
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


def test_down_finds_everything_when_the_state_is_lost(trial: Trial) -> None:
    trial.up()
    workspace = Workspace.load(trial.project, "bare")
    checkpoint = trial.state / "pulumi" / ".pulumi" / "stacks" / "halab" / "bare.json"
    assert workspace.checkpoint.name == checkpoint.name
    checkpoint.unlink()
    (trial.state / "stacks" / "bare" / "halab.json").unlink()
    began = time.monotonic()
    said = trial.run("down")
    print(f"[lab] down without a state: {time.monotonic() - began:.1f} s")
    assert "none left" in said
    assert not (trial.state / "stacks" / "bare").exists()
    assert "is down" in trial.run("down"), "a second down has nothing to do"


def test_down_of_a_running_stack_leaves_no_passphrase_or_key(trial: Trial) -> None:
    trial.up()
    trial.run("down")
    left = [path for path in trial.state.rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix not in (".log", ".json") and path.parent.name != "locks"]
    assert not [path for path in left if "key" in path.name or path.name == "passphrase"]
