"""What differs between a resource's old and new inputs, by path, and what its options make of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halab.embedded.engine import paths, values
from halab.embedded.engine.errors import StepError
from halab.embedded.engine.events import MASK, Change
from halab.embedded.engine.state import Resource
from halab.embedded.provider import DiffKind, Props

_TO_REPLACE = {
    DiffKind.ADD: DiffKind.ADD_REPLACE,
    DiffKind.DELETE: DiffKind.DELETE_REPLACE,
    DiffKind.UPDATE: DiffKind.UPDATE_REPLACE,
}
_INIT_ERROR = "#initerror"


def ignore_changes(inputs: Props, old: Props, patterns: Sequence[str]) -> Props:
    """`inputs` with the old value at each ignored path.

    Raises: StepError for a malformed path.
    """
    for pattern in patterns:
        path = _parse(pattern)
        for concrete in {*paths.expand(old, path), *paths.expand(inputs, path)}:
            inputs = paths.put(inputs, concrete, paths.get(old, concrete))
    return inputs


def replace_on_changes(
    kinds: Mapping[str, DiffKind], patterns: Sequence[str], init_errors: Sequence[str]
) -> dict[str, DiffKind]:
    """The diff with every change below one of the paths turned into a replacement.

    Raises: StepError for a malformed path.
    """
    covering = [_parse(pattern) for pattern in patterns]

    def covered(path: paths.Path) -> bool:
        return any(paths.covers(pattern, path) for pattern in covering)

    found = {text: _TO_REPLACE.get(kind, kind) if covered(_parse(text)) else kind for text, kind in kinds.items()}
    if init_errors and covered((_INIT_ERROR,)):
        found[_INIT_ERROR] = DiffKind.UPDATE_REPLACE
    return found


def _parse(text: str) -> paths.Path:
    try:
        return paths.parse(text)
    except ValueError as error:
        raise StepError(str(error)) from error


def triggered(old: Any, new: Any) -> bool:
    """Whether a replacement trigger changed: null on either side means there is none, unknown means changed."""
    if values.has_unknown(old) or values.has_unknown(new):
        return True
    old, new = values.unwrap(old), values.unwrap(new)
    return old is not None and new is not None and not paths.same(old, new)


def additions(inputs: Props) -> dict[str, Change]:
    """The diff of a resource that is new; what begins with "__" is the engine's own."""
    return {
        key: Change(DiffKind.ADD.value, None, values.for_display(value))
        for key, value in inputs.items()
        if not key.startswith("__")
    }


def shown(before: Resource, new: Resource, kinds: Mapping[str, DiffKind]) -> dict[str, Change]:
    """The diff for the user: old values from the inputs, or the outputs where the inputs have none."""
    found: dict[str, Change] = {}
    hidden = [_parse(pattern) for pattern in new.hide_diffs]
    for text, kind in kinds.items():
        path = _parse(text)
        if any(paths.covers(pattern, path) for pattern in hidden):
            continue
        source = before.inputs if paths.get(before.inputs, path) is not paths.MISSING else before.outputs
        old, now = paths.get(source, path), paths.get(new.inputs, path)
        secret = paths.hides(source, path) or paths.hides(new.inputs, path)
        found[text] = Change(kind.value, _show(old, secret), _show(now, secret))
    return found


def _show(value: Any, secret: bool) -> Any:
    if value is paths.MISSING:
        return None
    return MASK if secret else values.for_display(value)
