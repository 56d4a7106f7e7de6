"""Where an SSH login is made and as whom, and what is asked of asyncssh for it.

Ciphers and key exchange are the cheap modern ones; nothing is compressed.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from halab.embedded.provider import ProviderError

HANDSHAKE = 120.0  # an emulated guest under load takes its time; a redial would only make it slower
KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes128-ctr")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom; equal endpoints share a connection. `host_key` is a line of authorized_keys form or None."""

    host: str
    port: int = 22
    user: str = "root"
    private_key: str | None = field(default=None, repr=False)
    private_key_password: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    agent_socket: str | None = None
    host_key: str | None = None
    proxy: Endpoint | None = None

    def __str__(self) -> str:
        via = f" via {self.proxy}" if self.proxy else ""
        return f"{self.user}@{self.host}:{self.port}{via}"


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to dial: `errors` failed dials are forgiven (-1: any number); `dial` seconds each, 0 for no limit."""

    errors: int = 10
    dial: float = 15.0


async def tcp(endpoint: Endpoint) -> socket.socket:
    """A socket connected to the endpoint's first address that answers. Raises the last address's OSError."""
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    for family, kind, protocol, _name, address in await loop.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM
    ):
        connecting = socket.socket(family, kind, protocol)
        connecting.setblocking(False)
        try:
            await loop.sock_connect(connecting, address)
        except OSError as failed:
            connecting.close()
            error = failed
        except BaseException:
            connecting.close()
            raise
        else:
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connecting
    raise error or OSError(f"{endpoint.host} has no address")


def options(endpoint: Endpoint) -> dict[str, Any]:
    """asyncssh's options. Nothing of the user's own SSH configuration, keys or agent is used unless it is named.

    Raises ProviderError for a key that cannot be read.
    """
    try:
        keys = (
            [asyncssh.import_private_key(endpoint.private_key, endpoint.private_key_password)]
            if endpoint.private_key
            else None
        )
        host_key = asyncssh.import_public_key(endpoint.host_key) if endpoint.host_key else None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise ProviderError(f"ssh {endpoint}: a key cannot be read: {error}") from None
    return {
        "config": None,
        "username": endpoint.user,
        "client_keys": keys if keys or not endpoint.agent_socket else (),
        "agent_path": endpoint.agent_socket,
        "password": endpoint.password,
        "known_hosts": None if host_key is None else ([host_key], [], []),
        "kex_algs": KEX,
        "encryption_algs": CIPHERS,
        "compression_algs": None,
        "gss_host": None,
        "x509_trusted_certs": None,
        "keepalive_interval": 30,
        "keepalive_count_max": 6,
        "login_timeout": HANDSHAKE,
    }
