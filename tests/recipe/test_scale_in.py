"""What members that stay do about one that leaves for good, or that lost its disk: by bash, with the tools faked."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import threading
from pathlib import Path

import pytest

from components.plan import managed, plan
from components.services import galera, rabbitmq
from components.topology import Topology, derive
from components.variant import Service, Variant, load
from tests.recipe.simulator import Simulation
from tests.recipe.test_cib import PROJECT, live, needs_pacemaker, sized
from tests.recipe.test_rebuild import Witness, amqp_port, node, silent_port

__all__ = ["amqp_port", "silent_port"]
MEMBERS = "controller-1 controller-2 controller-3"
STAYING = node("controller-1", 9) + node("controller-2", 9) + node("controller-3", 9)
#: Closes the ring: whoever is not in its file any more is gone.
CFGTOOL = """#!/bin/bash
echo "corosync-cfgtool $*" >>"$FAKE/asked"
cp "$FAKE/crm_mon.after" "$FAKE/crm_mon.out"
"""


def ring(count: int) -> str:
    return "".join(f"nodelist.node.{index}.name (str) = controller-{index + 1}\n" for index in range(count))


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    found = Witness(tmp_path)
    (tmp_path / "bin" / "corosync-cfgtool").write_text(CFGTOOL)
    (tmp_path / "fake" / "crm_mon.after").write_text(STAYING)
    return found


@pytest.fixture(scope="module")
def topology() -> Topology:
    return derive(load(PROJECT, "collapsed"))


def pacemaker(witness: Witness, topology: Topology, action: str) -> subprocess.CompletedProcess[str]:
    """A function of the recipe, by a step of it that writes no files."""
    values = {"MEMBERS": MEMBERS, "REMOTES": "compute-1"}
    return witness.run(topology, "pacemaker.admit@controller-3", action, **values)


def test_members_that_leave_have_given_up_all_before_the_ring_closes_and_are_forgotten_before_fencing_resumes(
    witness: Witness, topology: Topology
) -> None:
    witness.answers("corosync-cmapctl", ring(5))
    witness.answers("crm_mon", STAYING + node("controller-4", 0) + node("controller-5", 0))
    done = pacemaker(witness, topology, "retire")
    assert done.returncode == 0, done.stderr
    assert [line for line in witness.asked if not line.startswith(("crm_mon", "corosync-cmapctl"))] == [
        "crm_attribute --node controller-4 --name standby --update on",
        "crm_attribute --node controller-5 --name standby --update on",
        "crm_attribute --type crm_config --name stonith-enabled --update false",
        "corosync-cfgtool -R",
        "crm_node --force --remove controller-4",
        "crm_node --force --remove controller-5",
    ]
    push = (PROJECT / "components/cluster/pacemaker.sh").read_text().partition("\npush() {")[2]
    assert push.index("retire") < push.index("push_difference")


def test_a_member_that_still_runs_something_is_not_cut_off_unfenced(witness: Witness, topology: Topology) -> None:
    witness.answers("corosync-cmapctl", ring(4))
    witness.answers("crm_mon", STAYING + node("controller-4", 3))
    witness.edits["retry_until 300"] = "retry_until 1"
    done = pacemaker(witness, topology, "retire")
    assert done.returncode == 1
    assert "nothing to run on controller-4" in done.stderr
    assert not [line for line in witness.asked if "stonith" in line or "cfgtool" in line or "crm_node" in line]


def test_a_member_that_never_came_up_just_leaves_the_ring(witness: Witness, topology: Topology) -> None:
    witness.answers("corosync-cmapctl", ring(4))
    witness.answers("crm_mon", STAYING)
    assert pacemaker(witness, topology, "retire").returncode == 0
    assert "corosync-cfgtool -R" in witness.asked
    assert not [line for line in witness.asked if "controller-4" in line]


def test_nobody_leaves_a_ring_that_stays_as_it_is(witness: Witness, topology: Topology) -> None:
    witness.answers("corosync-cmapctl", ring(3))
    assert pacemaker(witness, topology, "retire").returncode == 0
    assert witness.asked == ["corosync-cmapctl "]


@pytest.mark.parametrize(("running", "asked"), [(2, True), (3, False), (5, False)])
def test_new_members_are_taken_in_by_all_at_once(
    witness: Witness, topology: Topology, running: int, asked: bool
) -> None:
    witness.answers("corosync-cmapctl", ring(running))
    assert pacemaker(witness, topology, "take_in").returncode == 0
    assert ("corosync-cfgtool -R" in witness.asked) is asked


def test_a_remote_node_that_is_configured_no_more_is_forgotten(witness: Witness, topology: Topology) -> None:
    record = '<node_state remote_node="true" id="{0}" uname="{0}" in_ccm="false"/>\n'
    witness.answers("cibadmin", "".join(map(record.format, ("compute-1", "compute-2"))))
    witness.answers("crm_mon", STAYING)
    assert pacemaker(witness, topology, "forget_remotes").returncode == 0
    assert [line for line in witness.asked if line.startswith("crm_node")] == ["crm_node --force --remove compute-2"]


@pytest.mark.parametrize(("running", "code"), [(2, 1), (3, 0), (4, 1)])
def test_a_node_tells_the_ring_of_nothing_but_what_leaves_its_members_as_they_are(
    witness: Witness, topology: Topology, running: int, code: int
) -> None:
    witness.answers("corosync-cmapctl", ring(running))
    witness.edits["*) put_files ;;"] = "*) ;;"
    (file,) = (
        one
        for one in plan(topology).by_name["corosync.start@controller-1"].files
        if one.path == "/etc/corosync/corosync.conf"
    )
    (witness.root / "corosync" / "corosync.conf").write_text(file.content)
    assert witness.run(topology, "corosync.start@controller-1", "same_members").returncode == code


def queue(witness: Witness, action: str, record: str | None, port: str) -> subprocess.CompletedProcess[str]:
    """A function of RabbitMQ's recipe on a member whose own record is `record`; its one peer is at `port`."""
    host = socket.gethostname()
    if record is not None:
        folder = witness.root / "rabbitmq" / "mnesia" / f"rabbit@{host}"
        folder.mkdir(parents=True)
        (folder / "cluster_nodes.config").write_text(record)
    witness.edits |= {"*) put_files ;;": "*) ;;", "    joined\n": "", "secret RABBITMQ_COOKIE | put_file": ": cookie"}
    witness.edits["converge_unit epmd.socket"] = ": epmd.socket"
    topology = derive(load(PROJECT, "keepalived"))
    values = {"MEMBERS": "controller-1/127.0.0.1 controller-2/127.0.0.1", "PEERS": "controller-2/127.0.0.1"}
    step = "rabbitmq.ready" if action == "ready" else "rabbitmq.configure@controller-1"
    return witness.run(topology, step, action, **values, PORT=port)


RECORD = "{[rabbit@controller-1,'rabbit@controller-2','rabbit@controller-12'],[rabbit@controller-1]}."


def test_the_queues_cluster_forgets_members_that_nobody_lists(witness: Witness, silent_port: str) -> None:
    done = queue(witness, "ready", RECORD, silent_port)
    assert done.returncode == 0, done.stderr
    assert witness.asked == ["rabbitmqctl forget_cluster_node rabbit@controller-12"]


def test_a_member_that_cannot_be_forgotten_is_stopped_and_else_is_a_failure(witness: Witness, silent_port: str) -> None:
    witness.fails("rabbitmqctl")
    done = queue(witness, "ready", RECORD, silent_port)
    assert done.returncode == 1
    assert "rabbit@controller-12 is not forgotten" in done.stderr
    forget = "rabbitmqctl forget_cluster_node rabbit@controller-12"
    assert witness.asked == [
        forget,
        "rabbitmqctl eval rpc:call('rabbit@controller-12', rabbit, stop, [], 60000).",
        forget,
    ]


def test_a_queue_without_data_has_a_peer_forget_what_it_was(witness: Witness, amqp_port: str) -> None:
    assert queue(witness, "configure", None, amqp_port).returncode == 0
    forget = f"rabbitmqctl --node rabbit@controller-2 forget_cluster_node rabbit@{socket.gethostname()}"
    assert forget in witness.asked


@pytest.mark.parametrize("record", [None, RECORD])
def test_a_queue_with_data_or_without_peers_asks_nobody(witness: Witness, silent_port: str, record: str | None) -> None:
    assert queue(witness, "configure", record, silent_port).returncode == 0
    assert not [line for line in witness.asked if line.startswith("rabbitmqctl")]


def test_a_queues_members_do_not_restart_for_who_joins_or_leaves() -> None:
    filtered = rabbitmq.RECIPE.path.read_text().partition("lasting() { grep -Ev '")[2].partition("'")[0]
    topology = derive(load(PROJECT, "keepalived"))
    texts = set()
    for count in (3, 5):
        grown = derive(sized(topology.stack, controller=count))
        text = rabbitmq.config(grown, grown.node("controller-1"))
        grep = subprocess.run(["grep", "-Ev", filtered], input=text, capture_output=True, text=True, check=True)
        texts.add(grep.stdout)
    assert len(texts) == 1
    assert "default_queue_type" in texts.pop()


class Sentinel(socketserver.StreamRequestHandler):
    """Of Redis' sentinel, what it knows: it forgets those that left when it is told to look anew."""

    known = 5

    def handle(self) -> None:
        for line in iter(self.rfile.readline, b""):
            if line.startswith(b"SENTINEL RESET"):
                type(self).known = 3
            if line.startswith(b"INFO"):
                seen = f"slaves={self.known - 1},sentinels={self.known}"
                self.wfile.write(f"master0:name=keepalived,status=ok,address=10.0.0.1:6379,{seen}\r\n".encode())
            else:
                self.wfile.write(b"+OK\r\n")


@pytest.mark.parametrize(("known", "code"), [(5, 0), (3, 0), (2, 1)])
def test_sentinels_look_anew_where_they_know_of_more_than_there_are(witness: Witness, known: int, code: int) -> None:
    Sentinel.known = known
    secrets = witness.root / "secrets"
    secrets.write_text("REDIS_AUTH=x\n")
    witness.edits |= {
        "*) put_files ;;": "*) ;;",
        "/etc/halab/secrets.env": str(secrets),
        "retry_until 180": "retry_until 1",
    }
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Sentinel) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            values = {"SENTINELS": "127.0.0.1", "PORT": str(server.server_address[1])}
            done = witness.run(derive(load(PROJECT, "keepalived")), "redis.ready", "ready", **values)
        finally:
            server.shutdown()
    assert done.returncode == code, done.stderr
    assert Sentinel.known == min(known, 3)


@needs_pacemaker
@pytest.mark.parametrize("name", [Variant.COLLAPSED, Variant.CLONED])
def test_pacemaker_restarts_nothing_of_three_members_when_two_more_join(name: Variant, tmp_path: Path) -> None:
    """By its own scheduler: what ran goes on, under the configuration for five."""
    topology = derive(load(PROJECT, name))
    (cluster,) = topology.clusters
    simulation = Simulation(topology, cluster, tmp_path)
    grown = derive(sized(topology.stack, controller=5))
    simulation.configure(live(grown, grown.clusters[0]))
    reaction = simulation.react()
    for member in cluster.members:
        assert {one for one in reaction.stopped(member.name) if not one.startswith("fence-")} == set(), member.name


@pytest.mark.parametrize("action", ["monitor", "meta-data"])
def test_galeras_agent_is_told_its_members_by_mariadbs_own_file(action: str, tmp_path: Path) -> None:
    grown = derive(sized(derive(load(PROJECT, "collapsed")).stack, controller=5))
    (tmp_path / "halab.cnf").write_text(galera.config(grown, grown.nodes[0]))
    real = tmp_path / "resource.d" / "heartbeat" / "galera"
    real.parent.mkdir(parents=True)
    real.write_text('#!/bin/sh\necho "$1 $OCF_RESKEY_wsrep_cluster_address"\nexit 8\n')
    real.chmod(0o755)
    (resource,) = (one for one in managed(grown) if one.service is Service.GALERA)
    assert resource.agent == "ocf:halab:galera"
    assert resource.parameters["members_in"] == galera.CONFIG
    env = {"OCF_ROOT": str(tmp_path), "OCF_RESKEY_members_in": str(tmp_path / "halab.cnf"), "PATH": "/bin:/usr/bin"}
    done = subprocess.run(["bash", galera.AGENT, action], env=env, capture_output=True, text=True)
    names = ",".join(f"controller-{number}" for number in range(1, 6))
    assert (done.returncode, done.stdout) == (8, f"{action} gcomm://{names}\n")


def test_a_database_that_is_not_primary_while_its_component_forms_anew_is_no_failure(tmp_path: Path) -> None:
    real = tmp_path / "resource.d" / "heartbeat" / "galera"
    real.parent.mkdir(parents=True)
    real.write_text(f'#!/bin/sh\n[ -e "{tmp_path}/seen" ] && exit 8\ntouch "{tmp_path}/seen"\nexit 1\n')
    real.chmod(0o755)
    env = {"OCF_ROOT": str(tmp_path), "PATH": "/bin:/usr/bin"}
    assert subprocess.run(["bash", galera.AGENT, "monitor"], env=env, check=False).returncode == 8
    real.write_text(f'#!/bin/sh\necho asked >>"{tmp_path}/asked"\nexit 7\n')
    assert subprocess.run(["bash", galera.AGENT, "monitor"], env=env, check=False).returncode == 7
    assert (tmp_path / "asked").read_text() == "asked\n", "any other answer counts at once"
