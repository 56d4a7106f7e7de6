"""The other architectures, as a new user has them: up, verified, down; with `--all-variants` all, hit by a fault too.

Of `./halab test` this is what runs last, on one architecture a day, while there is time.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.variant import Variant
from halab import turn
from halab.display.text import duration
from halab.embedded.hypervisor import state_folder
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]
HALAB = ROOT / "halab"
MINUTE = 60.0
ALL = os.environ.get(turn.CHOICE) == turn.ALL
Halab = Callable[..., int]


@pytest.fixture(params=turn.chosen(os.environ, datetime.now(UTC).date()))
def variant(request: pytest.FixtureRequest) -> Variant:
    """What is tried now; left out, and said to be so, where there is no time for it."""
    name: Variant = request.param
    left, reason = turn.budget(os.environ, time.time())
    print(f"\n[lab] {name}: {f'{left:.0f} min left' if left < turn.LIMIT else 'no limit of time'}", flush=True)
    if reason:
        print(f"[lab] {name}: left out: {reason}", flush=True)
        pytest.skip(f"{name}: {reason}")
    return name


@pytest.fixture
def halab(variant: Variant) -> Iterator[Halab]:
    """A command on the stack: its exit code; what it says goes to this test's own output."""
    if Workspace.load(ROOT, variant).record() is not None:
        pytest.fail(f"stack {variant} is up on this host already: ./halab down --stack {variant} first")

    def run(*arguments: str, limit: float = 5 * MINUTE) -> int:
        began = time.monotonic()
        done = subprocess.run([HALAB, *arguments, "--stack", variant], cwd=ROOT, timeout=limit, check=False)
        took = duration(time.monotonic() - began)
        print(f"[lab] ./halab {' '.join(arguments)} --stack {variant}: {took}, exit {done.returncode}", flush=True)
        return done.returncode

    yield run
    run("down")


@pytest.mark.timeout(120 * MINUTE)
def test_an_architecture_comes_up_verifies_and_leaves_nothing(variant: Variant, halab: Halab) -> None:
    workspace = Workspace.load(ROOT, variant)
    # a fault begins with the golden cloud that a verified up keeps
    less = () if ALL else ("--no-fence-proof", "--no-golden")
    assert halab("up", "--fresh", *less, limit=60 * MINUTE) == 0
    assert halab("status") == 0
    if ALL:
        assert halab("fault", "run", "vip-owner-off", limit=40 * MINUTE) == 0
        assert halab("verify", limit=15 * MINUTE) == 0
    assert halab("down") == 0
    assert workspace.state == state_folder()
    assert not workspace.paths.root.exists()
    assert not workspace.checkpoint.exists()
