"""halab's own tests, tier by tier, with one line at the end that counts them all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from halab import turn
from halab.actions import doctor as actions
from halab.display import text
from halab.display.text import duration
from halab.errors import DONE, FAILED, RefusedError
from halab.host import doctor
from halab.workspace import Workspace

TIERS = ("lint", "pure", "recipe", "program", "engine", "lab")
#: The part of the lab tier that has all architectures.
VARIANTS = "variants"
_FAST = tuple(tier for tier in TIERS if tier != "lab")
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)\b")
#: pytest's exit code for a folder without tests.
_NOTHING = 5


@dataclass(frozen=True, slots=True)
class Tier:
    """What one tier came to; `failed` counts errors too."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def run(workspace: Workspace, *, fast: bool, yes: bool, only: Sequence[str], all_variants: bool = False) -> int:
    """`all_variants`: nothing but every architecture's up, fault and down."""
    for name in only:
        if name not in TIERS:
            raise RefusedError(f"--tier {name}: there are {', '.join(TIERS)}")
    if all_variants and (fast or only):
        raise RefusedError("--all-variants: is a run of its own, without --fast and --tier")
    chosen = [tier for tier in (_FAST if fast else TIERS) if not only or tier in only]
    if all_variants:
        chosen = [VARIANTS]
        os.environ[turn.CHOICE] = turn.ALL
    os.environ.setdefault(turn.BEGAN, str(time.time()))
    turn.chosen(os.environ, datetime.now(UTC).date())  # a name that is none is refused before anything runs
    project = workspace.project
    _prepare(workspace, yes)
    done: list[Tier] = []
    for name in chosen:
        print(f"=== {name}", flush=True)
        done.append(_lint(project) if name == "lint" else _pytest(project, name))
        if name != chosen[-1] and chosen[chosen.index(name) + 1] == "lab" and any(tier.failed for tier in done):
            print("=== lab: not run, a cheaper tier failed", flush=True)
            break
    print()
    for tier in done:
        skipped = f", {tier.skipped} skipped" if tier.skipped else ""
        print(f"{tier.name:<8} {tier.passed:>4} passed, {tier.failed} failed{skipped}  {duration(tier.seconds)}")
    passed, failed = sum(tier.passed for tier in done), sum(tier.failed for tier in done)
    print(f"{passed} passed, {failed} failed")
    return FAILED if failed or not passed else DONE


def _prepare(workspace: Workspace, yes: bool) -> None:
    """The programs that tests run, installed when `yes`; without them those tests say that they are skipped."""
    lacking = doctor.lacks(embedded=True, test=True)
    if lacking and yes:
        actions.packages(workspace, True, True, text.console(), test=True)
    elif lacking:
        names = ", ".join(one.name for one in lacking)
        print(f"this host lacks {names}: tests that need them are skipped (--yes installs them)", flush=True)


def _lint(project: Path) -> Tier:
    """Each linter counts as one test."""
    began = time.monotonic()
    passed = failed = 0
    for name, command in linters(project):
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode:
            failed += 1
            print(f"{name}: FAILED\n{done.stdout}{done.stderr}", flush=True)
        else:
            passed += 1
            print(f"{name}: ok", flush=True)
    return Tier("lint", passed, failed, 0, time.monotonic() - began)


def linters(project: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and command of every linter, all from this Python's own environment."""
    tools = Path(sys.executable).parent
    tracked = subprocess.run(["git", "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    files = [name for name in tracked if name and (project / name).is_file()]
    shell = [name for name in files if name.endswith(".sh") or name in ("halab", ".ci/run")]
    yaml = [name for name in files if name.endswith((".yaml", ".yml"))]
    yield "ruff check", [str(tools / "ruff"), "check", "."]
    yield "ruff format", [str(tools / "ruff"), "format", "--check", "."]
    yield "mypy", [str(tools / "mypy"), "components", "src/halab", "__main__.py", "tests"]
    yield "import contracts", [str(tools / "lint-imports")]
    yield "shellcheck", [str(tools / "shellcheck"), "--external-sources", *shell]
    yield "yamllint", [str(tools / "yamllint"), "--strict", *yaml]


def _pytest(project: Path, tier: str) -> Tier:
    """The tier's folder under pytest, its output passed on as it comes."""
    began = time.monotonic()
    path = "tests/lab/test_variants.py" if tier == VARIANTS else f"tests/{tier}"
    # A test that hangs ends, and on a host so busy that a second of work takes a minute no other does.
    command = [sys.executable, "-m", "pytest", path, "-q", "--timeout=600"]
    command += ["-s"] if tier in ("lab", VARIANTS) else []
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(
        command, cwd=project, env={**os.environ, "PATH": programs}, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line if _COUNT.search(line) and " in " in line else last
    code = process.wait()
    counts = {word.rstrip("s"): int(number) for number, word in _COUNT.findall(last)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if code not in (0, _NOTHING) and not failed:
        failed = 1
    return Tier(tier, counts.get("passed", 0), failed, counts.get("skipped", 0), time.monotonic() - began)
