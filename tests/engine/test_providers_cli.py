"""A real machine and remote commands through both engines: what one made, the other leaves unchanged and can remove."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from halab.embedded.engine import Engine
from halab.embedded.hypervisor import Hypervisor
from halab.embedded.providers import providers
from tests.engine.harness import PASSPHRASE, STACK, Lab, counted
from tests.engine.private_libvirt import libvirtd, needs_libvirt
from tests.engine.pulumi_cli import MISSING, Cli
from tests.engine.ssh_server import CLIENT, HOST, PEM, Library

PROGRAMS = [*MISSING, *(name for name in ("pulumi-resource-libvirt", "mkisofs") if shutil.which(name) is None)]
pytestmark = [
    needs_libvirt,
    pytest.mark.skipif(bool(PROGRAMS), reason=f"needs on PATH: {PROGRAMS}"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def host() -> Iterator[Hypervisor]:
    with libvirtd("cli") as made:
        yield made


@pytest.fixture
def cli(host: Hypervisor, tmp_path: Path) -> Iterator[Cli]:
    server = Library(HOST, CLIENT)
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    config = {
        "uri": host.uri,
        "image": str(image),
        "folder": str(tmp_path),
        "memory": "64",
        "connection": {
            "host": "127.0.0.1",
            "port": server.port,
            "private_key": PEM,
            "host_key": HOST.export_public_key().decode().strip(),
        },
    }
    yield Cli(Lab(tmp_path / "lab", program="machine", config=config))
    server.stop()
    assert list(host.paths.pool.iterdir()) == []


def embedded(cli: Cli, host: Hypervisor) -> Engine:
    directory = cli.directory
    return Engine(directory, STACK, directory / "state", PASSPHRASE, providers(host.uri))


def memory(cli: Cli, value: str) -> None:
    file = cli.directory / "stacks" / f"Pulumi.{STACK}.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["config"]["lab:memory"] = value
    file.write_text(yaml.safe_dump(tree))


def test_what_the_embedded_engine_made_the_cli_takes_over(cli: Cli, host: Hypervisor) -> None:
    made = embedded(cli, host).up()
    assert made.ok, made.failures
    assert made.outputs["stdout"] == "given"
    cli.import_(embedded(cli, host).export())
    preview = cli.preview("--expect-no-changes", "--refresh")
    assert preview.code == 0, preview.output
    gone = cli.destroy()
    assert gone.code == 0, gone.output


def test_what_the_cli_made_the_embedded_engine_takes_over(cli: Cli, host: Hypervisor) -> None:
    made = cli.up()
    assert made.code == 0, made.output
    embedded(cli, host).import_(cli.export())
    assert not embedded(cli, host).refresh().failures
    again = embedded(cli, host).up()
    assert again.ok, again.failures
    assert not again.changed
    gone = embedded(cli, host).destroy()
    assert gone.ok, gone.failures


def test_both_engines_rebuild_a_machine_by_the_same_steps(cli: Cli, host: Hypervisor) -> None:
    steps: list[Counter[tuple[str, str]]] = []
    assert cli.up().code == 0
    memory(cli, "80")
    steps.append(cli.up().steps)
    assert cli.destroy().code == 0
    memory(cli, "64")
    assert embedded(cli, host).up().ok
    memory(cli, "80")
    steps.append(counted(embedded(cli, host).up()))
    assert embedded(cli, host).destroy().ok
    assert ("create-replacement", "domain") in steps[0]
    assert steps[1] == steps[0]
