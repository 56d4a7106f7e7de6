"""A stack's secrets, all derived from one 32-byte seed: no two stacks share any, and every run gives the same.

Step code names secrets; values appear only in the one step per node that hands them over (`machine.secrets`).
Names on a node are upper case, in `/etc/halab/secrets.env`: text secrets as they are, keys and files in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Secrets that are files of random bytes, with their size.
KEYS = {
    "COROSYNC_AUTHKEY": 256,
    "PACEMAKER_AUTHKEY": 4096,
    "FENCE_KEY": 512,
}
#: Fernet keys (32 bytes, urlsafe base64 text); keystone's repository files of the same number.
FERNET = ("FERNET_0", "FERNET_1", "CREDENTIAL_0", "CREDENTIAL_1")
#: The certificate and key of the cloud's endpoints as one PEM (HAProxy's form).
ENDPOINT_PEM = "ENDPOINT_PEM"
#: The stack's CA certificate, for nodes that ask the endpoints; not secret, but handed over the same way.
CA_PEM = "CA_PEM"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class Secrets:
    """`seed`: 32 random bytes of the stack; `made`: when the stack was made (UTC), the start of its certificates."""

    seed: bytes
    made: datetime

    def bytes(self, name: str, size: int) -> bytes:
        """`size` bytes that only (seed, name) determine (HMAC-SHA256 in counter mode, NIST SP 800-108)."""
        blocks = (
            hmac.digest(self.seed, name.encode() + b"\0" + counter.to_bytes(4, "big"), hashlib.sha256)
            for counter in range(-(-size // 32))
        )
        return b"".join(blocks)[:size]

    def value(self, name: str) -> str:
        """What stands for the secret in secrets.env: one line, no quotes or blanks. Passwords are 48 hex digits."""
        if name in KEYS:
            return base64.b64encode(self.bytes(name, KEYS[name])).decode()
        if name in FERNET:
            return base64.urlsafe_b64encode(self.bytes(name, 32)).decode()
        if name == CA_PEM:
            return base64.b64encode(self.ca_pem.encode()).decode()
        if name == ENDPOINT_PEM:
            raise ValueError("the endpoint certificate needs names and addresses: use endpoint_pem")
        return self.bytes(name, 24).hex()

    def ssh_private(self, name: str) -> str:
        """An ed25519 private key in OpenSSH's format, for `client` or a node's host key."""
        key = ed25519.Ed25519PrivateKey.from_private_bytes(self.bytes(f"ssh/{name}", 32))
        return _openssh(key, self.bytes(f"ssh-check/{name}", 4))

    def ssh_public(self, name: str) -> str:
        """The `ssh-ed25519 AAAA…` line (no comment) of `ssh_private(name)`."""
        key = ed25519.Ed25519PrivateKey.from_private_bytes(self.bytes(f"ssh/{name}", 32))
        encoded = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return encoded.decode()

    def _ec(self, name: str) -> ec.EllipticCurvePrivateKey:
        scalar = int.from_bytes(self.bytes(f"ec/{name}", 40), "big") % (_P256_ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())

    def _certificate(
        self, subject: str, key: ec.EllipticCurvePrivateKey, extensions: Iterable[tuple[x509.ExtensionType, bool]]
    ) -> x509.Certificate:
        start = self.made.replace(microsecond=0) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "halab stack CA")]))
            .public_key(key.public_key())
            .serial_number(int.from_bytes(self.bytes(f"serial/{subject}", 16), "big") >> 1 | 1)
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=825))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._ec("ca"), hashes.SHA256(), ecdsa_deterministic=True)

    @cached_property
    def ca_pem(self) -> str:
        """The stack's CA certificate (public). RFC 5280."""
        key = self._ec("ca")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(True, 0), True),
            (usage, True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ]
        return self._certificate("halab stack CA", key, extensions).public_bytes(serialization.Encoding.PEM).decode()

    def endpoint_pem(self, names: Iterable[str], addresses: Iterable[IPv4Address]) -> str:
        """Certificate, CA and private key for the given DNS names and addresses, base64 of the joined PEM."""
        key = self._ec("endpoint")
        alternatives = [x509.DNSName(name) for name in names] + [x509.IPAddress(ip) for ip in addresses]
        ca = self._ec("ca").public_key()
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(False, None), True),
            (x509.SubjectAlternativeName(alternatives), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca), False),
        ]
        certificate = self._certificate("endpoints", key, extensions).public_bytes(serialization.Encoding.PEM)
        return base64.b64encode(certificate + self.ca_pem.encode() + _pem(key)).decode()


def _openssh(key: ed25519.Ed25519PrivateKey, check: bytes) -> str:
    """OpenSSH's own private key format (PROTOCOL.key) with a given check value: the library's is random."""

    def string(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    raw = serialization.Encoding.Raw
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    private = key.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    blob = string(b"ssh-ed25519") + string(public)
    inner = check * 2 + string(b"ssh-ed25519") + string(public) + string(private + public) + string(b"")
    inner += bytes(range(1, 1 + -len(inner) % 8))
    packed = b"openssh-key-v1\0" + string(b"none") + string(b"none") + string(b"")
    packed += (1).to_bytes(4, "big") + string(blob) + string(inner)
    text = base64.b64encode(packed).decode()
    lines = "\n".join(text[i : i + 70] for i in range(0, len(text), 70))
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"
