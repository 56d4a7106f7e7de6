"""SSH to a node that is not there: one line that says so, and the next call dials anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from halab.remote import Remote, RemoteError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "controller-1: no answer within 60 s"),
        (OSError(113, "No route to host"), "controller-1: ssh to 10.0.0.1: No route to host"),
        (asyncssh.ConnectionLost("Connection lost"), "controller-1: ssh to 10.0.0.1: Connection lost"),
    ],
)
def test_a_node_that_cannot_be_dialled_is_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[str] = []

    async def connect(address: str, **_: object) -> None:
        dialled.append(address)
        raise error

    monkeypatch.setattr(asyncssh, "connect", connect)

    async def twice() -> None:
        async with Remote({"controller-1": "10.0.0.1"}, Path("key"), Path("known_hosts")) as remote:
            for _ in range(2):
                with pytest.raises(RemoteError) as caught:
                    await remote.run("controller-1", "true")
                assert str(caught.value) == said

    asyncio.run(twice())
    assert dialled == ["10.0.0.1"] * 2
