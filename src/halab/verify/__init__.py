"""The acceptance of a cloud: it asks the topology what to expect and the cloud what is so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from halab.verify.context import Context, Question
from halab.verify.report import Finding, Report

__all__ = ["Context", "Finding", "Report", "run"]


async def _ask(context: Context, question: Question, on_finding: Callable[[Finding], None]) -> tuple[Finding, ...]:
    start = time.monotonic()
    try:
        findings = await question(context)
    except Exception as error:
        name = (question.__doc__ or question.__name__).partition("\n")[0].rstrip(".")
        findings = [Finding(name, False, f"could not be asked: {error}")]
    seconds = time.monotonic() - start
    timed = tuple(replace(finding, seconds=round(seconds, 2)) for finding in findings)
    for finding in timed:
        on_finding(finding)
    return timed


async def run(
    context: Context,
    questions: Sequence[Question] | None = None,
    on_finding: Callable[[Finding], None] = lambda finding: None,
) -> Report:
    """Ask everything at once; the report keeps the order of the questions. Never raises for a sick cloud."""
    from halab.verify.questions import QUESTIONS

    jobs: list[Awaitable[tuple[Finding, ...]]] = [
        _ask(context, question, on_finding) for question in (questions if questions is not None else QUESTIONS)
    ]
    answers = await asyncio.gather(*jobs)
    return Report(context.topology.stack.name, tuple(finding for answer in answers for finding in answer))
