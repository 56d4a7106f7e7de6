"""The clients that ask a cloud every half second, against servers of the test's own."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from components.secrets import Secrets
from halab.fault.probe import Https, Loop, Ping, Row, Token, echo, reason, replies

#: Made now: their certificates are checked by the clock.
SECRETS = Secrets(bytes(32), datetime.now(UTC))
NAME = "keystone.test.halab"


class Keystone(http.server.BaseHTTPRequestHandler):
    """/v3, and tokens: the first for the right password, others for that token."""

    asked: list[list[str]]
    status = 200

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self._answer(self.status)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        identity = body["auth"]["identity"]
        self.asked.append(identity["methods"])
        right = (
            identity["password"]["user"]["password"] == "right"
            if "password" in identity
            else identity["token"]["id"] == "first"
        )
        assert body["auth"]["scope"]["project"]["name"] == "admin"
        self._answer(201 if right else 401, "first")

    def _answer(self, status: int, token: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Subject-Token", token)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The server's certificate with its key, and the CA."""
    import base64

    pem, ca = tmp_path / "server.pem", tmp_path / "ca.pem"
    pem.write_bytes(base64.b64decode(SECRETS.endpoint_pem([NAME], [IPv4Address("127.0.0.1")])))
    ca.write_text(SECRETS.ca_pem)
    return pem, ca


@pytest.fixture
def server(files: tuple[Path, Path]) -> Iterator[tuple[http.server.ThreadingHTTPServer, type[Keystone]]]:
    handler: type[Keystone] = type("Handler", (Keystone,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[0])
        made.socket = context.wrap_socket(made.socket, server_side=True)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made, handler
        made.shutdown()


def client(server: http.server.ThreadingHTTPServer, ca: Path, name: str = NAME, limit: float = 60.0) -> Https:
    return Https("127.0.0.1", server.server_port, name, ca, limit)


def test_a_get_over_tls_is_an_answer_and_another_status_a_failure(server: Any, files: tuple[Path, Path]) -> None:
    client(server[0], files[1]).ask()
    server[1].status = 503
    with pytest.raises(ValueError, match="status 503"):
        client(server[0], files[1]).ask()


def test_a_server_of_another_name_is_no_answer(server: Any, files: tuple[Path, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        client(server[0], files[1], "another.test.halab").ask()


def test_a_token_is_bought_once_by_password_and_then_exchanged(server: Any, files: tuple[Path, Path]) -> None:
    probe = Token(client(server[0], files[1]), "right", 60.0)
    probe.ask()
    probe.ask()
    assert server[1].asked == [["password"], ["token"], ["token"]]
    with pytest.raises(ValueError, match="status 401"):
        Token(client(server[0], files[1]), "wrong", 60.0)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one.getsockname()[1]


def test_silence_is_a_failure_at_the_limit(silent: int, files: tuple[Path, Path]) -> None:
    for probe in (
        Https("127.0.0.1", silent, NAME, files[1], 0.3),
        Row("127.0.0.1", silent, "user", "password", files[1], 1),
    ):
        began = time.monotonic()
        with pytest.raises(Exception, match=r"time|Lost connection"):
            probe.ask()
        assert time.monotonic() - began < 60


def test_an_echo_request_has_the_checksum_that_its_receiver_computes() -> None:
    packet = echo(0x1234, 7)
    total = sum(struct.unpack("!4H", packet))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_a_reply_is_known_by_its_sequence_with_and_without_the_ip_header() -> None:
    reply = struct.pack("!BBHHH", 0, 0, 0, 1, 9)
    assert replies(reply, 9)
    assert replies(b"\x45" + bytes(19) + reply, 9)
    assert not replies(reply, 8)
    assert not replies(echo(1, 9), 9)
    assert not replies(b"", 9)


@pytest.mark.skipif(os.geteuid() != 0, reason="ICMP needs root, or net.ipv4.ping_group_range")
def test_the_loopback_answers_a_ping() -> None:
    Ping("127.0.0.1").ask()


class Flaky:
    """Answers, fails from `broken` on, and notes how many ask at once."""

    def __init__(self) -> None:
        self.broken = threading.Event()
        self.together = 0
        self.most = 0

    def ask(self) -> None:
        self.together += 1
        self.most = max(self.most, self.together)
        time.sleep(0.7)
        self.together -= 1
        if self.broken.is_set():
            raise ConnectionRefusedError(111, "refused")


def test_a_loop_asks_one_question_at_a_time_and_notes_each_answer() -> None:
    probe = Flaky()
    with Loop({"one": probe}) as loop:
        while len(loop.samples()["one"]) < 2:
            time.sleep(0.1)
        probe.broken.set()
        while not loop.samples()["one"][-1].problem:
            time.sleep(0.1)
    samples = loop.samples()["one"]
    assert probe.most == 1
    assert samples[0].ok
    assert samples[-1].problem == "Connection refused"
    assert all(sample.seconds > 0.69 for sample in samples)
    assert all(later.at >= sooner.at + sooner.seconds for sooner, later in itertools.pairwise(samples))
    zero = samples[1].at
    assert loop.samples(zero)["one"][1].at == 0


def test_a_reason_is_one_line() -> None:
    assert reason(TimeoutError("timed out")) == "no answer in time"
    assert reason(ValueError("a\nb")) == "a b"
