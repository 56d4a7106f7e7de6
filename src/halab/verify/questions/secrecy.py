"""No secret in the clear: in arguments, CIB, logs, readable files, or the state on this host."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

from components.secrets import KEYS
from halab.verify.context import Context
from halab.verify.report import Finding, all_of

_SWEEP = Path(__file__).parent.parent / "sweep.sh"


def _patterns(context: Context, node: str) -> dict[str, str]:
    """Text that gives a secret away -> its name. Keys are looked for by the first 48 characters of their base64."""
    names = context.secret_names.get(node, frozenset())
    values = {name: context.secrets.value(name) for name in names if name != "ENDPOINT_PEM"}
    return {value[:48] if name in KEYS else value: name for name, value in values.items()}


async def nodes(context: Context) -> list[Finding]:
    """No secret in argv, CIB, logs or world-readable files of any node."""
    names = tuple(node.name for node in context.topology.nodes if _patterns(context, node.name))
    sweep = _SWEEP.read_text()
    scripts = {
        name: f"{sweep}\nsweep <<'EOF'\n" + "\n".join(sorted(_patterns(context, name))) + "\nEOF\n" for name in names
    }
    answers = await asyncio.gather(*(context.run(name, scripts[name]) for name in names))
    problems = [f"{name}: {line}" for name, text in zip(names, answers, strict=True) for line in text.splitlines()]
    count = sum(len(_patterns(context, name)) for name in names)
    return [
        all_of("secrets: none in the clear on the nodes", problems, f"{count} secrets sought on {len(names)} nodes")
    ]


async def state(context: Context) -> list[Finding]:
    """No secret in the clear in the state or logs on this host."""
    every = set().union(*context.secret_names.values()) if context.secret_names else set[str]()
    sought = {context.secrets.value(name)[:48].encode() for name in every if name != "ENDPOINT_PEM"}
    sought |= {base64.b64encode(pattern)[:40] for pattern in set(sought)}
    sought.add(context.secrets.ssh_private("client").splitlines()[2].encode())
    files = [
        path for root in context.state for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()
    ]

    def holding() -> list[Path]:
        return [path for path in files if (data := path.read_bytes()) and any(pattern in data for pattern in sought)]

    found = await asyncio.to_thread(holding)
    evidence = f"{len(sought)} patterns sought in {len(files)} files"
    return [all_of("secrets: none in the clear in state and logs", (str(path) for path in found), evidence)]


QUESTIONS = (nodes, state)
