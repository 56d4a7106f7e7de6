"""A stack's keys on this host: the seed of all its secrets, and the files that clients need, derived from it."""

from __future__ import annotations

import json
import os
import secrets as random
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.secrets import Secrets
from components.topology import Topology
from halab.embedded.hypervisor.paths import Paths
from halab.errors import HalabError

_SEED = "seed.json"


class KeysError(HalabError):
    """The stack's keys cannot be read."""


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file at once; leave one that is right alone."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(fd, "w") as out:
        os.fchmod(fd, mode)
        out.write(text)
    os.replace(temporary, path)


@dataclass(frozen=True)
class Keys:
    """Folder 0700, files 0600. `ephemeral` keys have none: a preview before the first up writes nothing."""

    folder: Path
    secrets: Secrets

    @property
    def client(self) -> Path:
        """The private key that logs in as root on every node of the stack."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the endpoints' certificates."""
        return self.folder / "ca.pem"

    @classmethod
    def load(cls, stack: str, state: Path | None = None) -> Keys | None:
        """The stack's keys, None before its first up. Raises KeysError when the seed is damaged."""
        folder = Paths.of(stack, state).keys
        path = folder / _SEED
        try:
            found = json.loads(path.read_text())
            return cls(folder, Secrets(bytes.fromhex(found["seed"]), datetime.fromisoformat(found["made"])))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeysError(f"{path}: not the seed of stack {stack} ({error}): ./halab down --stack {stack}") from error

    @classmethod
    def ephemeral(cls, stack: str, state: Path | None = None) -> Keys:
        """Keys that exist nowhere else."""
        made = datetime.now(UTC).replace(microsecond=0)
        return cls(Paths.of(stack, state).keys, Secrets(random.token_bytes(32), made))

    @classmethod
    def create(cls, stack: str, state: Path | None = None) -> Keys:
        """The stack's keys, made if there are none. Of two that make them at once, one is heeded by both."""
        found = cls.load(stack, state)
        if found is not None:
            return found
        keys = cls.ephemeral(stack, state)
        keys.folder.mkdir(parents=True, exist_ok=True)
        keys.folder.chmod(0o700)
        seed = {"seed": keys.secrets.seed.hex(), "made": keys.secrets.made.isoformat()}
        fd, temporary = tempfile.mkstemp(prefix=f".{_SEED}.", dir=keys.folder)
        try:
            with os.fdopen(fd, "w") as out:
                json.dump(seed, out)
                out.flush()
                os.fsync(fd)
            os.link(temporary, keys.folder / _SEED)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
        made = cls.load(stack, state)
        assert made is not None, "the seed was there a moment ago"
        return made

    def write_files(self, topology: Topology) -> None:
        """The files that ssh and TLS clients need, as they follow from the seed and the topology."""
        known = (
            f"{node.name},{node.name}.{topology.domain},{node.ip} {self.secrets.ssh_public(node.name)}\n"
            for node in topology.nodes
        )
        _write(self.client, self.secrets.ssh_private("client"))
        _write(self.known_hosts, "".join(known))
        _write(self.ca, self.secrets.ca_pem)

    def remove(self) -> None:
        """Delete every file of the stack's keys, and the folder unless another's file is in it."""
        for path in (self.client, self.known_hosts, self.ca, self.folder / _SEED):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
