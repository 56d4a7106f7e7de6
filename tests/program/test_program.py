"""What the program asks of Pulumi, for every stack file: options that decide about data, order and secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pytest
import yaml

from components.bootstrap import hands_over_secrets
from components.cluster import fencing
from components.plan import plan
from components.steps import StepGraph
from components.topology import Topology, derive
from components.variant import Service, Variant, load
from halab.keys import Keys
from tests.program.recorder import PROJECT, Recorded, is_secret, record, stack_config

STACKS = sorted(Variant)
LIBVIRT = "libvirt:index/"


@pytest.fixture(scope="module", autouse=True)
def no_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A host that has never seen halab: no images, no keys, no state."""
    folder = tmp_path_factory.mktemp("host")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALAB_STATE", str(folder / "state"))
        patch.setenv("HALAB_CACHE", str(folder / "cache"))
        patch.setenv("HALAB_DOMAIN_TYPE", "qemu")
        patch.setenv("HALAB_LIBVIRT_URI", "qemu+ssh://root@far.example/system")
        yield folder


@pytest.fixture(scope="module", params=STACKS)
def run(request: pytest.FixtureRequest, no_host: Path) -> tuple[Topology, StepGraph, Recorded]:
    topology = derive(load(PROJECT, request.param))
    return topology, plan(topology), record(request.param)


Run = tuple[Topology, StepGraph, Recorded]


def test_a_preview_on_a_fresh_host_writes_nothing(no_host: Path, run: Run) -> None:
    assert run[2].registrations
    assert list(no_host.iterdir()) == []


def test_every_resource_has_its_place_under_the_lab(run: Run) -> None:
    topology, _, recorded = run
    parents = {one.urn: one.parent for one in recorded.registrations}
    (lab,) = recorded.of("halab:lab:Lab")
    assert lab == topology.stack.name
    for one in recorded.registrations:
        urn = one.urn
        while parents.get(urn, "").rpartition("::")[2] != f"halab-{topology.stack.name}" and parents[urn]:
            urn = parents[urn]
        assert urn.endswith(f"halab:lab:Lab::{lab}"), one.urn


def test_no_two_resources_share_a_urn(run: Run) -> None:
    urns = [one.urn for one in run[2].registrations]
    assert len(urns) == len(set(urns))


def test_there_is_one_command_per_step_with_exactly_its_edges(run: Run) -> None:
    topology, graph, recorded = run
    commands = recorded.commands
    assert commands.keys() == graph.by_name.keys()
    domains = {node.name: recorded.of(LIBVIRT + "domain:Domain")[f"{node.name}-domain"].urn for node in topology.nodes}
    fencing = {one.urn for one in recorded.of("command:local:Command").values()}
    for step in graph.steps:
        expected = {commands[name].urn for name in step.after} or {domains[step.node], *fencing}
        assert commands[step.name].dependencies == expected, step.name


def test_a_rebuilt_vm_runs_its_steps_again_and_those_that_name_it(run: Run) -> None:
    topology, graph, recorded = run
    kinds = {"root": "volume:Volume", "seed": "cloudInitDisk:CloudInitDisk", "domain": "domain:Domain"}
    parts = {
        node.name: {part: recorded.of(LIBVIRT + kind)[f"{node.name}-{part}"].urn for part, kind in kinds.items()}
        for node in topology.nodes
    }
    for step in graph.steps:
        command = recorded.commands[step.name]
        assert command.deleted_with == parts[step.node]["domain"]
        assert command.replace_with == {urn for name in step.members for urn in parts[name].values()}
        assert command.delete_before_replace


def test_only_steps_about_other_nodes_run_anything_when_they_go(run: Run) -> None:
    _, graph, recorded = run
    for step in graph.steps:
        undone = bool(step.members) and f"{step.action}_down" in step.recipe.actions()
        assert ("delete" in recorded.commands[step.name].inputs) == undone, step.name


def test_every_libvirt_object_is_named_after_its_stack_and_deleted_before_it_is_replaced(run: Run) -> None:
    topology, _, recorded = run
    found = [one for one in recorded.registrations if one.type.startswith(LIBVIRT)]
    assert found
    for one in found:
        assert one.inputs["name"].startswith(topology.prefix), one.urn
        assert one.delete_before_replace, one.urn
        assert one.provider, one.urn


def test_a_domain_never_outlives_its_disk_its_seed_or_its_networks(run: Run) -> None:
    topology, _, recorded = run
    networks = recorded.of(LIBVIRT + "network:Network")
    for node in topology.nodes:
        domain = recorded.of(LIBVIRT + "domain:Domain")[f"{node.name}-domain"]
        overlay = recorded.of(LIBVIRT + "volume:Volume")[f"{node.name}-root"]
        seed = recorded.of(LIBVIRT + "cloudInitDisk:CloudInitDisk")[f"{node.name}-seed"]
        assert domain.replace_with == {overlay.urn, seed.urn} | {networks[nic.network].urn for nic in node.nics}
        assert {"kernel", "initrd", "disks", "cloudinit"} <= set(domain.replace_on_changes)
        assert overlay.request.HasField("replacement_trigger")


def test_kernel_and_initrd_are_volumes_because_the_hypervisor_may_be_elsewhere(run: Run) -> None:
    volumes = {f"{name}-id" for name in run[2].of(LIBVIRT + "volume:Volume")}
    for domain in run[2].of(LIBVIRT + "domain:Domain").values():
        assert {domain.inputs["kernel"], domain.inputs["initrd"]} <= volumes


def test_networks_have_no_dhcp_and_stated_bridges(run: Run) -> None:
    topology, _, recorded = run
    for network in topology.networks:
        inputs = recorded.of(LIBVIRT + "network:Network")[network.key].inputs
        assert inputs["dhcp"] == {"enabled": False}
        assert inputs["bridge"] == network.bridge
        assert inputs["mode"] == "none"


def test_a_network_s_stylesheet_alone_never_replaces_it_and_all_vms_with_it(run: Run) -> None:
    topology, _, recorded = run
    for network in recorded.of(LIBVIRT + "network:Network").values():
        assert list(network.request.ignoreChanges) == ["xml"]
        assert 'stack="{$stack}"' in network.inputs["xml"]["xslt"]
        assert f">{topology.stack.name}</" in network.inputs["xml"]["xslt"]


def test_every_host_key_is_verified_and_only_first_boots_are_dialled_without_end(run: Run) -> None:
    for name, command in run[2].commands.items():
        connection = command.plain("connection")
        assert connection["hostKey"].startswith("ssh-ed25519 "), name
        assert (connection["dialErrorLimit"] == -1) == name.startswith("machine.ready@"), name
        assert command.request.customTimeouts.create or not name.startswith("machine.ready@")


def test_secrets_are_in_the_one_step_that_hands_them_over_and_wrapped(run: Run) -> None:
    _, graph, recorded = run
    for step in graph.steps:
        command = recorded.commands[step.name]
        assert is_secret(command.inputs["connection"])
        if hands_over_secrets(step):
            assert is_secret(command.inputs["stdin"])
        else:
            assert command.inputs["stdin"] == step.script()
        assert command.inputs["create"].endswith(f"bash -s {step.action}")
    for seed in recorded.of(LIBVIRT + "cloudInitDisk:CloudInitDisk").values():
        assert is_secret(seed.inputs["userData"])
    for local in recorded.of("command:local:Command").values():
        assert is_secret(local.inputs["stdin"])


def test_no_secret_value_is_readable_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    topology, graph, _ = run
    monkeypatch.setenv("HALAB_STATE", str(tmp_path))
    secrets = Keys.create(topology.stack.name).secrets
    recorded = record(topology.stack.name)
    names = {name for step in graph.steps for name in step.secrets} - {"ENDPOINT_PEM", "CA_PEM"}
    assert names
    hidden = {name: secrets.value(name) for name in names} | {"ssh": secrets.ssh_private("client").splitlines()[2]}

    def readable(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict) and not is_secret(value):
            for item in value.values():
                yield from readable(item)
        elif isinstance(value, list):
            for item in value:
                yield from readable(item)

    for one in recorded.registrations:
        text = "\n".join(readable(one.inputs))
        assert [name for name, value in hidden.items() if value in text] == [], one.urn


def test_every_seed_is_cloud_config_for_its_node(run: Run) -> None:
    topology, _, recorded = run
    for node in topology.nodes:
        seed = recorded.of(LIBVIRT + "cloudInitDisk:CloudInitDisk")[f"{node.name}-seed"]
        text = seed.plain("userData")
        assert text.startswith("#cloud-config\n")
        assert yaml.safe_load(text)["hostname"] == node.name
        assert yaml.safe_load(seed.inputs["metaData"])["local-hostname"] == node.name
        macs = {
            one["match"]["macaddress"] for one in yaml.safe_load(seed.inputs["networkConfig"])["ethernets"].values()
        }
        assert macs == {nic.mac for nic in node.nics}


def test_a_stack_with_a_cluster_has_one_fencing_daemon_on_its_own_bridge(run: Run) -> None:
    topology, _, recorded = run
    found = recorded.of("command:local:Command")
    assert len(found) == bool(topology.clusters)
    for one in found.values():
        assert one.inputs["create"].endswith(f"start --stack {topology.stack.name}")
        assert one.inputs["delete"].endswith(f"stop --stack {topology.stack.name}")
        assert f'"{topology.cloud.bridge}"' in one.plain("stdin")


def test_each_clusters_members_may_fence_what_their_own_cluster_fences(run: Run) -> None:
    topology, _, recorded = run
    for one in recorded.of("command:local:Command").values():
        groups = {group["name"]: group for group in json.loads(one.plain("stdin"))["groups"]}
        assert groups.keys() == {cluster.name for cluster in topology.clusters}
        for cluster in topology.clusters:
            group = groups[cluster.name]
            assert group["addresses"] == [str(node.ip) for node in cluster.members]
            assert group["domains"] == [node.domain for node in fencing.targets(topology, cluster)]
        domains = [domain for group in groups.values() for domain in group["domains"]]
        assert sorted(domains) == sorted(node.domain for node in topology.nodes)


def test_type_tokens_are_well_formed_and_name_one_component_each(run: Run) -> None:
    components = {one.type for one in run[2].registrations if not one.custom}
    assert components == {
        "halab:lab:Lab",
        "halab:libvirt:Fabric",
        "halab:libvirt:Machine",
        "halab:command:Bootstrap",
        "halab:command:Stage",
    }


def test_the_stack_tells_where_everything_is_and_keeps_the_password_secret(run: Run) -> None:
    topology, _, recorded = run
    outputs = recorded.outputs
    assert outputs["nodes"] == {node.name: str(node.ip) for node in topology.nodes}
    assert outputs["vips"] == {vip.name: str(vip.ip) for vip in topology.vips}
    assert outputs["endpoints"]["keystone"] == f"https://{topology.endpoint_host(Service.KEYSTONE)}:5000"
    assert outputs["ca_certificate"].endswith("/ca.pem")
    assert topology.stack.name in outputs["ssh"]
    assert isinstance(outputs["admin_password"], pulumi.Output)


def test_adding_a_compute_touches_no_other_machine() -> None:
    described = stack_config("collapsed")
    grown = {**described, "roles": {**described["roles"], "compute": {**described["roles"]["compute"], "count": 2}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALAB_STATE", "/nonexistent")
        patch.setattr(Keys, "ephemeral", classmethod(_fixed_keys))
        before, after = record("collapsed", described), record("collapsed", grown)
    for type_ in ("volume:Volume", "cloudInitDisk:CloudInitDisk", "domain:Domain", "network:Network"):
        was, now = before.of(LIBVIRT + type_), after.of(LIBVIRT + type_)
        for name, one in was.items():
            assert now[name].inputs == one.inputs, name
            assert now[name].request.replacement_trigger == one.request.replacement_trigger, name


@pytest.mark.parametrize("stack", ["endpoint"])
def test_a_node_enters_the_load_balancer_when_it_is_up_and_leaves_it_before_its_vm_goes(stack: str) -> None:
    described = stack_config(stack)
    role = next(name for name, one in described["roles"].items() if "keystone" in one["services"])
    few, many = (
        {**described, "roles": {**described["roles"], role: {**described["roles"][role], "count": count}}}
        for count in (2, 3)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALAB_STATE", "/nonexistent")
        patch.setattr(Keys, "ephemeral", classmethod(_fixed_keys))
        before, after = record(stack, few), record(stack, many)
    new = f"{role}-3"
    proxies = {name for name in after.commands if name.startswith("haproxy.enter@")}
    assert len(proxies) == described["roles"]["endpoint"]["count"]
    for name in proxies:
        enters, was = after.commands[name], before.commands[name]
        # Out: all that the balancer has of the node is in what changes in place; the engine deletes only after that.
        assert new in enters.inputs["stdin"]
        assert new not in was.inputs["stdin"]
        assert not enters.replace_with
        # In: after every API of the new node has started.
        starts = {one for one in after.commands if one.endswith(f".start@{new}")}
        assert {"keystone", "glance", "placement"} == {one.partition(".")[0] for one in starts}
        assert {after.commands[one].urn for one in starts} <= enters.dependencies
    unnamed = {one for one in after.commands if one.startswith(("haproxy.configure@", "haproxy.start@"))}
    assert all(after.commands[one].inputs["stdin"] == before.commands[one].inputs["stdin"] for one in unnamed)


def test_fifteen_controllers_and_a_hundred_computes_are_described_within_seconds() -> None:
    described = stack_config("collapsed")
    roles = described["roles"]
    roles["controller"]["count"], roles["compute"]["count"] = 15, 100
    start = time.process_time()
    recorded = record("large", described)
    assert len(recorded.of(LIBVIRT + "domain:Domain")) == 117
    assert time.process_time() - start < 30


def _fixed_keys(cls: type[Keys], stack: str, state: Path | None = None) -> Keys:
    from datetime import UTC, datetime

    from components.secrets import Secrets

    return cls(Path("/nonexistent"), Secrets(b"s" * 32, datetime(2026, 1, 1, tzinfo=UTC)))
