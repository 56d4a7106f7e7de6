"""What ends a command with one line for the user, and the exit code that goes with it."""

from __future__ import annotations

DONE, FAILED, REFUSED = 0, 1, 2


class HalabError(Exception):
    """Something failed; the message names what was awaited, what was seen, where the log is and what to run next."""

    code = FAILED


class RefusedError(HalabError):
    """Bad input or a missing requirement: nothing was created. A message of several lines names several problems."""

    code = REFUSED
