"""A command on this machine, in a session of its own so that all of it can be ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from halab.embedded.provider import Call, ProviderError
from halab.embedded.providers.command.output import Capture, Ended

SHELL = ("/bin/sh", "-c")
GRACE = 5.0
POLL = 0.25
DRAIN = 1.0


def run(
    call: Call,
    command: str,
    *,
    interpreter: Sequence[str] = SHELL,
    directory: str | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    logging: str = "stdoutAndStderr",
) -> Ended:
    """Run it to its end. Ends the whole process group on cancellation and at call.timeout, then raises ProviderError.

    A background child that keeps the output open is not waited for longer than DRAIN seconds.
    """
    try:
        process = subprocess.Popen(
            [*interpreter, command],
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ProviderError(f"the command cannot be started: {error}") from error
    capture = Capture(logging, lambda line: call.log("info", line))
    deadline = None if call.timeout is None else time.monotonic() + call.timeout
    try:
        _pump(call, process, capture, stdin.encode(), deadline)
    except BaseException:
        _end(process)
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
    return capture.ended(process.returncode)


def _pump(call: Call, process: subprocess.Popen[bytes], capture: Capture, stdin: bytes, deadline: float | None) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, capture.out)
        selector.register(process.stderr, selectors.EVENT_READ, capture.err)
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        ended: float | None = None
        while selector.get_map():
            for key, _events in selector.select(POLL):
                if key.fileobj is process.stdin:
                    stdin = _feed(process, stdin)
                    if not stdin:
                        selector.unregister(key.fileobj)
                        with contextlib.suppress(BrokenPipeError):
                            process.stdin.close()
                elif data := os.read(key.fd, 65536):
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            _stop_at(call, deadline)
            if ended is None and process.poll() is not None:
                ended = time.monotonic()
            if ended is not None and time.monotonic() > ended + DRAIN:
                break
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
                return
            _stop_at(call, deadline)


def _stop_at(call: Call, deadline: float | None) -> None:
    if call.cancelled.is_set():
        raise ProviderError("cancelled while the command ran")
    if deadline is not None and time.monotonic() > deadline:
        raise ProviderError(f"the command ran longer than its limit of {call.timeout:.0f} s")


def _feed(process: subprocess.Popen[bytes], stdin: bytes) -> bytes:
    assert process.stdin is not None
    try:
        return stdin[os.write(process.stdin.fileno(), stdin[:65536]) :]
    except BlockingIOError:
        return stdin
    except BrokenPipeError:
        return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
