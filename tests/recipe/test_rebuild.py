"""What is undone on the other members before a controller's VM goes: run by bash, with the cluster's tools faked."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.plan import plan
from components.topology import Topology, derive
from components.variant import load
from tests.recipe.stand_in import answering, reserved

PROJECT = Path(__file__).resolve().parents[2]
#: Notes what it was asked, answers with the content of `<name>.out`, fails where there is a `<name>.fails`.
TOOL = """#!/bin/bash
name=${0##*/}
echo "$name $*" >>"$FAKE/asked"
cat "$FAKE/$name.out" 2>/dev/null
[ ! -e "$FAKE/$name.fails" ]
"""
#: The cluster's programs that recipes run on a node.
TOOLS = (
    *("cibadmin", "corosync-cfgtool", "corosync-cmapctl", "crm_attribute", "crm_mon", "crm_node", "crm_resource"),
    *("rabbitmqctl", "systemctl"),
)
#: Folders of a node, and the test's in their place.
FOLDERS = {
    **{"/var/lib/halab": "var", "/var/log/halab": "log", "/run/halab": "run"},
    **{"/var/lib/rabbitmq": "rabbitmq", "/etc/corosync": "corosync"},
}


class Witness:
    """The member on which another's leaving is dealt with. `edits`: what its scripts have other than on a real one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.edits = {real: str(root / mine) for real, mine in FOLDERS.items()}
        for folder in ("bin", "fake", *FOLDERS.values()):
            (root / folder).mkdir()
        for name in TOOLS:
            (root / "bin" / name).write_text(TOOL)
            (root / "bin" / name).chmod(0o755)

    def answers(self, tool: str, text: str) -> None:
        (self.root / "fake" / f"{tool}.out").write_text(text)

    def fails(self, tool: str) -> None:
        (self.root / "fake" / f"{tool}.fails").touch()

    @property
    def asked(self) -> list[str]:
        path = self.root / "fake" / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, topology: Topology, step: str, action: str, **values: str) -> subprocess.CompletedProcess[str]:
        """The step's own script, with the node's folders below the test's and `values` in place of its exports."""
        script = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
        script += plan(topology).by_name[step].script()
        for real, mine in self.edits.items():
            script = script.replace(real, mine)
        for name, value in values.items():
            lines = [
                f"export {name}={shlex.quote(value)}" if line.startswith(f"export {name}=") else line
                for line in script.split("\n")
            ]
            script = "\n".join(lines)
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "FAKE": str(self.root / "fake")}
        command = ["bash", "-s", action]
        return subprocess.run(command, input=script, capture_output=True, text=True, timeout=100, env=environment)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path)


@pytest.fixture(scope="module")
def topology() -> Topology:
    return derive(load(PROJECT, "collapsed"))


@pytest.fixture
def silent_port() -> Iterator[str]:
    """A port that refuses."""
    with reserved() as port:
        yield str(port)


@pytest.fixture
def amqp_port() -> Iterator[str]:
    """A port that answers as an AMQP broker does."""

    def answer(client: socket.socket) -> None:
        client.recv(8)
        client.sendall(b"\x01\x00\x00")

    with answering(answer) as port:
        yield str(port)


def node(name: str, running: int, online: str = "true") -> str:
    """A line of crm_mon's XML."""
    return f'    <node name="{name}" id="2" online="{online}" resources_running="{running}" type="member"/>\n'


def test_every_member_has_one_other_that_sees_it_off(topology: Topology) -> None:
    graph = plan(topology)
    members = {one.name for one in topology.clusters[0].members}
    for action in ("pacemaker.admit", "rabbitmq.configure"):
        seen = {f"{action}@{name}": graph.by_name[f"{action}@{name}"].members for name in members}
        assert sorted(next(iter(one)) for one in seen.values()) == sorted(members), action
        assert all(name not in graph.by_name[f"{action}@{name}"].members for name in members)


def test_a_leaving_member_is_put_in_standby_until_nothing_runs_on_it(witness: Witness, topology: Topology) -> None:
    witness.answers("crm_mon", node("controller-1", 9) + node("controller-2", 0))
    done = witness.run(topology, "pacemaker.admit@controller-3", "admit_down")
    assert (done.returncode, done.stdout) == (0, "pacemaker: controller-2 stands by\n")
    assert "crm_attribute --node controller-2 --name standby --update on" in witness.asked


def test_a_member_that_is_dead_is_not_waited_for(witness: Witness, topology: Topology) -> None:
    witness.answers("crm_mon", node("controller-2", 5, online="false"))
    assert witness.run(topology, "pacemaker.admit@controller-3", "admit_down").stdout.endswith("stands by\n")


def test_a_cluster_that_does_not_answer_keeps_no_vm_from_being_rebuilt(witness: Witness, topology: Topology) -> None:
    witness.fails("crm_attribute")
    done = witness.run(topology, "pacemaker.admit@controller-3", "admit_down")
    assert (done.returncode, done.stdout) == (0, "pacemaker: controller-2 goes as it is\n")


def test_a_member_that_is_back_takes_part_again(witness: Witness, topology: Topology) -> None:
    done = witness.run(topology, "pacemaker.admit@controller-3", "admit")
    assert (done.returncode, done.stdout) == (0, "pacemaker: controller-2 takes part\n")
    assert witness.asked == ["crm_attribute --node controller-2 --name standby --delete"]


def test_rabbitmq_forgets_a_member_that_has_stopped(witness: Witness, topology: Topology, silent_port: str) -> None:
    values = {"MEMBER": "localhost", "PORT": silent_port}
    done = witness.run(topology, "rabbitmq.configure@controller-3", "configure_down", **values)
    assert (done.returncode, done.stdout) == (0, "rabbitmq: localhost is forgotten\n"), done.stderr
    assert witness.asked == ["rabbitmqctl forget_cluster_node rabbit@localhost"]


def test_a_member_that_still_runs_is_stopped_before_it_is_forgotten(
    witness: Witness, topology: Topology, amqp_port: str
) -> None:
    values = {"MEMBER": "localhost", "PORT": amqp_port}
    assert witness.run(topology, "rabbitmq.configure@controller-3", "configure_down", **values).returncode == 0
    assert witness.asked == [
        "rabbitmqctl --node rabbit@localhost stop_app",
        "rabbitmqctl forget_cluster_node rabbit@localhost",
    ]


def test_a_member_that_cannot_be_forgotten_is_said_to_be_so(
    witness: Witness, topology: Topology, silent_port: str
) -> None:
    witness.fails("rabbitmqctl")
    values = {"MEMBER": "localhost", "PORT": silent_port}
    done = witness.run(topology, "rabbitmq.configure@controller-3", "configure_down", **values)
    assert done.returncode == 0
    assert "localhost is not forgotten" in done.stdout


def await_rebuilt(witness: Witness, topology: Topology) -> subprocess.CompletedProcess[str]:
    """A part of the push, run by a step of the same recipe that writes no files."""
    values = {"MEMBERS": "controller-1 controller-2", "REMOTES": "compute-1 compute-2"}
    return witness.run(topology, "pacemaker.admit@controller-3", "await_rebuilt", **values)


def test_fencing_resumes_when_whoever_was_rebuilt_has_joined(witness: Witness, topology: Topology) -> None:
    online = '    <node name="{}" id="1" online="true" standby="true" pending="false" type="member"/>\n'
    # compute-2 is new: the cluster does not know it yet, and its own step waits for it
    witness.answers("crm_mon", "".join(map(online.format, ("controller-1", "controller-2", "compute-1"))))
    witness.answers("crm_attribute", "false\n")
    done = await_rebuilt(witness, topology)
    assert done.returncode == 0, done.stdout + done.stderr
    assert witness.asked[-1] == "crm_resource --cleanup", "what failed while it was away is no reason to fence it"


@pytest.mark.parametrize("stonith", ["true", ""])
def test_a_push_without_a_pause_waits_for_nobody(witness: Witness, topology: Topology, stonith: str) -> None:
    witness.answers("crm_attribute", f"{stonith}\n")
    assert await_rebuilt(witness, topology).returncode == 0
    assert not [line for line in witness.asked if line.startswith(("crm_mon", "crm_resource"))]


def test_a_cluster_that_is_new_has_nobody_to_wait_for(witness: Witness, topology: Topology) -> None:
    witness.answers("crm_attribute", "false\n")
    witness.fails("cibadmin")
    assert await_rebuilt(witness, topology).returncode == 0
    assert not [line for line in witness.asked if line.startswith("crm_resource")]


def test_a_node_that_is_not_online_is_waited_for(witness: Witness, topology: Topology) -> None:
    joining = '    <node name="controller-2" id="2" online="true" standby="true" pending="true" type="member"/>\n'
    witness.answers("crm_mon", joining)
    done = witness.run(topology, "pacemaker.admit@controller-3", "whole", MEMBERS="controller-2", REMOTES="")
    assert done.returncode == 1
