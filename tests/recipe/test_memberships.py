"""A member of a queue or database cluster that is rebuilt is answered for by another member."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.plan import plan
from components.topology import derive
from components.variant import Service, Variant, load

PROJECT = Path(__file__).resolve().parents[2]
STACKS = sorted(Variant)


@pytest.mark.parametrize("service", [Service.RABBITMQ, Service.GALERA])
@pytest.mark.parametrize("stack", STACKS)
def test_each_member_has_one_witness_that_is_another_member(stack: str, service: Service) -> None:
    topology = derive(load(PROJECT, stack))
    # RabbitMQ's tie-breaker is a whole member; Galera's is a vote without data.
    members = topology.voters(service) if service is Service.RABBITMQ else topology.running(service)
    names = {node.name for node in members}
    steps = [step for step in plan(topology).steps if step.stage == service and step.action == "member"]
    assert sorted(name for step in steps for name in step.members) == sorted(names)
    assert {step.node for step in steps} == names
    assert all(step.node not in step.members for step in steps)


@pytest.mark.parametrize("stack", STACKS)
def test_the_queues_cluster_forgets_a_member_before_it_is_rebuilt(stack: str) -> None:
    topology = derive(load(PROJECT, stack))
    steps = [step for step in plan(topology).steps if step.members and step.stage == Service.RABBITMQ]
    forget = [step for step in steps if f"{step.action}_down" in step.recipe.actions()]
    assert sorted(name for step in forget for name in step.members) == sorted(
        node.name for node in topology.voters(Service.RABBITMQ)
    )
    # undone in the reverse of their order: what has the member stand by is after what forgets it
    for step in forget:
        for admission in plan(topology).steps:
            if admission.name.startswith("pacemaker.admit@") and admission.members == step.members:
                assert step.name in plan(topology).ancestors(admission.name)
