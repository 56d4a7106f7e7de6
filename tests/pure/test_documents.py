"""What the documents promise is there."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from components.topology import derive
from components.variant import Variant, load
from halab.workspace import BUILDABLE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_picture_shows_the_default_stack_as_it_is() -> None:
    picture = html.unescape((ROOT / "docs" / "topology.svg").read_text())
    topology = derive(load(ROOT, "collapsed"))
    for node in topology.nodes:
        assert f">{node.name}<" in picture, "run ./halab graph --format svg > docs/topology.svg"
        assert f">{node.ip}<" in picture
    for vip in topology.vips:
        assert f">{vip.ip}<" in picture


def test_the_readme_says_of_each_variant_whether_it_can_be_brought_up() -> None:
    readme = (ROOT / "README.md").read_text()
    for variant in Variant:
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{variant}`"))
        assert ("up" in row.split("|")[3]) == (variant in BUILDABLE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    from typer.main import get_command

    from halab.cli.app import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    shown = set(re.findall(r"\./halab ([a-z][a-z-]*)", page.read_text()))
    assert shown <= known
