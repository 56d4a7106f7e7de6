"""The host's parts that run programs: the KVM probe, the launcher, fetching the Pulumi CLI."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from halab.host import pins, probe, pulumi_cli
from halab.host.install import find
from tests.engine.ssh_server import until

CHECKOUT = Path(__file__).parents[2]
QEMU = find("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="needs qemu-system-x86_64, which `halab doctor` installs")


@needs_qemu
def test_a_kernel_that_boots_nowhere_says_nothing_about_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_CONTROL_LIMIT", 3.0)
    assert QEMU is not None
    broken = tmp_path / "vmlinuz"
    broken.write_bytes(b"not a kernel" * 1000)
    answer = probe.probe(QEMU, [broken])
    assert "boot sector" in answer.how


@needs_qemu
@pytest.mark.skipif(not probe.kernels(), reason="needs a kernel: of a built image, or the host's own in /boot")
@pytest.mark.timeout(600)
def test_the_probe_guest_reaches_userspace_where_there_is_no_question_of_kvm(tmp_path: Path) -> None:
    assert QEMU is not None
    (tmp_path / "initrd").write_bytes(probe.initrd())
    alive, seen, _ = probe._boot_kernel(QEMU, probe.kernels()[0], tmp_path, "tcg", 250)
    assert alive, seen


@needs_qemu
def test_the_boot_sector_reaches_long_mode_under_emulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert QEMU is not None
    (tmp_path / "sector").write_bytes(probe.sector())
    real = probe._machine
    monkeypatch.setattr(probe, "_machine", lambda qemu, _, memory: real(qemu, "tcg", memory))
    monkeypatch.setattr(probe, "SECTOR_LIMIT", 100.0)
    alive, seen, _ = probe._boot_sector(QEMU, tmp_path)
    assert alive, seen


@needs_qemu
@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="without a usable /dev/kvm nothing is booted")
def test_the_answer_is_kept_until_the_next_boot_of_the_host(tmp_path: Path) -> None:
    first = probe.virt_type(tmp_path, [])
    kept = tmp_path / "probe.json"
    kept.write_text(kept.read_text().replace(first.seen[:10].replace('"', '\\"'), "from file "))
    assert probe.virt_type(tmp_path, []).seen.startswith("from file ")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kept.write_text(kept.read_text().replace(boot, "another boot"))
    assert not probe.virt_type(tmp_path, []).seen.startswith("from file ")


FAKE_PULUMI = f"""#!/bin/sh
if [ "$1" = version ]; then echo v{pins.CLI}; exit; fi
if [ "$1 $2 $3" = "plugin install resource" ]; then
    mkdir -p "$PULUMI_HOME/plugins/resource-$4-v$5"
    tar xzf "$7" -C "$PULUMI_HOME/plugins/resource-$4-v$5"; exit
fi
exit 9
"""


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A web server with a CLI and plugins as their publisher lays them out: its folder and its base URL."""
    root = tmp_path / "web"
    contents = {
        pulumi_cli.cli_release(): archive({"pulumi/pulumi": FAKE_PULUMI.encode(), "../../escaped": b"x"}),
        **{pulumi_cli.plugin_release(name): archive({f"pulumi-resource-{name}": b"plugin"}) for name in pins.PLUGINS},
    }
    for release, content in contents.items():
        (root / release.archive).parent.mkdir(parents=True, exist_ok=True)
        (root / release.archive).write_bytes(content)
        # as published: SHA-256 for the CLI, SHA-1 with a leading ./ for the libvirt plugin
        old = "libvirt" in release.name
        digest = (hashlib.sha1 if old else hashlib.sha256)(content).hexdigest()
        (root / release.checksums).write_text(f"{digest}  {'./' if old else ''}{release.archive_name}\n")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    handler = partial(SimpleHTTPRequestHandler, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(shutil.which("pulumi", path="/usr/bin:/bin") is not None, reason="a Pulumi CLI is installed")
def test_the_pulumi_cli_and_plugins_are_fetched_verified_and_installed(
    releases: tuple[Path, str], tmp_path: Path
) -> None:
    said: list[str] = []
    assert pulumi_cli.lacking() == ["no pulumi CLI"]
    until(lambda: pulumi_cli.reachable(releases[1]), "an answer within the few seconds that it is given")
    pulumi_cli.install(said.append, releases[1])
    assert pulumi_cli.lacking() == []
    assert any("sha256 as its release lists it" in line for line in said)
    assert any("plugin libvirt" in line and "sha1" in line for line in said)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.skipif(shutil.which("pulumi", path="/usr/bin:/bin") is not None, reason="a Pulumi CLI is installed")
def test_a_download_that_differs_from_its_checksum_is_not_installed(releases: tuple[Path, str], tmp_path: Path) -> None:
    (releases[0] / pulumi_cli.cli_release().archive).write_bytes(archive({"pulumi/pulumi": b"tampered"}))
    with pytest.raises(pulumi_cli.PulumiCliError, match=r"sha256 of the download is .* not installed"):
        pulumi_cli.install(print, releases[1])
    assert not (tmp_path / "home").exists()


def test_where_the_internet_cannot_be_reached_it_is_said_in_one_line(tmp_path: Path) -> None:
    assert not pulumi_cli.reachable("http://127.0.0.1:9")
    with pytest.raises(pulumi_cli.PulumiCliError, match=r"^http://127.0.0.1:9/\S+: .*embedded engine"):
        pulumi_cli.fetch(pulumi_cli.cli_release(), tmp_path, "http://127.0.0.1:9", print)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder whose environment for this checkout is the one the tests run in."""
    cache = tmp_path / "cache"
    key = hashlib.sha256((CHECKOUT / "pyproject.toml").read_bytes()).hexdigest()[:16]
    venv = cache / "venv" / key
    (venv / "bin").mkdir(parents=True)
    interpreter = venv / "bin" / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    (venv / ".ready").write_text(f"{interpreter.resolve()}\n")
    return cache


def halab(
    cache: Path, *arguments: str, script: Path = CHECKOUT / "halab", **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HALAB_CACHE": str(cache), **more}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=cache, timeout=280
    )


def test_the_launcher_runs_from_any_folder_and_by_any_link(cache: Path, tmp_path: Path) -> None:
    (cache / "yaml.py").write_text("raise SystemExit('the folder halab is called from was searched for modules')")
    link = tmp_path / "a link"
    link.symlink_to(CHECKOUT / "halab")
    for script in (CHECKOUT / "halab", link):
        done = halab(cache, "--help", script=script)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "preview" in done.stdout


@pytest.mark.timeout(600)
def test_an_environment_of_another_python_is_made_anew_and_its_failure_told_in_one_line(cache: Path) -> None:
    (stamp,) = cache.glob("venv/*/.ready")
    stamp.write_text("/usr/bin/python3.10\n")
    done = halab(cache, "--help", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("halab: setting up its Python environment, once (log: ")
    assert "failed: ERROR: No matching distribution found" in second
    assert not stamp.exists()
