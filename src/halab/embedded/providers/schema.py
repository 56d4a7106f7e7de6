"""Inputs described as data: what is accepted, what it defaults to, and what a change of it means.

One `Fields` mapping per resource type drives Check (validation, defaults) and Diff (update or replace). The rules are
those of pulumi-terraform-bridge: a value the provider computes is compared only when the program states it, an absent
value equals an empty one, and the names of defaulted inputs are kept beside them under `__defaults`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from halab.embedded.provider import UNKNOWN, DiffKind, Props, ProviderError, Secret

DEFAULTS = "__defaults"


@dataclass(frozen=True, slots=True)
class Field:
    """One input. `kind` is str, int, bool, list (of plain values) or dict; `fields` makes it an object, or with `many`
    a list of objects. `replaces`: a change of it needs a new resource, otherwise it is updated in place."""

    kind: type
    replaces: bool = True
    default: Any = None
    computed: bool = False
    required: bool = False
    fields: Mapping[str, Field] | None = None
    many: bool = False
    same: Callable[[Any, Any], bool] = operator.eq


Fields = Mapping[str, Field]


def check(type_: str, fields: Fields, inputs: Props) -> Props:
    """The inputs, coerced and with their defaults. Unknown values pass through. Raises ProviderError on a bad input."""
    return _check_object(type_, "", fields, inputs)


def _check_object(type_: str, path: str, fields: Fields, value: Any) -> Props:
    if not isinstance(value, dict):
        raise ProviderError(f"{type_}: {path.rstrip('.')} must be an object, not {type(value).__name__}")
    checked: Props = {}
    for name, item in value.items():
        if name.startswith("__") or item is None:
            continue
        if name not in fields:
            raise ProviderError(f"{type_}: the embedded engine does not implement input {path}{name}: use --engine cli")
        checked[name] = _check_value(type_, path + name, fields[name], item)
    defaulted = []
    for name, field in fields.items():
        if name in checked:
            continue
        if field.required:
            raise ProviderError(f"{type_}: input {path}{name} is missing")
        if field.default is not None:
            checked[name] = field.default
            defaulted.append(name)
    return checked | {DEFAULTS: sorted(defaulted)}


def _check_value(type_: str, path: str, field: Field, value: Any) -> Any:
    if value == UNKNOWN:
        return value
    if field.many:
        if not isinstance(value, list):
            raise ProviderError(f"{type_}: input {path} must be a list, not {type(value).__name__}")
        assert field.fields is not None
        return [
            item if item == UNKNOWN else _check_object(type_, f"{path}[{index}].", field.fields, item)
            for index, item in enumerate(value)
        ]
    if field.fields is not None:
        return _check_object(type_, path + ".", field.fields, value)
    if field.kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, field.kind) or (field.kind is int and isinstance(value, bool)):
        raise ProviderError(f"{type_}: input {path} must be {field.kind.__name__}, not {type(value).__name__}")
    return value


def diff(fields: Fields, old: Props, new: Props) -> dict[str, DiffKind]:
    """Property paths that differ between the recorded outputs and the checked inputs, with the kind of each change."""
    return _diff_object("", fields, plain(old), plain(new))


def _diff_object(path: str, fields: Fields, old: Props, new: Props) -> dict[str, DiffKind]:
    changes: dict[str, DiffKind] = {}
    for name, field in fields.items():
        changes |= _diff_value(path + name, field, old.get(name), new.get(name))
    return changes


def _diff_value(path: str, field: Field, old: Any, new: Any) -> dict[str, DiffKind]:
    if new is None:
        return {} if _empty(old) or field.computed else {path: _kind("delete", field)}
    if _empty(old) and _empty(new):
        return {}
    if new == UNKNOWN:
        return {path: _kind("add" if old is None else "update", field)}
    if field.many:
        assert field.fields is not None
        before, after = old or [], new
        changes = {}
        for index in range(max(len(before), len(after))):
            at = f"{path}[{index}]"
            if index >= len(before):
                changes[at] = _kind("add", field)
            elif index >= len(after):
                changes[at] = _kind("delete", field)
            elif after[index] == UNKNOWN:
                changes[at] = _kind("update", field)
            else:
                changes |= _diff_object(at + ".", field.fields, before[index], after[index])
        return changes
    if field.fields is not None:
        return _diff_object(path + ".", field.fields, old or {}, new)
    if old is None:
        return {path: _kind("add", field)}
    return {} if field.same(old, new) else {path: _kind("update", field)}


def _empty(value: Any) -> bool:
    return value is None or value in ("", 0, False) or value == [] or value == {}


def _kind(change: str, field: Field) -> DiffKind:
    return DiffKind(f"{change}-replace" if field.replaces else change)


def plain(value: Any) -> Any:
    """The value without its secret wrappers, at every depth."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def stated(inputs: Props) -> Props:
    """The inputs without the bookkeeping keys (`__defaults`), at every depth: what goes into the outputs."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if not key.startswith("__")}
        return [strip(item) for item in value] if isinstance(value, list) else value

    result: Props = strip(inputs)
    return result
