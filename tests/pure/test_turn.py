"""Whose turn it is to be tried beside the default stack, and when there is no time for it."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest

from components.variant import Variant
from halab import turn
from halab.errors import RefusedError
from halab.workspace import BUILDABLE

DAY = date(2026, 11, 21)


def test_every_architecture_that_up_builds_has_its_day_and_the_default_has_none() -> None:
    days = [turn.of_day(DAY + timedelta(days=index)) for index in range(len(BUILDABLE) - 1)]
    assert set(days) == BUILDABLE - {Variant.COLLAPSED}
    assert turn.chosen({}, DAY) == (turn.of_day(DAY),)


def test_another_can_be_asked_for_by_name_and_so_can_all() -> None:
    assert turn.chosen({turn.CHOICE: "keepalived"}, DAY) == (Variant.KEEPALIVED,)
    assert turn.chosen({turn.CHOICE: "keepalived, collapsed"}, DAY) == (Variant.KEEPALIVED, Variant.COLLAPSED)
    assert set(turn.chosen({turn.CHOICE: turn.ALL}, DAY)) == BUILDABLE
    with pytest.raises(RefusedError, match="'kepalived': there are"):
        turn.chosen({turn.CHOICE: "kepalived"}, DAY)


@pytest.mark.parametrize(("used", "skipped"), [(0, False), (41.9, False), (42.1, True), (70, True)])
def test_one_is_left_out_with_the_reason_when_time_is_short(used: float, skipped: bool) -> None:
    environment = {turn.BEGAN: "1000", turn.CHOICE: "keepalived"}
    left, reason = turn.budget(environment, 1000 + used * 60)
    assert left == pytest.approx(58 - used)
    assert bool(reason) is skipped
    assert not skipped or f"{58 - used:.0f} min of 58 are left" in reason


def test_all_of_them_are_tried_whatever_the_time() -> None:
    assert turn.budget({turn.BEGAN: "0", turn.CHOICE: turn.ALL}, 1e9) == (math.inf, "")
    assert turn.budget({}, 1e9) == (math.inf, "")
