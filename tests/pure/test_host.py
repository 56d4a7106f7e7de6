"""What the host needs and how it is got: the parts that are data and text."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from halab.host import apt, machine, pins, probe
from halab.host.doctor import Verdict, how_to_get, judge_memory
from halab.host.pulumi_cli import PulumiCliError, checksum_of, cli_release, plugin_release
from halab.host.requirements import (
    CODENAME,
    REQUIREMENTS,
    Need,
    Release,
    missing,
    packages_for,
    release_of,
    wanted,
)
from halab.stacks import host
from halab.stacks.budget import RESERVE

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/d.gpg] http://mirror.example/debian bookworm main contrib # trailing
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
"""
DEB822 = """
Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example/
Suites: bookworm
Components: main
"""
EMBEDDED_KEY = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_sources_are_read_with_their_options() -> None:
    first, second = apt.parse_one_line(ONE_LINE)
    assert first == apt.Source(
        "http://mirror.example/debian",
        "bookworm",
        ("main", "contrib"),
        "/usr/share/keyrings/d.gpg",
        (("arch", "amd64"),),
    )
    assert second.suite == "bookworm-security"


def test_deb822_sources_are_read_and_disabled_and_source_only_ones_left_out() -> None:
    found = apt.parse_deb822(DEB822)
    assert [(one.uri, one.suite) for one in found] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
    ]


@pytest.mark.parametrize("sources", [apt.parse_one_line(ONE_LINE), apt.parse_deb822(DEB822)], ids=["list", "deb822"])
def test_backports_come_from_the_hosts_own_mirror_and_key(sources: list[apt.Source]) -> None:
    found = apt.backports(sources, "bookworm")
    assert found is not None
    assert found.uri == "http://mirror.example/debian"
    assert found.suite == "bookworm-backports"
    assert found.components == ("main",)
    assert found.signed_by == sources[0].signed_by
    assert apt.parse_deb822(apt.render_deb822(found)) == [
        apt.Source(found.uri, found.suite, found.components, found.signed_by, _as_deb822(found.options))
    ]


def _as_deb822(options: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(("architectures" if key == "arch" else key, value) for key, value in options)


def test_a_key_inside_the_source_is_kept_whole() -> None:
    (source,) = apt.parse_deb822(EMBEDDED_KEY)
    assert source.signed_by is not None
    found = apt.backports([source], "bookworm")
    assert found is not None
    text = apt.render_deb822(found)
    assert " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n" in text
    assert apt.parse_deb822(text)[0].signed_by == source.signed_by


def test_without_a_main_archive_of_the_release_nothing_is_derived() -> None:
    assert apt.backports(apt.parse_deb822(DEB822), "trixie") is None


def test_backports_already_there_are_seen() -> None:
    assert not apt.has_backports(apt.parse_deb822(DEB822), "bookworm")
    there = DEB822.replace("bookworm-updates", "bookworm-updates bookworm-backports")
    assert apt.has_backports(apt.parse_deb822(there), "bookworm")


def test_all_files_of_the_host_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d" / "more.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "old.list.save").write_text(ONE_LINE)
    assert len(apt.read_sources(tmp_path)) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:10.0.2+ds-2+deb13u1~bpo12+1", (10, 0, 2)),
        ("QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)", (8, 2, 2)),
        ("3.272.0", (3, 272, 0)),
        ("nothing", ()),
    ],
)
def test_versions_are_read_from_packages_and_programs(text: str, expected: tuple[int, ...]) -> None:
    assert apt.version_tuple(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_ID="12"\n', Release.DEBIAN_12),
        ('NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\n', Release.UBUNTU_2404),
        ("ID=fedora\nVERSION_ID=42\n", None),
        ("ID=debian\n", None),
    ],
)
def test_the_release_is_told_from_os_release(text: str, expected: Release | None) -> None:
    assert release_of(text) is expected


def test_debian_12_takes_qemu_and_libvirt_from_backports_and_the_others_take_nothing_from_there() -> None:
    everything = wanted(Need)
    old = packages_for(everything, Release.DEBIAN_12)
    assert {"qemu-system-x86", "qemu-utils", "libvirt-daemon"} <= set(old.backports)
    assert not set(old.plain) & set(old.backports)
    for release in (Release.DEBIAN_13, Release.UBUNTU_2404):
        assert packages_for(everything, release).backports == ()


def test_what_exists_is_not_missing_and_any_alternative_is_enough() -> None:
    assert missing(lambda name: True, Need) == []
    assert missing(lambda name: False, Need) == list(REQUIREMENTS)
    busybox = [one for one in missing(lambda name: name != "/usr/bin/busybox", Need) if one.name == "static busybox"]
    assert busybox == []


def test_a_stack_on_a_system_libvirtd_needs_no_libvirtd_of_halabs() -> None:
    assert not any(one.name == "libvirtd" for one in wanted([Need.ALWAYS]))
    assert any(one.name == "libvirtd" for one in wanted([Need.ALWAYS, Need.EMBEDDED]))


def test_every_release_has_a_codename() -> None:
    assert set(CODENAME) == set(Release)


def test_who_is_not_root_is_told_what_to_ask_for() -> None:
    qemu = REQUIREMENTS[0]
    assert how_to_get(qemu, Release.DEBIAN_12, root=False) == "ask the admin for package qemu-system-x86 from backports"
    assert "doctor --install" in how_to_get(qemu, Release.DEBIAN_13, root=True)


@pytest.mark.parametrize(
    ("total", "available", "verdict"),
    [
        (16000 + RESERVE - 1, 17000, Verdict.FAIL),
        (16000 + RESERVE, 15999, Verdict.WARN),
        (24000, 20000, Verdict.OK),
    ],
)
def test_memory_is_judged_by_what_the_vms_have_together(total: int, available: int, verdict: Verdict) -> None:
    assert judge_memory(16000, total, available).verdict is verdict


def test_the_pinned_cli_and_plugins_are_those_of_the_sdks() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert f"pulumi=={pins.CLI}" in project["dependencies"]
    for plugin, version in pins.PLUGINS.items():
        assert f"pulumi-{plugin}=={version}" in project["dependencies"]


def test_releases_are_named_as_their_publisher_names_them() -> None:
    assert cli_release().archive_name == f"pulumi-v{pins.CLI}-linux-x64.tar.gz"
    assert plugin_release("libvirt").archive_name == "pulumi-resource-libvirt-v0.5.4-linux-amd64.tar.gz"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{'a' * 64}  pulumi.tar.gz", ("sha256", "a" * 64)),
        (f"{'B' * 40}  ./pulumi.tar.gz", ("sha1", "b" * 40)),
        (f"{'c' * 64} *pulumi.tar.gz", ("sha256", "c" * 64)),
    ],
)
def test_a_checksum_is_found_in_a_release_listing(line: str, expected: tuple[str, str]) -> None:
    assert checksum_of(f"{'0' * 64}  other-pulumi.tar.gz\n{line}\n", "pulumi.tar.gz") == expected


def test_a_file_that_its_release_does_not_list_is_refused() -> None:
    with pytest.raises(PulumiCliError, match="not in its release's list"):
        checksum_of(f"{'0' * 64}  other-pulumi.tar.gz\nshort  pulumi.tar.gz\n", "pulumi.tar.gz")


def test_the_boot_sector_is_a_boot_sector() -> None:
    assert len(probe.sector()) == 512
    assert probe.sector()[-2:] == b"\x55\xaa"


def test_the_initrd_is_a_cpio_archive_of_a_console_and_an_init(tmp_path: Path) -> None:
    cpio = shutil.which("cpio")
    names = [b"dev\0", b"dev/console\0", b"init\0", b"TRAILER!!!\0"]
    positions = [probe.initrd().index(name) for name in names]
    assert positions == sorted(positions)
    if cpio is not None:
        done = subprocess.run([cpio, "-t"], input=probe.initrd(), capture_output=True, check=True)
        assert done.stdout.split() == [b"dev", b"dev/console", b"init"]


@pytest.mark.skipif(shutil.which("as") is None or shutil.which("objcopy") is None, reason="needs binutils")
@pytest.mark.parametrize(("source", "code"), [("init.S", probe.INIT_CODE), ("sector.S", probe.SECTOR_CODE)])
def test_the_probe_guests_are_what_their_sources_assemble_to(source: str, code: bytes, tmp_path: Path) -> None:
    path = Path(probe.__file__).with_name("guest") / source
    subprocess.run(["as", "--64", "-o", tmp_path / "o", path], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "bin"], check=True)
    built = (tmp_path / "bin").read_bytes()
    assert built[: len(code)] == code
    assert not built[len(code) :].rstrip(b"\x55\xaa").strip(b"\0")


@pytest.mark.parametrize(
    ("written", "expected"),
    [("4294967296\n", 4096), ("max\n", None), ("9223372036854771712\n", None), (None, None)],
    ids=["a limit", "none in v2", "none in v1", "no cgroups"],
)
def test_the_limit_of_the_control_group_counts_where_there_is_one(
    written: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.max"
    if written is not None:
        file.write_text(written)
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (str(tmp_path / "absent"), str(file)))
    assert machine.memory_limit() == (None if expected is None else (expected, str(file)))
    total = machine.meminfo("MemTotal")
    assert host.memory() == min(total, expected or total)
