"""The Pulumi CLI and its plugins at the pinned versions: what is there, and fetching them, verified by checksum.

Checksums are those the publisher puts beside each release (`*checksums.txt`), fetched at the same time: they prove the
download whole and the one the publisher lists, not more. Their algorithm is told by their length; the libvirt plugin's
release has been seen to list SHA-1.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from halab.host import pins
from halab.host.apt import version_tuple

GITHUB = "https://github.com/pulumi"
_ALGORITHMS = {40: "sha1", 64: "sha256", 128: "sha512"}
_TIMEOUT = 20.0


class PulumiCliError(Exception):
    """The CLI or a plugin could not be fetched, verified or installed."""


@dataclass(frozen=True, slots=True)
class Release:
    """One archive of a release and the file that lists its checksum; URLs below `base`."""

    name: str
    archive: str
    checksums: str

    @property
    def archive_name(self) -> str:
        return self.archive.rpartition("/")[2]


def cli_release() -> Release:
    """The CLI of the pinned version, for x86_64."""
    version = pins.CLI
    folder = f"pulumi/releases/download/v{version}"
    return Release(
        f"pulumi {version}",
        f"{folder}/pulumi-v{version}-linux-x64.tar.gz",
        f"{folder}/pulumi-{version}-checksums.txt",
    )


def plugin_release(plugin: str) -> Release:
    """The plugin of the pinned version, for x86_64. Raises KeyError for one that is not pinned."""
    version = pins.PLUGINS[plugin]
    folder = f"pulumi-{plugin}/releases/download/v{version}"
    return Release(
        f"plugin {plugin} {version}",
        f"{folder}/pulumi-resource-{plugin}-v{version}-linux-amd64.tar.gz",
        f"{folder}/pulumi-{plugin}_{version}_checksums.txt",
    )


def home() -> Path:
    """Pulumi's own folder: $PULUMI_HOME or ~/.pulumi."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def cli() -> Path | None:
    """The `pulumi` to run: on PATH, else where its installer puts it."""
    found = shutil.which("pulumi") or shutil.which("pulumi", path=str(home() / "bin"))
    return Path(found) if found else None


def lacking() -> list[str]:
    """What is not there of CLI and plugins at usable versions, a few words each; empty: the CLI engine can be used."""
    path = cli()
    if path is None:
        return ["no pulumi CLI"]
    done = subprocess.run(
        [path, "version"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
    )
    version = version_tuple(done.stdout.strip().removeprefix("v"))
    found = []
    if version < pins.OLDEST_CLI:
        found.append(f"pulumi {done.stdout.strip() or 'of unknown version'}, older than {_dotted(pins.OLDEST_CLI)}")
    for plugin, wanted in pins.PLUGINS.items():
        folder = home() / "plugins" / f"resource-{plugin}-v{wanted}"
        if not (folder / f"pulumi-resource-{plugin}").is_file():
            found.append(f"no plugin {plugin} {wanted}")
    return found


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def checksum_of(listing: str, name: str) -> tuple[str, str]:
    """The algorithm and hex digest that a `*sums` listing gives for a file. Raises PulumiCliError without one."""
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].lstrip("*").removeprefix("./") == name:
            algorithm = _ALGORITHMS.get(len(words[0]))
            if algorithm is not None:
                return algorithm, words[0].lower()
    raise PulumiCliError(f"{name} is not in its release's list of checksums: not installed")


def reachable(base: str = GITHUB) -> bool:
    """Whether the releases can be fetched from here."""
    try:
        request = urllib.request.Request(f"{base}/{cli_release().checksums}", method="HEAD")
        with urllib.request.urlopen(request, timeout=5):
            return True
    except (OSError, ValueError):
        return False


def install(say: Callable[[str], None], base: str = GITHUB) -> None:
    """Fetch, verify and install what `lacking` lists, into `home()`. Raises PulumiCliError."""
    with tempfile.TemporaryDirectory(prefix="halab-pulumi-") as folder:
        work = Path(folder)
        problems = lacking()
        if cli() is None or any(problem.startswith("pulumi ") for problem in problems):
            archive = fetch(cli_release(), work, base, say)
            _unpack_cli(archive, home() / "bin")
            say(f"installed {home() / 'bin' / 'pulumi'}")
        for plugin in pins.PLUGINS:
            if not (home() / "plugins" / f"resource-{plugin}-v{pins.PLUGINS[plugin]}").is_dir():
                _install_plugin(plugin, fetch(plugin_release(plugin), work, base, say), say)


def fetch(release: Release, work: Path, base: str, say: Callable[[str], None]) -> Path:
    """Download a release's archive into `work` and verify it. Raises PulumiCliError."""
    algorithm, expected = checksum_of(
        _read(f"{base}/{release.checksums}").decode(errors="replace"), release.archive_name
    )
    path = work / release.archive_name
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("wb") as out:
        for block in _blocks(f"{base}/{release.archive}"):
            digest.update(block)
            out.write(block)
    if digest.hexdigest() != expected:
        raise PulumiCliError(
            f"{release.name}: {algorithm} of the download is {digest.hexdigest()}, its release lists {expected}: "
            "not installed"
        )
    say(f"{release.name}: {algorithm} as its release lists it")
    return path


def _read(url: str) -> bytes:
    return b"".join(_blocks(url))


def _blocks(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            while block := answer.read(1 << 20):
                yield block
    except (OSError, ValueError) as error:
        raise PulumiCliError(f"{url}: {error}; where the internet cannot be reached the embedded engine does") from None


def _unpack_cli(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            source = tar.extractfile(member) if member.isreg() else None
            if source is None or not name.startswith("pulumi"):
                continue
            beside = folder / f".{name}.new"
            with source, beside.open("wb") as out:
                shutil.copyfileobj(source, out)
            beside.chmod(0o755)
            beside.replace(folder / name)
    if not (folder / "pulumi").is_file():
        raise PulumiCliError(f"{archive.name} holds no pulumi")


def _install_plugin(plugin: str, archive: Path, say: Callable[[str], None]) -> None:
    path = cli()
    if path is None:
        raise PulumiCliError("no pulumi CLI to install its plugins with")
    command = [str(path), "plugin", "install", "resource", plugin, pins.PLUGINS[plugin], "--file", str(archive)]
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )
    if done.returncode:
        raise PulumiCliError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    say(f"installed plugin {plugin} {pins.PLUGINS[plugin]}")
