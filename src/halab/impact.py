"""What a change of a stack touches, in words: members, votes, VIPs, and what is done again on which nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.topology import Cluster, Topology, Vip
from components.variant import Membership, Service
from halab.labels import name_of, type_of

_DOMAIN = "libvirt:index/domain:Domain"
_COMMAND = "command:remote:Command"
#: Services whose members vote.
_VOTING = (Service.GALERA, Service.RABBITMQ)
#: Services with what nobody else has a copy of.
_KEEPERS = {Service.NFS: "the images of glance"}


@dataclass(frozen=True, slots=True)
class Change:
    """Nodes by what happens to their VMs, and steps that run again on VMs that stay, by name."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.rebuilt or self.again)


def change(steps: Iterable[tuple[str, str, Mapping[str, object]]]) -> Change:
    """From the steps of an engine's summary: (operation, URN, differences)."""
    found: dict[str, list[str]] = {"create": [], "delete": [], "replace": []}
    again: list[str] = []
    for op, urn, _ in steps:
        kind, name = type_of(urn), name_of(urn)
        if kind == _DOMAIN and op in found:
            found[op].append(name.removesuffix("-domain"))
        elif kind == _COMMAND and op in ("update", "replace"):
            again.append(name)
    rebuilt = set(found["replace"])
    stay = (name for name in again if name.partition("@")[2] not in rebuilt)
    return Change(tuple(found["create"]), tuple(found["delete"]), tuple(found["replace"]), tuple(stay))


def words(topology: Topology, change: Change, owners: Mapping[str, str] | None = None) -> list[str]:
    """A line for each cluster, service, VIP and step that is touched; nothing for a stack that is made anew.

    `topology` is that after the change; `owners`, where it is known, says which node holds which VIP now.
    """
    if set(change.added) >= {node.name for node in topology.nodes}:
        return []
    return [
        *(line for cluster in topology.clusters for line in _cluster(cluster, change)),
        *(line for service in _VOTING for line in _votes(topology, service, change)),
        *_alone(topology, change),
        *_vips(topology, change, owners),
        *_again(topology, change),
    ]


def too_many(topology: Topology, change: Change) -> list[str]:
    """What so many of its nodes cannot leave at once, a line each. `topology` is that after the change."""
    going = {*change.rebuilt, *change.removed}
    found: list[str] = []
    groups = [(f"Pacemaker cluster {c.name}", [node.name for node in c.members]) for c in topology.clusters]
    groups += [(str(service), [node.name for node in topology.voters(service)]) for service in _VOTING]
    for what, voters in groups:
        before = {*voters, *_removed(topology, change, voters)} - set(change.added)
        stay = len(before - going)
        if stay < quorum(len(before)) and before & going:
            verb = _verb("leaves", sorted(before & going))
            found.append(
                f"{what}: {_and(sorted(before & going))} {verb} at once; {stay} of {len(before)} votes stay, and a "
                f"quorum is {quorum(len(before))}"
            )
    alone: dict[tuple[str, ...], list[str]] = {}
    for service in Service:
        names = tuple(node.name for node in topology.running(service))
        if service not in _VOTING and len(names) > 1 and set(names) <= set(change.rebuilt):
            alone.setdefault(names, []).append(str(service))
    found += [f"{_and(services)}: {_and(names)} leave at once; nobody is left" for names, services in alone.items()]
    return found


def one_by_one(topology: Topology, change: Change) -> str:
    """The command that rebuilds the same nodes one after the other, "" where none is rebuilt."""
    names = [node.name for node in topology.nodes if node.name in change.rebuilt]
    return f"./halab replace {' '.join(names)} --stack {topology.stack.name}" if names else ""


def quorum(votes: int) -> int:
    """The fewest of `votes` that are a majority."""
    return votes // 2 + 1


def _removed(topology: Topology, change: Change, like: Sequence[str]) -> tuple[str, ...]:
    """Removed nodes that belonged where `like` does: the topology after the change knows them by their role alone."""
    roles = {topology.node(name).role for name in like}
    return tuple(name for name in change.removed if name.rpartition("-")[0] in roles)


def _cluster(cluster: Cluster, change: Change) -> Iterator[str]:
    members = [node.name for node in cluster.members]
    gone = [name for name in change.removed if name.rpartition("-")[0] in {node.role for node in cluster.members}]
    yield from _group(f"Pacemaker cluster {cluster.name}", members, len(members), gone, change)
    remotes = [node.name for node in cluster.remotes]
    roles = {node.role for node in cluster.remotes}
    for verb, names in (
        ("joins", [name for name in remotes if name in change.added]),
        ("leaves", [name for name in change.removed if name.rpartition("-")[0] in roles]),
        ("leaves and joins again", [name for name in remotes if name in change.rebuilt]),
    ):
        if names:
            yield f"Pacemaker cluster {cluster.name}: {_and(names)} {_verb(verb, names)} as remote; no vote changes"


def _votes(topology: Topology, service: Service, change: Change) -> Iterator[str]:
    keepers = [node.name for node in topology.running(service)]
    voters = [node.name for node in topology.voters(service)]
    yield from _group(str(service), voters, len(keepers), _removed(topology, change, keepers), change)


def _group(what: str, voters: Sequence[str], keepers: int, gone: Sequence[str], change: Change) -> Iterator[str]:
    """`voters`: those after the change, of which the first `keepers` hold the data."""
    added = [name for name in voters if name in change.added]
    rebuilt = [name for name in voters if name in change.rebuilt]
    before = len(voters) - len(added) + len(gone)
    if added or gone:
        yield (
            f"{what}: {_sentence((('joins', added), ('leaves', gone)))}; {before} → {len(voters)} votes, "
            f"quorum {quorum(before)} → {quorum(len(voters))}"
        )
    if rebuilt:
        stay = before - len(gone) - len(rebuilt)
        whole = not set(voters[:keepers]) - set(rebuilt)
        holds = stay >= quorum(before)
        yield f"{what}: {_and(rebuilt)} {_verb('leaves and joins again', rebuilt)}; " + (
            f"{stay} of {before} votes stay: quorum ({quorum(before)}) holds"
            if holds
            else "all of it goes, and what it holds is lost"
            if whole
            else f"only {stay} of {before} votes stay: quorum ({quorum(before)}) is lost meanwhile"
        )


def _alone(topology: Topology, change: Change) -> Iterator[str]:
    for node in topology.nodes:
        if node.name not in change.rebuilt:
            continue
        for service in node.services:
            if len(topology.running(service)) == 1:
                kept = f", and {_KEEPERS[service]} are deleted" if service in _KEEPERS else ""
                yield f"{service}: {node.name} is the only one that runs it: it is away meanwhile{kept}"


def _vips(topology: Topology, change: Change, owners: Mapping[str, str] | None) -> Iterator[str]:
    moving: dict[tuple[str, ...], list[str]] = {}
    for vip in topology.vips:
        hit = [name for name in vip.nodes if name in change.rebuilt]
        if hit and (owners is None or owners.get(vip.name) in hit):
            moving.setdefault(_heirs(vip, hit), []).append(vip.name)
    for heirs, names in moving.items():
        where = f"to {_or(heirs)}" if heirs else "nowhere: no node is left to hold them"
        known = "move" if owners is not None else "move, where held by a node that goes,"
        noun, verb = ("VIP", known.replace("move", "moves", 1)) if len(names) == 1 else ("VIPs", known)
        yield f"{noun} {_and(names)}: {verb} {where}"


def _heirs(vip: Vip, hit: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in vip.nodes if name not in hit)


def _again(topology: Topology, change: Change) -> Iterator[str]:
    """Steps by stage; for a service on a VIP the line names it."""
    stages: dict[str, dict[str, list[str]]] = {}
    for name in change.again:
        action, _, node = name.partition("@")
        stages.setdefault(action.partition(".")[0], {}).setdefault(action, []).append(node)
    for stage, actions in stages.items():
        nodes = sorted({node for found in actions.values() for node in found if node})
        vip = next((vip.name for vip in topology.vips if stage in vip.services), "")
        done = ", ".join(action.partition(".")[2] for action in actions)
        yield f"{stage}: {done} again" + (f" on {_and(nodes)}" if nodes else "") + (f" (VIP {vip})" if vip else "")


def lonely(topology: Topology, node: str) -> str:
    """Why a node's disk must not be thrown away, "" if it may: what it holds, nobody else does."""
    for service in topology.node(node).services:
        if service in _KEEPERS and len(topology.running(service)) == 1:
            return f"{node} alone holds {_KEEPERS[service]} ({service})"
    return ""


def short_of_votes(topology: Topology, node: str, well: Mapping[str, frozenset[str]]) -> list[str]:
    """What would lose its quorum without the node, now. `well`: by cluster's or service's name, who of it works."""
    found: list[str] = []
    one = topology.node(node)
    groups: list[tuple[str, str, list[str]]] = [
        (f"Pacemaker cluster {cluster.name}", cluster.name, [member.name for member in cluster.members])
        for cluster in topology.clusters
        if one.cluster == cluster.name and one.membership is Membership.FULL
    ]
    for service in _VOTING:
        voters = [voter.name for voter in topology.voters(service)]
        if node in voters:
            groups.append((str(service), str(service), voters))
    for what, key, voters in groups:
        left = well.get(key, frozenset()) & set(voters) - {node}
        if len(left) < quorum(len(voters)):
            found.append(
                f"{what}: without {node} {len(left)} of {len(voters)} would work"
                f"{f' ({_and(sorted(left))})' if left else ''}, and a quorum is {quorum(len(voters))}"
            )
    return found


def _sentence(parts: Iterable[tuple[str, Sequence[str]]]) -> str:
    return ", ".join(f"{_and(names)} {_verb(verb, names)}" for verb, names in parts if names)


def _verb(verb: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return verb
    return verb.replace("joins", "join").replace("leaves", "leave")


def _and(names: Sequence[str]) -> str:
    return _list(names, "and")


def _or(names: Sequence[str]) -> str:
    return _list(names, "or")


def _list(names: Sequence[str], word: str) -> str:
    if len(names) > 6:
        return f"{names[0]}, {names[1]} … {word} {names[-1]} ({len(names)})"
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
