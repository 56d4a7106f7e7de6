"""One fault on one cloud: the clients that ask it, the blow, and what is so afterwards."""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from rich.console import Console

from components import services
from components.parts import Listener
from components.variant import Service
from halab import status
from halab.actions import cloud
from halab.actions import status as status_action
from halab.errors import HalabError
from halab.fault import course, faults, result
from halab.fault.course import Conductor, Course, Look
from halab.fault.faults import Fault, Scene
from halab.fault.outage import ProbeSummary, summary
from halab.fault.power import Power
from halab.fault.probe import Https, Loop, Ping, Probe, Row, Token
from halab.fault.result import Result
from halab.host.probe import virt_type
from halab.keys import Keys
from halab.remote import Remote
from halab.verify.context import Context, script
from halab.workspace import Workspace, now

#: Seconds for one answer, by what runs the guests: an emulated one needs a second for what a real one does at once.
PROBE_LIMIT = {"kvm": 2.0, "qemu": 5.0}
#: Seconds for a login by password, once, before the fault.
_LOGIN = 120.0
#: The longest that a service's own monitor waits between two looks (components/services/*.py), seconds.
_MONITOR = 45.0
#: How often a recovery is tried, and seconds between two tries: emulated nodes boot for minutes.
_RECOVERIES, _RECOVERY_PAUSE = 20, 20.0
#: Seconds for one script on a database member.
_SQL_LIMIT = 120.0
_USER = "halab_fault"
_MAKE = """mysql <<SQL
DROP DATABASE IF EXISTS $user;
CREATE DATABASE $user;
CREATE TABLE $user.probe (n BIGINT PRIMARY KEY) ENGINE=InnoDB;
CREATE OR REPLACE USER '$user'@'%' IDENTIFIED BY '$password' REQUIRE SSL;
GRANT ALL ON $user.* TO '$user'@'%';
SQL
"""
_READ = 'mysql -N -B -e "SET SESSION wsrep_sync_wait=1; SELECT n FROM $user.probe"\n'
_DROP = "mysql -e \"DROP USER IF EXISTS '$user'@'%'; DROP DATABASE IF EXISTS $user\"\n"
#: What every problem of a status report has that is the record of a failed action.
_RECORD = " failed on "


class Experiment:
    """From this process, which is where the cloud's addresses are. `seed`: of what is left to chance; `key`: of the
    golden cloud; `limit`: seconds until all must be well again."""

    def __init__(
        self,
        workspace: Workspace,
        fault: Fault,
        uri: str,
        seed: int,
        key: str,
        limit: float,
        console: Console,
    ) -> None:
        self._workspace, self._fault, self._seed, self._until = workspace, fault, seed, limit
        self._console, self._key, self._power = console, key, Power(workspace.topology, uri)
        asked = workspace.topology.stack.hypervisor.domain_type
        self._accelerator = virt_type(workspace.state).domain_type if asked == "auto" else asked
        self._limit = PROBE_LIMIT[self._accelerator]
        self._keys: Keys = cloud.keys(workspace)
        self._password = secrets.token_hex(16)

    async def carry_out(self) -> Result:
        topology = self._workspace.topology
        began = now()
        async with cloud.remote(self._workspace) as remote:
            await self._sql(remote, script(_MAKE, user=_USER, password=self._password))
            try:
                row, probes = await asyncio.to_thread(self._probes)
                with Loop(probes) as loop:
                    done, summaries = await self._watched(remote, loop)
                lost = await self._lost(remote, row.acknowledged)
            finally:
                with suppress(HalabError):
                    await self._sql(remote, script(_DROP, user=_USER))
            checks = await self._checks(remote)
            with suppress(HalabError):
                await self._forget(remote)
        failed = [str(check["check"]) for check in checks if not check["ok"]]
        problems = [
            done.problem,
            *done.breaches,
            f"{lost} confirmed writes are gone" if lost else "",
            f"fails after the fault: {'; '.join(failed)}" if failed else "",
        ]
        told = "; ".join(problem for problem in problems if problem)
        return result.from_course(
            done,
            summaries,
            fault=self._fault.name,
            stack=self._workspace.stack,
            variant=str(topology.stack.variant),
            began=began,
            seed=self._seed,
            ok=not told,
            problem=told,
            goals=dict(self._fault.goals(topology)),
            acknowledged=len(row.acknowledged),
            lost=lost,
            checks=checks,
            probe_limit=self._limit,
            accelerator=self._accelerator,
            host=result.host(),
            versions=result.versions(self._workspace),
            key=self._key[:12],
        )

    async def _sql(self, remote: Remote, text: str) -> str:
        """A script on a database member that answers. Raises HalabError where none does."""
        problem = HalabError("no database member")
        for node in self._workspace.topology.running(Service.GALERA):
            try:
                done = await remote.execute(node.name, text, limit=_SQL_LIMIT)
            except HalabError as error:
                problem = error
                continue
            if done.status == 0:
                return done.stdout
            problem = HalabError(f"{node.name}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
        raise problem

    async def _lost(self, remote: Remote, acknowledged: Sequence[int]) -> int:
        """How many confirmed rows are gone: all of them where no member can tell."""
        try:
            rows = {int(n) for n in (await self._sql(remote, script(_READ, user=_USER))).split()}
        except HalabError as error:
            self._console.print(f"no database member tells its rows: {error}", style="bold red")
            rows = set()
        return len(set(acknowledged) - rows)

    def _probes(self) -> tuple[Row, Mapping[str, Probe]]:
        """Logs in once: raises HalabError where that is not possible."""
        topology, ca, limit = self._workspace.topology, self._keys.ca, self._limit
        database, identity = topology.vip(Service.GALERA), topology.vip(Service.KEYSTONE)
        galera, keystone = self._listener(Service.GALERA), self._listener(Service.KEYSTONE)
        name = topology.endpoint_host(Service.KEYSTONE)
        https = Https(str(identity.ip), keystone.port, name, ca, limit)
        row = Row(str(database.ip), galera.port, _USER, self._password, ca, limit)
        try:
            token = Token(https, self._keys.secrets.value("KEYSTONE_ADMIN"), _LOGIN)
        except (OSError, ValueError) as error:
            raise HalabError(f"no token through {identity.ip} before the fault: {error}; see ./halab status") from None
        return row, {"ping": Ping(str(database.ip)), "api": https, "token": token, "database": row}

    def _listener(self, service: Service) -> Listener:
        make = services.PARTS[service].listener
        assert make is not None, f"{service} is behind HAProxy (topology.PROXIED)"
        return make(self._workspace.topology)

    async def _watched(self, remote: Remote, loop: Loop) -> tuple[Course, Mapping[str, ProbeSummary]]:
        """The fault between a calm and a calm, and what each probe saw of it."""
        timers = self._workspace.topology.stack.timers
        conductor = Conductor(
            self._fault,
            loop,
            lambda: self._look(remote),
            self._power.vms,
            settle=course.settle(timers.token / 1000, _MONITOR),
            limit=self._until,
            tell=lambda at, what: self._console.print(f"{at:7.1f} s  {what}"),
        )
        self._console.print(f"{self._fault.name}: {self._fault.does}; seed {self._seed}")
        scene = await self._scene(remote, conductor)
        await conductor.calm()
        done = await conductor.carry_out(scene)
        samples = loop.samples(conductor.zero)
        return done, {name: summary(found, -course.CALM, done.ended) for name, found in samples.items()}

    async def _scene(self, remote: Remote, conductor: Conductor) -> Scene:
        """Raises HalabError for a cloud that is not well."""
        topology = self._workspace.topology
        answers, report = await self._report(remote)
        if not report.well:
            raise HalabError(
                f"{self._workspace.stack} is not well before the fault: {_trouble(report)}; ./halab status"
            )
        owners = {vip.name: vip.owner for vip in report.vips}
        stats = answers[owners[topology.vip(Service.GALERA).name]].said.get("haproxy", "")
        writer = faults.active_backend(stats, Service.GALERA)
        if not writer:
            raise HalabError(f"HAProxy names no active database backend; it says: {stats[:200]!r}")
        return Scene(
            topology=topology,
            power=self._power,
            run=remote.run,
            strike=conductor.strike,
            owners=owners,
            writer=writer,
            recover=self._recover,
            chance=random.Random(self._seed),
        )

    async def _report(self, remote: Remote) -> tuple[Mapping[str, status.NodeAnswer], status.Report]:
        vms = {name: vm.state for name, vm in (await asyncio.to_thread(self._power.vms)).items()}
        answers = await status_action.ask(self._workspace, remote, vms)
        record = self._workspace.record()
        return answers, status.report(self._workspace.topology, answers, record.fenced if record else {})

    async def _look(self, remote: Remote) -> Look:
        """A record of a failed action is no failure: it is what is left of one, and expires."""
        _, report = await self._report(remote)
        twice = [f"VIP {vip.name} is held by {vip.owner} at once" for vip in report.vips if "," in vip.owner]
        works = replace(report, problems=tuple(one for one in report.problems if _RECORD not in one))
        return Look("" if works.well else _trouble(works), "; ".join(twice))

    async def _forget(self, remote: Remote) -> None:
        """Without a resource's name all records of failed actions, some of which never expire."""
        for cluster in self._workspace.topology.clusters:
            await remote.run(cluster.members[0].name, "crm_resource --cleanup >/dev/null 2>&1\n")

    async def _recover(self) -> None:
        """Again and again, as a person would, until the nodes that boot answer. Raises HalabError at the limit."""
        command = [str(self._workspace.project / "halab"), "recover", "--stack", self._workspace.stack]
        for _ in range(_RECOVERIES):
            tried = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr
            )
            if await tried.wait() == 0:
                return
            await asyncio.sleep(_RECOVERY_PAUSE)
        raise HalabError(f"{self._workspace.stack}: ./halab recover failed {_RECOVERIES} times; it said why above")

    async def _checks(self, remote: Remote) -> tuple[Mapping[str, object], ...]:
        """What is too dear to ask every half second: a quorum queue through each RabbitMQ, Galera on each node."""
        from halab import verify
        from halab.verify.questions import database, messaging

        context = Context(
            topology=self._workspace.topology, run=remote.run, secrets=self._keys.secrets, ca=self._keys.ca
        )
        report = await verify.run(context, (database.component, messaging.quorum_queue))
        return tuple({"check": f.check, "ok": f.ok, "evidence": f.evidence} for f in report.findings)


def _trouble(report: status.Report) -> str:
    """One line of what a report shows in red."""
    found = [f"{node.name}: {node.problem or node.cluster or node.vm}" for node in report.nodes if not node.well]
    found += [f"VIP {vip.name} is held by {vip.owner}" for vip in report.vips if not vip.well]
    found += [
        f"{service.service} on {member.node}: {member.state}"
        for service in report.services
        for member in service.members
        if not member.well
    ]
    found += [f"{one.target}: fence devices not started" for one in report.fencing if not one.started]
    found += report.problems
    return "; ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
