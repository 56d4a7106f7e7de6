"""Property values: on the wire (protobuf Struct), towards providers, in the state file, on the screen.

In the engine a value is a JSON-like tree whose leaves may also be UNKNOWN, Secret, Ref, Asset or Archive.
Source of the markers: the Pulumi SDK's wire format (sdk/proto, `pulumi.runtime.rpc`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from halab.embedded.engine.errors import UnsupportedError
from halab.embedded.engine.events import MASK
from halab.embedded.provider import UNKNOWN, Archive, Asset, Props, Secret

SIG = "4dabf18193072939515e22adb298388d"
SIG_SECRET = "1b47061264138c4ac30d75fd1eb44270"
SIG_REF = "5cf8f73096256a8f31e491e813e4eb8e"
SIG_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
SIG_ASSET = "c44067f5952c0a294b673a41bacd8c17"
SIG_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"


@dataclass(frozen=True, slots=True)
class Ref:
    """A resource held inside a property; `id` is None for components, UNKNOWN before it is created."""

    urn: str
    id: str | None = None


def decode(message: struct_pb2.Struct, root: Path) -> Props:
    """A request's Struct as properties, nulls in maps dropped; relative asset paths are read below `root`.

    Raises: UnsupportedError for a marker the engine does not know; OSError when an asset cannot be read.
    """
    return {key: value for key, item in message.fields.items() if (value := decode_value(item, root)) is not None}


def decode_value(message: struct_pb2.Value, root: Path) -> Any:
    """One wire value; numbers without a fraction become ints."""
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        text = message.string_value
        return UNKNOWN if text == UNKNOWN else text
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return message.bool_value
    if kind == "list_value":
        return [decode_value(item, root) for item in message.list_value.values]
    if kind == "struct_value":
        return _from_marked(decode(message.struct_value, root), root, lambda text: text)
    return None


def encode(props: Mapping[str, Any]) -> struct_pb2.Struct:
    """Properties as a Struct, secrets and references marked."""
    message = struct_pb2.Struct()
    for key, value in props.items():
        _fill(message.fields[key], value)
    return message


def _fill(message: struct_pb2.Value, value: Any) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = value
    elif isinstance(value, str):
        message.string_value = str(value)
    elif isinstance(value, list | tuple):
        message.list_value.SetInParent()
        for item in value:
            _fill(message.list_value.values.add(), item)
    else:
        message.struct_value.SetInParent()
        for key, item in _marked(value).items():
            _fill(message.struct_value.fields[key], item)


def _from_marked(tree: dict[str, Any], root: Path, open_secret: Callable[[str], str]) -> Any:
    mark = tree.get(SIG)
    if mark is None:
        return tree
    if mark == SIG_SECRET:
        inner = _inner_opener(open_secret)
        if "ciphertext" in tree:
            return Secret(from_state(json.loads(inner(tree["ciphertext"])), root, inner))
        if "plaintext" in tree:
            return Secret(from_state(json.loads(tree["plaintext"]), root, inner))
        return Secret(tree.get("value"))
    if mark == SIG_REF:
        return Ref(tree["urn"], tree.get("id"))
    if mark == SIG_OUTPUT:
        value = tree.get("value", UNKNOWN)
        return Secret(value) if tree.get("secret") else value
    if mark == SIG_ASSET:
        return _asset(tree, root)
    if mark == SIG_ARCHIVE:
        return _archive(tree, root)
    raise UnsupportedError(f"the program sent a value of a kind the embedded engine does not know ({mark})")


def _inner_opener(open_secret: Callable[[str], str]) -> Callable[[str], str]:
    """Inside an outer secret's text an inner one stands open; one sealed by itself is read as well."""

    def opener(text: str) -> str:
        return open_secret(text) if text.startswith("v1:") else text

    return opener


def _asset(tree: dict[str, Any], root: Path) -> Asset:
    known = tree.get("hash")
    if tree.get("uri"):
        raise UnsupportedError(f"the embedded engine does not fetch remote assets ({tree['uri']})")
    if tree.get("path"):
        path = str(tree["path"])
        return Asset(known or hashlib.sha256((root / path).read_bytes()).hexdigest(), path=path)
    text = str(tree.get("text", ""))
    return Asset(known or hashlib.sha256(text.encode()).hexdigest(), text=text)


def _archive(tree: dict[str, Any], root: Path) -> Archive:
    known = tree.get("hash")
    if tree.get("uri"):
        raise UnsupportedError(f"the embedded engine does not fetch remote archives ({tree['uri']})")
    if tree.get("path"):
        path = str(tree["path"])
        return Archive(known or _path_hash(root / path), path=path)
    assets: dict[str, Asset | Archive] = dict(tree.get("assets") or {})
    return Archive(known or _names_hash({name: item.hash for name, item in assets.items()}), assets=assets)


def _path_hash(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(f"archive {path} does not exist")
    files = (item for item in path.rglob("*") if item.is_file())
    return _names_hash({str(item.relative_to(path)): hashlib.sha256(item.read_bytes()).hexdigest() for item in files})


def _names_hash(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name}\0{hashes[name]}\0" for name in sorted(hashes)).encode()).hexdigest()


def _marked(value: Any) -> dict[str, Any]:
    """The dict that stands for anything that is a dict on the wire and in state."""
    if isinstance(value, Secret):
        return {SIG: SIG_SECRET, "value": value.value}
    if isinstance(value, Ref):
        return {SIG: SIG_REF, "urn": value.urn} | ({} if value.id is None else {"id": str(value.id)})
    if isinstance(value, Asset):
        content = {"text": value.text or ""} if value.path is None else {"path": value.path}
        return {SIG: SIG_ASSET, "hash": value.hash, **content}
    if isinstance(value, Archive):
        inner = {"assets": dict(value.assets or {})} if value.path is None else {"path": value.path}
        return {SIG: SIG_ARCHIVE, "hash": value.hash, **inner}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not a property value: {value!r}")


def to_state(value: Any, close_secret: Callable[[str], dict[str, str]]) -> Any:
    """A value as the checkpoint's JSON; `close_secret` turns a secret's JSON text into its stored fields."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return [to_state(item, close_secret) for item in value]
    if isinstance(value, Secret):
        # What is inside a secret is encrypted with it: the Pulumi CLI leaves an inner secret's text as it is.
        opened = to_state(value.value, lambda text: {"ciphertext": text})
        inner = json.dumps(opened, separators=(",", ":"), ensure_ascii=False)
        return {SIG: SIG_SECRET, **close_secret(inner)}
    stored = {key: to_state(item, close_secret) for key, item in _marked(value).items()}
    return stored | {"packageVersion": ""} if isinstance(value, Ref) else stored


def from_state(tree: Any, root: Path, open_secret: Callable[[str], str]) -> Any:
    """The inverse of `to_state`; plaintext secrets (`--show-secrets` exports) are accepted."""
    if isinstance(tree, str):
        return UNKNOWN if tree == UNKNOWN else tree
    if isinstance(tree, float) and tree.is_integer():
        return int(tree)
    if isinstance(tree, list):
        return [from_state(item, root, open_secret) for item in tree]
    if isinstance(tree, dict):
        inner = {key: from_state(item, root, open_secret) for key, item in tree.items()}
        return _from_marked(inner, root, open_secret)
    return tree


def unwrap(value: Any) -> Any:
    """The value with every secret opened."""
    if isinstance(value, Secret):
        return unwrap(value.value)
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return value


def for_provider(value: Any, root: Path, *, secrets: bool = False) -> Any:
    """What a provider sees: references as ids (URNs for components), asset paths absolute, secrets kept on request."""
    if isinstance(value, Secret):
        inner = for_provider(value.value, root, secrets=secrets)
        return Secret(inner) if secrets else inner
    if isinstance(value, Ref):
        return value.urn if value.id is None else (value.id or UNKNOWN)
    if isinstance(value, Asset):
        return value if value.path is None else Asset(value.hash, path=str(root / value.path))
    if isinstance(value, Archive):
        if value.path is not None:
            return Archive(value.hash, path=str(root / value.path))
        return Archive(value.hash, assets={k: for_provider(v, root) for k, v in (value.assets or {}).items()})
    if isinstance(value, dict):
        return {key: for_provider(item, root, secrets=secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [for_provider(item, root, secrets=secrets) for item in value]
    return value


def restore(returned: Any, inputs: Any) -> Any:
    """What a provider returned, with the secrets, references and asset paths of the inputs of the same name.

    Follows the engine's rule for providers that do not speak secrets: an output named like a secret input is secret.
    """
    if isinstance(inputs, Secret):
        inner = returned.value if isinstance(returned, Secret) else returned
        return Secret(restore(inner, inputs.value))
    if isinstance(inputs, Ref):
        return inputs if returned in (inputs.urn, inputs.id) else returned
    if isinstance(inputs, Asset | Archive):
        return inputs if isinstance(returned, Asset | Archive) and returned.hash == inputs.hash else returned
    if isinstance(returned, dict) and isinstance(inputs, dict):
        return {key: restore(item, inputs[key]) if key in inputs else item for key, item in returned.items()}
    if isinstance(returned, list) and isinstance(inputs, list):
        if len(returned) == len(inputs):
            return [restore(a, b) for a, b in zip(returned, inputs, strict=True)]
        return Secret(returned) if has_secret(inputs) else returned
    return returned


def make_secret(props: Props, names: tuple[str, ...]) -> Props:
    """`props` with the named top-level properties secret."""
    if not any(name in props for name in names):
        return props
    return {k: Secret(v) if k in names and not isinstance(v, Secret) else v for k, v in props.items()}


def has_secret(value: Any) -> bool:
    """Whether a secret is anywhere in the value."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, dict):
        return any(has_secret(item) for item in value.values())
    return isinstance(value, list) and any(has_secret(item) for item in value)


def has_unknown(value: Any) -> bool:
    """Whether anything in the value is known only after an up; a reference without an id is."""
    if isinstance(value, str):
        return value == UNKNOWN
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, Ref):
        return value.id is not None and (value.id == UNKNOWN or not value.id)
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    return isinstance(value, list) and any(has_unknown(item) for item in value)


def for_display(value: Any, *, show_secrets: bool = False) -> Any:
    """Plain JSON for the user: secrets masked unless asked for, references as URNs, assets as their path or text."""
    if isinstance(value, Secret):
        return for_display(value.value, show_secrets=True) if show_secrets else MASK
    if isinstance(value, Ref):
        return value.id or value.urn
    if isinstance(value, Asset):
        return value.path if value.path is not None else value.text
    if isinstance(value, Archive):
        return value.path if value.path is not None else sorted(value.assets or {})
    if isinstance(value, dict):
        return {key: for_display(item, show_secrets=show_secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [for_display(item, show_secrets=show_secrets) for item in value]
    return value
