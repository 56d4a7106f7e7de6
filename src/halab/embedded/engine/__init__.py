"""The embedded engine: runs an unmodified Pulumi program and keeps its state, without the Pulumi CLI."""

from halab.embedded.engine.engine import Engine
from halab.embedded.engine.errors import (
    CancelledError,
    ConfigError,
    EngineError,
    LockedError,
    PassphraseError,
    StateError,
    StepError,
    UnsupportedError,
)
from halab.embedded.engine.events import (
    MASK,
    Change,
    Diagnostic,
    Event,
    Failure,
    Op,
    Planned,
    PropertyDiff,
    ResourceFinished,
    ResourceLog,
    ResourceStarted,
    Summary,
)

__all__ = [
    "MASK",
    "CancelledError",
    "Change",
    "ConfigError",
    "Diagnostic",
    "Engine",
    "EngineError",
    "Event",
    "Failure",
    "LockedError",
    "Op",
    "PassphraseError",
    "Planned",
    "PropertyDiff",
    "ResourceFinished",
    "ResourceLog",
    "ResourceStarted",
    "StateError",
    "StepError",
    "Summary",
    "UnsupportedError",
]
