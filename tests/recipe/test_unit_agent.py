"""The resource agent for systemd units, under a systemctl that plays a unit's states."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

AGENT = Path(__file__).resolve().parents[2] / "components" / "cluster" / "files" / "unit.ocf"
SUCCESS, GENERIC, UNIMPLEMENTED, INSTALLED, CONFIGURED, NOT_RUNNING = 0, 1, 3, 5, 6, 7
#: `start` and `stop` change the state unless the file `broken` is there.
_SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")/.." || exit 1
case $1 in
    is-active) cat state; [ "$(cat state)" = active ] ;;
    show) case $* in *LoadState*) cat load ;; *) echo exit-code ;; esac ;;
    start) [ ! -e broken ] || exit 1; echo active >state ;;
    stop) [ ! -e broken ] || exit 1; echo inactive >state ;;
esac
"""


@dataclass
class Agent:
    root: Path
    said: str = ""

    def __call__(self, action: str, unit: str = "haproxy.service") -> int:
        env = {"OCF_RESKEY_unit": unit, "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", AGENT, action], env=env, capture_output=True, text=True, timeout=100, check=False)
        self.said = done.stdout + done.stderr
        return done.returncode

    def unit(self, state: str) -> None:
        (self.root / "state").write_text(f"{state}\n")


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(_SYSTEMCTL)
    systemctl.chmod(0o755)
    (tmp_path / "load").write_text("loaded\n")
    made = Agent(tmp_path)
    made.unit("inactive")
    return made


def test_starting_and_stopping_twice_is_as_good_as_once(agent: Agent) -> None:
    assert [agent("start"), agent("start"), agent("monitor")] == [SUCCESS] * 3
    assert [agent("stop"), agent("stop"), agent("monitor")] == [SUCCESS, SUCCESS, NOT_RUNNING]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("active", SUCCESS),
        ("activating", SUCCESS),
        ("reloading", SUCCESS),
        ("inactive", NOT_RUNNING),
        ("failed", NOT_RUNNING),
        ("deactivating", GENERIC),
        ("", GENERIC),
    ],
)
def test_a_unit_is_what_systemd_says_and_runs_already_on_its_way_up(agent: Agent, state: str, code: int) -> None:
    agent.unit(state)
    assert agent("monitor") == code


def test_what_systemd_refuses_is_an_error_that_says_where_to_look(agent: Agent) -> None:
    (agent.root / "broken").touch()
    assert agent("start") == GENERIC
    assert "ocf-exit-reason:haproxy.service did not start: exit-code; see journalctl -u haproxy.service" in agent.said
    assert agent("stop") == GENERIC


def test_a_unit_that_is_not_there_or_not_named_is_told_apart_from_one_that_fails(agent: Agent) -> None:
    assert agent("start", unit="") == CONFIGURED
    (agent.root / "load").write_text("not-found\n")
    assert agent("start") == INSTALLED
    assert agent("restart") == UNIMPLEMENTED


def test_its_metadata_offer_every_action_and_the_parameter(agent: Agent) -> None:
    assert agent("meta-data") == SUCCESS
    root = ET.fromstring(agent.said)
    assert {action.get("name") for action in root.iter("action")} >= {"start", "stop", "monitor", "meta-data"}
    assert [parameter.get("name") for parameter in root.iter("parameter")] == ["unit"]
