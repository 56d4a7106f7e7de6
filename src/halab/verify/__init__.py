"""The acceptance of a cloud: it asks the topology what to expect and the cloud what is so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from halab.verify.context import Context, Question
from halab.verify.report import Finding, Report

__all__ = ["Context", "Finding", "Report", "run"]


#: How often a question that could not be asked is asked anew, alone: with all questions at once, or soon after a fault,
#: a busy guest misses one. A wrong answer is an answer and stands.
_AGAIN = 2


async def _answer(context: Context, question: Question) -> tuple[Finding, ...]:
    start = time.monotonic()
    findings = await question(context)
    seconds = time.monotonic() - start
    return tuple(replace(finding, seconds=round(seconds, 2)) for finding in findings)


def _unasked(question: Question, error: Exception) -> Finding:
    name = (question.__doc__ or question.__name__).partition("\n")[0].rstrip(".")
    return Finding(name, False, f"could not be asked: {error}")


async def run(
    context: Context,
    questions: Sequence[Question] | None = None,
    on_finding: Callable[[Finding], None] = lambda finding: None,
) -> Report:
    """Ask everything at once, then one by one what could not be asked; the report keeps the order of the questions.

    Never raises for a sick cloud.
    """
    from halab.verify.questions import QUESTIONS

    asked = tuple(questions if questions is not None else QUESTIONS)

    async def told(question: Question, tries: int) -> tuple[Finding, ...] | None:
        try:
            findings = await _answer(context, question)
        except Exception as error:
            if tries:
                return None
            findings = (_unasked(question, error),)
        for finding in findings:
            on_finding(finding)
        return findings

    answers = list(await asyncio.gather(*(told(question, _AGAIN) for question in asked)))
    for tries in reversed(range(_AGAIN)):
        for index, question in enumerate(asked):
            if answers[index] is None:
                answers[index] = await told(question, tries)
    return Report(context.topology.stack.name, tuple(finding for answer in answers for finding in answer or ()))
