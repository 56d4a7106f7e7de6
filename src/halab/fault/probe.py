"""Clients of a cloud, each asking its question every half second, one at a time, in a thread of its own.

They run where the cloud's addresses can be reached: this process has entered the stack's network (hypervisors.reach).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pymysql

from halab.fault.outage import Sample

#: Seconds from one question to the next, unless the answer takes longer.
INTERVAL = 0.5
#: Seconds for what the guests' kernels answer alone, an echo and a TCP connection, however slow their programs are. A
#: question that waits longer would see a VIP that has come back only at its own end.
PROMPT = 2.0


class Probe(Protocol):
    def ask(self) -> None:
        """Returns when the answer is right. Raises any Exception otherwise, within a few times its limit."""
        ...


class Loop:
    """The probes at work, from `with` to its end. `samples` may be read at any time; `at` is time.monotonic()."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._samples: dict[str, list[Sample]] = {name: [] for name in probes}
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, probe), daemon=True) for name, probe in probes.items()
        ]

    def __enter__(self) -> Loop:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def samples(self, zero: float = 0.0) -> dict[str, tuple[Sample, ...]]:
        """So far, by probe; `at` counted from `zero`."""
        return {
            name: tuple(replace(one, at=one.at - zero) for one in list(samples))
            for name, samples in self._samples.items()
        }

    def _run(self, name: str, probe: Probe) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            at = time.monotonic()
            try:
                probe.ask()
                problem = ""
            except Exception as error:
                problem = reason(error)
            self._samples[name].append(Sample(at, time.monotonic() - at, problem))
            due = max(due + INTERVAL, time.monotonic())


def reason(error: Exception) -> str:
    """One line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno)
    return " ".join(text.split())[:200]


class Https:
    """A GET of a path at an address, over TLS checked against the stack's CA and a name; a new connection each time."""

    def __init__(self, address: str, port: int, name: str, ca: Path, limit: float, path: str = "/v3") -> None:
        self._address, self._port, self._name, self._limit, self._path = address, port, name, limit, path
        self._context = ssl.create_default_context(cafile=str(ca))

    def request(
        self, method: str, path: str, body: Any = None, limit: float | None = None
    ) -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self._address, self._port, timeout=min(PROMPT, self._limit))
        connection.connect()
        try:
            connection.sock.settimeout(limit or self._limit)
            connection.sock = self._context.wrap_socket(connection.sock, server_hostname=self._name)
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        finally:
            connection.close()

    def ask(self) -> None:
        status, _ = self.request("GET", self._path)
        if status != 200:
            raise ValueError(f"status {status}")


class Token:
    """A new token from keystone each time, in exchange for one that a password bought once.

    A login by password is a second of an emulated CPU, for its hash alone; the exchange is a few hundredths, and the
    token is issued all the same.
    """

    _SCOPE: Mapping[str, Any] = {"project": {"name": "admin", "domain": {"id": "default"}}}

    def __init__(self, https: Https, password: str, limit: float) -> None:
        """Logs in, within `limit` seconds. Raises OSError or ValueError."""
        self._https = https
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        self._first = self._issue({"methods": ["password"], "password": {"user": user}}, limit)

    def _issue(self, identity: Mapping[str, Any], limit: float | None = None) -> str:
        body = {"auth": {"identity": identity, "scope": self._SCOPE}}
        status, headers = self._https.request("POST", "/v3/auth/tokens", body, limit)
        if status != 201:
            raise ValueError(f"status {status}")
        return str(headers["X-Subject-Token"])

    def ask(self) -> None:
        self._issue({"methods": ["token"], "token": {"id": self._first}})


class Row:
    """A row written and read back through the database's VIP, over TLS; the connection is kept while it works.

    `acknowledged`: the numbers of the rows whose write was confirmed: a cloud that loses one has lost data.
    """

    def __init__(self, address: str, port: int, user: str, password: str, ca: Path, limit: float) -> None:
        self._connect: Callable[[], pymysql.Connection[Any]] = lambda: pymysql.connect(
            host=address,
            port=port,
            user=user,
            password=password,
            database=user,
            connect_timeout=min(PROMPT, limit),
            read_timeout=limit,
            write_timeout=limit,
            autocommit=True,
            ssl_ca=str(ca),
            ssl_verify_cert=True,
            ssl_verify_identity=True,
        )
        self._connection: pymysql.Connection[Any] | None = None
        self._next = 0
        self.acknowledged: list[int] = []

    def ask(self) -> None:
        self._next += 1
        try:
            connection = self._connection or self._connect()
            self._connection = connection
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO probe VALUES (%s)", (self._next,))
                self.acknowledged.append(self._next)
                cursor.execute("SELECT n FROM probe WHERE n = %s", (self._next,))
                if cursor.fetchone() != (self._next,):
                    raise ValueError("the row is not there")
        except Exception:
            if self._connection is not None:
                self._connection._force_close()  # type: ignore[attr-defined]
            self._connection = None
            raise


class Ping:
    """An ICMP echo request (RFC 792) and its reply."""

    def __init__(self, address: str, limit: float = PROMPT) -> None:
        self._address, self._limit, self._sequence = address, limit, 0

    def ask(self) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFF
        deadline = time.monotonic() + self._limit
        with _icmp() as wire:
            wire.settimeout(self._limit)
            wire.connect((self._address, 0))
            wire.send(echo(os.getpid() & 0xFFFF, self._sequence))
            while not replies(wire.recv(1024), self._sequence):
                wire.settimeout(max(deadline - time.monotonic(), 0.001))


def _icmp() -> socket.socket:
    """Without privileges where the kernel allows it (net.ipv4.ping_group_range), which a new namespace never does."""
    try:
        wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    except PermissionError:
        wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return wire


def echo(identifier: int, sequence: int) -> bytes:
    """The request, its checksum as in RFC 1071."""
    packet = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence)
    total = sum(struct.unpack("!4H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack("!H", ~total & 0xFFFF) + packet[4:]


def replies(packet: bytes, sequence: int) -> bool:
    """Whether a received packet, with its IP header (a raw socket) or without, is the reply to `sequence`."""
    if packet[:1] and packet[0] >> 4 == 4:
        packet = packet[(packet[0] & 0xF) * 4 :]
    return len(packet) >= 8 and packet[0] == 0 and struct.unpack("!H", packet[6:8])[0] == sequence
