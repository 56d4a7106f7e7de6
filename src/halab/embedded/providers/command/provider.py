"""The `command` package: Check, Diff, and running the commands of a resource's life."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from typing import Any

from halab.embedded.provider import UNKNOWN, Asset, Call, Created, Diff, DiffKind, Props, ProviderError, Secret
from halab.embedded.providers import schema
from halab.embedded.providers.command import local
from halab.embedded.providers.command.endpoint import Endpoint, Patience
from halab.embedded.providers.command.output import Capture, Ended
from halab.embedded.providers.command.ssh import Ssh
from halab.embedded.providers.schema import Field

LOCAL, REMOTE, COPY = "command:local:Command", "command:remote:Command", "command:remote:CopyToRemote"

_PROXY = {
    "host": Field(str, required=True),
    "port": Field(int, default=22),
    "user": Field(str, default="root"),
    "privateKey": Field(str),
    "privateKeyPassword": Field(str),
    "password": Field(str),
    "agentSocketPath": Field(str),
    "hostKey": Field(str),
    "dialErrorLimit": Field(int, default=10),
    "perDialTimeout": Field(int, default=15),
}
_SECRET = ("privateKey", "privateKeyPassword", "password")
_CONNECTION = Field(dict, required=True, fields=_PROXY | {"proxy": Field(dict, fields=_PROXY)})
_COMMAND = {
    "create": Field(str),
    "update": Field(str),
    "delete": Field(str),
    "triggers": Field(list),
    "stdin": Field(str),
    "environment": Field(dict),
    "logging": Field(str),
    "addPreviousOutputInEnv": Field(bool),
}
FIELDS: Mapping[str, schema.Fields] = {
    LOCAL: _COMMAND | {"dir": Field(str), "interpreter": Field(list)},
    REMOTE: _COMMAND | {"connection": _CONNECTION},
    COPY: {
        "connection": _CONNECTION,
        "source": Field(Asset, required=True),
        "remotePath": Field(str, required=True),
        "triggers": Field(list),
    },
}
LOGGING = ("stdout", "stderr", "stdoutAndStderr", "none")


class CommandProvider:
    """local.Command, remote.Command and remote.CopyToRemote, with pulumi-command's inputs, outputs and life cycle.

    Unlike the plugin: SSH connections are shared and closed when idle, a timeout or a cancellation ends a running
    command, output is kept to its last 64 KiB, and an error message never quotes the command.
    """

    package = "command"
    version = "1.2.1"

    def __init__(self) -> None:
        self._ssh = Ssh()

    def check_config(self, inputs: Props) -> Props:
        return inputs

    def configure(self, inputs: Props) -> None:
        return None

    def check(self, type_: str, name: str, old: Props | None, new: Props) -> Props:
        checked = schema.stated(schema.check(type_, _fields(type_), new))
        if checked.get("logging", "none") not in (*LOGGING, UNKNOWN):
            raise ProviderError(f"{type_}: logging {checked['logging']} is not one of {', '.join(LOGGING)}")
        if isinstance(checked.get("connection"), dict):
            checked["connection"] = _secret_connection(checked["connection"])
        return checked

    def diff(self, type_: str, id_: str, old_inputs: Props, old_outputs: Props, new_inputs: Props) -> Diff:
        changes = _changes("", old_inputs, new_inputs)
        if "triggers" in changes:  # as a whole: given, dropped or unknown; single elements are the program's to judge
            changes["triggers"] = DiffKind(f"{changes['triggers']}-replace")
        return Diff(changes)

    def create(self, type_: str, call: Call, inputs: Props, *, preview: bool) -> Created:
        if preview:
            unknown = {} if type_ == COPY else {"stdout": UNKNOWN, "stderr": UNKNOWN}
            return Created("", inputs | unknown)
        if type_ == COPY:
            self._copy(call, inputs)
            return Created(secrets.token_hex(4), inputs)
        outputs = self._ran(type_, call, inputs.get("create"), inputs, {"stdout": "", "stderr": ""})
        return Created(_name(call) + secrets.token_hex(4), inputs | outputs)

    def read(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> Props | None:
        return outputs

    def update(
        self, type_: str, call: Call, id_: str, old_inputs: Props, old_outputs: Props, inputs: Props, *, preview: bool
    ) -> Props:
        if type_ == COPY:
            moved = inputs["remotePath"] != old_inputs.get("remotePath")
            if not preview and (moved or not _same(old_inputs.get("source"), inputs["source"])):
                self._copy(call, inputs)
            return inputs
        previous = {stream: old_outputs.get(stream, "") for stream in ("stdout", "stderr")}
        if preview:
            return inputs | previous
        return inputs | self._ran(type_, call, inputs.get("update", inputs.get("create")), inputs, previous)

    def delete(self, type_: str, call: Call, id_: str, inputs: Props, outputs: Props) -> None:
        if type_ != COPY and "delete" in inputs:
            previous = {stream: outputs.get(stream, "") for stream in ("stdout", "stderr")}
            self._ran(type_, call, inputs["delete"], inputs, previous)

    def take_back(self, type_: str, call: Call, inputs: Props) -> None:
        """Nothing: what a command that was cut off has done is for its next run to find."""

    def close(self) -> None:
        self._ssh.close()

    def _ran(self, type_: str, call: Call, command: str | None, inputs: Props, previous: Props) -> Props:
        """The outputs after the command; the previous ones when there is no command. A failure is a ProviderError."""
        if command is None:
            return previous
        told = {}
        if inputs.get("addPreviousOutputInEnv", True):
            told = {f"PULUMI_COMMAND_{name.upper()}": text for name, text in previous.items() if text}
        ended = (
            self._local(call, command, inputs, told) if type_ == LOCAL else self._remote(call, command, inputs, told)
        )
        if ended.status != 0:
            where = "" if type_ == LOCAL else f"{_endpoint(inputs['connection'])}: "
            raise ProviderError(where + ended.failure())
        return {"stdout": ended.stdout, "stderr": ended.stderr}

    def _local(self, call: Call, command: str, inputs: Props, told: Mapping[str, str]) -> Ended:
        return local.run(
            call,
            command,
            interpreter=inputs.get("interpreter") or local.SHELL,
            directory=inputs.get("dir"),
            environment={**inputs.get("environment", {}), **told},
            stdin=inputs.get("stdin", ""),
            logging=inputs.get("logging", "stdoutAndStderr"),
        )

    def _remote(self, call: Call, command: str, inputs: Props, told: Mapping[str, str]) -> Ended:
        environment = inputs.get("environment", {})
        if environment:
            command = f"{_all_set(environment)}\n{command}"
        capture = Capture(inputs.get("logging", "stdoutAndStderr"), lambda line: call.log("info", line))
        status = self._ssh.run(
            call,
            _endpoint(inputs["connection"]),
            _patience(inputs["connection"]),
            command,
            capture=capture,
            stdin=inputs.get("stdin", ""),
            environment={**environment, **told},
        )
        return capture.ended(status)

    def _copy(self, call: Call, inputs: Props) -> None:
        source: Asset = inputs["source"]
        if source.text is not None:
            content, name = source.text.encode(), None
        else:
            assert source.path is not None
            try:
                with open(source.path, "rb") as file:
                    content, name = file.read(), os.path.basename(source.path)
            except OSError as error:
                raise ProviderError(f"{_name(call)}: source {source.path}: {error.strerror}") from error
        connection = inputs["connection"]
        self._ssh.write(call, _endpoint(connection), _patience(connection), inputs["remotePath"], content, name=name)


def _all_set(names: Mapping[str, str]) -> str:
    """A line of sh that fails unless sshd let every variable through: it drops what AcceptEnv does not name."""
    present = "".join(f"${{{name}+x}}" for name in names)
    message = f"sshd did not accept the environment: name {', '.join(names)} in AcceptEnv, or use stdin"
    return f'[ "{present}" = {"x" * len(names)} ] || {{ echo {shlex.quote(message)} >&2; exit 126; }}'


def _secret_connection(connection: Props) -> Secret:
    """The connection as the plugin's Check returns it: secret as a whole, and its secrets in it once more.

    Without the inner marks, the plugin would take a state of this engine for one with changed connections.
    """
    marked = {key: Secret(value) if key in _SECRET and value != UNKNOWN else value for key, value in connection.items()}
    proxy = connection.get("proxy")
    return Secret(marked | {"proxy": _secret_connection(proxy).value} if isinstance(proxy, dict) else marked)


def _endpoint(connection: Props) -> Endpoint:
    proxy = connection.get("proxy")
    return Endpoint(
        host=connection["host"],
        port=connection.get("port", 22),
        user=connection.get("user", "root"),
        private_key=connection.get("privateKey"),
        private_key_password=connection.get("privateKeyPassword"),
        password=connection.get("password"),
        agent_socket=connection.get("agentSocketPath"),
        host_key=connection.get("hostKey"),
        proxy=_endpoint(proxy) if proxy else None,
    )


def _patience(connection: Props) -> Patience:
    return Patience(errors=connection.get("dialErrorLimit", 10), dial=connection.get("perDialTimeout", 15))


def _fields(type_: str) -> schema.Fields:
    if type_ not in FIELDS:
        raise ProviderError(f"the embedded engine does not implement {type_}: use --engine cli")
    return FIELDS[type_]


def _name(call: Call) -> str:
    return call.urn.rsplit("::", 1)[-1]


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Asset) and isinstance(new, Asset):
        return old.hash == new.hash
    return type(old) is type(new) and bool(old == new)


def _changes(path: str, old: Any, new: Any) -> dict[str, DiffKind]:
    """Every path whose value differs. A value that became, or stopped being, a secret differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes: dict[str, DiffKind] = {}
        for key in [*old, *(key for key in new if key not in old)]:
            at = f"{path}.{key}" if path and key.isidentifier() else f'{path}["{key}"]' if path else key
            changes |= _pair(at, old.get(key), new.get(key))
        return changes
    if isinstance(old, list) and isinstance(new, list):
        changes = {}
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            changes |= _pair(f"{path}[{index}]", before, after)
        return changes
    if isinstance(old, Secret) and isinstance(new, Secret):
        return {path: DiffKind.UPDATE} if _changes("x", {"x": old.value}, {"x": new.value}) else {}
    if isinstance(old, int | float) and isinstance(new, int | float) and not isinstance(old, bool | type(None)):
        return {} if old == new and not isinstance(new, bool) else {path: DiffKind.UPDATE}
    return {} if _same(old, new) else {path: DiffKind.UPDATE}


def _pair(path: str, old: Any, new: Any) -> dict[str, DiffKind]:
    if old is None and new is None:
        return {}
    if old is None:
        return {path: DiffKind.ADD}
    if new is None:
        return {path: DiffKind.DELETE}
    return _changes(path, old, new)
