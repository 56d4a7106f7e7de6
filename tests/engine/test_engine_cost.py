"""What an unchanged up of a whole cloud's worth of resources costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.engine.harness import Lab

ROOT = Path(__file__).parents[2]


def test_an_unchanged_up_of_200_resources_is_quick_and_small(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    text = "x" * 2000
    items: list[dict[str, Any]] = [{"name": f"g{n}", "kind": "group"} for n in range(10)]
    items += [
        {
            "name": f"s{n}",
            "parent": f"g{n % 10}",
            "env": {"SCRIPT": text},
            "secret_env": {"KEY": f"secret-{n}"},
            "triggers": [n],
            **({"depends_on": [f"s{n - 10}"]} if n >= 10 else {}),
        }
        for n in range(190)
    ]
    lab.write(*items)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_engine.py")), str(lab.directory)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cost = json.loads(done.stdout)
    print(f"unchanged up of 200 resources: {cost}")
    assert cost["same"] == 201
    assert not cost["changed"]
    # Processor time, because the machine may be busy with other things.
    assert cost["cpu_seconds"] < 3
    assert cost["kib"] < 300 * 1024
