"""A keystone token through the stack's VIP, asked until it comes: `python -m halab.bench.token STACK SECONDS`.

A process of its own, because it moves into the stack's network; $HALAB_PROJECT has the stack's file. Exit code 1 with
one line on stderr when no token came.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from halab import hypervisors
from halab.actions import cloud
from halab.verify.context import Context
from halab.verify.questions.apis import get_token
from halab.workspace import Workspace


def main(stack: str, limit: float) -> str:
    """Why there was none, or ""."""
    workspace = Workspace.load(Path(os.environ["HALAB_PROJECT"]), stack)
    hypervisors.reach(workspace)
    own = cloud.keys(workspace)

    async def nowhere(node: str, script: str) -> str:
        raise AssertionError("a token needs no node")

    context = Context(topology=workspace.topology, run=nowhere, secrets=own.secrets, ca=own.ca, limit=limit)
    return asyncio.run(_ask(context, time.monotonic() + limit))


async def _ask(context: Context, deadline: float) -> str:
    while True:
        try:
            await get_token(context, None)
            return ""
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                return f"no token through the VIP within {context.limit:.0f} s; last: {error}"
        await asyncio.sleep(0.25)


if __name__ == "__main__":
    if why := main(sys.argv[1], float(sys.argv[2])):
        print(why, file=sys.stderr)
        sys.exit(1)
