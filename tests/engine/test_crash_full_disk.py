"""A disk that is full during an up or a down: an error that says so, and the rerun finds nothing half done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.engine.test_crash_engine import ROOT, pytestmark

__all__ = ["pytestmark"]


def test_an_up_on_a_full_disk_says_so_and_goes_on_when_there_is_room_and_a_down_needs_none(tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash_full_disk.py")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-P", str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *ups, down = json.loads(done.stdout.splitlines()[-1])
    for one in ups:
        print(one)
        failures = one["up"].get("raised") or " ".join(one["up"]["failures"])
        assert "No space left on device" in failures, one
    assert down["left over"] == []
