"""What a preview of a large cloud costs: the goal is 5 s on two free processors, of which this is the work."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("components", "src", "cloud-init", "images", "stacks", "Pulumi.yaml", "__main__.py", "pyproject.toml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose stacks are the examples too."""
    made = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, made / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, made / part)
    for example in (made / "stacks" / "examples").glob("Pulumi.*.yaml"):
        shutil.copy(example, made / "stacks" / example.name)
    return made


@pytest.mark.parametrize(("stack", "nodes"), [("large", 117), ("per-service", 54)])
def test_a_preview_of_a_large_cloud_is_a_few_seconds_of_work(
    project: Path, stack: str, nodes: int, state: Path
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{project}:{project / 'src'}",
        "PYTHONSAFEPATH": "1",
        "HALAB_STATE": str(state),
    }
    command = [sys.executable, "-m", "halab", "preview", "--stack", stack]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{nodes} VMs" in done.stdout
    assert "up would create everything" in done.stdout
    # Processor time, because the machine may be busy with other things, which makes it more, too.
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{stack}: {spent:.1f} s of processor time")
    assert spent < 15
