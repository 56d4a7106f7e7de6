"""Who may know what: the model is pure, one file knows libvirt, one knows remote commands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports: modules, and what is taken from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(*prefixes: str) -> set[str]:
    """The files of the project that import anything that starts so, relative to the project."""
    files = [PROJECT / "__main__.py", *(PROJECT / "components").rglob("*.py"), *(PROJECT / "src").rglob("*.py")]
    return {
        str(path.relative_to(PROJECT)) for path in files if any(name.startswith(prefixes) for name in imports(path))
    }


def test_one_file_knows_pulumis_libvirt() -> None:
    assert importers("pulumi_libvirt") == {"components/machine.py"}


def test_one_file_makes_remote_commands() -> None:
    assert importers("pulumi_command.remote") == {"components/bootstrap.py"}


def test_the_model_is_pure() -> None:
    allowed = {"__main__.py", "components/machine.py", "components/bootstrap.py", "components/lab.py"}
    found = {path for path in importers("pulumi.", "pulumi_", "pulumi") if not path.startswith("src/")}
    assert found == allowed


def test_the_model_does_not_know_the_command_line() -> None:
    assert {path for path in importers("halab.") if path.startswith("components/")} == set()


def test_the_program_is_wiring() -> None:
    assert len((PROJECT / "__main__.py").read_text().splitlines()) <= 30
