"""The resident check on port 9200, as its own process, with a MariaDB client that says what a file says."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.services import galera
from tests.recipe.stand_in import reserved

SCRIPT = Path(galera.__file__).parent / "files" / "galera_check.py"
#: A client whose server is the file `state`: "STATE COMPONENT", or nothing while the server is down.
_CLIENT = """
from pathlib import Path
_STATE = Path(__file__).parent / "state"
_CONNECTS = Path(__file__).parent / "connects"
class MySQLError(Exception): pass
class Cursor:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def execute(self, text): self.words = _STATE.read_text().split()
    def fetchall(self):
        if not self.words: raise MySQLError(2006)
        return (("wsrep_local_state", self.words[0]), ("wsrep_cluster_status", self.words[1]))
class Connection:
    def cursor(self): return Cursor()
def connect(**options):
    assert options["unix_socket"] == "/run/mysqld/mysqld.sock" and "password" not in options
    if not _STATE.read_text(): raise MySQLError(2002)
    _CONNECTS.write_text(_CONNECTS.read_text() + "x")
    return Connection()
"""


@dataclass
class Check:
    root: Path
    port: int

    def state(self, text: str) -> None:
        (self.root / "state").write_text(text)

    def status(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/")
        return connection.getresponse().status

    def text(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/")
        return connection.getresponse().read().decode()

    def becomes(self, status: int) -> bool:
        """Whether it answers so in the end: it asks MariaDB at most once a second."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.status() == status:
                return True
            time.sleep(0.1)
        return False

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 60).close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def connects(self) -> int:
        return len((self.root / "connects").read_text())


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    (tmp_path / "pymysql.py").write_text(_CLIENT)
    (tmp_path / "galera_check.py").write_text(SCRIPT.read_text())
    (tmp_path / "connects").touch()
    with reserved() as port:
        yield from running(tmp_path, port)


def running(tmp_path: Path, port: int) -> Iterator[Check]:
    made = Check(tmp_path, port)
    made.state("4 Primary")
    # The client is found whether or not this Python puts a script's own folder on its path (PYTHONSAFEPATH).
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(tmp_path / "galera_check.py"), "127.0.0.1", str(port), str(tmp_path)]
    process = subprocess.Popen(command, env=environment)
    try:
        end = time.monotonic() + 60
        while not made.listens():
            assert process.poll() is None, "the check has ended"
            assert time.monotonic() < end, "the check does not listen"
            time.sleep(0.05)
        yield made
    finally:
        process.kill()
        process.wait()


def test_a_synced_member_is_in_service(check: Check) -> None:
    assert check.status() == 200


def test_a_donor_stays_in_service(check: Check) -> None:
    check.state("2 Primary")
    time.sleep(1.1)
    assert check.status() == 200


@pytest.mark.parametrize("state", ["1 Primary", "3 Primary", "4 non-Primary"])
def test_a_joiner_and_a_member_without_quorum_are_out_of_service(check: Check, state: str) -> None:
    check.state(state)
    assert check.becomes(503)


def test_a_server_that_dies_takes_it_out_and_one_that_returns_brings_it_back(check: Check) -> None:
    assert check.status() == 200
    check.state("")
    assert check.becomes(503)
    check.state("4 Primary")
    assert check.becomes(200)


def test_a_member_that_does_not_serve_says_whether_it_holds_data(check: Check) -> None:
    check.state("")
    assert check.becomes(503)
    assert not check.text().endswith("holds data")
    (check.root / "galera.cache").touch()
    assert check.text().endswith("holds data")
    check.state("4 Primary")
    assert check.becomes(200)
    assert check.text() == "synced"


def test_one_connection_is_kept_for_all_questions(check: Check) -> None:
    for _ in range(30):
        assert check.status() == 200
    assert check.connects == 1


def test_a_client_that_says_nothing_holds_it_up_for_seconds_only(check: Check) -> None:
    with socket.create_connection(("127.0.0.1", check.port), 60):
        assert check.becomes(200)
