"""The RabbitMQ resource agent under a systemctl that plays a unit's states, and a port that speaks AMQP or does not."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from components.services import rabbitmq
from components.topology import derive
from components.variant import load
from tests.recipe.stand_in import answering, reserved

PROJECT = Path(__file__).resolve().parents[2]
SUCCESS, GENERIC, CONFIGURED, INSTALLED, NOT_RUNNING, UNIMPLEMENTED = 0, 1, 6, 5, 7, 3
#: `show` reads the state from a file; `start` and `stop` change it unless the file `broken` is there.
_SYSTEMCTL = """#!/bin/bash
cd "$(dirname "$0")/.." || exit 1
echo "$*" >>calls
case $1 in
    show) case $* in
        *ActiveState*) cat state ;;
        *LoadState*) cat load ;;
        *) echo exit-code ;;
    esac ;;
    start) [ ! -e broken ] || exit 1; if [ -e slow ]; then echo activating; else echo active; fi >state ;;
    stop) [ ! -e broken ] || exit 1; echo inactive >state ;;
    reset-failed) echo inactive >state ;;
esac
"""


@dataclass
class Agent:
    root: Path
    port: int

    def __call__(self, action: str, **parameters: str) -> int:
        given = {"port": str(self.port), "address": "127.0.0.1", **parameters}
        env = {
            **{f"OCF_RESKEY_{name}": value for name, value in given.items()},
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
        }
        done = subprocess.run(["bash", rabbitmq.AGENT, action], env=env, capture_output=True, text=True, timeout=60)
        self.reason = done.stderr
        return done.returncode

    def unit(self, state: str) -> None:
        (self.root / "state").write_text(f"{state}\n")

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def broker() -> Iterator[int]:
    """The port of a server that answers an AMQP 0-9-1 header with a method frame's first octet."""

    def answer(client: socket.socket) -> None:
        if client.recv(8) == b"AMQP\x00\x00\x09\x01":
            client.sendall(b"\x01\x00\x00")

    with answering(answer) as port:
        yield port


@pytest.fixture
def agent(tmp_path: Path, broker: int) -> Agent:
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(_SYSTEMCTL)
    systemctl.chmod(0o755)
    (tmp_path / "load").write_text("loaded\n")
    made = Agent(tmp_path, broker)
    made.unit("inactive")
    return made


def test_starting_and_stopping_twice_is_as_good_as_once(agent: Agent) -> None:
    assert [agent("start"), agent("start"), agent("monitor")] == [SUCCESS] * 3
    assert [agent("stop"), agent("stop")] == [SUCCESS] * 2
    assert agent("monitor") == NOT_RUNNING


def test_a_unit_on_its_way_up_counts_as_running(agent: Agent) -> None:
    agent.unit("activating")
    assert agent("monitor") == SUCCESS


def test_a_start_does_not_wait_for_a_unit_that_takes_its_time(agent: Agent) -> None:
    (agent.root / "slow").touch()
    assert agent("start") == SUCCESS
    assert "start --no-block rabbitmq-server.service" in agent.calls


def test_a_unit_that_is_active_but_does_not_speak_amqp_has_failed(agent: Agent) -> None:
    agent.unit("active")
    with reserved() as port:
        assert agent("monitor", port=str(port)) == GENERIC
    assert str(port) in agent.reason


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_unit_that_is_down_is_not_running(agent: Agent, state: str) -> None:
    agent.unit(state)
    assert agent("monitor") == NOT_RUNNING


def test_a_unit_that_someone_else_stops_has_failed(agent: Agent) -> None:
    agent.unit("deactivating")
    assert agent("monitor") == GENERIC


def test_a_failed_unit_is_reset_before_its_start(agent: Agent) -> None:
    agent.unit("failed")
    assert agent("start") == SUCCESS
    assert any(call.startswith("reset-failed") for call in agent.calls)


def test_a_start_or_stop_that_systemd_refuses_is_an_error(agent: Agent) -> None:
    (agent.root / "broken").touch()
    assert agent("start") == GENERIC
    assert agent("stop") == GENERIC


def test_no_action_runs_rabbitmqctl(agent: Agent) -> None:
    for action in ("start", "monitor", "stop"):
        agent(action)
    assert "rabbitmqctl" not in "".join(line for line in rabbitmq.AGENT.read_text().splitlines() if line[:1] != "#")


def test_a_missing_unit_and_a_bad_port_are_told_apart(agent: Agent) -> None:
    assert agent("validate-all", port="http") == CONFIGURED
    (agent.root / "load").write_text("not-found\n")
    assert agent("validate-all") == INSTALLED
    assert agent("dance") == UNIMPLEMENTED


def test_its_metadata_has_what_the_resource_uses(agent: Agent) -> None:
    done = subprocess.run(
        ["bash", rabbitmq.AGENT, "meta-data"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    tree = ET.fromstring(done.stdout)
    resource = rabbitmq.resource(derive(load(PROJECT, "collapsed")))
    assert set(resource.parameters) <= {one.get("name") for one in tree.iter("parameter")}
    actions = {one.get("name") for one in tree.iter("action")}
    assert {operation.name for operation in resource.operations} | {"meta-data", "validate-all"} <= actions
