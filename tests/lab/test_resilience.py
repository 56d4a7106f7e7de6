"""What `up` and `down` make of a host on which things went wrong, with three VMs that have no steps.

Run after the default stack's test, so the images are there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.hypervisor import Hypervisor
from halab.embedded.hypervisor.waiting import wait_for
from tests.engine import inventory

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


@contextmanager
def first_in_line() -> Iterator[None]:
    """On a busy host this process runs as soon as it wants to, where that is allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


#: The shortest up: what is there decides, on this host as it is.
UP = ("up", "--no-verify", "--no-fence-proof", "--no-doctor", "--overcommit")


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

    @property
    def checkpoint(self) -> Path:
        return self.state / "pulumi" / ".pulumi" / "stacks" / "halab" / "bare.json"

    @property
    def root(self) -> Path:
        return self.state / "stacks" / "bare"

    @property
    def pool(self) -> Path:
        return self.hypervisor.paths.pool / "halab-bare"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ROOT / "halab", *arguments, "--stack", "bare"],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **environment: str) -> str:
        process = self.start(*arguments, **environment)
        said, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == code, said
        return said

    def up(self, *options: str) -> dict[str, Any]:
        process = subprocess.run(
            [ROOT / "halab", *UP, "--json", "--stack", "bare", *options],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert process.returncode == 0, process.stderr
        found: dict[str, Any] = json.loads(process.stdout)
        return found

    def under_way(self, *arguments: str, what: str) -> subprocess.Popen[str]:
        """A command that is stopped in the moment in which its engine begins something, as its log says."""
        before = self.logs()
        process = self.start(*arguments)

        def begun() -> bool:
            return any(f" started {what}" in log.read_text() for log in self.logs() - before)

        with first_in_line():
            assert wait_for(lambda: begun() or process.poll() is not None, LIMIT)
            process.send_signal(signal.SIGSTOP)
        assert process.poll() is None, (what, process.communicate()[0])
        return process

    def logs(self) -> set[Path]:
        return set((self.state / "log" / "bare").glob("*.log"))

    def check(self) -> None:
        """What is there is what the state says, one by one, and all of it."""
        there = inventory.known(self.checkpoint)
        assert inventory.real(self.hypervisor) == there
        # an image, its kernel and initrd; a disk and a seed for each VM
        wanted = {"pool": 1, "network": 2, "volume": 3 + 2 * len(ALL), "domain": len(ALL)}
        assert Counter(line.split()[0] for line in there) == wanted
        assert self.running() == ALL

    def vms(self) -> dict[str, int]:
        """The process of each VM."""
        names = {one.role.partition("halab-bare-")[2]: one.pid for one in self.hypervisor.processes()}
        return {name: pid for name, pid in names.items() if name}

    def steps(self, *options: str) -> list[str]:
        """What an up did, by label."""
        times = self.up(*options)["times"]
        return sorted(step["step"] for step in times["steps"]) if times else []

    def virsh(self, *arguments: str) -> str:
        command = ["virsh", "--quiet", "-c", self.hypervisor.uri, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def running(self) -> list[str]:
        return sorted(name.removeprefix("halab-bare-") for name in self.virsh("list", "--name").split())


ALL = ["controller-1", "controller-2", "controller-3"]


#: What takes half a minute to find out of a host, and is the same for every trial.
LEARNED = ("probe.json", "cache")


@contextmanager
def a_trial(learned: Path) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        made = Trial(Path(folder))
        try:
            hand_on(learned, made.state)
            yield made
            hand_on(made.state, learned)
        finally:
            assert made.hypervisor.remove() == []


def hand_on(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    found = [source / name for name in LEARNED if (source / name).exists() and not (target / name).exists()]
    if found:
        subprocess.run(["cp", "-a", *found, target], check=True)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learned")


@pytest.fixture
def trial(learned: Path) -> Iterator[Trial]:
    """A stack that is not up."""
    with a_trial(learned) as made:
        yield made


@pytest.fixture(scope="module")
def stack(learned: Path) -> Iterator[Trial]:
    """One that is up, and that each test leaves so."""
    with a_trial(learned) as made:
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


def test_a_vm_that_was_removed_by_hand_is_made_again_with_its_disk(stack: Trial) -> None:
    before, disk = stack.vms(), (stack.pool / "halab-bare-controller-3.qcow2").stat().st_ino
    stack.virsh("destroy", "halab-bare-controller-3")
    stack.virsh("undefine", "halab-bare-controller-3")
    assert "VM controller-3" in stack.steps()
    stack.check()
    assert (stack.pool / "halab-bare-controller-3.qcow2").stat().st_ino == disk
    assert {name for name, pid in stack.vms().items() if before[name] != pid} == {"controller-3"}


def test_a_vm_whose_disk_was_deleted_while_it_runs_is_built_anew_and_no_other(stack: Trial) -> None:
    before = stack.vms()
    (stack.pool / "halab-bare-controller-1.qcow2").unlink()
    assert {step for step in stack.steps() if step.startswith("VM ")} == {"VM controller-1"}
    stack.check()
    assert {name for name, pid in stack.vms().items() if before[name] != pid} == {"controller-1"}
    assert stack.steps() == []


def test_after_a_reboot_of_the_host_up_starts_vms_and_fencing_again(stack: Trial) -> None:
    for process in [*stack.hypervisor.processes(), *stack.hypervisor.fence.processes()]:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    assert wait_for(lambda: not stack.hypervisor.processes(), 60)
    shutil.rmtree(stack.hypervisor.paths.run)
    boot = stack.root / "namespaces.json"
    boot.write_text(json.dumps(json.loads(boot.read_text()) | {"boot": "another"}))
    assert "./halab up" in stack.run("status", code=2)
    assert stack.steps() == [f"VM {name}" for name in ALL]
    stack.check()
    assert stack.hypervisor.fence.listening()


def test_networks_that_were_taken_away_are_brought_back_under_the_vms_that_run(stack: Trial) -> None:
    before = stack.vms()
    bridge = stack.virsh("net-info", "halab-bare-cloud").split("Bridge:")[1].split()[0]
    inside = stack.hypervisor.inside()
    subprocess.run([*inside, "ip", "link", "delete", bridge], check=True)
    stack.virsh("net-undefine", "halab-bare-outer")
    stack.virsh("net-destroy", "halab-bare-outer")
    said = stack.run(*UP)
    assert "network halab-bare-cloud had lost its bridge, had 3 of its VMs' interfaces off its bridge: it is" in said
    assert "network halab-bare-outer was undefined, was stopped: it is again as it was made" in said
    assert "nothing to do" in said
    stack.check()
    assert stack.vms() == before
    links = subprocess.run([*inside, "ip", "-json", "link", "show", "master", bridge], check=True, capture_output=True)
    assert len(json.loads(links.stdout)) == len(ALL)
    assert stack.hypervisor.fence.listening()
    assert "network" not in stack.run(*UP)


def test_a_damaged_state_goes_on_from_the_one_before_it(stack: Trial) -> None:
    before = stack.vms()
    text = stack.checkpoint.read_bytes()
    for damaged in (text[: len(text) // 2], b"", os.urandom(1000)):
        stack.checkpoint.write_bytes(damaged)
        said = stack.run(*UP, code=1)
        assert "is damaged" in said
        assert len(said.splitlines()) < 6
    command = re.search(r"cp (\S+) (\S+),", said)
    assert command
    shutil.copy(*command.groups())
    stack.up("--refresh")
    stack.check()
    assert stack.vms() == before
    assert stack.steps() == []


def test_what_a_stack_cannot_do_without_is_missed_before_anything_is_touched(stack: Trial) -> None:
    before = stack.vms()
    assert "passphrase does not open" in stack.run(*UP, code=2, PULUMI_CONFIG_PASSPHRASE="wrong")
    keys, aside = stack.hypervisor.paths.keys, stack.state / "keys-aside"
    keys.rename(aside)
    said = stack.run(*UP, code=2)
    assert "its keys are gone" in said
    assert "./halab down --stack bare, then ./halab up --stack bare" in said
    shutil.rmtree(keys, ignore_errors=True)
    aside.rename(keys)
    seed = (keys / "seed.json").read_text()
    (keys / "seed.json").write_text(seed[:20])
    assert "./halab down --stack bare" in stack.run(*UP, code=1)
    (keys / "seed.json").write_text(seed)
    image = next(stack.pool.glob("halab-bare-controller-????????????.qcow2"))
    size = image.stat().st_size
    with image.open("r+b") as file:
        file.seek(size - 4096)
        end = file.read()
        file.truncate(size - 4096)
        assert f"has {size - 4096} of its {size} bytes: it was cut short" in stack.run(*UP, code=1)
        file.seek(size - 4096)
        file.write(end)
    record = stack.root / "halab.json"
    record.write_text(record.read_text()[:20])
    assert stack.steps() == []
    assert json.loads(record.read_text())["hypervisor"] == "embedded"
    assert stack.vms() == before
    stack.check()


def test_an_interrupted_up_ends_what_runs_and_the_next_one_goes_on_from_there_and_down_needs_no_state(
    trial: Trial,
) -> None:
    process = trial.start(*UP)
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

    trial.checkpoint.unlink()
    (trial.root / "halab.json").unlink()
    said = trial.run(*UP, code=2)
    assert "its state is lost" in said
    assert "./halab down --stack bare" in said
    began = time.monotonic()
    assert "none left" in trial.run("down")
    print(f"[lab] down without a state: {time.monotonic() - began:.1f} s")
    assert not trial.root.exists()
    assert "is down" in trial.run("down"), "a second down has nothing to do"


def test_an_up_and_a_down_that_are_killed_at_any_moment_go_on_from_there(trial: Trial) -> None:
    first = trial.under_way(*UP, what="create volume controller")
    assert f"pid {first.pid} (up " in trial.run(*UP, code=2), "a second up at the same time"
    end(first)
    (libvirtd,) = (one.pid for one in trial.hypervisor.processes() if one.role == "libvirtd")
    bereaved = trial.under_way(*UP, what="create VM")
    os.kill(libvirtd, signal.SIGKILL)
    bereaved.send_signal(signal.SIGCONT)
    said, _ = bereaved.communicate(timeout=LIMIT)
    assert bereaved.returncode == 1, said
    assert "libvirt at" in said
    assert "to go on: ./halab up --stack bare" in said
    for what in ("create VM", "create fencing"):
        end(trial.under_way(*UP, what=what))
    trial.up()
    trial.check()
    assert trial.hypervisor.fence.listening()
    assert trial.steps() == []

    interrupted = trial.under_way("down", what="delete VM")
    interrupted.send_signal(signal.SIGINT)
    interrupted.send_signal(signal.SIGCONT)
    said, _ = interrupted.communicate(timeout=LIMIT)
    assert interrupted.returncode == 1, said
    assert "./halab down --stack bare goes on" in said
    trial.up()
    trial.check()
    end(trial.under_way("down", what="delete VM"))
    assert "none left" in trial.run("down", PULUMI_CONFIG_PASSPHRASE="wrong")
    assert not trial.root.exists()
    assert not trial.checkpoint.exists()


def end(process: subprocess.Popen[str]) -> None:
    """kill -9."""
    process.kill()
    process.communicate(timeout=LIMIT)


FULL = """
mount -t tmpfs -o size=200m tmpfs "$HALAB_STATE" || exit 90
cp -a "$LEARNED"/. "$HALAB_STATE"
"$HALAB" up --no-verify --no-fence-proof --no-doctor --overcommit --stack bare && exit 91
dd if=/dev/zero of="$HALAB_STATE/ballast" bs=64k 2>/dev/null
"$HALAB" down --stack bare
"""


def test_an_up_on_a_full_disk_says_so_and_a_down_needs_no_room(trial: Trial, learned: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", FULL],
        env=trial.environment | {"HALAB": str(ROOT / "halab"), "LEARNED": str(learned)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stdout
    assert "No space left on device" in done.stdout
    assert "make room" in done.stdout
    assert "bare is down" in done.stdout
