"""What `halab recover` reads on a node: its recipe run by bash on files as Galera, the unit and RabbitMQ write them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from halab.recover import RECIPE, Database, Queue, carry_out, database, facts, queue

UUID = "ada047ca-e5b5-11f1-ada6-5308e5dbb746"
STATE = f"# GALERA saved state\nversion: 2.1\nuuid:    {UUID}\nseqno:   {{seqno}}\nsafe_to_bootstrap: {{last}}\n"
#: As RabbitMQ 4.0 writes them, Erlang terms.
NODES = "{['rabbit@controller-1','rabbit@controller-2','rabbit@endpoint-1'],['rabbit@controller-1']}.\n"
RUNNING = "['rabbit@controller-2','rabbit@controller-1'].\n"


class Node:
    """A node's folders below the test's, and a systemctl that knows one word."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bin", "mysql", "run", "mnesia/rabbit@controller-1", "log", "lib"):
            (root / folder).mkdir(parents=True)
        self.tool("systemctl", "echo activating\nexit 3")
        self.tool("ss", "exit 0")

    def tool(self, name: str, body: str) -> None:
        (self.root / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (self.root / "bin" / name).chmod(0o755)

    def look(self, services: str) -> dict[str, str]:
        script = carry_out.script("look", SERVICES=services)
        for real, mine in (
            ("/var/lib/mysql", "mysql"),
            ("/run/mysqld", "run"),
            ("/var/lib/rabbitmq/mnesia", "mnesia"),
            ("/var/log/halab", "log"),
            ("/var/lib/halab", "lib"),
        ):
            script = script.replace(real, str(self.root / mine))
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "HOSTNAME": "controller-1"}
        done = subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stderr
        return facts(done.stdout)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_last_member_to_leave_says_so_and_how_far_it_came(node: Node) -> None:
    (node.root / "mysql/galera.cache").touch()
    (node.root / "mysql/grastate.dat").write_text(STATE.format(seqno=320, last=1))
    expected = Database("a", unit="activating", member=True, uuid=UUID, position=320, last=True)
    assert database("a", node.look("galera")) == expected


def test_a_member_that_was_cut_off_is_known_by_what_its_unit_recovered(node: Node) -> None:
    (node.root / "mysql/galera.cache").touch()
    (node.root / "mysql/grastate.dat").write_text(STATE.format(seqno=-1, last=0))
    assert database("a", node.look("galera")).position is None
    (node.root / "run/wsrep-start-position").write_text(f"_WSREP_START_POSITION=--wsrep_start_position={UUID}:318\n")
    assert database("a", node.look("galera")).position == 318


def test_what_an_image_brings_is_no_member_s_data(node: Node) -> None:
    (node.root / "mysql/grastate.dat").write_text(STATE.format(seqno=252, last=0))
    assert not database("a", node.look("galera")).member


def test_a_queue_says_whom_it_knows_and_who_ran_with_it_last(node: Node) -> None:
    data = node.root / "mnesia/rabbit@controller-1"
    (data / "cluster_nodes.config").write_text(NODES)
    (data / "nodes_running_at_shutdown").write_text(RUNNING)
    found = queue("controller-1", node.look("rabbitmq"))
    members = frozenset({"controller-1", "controller-2", "endpoint-1"})
    assert found == Queue("controller-1", "", "activating", False, members, frozenset({"controller-1", "controller-2"}))


def test_a_queue_that_never_was_in_a_cluster_says_nothing_of_others(node: Node) -> None:
    node.tool("ss", "echo LISTEN")
    found = queue("controller-1", node.look("rabbitmq"))
    assert found.listens
    assert not found.members


def test_shellcheck_passes_the_recipe() -> None:
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    command = [checker, "--severity=warning", "--exclude=SC2154", str(RECIPE.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
