"""What the architecture cannot do, told and not skipped."""

from __future__ import annotations

from halab.limits import limits
from halab.verify.context import Context
from halab.verify.report import Finding


async def design(context: Context) -> list[Finding]:
    """What is not asked because the architecture cannot do it."""
    return [Finding(one.name, True, one.text, by_design=one.source) for one in limits(context.topology)]


QUESTIONS = (design,)
