"""The embedded hypervisor's paths, configuration texts and reading of /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from halab.embedded.hypervisor import FenceGroup, HypervisorError, Paths, state_folder
from halab.embedded.hypervisor.daemons import libvirtd_conf, qemu_conf
from halab.embedded.hypervisor.fence import render
from halab.embedded.hypervisor.processes import Mount, origin_of, parse_mountinfo, role_of

MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 254:1 /@home /srv/two\040words rw - btrfs /dev/vdb rw
31 22 254:1 /@home/x/run /run rw - btrfs /dev/vdb rw
"""


def test_a_mount_table_is_read_with_its_escapes() -> None:
    assert parse_mountinfo(MOUNTINFO)[1] == Mount("254:1", "/@home", "/srv/two words")


def test_a_folder_is_traced_to_its_file_system_as_a_bind_mount_of_it_would_show() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert origin_of(Path("/srv/two words/x/run"), mounts) == Mount("254:1", "/@home/x/run", "")
    assert origin_of(Path("/srv/two words"), mounts) == Mount("254:1", "/@home", "")
    assert origin_of(Path("/srv/two"), mounts) == Mount("254:0", "/srv/two", "")


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (("halab-stack-a", "infinity"), "holder"),
        (("/usr/sbin/libvirtd", "--daemon"), "libvirtd"),
        (("/usr/bin/qemu-system-x86_64", "-name", "guest=n1,debug-threads=on", "-S"), "qemu:n1"),
        (("/usr/bin/qemu-system-x86_64", "-S", "-machine", "none"), "qemu-system-x86_64"),
        ((), "?"),
    ],
)
def test_a_command_line_tells_the_role(argv: tuple[str, ...], role: str) -> None:
    assert role_of(argv) == role


def test_the_state_folder_may_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HALAB_STATE", str(tmp_path))
    assert state_folder() == tmp_path
    assert Paths.of("collapsed").root == tmp_path / "stacks" / "collapsed"


def test_the_uri_names_the_stacks_own_socket(tmp_path: Path) -> None:
    paths = Paths.of("a", tmp_path)
    assert paths.uri == f"qemu+unix:///system?socket={tmp_path}/stacks/a/run/libvirt/libvirt-sock"


@pytest.mark.parametrize("stack", ["", "../up", "a/b", ".hidden", "-f", "x" * 65, "a b", "a\n"])
def test_a_stack_name_that_is_no_plain_file_name_is_refused(stack: str, tmp_path: Path) -> None:
    with pytest.raises(HypervisorError, match="stack name"):
        Paths.of(stack, tmp_path)


def test_a_socket_path_too_long_for_the_kernel_is_refused_in_time() -> None:
    with pytest.raises(HypervisorError, match="too long for a socket: set HALAB_STATE"):
        Paths.of("a", Path("/" + "d" * 90))


@pytest.mark.parametrize("state", ["/run/halab", "/var/lib/libvirt/halab"])
def test_a_state_folder_that_the_stacks_own_mounts_would_cover_is_refused(state: str) -> None:
    with pytest.raises(HypervisorError, match="would vanish"):
        Paths.of("a", Path(state))


def test_qemu_is_unprivileged_and_confined_as_the_host_confines() -> None:
    text = qemu_conf("libvirt-qemu", 107)
    assert 'user = "libvirt-qemu"' in text
    assert "dynamic_ownership = 1" in text
    assert "cgroup_controllers = []" in text
    assert "security_driver" not in text


def test_the_host_uuid_is_the_stacks_and_stays() -> None:
    assert libvirtd_conf("a") == libvirtd_conf("a")
    assert libvirtd_conf("a") != libvirtd_conf("b")


def test_fence_virtd_hears_one_bridge_and_knows_who_may_fence_whom() -> None:
    groups = [FenceGroup("c1", ("10.0.0.1",), ("c2", "uuid-2"))]
    text = render("hl1c", Path("/keys/k"), "qemu:///system", Path("/usr/lib/fence-virt"), groups)
    compact = " ".join(text.split())
    assert 'interface = "hl1c";' in compact
    assert 'key_file = "/keys/k";' in compact
    assert 'group { name = "c1"; ip = "10.0.0.1"; uuid = "c2"; uuid = "uuid-2"; }' in compact
    assert text.count("{") == text.count("}")


def test_a_value_that_would_break_out_of_its_quotes_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        render('br"; x', Path("/k"), "qemu:///system", Path("/m"), [])
