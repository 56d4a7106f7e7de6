"""The command provider against real processes, and against a real sshd on the loopback interface where there is one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.provider import UNKNOWN, Asset, Call, DiffKind, Props, ProviderError, Secret
from halab.embedded.providers import providers
from halab.embedded.providers.command import CommandProvider, session
from halab.embedded.providers.command.ssh import Ssh
from halab.embedded.providers.schema import plain
from tests.engine.ssh_server import CLIENT, HOST, PEM, SSHD, Library, Server, Sshd, until
from tests.recipe.stand_in import reserved

LOCAL, REMOTE, COPY = "command:local:Command", "command:remote:Command", "command:remote:CopyToRemote"


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, severity: str, line: str) -> None:
        self.lines.append((severity, line))

    def of(self, severity: str) -> list[str]:
        return [line for seen, line in self.lines if seen == severity]


def call(timeout: float | None = 100, log: Callable[[str, str], None] | None = None) -> Call:
    return Call("urn:pulumi:s::p::command:local:Command::step", timeout, log or Log(), threading.Event())


@pytest.fixture
def provider() -> Iterator[CommandProvider]:
    made = providers()["command"]()
    assert isinstance(made, CommandProvider)
    yield made
    made.close()


def create(provider: CommandProvider, type_: str, inputs: Props, at: Call | None = None) -> Props:
    checked = provider.check(type_, "step", None, inputs)
    return provider.create(type_, at or call(), plain(checked), preview=False).outputs


def marked(mark: object) -> list[int]:
    """The processes that run with HALAB_MARK set to this."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"HALAB_MARK={mark}".encode() in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# Check and Diff


def test_an_unknown_input_is_refused_by_its_name_alone(provider: CommandProvider) -> None:
    with pytest.raises(ProviderError, match=r"input connection\.privatKey: use --engine cli") as raised:
        provider.check(REMOTE, "step", None, {"connection": {"host": "h", "privatKey": "sesame"}})
    assert "sesame" not in str(raised.value)


def test_a_connection_gets_the_plugins_defaults(provider: CommandProvider) -> None:
    connection = {"host": UNKNOWN, "port": 22.0, "privateKey": "k", "proxy": {"host": "p", "password": UNKNOWN}}
    checked = provider.check(REMOTE, "step", None, {"create": "true", "connection": connection})
    defaults = {"port": 22, "user": "root", "dialErrorLimit": 10, "perDialTimeout": 15}
    proxy = defaults | {"host": "p", "password": UNKNOWN}
    assert checked["connection"] == Secret(defaults | {"host": UNKNOWN, "privateKey": Secret("k"), "proxy": proxy})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, {}),
        ({"triggers": [1, "a"]}, {"triggers": [1.0, "a"]}, {}),
        ({}, {"triggers": [1]}, {"triggers": DiffKind.ADD_REPLACE}),
        ({"triggers": [1]}, {}, {"triggers": DiffKind.DELETE_REPLACE}),
        ({"triggers": [1]}, {"triggers": UNKNOWN}, {"triggers": DiffKind.UPDATE_REPLACE}),
        ({"triggers": [1]}, {"triggers": [2]}, {"triggers[0]": DiffKind.UPDATE}),
        ({"triggers": [1]}, {"triggers": [1, 2]}, {"triggers[1]": DiffKind.ADD}),
        ({"triggers": [{"a": [1]}]}, {"triggers": [{"a": [2]}]}, {"triggers[0].a[0]": DiffKind.UPDATE}),
        ({"create": "a"}, {"create": "b"}, {"create": DiffKind.UPDATE}),
        ({"create": "a"}, {"create": "a", "delete": "d"}, {"delete": DiffKind.ADD}),
        ({"environment": {"A": "1", "B": "2"}}, {"environment": {"A": "1"}}, {"environment.B": DiffKind.DELETE}),
        ({"stdin": "x"}, {"stdin": Secret("x")}, {"stdin": DiffKind.UPDATE}),
        ({"stdin": Secret("x")}, {"stdin": Secret("x")}, {}),
        ({"connection": Secret({"port": 22})}, {"connection": Secret({"port": 23})}, {"connection": DiffKind.UPDATE}),
        ({"source": Asset("h", text="x")}, {"source": Asset("h", path="/x")}, {}),
        ({"source": Asset("h", text="x")}, {"source": Asset("i", text="y")}, {"source": DiffKind.UPDATE}),
    ],
)
def test_a_diff_names_the_path_and_what_its_change_means(
    provider: CommandProvider, old: Props, new: Props, expected: dict[str, DiffKind]
) -> None:
    assert dict(provider.diff(REMOTE, "id", old, {}, new).detailed) == expected


# local.Command


def test_a_local_command_gives_both_outputs_without_the_last_newline(provider: CommandProvider) -> None:
    outputs = create(provider, LOCAL, {"create": "cat; echo; echo warned >&2", "stdin": "given", "environment": {}})
    assert (outputs["stdout"], outputs["stderr"]) == ("given", "warned")


def test_a_local_command_runs_where_and_how_it_is_told(provider: CommandProvider, tmp_path: Path) -> None:
    inputs = {
        "create": "import os; print(os.getcwd(), os.environ['WHO'])",
        "dir": str(tmp_path),
        "interpreter": ["python3", "-c"],
        "environment": {"WHO": "me"},
    }
    assert create(provider, LOCAL, inputs)["stdout"] == f"{tmp_path} me"


def test_an_update_runs_create_again_and_knows_the_previous_output(provider: CommandProvider) -> None:
    inputs = provider.check(LOCAL, "step", None, {"create": 'echo "was:$PULUMI_COMMAND_STDOUT"'})
    first = provider.create(LOCAL, call(), inputs, preview=False)
    assert first.id.startswith("step")
    assert len(first.id) == len("step") + 8
    again = provider.update(LOCAL, call(), first.id, inputs, first.outputs, inputs, preview=False)
    assert again["stdout"] == "was:was:"
    quiet = inputs | {"addPreviousOutputInEnv": False}
    assert provider.update(LOCAL, call(), first.id, inputs, again, quiet, preview=False)["stdout"] == "was:"
    other = inputs | {"update": "echo updated"}
    assert provider.update(LOCAL, call(), first.id, inputs, again, other, preview=False)["stdout"] == "updated"
    deleted = {"delete": "echo later"}
    assert provider.update(LOCAL, call(), first.id, inputs, again, deleted, preview=False)["stdout"] == "was:was:"


def test_delete_runs_only_when_it_is_given(provider: CommandProvider, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    provider.delete(LOCAL, call(), "id", {"create": f"touch {mark}"}, {"stdout": "x"})
    assert not mark.exists()
    provider.delete(LOCAL, call(), "id", {"delete": f"echo $PULUMI_COMMAND_STDOUT > {mark}"}, {"stdout": "x"})
    assert mark.read_text() == "x\n"


def test_a_preview_runs_nothing(provider: CommandProvider, tmp_path: Path) -> None:
    made = provider.create(LOCAL, call(), {"create": f"touch {tmp_path}/mark"}, preview=True)
    assert (made.id, made.outputs["stdout"], made.outputs["stderr"]) == ("", UNKNOWN, UNKNOWN)
    assert not list(tmp_path.iterdir())


def test_a_failure_shows_the_output_but_not_the_command(provider: CommandProvider) -> None:
    with pytest.raises(ProviderError, match=r"^exit status 3: half\nbroken$") as raised:
        create(provider, LOCAL, {"create": "echo half; sleep 0.1; echo broken >&2; exit 3 # sesame"})
    assert "sesame" not in str(raised.value)


def test_a_timeout_ends_the_command_and_its_children(provider: CommandProvider, tmp_path: Path) -> None:
    inputs = {"create": "sleep 600 & wait", "environment": {"HALAB_MARK": str(tmp_path)}}
    with pytest.raises(ProviderError, match="longer than its limit of 1 s"):
        create(provider, LOCAL, inputs, call(timeout=1))
    until(lambda: not marked(tmp_path), "the end of both processes")


def test_a_cancellation_ends_the_command(provider: CommandProvider, tmp_path: Path) -> None:
    at = call(timeout=None)
    pid = tmp_path / "pid"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(create, provider, LOCAL, {"create": f"echo $$ >{pid}; exec sleep 600"}, at)
        until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the command's start")
        at.cancelled.set()
        with pytest.raises(ProviderError, match="cancelled"):
            future.result(60)
    assert not running(int(pid.read_text()))


def test_a_background_child_that_keeps_the_output_open_is_not_waited_for(provider: CommandProvider) -> None:
    outputs = create(provider, LOCAL, {"create": "sleep 600 & echo $!"})
    os.kill(int(outputs["stdout"]), signal.SIGKILL)


def test_only_the_end_of_a_long_output_is_kept_and_long_lines_are_cut(provider: CommandProvider) -> None:
    log = Log()
    text = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end"
    outputs = create(provider, LOCAL, {"create": text}, call(log=log))
    assert len(outputs["stdout"]) <= 65536
    assert outputs["stdout"].endswith("x\nthe end")
    assert log.of("info")[-1] == "the end"
    assert max(map(len, log.of("info"))) <= 2000


@pytest.mark.parametrize(
    ("logging", "expected"),
    [("stdout", ["out"]), ("stderr", ["err"]), ("none", []), ("stdoutAndStderr", ["out", "err"])],
)
def test_the_log_gets_the_streams_that_were_asked_for(
    provider: CommandProvider, logging: str, expected: list[str]
) -> None:
    log = Log()
    create(provider, LOCAL, {"create": "echo out; sleep 0.1; echo err >&2", "logging": logging}, call(log=log))
    assert log.of("info") == expected


# remote.Command and CopyToRemote


@pytest.fixture(params=["sshd", "asyncssh"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "sshd" and (SSHD is None or os.geteuid() != 0):
        pytest.skip("no sshd, or not root")
    folder = tmp_path_factory.mktemp("sshd")
    made: Sshd | Library = Sshd(folder, HOST, CLIENT) if request.param == "sshd" else Library(HOST, CLIENT)
    yield made
    made.stop()


def to(server: Server, **changed: Any) -> Props:
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "privateKey": PEM,
        "hostKey": HOST.export_public_key().decode().strip(),
        "dialErrorLimit": 2,
        "perDialTimeout": 60,
        **changed,
    }


def test_a_remote_command_gets_its_input_and_gives_both_outputs(provider: CommandProvider, server: Server) -> None:
    stdin = "x" * 300_000 + "\n"
    inputs = {"connection": to(server), "create": "cksum; echo warned >&2", "stdin": stdin}
    outputs = create(provider, REMOTE, inputs)
    expected = subprocess.run(["cksum"], input=stdin, capture_output=True, text=True, check=True).stdout
    assert (outputs["stdout"], outputs["stderr"]) == (expected.strip(), "warned")


def test_a_daemon_that_keeps_the_output_open_does_not_hold_up_its_command(
    provider: CommandProvider, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(server, Library):
        pytest.skip("the library's server tells the exit status only after the output's end")
    monkeypatch.setattr(session, "DRAIN", 1)
    outputs = create(provider, REMOTE, {"connection": to(server), "create": "sleep 600 & echo $!"})
    os.kill(int(outputs["stdout"]), signal.SIGKILL)


def test_many_commands_at_once_share_one_login(provider: CommandProvider, server: Server) -> None:
    def run(number: int) -> str:
        text = create(provider, REMOTE, {"connection": to(server), "create": f"sleep 0.1; echo {number}"})["stdout"]
        assert isinstance(text, str)
        return text

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(run, range(24))) == [str(number) for number in range(24)]
    assert server.logins() == 1


def test_a_remote_failure_names_the_host_and_shows_the_output(provider: CommandProvider, server: Server) -> None:
    inputs = {"connection": to(server), "create": "echo broken; exit 3 # sesame", "stdin": "sesame"}
    with pytest.raises(ProviderError, match=r"^root@127\.0\.0\.1:\d+: exit status 3: broken$") as raised:
        create(provider, REMOTE, inputs)
    assert "sesame" not in str(raised.value)


def test_an_environment_reaches_the_command_or_fails_it(provider: CommandProvider, server: Server) -> None:
    inputs = {"connection": to(server), "create": "echo $HALAB_A", "environment": {"HALAB_A": "a=b c"}}
    assert create(provider, REMOTE, inputs)["stdout"] == "a=b c"
    with pytest.raises(ProviderError, match="name SECRET in AcceptEnv") as raised:
        create(provider, REMOTE, inputs | {"environment": {"SECRET": "sesame"}})
    assert "sesame" not in str(raised.value)


def test_a_dead_pooled_connection_is_dialled_again(provider: CommandProvider, server: Server, tmp_path: Path) -> None:
    assert create(provider, REMOTE, {"connection": to(server), "create": "echo 1"})["stdout"] == "1"
    server.drop()
    assert create(provider, REMOTE, {"connection": to(server), "create": "echo 2"})["stdout"] == "2"
    server.drop()
    copied = {"connection": to(server), "source": Asset("h", text="3"), "remotePath": str(tmp_path / "3")}
    create(provider, COPY, copied)
    assert (tmp_path / "3").read_text() == "3"
    assert server.logins() == 3


def test_a_connection_lost_in_the_middle_fails_and_runs_nothing_twice(
    provider: CommandProvider, server: Server, tmp_path: Path
) -> None:
    mark = tmp_path / "runs"
    create(provider, REMOTE, {"connection": to(server), "create": "true"})
    with ThreadPoolExecutor(1) as pool:
        inputs = {"connection": to(server), "create": f"echo run >>{mark}; sleep 60"}
        future = pool.submit(create, provider, REMOTE, inputs)
        until(lambda: mark.exists() and mark.read_text() == "run\n", "the command's start")
        server.drop()
        with pytest.raises(ProviderError, match="the connection was lost while the command ran"):
            future.result(60)
    assert mark.read_text() == "run\n"


def test_a_timeout_ends_the_remote_command(provider: CommandProvider, server: Server, tmp_path: Path) -> None:
    create(provider, REMOTE, {"connection": to(server), "create": "true"})
    environment = {"HALAB_MARK": str(tmp_path)}
    inputs = {"connection": to(server), "create": "sleep 600 & wait", "environment": environment}
    with pytest.raises(ProviderError, match="the command did not end: gave up at the limit"):
        create(provider, REMOTE, inputs, call(timeout=5))
    until(lambda: not marked(tmp_path), "the end of the remote processes")
    assert create(provider, REMOTE, {"connection": to(server), "create": "echo on"})["stdout"] == "on"


def test_a_cancellation_ends_the_remote_command(provider: CommandProvider, server: Server, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    at = call(timeout=None)
    with ThreadPoolExecutor(1) as pool:
        inputs = {"connection": to(server), "create": f"echo $$ >{pid}; exec sleep 600"}
        future = pool.submit(create, provider, REMOTE, inputs, at)
        until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the command's start")
        at.cancelled.set()
        with pytest.raises(ProviderError, match="cancelled"):
            future.result(60)
    until(lambda: not running(int(pid.read_text())), "the end of the remote process")


def test_an_idle_connection_is_closed(server: Server) -> None:
    provider = CommandProvider()
    provider._ssh = Ssh(idle=0.2)
    try:
        create(provider, REMOTE, {"connection": to(server), "create": "true"})
        (slot,) = provider._ssh._connections._slots.values()
        until(lambda: slot.link is not None and slot.link.connection.is_closed(), "the idle connection's end")
        create(provider, REMOTE, {"connection": to(server), "create": "true"})
        assert server.logins() == 2
    finally:
        provider.close()


def test_a_vm_that_never_answers_is_an_error_that_says_what_was_tried(provider: CommandProvider) -> None:
    with reserved() as closed:
        connection = {"host": "127.0.0.1", "port": closed, "dialErrorLimit": 3}
        message = (
            r"^ssh root@127\.0\.0\.1:\d+: awaited an SSH login, gave up after \d+ s and 4 dials, last error: .*111"
        )
        with pytest.raises(ProviderError, match=message):
            create(provider, REMOTE, {"connection": connection, "create": "true"})
        forever = connection | {"dialErrorLimit": -1}
        with pytest.raises(ProviderError, match=r"gave up at the limit after \d+ s and [1-9]\d* dials"):
            create(provider, REMOTE, {"connection": forever, "create": "true"}, call(timeout=1))


def test_a_peer_that_accepts_and_says_nothing_is_given_up_at_the_limit(provider: CommandProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        connection = {"host": "127.0.0.1", "port": mute.getsockname()[1], "dialErrorLimit": -1}
        with pytest.raises(ProviderError, match=r"awaited an SSH login, gave up at the limit after \d+ s and 1 dials"):
            create(provider, REMOTE, {"connection": connection, "create": "true"}, call(timeout=1))


def test_a_vm_that_comes_up_late_is_reached(provider: CommandProvider) -> None:
    made: list[Library] = []
    with reserved() as port:
        timer = threading.Timer(1.0, lambda: made.append(Library(HOST, CLIENT, port)))
        timer.start()
        try:
            connection = {
                "host": "127.0.0.1",
                "port": port,
                "privateKey": PEM,
                "hostKey": HOST.export_public_key().decode(),
                "dialErrorLimit": -1,
            }
            assert create(provider, REMOTE, {"connection": connection, "create": "echo up"})["stdout"] == "up"
        finally:
            timer.join()
            for server in made:
                server.stop()


def test_the_wrong_host_key_is_refused(provider: CommandProvider, server: Server) -> None:
    wrong = to(server, hostKey=CLIENT.export_public_key().decode(), dialErrorLimit=0)
    with pytest.raises(ProviderError, match=r"1 dials, last error: .*not trusted"):
        create(provider, REMOTE, {"connection": wrong, "create": "true"})


def test_a_key_that_cannot_be_read_is_an_error_without_the_key(provider: CommandProvider) -> None:
    connection = {"host": "127.0.0.1", "privateKey": "-----BEGIN sesame"}
    with pytest.raises(ProviderError, match="a key cannot be read") as raised:
        create(provider, REMOTE, {"connection": connection, "create": "true"})
    assert "sesame" not in str(raised.value)


def test_a_command_goes_through_a_proxy(provider: CommandProvider, server: Server) -> None:
    if isinstance(server, Library):
        pytest.skip("the library's server forwards nothing unless told to")
    connection = to(server, user="root", proxy=to(server))
    assert create(provider, REMOTE, {"connection": connection, "create": "echo far"})["stdout"] == "far"
    assert server.logins() == 2


def test_no_secret_reaches_the_log(provider: CommandProvider, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    log = Log()
    inputs = {
        "connection": to(server),
        "create": "true # sesame",
        "stdin": "sesame",
        "environment": {"HALAB_A": "sesame"},
    }
    create(provider, REMOTE, inputs, call(log=log))
    assert "sesame" not in caplog.text
    assert "sesame" not in str(log.lines)
    assert "PRIVATE" not in caplog.text + str(log.lines)


def test_a_text_is_copied_and_its_folders_are_made(provider: CommandProvider, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    inputs = {"connection": to(server), "source": Asset("h", text="täxt\n"), "remotePath": str(path)}
    created = provider.create(COPY, call(), plain(provider.check(COPY, "step", None, inputs)), preview=False)
    assert path.read_text() == "täxt\n"
    assert len(created.id) == 8
    shorter = inputs | {"source": Asset("i", text="t")}
    provider.update(COPY, call(), created.id, inputs, created.outputs, shorter, preview=False)
    assert path.read_text() == "t"


def test_a_copy_is_not_repeated_when_only_the_connection_changes(
    provider: CommandProvider, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    inputs: Props = {"connection": to(server), "source": Asset("h", text="x"), "remotePath": str(path)}
    created = provider.create(COPY, call(), inputs, preview=False)
    path.unlink()
    patient = inputs | {"connection": inputs["connection"] | {"dialErrorLimit": 3}}
    provider.update(COPY, call(), created.id, inputs, created.outputs, patient, preview=False)
    assert not path.exists()


def test_a_file_is_copied_into_a_folder_under_its_own_name(
    provider: CommandProvider, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(200_000))
    folder = tmp_path / "folder"
    folder.mkdir()
    inputs = {"connection": to(server), "source": Asset("h", path=str(source)), "remotePath": str(folder)}
    create(provider, COPY, inputs)
    assert (folder / "source.bin").read_bytes() == source.read_bytes()
    text = inputs | {"source": Asset("h", text="x")}
    with pytest.raises(ProviderError, match="is a directory"):
        create(provider, COPY, text)


def test_closing_the_provider_leaves_no_thread(server: Server) -> None:
    before = set(threading.enumerate())
    provider = CommandProvider()
    create(provider, REMOTE, {"connection": to(server), "create": "true"})
    provider.close()
    until(lambda: not [thread for thread in set(threading.enumerate()) - before if "halab" in thread.name], "its end")
