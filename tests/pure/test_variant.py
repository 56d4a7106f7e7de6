"""Stack files: what is right is read, what is wrong is named with key, value and rule, all of it at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from components.cluster import cib
from components.cluster.fencing import DEVICES
from components.plan import managed
from components.services import PARTS
from components.topology import Topology, derive
from components.variant import (
    HOMES,
    MANAGEABLE,
    Membership,
    Role,
    Service,
    StackError,
    Timers,
    Variant,
    image,
    load,
    parse,
)
from components.variant.keys import AGENT_LIMIT, LEAST_DISK, SECTIONS, TOP, role_keys
from components.variant.model import MEMBERS
from components.variant.reference import PAGE, renewed
from halab.image.spec import ROOT_SIZE, packages

PROJECT = Path(__file__).resolve().parents[2]
#: What brings each service.
PACKAGE = {
    Service.GALERA: "galera-4",
    Service.RABBITMQ: "rabbitmq-server",
    Service.MEMCACHED: "memcached",
    Service.HAPROXY: "haproxy",
    Service.KEYSTONE: "keystone",
    Service.GLANCE: "glance-api",
    Service.PLACEMENT: "placement-api",
    Service.NFS: "nfs-kernel-server",
    Service.GATEWAY: "dnsmasq",
    Service.KEEPALIVED: "keepalived",
    Service.REDIS: "redis-sentinel",
    Service.GARBD: "galera-arbitrator-4",
    Service.TIEBREAKER: "rabbitmq-server",
}
MISTAKES = sorted((Path(__file__).parent / "fixtures" / "stacks").glob("*.yaml"))


def changed(tree: Any, change: Any) -> Any:
    """`tree` with `change` laid over it; a None takes a key away."""
    if not (isinstance(tree, dict) and isinstance(change, dict)):
        return change
    merged = {**tree, **{key: changed(tree.get(key), value) for key, value in change.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def described(change: Any) -> Any:
    document = yaml.safe_load((PROJECT / "stacks" / "Pulumi.collapsed.yaml").read_text())
    return changed(document["config"]["halab:stack"], change)


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_is_named_with_key_value_and_rule(path: Path) -> None:
    fixture = yaml.safe_load(path.read_text())
    with pytest.raises(StackError) as caught:
        parse("bad", described(fixture["change"]), "stacks/Pulumi.bad.yaml")
    assert any(problem.startswith(fixture["expect"]) for problem in caught.value.problems), caught.value.problems
    assert all(line.startswith("stacks/Pulumi.bad.yaml: ") for line in str(caught.value).splitlines())


def test_every_key_has_a_rule_that_is_tried() -> None:
    tried = [yaml.safe_load(path.read_text())["expect"] for path in MISTAKES]
    keys = {key.name for key in TOP} | {f"{section}.{key.name}" for section, keys in SECTIONS.items() for key in keys}
    roles = {f"roles.[a-z]+.{key.name}" for key in role_keys(Role.COMPUTE)}
    untried = [key for key in sorted(keys | roles) if not any(re.match(f"{key}: ", expect) for expect in tried)]
    assert not untried, f"add a file to tests/pure/fixtures/stacks for {', '.join(untried)}"


def test_the_page_of_the_keys_is_the_keys_of_today() -> None:
    page = PAGE.read_text()
    assert page == renewed(page), "run python -m components.variant.reference"


def test_every_rule_takes_its_own_default() -> None:
    keys = [*TOP, *(key for keys in SECTIONS.values() for key in keys)]
    for key in [*keys, *(key for role in Role for key in role_keys(role))]:
        if key.default is None or key.required:
            continue
        raw = [str(one) for one in key.default] if isinstance(key.default, tuple | frozenset) else key.default
        assert key.rule.read(str(raw) if isinstance(raw, str) else raw) == key.default, key.name


def test_what_the_rules_know_of_services_and_images_is_so() -> None:
    assert set(MANAGEABLE) == {service for service, part in PARTS.items() if part.resource}
    assert LEAST_DISK << 30 == ROOT_SIZE
    for service, roles in HOMES.items():
        assert all(PACKAGE[service] in packages(image(role, [service])) for role in roles), service
    for membership, package in ((Membership.FULL, "pacemaker"), (Membership.REMOTE, "pacemaker-remote")):
        assert all(package in packages(image(role, [])) for role in MEMBERS[membership])


def test_the_rules_know_the_fence_agent_s_own_limit(collapsed: Topology) -> None:
    (cluster,) = collapsed.clusters
    tree = ElementTree.fromstring(cib.document(collapsed, cluster, managed(collapsed)))
    device = tree.find(f".//primitive[@id='{DEVICES[0]}']/instance_attributes/nvpair[@name='timeout']")
    assert device is not None
    assert int(device.attrib["value"]) == AGENT_LIMIT


@pytest.mark.parametrize(("network", "room"), [("172.20.1.0/28", 5), ("172.20.1.0/27", 16)])
def test_the_outer_network_s_room_is_what_the_gateways_take(network: str, room: int) -> None:
    change = {"networks": {"outer": network}, "roles": {"gateway": {"count": room}}}
    topology = derive(parse("mine", described(change)))
    last = topology.role(Role.GATEWAY)[-1].nics[1].ip
    assert last in topology.outer.cidr
    if room < 16:
        assert last + 1 == topology.outer.cidr.broadcast_address


def test_a_mistake_hides_no_other_that_does_not_rest_on_it() -> None:
    change = {
        "variant": "x",
        "roles": {"controller": {"count": 4, "memory": 300}, "storage": {"count": 2, "disk": 1}},
        "networks": {"cloud": "10.0.0.0/16", "outer": "10.0.1.0/24"},
    }
    with pytest.raises(StackError) as caught:
        parse("bad", described(change))
    keys = {problem.partition(":")[0] for problem in caught.value.problems}
    assert keys == {
        *("variant", "roles.controller.count", "roles.controller.memory", "roles.storage.count", "roles.storage.disk"),
        "networks.outer",
    }


def test_what_rests_on_a_wrong_key_is_not_guessed_at() -> None:
    change = {"roles": {"controller": {"servces": ["galera"], "services": None, "count": "three"}}}
    with pytest.raises(StackError) as caught:
        parse("bad", described(change))
    keys = {problem.partition(":")[0] for problem in caught.value.problems}
    assert keys == {"roles.controller.count", "roles.controller.servces"}


def test_mistakes_that_share_no_key_are_reported_together() -> None:
    change = {"variant": "x", "roles": {"compute": {"count": 0, "disk": "big"}}, "timers": {"token": 1}, "typo": 1}
    with pytest.raises(StackError) as caught:
        parse("bad", described(change))
    keys = [problem.partition(":")[0] for problem in caught.value.problems]
    assert sorted(keys) == ["roles.compute.count", "roles.compute.disk", "timers.token", "typo", "variant"]


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a_b", "../x", "a" * 31, "a-", "a b", "ä", "a\n", "\x1b[31m"])
def test_a_stack_name_must_fit_into_host_names(name: str) -> None:
    with pytest.raises(StackError, match="a name of a-z"):
        parse(name, described({}))


@pytest.mark.parametrize("name", sorted(Variant))
def test_every_stack_file_is_right(name: str) -> None:
    stack = load(PROJECT, name)
    assert stack.name == name
    assert stack.variant == name


def test_an_absent_stack_names_those_there_are() -> None:
    with pytest.raises(StackError, match=r"--stack: 'nope': no file stacks/Pulumi.nope.yaml; there are: .*collapsed"):
        load(PROJECT, "nope")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("config: [", "not YAML"),
        ("config: {}", "the key 'halab:stack'"),
        ("", "the key 'halab:stack'"),
        ("config: {'halab:stack': }", "one of collapsed"),
    ],
)
def test_a_file_that_describes_no_stack_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.mine.yaml").write_text(text)
    with pytest.raises(StackError, match=complaint):
        load(tmp_path, "mine")


def test_a_value_that_is_given_is_taken() -> None:
    stack = parse("mine", described({"timers": {"token": 5000}, "roles": {"compute": {"count": 7}}}))
    assert stack.timers == Timers(token=5000)
    assert [role.count for role in stack.roles if role.role == "compute"] == [7]
