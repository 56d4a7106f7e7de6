"""What several pure tests start from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.secrets import Secrets
from components.topology import Topology, derive
from components.variant import Variant, load

PROJECT = Path(__file__).resolve().parents[2]
STACKS = sorted(Variant)


@pytest.fixture(params=STACKS)
def topology(request: pytest.FixtureRequest) -> Topology:
    """The topology of each stack file in turn."""
    return derive(load(PROJECT, request.param))


@pytest.fixture
def collapsed() -> Topology:
    return derive(load(PROJECT, "collapsed"))


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    return Secrets(b"a" * 32, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder for a stack's state, its path short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="hl-") as folder:
        yield Path(folder)
