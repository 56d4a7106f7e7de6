"""Ages, and which stacks are old enough to go."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from halab.errors import RefusedError
from halab.stacks.ages import Aged, choose, older_than, since, told
from halab.stacks.known import Condition, condition
from halab.workspace import Record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", 5400),
        ("12h", 43200),
        ("7d", 604800),
        ("2w", 1209600),
        (" 0d ", 0),
    ],
)
def test_ages_are_read(text: str, expected: int) -> None:
    assert older_than(text) == expected


@pytest.mark.parametrize("text", ["7", "-1d", "d", "", "1.5d", "1y", "1d2h"])
def test_what_is_no_age_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(RefusedError, match=rf"^--older-than: '{text}': an age like 90m, 12h, 7d or 2w is needed$"):
        older_than(text)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(59, "0 min"), (3599, "59 min"), (7200, "2 h"), (86400, "1 d"), (90000, "1 d 1 h"), (None, "-")],
)
def test_ages_are_told(seconds: float | None, expected: str) -> None:
    assert told(seconds) == expected


def test_an_age_counts_from_the_record_and_is_never_negative() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert since("2026-11-21T11:00:00Z", now) == 3600
    assert since("2026-11-21T13:00:00Z", now) == 0
    assert since("2026-11-21T11:00:00", now) == 3600
    assert since("", now) is None


def test_only_what_is_older_goes_oldest_first_and_nothing_that_is_being_changed() -> None:
    rng = random.Random(5)
    for _ in range(300):
        stacks = [
            Aged(
                f"s{index}",
                rng.choice([None, float(rng.randint(0, 100))]),
                rng.random() < 0.4,
                rng.random() < 0.2,
                rng.random() < 0.5,
            )
            for index in range(rng.randint(0, 8))
        ]
        by_name = {one.name: one for one in stacks}
        plain, with_files = choose(stacks, 50, files=False), choose(stacks, 50, files=True)
        for name in with_files:
            one = by_name[name]
            assert one.age is not None
            assert one.age > 50
            assert not one.busy
            assert not one.is_down or one.file
        assert [name for name in with_files if not by_name[name].is_down] == plain
        left = [one for one in stacks if one.name not in plain]
        assert all(one.is_down or one.busy or one.age is None or one.age <= 50 for one in left)
        found = [by_name[name].age or 0 for name in with_files]
        assert found == sorted(found, reverse=True)


WELL = Record("embedded", "embedded", {}, "2026-11-21T11:00:00Z", "me", "2026-11-20T11:00:00Z", "2026-11-21T10:00:00Z")


@pytest.mark.parametrize(
    ("record", "busy", "running", "traces", "expected"),
    [
        (None, False, 0, False, Condition.DOWN),
        (None, False, 0, True, Condition.INTERRUPTED),
        (Record(), False, 0, True, Condition.INTERRUPTED),
        (None, True, 0, True, Condition.BUSY),
        (Record("embedded"), False, 3, True, Condition.INTERRUPTED),
        (Record("embedded", built="2026-11-21T10:00:00Z"), False, 3, True, Condition.UP),
        (WELL, False, 6, True, Condition.VERIFIED),
        (WELL, False, 0, True, Condition.STOPPED),
        (WELL, True, 6, True, Condition.BUSY),
    ],
)
def test_the_state_of_a_stack(
    record: Record | None, busy: bool, running: int, traces: bool, expected: Condition
) -> None:
    assert condition(record, busy=busy, running=running, traces=traces) is expected
