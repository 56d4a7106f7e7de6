"""The steps of a plan as commands on the nodes. The only file that makes remote commands.

A step's script is its stdin, so a changed recipe converges again in place. A rebuilt VM's steps go and come with its
domain (`deleted_with`); steps elsewhere that name it in `members` are undone before it goes and done again after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import pulumi
from pulumi_command import remote

from components.recipe import File
from components.secrets import ENDPOINT_PEM, Secrets
from components.steps import Step, StepGraph
from components.topology import Topology

SECRETS_FILE = "/etc/halab/secrets.env"
#: Seconds for a step's undo, which must not hang on a member that is dead.
_DOWN_LIMIT = 300
#: A first boot under emulation on a loaded host takes minutes; after this it will not come any more.
_BOOT_LIMIT = "20m"

Connect = Callable[[str, bool], remote.ConnectionArgs]


class Rebuilt(Protocol):
    """A VM: its domain, and all the resources of which any one's replacement means another VM.

    The engine undoes what names a resource before that one goes, but not what names a dependent that goes with it.
    """

    @property
    def domain(self) -> pulumi.Resource: ...
    @property
    def parts(self) -> Sequence[pulumi.Resource]: ...


def connections(topology: Topology, secrets: Secrets) -> Connect:
    """The one way to reach a node: `connect(node, booting)`; a booting node is dialled until the command's limit.

    Any change of a connection re-runs every step of its node: nothing in it may depend on the run.
    """
    private_key = secrets.ssh_private("client")

    def connect(node: str, booting: bool) -> remote.ConnectionArgs:
        return remote.ConnectionArgs(
            host=str(topology.node(node).ip),
            user="root",
            private_key=private_key,
            host_key=secrets.ssh_public(node),
            dial_error_limit=-1 if booting else 20,
            # A VM that boots drops what it is sent: dial anew rather than wait for TCP to.
            per_dial_timeout=3,
        )

    return connect


def hands_over_secrets(step: Step) -> bool:
    """Whether this is its node's one step whose script holds secrets."""
    return step.name == f"machine.secrets@{step.node}"


def secrets_file(names: Iterable[str], topology: Topology, secrets: Secrets) -> File:
    """What `secret` and `put_file` of lib.sh read on a node: a line NAME=value for each name."""
    hosts = [f"{vip.name}.{topology.domain}" for vip in topology.vips]
    outside = [nic.ip for node in topology.nodes for nic in node.nics if nic.network == topology.outer.key]
    addresses = [vip.ip for vip in topology.vips] + outside
    lines = [
        f"{name}={secrets.endpoint_pem(hosts, addresses) if name == ENDPOINT_PEM else secrets.value(name)}\n"
        for name in sorted(names)
    ]
    return File(SECRETS_FILE, "".join(lines), mode=0o600)


class Stage(pulumi.ComponentResource):
    """The steps of one stage, `galera.configure@…` to `galera.ready`."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("halab:command:Stage", name, opts=opts)


class Bootstrap(pulumi.ComponentResource):
    """Every step of the plan, in its order and no other."""

    def __init__(
        self,
        plan: StepGraph,
        topology: Topology,
        secrets: Secrets,
        machines: Mapping[str, Rebuilt],
        after: Iterable[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`machines` by node name. Steps that are after no other step wait for their domain and for `after`."""
        super().__init__("halab:command:Bootstrap", "bootstrap", opts=opts)
        self._topology, self._secrets, self._machines = topology, secrets, machines
        self._connect = connections(topology, secrets)
        held: dict[str, set[str]] = {}
        for step in plan.steps:
            held.setdefault(step.node, set()).update(step.secrets)
        stages: dict[str, Stage] = {}
        self.commands: dict[str, remote.Command] = {}
        for step in plan.topological():
            stage = stages.get(step.stage) or stages.setdefault(
                step.stage, Stage(step.stage, pulumi.ResourceOptions(parent=self))
            )
            before = [self.commands[name] for name in sorted(step.after)]
            self.commands[step.name] = self._command(
                step, stage, before or [machines[step.node].domain, *after], self._stdin(step, held[step.node])
            )
        for stage in stages.values():
            stage.register_outputs({})
        self.register_outputs({})

    def _stdin(self, step: Step, held: Iterable[str]) -> pulumi.Input[str]:
        if not hands_over_secrets(step):
            return step.script()
        file = secrets_file(held, self._topology, self._secrets)
        return pulumi.Output.secret(replace(step, files=(*step.files, file)).script())

    def _command(
        self, step: Step, stage: Stage, after: Iterable[pulumi.Resource], stdin: pulumi.Input[str]
    ) -> remote.Command:
        booting = step.name == f"machine.ready@{step.node}"
        down = f"{step.action}_down"
        undone = step.members and down in step.recipe.actions()
        return remote.Command(
            step.name,
            connection=self._connect(step.node, booting),
            stdin=stdin,
            create=f"timeout -k 10 {step.timeout} bash -s {step.action}",
            delete=f"timeout -k 10 {_DOWN_LIMIT} bash -s {down}" if undone else None,
            add_previous_output_in_env=False,
            logging=remote.Logging.STDERR,
            opts=pulumi.ResourceOptions(
                parent=stage,
                depends_on=list(after),
                delete_before_replace=True,
                deleted_with=self._machines[step.node].domain,
                replace_with=[part for name in sorted(step.members) for part in self._machines[name].parts] or None,
                custom_timeouts=pulumi.CustomTimeouts(create=_BOOT_LIMIT, update=_BOOT_LIMIT) if booting else None,
            ),
        )
