from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from halab.embedded.engine import cipher
from tests.engine.harness import Lab


@pytest.fixture
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key derivation that does not cost half a second per stack."""
    monkeypatch.setattr(cipher, "ITERATIONS", 1000)


@pytest.fixture
def lab(tmp_path: Path, quick_keys: None) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def make_lab(tmp_path: Path, quick_keys: None) -> Callable[..., Lab]:
    def make(name: str, **rest: Any) -> Lab:
        return Lab(tmp_path / name, **rest)

    return make


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="hl-") as folder:
        yield Path(folder) / "state"
