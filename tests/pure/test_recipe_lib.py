"""lib.sh for real: scripts as a node gets them, run by bash with the node's folders moved below a temporary one."""

from __future__ import annotations

import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from components import recipe as recipe_module
from components.recipe import File, Recipe

LIB = Path(__file__).resolve().parents[2] / "components" / "lib.sh"
SYSTEMCTL = """#!/bin/bash
# Keeps units' state as files, and what it was asked.
state=$FAKE_STATE; verb=$1; shift
while [[ ${1:-} == -* ]]; do [[ $1 == -p ]] && shift; shift; done
unit=${1:-}
echo "$verb $unit" >>"$state/asked"
case $verb in
--no-reload) echo "enable $3" >>"$state/asked"; touch "$state/$3.enabled" ;;
is-enabled) [ -e "$state/$unit.enabled" ] ;;
enable) touch "$state/$unit.enabled" ;;
is-active) [ -e "$state/$unit.active" ] && echo active ;;
restart) [ ! -e "$state/$unit.broken" ] && touch "$state/$unit.active" ;;
show) echo exit-code ;;
esac
"""


@dataclass
class Node:
    """A pretended node: `run` gives an action's script to bash as ssh would."""

    root: Path
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in ("var", "log", "run", "etc", "bin", "state"):
            (self.root / folder).mkdir()
        (self.root / "bin" / "systemctl").write_text(SYSTEMCTL)
        (self.root / "bin" / "systemctl").chmod(0o755)
        self.secrets_file.write_text("".join(f"{name}={value}\n" for name, value in self.secrets.items()))

    @property
    def secrets_file(self) -> Path:
        return self.root / "etc" / "secrets.env"

    def path(self, name: str) -> str:
        return str(self.root / name)

    def run(
        self, body: str, *files: File, action: str = "act", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        recipe = self.root / "recipe.sh"
        recipe.write_text(body)
        script = Recipe(recipe).script("test.act@node", env or {}, files)
        # Only the folders are a test's own; the functions are the node's.
        for real, mine in (("/var/lib/halab", "var"), ("/var/log/halab", "log"), ("/run/halab", "run")):
            script = script.replace(real, self.path(mine))
        script = script.replace("/etc/halab/secrets.env", str(self.secrets_file))
        (self.root / "recipe.sh").unlink()
        recipe_module._text.cache_clear()
        surroundings = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "FAKE_STATE": str(self.root / "state")}
        return subprocess.run(
            ["bash", "-s", action], input=script, capture_output=True, text=True, timeout=100, env=surroundings
        )

    @property
    def log(self) -> str:
        return (self.root / "log" / "test.act@node.log").read_text()

    @property
    def asked(self) -> list[str]:
        path = self.root / "state" / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, {"DB": "pa$$w'o\\rd&1", "OTHER": "second", "BLOB": "AAEC/w=="})


def own(path: str, content: str, mode: int = 0o640) -> File:
    import grp
    import pwd

    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    return File(path, content, user, group, mode)


def test_one_line_for_the_operator_and_the_rest_to_the_log(node: Node) -> None:
    done = node.run("act() { echo noise; echo more >&2; say 'all is well'; }")
    assert (done.returncode, done.stdout, done.stderr) == (0, "all is well\n", "")
    assert "noise" in node.log
    assert "more" in node.log


def test_a_failing_command_ends_the_action_and_shows_the_end_of_its_log(node: Node) -> None:
    done = node.run("act() { echo before; false; say 'never'; }")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "test.act@node failed with 1" in done.stderr
    assert "before" in done.stderr


def test_fail_says_why_in_one_line(node: Node) -> None:
    done = node.run("act() { fail 'no quorum'; }")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "test.act@node: no quorum"


def test_values_reach_the_action_whatever_they_hold(node: Node) -> None:
    value = "a b'c\"d$e`f\\g\n\th"
    done = node.run('act() { say "$VALUE"; }', env={"VALUE": value})
    assert done.stdout == value + "\n"


def test_put_file_writes_content_owner_and_mode_with_secrets_filled_in(node: Node) -> None:
    path = node.path("etc/made/app.conf")
    content = "password = @{DB}\nboth = @{OTHER}@{DB}\nplain = $HOME `x` @ {DB} \\n\n"
    done = node.run("act() { :; }", own(path, content))
    assert done.returncode == 0, done.stderr
    text = Path(path).read_text()
    assert (
        text == f"password = {node.secrets['DB']}\nboth = second{node.secrets['DB']}\nplain = $HOME `x` @ {{DB}} \\n\n"
    )
    assert Path(path).stat().st_mode & 0o777 == 0o640
    assert node.secrets["DB"] not in node.log + done.stdout + done.stderr


def test_put_file_twice_changes_nothing_and_mends_what_was_touched(node: Node) -> None:
    path = Path(node.path("etc/app.conf"))
    file = own(str(path), "one\n")
    node.run("act() { :; }", file)
    before = path.stat().st_ino
    node.run("act() { :; }", file)
    assert path.stat().st_ino == before
    assert node.log.count("changed") == 1
    path.chmod(0o777)
    path.write_text("two\n")
    node.run("act() { :; }", file)
    assert path.read_text() == "one\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in path.parent.iterdir()) == ["app.conf", "secrets.env"]


def test_put_file_keeps_empty_lines_and_what_looks_like_its_own_end(node: Node) -> None:
    path = node.path("etc/odd")
    content = "\n\nEOF\nEOF_\n'quoted'\n\n\n"
    assert node.run("act() { :; }", own(path, content)).returncode == 0
    assert Path(path).read_text() == content


def test_a_file_that_asks_for_a_secret_the_node_has_not_is_not_written(node: Node) -> None:
    path = node.path("etc/app.conf")
    done = node.run("act() { say 'never'; }", own(path, "x = @{NOBODYS}\n"))
    assert done.returncode != 0
    assert "no secret NOBODYS" in done.stderr
    assert not Path(path).exists()
    assert done.stdout == ""


def test_secret_file_is_the_secrets_bytes(node: Node) -> None:
    path = node.path("etc/key")
    body = f'act() {{ secret_file BLOB {path} "$(id -un)" "$(id -gn)" 0400; }}'
    assert node.run(body).returncode == 0
    assert Path(path).read_bytes() == b"\x00\x01\x02\xff"
    assert Path(path).stat().st_mode & 0o777 == 0o400
    before = Path(path).stat().st_ino
    assert node.run(body).returncode == 0
    assert Path(path).stat().st_ino == before


def test_retry_until_ends_as_soon_as_the_command_succeeds(node: Node) -> None:
    flag = node.path("flag")
    # Far sooner than its own limit: `run` has a shorter one.
    done = node.run(f'act() {{ (sleep 1; touch {flag}) & retry_until 900 "the flag" test -e {flag}; say up; }}')
    assert (done.returncode, done.stdout) == (0, "up\n"), done.stderr
    assert "the flag: after" in node.log


def test_retry_until_names_what_it_awaited_how_long_and_what_it_saw(node: Node) -> None:
    done = node.run("""
        ask() { echo "first"; echo "2 of 3 nodes"; return 1; }
        act() { retry_until 1 "three nodes online" ask; say never; }
    """)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == ("test.act@node: waited 1 s for three nodes online; last seen: 2 of 3 nodes")
    assert done.stdout == ""


def test_with_lock_excludes_others_of_the_same_name(node: Node) -> None:
    done = node.run(f"""
        enter() {{ [ ! -e {node.path("in")} ] || exit 9; touch {node.path("in")}; sleep 0.3; rm {node.path("in")}; }}
        act() {{ local one two; with_lock cib enter & one=$!; with_lock cib enter & two=$!; wait $one; wait $two; }}
    """)
    assert done.returncode == 0, done.stderr + node.log


def test_converge_unit_enables_and_starts_once(node: Node) -> None:
    conf = node.path("etc/app.conf")
    body = f"act() {{ converge_unit app.service {conf}; }}"
    Path(conf).write_text("one\n")
    assert node.run(body).returncode == 0
    assert "restart app.service" in node.asked
    assert (node.root / "state" / "app.service.enabled").exists()
    (node.root / "state" / "asked").unlink()
    assert node.run(body).returncode == 0
    assert [line for line in node.asked if line.startswith(("restart", "enable"))] == []


def test_converge_unit_restarts_after_a_change_and_when_the_unit_has_died(node: Node) -> None:
    conf = Path(node.path("etc/app.conf"))
    body = f"act() {{ converge_unit app.service {conf}; }}"
    conf.write_text("one\n")
    node.run(body)
    conf.write_text("two\n")
    node.run(body)
    assert node.asked.count("restart app.service") == 2
    (node.root / "state" / "app.service.active").unlink()
    node.run(body)
    assert node.asked.count("restart app.service") == 3


def test_refresh_unit_touches_a_running_unit_after_a_change_only(node: Node) -> None:
    conf, asked = node.path("app.conf"), Path(node.path("state/asked"))
    body = f"act() {{ refresh_unit app.service restart {conf}; }}"

    def restarts() -> int:
        return asked.read_text().splitlines().count("restart app.service") if asked.exists() else 0

    Path(conf).write_text("one")
    node.run(body)
    Path(conf).write_text("two")
    node.run(body)
    assert restarts() == 0, "it does not run: whoever starts it does so with the new file"
    Path(node.path("state/app.service.active")).touch()
    node.run(body)
    assert restarts() == 0, "nothing has changed since"
    Path(conf).write_text("three")
    node.run(body)
    assert restarts() == 1


class Memcached(socketserver.StreamRequestHandler):
    """Of memcached, what a lock needs: add and delete."""

    kept: ClassVar[set[bytes]] = set()
    asked: ClassVar[list[bytes]] = []
    #: How many are refused before another node's turn is over.
    patience: ClassVar[int] = 0

    def handle(self) -> None:
        verb, key = self.rfile.readline().split()[:2]
        self.asked.append(verb)
        held = key in self.kept
        if verb == b"add":
            self.rfile.readline()
            self.kept.add(key)
            answer = b"NOT_STORED" if held else b"STORED"
            if len(self.asked) == self.patience:
                self.kept.clear()
        else:
            self.kept.discard(key)
            answer = b"DELETED" if held else b"NOT_FOUND"
        self.wfile.write(answer + b"\r\n")


@pytest.fixture
def memcached() -> Iterator[str]:
    """Where one answers; before it in the list is one that does not."""
    Memcached.kept.clear()
    Memcached.asked.clear()
    Memcached.patience = 0
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Memcached) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:1 127.0.0.1:{server.server_address[1]}"
        server.shutdown()


TURN = "act() { in_turn app.service converge_unit app.service; say done; }"


def test_a_unit_that_runs_is_restarted_when_no_other_nodes_is(node: Node, memcached: str) -> None:
    (node.root / "state" / "app.service.active").touch()
    Memcached.kept.add(b"halab-turn-app.service")
    Memcached.patience = 2
    done = node.run(TURN, env={"LOCKS": memcached})
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert Memcached.asked == [b"add", b"add", b"add", b"delete"]
    assert "restart app.service" in node.asked
    assert Memcached.kept == set(), "the next may"


def test_a_turn_ends_with_a_restart_that_fails(node: Node, memcached: str) -> None:
    (node.root / "state" / "app.service.active").touch()
    (node.root / "state" / "app.service.broken").touch()
    assert node.run(TURN, env={"LOCKS": memcached}).returncode == 1
    assert Memcached.asked == [b"add", b"delete"]


@pytest.mark.parametrize("locks", ["", "127.0.0.1:1"])
def test_nobody_waits_for_a_turn_where_none_is_given(node: Node, locks: str) -> None:
    (node.root / "state" / "app.service.active").touch()
    assert node.run(TURN, env={"LOCKS": locks}).returncode == 0
    assert "restart app.service" in node.asked


def test_the_first_start_of_a_unit_waits_for_no_other_nodes(node: Node, memcached: str) -> None:
    Memcached.kept.add(b"halab-turn-app.service")
    assert node.run(TURN, env={"LOCKS": memcached}).returncode == 0
    assert Memcached.asked == []


def test_converge_unit_does_not_take_a_failed_start_for_done(node: Node) -> None:
    body = "act() { converge_unit app.service; say never; }"
    (node.root / "state" / "app.service.broken").touch()
    done = node.run(body)
    assert done.returncode == 1
    assert "app.service did not start: exit-code" in done.stderr
    (node.root / "state" / "app.service.broken").unlink()
    assert node.run("act() { converge_unit app.service; say up; }").stdout == "up\n"


def test_an_undo_writes_no_files(node: Node) -> None:
    path = node.path("etc/app.conf")
    done = node.run("act() { :; }\nact_down() { say gone; }", own(path, "x\n"), action="act_down")
    assert (done.returncode, done.stdout) == (0, "gone\n")
    assert not Path(path).exists()


SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run([str(SHELLCHECK), str(LIB)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_recipes_actions_are_its_functions(tmp_path: Path) -> None:
    path = tmp_path / "x.sh"
    path.write_text("# a() {\nconfigure() {\n  inner() { :; }\n}\nready() { :; }\n_private() {\n:\n}\n")
    assert Recipe(path).actions() == {"configure", "ready"}


def test_a_relative_path_is_no_file_of_a_node() -> None:
    with pytest.raises(ValueError, match="absolute"):
        File("etc/x", "")
