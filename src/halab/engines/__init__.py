"""Which engine runs the program: the Pulumi CLI with its plugins at the pinned versions, else halab's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from halab import program
from halab.embedded.engine.events import Event, Summary
from halab.errors import RefusedError
from halab.host import pulumi_cli
from halab.hypervisors import Choice
from halab.workspace import Workspace

#: Operations at once: steps wait for nodes more than they work.
PARALLEL = 64
OnEvent = Callable[[Event], object]
Asked = Literal["auto", "cli", "embedded"]


class Runner(Protocol):
    """One stack's program under one engine. Every method may raise an error whose text is for the user."""

    name: Literal["cli", "embedded"]

    def preview(self, on_event: OnEvent, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary: ...
    def up(self, on_event: OnEvent, target: Sequence[str] = (), replace: Sequence[str] = ()) -> Summary:
        """`target`: names or URN patterns to which the run is limited; `replace`: of what is replaced in any case."""
        ...

    def refresh(self, on_event: OnEvent) -> Summary: ...
    def destroy(self, on_event: OnEvent) -> Summary: ...
    def outputs(self) -> Mapping[str, Any]: ...
    def resources(self) -> list[Mapping[str, Any]]:
        """The `resources` of the checkpoint, secrets closed."""
        ...

    def cancel(self) -> None:
        """Start nothing new; running operations go on to their end."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """`why` ends the sentence that tells the user which engine runs."""

    name: Literal["cli", "embedded"]
    why: str

    def __str__(self) -> str:
        return f"engine: {'Pulumi CLI' if self.name == 'cli' else 'embedded'} ({self.why})"


def choose(asked: Asked) -> Engine:
    """Raises RefusedError when the CLI was asked for and is not complete."""
    if asked == "embedded":
        return Engine("embedded", "as asked")
    lacking = "; ".join(pulumi_cli.lacking())
    if not lacking:
        return Engine("cli", "as asked" if asked == "cli" else "installed with its plugins")
    if asked == "cli":
        raise RefusedError(f"--engine cli: {lacking}; run ./halab doctor --install, or leave --engine out")
    return Engine("embedded", lacking)


def runner(
    workspace: Workspace,
    engine: Engine,
    hypervisor: Choice,
    domain_type: str | None = None,
    parallel: int = PARALLEL,
) -> Runner:
    """`domain_type`: kvm or qemu where it is known; else the program finds out. `parallel`: operations at once."""
    if engine.name == "cli":
        from halab.engines.cli import PulumiCli

        return PulumiCli(workspace, environment(hypervisor.uri, domain_type), parallel)
    from halab.engines.embedded import Embedded

    return Embedded(workspace, hypervisor.uri, environment(hypervisor.uri, domain_type), parallel=parallel)


def environment(uri: str, domain_type: str | None) -> dict[str, str]:
    """What the program is told of the host by its environment."""
    return {program.URI: uri, **({program.DOMAIN_TYPE: domain_type} if domain_type else {})}
