"""A passphrase that does not open a stack's state: one line, exit code 2, before anything is started."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from halab import sound
from halab.cli.app import run
from halab.embedded.engine.checkpoint import Sealer, Store
from halab.embedded.engine.cipher import Cipher
from halab.embedded.engine.errors import PassphraseError
from halab.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The default stack with a state that the passphrase "right" opens."""
    with tempfile.TemporaryDirectory(prefix="hl-") as folder:
        monkeypatch.setenv("HALAB_STATE", f"{folder}/state")
        for name in ("HALAB_STACK", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
            monkeypatch.delenv(name, raising=False)
        workspace = Workspace.load(ROOT, "collapsed")
        store = Store(workspace.checkpoint, "organization/halab/collapsed", ROOT)
        store.write(Sealer(Cipher.new("right")), [], [])
        yield workspace


def test_the_right_passphrase_opens_it(standing: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "right")
    sound.require(standing, embedded=False)


@pytest.mark.parametrize("given", ["wrong", "", None], ids=["another", "empty", "this host's own, which is new"])
def test_another_one_is_refused_before_anything_is_started(
    given: str | None, standing: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if given is not None:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", given)
    before = sorted(standing.state.rglob("*"))
    with pytest.raises(PassphraseError):
        sound.require(standing, embedded=False)
    assert run(["preview", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(
        f"halab: the passphrase does not open the secrets in {standing.checkpoint}: set PULUMI_CONFIG_"
    )
    assert "wrong" not in line
    assert sorted(standing.state.rglob("*")) == before
