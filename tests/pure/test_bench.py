"""Benches: figures, the pcs commands that make the same cluster, and the stack of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from components.cluster import cib
from components.plan import managed, plan
from components.recipe import Recipe
from components.topology import Topology, derive
from components.variant import load, parse
from halab import crm
from halab.actions.bench import NAMES
from halab.bench import builds, cluster, commands, lab, pcs
from halab.bench.figures import Figure, Result, interleaved, ratio
from halab.cli.app import run
from halab.display.bench import screen
from halab.errors import HalabError, RefusedError

ROOT = Path(__file__).parents[2]
MACHINE = {"cores": 2, "cpu": "x", "memory_mib": 1, "load": 0.5, "qemu": "10.0", "virtualization": "qemu"}


def test_the_median_counts_and_a_ratio_above_one_means_that_the_figure_is_faster() -> None:
    figure, baseline = Figure("a", (1.0, 9.0, 2.0)), Figure("b", (6.0,))
    assert figure.median == 2.0
    assert ratio(baseline, figure) == 3.0
    document = Result("x", figure, (baseline,)).as_json()
    assert document["figure"]["seconds"] == [1.0, 9.0, 2.0]
    assert document["baselines"][0]["ratio"] == 3.0
    with pytest.raises(ValueError, match="one value"):
        Figure("nothing", ())


def test_repetitions_take_turns_so_that_no_command_has_the_quiet_moments_to_itself() -> None:
    order = interleaved(["a", "b", "c"], 3)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert Counter(order) == {"a": 3, "b": 3, "c": 3}


def test_the_table_says_which_number_is_computed() -> None:
    results = [Result("up", Figure("up", (60.0,)), (Figure("sum", (600.0,), measured=False),), ("a note",))]
    console = Console(width=200, emoji=False)
    with console.capture() as captured:
        console.print(screen(results, MACHINE))
    lines = captured.get().splitlines()
    assert any("600 s (computed)" in line and "10.00 times as long" in line for line in lines)
    assert "up: a note" in captured.get()
    assert "load before: 0.50" in captured.get()


def test_a_command_that_fails_gives_no_figure() -> None:
    good, bad = [sys.executable, "-c", "pass"], [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    found = commands.timed({"good": good}, 2, ROOT, lambda _: None)
    assert len(found["good"].seconds) == 2
    assert all(seconds > 0 for seconds in found["good"].seconds)
    with pytest.raises(HalabError, match="bad ended with 1: no such thing"):
        commands.timed({"bad": bad}, 1, ROOT, lambda _: None)


def configuration(topology: Topology) -> ET.Element:
    document = ET.fromstring(cib.document(topology, topology.clusters[0], managed(topology)))
    found = document.find("configuration")
    assert found is not None
    return found


@pytest.fixture
def small() -> Topology:
    """The stack of `bench cluster`."""
    return derive(parse("bench-cluster", lab.described(cluster.DESCRIPTION)))


def test_every_resource_level_and_constraint_has_its_pcs_command(small: Topology) -> None:
    found = configuration(small)
    made = pcs.commands(found)
    assert made[0][:2] == ("property", "set")
    assert not any(word.startswith("cluster-name=") for word in made[0]), "pcs lets nobody set it"
    kinds = Counter(line[:3] if line[0] == "constraint" else line[:2] for line in made)
    assert kinds[("stonith", "create")] == 2
    assert kinds[("stonith", "level")] == 3
    assert kinds[("resource", "create")] == len(small.vips) + 2
    assert kinds[("constraint", "colocation", "add")] == len(small.vips)
    assert len(made) == 3 + sum(
        1 for part in ("resources", "fencing-topology", "constraints") for _ in found.find(part) or ()
    )
    assert not any("\t" in word or "\n" in word for line in made for word in line), "words are told apart by tabs"


def test_a_clone_is_created_with_its_id_and_limit_and_a_vip_with_its_operations(small: Topology) -> None:
    made = {
        line[3]: line for line in pcs.commands(configuration(small)) if line[:3] == ("resource", "create", "--future")
    }
    assert made["haproxy"][4] == "ocf:halab:unit"
    assert made["haproxy"][made["haproxy"].index("clone") :] == (
        *("clone", "haproxy-clone", "meta"),
        *("clone-max=3", "interleave=true"),
    )
    vip = made["vip-keystone"]
    assert f"ip={small.vips[1].ip}" in vip
    assert vip[vip.index("op") : vip.index("op") + 4] == ("op", "start", "interval=0s", "timeout=90s")


def test_a_promotable_clone_and_an_order_after_its_promotion_are_said_as_pcs_says_them(cloned: Topology) -> None:
    stripped = configuration(cloned)
    constraints = stripped.find("constraints")
    assert constraints is not None
    for rule in list(constraints.iterfind("rsc_location[@rsc-pattern]")):
        constraints.remove(rule)
    made = pcs.commands(stripped)
    galera = next(line for line in made if line[:4] == ("resource", "create", "--future", "galera"))
    assert galera[galera.index("promotable") + 1] == "galera-clone"
    assert not any(word.startswith("promotable=") for word in galera)
    order = ("constraint", "order", "promote", "galera-clone", "then", "start", "keystone-clone", "kind=Mandatory")
    assert order in made


def test_what_has_no_pcs_command_here_is_refused_rather_than_left_out(cloned: Topology) -> None:
    with pytest.raises(ValueError, match="members-only"):
        pcs.commands(configuration(cloned))


@pytest.fixture
def cloned() -> Topology:
    return derive(load(ROOT, "cloned"))


def test_two_configurations_of_one_document_do_not_differ_and_a_lost_constraint_is_named(small: Topology) -> None:
    one, other = configuration(small), configuration(small)
    assert pcs.differences(one, other) == ()
    constraints = other.find("constraints")
    assert constraints is not None
    constraints.remove(constraints[0])
    ip = other.find("resources/primitive[@id='vip-keystone']/instance_attributes/nvpair[@name='ip']")
    assert ip is not None
    ip.set("value", "10.0.0.1")
    assert len(pcs.differences(one, other)) == 2
    assert "vip-galera with haproxy-clone: INFINITY here, missing there" in pcs.differences(one, other)


def test_the_ring_by_pcs_is_the_ring_by_halab(small: Topology) -> None:
    words = pcs.setup("x", small.clusters[0], 10_000)
    assert words[words.index("crypto") :][:5] == ("crypto", "cipher=aes256", "hash=sha256", "totem", "token=10000")
    assert [word for word in words if word.startswith("addr=")] == [f"addr={node.ip}" for node in small.nodes]


def test_the_stage_before_the_cluster_has_all_of_the_services_files_and_nothing_of_the_cluster(small: Topology) -> None:
    steps = plan(small)
    names = cluster.before(steps)
    assert "haproxy.configure@controller-3" in names
    assert not any(name.startswith(("corosync.", "pacemaker.")) for name in names)
    done = {*names, *(before for name in names for before in steps.ancestors(name))}
    assert not {steps.by_name[name].stage for name in done} & {"corosync", "pacemaker"}


def test_pcs_gets_the_agent_and_drop_ins_but_makes_ring_and_cib_itself(small: Topology) -> None:
    paths = [file.path for file in cluster.files(plan(small).by_name["corosync.start@controller-1"])]
    assert "/usr/lib/ocf/resource.d/halab/unit" in paths
    assert not any(path.endswith(("corosync.conf", "cib-initial.xml")) for path in paths)


def test_pcs_gets_whole_words_and_its_password_never_as_one_of_them(tmp_path: Path) -> None:
    fake = tmp_path / "pcs"
    fake.write_text(f"""#!/bin/bash
printf '<%s>' "$@" >>{tmp_path}/asked; echo >>{tmp_path}/asked
if [ "$1" = host ]; then cat >{tmp_path}/stdin; fi
if [ "$2" = fail ]; then exit 1; fi
""")
    fake.chmod(0o755)
    recipe = Recipe(ROOT / "src" / "halab" / "bench" / "pcs.sh")
    listed = tmp_path / "commands"

    def build(lines: str) -> subprocess.CompletedProcess[str]:
        listed.write_text(lines)
        env = {"NODES": "a addr=1 b addr=2", "PASSWORD": "hidden", "COMMANDS": str(listed)}
        script = recipe.script("bench.build", env, []).replace("/var/log/halab", f"{tmp_path}/log")
        script = script.replace("/var/lib/halab", f"{tmp_path}/var")
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(
            ["bash", "-s", "build"], input=script, env=path, capture_output=True, text=True, check=False
        )

    done = build("resource\tcreate\tx\tdescription=two words\nproperty\tset\ta=1;b=$HOME\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked").read_text().splitlines() == [
        "<host><auth><a><addr=1><b><addr=2><-u><hacluster>",
        "<resource><create><x><description=two words>",
        "<property><set><a=1;b=$HOME>",
    ]
    assert (tmp_path / "stdin").read_text() == "hidden\n"
    assert [line.split(" ms: ")[1] for line in done.stdout.splitlines()][1:] == [
        "pcs resource create x description=two words",
        "pcs property set a=1;b=$HOME",
    ]
    broken = build("property\tfail\nproperty\tset\n")
    assert broken.returncode == 1
    assert "pcs property fail  ended with 1" in broken.stderr
    assert "<property><set>\n" not in (tmp_path / "asked").read_text(), "nothing is typed after a failure"


def test_a_cluster_has_settled_when_every_resource_runs_as_often_as_it_should(small: Topology) -> None:
    wanted = cluster.expected(configuration(small))
    assert wanted == {"fence-a": 1, "fence-b": 1, "vip-galera": 1, "vip-keystone": 1, "memcached": 3, "haproxy": 3}
    assert cluster.unsettled(seen(wanted), wanted) == ""
    assert cluster.unsettled(seen({**wanted, "haproxy": 2}), wanted) == "haproxy runs 2 of 3 times"
    assert cluster.unsettled(seen(wanted, quorum=False), wanted) == "no quorum"
    assert cluster.unsettled(seen(wanted, failed="vip-galera"), wanted) == "vip-galera failed"


def seen(running: dict[str, int], *, quorum: bool = True, failed: str = "") -> crm.ClusterState:
    resources = tuple(
        crm.ResourceState(id_, None, "a", "Started", (f"controller-{number}",), id_ == failed, True)
        for id_, many in running.items()
        for number in range(many)
    )
    return crm.ClusterState(quorum, "controller-1", (), resources, (), False)


def test_the_bench_s_stack_has_addresses_of_its_own() -> None:
    described = lab.described(ROOT / "stacks" / "Pulumi.collapsed.yaml")
    mine = derive(parse("bench-collapsed", described))
    theirs = derive(load(ROOT, "collapsed"))
    assert not mine.cloud.cidr.overlaps(theirs.cloud.cidr)
    assert {node.domain for node in mine.nodes}.isdisjoint(node.domain for node in theirs.nodes)


def test_a_file_that_is_no_stack_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("config: [1]\n")
    for name in ("x.yaml", "missing.yaml"):
        with pytest.raises(RefusedError, match="no stack file"):
            lab.described(tmp_path / name)


_NOTES = """#!/bin/sh
for word in "$@" "$HALAB_STATE" "$HALAB_STACK"; do printf '%s|' "$word"; done >>"$HALAB_PROJECT/calls"
echo >>"$HALAB_PROJECT/calls"
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> lab.Lab:
    """A lab whose ./halab only notes how it was called."""
    monkeypatch.setenv("HALAB_STACK", "the-user-s")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    halab = checkout / "halab"
    halab.write_text(_NOTES)
    halab.chmod(0o755)
    (checkout / "src").mkdir()
    (checkout / "stacks").mkdir()
    monkeypatch.setattr(lab, "CHECKOUT", checkout)
    monkeypatch.setattr(lab, "meminfo", lambda _: 1 << 20)
    return lab.Lab("bench-x", lab.described(cluster.DESCRIPTION), tmp_path / "state" / "bench")


def calls(bench: lab.Lab) -> list[list[str]]:
    return [line.split("|") for line in (bench.project / "calls").read_text().splitlines()]


def test_a_bench_uses_its_own_state_and_stack_and_takes_it_down_whatever_happens(bench: lab.Lab) -> None:
    def broken() -> None:
        with bench.session():
            bench.run("up", "--json")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    made = calls(bench)
    assert [line[:3] for line in made] == [[name, "--stack", "bench-x"] for name in ("down", "up", "down")]
    assert {line[-3] for line in made} == {str(bench.state)}
    assert {line[-2] for line in made} == {""}, "the user's choice of a stack does not reach it"
    assert (bench.project / "src").is_symlink()
    assert [path.name for path in (bench.project / "stacks").iterdir()] == ["Pulumi.bench-x.yaml"]


def test_a_second_bench_at_the_same_time_is_refused(bench: lab.Lab) -> None:
    with bench.session(), pytest.raises(RefusedError, match="another bench"), bench.session():
        pass


def test_a_host_without_the_memory_is_refused_with_the_shortfall_before_any_up(
    bench: lab.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "meminfo", lambda _: 1000)
    with pytest.raises(RefusedError, match=r"\d+ MiB of memory short.*1000 are available"), bench.session():
        pass
    assert [line[0] for line in calls(bench)] == ["down"]


def test_a_command_that_fails_names_its_last_words_and_the_log(bench: lab.Lab) -> None:
    with bench.session():
        (lab.CHECKOUT / "halab").write_text("#!/bin/sh\n[ $1 = down ] || { echo disk full >&2; exit 3; }\n")
        with pytest.raises(HalabError, match=r"up --stack bench-x ended with 3: disk full \(log: "):
            bench.run("up")


def test_waiting_ends_with_what_was_seen_last(bench: lab.Lab) -> None:
    answers = iter(["no quorum", ""])
    assert bench.wait("a cluster", 60.0, lambda: next(answers)) < 60
    with pytest.raises(HalabError, match="waited 0 s for a cluster; last seen: no quorum"):
        bench.wait("a cluster", 0.0, lambda: "no quorum")


class Builder:
    """In place of the lab: halab's answers, and what was asked."""

    stack, project = "bench-x", Path("/nowhere")

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def run(self, name: str, *arguments: str, stack: str = "") -> lab.Run:
        self.asked.append((name, *arguments))
        serial = "--parallel" in arguments
        build = 900.0 if serial else 300.0
        times = {"total": 3000.0, "efficiency": 0.97, "chained": 0.97, "busy": 0.9}
        document = {"seconds": build + 60, "parts": {"build": build, "verification": 60.0}, "times": times}
        return lab.Run(build, json.dumps(document))

    def execute(self, command: Sequence[str], stdin: str | None = None) -> lab.Run:
        self.asked.append(tuple(command))
        return lab.Run(2.0 if "halab.bench.token" in command else 5.0, '{"parts": {"RAM": 3.0}}')

    def group(self, *names: str) -> list[str]:
        return list(names)


def test_a_cold_up_stands_beside_a_real_run_of_one_step_after_another() -> None:
    builder: Any = Builder()
    whole, build = builds.run(builder, ["up"], "serial", 1, lambda _: None)
    assert [line[0] for line in builder.asked] == ["up", "down", "up"]
    assert "--fresh" in builder.asked[0], "a golden cloud is no build"
    assert (whole.figure.median, whole.baselines[0].median) == (360, 960)
    assert (build.figure.median, build.baselines[0].median) == (300, 900)
    assert "efficiency 0.97" in build.notes[0]


def test_a_sum_in_place_of_a_run_is_called_computed_and_stands_beside_the_build_only() -> None:
    builder: Any = Builder()
    whole, build = builds.run(builder, ["up"], "computed", 1, lambda _: None)
    assert whole.baselines == ()
    assert not build.baselines[0].measured
    assert any("no measurement" in note for note in build.notes)


def test_restore_and_fork_share_one_cold_up_and_count_until_a_token() -> None:
    builder: Any = Builder()
    results = builds.run(builder, ["restore", "fork"], "serial", 2, lambda _: None)
    assert sum(line[0] == "up" for line in builder.asked) == 1
    assert [result.name for result in results] == ["restore", "fork"]
    assert builder.asked[-1][:2] == ("snapshot", "rm"), "what the bench saved goes with it"
    for result in results:
        assert result.figure.seconds == (7.0, 7.0)
        assert result.details["parts"] == [{"RAM": 3.0}, {"RAM": 3.0}]
        assert result.baselines[0].median == 302.0


@pytest.mark.parametrize(
    "arguments", [["bench", "all"], ["bench", "preview", "--repeat", "0"], ["bench", "--baseline", "x"]]
)
def test_a_bench_that_is_none_is_refused_before_anything_is_made(
    arguments: list[str], state_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert not state_folder.exists()


@pytest.fixture
def state_folder(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALAB_STATE", str(state / "s"))
    return state / "s"


def test_the_names_of_benches_are_those_the_help_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ", ".join(NAMES) in said
