"""What the engine refuses, each in one line that says what was seen and what to do next."""

from __future__ import annotations


class EngineError(Exception):
    """The root of everything the engine raises for the user to read."""


class LockedError(EngineError):
    """Another live process holds the stack's lock."""


class PassphraseError(EngineError):
    """The passphrase does not open the stack's secrets."""


class StateError(EngineError):
    """The state file is damaged, inconsistent, or could not be written."""


class ConfigError(EngineError):
    """Pulumi.yaml or the stack's configuration file is missing or malformed."""


class UnsupportedError(EngineError):
    """The program asked for something the embedded engine does not serve."""


class StepError(EngineError):
    """One resource operation failed."""


class CancelledError(EngineError):
    """The run was cancelled before this operation started."""
