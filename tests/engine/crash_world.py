"""Runs of the engine over a small world of real libvirt objects, each in a process of its own that dies where told.

`python crash_world.py` reads one JSON order per line and answers each with one line; it stays single-threaded, so that
a run is a cheap fork. The program is made of goals, as the SDK would send them; everything behind is the real engine.

A point is a place where a run can die: before and after every write of the state, every call that changes something
at libvirt, and every local command. Points are counted from 1.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from components.stylesheet import stylesheet
from halab.embedded.engine import Engine, checkpoint, cipher, engine, state
from halab.embedded.engine.deployment import Deployment
from halab.embedded.engine.goal import Goal
from halab.embedded.engine.operations import Outcome
from halab.embedded.providers import providers
from halab.embedded.providers.command import local
from tests.engine.crash_points import Points

PROJECT, STACK, PASSPHRASE, POOL = "lab", "test", "correct horse", "w"
POOL_PATH = f"/var/lib/libvirt/images/{POOL}"
MACHINES = ("a", "b")
LIBVIRT = "libvirt:index/"


@dataclass
class Program:
    """Registers the world of one generation: a new generation is new VMs with empty disks.

    `running`: the one VM that runs, or "": a BIOS that finds nothing to boot costs a second of the processor.
    """

    run: Deployment
    folder: Path
    uri: str
    disks: Path
    generation: int
    running: str
    provider: str = ""

    def __call__(self) -> None:
        self.root = self.make(state.STACK_TYPE, f"{PROJECT}-{STACK}", {}).urn
        made = self.make("pulumi:providers:libvirt", "libvirt", {"uri": self.uri})
        self.provider = f"{made.urn}::{made.id}"
        pool = self.libvirt("pool:Pool", "pool", {"name": POOL, "type": "dir", "target": {"path": POOL_PATH}})
        base = self.libvirt(
            "volume:Volume",
            "base",
            {"name": "base.raw", "pool": POOL, "source": str(self.folder / "image.raw"), "format": "raw"},
            needs={"pool": [pool]},
        )
        network = self.libvirt(
            "network:Network",
            "net",
            {"name": "n", "mode": "none", "bridge": "hlcrash0", "dhcp": {"enabled": False}, "autostart": True}
            | {"xml": {"xslt": stylesheet("network", stack=STACK)}},
        )
        with ThreadPoolExecutor(len(MACHINES)) as threads:
            list(threads.map(lambda name: self.machine(name, pool, base, network), MACHINES))

    def machine(self, name: str, pool: Outcome, base: Outcome, network: Outcome) -> None:
        seed = self.libvirt(
            "cloudInitDisk:CloudInitDisk",
            f"{name}-seed",
            {"name": f"{name}-seed.iso", "pool": POOL, "userData": f"#cloud-config {self.generation}\n"},
            needs={"pool": [pool]},
        )
        disk = self.libvirt(
            "volume:Volume",
            f"{name}-root",
            {"name": f"{name}.qcow2", "pool": POOL, "baseVolumeId": base.id, "size": 1 << 20},
            needs={"pool": [pool], "baseVolumeId": [base]},
            replace_with=(seed.urn,),
            replacement_trigger=f"generation {self.generation}",
        )
        sheet = stylesheet(
            "domain",
            uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
            stack=STACK,
            node=name,
            pool=POOL_PATH,
            cache="unsafe",
            translations="",
        )
        domain = self.libvirt(
            "domain:Domain",
            f"{name}-domain",
            {
                "name": name,
                "type": "qemu",
                "machine": "pc",
                "memory": 16,
                "running": name == self.running,
                "cpu": {"mode": "custom"},
                "cloudinit": seed.id,
                "disks": [{"volumeId": disk.id}],
                "networkInterfaces": [{"networkId": network.id, "mac": f"52:54:00:00:00:0{MACHINES.index(name)}"}],
                "consoles": [{"type": "pty", "targetType": "serial", "targetPort": "0"}],
                "graphics": {"type": "vnc", "listenType": "address"},
                "xml": {"xslt": sheet},
            },
            needs={"cloudinit": [seed], "disks": [disk], "networkInterfaces": [network]},
            replace_on_changes=("disks", "cloudinit", "networkInterfaces[*].networkId"),
            replace_with=(disk.urn, seed.urn, network.urn),
        )
        inside = self.command(name, "inside", dependencies=(domain.urn,), deleted_with=domain.urn)
        parts = (disk.urn, seed.urn, domain.urn)
        self.command(name, "member", dependencies=(inside.urn,), replace_with=parts, undone=True)

    def libvirt(self, kind: str, name: str, inputs: dict[str, Any], **rest: Any) -> Outcome:
        usual: dict[str, Any] = {"replace_on_changes": ("*",), "provider": self.provider}
        return self.make(f"{LIBVIRT}{kind}", name, inputs, delete_before_replace=True, **usual | rest)

    def command(self, machine: str, what: str, *, undone: bool = False, **rest: Any) -> Outcome:
        """Notes the disk that the machine has; without `undone` the note stays when the command goes."""
        name = f"{machine}-{what}"
        note = self.folder / "done" / name
        inputs: dict[str, Any] = {"create": f"stat -c '%i %w' {self.disks / machine}.qcow2 > {note}"}
        if undone:
            inputs["delete"] = f"rm -f {note}"
        again = ("triggers[*]",)
        return self.make(
            "command:local:Command", name, inputs, replace_on_changes=again, delete_before_replace=True, **rest
        )

    def make(
        self,
        type_: str,
        name: str,
        inputs: dict[str, Any],
        *,
        needs: Mapping[str, Sequence[Outcome]] | None = None,
        dependencies: tuple[str, ...] = (),
        **options: Any,
    ) -> Outcome:
        by_property = {key: tuple(one.urn for one in made) for key, made in (needs or {}).items()}
        goal = Goal(
            urn=state.make_urn(STACK, PROJECT, "", type_, name),
            type=type_,
            custom=type_ != state.STACK_TYPE,
            inputs=inputs,
            parent="" if type_ == state.STACK_TYPE else self.root,
            property_dependencies=by_property,
            dependencies=(*dependencies, *(urn for urns in by_property.values() for urn in urns)),
            **options,
        )
        return self.run.register(goal)


def install(points: Points) -> None:
    points.around(checkpoint.Store, "write", "the state")
    points.around(local, "run", "a command")
    points.around_libvirt()


def run(order: Mapping[str, Any]) -> dict[str, Any]:
    """One up, refresh or destroy in this process; its failures and the number of points it passed."""
    folder = Path(order["folder"])
    (folder / "done").mkdir(exist_ok=True)
    (folder / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
    (folder / f"Pulumi.{STACK}.yaml").write_text("config: {}\n")

    def die(name: str) -> None:
        (folder / "died").write_text(name)
        os.kill(os.getpid(), signal.SIGKILL)

    def bereave(name: str) -> None:
        (folder / "died").write_text(f"libvirtd, {name}")
        pid = int(order["daemon"])
        timer = threading.Timer(order["delay"], lambda: os.kill(pid, signal.SIGKILL))
        timer.daemon = True
        timer.start()

    (folder / "died").unlink(missing_ok=True)
    points = Points(order.get("at", 0), order.get("only", ""), bereave if "daemon" in order else die)
    install(points)
    serving: list[Deployment] = []

    class InProcess:
        """What the engine takes for the program's process."""

        def __init__(self, *_: object) -> None:
            pass

        def start(self, _: object) -> None:
            pass

        def wait(self) -> str:
            generation, running = order["generation"], order["running"]
            program = Program(serving[0], folder, order["uri"], Path(order["disks"]), generation, running)
            try:
                program()
            except Exception:
                return traceback.format_exc()
            serving[0].finish()
            return ""

        def kill(self) -> None:
            pass

    class NoServer:
        address = ""

        def __init__(self, deployment: Deployment) -> None:
            serving.append(deployment)

        def stop(self) -> None:
            pass

    with patch.multiple(engine, Program=InProcess, Server=NoServer):
        one = Engine(folder, STACK, folder / "state", PASSPHRASE, providers())
        done = [getattr(one, what)() for what in order["do"]]
    return {
        "failures": [f"{f.urn.rpartition('::')[2]}: {f.error}" for summary in done for f in summary.failures],
        "steps": [[op, urn.rpartition("::")[2]] for op, urn, _ in done[-1].steps if op != "same"],
        "points": points.count,
    }


def main() -> None:
    cipher.ITERATIONS = 1000
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                answer = run(order)
            except BaseException as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(write, json.dumps(answer).encode()[:60000])
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps(json.loads(text or "{}") | {"killed": os.WIFSIGNALED(status)}), flush=True)


if __name__ == "__main__":
    main()
