"""The questions of a verification, in the order of the report."""

from __future__ import annotations

from collections.abc import Sequence

from halab.verify.context import Question
from halab.verify.questions import (
    addresses,
    apis,
    cluster,
    coordination,
    database,
    design,
    gateway,
    messaging,
    secrecy,
)

QUESTIONS: Sequence[Question] = (
    *cluster.QUESTIONS,
    *addresses.QUESTIONS,
    *database.QUESTIONS,
    *messaging.QUESTIONS,
    *coordination.QUESTIONS,
    *apis.QUESTIONS,
    *gateway.QUESTIONS,
    *secrecy.QUESTIONS,
    *design.QUESTIONS,
)
