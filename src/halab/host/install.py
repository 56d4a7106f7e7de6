"""Installing what is missing, with apt, on the releases halab knows. Nothing runs before the caller has consented."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from halab.host import apt
from halab.host.requirements import (
    CODENAME,
    REQUIREMENTS,
    UNWANTED_UNITS,
    Packages,
    Release,
    Requirement,
    packages_for,
)

BACKPORTS_FILE = Path("/etc/apt/sources.list.d/halab-backports.sources")
POLICY_RC_D = Path("/usr/sbin/policy-rc.d")
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class InstallError(Exception):
    """A package could not be installed; the message names the command, its log and what to try."""


def find(name: str) -> str | None:
    """The path of a command (the sbin folders included), the first match of a glob, or a user."""
    if name.startswith("user:"):
        return name if name.removeprefix("user:") in {entry.pw_name for entry in pwd.getpwall()} else None
    if name.startswith("/"):
        return next(iter(sorted(glob.glob(name))), None)
    return shutil.which(name, path=_SEARCH)


def exists(name: str) -> bool:
    """Whether `find` finds it."""
    return find(name) is not None


def qemu_version() -> tuple[int, ...]:
    """The version of qemu-system-x86_64; empty when it is not installed or does not start."""
    binary = find("qemu-system-x86_64")
    if binary is None:
        return ()
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    return apt.version_tuple(done.stdout)


def plan(lacking: list[Requirement], release: Release, log: Path) -> list[str]:
    """What `install` would do, a line each, for the question to the user."""
    packages = packages_for(lacking, release)
    lines = []
    if packages.backports and not apt.has_backports(apt.read_sources(), CODENAME[release]):
        lines.append(f"add {BACKPORTS_FILE} ({CODENAME[release]}-backports from this host's own mirror)")
    if packages.backports:
        lines.append(f"apt-get install from backports: {' '.join(packages.backports)}")
    if packages.plain:
        lines.append(f"apt-get install: {' '.join(packages.plain)}")
    if lines:
        lines.append(f"services of these packages are neither started nor enabled; log: {log}")
    return lines


def install(lacking: list[Requirement], release: Release, log: Path, say: Callable[[str], None]) -> None:
    """Install what brings `lacking`. As root. Raises InstallError."""
    packages = packages_for(lacking, release)
    if not packages:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    if packages.backports:
        _add_backports(release, say)
    enabled_before = _unit_files()
    with _no_service_starts():
        _apt_get(["update"], log, say)
        for arguments in _commands(packages, release):
            _apt_get(arguments, log, say)
    _disable(_unit_files() - enabled_before, log, say)
    still = [r.name for r in lacking if not any(exists(one) for one in r.anyof)]
    if still:
        raise InstallError(f"installed, but still not found: {', '.join(still)}; see {log}")


def _commands(packages: Packages, release: Release) -> Iterator[list[str]]:
    base = ["install", "--yes", "--no-install-recommends"]
    if packages.backports:
        yield [*base, "--target-release", f"{CODENAME[release]}-backports", *packages.backports]
    if packages.plain:
        yield [*base, *packages.plain]


def _add_backports(release: Release, say: Callable[[str], None]) -> None:
    sources = apt.read_sources()
    codename = CODENAME[release]
    if apt.has_backports(sources, codename):
        return
    source = apt.backports(sources, codename)
    if source is None:
        raise InstallError(
            f"no apt source for {codename} main in /etc/apt: cannot derive {codename}-backports; add it by hand"
        )
    BACKPORTS_FILE.write_text(apt.render_deb822(source))
    BACKPORTS_FILE.chmod(0o644)
    say(f"added {BACKPORTS_FILE}")


def _apt_get(arguments: list[str], log: Path, say: Callable[[str], None]) -> None:
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root", *arguments]
    say(" ".join(["apt-get", *arguments]))
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, check=False)
    if done.returncode:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1]
        raise InstallError(f"apt-get {arguments[0]} failed ({done.returncode}): {last}; see {log}, then run it again")


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """invoke-rc.d asks policy-rc.d before it starts a service; a policy already there is the admin's and stays."""
    if POLICY_RC_D.exists() or POLICY_RC_D.is_symlink():
        yield
        return
    POLICY_RC_D.write_text("#!/bin/sh\nexit 101\n")
    POLICY_RC_D.chmod(0o755)
    try:
        yield
    finally:
        POLICY_RC_D.unlink(missing_ok=True)


def _unit_files() -> set[str]:
    folders = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
    return {unit for unit in UNWANTED_UNITS if any((folder / unit).exists() for folder in folders)}


def _disable(units: set[str], log: Path, say: Callable[[str], None]) -> None:
    systemctl = shutil.which("systemctl")
    if systemctl is None or not units:
        return
    with log.open("ab") as out:
        done = subprocess.run(
            [systemctl, "disable", *sorted(units)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode:
        raise InstallError(f"systemctl disable {' '.join(sorted(units))} failed ({done.returncode}); see {log}")
    say(f"disabled {len(units)} units that came with the packages")


__all__ = ["BACKPORTS_FILE", "REQUIREMENTS", "InstallError", "exists", "find", "install", "plan", "qemu_version"]
