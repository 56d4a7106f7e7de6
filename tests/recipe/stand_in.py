"""Servers in the place of a node's, for the time of a `with`: afterwards no thread of theirs is left."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port, on 127.0.0.1, of a server that gives one client after the other its answer."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer(self.request)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            # An accept that outlives its socket takes the clients of whoever gets its file descriptor next.
            server.shutdown()
            thread.join()


@contextmanager
def reserved() -> Iterator[int]:
    """A port, on 127.0.0.1, that refuses and that nobody gets but a server that asks for it with SO_REUSEADDR."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])
