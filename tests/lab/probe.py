"""Connects to ADDRESS PORT every half second and prints "<seconds since the epoch> <1 if MariaDB greeted, else 0>".

Run where the cloud's network is; ends when its stdin closes.
"""

from __future__ import annotations

import select
import socket
import sys
import time

INTERVAL = 0.5
LIMIT = 2.0


def greeted(address: str, port: int) -> bool:
    """Whether the server's first packet is MySQL's greeting, protocol version 10."""
    try:
        with socket.create_connection((address, port), timeout=LIMIT) as connection:
            connection.settimeout(LIMIT)
            first = connection.recv(5)
            return len(first) == 5 and first[4] == 10
    except OSError:
        return False


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        asked = time.time()
        print(f"{asked:.2f} {int(greeted(address, port))}", flush=True)
        due = max(due + INTERVAL, time.monotonic())


if __name__ == "__main__":
    main()
