"""What of snapshots needs no VM: keys, manifests, another stack's state, what is kept and what goes."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from components.images import Image, ImageFile
from components.topology import derive
from components.variant import CONFIG_KEY, Stack, load, parse
from halab.actions.fork import document
from halab.embedded.engine import state as engine_state
from halab.embedded.engine.checkpoint import Loaded
from halab.embedded.engine.references import check_integrity
from halab.embedded.engine.state import Resource
from halab.embedded.engine.values import Ref
from halab.embedded.provider import Secret
from halab.errors import RefusedError
from halab.snapshot import disks, host, intent, manifest, ram, save, state, store
from halab.snapshot.intent import Intent, Phase
from halab.snapshot.key import key
from halab.snapshot.manifest import DamagedError, Guest, Host, Manifest
from halab.snapshot.state import Names
from halab.snapshot.store import Place
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]
HERE = Host("embedded", "qemu", "10.0.2", "")
FILE = ImageFile(Path("/images/root.qcow2"), "a" * 64)
IMAGES = {name: Image(FILE, FILE, FILE) for name in ("controller", "compute", "storage", "gateway")}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load(ROOT, "collapsed")


# Keys.


def test_the_key_is_the_same_in_every_process(stack: Stack) -> None:
    code = (
        "from pathlib import Path\nimport sys\nsys.path[:0] = sys.argv[1:]\n"
        "from tests.pure.test_snapshot import HERE, IMAGES, ROOT\n"
        "from components.variant import load\nfrom halab.snapshot.key import key\n"
        "print(key(load(ROOT, 'collapsed'), IMAGES, HERE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(ROOT / "src")],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == key(stack, IMAGES, HERE)


@pytest.mark.parametrize(
    "change",
    [
        lambda stack: replace(stack, name="other"),
        lambda stack: replace(stack, timers=replace(stack.timers, token=12_000)),
        lambda stack: replace(stack, roles=(replace(stack.roles[0], memory=4096), *stack.roles[1:])),
        lambda stack: replace(stack, cluster=replace(stack.cluster, manages=frozenset())),
        lambda stack: replace(stack, hypervisor=replace(stack.hypervisor, disk_cache="none")),
    ],
)
def test_another_name_size_timer_or_recipe_is_another_key(stack: Stack, change: Callable[[Stack], Stack]) -> None:
    assert key(change(stack), IMAGES, HERE) != key(stack, IMAGES, HERE)


def test_another_image_emulator_or_kind_of_vm_is_another_key(stack: Stack) -> None:
    rebuilt = {**IMAGES, "storage": Image(replace(FILE, digest="b" * 64), FILE, FILE)}
    known = key(stack, IMAGES, HERE)
    assert key(stack, rebuilt, HERE) != known
    assert key(stack, IMAGES, replace(HERE, qemu="10.1.0")) != known
    assert key(stack, IMAGES, replace(HERE, domain_type="kvm", cpu="x")) != known


def test_a_changed_recipe_is_another_key(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    known = key(stack, IMAGES, HERE)
    monkeypatch.setattr("components.recipe._text", lambda path: path.read_text() + "\n# changed\n")
    assert key(stack, IMAGES, HERE) != known


def test_where_an_image_lies_does_not_matter_and_a_fork_has_the_key_of_its_original(stack: Stack) -> None:
    moved = {name: Image(replace(FILE, path=Path("/elsewhere")), FILE, FILE) for name in IMAGES}
    assert key(stack, moved, HERE) == key(stack, IMAGES, HERE)
    fork = replace(stack, name="mine", fork_of="collapsed", hypervisor=replace(stack.hypervisor, uri="embedded"))
    assert key(fork, IMAGES, HERE) == key(stack, IMAGES, HERE)


# Forks.


def test_a_forks_stack_file_is_the_originals_but_for_its_place(stack: Stack) -> None:
    text = (ROOT / "stacks" / "Pulumi.collapsed.yaml").read_text()
    made = document(text, Workspace(ROOT, derive(stack), Path("/nowhere")))
    fork = parse("mine", yaml.safe_load(made)["config"][CONFIG_KEY])
    assert fork.cloud == "collapsed"
    assert fork.hypervisor.uri == "embedded"
    first, second = derive(stack), derive(fork)
    assert (second.nodes, second.networks, second.vips, second.clusters) == (
        first.nodes,
        first.networks,
        first.vips,
        first.clusters,
    )
    assert (second.prefix, second.domain) == (first.prefix, first.domain)


WAS, NOW = Names("collapsed", "/state/stacks/collapsed"), Names("mine", "/other/stacks/mine")
STACK = "urn:pulumi:collapsed::halab::pulumi:pulumi:Stack::halab-collapsed"
LAB = "urn:pulumi:collapsed::halab::halab:lab:Lab::collapsed"
PROVIDER = "urn:pulumi:collapsed::halab::halab:lab:Lab$pulumi:providers:libvirt::libvirt"
FENCING = "urn:pulumi:collapsed::halab::halab:lab:Lab$command:local:Command::fencing"
URI = "qemu+unix:///system?socket=/state/stacks/collapsed/run/libvirt/libvirt-sock"


def known_state() -> Loaded:
    fencing = {
        "create": "./halab fence-daemon start --stack collapsed",
        "stdin": Secret(json.dumps({"uri": URI, "domains": ["halab-collapsed-controller-1"]})),
    }
    return Loaded(
        (
            Resource(STACK, "pulumi:pulumi:Stack", False, outputs={"ca": "/state/stacks/collapsed/keys/ca.pem"}),
            Resource(LAB, "halab:lab:Lab", False, parent=STACK, outputs={"all": [Ref(LAB)]}),
            Resource(PROVIDER, "pulumi:providers:libvirt", True, id="p1", inputs={"uri": URI}, parent=LAB),
            Resource(
                FENCING,
                "command:local:Command",
                True,
                id="f1",
                inputs=fencing,
                outputs=fencing,
                parent=LAB,
                provider=f"{PROVIDER}::p1",
                dependencies=(LAB,),
                property_dependencies={"stdin": (LAB,)},
                replace_with=(PROVIDER,),
            ),
        )
    )


def test_a_state_rewritten_for_another_stack_names_the_old_one_nowhere_but_in_what_guests_see() -> None:
    found = state.rewritten(known_state(), WAS, NOW)
    check_integrity(found.resources)
    text = json.dumps([engine_state.to_json(one, lambda plain: {"plaintext": plain}) for one in found.resources])
    assert "/state/stacks/" not in text
    left = text.replace("halab-collapsed-controller-1", "")
    assert "collapsed" not in left
    assert [one.urn.rpartition("::")[2] for one in found.resources] == ["halab-mine", "mine", "libvirt", "fencing"]
    assert json.loads(state.fencing(found) or "")["uri"].endswith("=/other/stacks/mine/run/libvirt/libvirt-sock")
    assert found.resources[3].provider == "urn:pulumi:mine::halab::halab:lab:Lab$pulumi:providers:libvirt::libvirt::p1"


def test_rewriting_there_and_back_changes_nothing() -> None:
    back = state.rewritten(state.rewritten(known_state(), WAS, NOW), NOW, WAS)

    def trees(loaded: Loaded) -> list[dict[str, Any]]:
        return [engine_state.to_json(one, lambda plain: {"plaintext": plain}) for one in loaded.resources]

    assert trees(back) == trees(known_state())


def test_a_stack_whose_name_begins_like_the_old_one_is_left_alone() -> None:
    inputs = {"a": "/state/stacks/collapsed-two/x", "b": "go --stack collapsed-two", "c": "say --stack collapsed now"}
    one = Resource(STACK, "pulumi:pulumi:Stack", False, outputs=inputs)
    outputs = state.rewritten(Loaded((one,)), WAS, NOW).resources[0].outputs
    assert outputs == {**inputs, "c": "say --stack mine now"}


# Manifests.


def described(**changes: Any) -> Manifest:
    guest = Guest("halab-collapsed-controller-1", "10.0.0.64", "<domain/>", ("a.qcow2",))
    usual: dict[str, Any] = {
        "stack": "collapsed",
        "cloud": "collapsed",
        "name": "before",
        "golden": "",
        "created": "2026-11-21T00:00:00Z",
        "root": "/state/stacks/collapsed",
        "host": HERE,
        "well": True,
        "memory": 3072,
        "guests": {"controller-1": guest},
        "layers": {"a.qcow2": "a.qcow2~1"},
        "networks": {"halab-collapsed-cloud": "<network/>"},
        "pool": "<pool/>",
        "record": {"engine": "embedded"},
    }
    return Manifest(**{**usual, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots" / "collapsed" / "before"
    (folder / "ram").mkdir(parents=True)
    (folder / "ram" / "controller-1.save").write_bytes(os.urandom(3000))
    (folder / "state.json").write_text("{}")
    manifest.write(folder, described(files=manifest.measure(folder, manifest.contents(folder))))
    return folder


def test_a_whole_snapshot_reads_back_as_it_was_written(saved: Path) -> None:
    found = manifest.read(saved)
    assert found.files.keys() == {"ram/controller-1.save", "state.json"}
    assert replace(found, files={}) == described()
    manifest.check(saved, found)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda folder: flip(folder / "ram" / "controller-1.save", 1500), "checksum"),
        (lambda folder: (folder / "ram" / "controller-1.save").write_bytes(b"short"), "5 bytes, 3000 were saved"),
        (lambda folder: (folder / "state.json").unlink(), "No such file"),
    ],
)
def test_a_flipped_bit_a_cut_file_or_a_missing_one_is_found(
    saved: Path, damage: Callable[[Path], object], word: str
) -> None:
    damage(saved)
    place = Place(saved, "collapsed", False)
    with pytest.raises(DamagedError, match=word) as caught:
        store.check(place, store.read(place))
    assert "\n" not in str(caught.value)
    assert "./halab snapshot rm before --stack collapsed" in str(caught.value)


def test_a_file_that_another_snapshot_has_is_not_read_again(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "snapshots" / "collapsed" / ".other.partial"
    (other / "ram").mkdir(parents=True)
    os.link(saved / "state.json", other / "state.json")
    (other / "ram" / "a.save").write_bytes(b"new")
    flip(saved / "state.json", 0)
    known = store.sums(tmp_path)
    found = manifest.measure(other, manifest.contents(other), known)
    assert found["state.json"] == manifest.read(saved).files["state.json"], "what it was when it was saved first"
    assert found["ram/a.save"] == manifest.measure(other, ["ram/a.save"])["ram/a.save"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 9, "sha256": "", "snapshot": {}}'])
def test_a_manifest_that_is_none_is_refused(saved: Path, text: str) -> None:
    (saved / manifest.NAME).write_text(text)
    with pytest.raises(DamagedError, match="snapshot rm before"):
        store.read(Place(saved, "collapsed", False))


def test_a_changed_manifest_does_not_pass_for_one(saved: Path) -> None:
    path = saved / manifest.NAME
    path.write_text(path.read_text().replace("10.0.0.64", "10.0.0.65"))
    with pytest.raises(DamagedError, match="its own checksum"):
        manifest.read(saved)


def test_ram_of_another_emulator_or_kind_of_vm_is_refused_with_the_reason() -> None:
    assert host.differs(HERE, HERE) is None
    reason = host.differs(HERE, replace(HERE, qemu="10.1.0"))
    assert reason is not None
    assert "emulator: 10.0.2, here it is 10.1.0" in reason
    assert host.differs(HERE, replace(HERE, domain_type="kvm", cpu="Xeon")) is not None


# Intents.


def test_an_intent_reads_back_and_one_that_is_damaged_says_so(tmp_path: Path, stack: Stack) -> None:
    workspace = Workspace(ROOT, derive(stack), tmp_path)
    assert intent.read(workspace) is None
    one = Intent("save", "/somewhere", Phase.FREEZING, {"a": "a~1"})
    intent.note(workspace, one)
    assert intent.read(workspace) == one
    intent.file(workspace).write_text("{")
    with pytest.raises(Exception, match="halab down"):
        intent.read(workspace)
    intent.discard(workspace)
    assert intent.read(workspace) is None


# The store.


def test_a_snapshot_that_is_being_written_is_none_yet_and_goes_when_its_writing_fails(tmp_path: Path) -> None:
    place = store.named(tmp_path, "collapsed", "before")

    def cut_short() -> None:
        with store.writing(place) as folder:
            manifest.write(folder, described())
            assert store.every(tmp_path) == []
            assert store.dead_partials(place.folder.parent) == [], "its writer lives"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut_short()
    assert list(place.folder.parent.iterdir()) == []
    with store.writing(place) as folder:
        manifest.write(folder, described())
    assert [one.name for one in store.every(tmp_path)] == ["before"]
    assert [path.name for path in place.folder.iterdir()] == [manifest.NAME]


def test_what_a_dead_writer_left_is_cleared_unless_a_cloud_still_needs_it(tmp_path: Path) -> None:
    place = store.named(tmp_path, "collapsed", "before")
    partial = place.folder.with_name(".before.1.partial")
    partial.mkdir(parents=True)
    needed_by = tmp_path / "snapshot.json"
    needed_by.write_text(json.dumps({"folder": str(partial)}))
    store.need(partial, needed_by)
    assert store.dead_partials(place.folder.parent) == []
    needed_by.unlink()
    assert store.dead_partials(place.folder.parent) == [partial]
    store.clear_partials(place.folder.parent)
    assert not partial.exists()


@pytest.mark.parametrize("name", ["", "golden", "golden-x", "-x", "../x", "a/b", "A", "x" * 64])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="snapshot"):
        store.named(tmp_path, "collapsed", name)


def make(folder: Path) -> None:
    folder.mkdir(parents=True)
    manifest.write(folder, described())


def test_a_snapshot_is_found_by_its_name_and_a_golden_one_by_the_start_of_its_key(tmp_path: Path) -> None:
    make(tmp_path / "snapshots" / "collapsed" / "before")
    make(tmp_path / "snapshots" / "other" / "theirs")
    make(tmp_path / "golden" / ("ab" * 32))
    make(tmp_path / "golden" / ("cd" * 32))
    assert store.find(tmp_path, "collapsed", "before").name == "before"
    assert store.find(tmp_path, "collapsed", "golden", "cd" * 32).folder.name == "cd" * 32
    assert store.find(tmp_path, "collapsed", "golden-abab").folder.name == "ab" * 32
    assert store.find(tmp_path, "collapsed", f"golden-{'cd' * 6}").folder.name == "cd" * 32
    for name in ("theirs", "golden-", "golden-ff", "befor"):
        with pytest.raises(RefusedError, match="there are: before"):
            store.find(tmp_path, "collapsed", name)
    with pytest.raises(RefusedError, match=r"verified \./halab up"):
        store.find(tmp_path, "collapsed", "golden", "ef" * 32)


def golden(name: str) -> Place:
    return Place(Path("/state/golden") / name, "", True)


def test_the_goldens_unused_for_longest_go_until_the_rest_fits() -> None:
    files: dict[str, dict[tuple[int, int], int]] = {
        "old": {(0, 1): 10, (0, 9): 5},
        "older": {(0, 2): 10, (0, 9): 5},
        "new": {(0, 3): 10, (0, 9): 5},
    }
    goldens = [
        (golden("old"), 2.0, files["old"]),
        (golden("older"), 1.0, files["older"]),
        (golden("new"), 3.0, files["new"]),
    ]
    named = [{(0, 4): 20, (0, 9): 5}]
    assert store.use([*files.values(), *named]) == 55, "what all share counts once"
    assert store.evicted(goldens, named, 55) == []
    assert store.evicted(goldens, named, 54) == [golden("older")]
    assert store.evicted(goldens, named, 44) == [golden("older"), golden("old")]
    assert store.evicted(goldens, named, 0) == [golden("older"), golden("old"), golden("new")], "never a named one"


def test_what_was_not_used_for_so_long_may_be_pruned() -> None:
    places = [(golden("a"), 100.0), (golden("b"), 900.0)]
    assert store.unused(places, 500, now=1000) == [golden("a")]
    assert store.unused(places, 1000, now=1000) == []


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.LIMIT, raising=False)
    assert store.limit() == 40 * 1024**3
    monkeypatch.setenv(store.LIMIT, "3")
    assert store.limit() == 3 * 1024**3
    monkeypatch.setenv(store.LIMIT, "3G")
    with pytest.raises(RefusedError, match=r"HALAB_SNAPSHOT_LIMIT: '3G'"):
        store.limit()


# Disks.


def qcow2(path: Path, backing: str = "", size: int = 1 << 20) -> None:
    name = backing.encode()
    head = b"QFI\xfb" + struct.pack(">IQIIQ", 3, 32 if name else 0, len(name), 16, size)
    path.write_bytes(head + name)


def test_a_chain_is_followed_to_its_base_and_layers_nobody_stands_on_go(tmp_path: Path) -> None:
    qcow2(tmp_path / "base.qcow2")
    qcow2(tmp_path / "d~1", "/var/lib/libvirt/images/p/base.qcow2")
    qcow2(tmp_path / "d~2", "/var/lib/libvirt/images/p/d~1")
    qcow2(tmp_path / "d", "/var/lib/libvirt/images/p/d~1")
    (tmp_path / "d-seed.iso").write_bytes(b"seed")
    assert disks.chain(tmp_path, "d") == ("d", "d~1", "base.qcow2")
    assert disks.needed(tmp_path, ["d"]) == {"base.qcow2", "d", "d~1", "d-seed.iso"}
    disks.sweep(tmp_path, ["d"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.qcow2", "d", "d-seed.iso", "d~1"]


def test_a_header_tells_backing_file_and_size_of_a_qcow2_image_only(tmp_path: Path) -> None:
    qcow2(tmp_path / "a", "/x/b", 7 << 30)
    assert disks.header(tmp_path / "a") == disks.Header("/x/b", 7 << 30)
    (tmp_path / "raw").write_bytes(bytes(64))
    assert disks.header(tmp_path / "raw") is None


def test_a_checksum_is_of_what_a_file_holds_and_not_of_how_its_zeros_are_stored(tmp_path: Path) -> None:
    block = 256 * 1024
    content = b"a" + bytes(5 * block) + b"b" * 7 + bytes(3 * block)
    (tmp_path / "dense").write_bytes(content)
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"a")
        file.seek(5 * block + 1)
        file.write(b"b" * 7)
        file.truncate(len(content))
    assert (tmp_path / "sparse").stat().st_blocks < (tmp_path / "dense").stat().st_blocks
    (tmp_path / "moved").write_bytes(b"a" + bytes(4 * block) + b"b" * 7 + bytes(4 * block))
    found = manifest.measure(tmp_path, ["dense", "sparse", "moved"])
    assert found["dense"] == found["sparse"]
    assert found["dense"].size == len(content)
    assert found["moved"].sha256 != found["dense"].sha256


@pytest.mark.parametrize(
    ("mark", "form", "content", "whole"),
    [
        (b"LibvirtQemudSave", 6, b"QEVM\0\0\0\3", True),
        (b"LibvirtQemudSave", 0, b"QEVM\0\0\0\3", True),
        (b"LibvirtQemudSave", 1, b"\x1f\x8b", True),
        (b"LibvirtQemudSave", 6, b"", False),
        (b"LibvirtQemudPart", 6, b"QEVM\0\0\0\3", False),
    ],
)
def test_a_ram_image_is_whole_when_libvirt_says_so_and_qemu_has_written_it(
    tmp_path: Path, mark: bytes, form: int, content: bytes, whole: bool
) -> None:
    own = b"<domainsave/>".ljust(100, b"\0")
    path = ram.image(tmp_path, "controller-1")
    path.write_bytes(mark + struct.pack("<4I", 2, len(own), 0, form) + bytes(60) + own + content)
    assert ram.is_whole(path) is whole
    assert not ram.is_whole(tmp_path / "none")


@pytest.mark.parametrize(("shares", "needed"), [(True, 3072), (False, 3074)])
def test_a_save_that_would_fill_the_disk_is_refused_before_a_vm_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: bool, needed: int
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "disk.qcow2").write_bytes(b"x" * (2 << 20))
    workspace = Workspace(ROOT, derive(load(ROOT, "collapsed")), tmp_path)
    site, live = SimpleNamespace(workspace=workspace), SimpleNamespace(here=lambda seen: pool)
    draft = SimpleNamespace(memory=3072, pool=f"<pool><target><path>{pool}</path></target></pool>")
    place = Place(tmp_path / "snapshots" / "collapsed" / "x", "collapsed", False)
    monkeypatch.setattr(disks, "shares", lambda one, other: shares)
    monkeypatch.setattr(save, "free", lambda folder: needed << 20)
    save._refuse_full(site, live, place, draft)  # type: ignore[arg-type]
    monkeypatch.setattr(save, "free", lambda folder: (needed << 20) - 1)
    line = f"1 MiB short of the {needed} MiB that a snapshot of collapsed may take; ./halab snapshot prune makes room"
    with pytest.raises(RefusedError, match=line):
        save._refuse_full(site, live, place, draft)  # type: ignore[arg-type]
