"""Who comes first after all members of a database or queue cluster have stopped: every case that there is."""

from __future__ import annotations

import pytest

from halab.recover import Database, Decision, Queue, What, database, facts, galera, queue, rabbitmq

A, B = "11111111-e5b5-11f1-ada6-5308e5dbb746", "22222222-e5b5-11f1-ada6-5308e5dbb746"


def down(node: str, position: int | None, *, last: bool = False, uuid: str = A) -> Database:
    return Database(node, unit="activating", member=True, uuid=uuid, position=position, last=last)


def serving(node: str, uuid: str = A) -> Database:
    return Database(node, unit="active", component="Primary", state="Synced", member=True, uuid=uuid, position=9)


def off(node: str) -> Database:
    return Database(node, problem="VM is shut off")


VIRGIN = Database("c", unit="activating", uuid=B, position=252)


def refused(decision: Decision) -> str:
    assert decision.what is What.REFUSE
    assert not decision.first
    assert not decision.then
    return "; ".join(decision.why)


def test_nothing_is_done_where_every_member_serves() -> None:
    assert galera([serving("a"), serving("b"), serving("c")]).what is What.NOTHING


def test_members_that_stopped_follow_those_that_serve() -> None:
    decision = galera([serving("a"), down("b", 7), off("c")])
    assert (decision.what, decision.first, decision.then) == (What.JOIN, "", ("b",))


def test_a_member_that_serves_decides_even_where_another_claims_to_have_been_last() -> None:
    assert galera([serving("a"), down("b", 12, last=True), down("c", 3)]).what is What.JOIN


def test_the_last_to_leave_makes_the_cluster_even_if_another_cannot_be_asked() -> None:
    decision = galera([down("a", 7), down("b", 9, last=True), off("c")])
    assert (decision.what, decision.first, decision.then) == (What.FIRST, "b", ("a",))
    assert "last to leave" in decision.why[0]


def test_where_nobody_was_last_the_farthest_makes_the_cluster() -> None:
    decision = galera([down("a", 7), down("b", 12), down("c", 9)])
    assert (decision.what, decision.first, decision.then) == (What.FIRST, "b", ("a", "c"))


def test_of_members_with_the_same_data_one_is_chosen_and_the_others_are_named() -> None:
    decision = galera([down("a", 9), down("b", 9), down("c", 8)])
    assert (decision.what, decision.first) == (What.FIRST, "b")
    assert "as did a" in decision.why[0]


def test_a_member_still_running_without_a_quorum_counts_by_how_far_it_came() -> None:
    running = Database(
        "a", unit="active", component="non-Primary", state="Initialized", member=True, uuid=A, position=5
    )
    assert galera([running, down("b", 6), down("c", 4)]).first == "b"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([down("a", 7), down("b", 7), off("c")], "c cannot be asked"),
        ([down("a", 7), down("b", 7, uuid=B), down("c", 7)], "different histories"),
        ([down("a", 7, last=True), down("b", 7, last=True), down("c", 7)], "a, b each say that they were the last"),
        (
            [down("a", 7, last=True), down("b", 8), down("c", 7)],
            "a says that it was the last to leave, at 7; b is at 8",
        ),
        ([down("a", None), down("b", 8), down("c", 7)], "how far a came is not known"),
        ([off("a"), off("b"), off("c")], "no member that answers"),
        ([off("a"), off("b"), VIRGIN], "no member that answers"),
        ([serving("a"), serving("b", uuid=B), off("c")], "different histories"),
    ],
)
def test_nothing_is_done_where_it_could_lose_data(members: list[Database], why: str) -> None:
    assert why in refused(galera(members))


def test_a_rebuilt_member_has_no_say_whatever_its_image_brought() -> None:
    decision = galera([down("a", 7), down("b", 9), VIRGIN])
    assert (decision.first, decision.then) == ("b", ("a", "c"))


def test_trust_decides_and_what_is_lost_is_named() -> None:
    members = [down("a", 7, last=True), down("b", 9), down("c", 7, uuid=B), off("d")]
    decision = galera(members, trust="a")
    assert (decision.what, decision.first, decision.then) == (What.FIRST, "a", ("b", "c"))
    why = "; ".join(decision.why)
    assert "b loses 2 transactions" in why
    assert "c loses its own history" in why
    assert "what only d has is lost" in why


def test_trust_does_not_override_what_the_members_agree_on() -> None:
    assert galera([down("a", 7), down("b", 12), down("c", 9)], trust="a").first == "b"


@pytest.mark.parametrize("trust", ["c", "d", "nobody"])
def test_a_member_without_data_or_answer_is_not_trusted(trust: str) -> None:
    refused(galera([down("a", 7), down("b", 7, uuid=B), VIRGIN, off("d")], trust=trust))


def test_of_two_histories_that_both_serve_the_trusted_one_stays_and_the_other_takes_its_data() -> None:
    decision = galera([serving("a"), serving("b", uuid=B), down("c", 3)], trust="a")
    assert (decision.what, decision.aside, decision.then) == (What.JOIN, ("b",), ("b", "c"))


NAMES = frozenset("abc")


def stopped(node: str, running: str, members: frozenset[str] = NAMES) -> Queue:
    return Queue(node, unit="activating", members=members, running=frozenset(running))


def runs(node: str) -> Queue:
    return Queue(node, unit="active", listens=True, members=NAMES, running=NAMES)


def gone(node: str) -> Queue:
    return Queue(node, problem="VM is shut off")


def test_the_last_to_stop_starts_first() -> None:
    decision = rabbitmq([stopped("a", "abc"), stopped("b", "b"), stopped("c", "bc")])
    assert (decision.what, decision.first, decision.then) == (What.FIRST, "b", ("a", "c"))


def test_the_last_to_stop_starts_first_also_where_another_cannot_be_asked() -> None:
    assert rabbitmq([gone("a"), stopped("b", "b"), stopped("c", "bc")]).first == "b"


def test_members_cut_off_at_once_start_together() -> None:
    decision = rabbitmq([stopped("a", "abc"), stopped("b", "abc"), stopped("c", "abc")])
    assert (decision.what, decision.then) == (What.TOGETHER, ("a", "b", "c"))


def test_members_that_stopped_follow_those_that_run_and_an_empty_one_too() -> None:
    decision = rabbitmq([runs("a"), runs("b"), Queue("c", unit="failed")])
    assert (decision.what, decision.then) == (What.JOIN, ("c",))
    assert rabbitmq([runs("a"), runs("b"), runs("c")]).what is What.NOTHING


def test_a_member_that_pauses_is_given_its_majority_and_not_restarted() -> None:
    paused = Queue("a", unit="active", members=NAMES, running=frozenset("a"))
    decision = rabbitmq([paused, stopped("b", "abc"), gone("c")])
    assert (decision.what, decision.first, decision.then) == (What.JOIN, "", ("a", "b"))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([stopped("a", "abc"), stopped("b", "bc"), gone("c")], "c ran when a, b stopped, and cannot be asked"),
        ([stopped("a", "a"), stopped("b", "b"), stopped("c", "abc")], "a, b each ran alone at last"),
        ([stopped("a", "a", frozenset("a")), stopped("b", "bc"), stopped("c", "bc")], "separate clusters"),
        ([stopped("a", "a"), gone("b"), gone("c")], "1 of 3 members answer"),
        ([Queue("a"), Queue("b"), gone("c")], "no member that answers was ever in the cluster"),
    ],
)
def test_no_queue_is_started_where_messages_could_be_lost(members: list[Queue], why: str) -> None:
    assert why in refused(rabbitmq(members))


def test_a_trusted_queue_starts_by_force_where_the_last_cannot_be_asked() -> None:
    decision = rabbitmq([stopped("a", "abc"), stopped("b", "bc"), gone("c")], trust="b")
    assert (decision.what, decision.first, decision.then, decision.aside) == (What.FORCE, "b", ("a",), ())
    assert "what only c has is lost when it comes back" in decision.why


def test_whoever_disagrees_with_the_trusted_queue_joins_as_an_empty_member() -> None:
    members = [
        stopped("a", "a", frozenset("a")),
        stopped("b", "b", frozenset("bc")),
        stopped("c", "bc", frozenset("bc")),
    ]
    decision = rabbitmq(members, trust="b")
    assert (decision.what, decision.first, decision.then, decision.aside) == (What.FORCE, "b", ("a", "c"), ("a",))


def test_trust_gives_no_majority() -> None:
    refused(rabbitmq([stopped("a", "a"), gone("b"), gone("c")], trust="a"))


def test_a_nodes_words_are_read_and_what_mariadb_says_itself_counts_most() -> None:
    said = facts(f"mariadb=activating\nmember=yes\nuuid={A}\nseqno=-1\nlast=0\nrecovered=318\n")
    assert database("a", said) == Database("a", "", "activating", "", "", True, A, 318, False)
    assert database("a", facts("member=yes\nuuid=x\nseqno=4\nrecovered=3\n")).position == 4
    assert database("a", facts("member=yes\nuuid=x\ncommitted=7\n")).position == 7
    assert database("a", facts("member=yes\nuuid=00000000-0000-0000-0000-000000000000\nseqno=-1\n")).uuid == ""
    assert queue("a", facts("rabbitmq=activating\nmembers=a b c \nrunning=a b \n")).later == {"b"}
