"""Dispatch beyond the numbered rules: fairness as a property, bounds, strangers, replaced channels."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cluster.config import WorkSettings
from cluster.core.assignments import PAUSE_S, PLACES_S
from cluster.core.board import OUTCOMES_FACTOR
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Close, Level, Log
from cluster.identity import NodeId, Role
from cluster.limits import ATTEMPTS_MAX
from cluster.wire.codec import decode_frame, encode_frame
from cluster.wire.jobs import Reason
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Finished,
    Pong,
    Refused,
    Release,
    Result,
    ResultAck,
    Returned,
    Slots,
    Submit,
    Withdraw,
)
from tests.support.work import (
    EPOCH,
    GATEWAY,
    GATEWAY_CHANNEL,
    LEADER,
    assigned,
    frames,
    hello,
    job,
    outcome,
    submit,
    welcome_gateway,
    welcome_worker,
)


def leading(*workers: int, slots: int = 1, settings: WorkSettings | None = None) -> Dispatch:
    dispatch = Dispatch(settings or WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    for worker in workers:
        welcome_worker(dispatch, worker, slots=slots)
    return dispatch


@given(
    workers=st.sets(st.integers(10, 40), min_size=1, max_size=8),
    jobs=st.integers(1, 60),
    at_once=st.integers(1, 4),
)
def test_w3_shares_of_equal_workers_differ_by_at_most_one(workers: set[int], jobs: int, at_once: int) -> None:
    """Whether each job ends before the next comes, or several are under way at once."""
    dispatch = leading(*workers, slots=4)
    shares: Counter[int] = Counter(dict.fromkeys(workers, 0))
    under_way: list[tuple[int, str]] = []
    for number in range(jobs):
        (given_to,) = assigned(dispatch.receive(GATEWAY_CHANNEL, submit(f"j{number}"), 1.0))
        shares[given_to[0] // 10] += 1
        under_way.append(given_to)
        if len(under_way) >= at_once:
            channel, name = under_way.pop(0)
            dispatch.receive(channel, Finished(AttemptKey(name, 1, 1), outcome()), 1.0)
        dispatch.validate()
        assert max(shares.values()) - min(shares.values()) <= 1
    assert {view.node: view.given for view in dispatch.snapshot().workers} == dict(shares)


def test_a_worker_that_hands_back_gets_nothing_for_a_moment() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    assert assigned(dispatch.receive(10, Returned(AttemptKey("a", 1, 1)), 0.0)) == []
    assert dispatch.next_deadline() == PAUSE_S
    assert assigned(dispatch.tick(PAUSE_S)) == [(10, "a")]
    dispatch.validate()


def test_saying_the_same_suspects_again_sets_no_alarm() -> None:
    dispatch = leading(1)
    for name in "ab":
        dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0)
    dispatch.tick(PLACES_S)
    dispatch.suspect(frozenset({NodeId(1)}))
    before = dispatch.next_deadline()
    dispatch.suspect(frozenset({NodeId(1)}))
    assert dispatch.next_deadline() == before == 1.0, "the next ping"


def test_a_stale_hand_back_is_ignored() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.receive(10, Returned(AttemptKey("a", 0, 9)), 0.0)
    assert dispatch.snapshot().running == 1


def test_a_newer_channel_of_the_same_life_replaces_the_older_without_a_rerun() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    steps = dispatch.hello(11, NodeId(1), Role.WORKER, hello(1, running=[AttemptKey("a", 1, 1)]), 1.0)
    assert any(isinstance(step, Close) and step.channel == 10 for step in steps)
    assert assigned(steps) == []
    assert dispatch.channel_closed(10, "closed", 1.1) == ()
    dispatch.validate()


def test_strangers_and_misplaced_frames_are_counted_and_change_nothing() -> None:
    dispatch = leading(1)
    assert dispatch.receive(77, submit("a"), 0.0) == ()
    assert dispatch.receive(10, submit("a"), 0.0) == ()
    assert dispatch.receive(GATEWAY_CHANNEL, Slots(9), 0.0) == ()
    foreign = Submit(job("a", NodeId(8)), again=False, losses=0, queue_s=1.0, remaining_s=1.0)
    assert dispatch.receive(GATEWAY_CHANNEL, foreign, 0.0) == ()
    assert dict(dispatch.snapshot().counters)["strays"] == 4


def test_a_gateway_cannot_touch_anothers_job() -> None:
    dispatch = leading(1)
    dispatch.hello(80, NodeId(8), Role.GATEWAY, hello(8, Role.GATEWAY), 0.0)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    assert dispatch.receive(80, Withdraw(("a",)), 0.0) == ()
    other = Submit(job("a", NodeId(8)), again=False, losses=0, queue_s=1.0, remaining_s=1.0)
    (refused,) = frames(dispatch.receive(80, other, 0.0), Refused, 80)
    assert refused.refusal.reason is Reason.OVERLOADED
    dispatch.validate()


def test_w8_a_worker_answers_for_no_job_that_it_was_not_given() -> None:
    """Neither for another worker's, nor for one that nobody knows yet; the real run goes on."""
    dispatch = leading(1, 2)
    assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)) == [(10, "a")]
    for name in "ab":
        forged = Finished(AttemptKey(name, 1, 1), outcome(stdout=b"forged"))
        assert dispatch.receive(20, forged, 0.1) == ()
    assert dict(dispatch.snapshot().counters)["strays"] == 2
    dispatch.validate()
    assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("b"), 0.2)) == [(20, "b")], "not answered before"
    real = Finished(AttemptKey("a", 1, 1), outcome(stdout=b"real"))
    (told,) = frames(dispatch.receive(10, real, 0.3), Result)
    assert told.outcome == real.outcome


def test_w8_a_result_is_taken_of_a_worker_that_was_given_the_job_once() -> None:
    """It came back after its job had gone to another one."""
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    assert assigned(dispatch.channel_closed(10, "broken", 0.1)) == [(20, "a")]
    welcome_worker(dispatch, 1, 0.2)
    steps = dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 0.3)
    assert frames(steps, Result)
    assert frames(steps, CancelRun, 20)
    dispatch.validate()


def test_w8_only_its_own_gateway_acknowledges_an_outcome() -> None:
    dispatch = leading(1)
    dispatch.hello(80, NodeId(8), Role.GATEWAY, hello(8, Role.GATEWAY), 0.0)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 0.1)
    assert dispatch.receive(80, ResultAck(("a",)), 0.2) == ()
    assert dispatch.snapshot().done == 1
    assert frames(dispatch.receive(GATEWAY_CHANNEL, ResultAck(("a",)), 0.3), Release, 10)


def test_outcomes_that_no_gateway_takes_are_bounded_by_bytes() -> None:
    dispatch = leading(1, slots=50, settings=WorkSettings(kept_bytes=2000))
    dispatch.channel_closed(GATEWAY_CHANNEL, "away", 0.0)
    for number in range(20):
        key = AttemptKey(f"j{number}", 0, 1)
        dispatch.receive(10, Finished(key, outcome(stdout=b"x" * 900)), 0.1)
        dispatch.validate()
        assert dispatch._board.outcome_bytes <= OUTCOMES_FACTOR * 2000
    assert dispatch.snapshot().done < 20


def test_a_change_of_leader_refuses_nobody_who_waited_already() -> None:
    dispatch = leading(settings=WorkSettings(queue_max=2))
    steps = [dispatch.receive(GATEWAY_CHANNEL, submit(f"j{n}", again=True), 0.0) for n in range(5)]
    assert [len(frames(step, Refused)) for step in steps] == [0, 0, 0, 0, 1]


def test_an_acknowledged_job_that_is_reported_late_is_released_or_stopped() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 1.0)
    dispatch.receive(GATEWAY_CHANNEL, ResultAck(("a",)), 1.1)
    assert frames(welcome_worker(dispatch, 2, kept=[AttemptKey("a", 0, 1)]), Release, 20)
    assert frames(welcome_worker(dispatch, 3, running=[AttemptKey("a", 0, 1)]), CancelRun, 30)
    dispatch.validate()


def test_the_highest_attempt_that_can_be_reported_has_a_successor_that_a_message_holds() -> None:
    """N6: one bad number of a worker would have had each other's channel closed over what it can't decode."""
    dispatch = leading(1)
    welcome_worker(dispatch, 2, running=[AttemptKey("a" * 32, 0, ATTEMPTS_MAX)])
    dispatch.receive(GATEWAY_CHANNEL, submit("a" * 32, again=True), 0.0)
    (given_anew,) = frames(dispatch.channel_closed(20, "gone", 1.0), Assign, 10)
    assert decode_frame(encode_frame(given_anew)) == given_anew


def test_an_id_that_ended_may_be_submitted_anew() -> None:
    dispatch = leading(1)
    for second in (0.0, 5.0):
        assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("a"), second)) == [(10, "a")]
        steps = dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), second)
        assert frames(steps, Result)
        dispatch.receive(GATEWAY_CHANNEL, ResultAck(("a",)), second)


def test_the_leader_late_by_minutes_counts_one_missed_ping_only() -> None:
    dispatch = leading(1)
    steps = dispatch.tick(300.0)
    assert not any(isinstance(step, Close) for step in steps)
    assert len(dispatch.snapshot().workers) == 1


def test_w6_a_worker_that_a_long_frame_goes_to_or_comes_from_is_not_silent() -> None:
    dispatch = leading(1, 2)
    for quarter in range(1, 80):
        now = quarter / 4
        dispatch.moved(10, now)
        dispatch.receive(GATEWAY_CHANNEL, Pong(0), now)
        dispatch.tick(now)
    assert [worker.node for worker in dispatch.snapshot().workers] == [1], "the other one was"


def test_a_job_leaves_one_readable_line_a_step() -> None:
    dispatch = leading(1)
    steps = dispatch.receive(GATEWAY_CHANNEL, submit("1a2b3c4d5e6f"), 0.0)
    lines = [step.text for step in steps if isinstance(step, Log) and step.level is Level.SUMMARY]
    assert lines == [f"{LEADER}: job 1a2b3c4d assigned to server 1, attempt 1, epoch 1"]


def test_what_a_gateway_never_acknowledges_is_forgotten_after_its_deadline() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a", left=5.0), 0.0)
    dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 1.0)
    for second in range(2, 12):
        dispatch.receive(GATEWAY_CHANNEL, ResultAck((f"x{GATEWAY}",)), float(second))
        steps = dispatch.tick(float(second))
    assert frames(steps, Release, 10) == []
    assert dispatch.snapshot().done == 0
    dispatch.validate()
