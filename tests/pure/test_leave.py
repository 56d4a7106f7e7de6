"""What a node stops before its VM goes, and where a node that is in no stack file any more is found."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from components.topology import derive
from components.variant import Variant, load
from halab import leave
from halab.actions import cloud, replace
from halab.actions import leave as action
from halab.actions.up import refuse_too_many
from halab.errors import HalabError, RefusedError
from halab.impact import Change
from halab.workspace import Workspace
from tests.recipe.test_cib import sized

ROOT = Path(__file__).parents[2]
QUEUE = "rabbitmq-server"
SYSTEMCTL = """#!/bin/bash
echo "$*" >>"$FAKE/asked"
[ "$1 $3" != "is-active redis-sentinel" ]
"""


APIS = ("keystone", "glance-api", "placement-api")


@pytest.mark.parametrize(
    ("name", "node", "units"),
    [
        (Variant.COLLAPSED, "controller-2", APIS),
        (Variant.CLONED, "controller-2", ()),
        (Variant.SEGREGATED, "controller-1", APIS),
        (Variant.SEGREGATED, "database-1", ()),
        (Variant.KEEPALIVED, "controller-2", ("keepalived", *APIS, "mariadb", "redis-server", "redis-sentinel", QUEUE)),
        (Variant.ENDPOINT, "endpoint-1", ("keepalived", "garb", QUEUE)),
        (Variant.ENDPOINT, "endpoint-2", ("keepalived",)),
        (Variant.ENDPOINT, "compute-1", APIS),
        (Variant.ENDPOINT, "storage-1", ()),
    ],
)
def test_addresses_go_first_then_apis_then_what_votes_and_pacemakers_own_is_left_to_it(
    name: Variant, node: str, units: tuple[str, ...]
) -> None:
    topology = derive(load(ROOT, name))
    assert leave.units(topology, topology.node(node)) == units


def test_a_node_that_was_taken_out_of_the_stack_file_is_where_it_was() -> None:
    three = derive(load(ROOT, "keepalived"))
    five = derive(sized(three.stack, controller=5))
    found = leave.with_nodes(three, ("controller-4", "controller-5", "someone-1"))
    assert found.node("controller-5") == five.node("controller-5")
    assert [node.name for node in found.nodes] == [node.name for node in five.nodes]
    assert leave.with_nodes(three, ()) == three


def test_the_databases_clients_go_elsewhere_before_it_stops(tmp_path: Path) -> None:
    topology = derive(load(ROOT, "keepalived"))
    for name, text in (("systemctl", SYSTEMCTL), ("ss", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    script = leave.script(topology, topology.node("controller-2"))
    for folder in ("/var/lib/halab", "/var/log/halab", "/run/halab"):
        script = script.replace(folder, f"{tmp_path}{folder}")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE": str(tmp_path)}
    done = subprocess.run(["bash", "-s"], input=script, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"has left keepalived {' '.join(APIS)} mariadb redis-server rabbitmq-server\n")
    asked = [line for line in (tmp_path / "asked").read_text().splitlines() if line.startswith("stop")]
    assert asked == [
        *(
            "stop keepalived",
            *(f"stop {unit}" for unit in APIS),
            "stop galera-check.service",
            "stop mariadb",
            "stop redis-server",
            "stop rabbitmq-server",
        ),
    ]


def test_up_refuses_what_no_quorum_survives_and_names_the_way(tmp_path: Path) -> None:
    workspace = Workspace(ROOT, derive(load(ROOT, "collapsed")), tmp_path)
    refuse_too_many(workspace, Change(rebuilt=("controller-2",)))
    with pytest.raises(RefusedError) as refused:
        refuse_too_many(workspace, Change(rebuilt=("controller-1", "controller-2", "controller-3")))
    lines = str(refused.value).splitlines()
    assert "./halab replace controller-1 controller-2 controller-3 --stack collapsed" in lines[-2]
    assert "--at-once" in lines[-1]


class Remote:
    """Notes who is asked; one does not answer."""

    def __init__(self, workspace: Workspace, asked: list[str]) -> None:
        self.nodes, self.asked = {node.name for node in workspace.topology.nodes}, asked

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(self, *ended: object) -> None: ...

    async def run(self, node: str, script: str) -> str:
        assert node in self.nodes
        self.asked.append(node)
        if node == "controller-4":
            raise HalabError("controller-4: ssh to 10.0.0.1: No route to host")
        return f"{node} has left mariadb\n"


def test_a_node_that_cannot_be_reached_goes_as_it_is_and_the_others_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cloud, "remote", lambda workspace: Remote(workspace, asked))
    console = Console(width=200, record=True, file=io.StringIO())
    workspace = Workspace(ROOT, derive(load(ROOT, "keepalived")), tmp_path)
    action.ahead(workspace, Change(removed=("controller-4", "controller-5"), rebuilt=("compute-1",)), console)
    assert asked == ["controller-4", "controller-5"]
    said = console.export_text()
    assert "controller-4 goes as it is: controller-4: ssh to 10.0.0.1: No route to host" in said
    assert "controller-5 has left mariadb" in said


@pytest.mark.parametrize(("fails", "done"), [("", 3), ("controller-2", 2)])
def test_the_first_node_that_is_not_replaced_is_the_last_that_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: str, done: int
) -> None:
    names = ["controller-1", "controller-2", "controller-3"]
    tried: list[list[str]] = []

    def run(command: list[str], **rest: object) -> subprocess.CompletedProcess[str]:
        tried.append(command[1:])
        return subprocess.CompletedProcess(command, int(command[2] == fails))

    monkeypatch.setattr(subprocess, "run", run)
    workspace = Workspace(ROOT, derive(load(ROOT, "collapsed")), tmp_path)
    code = replace.each(workspace, names, verify=True, yes=True, as_json=False, engine="auto")
    assert [command[:2] for command in tried] == [["replace", name] for name in names[:done]]
    assert all("--yes" in command for command in tried)
    assert code == bool(fails)
    assert ("to go on: ./halab replace controller-2 controller-3" in capsys.readouterr().err) is bool(fails)
