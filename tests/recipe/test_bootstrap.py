"""Whether a node may make a new Galera cluster: run by bash, with the other members' checks played by a socket."""

from __future__ import annotations

import socket
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from components.services import galera
from tests.recipe.stand_in import answering


def member(body: str) -> AbstractContextManager[int]:
    """The check of another member, that does not serve; its port."""

    def answer(client: socket.socket) -> None:
        client.recv(2048)
        client.sendall(f"HTTP/1.0 503 Service Unavailable\r\n\r\n{body}".encode())

    return answering(answer)


def may_bootstrap(data: Path, port: int) -> bool:
    recipe = galera.RECIPE.path.read_text().replace("/var/lib/mysql", str(data))
    values = f"MEMBERS='127.0.0.1 127.0.0.2' ADDRESS=127.0.0.2 CHECK_PORT={port}\n"
    done = subprocess.run(["bash", "-s"], input=f"{values}{recipe}\nmay_bootstrap\n", text=True, timeout=100)
    return done.returncode == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "grastate.dat").write_text("uuid: x\nseqno: 252\nsafe_to_bootstrap: 0\n")
    return tmp_path


def test_the_first_member_of_a_new_cloud_makes_the_cluster(data: Path) -> None:
    with member("OperationalError") as port:
        assert may_bootstrap(data, port)
    assert "safe_to_bootstrap: 1" in (data / "grastate.dat").read_text()


def test_a_rebuilt_member_makes_no_empty_cluster_while_another_holds_the_data(data: Path) -> None:
    with member("OperationalError; holds data") as port:
        assert not may_bootstrap(data, port)
    assert "safe_to_bootstrap: 0" in (data / "grastate.dat").read_text()


def test_a_member_that_was_not_the_last_to_leave_makes_no_cluster(data: Path) -> None:
    (data / "galera.cache").touch()
    with member("OperationalError") as port:
        assert not may_bootstrap(data, port)


def test_the_last_member_to_leave_makes_the_cluster_again(data: Path) -> None:
    (data / "galera.cache").touch()
    (data / "grastate.dat").write_text("safe_to_bootstrap: 1\n")
    with member("OperationalError; holds data") as port:
        assert may_bootstrap(data, port)
