"""Runs the real program against Pulumi's mock monitor and keeps every registration it makes."""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import yaml
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from pulumi.runtime import mocks, rpc, settings

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "1b47061264138c4ac30d75fd1eb44270"


class _Echo(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program calls {args.token}, which would run in previews too")


@dataclass(frozen=True)
class Registration:
    """One RegisterResource request. `inputs` as on the wire: secrets are wrapped."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    dependencies: frozenset[str]
    deleted_with: str
    replace_with: frozenset[str]
    replace_on_changes: tuple[str, ...]
    delete_before_replace: bool
    provider: str
    request: Any

    def plain(self, key: str) -> Any:
        """An input without its secret wrapper."""
        value = self.inputs.get(key)
        return value["value"] if isinstance(value, dict) and is_secret(value) else value


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == SECRET


class _Recorder(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(_Echo())
        self.found: list[Registration] = []

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type == "pulumi:pulumi:Stack":
            return response
        self.found.append(
            Registration(
                urn=response.urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                custom=request.custom,
                inputs=MessageToDict(request.object),
                dependencies=frozenset(request.dependencies),
                deleted_with=request.deletedWith,
                replace_with=frozenset(request.replace_with),
                replace_on_changes=tuple(request.replaceOnChanges),
                delete_before_replace=request.deleteBeforeReplace,
                provider=request.provider,
                request=request,
            )
        )
        return response


@dataclass(frozen=True)
class Recorded:
    """What a run of the program asked for."""

    registrations: tuple[Registration, ...]
    outputs: Mapping[str, Any]

    def of(self, type_: str) -> dict[str, Registration]:
        return {one.name: one for one in self.registrations if one.type == type_}

    @property
    def commands(self) -> dict[str, Registration]:
        """The steps."""
        return self.of("command:remote:Command")

    def by_urn(self, urn: str) -> Registration:
        return next(one for one in self.registrations if one.urn == urn)


def stack_config(stack: str) -> dict[str, Any]:
    document = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    described: dict[str, Any] = document["config"]["halab:stack"]
    return described


def record(stack: str, described: Mapping[str, Any] | None = None, preview: bool = True) -> Recorded:
    """Run `__main__.py` for the stack; `described` replaces what its file says under `halab:stack`."""
    monitor = _Recorder()
    settings.set_root_resource(None)  # type: ignore[arg-type]
    pulumi.runtime.set_all_config({"halab:stack": json.dumps(described or stack_config(stack))})
    mocks.set_mocks(monitor.mocks, "halab", stack, preview, monitor=monitor)
    exported: dict[str, Any] = {}
    real, pulumi.export = pulumi.export, lambda name, value: exported.update({name: value})
    try:
        run = mocks.test(lambda: runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__") and None)  # type: ignore[no-untyped-call]
        run()
    finally:
        pulumi.export = real
    return Recorded(tuple(monitor.found), exported)
