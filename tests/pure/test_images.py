"""Package lists, keys and the cache of the guest images: everything about them that needs no build."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from halab.image import cache, spec
from halab.image.kernel import KernelError, zstd_payload


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    copy = tmp_path / "sources"
    shutil.copytree(spec.SOURCES, copy)
    return copy


def keys(sources: Path) -> dict[str, str]:
    return {name: spec.image_key(name, sources) for name in spec.NAMES}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_keys_are_the_same_for_the_same_sources(sources: Path) -> None:
    assert keys(sources) == keys(spec.SOURCES)
    assert len(set(keys(sources).values())) == len(spec.NAMES)


def test_a_package_added_to_one_image_changes_only_its_key(sources: Path) -> None:
    before = keys(sources)
    with (sources / "gateway.list").open("a") as file:
        file.write("tmux\n")
    assert changed(before, keys(sources)) == {"gateway"}


def test_a_package_added_to_the_base_changes_every_key(sources: Path) -> None:
    before = keys(sources)
    with (sources / "base.list").open("a") as file:
        file.write("tmux\n")
    assert changed(before, keys(sources)) == set(spec.NAMES)


def test_a_comment_or_another_order_in_a_list_changes_no_key(sources: Path) -> None:
    before = keys(sources)
    path = sources / "gateway.list"
    path.write_text("# reordered\n\n" + "\n".join(reversed(spec.packages("gateway", sources))) + "\n")
    assert changed(before, keys(sources)) == set()


@pytest.mark.parametrize("file", ["finish.sh", "assemble.sh", "initrd/init", "files/etc/ssh/sshd_config"])
def test_a_change_of_a_shared_file_builds_every_image_but_installs_no_package_again(sources: Path, file: str) -> None:
    before = keys(sources)
    layers = {name: spec.packages_key(name, sources) for name in spec.NAMES}
    with (sources / file).open("a") as opened:
        opened.write("\n# changed\n")
    assert changed(before, keys(sources)) == set(spec.NAMES)
    assert layers == {name: spec.packages_key(name, sources) for name in spec.NAMES}


def test_a_new_or_a_newly_executable_file_changes_the_keys(sources: Path) -> None:
    before = keys(sources)
    added = sources / "files" / "etc" / "motd"
    added.write_text("hello\n")
    with_file = keys(sources)
    added.chmod(0o755)
    assert changed(before, with_file) == set(spec.NAMES)
    assert changed(with_file, keys(sources)) == set(spec.NAMES)


def test_the_controllers_own_script_concerns_only_the_controller(sources: Path) -> None:
    before = keys(sources)
    with (sources / "controller.sh").open("a") as file:
        file.write("# changed\n")
    assert changed(before, keys(sources)) == {"controller"}


def test_every_file_under_images_is_in_some_key(sources: Path) -> None:
    files = [path for path in sources.rglob("*") if path.is_file()]
    for path in files:
        before, original = keys(sources), path.read_bytes()
        path.write_bytes(original + b"\nxz-utils\n")
        assert changed(before, keys(sources)), f"{path.relative_to(sources)} is in no key"
        path.write_bytes(original)


@pytest.mark.parametrize("name", spec.NAMES)
def test_no_package_is_listed_twice_in_an_image(name: str) -> None:
    listed = [*spec.packages("base"), *spec.packages(name)]
    assert sorted(listed) == sorted(set(listed))


@pytest.mark.parametrize("name", spec.NAMES)
def test_pacemaker_and_pacemaker_remote_are_never_in_one_image(name: str) -> None:
    assert not {"pacemaker", "pacemaker-remote"} <= {*spec.packages("base"), *spec.packages(name)}


@pytest.mark.parametrize("name", spec.NAMES)
def test_no_image_lists_a_package_that_breaks_a_lab(name: str) -> None:
    # fence-agents-all drags in 1.7 GB; sbd blocks pacemaker.service; cron jobs and upgrades disturb measurements.
    assert not {"fence-agents-all", "sbd", "unattended-upgrades", "cron"} & set(spec.packages(name))


def test_nothing_that_nfs_the_cluster_or_a_login_needs_is_masked() -> None:
    masked = set(spec.entries((spec.SOURCES / "masked-units.list").read_text()))
    needed = {
        "run-rpc_pipefs.mount",
        "proc-fs-nfsd.mount",
        "systemd-tmpfiles-setup.service",
        "systemd-sysctl.service",
        "systemd-modules-load.service",
        "systemd-udevd.service",
        "dbus.socket",
        "dbus.service",
        "ssh.service",
        "networking.service",
        "halab-console.service",
        "remote-fs.target",
        "nfs-client.target",
    }
    assert not masked & needed
    assert "systemd-fstab-generator" not in spec.entries((spec.SOURCES / "masked-generators.list").read_text())


def test_entries_leave_out_comments_and_empty_lines() -> None:
    assert spec.entries("# one\n\na\n  b \n#c\n") == ("a", "b")


def built(root: Path, name: str) -> Path:
    """A directory as a build leaves it, with small files."""
    directory = cache.image_directory(name, root)
    directory.mkdir(parents=True)
    for file in cache.FILES:
        (directory / file).write_bytes(file.encode() * 100)
    cache.write_manifest(directory, name, spec.image_key(name), {"base-files": "13.8"})
    return directory


def test_a_built_image_is_found_with_its_paths_key_and_packages(tmp_path: Path) -> None:
    directory = built(tmp_path, "gateway")
    image = cache.Image.cached("gateway", tmp_path)
    assert image is not None
    assert (image.qcow2, image.kernel, image.initrd) == tuple(directory / file for file in cache.FILES)
    assert image.key == spec.image_key("gateway")
    assert image.digest == cache.file_digest(directory / "root.qcow2")
    assert image.packages == {"base-files": "13.8"}
    assert cache.Image.cached("storage", tmp_path) is None


def test_a_truncated_file_makes_the_image_damaged_and_says_which(tmp_path: Path) -> None:
    directory = built(tmp_path, "gateway")
    (directory / "root.qcow2").write_bytes(b"short")
    assert cache.Image.cached("gateway", tmp_path) is None
    assert "root.qcow2 has 5 bytes" in str(cache.damage(directory))


def test_a_file_changed_in_place_is_damage_but_a_touched_one_is_not(tmp_path: Path) -> None:
    directory = built(tmp_path, "gateway")
    path = directory / "vmlinux"
    os.utime(path, (1, 1))
    assert cache.damage(directory) is None
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, (2, 2))
    assert "vmlinux" in str(cache.damage(directory))


def test_a_full_check_finds_a_change_that_kept_size_and_time(tmp_path: Path) -> None:
    directory = built(tmp_path, "gateway")
    path = directory / "root.qcow2"
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.damage(directory) is None
    assert "root.qcow2" in str(cache.damage(directory, full=True))


def test_a_manifest_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    directory = built(tmp_path, "gateway")
    (directory / "manifest.json").write_text("{")
    assert "manifest.json" in str(cache.damage(directory))
    (directory / "manifest.json").write_text(json.dumps({"name": "gateway"}))
    assert cache.Image.cached("gateway", tmp_path) is None


def test_only_images_of_other_sources_are_outdated(tmp_path: Path) -> None:
    directory = built(tmp_path, "gateway")
    old = directory.with_name("gateway-000000000000")
    directory.rename(old)
    built(tmp_path, "gateway")
    assert cache.outdated(tmp_path) == [old]


def bzimage(payload: bytes, protocol: int = 0x20F) -> bytes:
    image = bytearray(2048)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    image[0x206:0x208] = protocol.to_bytes(2, "little")
    image[0x248:0x24C] = (64).to_bytes(4, "little")
    image[0x24C:0x250] = (len(payload) + 4).to_bytes(4, "little")
    image[1024 + 64 : 1024 + 64 + len(payload) + 4] = payload + b"SIZE"
    return bytes(image)


def test_the_kernels_payload_is_found_by_its_header() -> None:
    frame = b"\x28\xb5\x2f\xfd" + b"frame"
    assert zstd_payload(bzimage(frame)) == frame


def test_a_kernel_of_another_compression_or_no_kernel_is_refused() -> None:
    with pytest.raises(KernelError, match="not compressed with zstd"):
        zstd_payload(bzimage(b"\x1f\x8b gzip"))
    with pytest.raises(KernelError, match="not a bzImage"):
        zstd_payload(bytes(4096))
