"""What a question may use: the topology, a way to run scripts on nodes, and HTTP from the hypervisor's side."""

from __future__ import annotations

import asyncio
import http.client
import json
import shlex
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.secrets import Secrets
from components.topology import Topology
from halab.verify.report import Finding

#: run(node name, bash script) -> stdout; raises with the end of stderr where the script fails.
Run = Callable[[str, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Context:
    """`ca`: path of the stack's CA certificate; `state`: files on this host that must hold no secret in the clear.

    `limit`: seconds for one answer. An API that an emulated guest started anew loads the rest of itself with its first
    question, a minute of that guest's time while all others are asked too.
    """

    topology: Topology
    run: Run
    secrets: Secrets
    ca: Path
    state: tuple[Path, ...] = ()
    limit: float = 180.0
    secret_names: Mapping[str, frozenset[str]] = field(default_factory=dict)

    async def everywhere(self, nodes: tuple[str, ...], script: str) -> dict[str, str]:
        """The script on all the nodes at once: node -> stdout."""
        answers = await asyncio.gather(*(self.run(node, script) for node in nodes))
        return dict(zip(nodes, answers, strict=True))

    async def http(
        self,
        method: str,
        host: str,
        port: int,
        path: str,
        *,
        body: bytes | Any = None,
        headers: Mapping[str, str] | None = None,
        tls_name: str | None = None,
    ) -> Response:
        """One request to an address; `tls_name` turns TLS on, checked against the stack's CA and that name."""
        return await asyncio.to_thread(self._http, method, host, port, path, body, dict(headers or {}), tls_name)

    def _http(
        self, method: str, host: str, port: int, path: str, body: Any, headers: dict[str, str], tls_name: str | None
    ) -> Response:
        connection = http.client.HTTPConnection(host, port, timeout=self.limit)
        if tls_name is not None:
            connection.connect()
            context = ssl.create_default_context(cafile=str(self.ca))
            connection.sock = context.wrap_socket(connection.sock, server_hostname=tls_name)
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def script(body: str, **values: str) -> str:
    """A script with values as shell variables: never part of its text."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()) + body


Question = Callable[[Context], Awaitable[list[Finding]]]
