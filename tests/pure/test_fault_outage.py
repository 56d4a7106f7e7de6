"""What a probe loop's answers say of a fault: when an outage begins, when it is over, how long it was."""

from __future__ import annotations

import pytest

from halab.fault.outage import Sample, latency, outages, steady, streak, summary


def recorded(text: str, first: float = -2.0) -> list[Sample]:
    """A sample each half second from `first` on: `.` is an answer after 0.1 s, `x` a failure."""
    return [
        Sample(first + 0.5 * index, 0.1 if mark == "." else 2.0, "" if mark == "." else "no answer in time")
        for index, mark in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ("........", []),
        # the fault is at 0, where the fifth question is asked
        ("....xxxx......", [(0.0, 2.0, 4)]),
        # three in a row are needed: two answers between failures do not end it
        ("....xx..xx...", [(0.0, 3.0, 4)]),
        ("....xx...xx...", [(0.0, 1.0, 2), (2.5, 3.5, 2)]),
        # not over: no three in a row have come
        ("....xxx..", [(0.0, None, 3)]),
        ("....x", [(0.0, None, 1)]),
    ],
)
def test_an_outage_is_from_the_first_failure_to_the_first_of_three_answers(
    trace: str, expected: list[tuple[float, float | None, int]]
) -> None:
    assert [(one.start, one.end, one.failures) for one in outages(recorded(trace))] == expected


def test_a_question_under_way_at_the_fault_counts_from_the_fault() -> None:
    samples = [Sample(-0.4, 2.0, "reset"), Sample(1.6, 0.1), Sample(2.1, 0.1), Sample(2.6, 0.1)]
    assert [(one.start, one.end, one.problem) for one in outages(samples)] == [(0.0, 1.6, "reset")]


def test_a_summary_tells_the_longest_outage_the_total_and_both_latencies() -> None:
    found = summary(recorded("....xx...xxx..."), since=-2, until=6.0)
    assert (found.outage, found.total, found.failures, found.over) == (1.5, 2.5, 5, True)
    assert found.asked == 11
    assert (found.before.median, found.during.worst) == (0.1, 0.1)


def test_an_outage_that_is_not_over_lasted_until_the_end_of_the_watch() -> None:
    found = summary(recorded("....xxxx"), since=-2, until=10.0)
    assert (found.outage, found.over) == (10.0, False)


def test_what_failed_before_the_calm_is_no_outage_of_the_fault() -> None:
    found = summary(recorded("x.......xx....", first=-4.0), since=-3.0, until=5.0)
    assert [(one.start, one.end) for one in found.outages] == [(0.0, 1.0)]
    assert found.failures == 2


def test_without_any_answer_there_is_no_latency() -> None:
    assert latency(recorded("xxx")).median is None


@pytest.mark.parametrize(
    ("trace", "since", "expected"),
    [
        ("....", -2.0, True),
        (".x...", -2.0, True),
        ("...x", -2.0, False),
        ("..", -2.0, False),
        # answers from before the fault say nothing of it
        ("....", 0.0, False),
    ],
)
def test_a_probe_is_steady_when_its_last_three_questions_after_a_moment_were_answered(
    trace: str, since: float, expected: bool
) -> None:
    assert steady(recorded(trace), since) is expected


def test_a_cloud_is_well_from_the_beginning_of_its_last_row_of_good_looks() -> None:
    assert streak([(1, True), (5, False), (9, True), (14, True)]) == 9
    assert streak([(1, True), (5, False)]) is None
    assert streak([]) is None
