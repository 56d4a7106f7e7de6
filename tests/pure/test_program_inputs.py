"""What the program takes from the host when ./halab did not choose: without touching it in a preview."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components.topology import Topology
from components.variant import Hypervisor
from halab import program
from halab.errors import RefusedError
from halab.image.cache import FILES


@pytest.fixture(autouse=True)
def host(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without state and images, on which nothing is chosen yet."""
    monkeypatch.setenv("HALAB_STATE", str(state / "state"))
    monkeypatch.setenv("HALAB_CACHE", str(state / "cache"))
    monkeypatch.delenv(program.URI, raising=False)
    monkeypatch.delenv(program.DOMAIN_TYPE, raising=False)
    return state


def on(topology: Topology, uri: str, domain_type: str) -> Topology:
    return replace(topology, stack=replace(topology.stack, hypervisor=Hypervisor(uri, domain_type)))


def test_what_halab_chose_is_taken(collapsed: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program.URI, "qemu+unix:///system?socket=/x")
    monkeypatch.setenv(program.DOMAIN_TYPE, "qemu")
    asked = on(collapsed, "qemu+ssh://root@far/system", "kvm")
    assert program.hypervisor(asked, preview=False) == ("qemu+unix:///system?socket=/x", "qemu")


def test_without_halab_the_stack_files_word_is_taken(collapsed: Topology) -> None:
    asked = on(collapsed, "qemu+ssh://root@far/system", "kvm")
    assert program.hypervisor(asked, preview=False) == ("qemu+ssh://root@far/system", "kvm")


def test_a_preview_on_a_host_without_any_hypervisor_still_names_one(collapsed: Topology, host: Path) -> None:
    uri, domain_type = program.hypervisor(on(collapsed, "auto", "auto"), preview=True)
    assert "://" in uri
    assert domain_type in ("kvm", "qemu")
    assert list(host.iterdir()) == []


def test_a_preview_needs_no_images_and_an_up_says_how_to_get_them(collapsed: Topology) -> None:
    images = program.images(collapsed, preview=True)
    assert images.keys() == {node.image for node in collapsed.nodes}
    disks = [image.disk.digest for image in images.values()]
    assert len(set(disks)) == len(disks)
    with pytest.raises(RefusedError, match=r"not built .*\./halab image build"):
        program.images(collapsed, preview=False)


def test_built_images_are_known_by_their_content(
    collapsed: Topology, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from halab.image import cache

    for name in {node.image for node in collapsed.nodes}:
        folder = cache.image_directory(name)
        folder.mkdir(parents=True)
        for file in FILES:
            (folder / file).write_text("kernel of all" if file == "vmlinux" else f"{name} {file}")
        cache.write_manifest(folder, name, "key", {})
    images = program.images(collapsed, preview=False)
    assert len({image.kernel.digest for image in images.values()}) == 1
    assert len({image.disk.digest for image in images.values()}) == len(images)
    assert all(image.disk.path.read_text().endswith("root.qcow2") for image in images.values())


def test_keys_are_made_by_an_up_and_only_read_by_a_preview(collapsed: Topology, host: Path) -> None:
    assert program.keys(collapsed, preview=True).secrets != program.keys(collapsed, preview=True).secrets
    assert list(host.iterdir()) == []
    made = program.keys(collapsed, preview=False)
    assert made.client.exists()
    assert program.keys(collapsed, preview=True) == program.keys(collapsed, preview=False) == made
