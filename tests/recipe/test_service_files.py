"""Every file that a service's steps place, for every stack file, read by the program that will read it."""

from __future__ import annotations

import base64
import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.recipe import File
from components.secrets import Secrets
from components.services import PARTS, galera, glance, keepalived, nfs
from components.steps import Step
from components.topology import Topology, derive
from components.variant import Service, Variant, load

PROJECT = Path(__file__).resolve().parents[2]
STACKS = sorted(Variant)
SECRETS = Secrets(b"a" * 32, datetime(2026, 1, 1, tzinfo=UTC))
PLACEHOLDER = re.compile(r"@\{([A-Z0-9_]+)\}")


@dataclass(frozen=True)
class Placed:
    """A file as a step places it on a node of a stack."""

    stack: str
    step: Step
    file: File

    def text(self) -> str:
        return PLACEHOLDER.sub(lambda match: SECRETS.value(match[1]), self.file.content)


def _topology(stack: str) -> Topology:
    return derive(load(PROJECT, stack))


def _steps(stack: str) -> Iterator[Step]:
    topology = _topology(stack)
    for service, part in PARTS.items():
        if topology.running(service):
            yield from part.steps(topology)


PLACED = [Placed(stack, step, file) for stack in STACKS for step in _steps(stack) for file in step.files]


def files(path: str) -> pytest.MarkDecorator:
    """One test per file placed at `path`."""
    found = [one for one in PLACED if one.file.path == path]
    return pytest.mark.parametrize("placed", found, ids=[f"{one.stack}-{one.step.node}" for one in found])


def program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: its package reads what is tested here")
    return found


def accepts(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], Path]:
    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return put


@files("/etc/haproxy/haproxy.cfg")
def test_haproxy_reads_its_configuration(placed: Placed, put: Callable[[str, str], Path], tmp_path: Path) -> None:
    pem = put("endpoint.pem", base64.b64decode(SECRETS.endpoint_pem(["a.halab"], [])).decode())
    text = placed.text().replace("/etc/haproxy/endpoint.pem", str(pem))
    text = text.replace("user haproxy", "user root").replace("group haproxy", "group root")
    accepts([program("haproxy"), "-c", "-f", str(put("haproxy.cfg", text))])


@files("/etc/keepalived/halab.conf.in")
def test_keepalived_reads_its_configuration(placed: Placed, put: Callable[[str, str], Path]) -> None:
    if os.geteuid():
        pytest.skip("keepalived looks for the interface it names: root is needed to make one")
    text = placed.text().replace("interface CLOUD", "interface cloud0")
    text = re.sub(r"(auth_pass .{8}).*", r"\1", text)
    assert "CLOUD" not in text
    script = next(file for file in placed.step.files if file.path == keepalived.CHECK)
    make = (
        "ip link add cloud0 type veth peer name cloud1 && mount -t tmpfs -o mode=755 tmpfs /usr/local/lib && "
        'mkdir "$(dirname "$1")" && install -m "$2" "$3" "$1" && shift 3 && exec "$@"'
    )
    check = [program("keepalived"), "-t", "-f", str(put("keepalived.conf", text))]
    place = [keepalived.CHECK, f"{script.mode:o}", str(put("check", script.content))]
    command = ["unshare", "--net", "--mount", "sh", "-e", "-c", make, "sh", *place, *check]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    # Version 2.2.7 (bookworm) ends its test of a configuration that has a script by SIGTERM, wrong or right.
    assert done.returncode in (0, -signal.SIGTERM), done.stderr
    assert done.stdout + done.stderr == ""


def test_keepalived_gives_no_two_nodes_the_same_priority_for_an_address() -> None:
    topology = _topology("keepalived")
    for vip in topology.vips:
        texts = [one.text() for one in PLACED if one.stack == "keepalived" and "keepalived" in one.file.path]
        found = [re.search(rf"virtual_router_id {vip.vrid}\n    priority (\d+)", text, re.MULTILINE) for text in texts]
        priorities = [match[1] for match in found if match]
        assert len(set(priorities)) == len(vip.nodes)


@files("/etc/nftables.conf")
def test_nft_reads_the_gateways_rules(placed: Placed, put: Callable[[str, str], Path]) -> None:
    if os.geteuid():
        pytest.skip("nft checks rules against the kernel: root is needed")
    defines = put("interfaces.nft", 'define OUTER = "eth1"\ndefine CLOUD = "eth0"\n')
    text = placed.text().replace("/etc/nftables.d/interfaces.nft", str(defines))
    accepts(["unshare", "--net", program("nft"), "-c", "-f", str(put("nftables.conf", text))])


@files("/etc/dnsmasq.conf")
def test_dnsmasq_reads_its_configuration(placed: Placed, put: Callable[[str, str], Path]) -> None:
    accepts([program("dnsmasq"), "--test", f"--conf-file={put('dnsmasq.conf', placed.text())}"])


@files(galera.CONFIG)
def test_mariadb_reads_its_configuration(placed: Placed, put: Callable[[str, str], Path], tmp_path: Path) -> None:
    config = put("99-halab.cnf", placed.text())
    done = subprocess.run(
        [
            program("mariadbd"),
            f"--defaults-file={config}",
            f"--datadir={tmp_path}",
            "--user=root",
            "--help",
            "--verbose",
        ],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    values = dict(
        re.findall(r"^(\S+) +(.+?) *$", done.stdout.partition("\nVariables (--variable-name=value)")[2], re.M)
    )
    assert values["bind-address"] == str(_topology(placed.stack).node(placed.step.node).ip)
    assert values["innodb-flush-log-at-trx-commit"] == "1"
    assert values["wsrep-node-name"] == placed.step.node


OSLO = ("/etc/keystone/keystone.conf", "/etc/glance/glance-api.conf", "/etc/placement/placement.conf")


@pytest.mark.parametrize(
    "placed", [one for one in PLACED if one.file.path in OSLO], ids=lambda one: f"{one.stack}-{one.step.name}"
)
def test_an_api_reaches_the_database_through_its_vip_with_tls_as_its_own_user(placed: Placed) -> None:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(placed.text())
    section = "placement_database" if "placement" in placed.file.path else "database"
    topology = _topology(placed.stack)
    connection = parser[section]["connection"]
    user = placed.step.stage
    host = topology.endpoint_host(Service.GALERA)
    assert connection.startswith(f"mysql+pymysql://{user}:{SECRETS.value(user.upper() + '_DB')}@{host}/{user}?")
    assert "ssl_ca=/etc/halab/ca.pem" in connection
    assert placed.file.mode == 0o640
    assert placed.file.group == user


@pytest.mark.parametrize(
    "placed",
    [one for one in PLACED if one.file.path.endswith("-uwsgi.ini")],
    ids=lambda one: f"{one.stack}-{one.step.name}",
)
def test_uwsgi_listens_on_the_nodes_own_address_with_one_process(placed: Placed) -> None:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(placed.text())
    address = _topology(placed.stack).node(placed.step.node).ip
    assert parser["uwsgi"]["http-socket"].startswith(f"{address}:")
    assert parser["uwsgi"]["processes"] == "1"


UNITS = [one for one in PLACED if re.search(r"/etc/systemd/system/[^/]+\.(service|mount)$", one.file.path)]


@pytest.mark.parametrize("placed", UNITS, ids=lambda one: f"{one.stack}-{one.step.name}-{Path(one.file.path).name}")
def test_systemd_reads_every_unit(placed: Placed, tmp_path: Path) -> None:
    unit = tmp_path / Path(placed.file.path).name
    # What a unit runs is on the guests only.
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", placed.text(), flags=re.MULTILINE))
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=110
    )
    assert not [line for line in done.stderr.splitlines() if unit.name in line], done.stderr


@files("/etc/exports")
def test_images_are_exported_to_the_nodes_that_run_glance_only_and_root_is_nobody(placed: Placed) -> None:
    clients = {}
    for line in placed.text().splitlines():
        match = re.fullmatch(r"(/\S+) ([0-9.]+)\(([a-z_=,]+)\)", line)
        assert match, line
        clients[match[2]] = match[3].split(",")
        assert match[1] == nfs.EXPORT
    topology = _topology(placed.stack)
    assert set(clients) == {str(node.ip) for node in topology.running(Service.GLANCE)}
    assert all("root_squash" in options and "no_root_squash" not in options for options in clients.values())


@files(f"/etc/systemd/system/{glance.MOUNT}")
def test_the_mount_unit_has_the_name_that_systemd_gives_its_directory(placed: Placed) -> None:
    done = subprocess.run(
        [program("systemd-escape"), "--path", "--suffix=mount", glance.IMAGES], capture_output=True, text=True
    )
    assert done.stdout.strip() == glance.MOUNT
    assert f"Where={glance.IMAGES}\n" in placed.text()


@files("/etc/rabbitmq/rabbitmq.conf")
def test_rabbitmq_finds_its_members_by_configuration_and_has_no_guest(placed: Placed) -> None:
    lines = placed.text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9_.]+ = \S.*", line) for line in lines)
    values = dict(line.split(" = ", 1) for line in lines)
    topology = _topology(placed.stack)
    nodes = [values[key] for key in values if key.startswith("cluster_formation.classic_config.nodes.")]
    assert nodes == [f"rabbit@{node.name}" for node in topology.voters(Service.RABBITMQ)]
    assert values["default_user"] == "halab"
    assert values["listeners.tcp.1"] == f"{topology.node(placed.step.node).ip}:5672"


@files("/etc/haproxy/entered/apis.cfg")
def test_haproxy_reads_what_backends_enter_beside_its_own_file(
    placed: Placed, put: Callable[[str, str], Path], tmp_path: Path
) -> None:
    pem = put("endpoint.pem", base64.b64decode(SECRETS.endpoint_pem(["a.halab"], [])).decode())
    main = next(one for one in PLACED if one.stack == placed.stack and one.file.path == "/etc/haproxy/haproxy.cfg")
    texts = [one.text().replace("/etc/haproxy/endpoint.pem", str(pem)) for one in (main, placed)]
    (tmp_path / "entered").mkdir()
    first = put("haproxy.cfg", texts[0].replace("user haproxy", "user root").replace("group haproxy", "group root"))
    command = [program("haproxy"), "-c", "-f", str(first), "-f", str(tmp_path / "entered")]
    accepts(command)
    put("entered/apis.cfg", texts[1])
    accepts(command)
    served = re.findall(r"^listen (\S+)", texts[0] + texts[1], re.M)
    assert sorted(set(served)) == sorted(served)
    assert {"galera", "keystone", "glance", "placement"} <= set(served)


@files("/etc/redis/halab-redis.conf")
def test_every_redis_but_the_first_begins_as_its_replica_and_none_is_open(placed: Placed) -> None:
    values = dict(line.split(" ", 1) for line in placed.text().splitlines())
    nodes = _topology(placed.stack).running(Service.REDIS)
    assert values["bind"] == str(_topology(placed.stack).node(placed.step.node).ip)
    assert values.get("replicaof") == (None if placed.step.node == nodes[0].name else f"{nodes[0].ip} 6379")
    assert len(values["requirepass"]) >= 24
    assert values["masterauth"] == values["requirepass"]


@files("/etc/redis/halab-sentinel.conf")
def test_a_majority_of_sentinels_chooses_the_master(placed: Placed) -> None:
    nodes = _topology(placed.stack).running(Service.REDIS)
    monitored = next(line.split() for line in placed.text().splitlines() if line.startswith("sentinel monitor "))
    assert monitored[3] == str(nodes[0].ip)
    assert int(monitored[5]) * 2 > len(nodes)


@files("/etc/default/garb")
def test_the_arbitrators_file_is_shell_that_sets_the_members(placed: Placed, put: Callable[[str, str], Path]) -> None:
    path = put("garb", placed.text())
    done = subprocess.run(
        ["sh", "-eu", "-c", '. "$1"; printf %s "$GALERA_NODES"', "sh", str(path)], capture_output=True, text=True
    )
    members = _topology(placed.stack).running(Service.GALERA)
    assert done.stdout.split() == [f"{node.ip}:4567" for node in members]


@pytest.mark.parametrize("stack", STACKS)
def test_every_step_has_its_action_and_a_script_that_bash_reads(stack: str) -> None:
    for step in _steps(stack):
        assert step.action in step.recipe.actions(), step.name
        done = subprocess.run(["bash", "-n"], input=step.script(), capture_output=True, text=True)
        assert done.returncode == 0, (step.name, done.stderr)


@pytest.mark.parametrize("stack", STACKS)
def test_a_step_names_every_secret_that_its_files_hold(stack: str) -> None:
    for step in _steps(stack):
        held = {name for file in step.files for name in PLACEHOLDER.findall(file.content)}
        assert held <= step.secrets, step.name


@pytest.mark.parametrize("placed", PLACED, ids=lambda one: f"{one.stack}-{one.step.name}-{Path(one.file.path).name}")
def test_a_file_with_a_secret_is_not_for_everyone(placed: Placed) -> None:
    if PLACEHOLDER.search(placed.file.content):
        assert placed.file.mode & 0o007 == 0


@pytest.mark.parametrize("stack", STACKS)
def test_systemd_starts_what_pacemaker_does_not_and_nothing_else(stack: str) -> None:
    topology = _topology(stack)
    started = {step.stage for step in _steps(stack) if step.action == "start"}
    for service in (Service.GALERA, Service.RABBITMQ, Service.MEMCACHED, Service.HAPROXY, Service.KEYSTONE):
        if topology.running(service):
            assert (service in started) != topology.managed(service)


@pytest.mark.parametrize(
    "recipe", sorted((PROJECT / "components" / "services").glob("*.sh")), ids=lambda path: path.stem
)
def test_shellcheck_passes_a_recipe(recipe: Path) -> None:
    checker = program("shellcheck")
    accepts([checker, "--severity=warning", "--exclude=SC2154", str(recipe)])
