"""Answers HTTP on ADDRESS PORT: 200 while this node's Galera serves clients in a primary component, else 503.

A 503 ends with "holds data" where DIRECTORY, MariaDB's, was a member's before.

A donor serves: when a member comes back it gets what it missed (IST), which blocks nothing; going out of service for
that would cut every client's connection. A donor of all files (SST) makes writes wait until it is done.

One process, one connection kept to MariaDB's socket, one thread; a state is asked for at most once a second.
"""

import os
import socket
import sys
import time

sys.path.append("/usr/lib/python3/dist-packages")
import pymysql

_SOCKET = "/run/mysqld/mysqld.sock"
_ASK = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_local_state', 'wsrep_cluster_status')"
#: wsrep_local_state: Donor/Desynced and Synced.
_SERVING = ("2", "4")
_LIMIT = 3.0
_FRESH = 1.0


class State:
    """What MariaDB says, no older than a second; anything but an answer counts as out of service."""

    def __init__(self) -> None:
        self.connection: pymysql.Connection | None = None
        self.asked = -_FRESH
        self.text = "not asked"

    def _ask(self) -> str:
        if self.connection is None:
            self.connection = pymysql.connect(
                unix_socket=_SOCKET, user="clustercheck", connect_timeout=3, read_timeout=_LIMIT, autocommit=True
            )
        with self.connection.cursor() as cursor:
            cursor.execute(_ASK)
            status = dict(cursor.fetchall())
        if status.get("wsrep_cluster_status") != "Primary":
            return "no primary component"
        return "" if status.get("wsrep_local_state") in _SERVING else "not synced"

    def problem(self) -> str:
        """Empty while in service."""
        if time.monotonic() - self.asked >= _FRESH:
            try:
                self.text = self._ask()
            except (OSError, pymysql.MySQLError) as error:
                self.connection, self.text = None, type(error).__name__
            self.asked = time.monotonic()
        return self.text


def main() -> None:
    address, port, cache = sys.argv[1], int(sys.argv[2]), os.path.join(sys.argv[3], "galera.cache")
    state = State()
    with socket.create_server((address, port), backlog=64) as server:
        while True:
            client, _ = server.accept()
            with client:
                client.settimeout(_LIMIT)
                try:
                    client.recv(2048)
                    problem = state.problem()
                    if problem and os.path.exists(cache):
                        problem += "; holds data"
                    status, body = ("503 Service Unavailable", problem) if problem else ("200 OK", "synced")
                    head = f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    client.sendall((head + body).encode())
                except OSError:
                    continue


main()
