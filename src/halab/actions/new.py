"""Write the file of a stack of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.topology import Topology, derive
from components.variant import CONFIG_KEY, Variant, parse, stack_file
from halab import hypervisors
from halab.display import text
from halab.embedded.hypervisor.paths import state_folder
from halab.embedded.provider import ProviderError
from halab.errors import DONE, RefusedError
from halab.stacks import admission, budget, claims, edit, host
from halab.stacks.claims import Claim, Taken
from halab.stacks.known import known
from halab.stacks.machines import running
from halab.workspace import BUILDABLE

_TOP = ("config", CONFIG_KEY)


@dataclass(frozen=True, slots=True)
class Setting:
    """`--set roles.compute.count=2`: a key's path below the stack's description, and its value as YAML."""

    path: tuple[str, ...]
    value: object

    @classmethod
    def read(cls, argument: str) -> Setting:
        """Raises RefusedError for what is no setting."""
        key, equals, value = argument.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise RefusedError(f"--set: {argument!r}: a key and a value like roles.compute.count=2 are needed")
        try:
            return cls(path, yaml.safe_load(value))
        except yaml.YAMLError:
            raise RefusedError(f"--set {key}: {value!r}: a YAML value on one line is needed") from None


def run(project: Path, name: str, variant: Variant, settings: Sequence[str]) -> int:
    """Raises StackError for what the rules of stack files forbid, RefusedError for what this host does."""
    path = stack_file(project, name)
    source = str(path.relative_to(project))
    if path.exists():
        raise RefusedError(f"{name}: {source} is there already: edit it, or choose another name")
    written = _described(project, variant, [Setting.read(one) for one in settings])
    topology = _topology(name, written, source)
    taken = _taken(project, name)
    moved = claims.moved(topology.networks, taken)
    reasons = [
        line
        for line in claims.clashes(Claim.of(topology, hypervisors.SYSTEM), (), taken)
        if line.startswith("networks.")
    ]
    for key, network in moved.items():
        written = edit.put(written, (*_TOP, "networks", key), str(network))
    topology = _topology(name, written, source)
    if left := claims.clashes(Claim.of(topology, hypervisors.SYSTEM), (), taken):
        raise RefusedError("\n".join(f"{name}: {line}; no other is free" for line in left))
    with path.open("x") as file:
        file.write(written)
    _tell(topology, source, variant, reasons)
    return DONE


def _described(project: Path, variant: Variant, settings: Sequence[Setting]) -> str:
    written = stack_file(project, variant).read_text()
    for setting in settings:
        try:
            written = edit.put(written, (*_TOP, *setting.path), setting.value)
        except edit.EditError as error:
            raise RefusedError(f"--set {'.'.join(setting.path)}: {error}") from None
    return written


def _topology(name: str, written: str, source: str) -> Topology:
    return derive(parse(name, yaml.safe_load(written)["config"][CONFIG_KEY], source))


def _taken(project: Path, name: str) -> list[Taken]:
    """What all other stacks have or would have, wherever they are, and this host's routes and libvirt's networks.

    Raises RefusedError for a name that is up without a file.
    """
    found: list[Taken] = []
    own = state_folder()
    for one in known(project, running(), own):
        if one.name == name and one.state == own and one.traces:
            raise RefusedError(
                f"{name}: a stack of that name is there although its file is gone: "
                f"./halab down --stack {name} removes it, or choose another name"
            )
        if one.topology:
            found += claims.taken_by(Claim.of(one.topology, hypervisors.SYSTEM))
    bridges = {one.bridge for one in found}
    return [*found, *(one for one in _in_use() if one.bridge not in bridges)]


def _in_use() -> list[Taken]:
    try:
        if any(Path(one).exists() for one in hypervisors.SOCKETS) and hypervisors.answers(hypervisors.SYSTEM):
            return admission.in_use(hypervisors.SYSTEM)
    except ProviderError:
        pass  # it went away meanwhile: up looks again
    return host.routes()


def _tell(topology: Topology, source: str, variant: Variant, reasons: Sequence[str]) -> None:
    console = text.console()
    name = topology.stack.name
    console.print(f"{source}: variant {variant}, {text.counted(len(topology.nodes), 'VM')}, "
                  f"up to {budget.memory(topology, emulated=False)} MiB of memory")  # fmt: skip
    for network in topology.networks:
        console.print(f"  {network.key:<6} {network.cidr}")
    for line in reasons:
        console.print(f"  written into it: another network, since {line.removeprefix('networks.')}")
    console.print("  git ignores it; its keys and passwords are made at its first up")
    if variant in BUILDABLE:
        console.print(f"  next: ./halab preview --stack {name} · ./halab up --stack {name}")
    else:
        console.print(f"  next: ./halab preview --stack {name} (up builds {', '.join(sorted(BUILDABLE))} only, so far)")
