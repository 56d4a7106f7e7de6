"""Builds the resources that graph.json (beside Pulumi.yaml) lists; every command writes what it does to a log."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pulumi_command as command
from pulumi_command import local

spec = json.loads(Path("graph.json").read_text())
log = spec["log"]
here = Path(log).parent
made: dict[str, Any] = {}

# Options that are lists of resources, a resource, or plain values.
MANY = ("depends_on", "replace_with")
ONE = ("parent", "deleted_with", "provider")
PLAIN = (
    "delete_before_replace",
    "replace_on_changes",
    "ignore_changes",
    "protect",
    "retain_on_delete",
    "additional_secret_outputs",
    "replacement_trigger",
)


def options(item: dict[str, Any]) -> pulumi.ResourceOptions:
    given: dict[str, Any] = {key: [made[name] for name in item[key]] for key in MANY if key in item}
    given |= {key: made[item[key]] for key in ONE if key in item}
    given |= {key: item[key] for key in PLAIN if key in item}
    if "timeouts" in item:
        given["custom_timeouts"] = pulumi.CustomTimeouts(**item["timeouts"])
    if "trigger_from" in item:
        given["replacement_trigger"] = made[item["trigger_from"]].stdout
    if "secret_trigger" in item:
        given["replacement_trigger"] = pulumi.Output.secret(item["secret_trigger"])
    if "was" in item:
        given["aliases"] = [pulumi.Alias(name=item["was"])]
    if "providers" in item:
        given["providers"] = {"command": made[item["providers"]]}
    return pulumi.ResourceOptions(**given)


class Group(pulumi.ComponentResource):
    def __init__(self, name: str, item: dict[str, Any]) -> None:
        held = [made[other] for other in item.get("holds", [])]
        super().__init__("test:group:Group", name, {"held": held, **item.get("props", {})}, options(item))
        self.register_outputs({"name": name})


def step(name: str, item: dict[str, Any]) -> local.Command:
    # A file named fail-create-NAME makes the command fail without being one of its inputs.
    def say(what: str) -> str:
        return f"echo {what} {name} >> {log} && test ! -e {here}/fail-{what}-{name}"

    environment: dict[str, Any] = dict(item.get("env", {}))
    environment |= {f"FROM_{other}": made[other].stdout for other in item.get("uses", [])}
    environment |= {key: pulumi.Output.secret(text) for key, text in item.get("secret_env", {}).items()}
    triggers = item.get("triggers")
    if "triggers_from" in item:
        triggers = [*(triggers or []), *(made[other].stdout for other in item["triggers_from"])]
    return local.Command(
        name,
        create=f"{say('create')} && {item.get('run', 'echo ' + str(item.get('value', name)))}",
        update=f"{say('update')} && echo {item.get('value', name)}",
        delete=say("delete"),
        environment=environment or None,
        triggers=triggers,
        stdin=item.get("stdin"),
        opts=options(item),
    )


for item in spec["resources"]:
    name, kind = item["name"], item.get("kind", "step")
    if kind == "group":
        made[name] = Group(name, item)
    elif kind == "provider":
        made[name] = command.Provider(name, opts=options(item))
    else:
        made[name] = step(name, item)

for name in spec.get("exports", []):
    pulumi.export(name, made[name].stdout)
for name, value in spec.get("values", {}).items():
    pulumi.export(name, value)
if spec.get("raise"):
    raise RuntimeError(spec["raise"])
