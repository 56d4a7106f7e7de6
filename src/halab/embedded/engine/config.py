"""Pulumi.yaml and the stack's configuration file, as the program is to see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from halab.embedded.engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Project:
    """What Pulumi.yaml says. `main` is the program's directory or file; `config_dir` holds the stack files."""

    name: str
    root: Path
    main: Path
    config_dir: Path
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StackConfig:
    """A stack's configuration: `project:key` to text (objects as JSON text), which keys are secret, and the salt."""

    values: Mapping[str, str]
    secret_keys: frozenset[str]


def read_project(root: Path) -> Project:
    """Pulumi.yaml below `root`.

    Raises: ConfigError when it is missing or malformed.
    """
    file = root / "Pulumi.yaml"
    tree = _load(file)
    name = tree.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{file}: name is missing")
    return Project(
        name=name,
        root=root,
        main=root / str(tree.get("main") or "."),
        config_dir=root / str(tree.get("stackConfigDir") or "."),
        defaults=_defaults(tree.get("config") or {}, file),
    )


def _defaults(declared: Any, file: Path) -> dict[str, Any]:
    if not isinstance(declared, dict):
        raise ConfigError(f"{file}: config must be a map")
    given: dict[str, Any] = {}
    for key, rule in declared.items():
        if isinstance(rule, dict):
            if (value := rule.get("value", rule.get("default"))) is not None:
                given[str(key)] = value
        else:
            given[str(key)] = rule
    return given


def stack_file(project: Project, stack: str) -> Path:
    """The stack's configuration file; it need not exist."""
    return project.config_dir / f"Pulumi.{stack}.yaml"


def read_salt(project: Project, stack: str) -> str:
    """The `encryptionsalt` of the stack's file, or ""."""
    file = stack_file(project, stack)
    return str(_load(file).get("encryptionsalt") or "") if file.exists() else ""


def read_stack(project: Project, stack: str, decrypt: Callable[[str], str]) -> StackConfig:
    """The stack's configuration over the project's defaults; `decrypt` opens `secure:` values.

    Raises: ConfigError when the file is malformed; whatever `decrypt` raises.
    """
    file = stack_file(project, stack)
    tree = _load(file) if file.exists() else {}
    given = tree.get("config") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: config must be a map")
    merged = {_qualified(project, key): value for key, value in project.defaults.items()}
    merged |= {_qualified(project, str(key)): value for key, value in given.items()}
    values: dict[str, str] = {}
    secret: set[str] = set()
    for key, value in merged.items():
        opened, was_secret = _open(value, decrypt)
        if opened is None:
            continue
        values[key] = _text(opened)
        if was_secret:
            secret.add(key)
    return StackConfig(values, frozenset(secret))


def _load(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist") from None
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must be a map")
    return tree


def _qualified(project: Project, key: str) -> str:
    return key if ":" in key else f"{project.name}:{key}"


def _open(value: Any, decrypt: Callable[[str], str]) -> tuple[Any, bool]:
    """The value with `secure:` parts decrypted, and whether there were any."""
    if isinstance(value, dict):
        if set(value) == {"secure"} and isinstance(value["secure"], str):
            return decrypt(value["secure"]), True
        parts = {str(key): _open(item, decrypt) for key, item in value.items()}
        return {key: item for key, (item, _) in parts.items()}, any(flag for _, flag in parts.values())
    if isinstance(value, list):
        items = [_open(item, decrypt) for item in value]
        return [item for item, _ in items], any(flag for _, flag in items)
    return value, False


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
