"""What one stack asks of this host, a row for each thing: VMs, processors, images, time, addresses, ports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from components.services import gateway
from components.topology import Topology
from components.variant import Service
from halab import engines, hypervisors
from halab.display.text import counted, duration
from halab.embedded.hypervisor.fence import MULTICAST, PORT
from halab.errors import RefusedError
from halab.host.doctor import Check, Verdict
from halab.image import cache
from halab.stacks import budget
from halab.timing import History
from halab.workspace import BUILDABLE, Workspace


def rows(workspace: Workspace, emulated: bool) -> list[Check]:
    """Nothing is changed. `emulated`: whether its VMs will be."""
    topology = workspace.topology
    return [
        _described(workspace),
        _engine(),
        _hypervisor(workspace),
        _vms(topology),
        memory(topology, emulated),
        disk(topology),
        processors(topology, len(os.sched_getaffinity(0)), emulated),
        *images(topology, cache.cache_root()),
        duration_of_up(workspace, emulated),
        *addresses(topology),
        ports(topology),
    ]


def _described(workspace: Workspace) -> Check:
    stack, record = workspace.topology.stack, workspace.record()
    said = f"{stack.name}, variant {stack.variant}: "
    if record and record.hypervisor:
        return Check("stack", Verdict.OK, said + f"was brought up, on {record.hypervisor}")
    if stack.variant in BUILDABLE:
        return Check("stack", Verdict.OK, said + "not up")
    mend = f"up builds {', '.join(sorted(BUILDABLE))}; preview and graph work for this one"
    return Check("stack", Verdict.FAIL, said + "cannot be brought up yet", mend)


def _engine() -> Check:
    return Check("engine", Verdict.OK, str(engines.choose("auto")).removeprefix("engine: "))


def _hypervisor(workspace: Workspace) -> Check:
    try:
        return Check("hypervisor", Verdict.OK, str(hypervisors.choose(workspace)).removeprefix("hypervisor: "))
    except RefusedError as error:
        seen, _, mend = str(error).rpartition(": ")
        return Check("hypervisor", Verdict.FAIL, seen, mend)


def _each(topology: Topology, said: Mapping[str, str]) -> str:
    """`3 controller (…), 1 compute (…)`: what is said of each node, the same thing of a role once."""
    groups = groupby(topology.nodes, key=lambda node: (node.role, said[node.name]))
    return ", ".join(f"{len(list(group))} {role} ({text})" for (role, text), group in groups)


def _vms(topology: Topology) -> Check:
    sizes = {node.name: f"{node.memory} MiB, {counted(node.vcpus, 'vCPU')}, {node.disk} GiB" for node in topology.nodes}
    return Check("VMs", Verdict.OK, f"{len(topology.nodes)}: {_each(topology, sizes)}")


def memory(topology: Topology, emulated: bool) -> Check:
    """At most, with what qemu needs for each beside its memory; whether there is room is the admission's to say."""
    takes = {node.name: f"{budget.memory_of(node, emulated)} MiB" for node in topology.nodes}
    beside = "qemu and translated code" if emulated else "qemu"
    total = budget.memory(topology, emulated)
    return Check("memory of VMs", Verdict.OK, f"up to {total} MiB with {beside}: {_each(topology, takes)}")


def disk(topology: Topology) -> Check:
    """What a disk may grow to is an upper limit; whether there is room is the admission's to say."""
    most = sum(node.disk for node in topology.nodes)
    expected = budget.gib(sum(map(budget.allowance, topology.nodes)))
    names = len({node.image for node in topology.nodes})
    seen = f"{counted(names, 'image')} and what VMs write: about {expected} GiB expected, {most} GiB at most"
    return Check("disk of VMs", Verdict.OK, seen)


def processors(topology: Topology, cores: int, emulated: bool) -> Check:
    total = sum(node.vcpus for node in topology.nodes)
    seen = f"{counted(total, 'virtual CPU')} on {counted(cores, 'core')}{', emulated' if emulated else ''}"
    wide = sorted({node.role for node in topology.nodes if node.vcpus > cores})
    if wide:
        mend = f"roles.{wide[0]}.vcpus: {cores} or fewer: more only wait for each other"
        return Check("processors", Verdict.WARN, seen, mend)
    return Check("processors", Verdict.OK, seen)


def images(topology: Topology, root: Path) -> Iterator[Check]:
    """Each image with its place in the cache, or what building it takes."""
    took = cache.seconds(root)
    for name in sorted({node.image for node in topology.nodes}):
        folder, built = cache.image_directory(name, root), cache.Image.cached(name, root)
        if built is not None:
            size = sum(path.stat().st_blocks for path in folder.iterdir()) * 512 >> 20
            yield Check(f"image {name}", Verdict.OK, f"built, {size} MiB in {folder}")
            continue
        known = [took.get(part) for part in cache.parts(name, root)]
        time = sum(one for one in known if one is not None)
        about = f"about {duration(time)}, as the last time" if None not in known else "nobody knows how long, here"
        state = f"damaged: {cache.damage(folder)}" if folder.exists() else "not built"
        mend = f"up builds it ({about}); sooner: ./halab image build {name}"
        yield Check(f"image {name}", Verdict.WARN, state, mend)


def duration_of_up(workspace: Workspace, emulated: bool) -> Check:
    """By what earlier ups' steps took on this host, of this stack or else of any."""
    names = [step.name for step in workspace.plan.steps]
    how = "emulated" if emulated else "with KVM"
    own = History.read(workspace.history).remaining(names, {})
    if own is not None:
        return Check("an up takes", Verdict.OK, f"about {duration(own)} ({how}), as its last one here")
    others = together(map(History.read, sorted(workspace.history.parent.glob("*.json"))))
    found = others.remaining(names, {})
    if found is not None:
        return Check("an up takes", Verdict.OK, f"about {duration(found)} ({how}), by other stacks' ups here")
    usual = "; emulated VMs are some ten times slower than with KVM" if emulated else ""
    return Check("an up takes", Verdict.OK, f"not known before the first one on this host ({how}){usual}")


def together(histories: Iterable[History]) -> History:
    """The steps that any of them knows."""
    found = [one for one in histories if one.seconds]
    seconds = {label: took for one in found for label, took in one.seconds.items()}
    return History(seconds, min((one.together for one in found), default=1.0))


def addresses(topology: Topology) -> Iterator[Check]:
    for network in topology.networks:
        seen = f"{network.cidr}, bridge {network.bridge}, this host is {network.host.ip}"
        yield Check(f"network {network.key}", Verdict.OK, seen)
    yield Check("addresses", Verdict.OK, ", ".join(f"{vip.name} {vip.ip}" for vip in topology.vips) or "none")


def ports(topology: Topology) -> Check:
    seen = []
    for node in topology.running(Service.GATEWAY):
        outside = next((nic.ip for nic in node.nics if nic.network == topology.outer.key), node.ip)
        seen.append(f"TCP {', '.join(map(str, gateway.ports(topology)))} on {outside} ({node.name})")
    if topology.clusters:
        seen.append(f"UDP {PORT} to {MULTICAST} on bridge {topology.cloud.bridge} (fencing)")
    return Check("ports", Verdict.OK, "; ".join(seen) or "none")
