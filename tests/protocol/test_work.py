"""The work rules W1-W8, W10 and W11, one by one, on the cores alone (docs: protocol, Work)."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Close, Persist, StartRun, StopRun
from cluster.core.execution import Execution
from cluster.core.submission import Submission
from cluster.identity import MAX_EPOCH_JUMP, Epoch, NodeId, Role
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Fenced,
    Finished,
    LossCounted,
    Ping,
    Refused,
    Release,
    Result,
    ResultAck,
    Returned,
    Slots,
    Submit,
    Welcome,
    Withdraw,
)
from tests.support.work import (
    BOOT,
    EPOCH,
    GATEWAY,
    GATEWAY_CHANNEL,
    LEADER,
    answers,
    assigned,
    frames,
    hello,
    job,
    ledger,
    outcome,
    quiet,
    request,
    sent,
    submit,
    welcome_gateway,
    welcome_worker,
)
from tests.support.work_world import WorkWorld

SETTINGS = WorkSettings(queue_max=3)
NOBODY: frozenset[NodeId] = frozenset()


def leading(*workers: int, slots: int = 1, awaited: frozenset[NodeId] = NOBODY) -> Dispatch:
    """A leader with the gateway and these workers connected, all at time 0."""
    dispatch = Dispatch(SETTINGS, LEADER, EPOCH, 0.0, awaited=awaited)
    welcome_gateway(dispatch)
    for worker in workers:
        welcome_worker(dispatch, worker, slots=slots)
    return dispatch


def executing(slots: int = 1, fence: int = 1) -> Execution:
    """A worker that its leader welcomed on channel 7."""
    execution = Execution(SETTINGS, NodeId(1), ledger(fence, LEADER))
    execution.capacity(slots, 0.0)
    execution.welcomed(7, EPOCH, 0.0)
    return execution


def gateway(**settings: Any) -> Submission:
    return Submission(SETTINGS, GatewaySettings(**settings), CacheSettings(), GATEWAY)


def assign(
    execution: Execution, name: str, attempt: int = 1, epoch: int = 1, now: float = 0.0
) -> list[object]:
    frame = Assign(epoch, attempt, job(name), 60.0)
    return list(quiet(execution.receive(7, LEADER, BOOT, frame, now)))


# --- W1 ----------------------------------------------------------------------------------------------


def test_w1_the_gateway_owns_a_job_until_its_client_has_the_answer() -> None:
    submission = gateway()
    submission.request(request(1, "a"), 0.0)
    first = frames(submission.welcomed(4, LEADER, EPOCH, 0.1), Submit)
    submission.disconnected(1.0)
    second = frames(submission.welcomed(5, NodeId(3), Epoch(2), 1.5), Submit)
    assert [(s.job.id, s.job.gateway, s.again) for s in first + second] == [
        ("a", GATEWAY, False),
        ("a", GATEWAY, True),
    ]
    steps = submission.receive(5, Result(2, "a", outcome()), 2.0)
    assert [(a.request, a.job) for a in answers(steps)] == [(1, "a")]
    assert submission.idle


# --- W2 ----------------------------------------------------------------------------------------------


def test_w2_hello_is_answered_with_welcome() -> None:
    dispatch = Dispatch(SETTINGS, LEADER, EPOCH, 0.0, awaited=NOBODY)
    assert sent(welcome_worker(dispatch, 1)) == [(10, Welcome(1))]


def test_w2_a_worker_without_a_leader_keeps_jobs_and_results_and_reports_them() -> None:
    execution = executing(slots=2)
    assign(execution, "a")
    assign(execution, "b")
    execution.disconnected(1.0)
    assert frames(execution.run_finished("a", outcome(), 2.0), Finished) == []
    assert execution.hello_fields() == (2, (AttemptKey("b", 1, 1),), (AttemptKey("a", 1, 1),), False)
    again = frames(execution.welcomed(8, Epoch(2), 3.0), Finished, 8)
    assert [frame.key.job for frame in again] == ["a"]


# --- W3 ----------------------------------------------------------------------------------------------


def test_w3_jobs_go_round_in_circular_id_order_and_the_pointer_survives() -> None:
    dispatch = leading(3, 1, 2, slots=5)
    given = []
    for number in range(7):
        steps = dispatch.receive(GATEWAY_CHANNEL, submit(f"j{number}"), 1.0 + number)
        given += [channel // 10 for channel, _ in assigned(steps)]
    assert given == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("reason", ["full", "draining", "suspect"])
def test_w3_a_worker_that_is_full_draining_or_suspect_is_skipped(reason: str) -> None:
    dispatch = leading(1, 3, slots=5)
    welcome_worker(dispatch, 2, slots=0 if reason == "full" else 5, draining=reason == "draining")
    if reason == "suspect":
        dispatch.suspect(frozenset({NodeId(2)}))
    given = []
    for number in range(4):
        given += assigned(dispatch.receive(GATEWAY_CHANNEL, submit(f"j{number}"), 1.0))
    assert [channel // 10 for channel, _ in given] == [1, 3, 1, 3]


def test_w3_a_job_that_waited_for_a_suspect_goes_out_when_the_doubt_ends() -> None:
    dispatch = leading(1)
    dispatch.suspect(frozenset({NodeId(1)}))
    assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("a"), 1.0)) == []
    dispatch.suspect(NOBODY)
    due = dispatch.next_deadline()
    assert due is not None
    assert due <= 1.0
    assert assigned(dispatch.tick(1.0)) == [(10, "a")]


# --- W4 ----------------------------------------------------------------------------------------------


def test_w4_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    dispatch = leading(1)
    for name in "abcd":
        assert frames(dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0), Refused) == []
    (refused,) = frames(dispatch.receive(GATEWAY_CHANNEL, submit("e"), 0.0), Refused, GATEWAY_CHANNEL)
    assert refused.job == "e"
    assert refused.refusal.reason is Reason.OVERLOADED
    assert 1 <= refused.refusal.retry_after_s <= 30


def test_w4_waiting_jobs_go_out_oldest_first() -> None:
    dispatch = leading(1)
    for name in "abc":
        dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0)
    steps = dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 1.0)
    assert assigned(steps) == [(10, "b")]


def test_w4_a_job_past_its_deadline_in_the_queue_is_answered_so() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.receive(GATEWAY_CHANNEL, submit("b", left=2.0), 0.0)
    (result,) = frames(dispatch.tick(2.0), Result, GATEWAY_CHANNEL)
    assert (result.job, result.outcome.verdict) == ("b", Verdict.EXPIRED)


def test_w4_a_worker_takes_at_most_its_slots() -> None:
    execution = executing(slots=1)
    assert [type(step) for step in assign(execution, "a")] == [StartRun]
    assert frames(assign(execution, "b"), Returned) == [Returned(AttemptKey("b", 1, 1))]  # type: ignore[arg-type]


def test_w4_slots_that_change_between_hello_and_welcome_are_told_after_it() -> None:
    """A compiler that became ready just then would have been unknown to the leader for as long as it led."""
    execution = Execution(SETTINGS, NodeId(1), ledger(1, LEADER))
    assert execution.hello_fields()[0] == 0
    assert execution.capacity(2, 0.0) == ()
    assert frames(execution.welcomed(7, EPOCH, 0.0), Slots) == [Slots(2)]
    execution.hello_fields()
    assert frames(execution.welcomed(8, EPOCH, 0.0), Slots) == []


# --- W5 ----------------------------------------------------------------------------------------------


def test_w5_a_job_that_runs_answers_for_the_newest_sending() -> None:
    execution = executing()
    assign(execution, "a", attempt=1)
    assert assign(execution, "a", attempt=2) == []
    (finished,) = frames(execution.run_finished("a", outcome(), 1.0), Finished)
    assert finished.key == AttemptKey("a", 1, 2)
    assert finished.outcome.worker == 1


def test_w5_a_kept_result_answers_a_new_sending_without_a_run() -> None:
    execution = executing()
    assign(execution, "a")
    execution.run_finished("a", outcome(), 1.0)
    steps = execution.receive(7, NodeId(3), BOOT, Assign(2, 1, job("a"), 60.0), 2.0)
    (write,) = (step for step in steps if isinstance(step, Persist))
    assert [frame.key for frame in frames(write.then, Finished)] == [AttemptKey("a", 2, 1)]
    assert not any(isinstance(step, StartRun) for step in write.then)


def test_w5_one_sending_runs_once() -> None:
    execution = executing()
    assign(execution, "a")
    execution.run_finished("a", outcome(), 1.0)
    execution.receive(7, LEADER, BOOT, Release(("a",)), 1.5)
    assert frames(assign(execution, "a"), Returned) == [Returned(AttemptKey("a", 1, 1))]  # type: ignore[arg-type]
    assert any(isinstance(step, StartRun) for step in assign(execution, "a", attempt=2))


def test_w5_kept_results_are_bounded_by_bytes_and_age_but_never_the_newest() -> None:
    settings = WorkSettings(kept_bytes=3000, kept_s=60.0)
    execution = Execution(settings, NodeId(1), ledger(1, LEADER))
    execution.capacity(9, 0.0)
    for number, name in enumerate("abc"):
        assign(execution, name)
        execution.run_finished(name, outcome(stdout=b"x" * 1000), float(number))
        execution.validate()
    assert [key.job for key in execution.hello_fields()[2]] == ["c"]
    assign(execution, "d")
    execution.run_finished("d", outcome(), 10.0)
    assert execution.next_deadline() == 62.0
    execution.tick(1000.0)
    assert [key.job for key in execution.hello_fields()[2]] == ["d"]


def test_l6_work_of_a_lower_epoch_or_another_leader_of_the_same_is_fenced() -> None:
    execution = executing(fence=4)
    for epoch, leader in ((3, LEADER), (4, NodeId(2))):
        steps = execution.receive(7, leader, BOOT, Assign(epoch, 1, job("a"), 9.0), 0.0)
        assert quiet(steps) == [s for s in steps if frames([s], Fenced)]
        assert frames(steps, Fenced, 7) == [Fenced(4)]


def test_l6_a_worker_fences_with_the_epoch_that_was_led_not_with_one_that_it_promised() -> None:
    """A promise establishes nobody: FENCED with its epoch would depose a leader (L5)."""
    book = ledger(4, LEADER)
    book.persisted(book.accept(Epoch(9), NodeId(2), BOOT).token)
    steps = Execution(SETTINGS, NodeId(1), book).receive(7, LEADER, BOOT, Assign(3, 1, job("a"), 9.0), 0.0)
    assert frames(steps, Fenced, 7) == [Fenced(4)]


def test_n4_a_worker_fences_with_what_is_on_disk() -> None:
    """Lost with a crash, the epoch would have been told all the same."""
    book = ledger(1, LEADER)
    execution = Execution(SETTINGS, NodeId(1), book)
    execution.capacity(2, 0.0)
    (fence,) = quiet(execution.receive(7, NodeId(3), BOOT, Assign(6, 1, job("a"), 9.0), 0.0))
    assert isinstance(fence, Persist)
    (waits,) = quiet(execution.receive(8, LEADER, BOOT, Assign(1, 1, job("b"), 9.0), 0.0))
    assert isinstance(waits, Persist)
    assert frames(waits.then, Fenced, 8) == [Fenced(6)]
    book.persisted(fence.token)
    book.persisted(waits.token)
    assert frames(execution.receive(9, LEADER, BOOT, CancelRun(1, ("b",)), 0.0), Fenced, 9) == [Fenced(6)]


def test_n6_an_order_of_an_epoch_far_beyond_any_raises_no_fence() -> None:
    """It would be durable, and this worker would follow no real leader ever again."""
    execution = executing(fence=4)
    far = 4 + MAX_EPOCH_JUMP + 1
    for order in (Assign(far, 1, job("a"), 60.0), CancelRun(far, ("a",))):
        assert frames(execution.receive(7, LEADER, BOOT, order, 0.0), Fenced, 7) == [Fenced(4)]
    assert execution.load()[1] == 0


def test_l6_the_first_work_of_a_higher_epoch_starts_once_the_fence_is_durable() -> None:
    book = ledger(1, LEADER)
    execution = Execution(SETTINGS, NodeId(1), book)
    execution.capacity(2, 0.0)
    (write,) = quiet(execution.receive(7, NodeId(3), BOOT, Assign(6, 1, job("a"), 9.0), 0.0))
    assert isinstance(write, Persist)
    assert (write.record.fence_epoch, write.record.fence_leader) == (6, 3)
    assert [type(step) for step in quiet(write.then)] == [StartRun]
    (second,) = quiet(execution.receive(7, NodeId(3), BOOT, Assign(6, 1, job("b"), 9.0), 0.0))
    assert isinstance(second, Persist), "equal, but not yet on disk (N4)"
    book.persisted(write.token)
    book.persisted(second.token)
    execution.run_finished("a", outcome(), 1.0)
    assert [
        type(s) for s in quiet(execution.receive(7, NodeId(3), BOOT, Assign(6, 1, job("c"), 9.0), 1.0))
    ] == [StartRun]


# --- W6 ----------------------------------------------------------------------------------------------


def test_w6_a_lost_workers_jobs_go_to_the_head_of_the_queue_at_once() -> None:
    dispatch = leading(1, slots=2)
    for name in "abc":
        dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0)
    dispatch.channel_closed(10, "reset", 1.0)
    steps = welcome_worker(dispatch, 2, now=1.1, slots=3)
    assert assigned(steps) == [(20, "a"), (20, "b"), (20, "c")]
    assert [frame.attempt for frame in frames(steps, Assign)] == [2, 2, 1]


def test_w6_another_ready_worker_gets_them_in_the_same_step() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    assert assigned(dispatch.channel_closed(10, "reset", 1.0)) == [(20, "a")]


def test_w6_gossip_and_three_missed_pings_are_losses_too() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    steps = dispatch.member_failed(NodeId(1), 0.5)
    assert any(isinstance(step, Close) and step.channel == 10 for step in steps)
    assert assigned(steps) == [(20, "a")]
    for second in (1.0, 2.0, 3.0):
        assert frames(dispatch.tick(second), Ping, 20)
    assert any(isinstance(step, Close) and step.channel == 20 for step in dispatch.tick(4.0))


def test_w6_a_worker_that_answers_pings_stays() -> None:
    dispatch = leading(1)
    for tenth in range(1, 200):
        for channel, frame in sent(dispatch.tick(tenth / 10)):
            assert isinstance(frame, Ping)
            dispatch.receive(channel, Slots(1), tenth / 10 + 0.05)
    assert len(dispatch.snapshot().workers) == 1


def test_w6_a_worker_back_in_the_same_life_is_no_loss_and_its_waiting_job_is_attached_to() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.channel_closed(10, "reset", 1.0)
    steps = dispatch.hello(11, NodeId(1), Role.WORKER, hello(1, running=[AttemptKey("a", 1, 1)]), 2.0)
    steps += dispatch.tick(8.0)
    assert assigned(steps) == []
    assert frames(steps, LossCounted) == []
    (result,) = frames(dispatch.receive(11, Finished(AttemptKey("a", 1, 1), outcome()), 8.1), Result)
    assert result.job == "a"


@pytest.mark.parametrize("returns", [True, False])
def test_w6_a_loss_counts_on_a_higher_boot_or_after_five_seconds(returns: bool) -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a", losses=1), 0.0)
    assert frames(dispatch.channel_closed(10, "reset", 1.0), LossCounted) == []
    if returns:
        steps = dispatch.hello(11, NodeId(1), Role.WORKER, hello(1, boot=2), 2.0)
    else:
        assert frames(dispatch.tick(5.9), LossCounted) == []
        steps = dispatch.tick(6.0)
    assert frames(steps, LossCounted, GATEWAY_CHANNEL) == [LossCounted(1, "a", 2, 1)]


def test_w6_a_job_that_lost_three_workers_ends() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a", losses=2), 0.0)
    dispatch.channel_closed(10, "reset", 1.0)
    steps = dispatch.hello(11, NodeId(1), Role.WORKER, hello(1, boot=2), 2.0)
    assert [result.outcome.verdict for result in frames(steps, Result)] == [Verdict.WORKER_LOST]
    assert frames(steps, CancelRun, 20) == [CancelRun(1, ("a",))]


def test_w6_the_gateway_keeps_the_count_across_leaders() -> None:
    submission = gateway()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    submission.receive(4, LossCounted(1, "a", 2), 1.0)
    submission.disconnected(2.0)
    assert [s.losses for s in frames(submission.welcomed(5, LEADER, Epoch(2), 3.0), Submit)] == [2]


# --- W7 ----------------------------------------------------------------------------------------------


def test_w7_repeated_jobs_wait_for_reports_and_new_ones_do_not() -> None:
    dispatch = leading(1, slots=5, awaited=frozenset({NodeId(1), NodeId(2)}))
    steps = dispatch.receive(GATEWAY_CHANNEL, submit("old", again=True), 0.1)
    steps += dispatch.receive(GATEWAY_CHANNEL, submit("new"), 0.1)
    assert assigned(steps) == [(10, "new")]
    assert assigned(dispatch.tick(0.9)) == []
    assert assigned(dispatch.tick(1.0)) == [(10, "old")]


def test_w7_the_last_report_ends_the_wait() -> None:
    dispatch = leading(1, slots=5, awaited=frozenset({NodeId(1), NodeId(2)}))
    for name in "ab":
        dispatch.receive(GATEWAY_CHANNEL, submit(name, again=True), 0.1)
    steps = dispatch.hello(
        20, NodeId(2), Role.PEER, hello(2, Role.PEER, running=[AttemptKey("b", 0, 1)]), 0.2
    )
    assert assigned(steps) == [(10, "a")], "b runs already: attached to"


def test_w7_a_failed_member_is_waited_for_no_longer() -> None:
    dispatch = leading(1, awaited=frozenset({NodeId(2)}))
    dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.1)
    assert assigned(dispatch.member_failed(NodeId(2), 0.3)) == [(10, "a")]


@pytest.mark.parametrize("claim_first", [True, False])
def test_w7_a_finished_job_is_answered_without_running(claim_first: bool) -> None:
    dispatch = leading(1, awaited=frozenset({NodeId(1), NodeId(2)}))
    key = AttemptKey("a", 0, 3)
    steps = dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.1) if claim_first else ()
    steps += welcome_worker(dispatch, 2, now=0.2, kept=[key])
    steps += dispatch.receive(20, Finished(key, outcome()), 0.3)
    if not claim_first:
        steps += dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.4)
    assert [result.job for result in frames(steps, Result, GATEWAY_CHANNEL)] == ["a"]
    assert assigned(steps) == []


def test_w7_a_kept_result_that_never_comes_holds_nobody_up() -> None:
    dispatch = leading(1)
    welcome_worker(dispatch, 1, kept=[AttemptKey("a", 0, 1)])
    assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.1)) == []
    assert assigned(dispatch.tick(1.0)) == [(10, "a")]


def test_w7_a_kept_result_that_nobody_claims_may_come_late_and_is_released() -> None:
    """Seed 32488: it came 0.6 ms after the leader had given it up, and its worker kept it for ever."""
    dispatch = leading()
    kept = AttemptKey("a", 0, 1)
    welcome_worker(dispatch, 1, kept=[kept])
    for at in (1.0, 2.0, 3.0):
        assert frames(dispatch.tick(at), CancelRun, 10) == []
    dispatch.receive(10, Finished(kept, outcome()), 3.5)
    assert frames(dispatch.tick(5.0), Release, 10) == [Release(("a",))]


def test_w7_a_kept_result_that_is_claimed_before_it_comes_holds_nobody_up() -> None:
    dispatch = leading(1)
    welcome_worker(dispatch, 1, kept=[AttemptKey("a", 0, 1)])
    assert assigned(dispatch.tick(2.0)) == []
    assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 2.1)) == []
    assert assigned(dispatch.tick(3.1)) == [(10, "a")]


def test_w7_the_leaders_own_runs_and_results_count() -> None:
    dispatch = leading(1)
    key = AttemptKey("a", 0, 1)
    dispatch.hello(0, LEADER, Role.PEER, hello(LEADER, Role.PEER, slots=0, running=[key]), 0.0)
    assert assigned(dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.1)) == []
    assert frames(dispatch.receive(0, Finished(key, outcome()), 0.5), Result)


def test_w7_a_late_report_of_a_finished_job_is_passed_on_and_the_other_attempt_cancelled() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.0)
    key = AttemptKey("a", 0, 1)
    steps = welcome_worker(dispatch, 2, now=3.0, kept=[key])
    steps += dispatch.receive(20, Finished(key, outcome()), 3.0)
    assert [result.job for result in frames(steps, Result)] == ["a"]
    assert frames(steps, CancelRun, 10) == [CancelRun(1, ("a",))]


def test_w7_a_late_report_of_a_running_duplicate_is_cancelled() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 0.0)
    steps = welcome_worker(dispatch, 2, now=3.0, running=[AttemptKey("a", 0, 1)])
    assert frames(steps, CancelRun, 20) == [CancelRun(1, ("a",))]


def test_w7_what_no_gateway_claims_within_five_seconds_is_cancelled_or_released() -> None:
    dispatch = leading()
    kept = AttemptKey("b", 0, 1)
    welcome_worker(dispatch, 1, slots=2, running=[AttemptKey("a", 0, 1)], kept=[kept])
    dispatch.receive(10, Finished(kept, outcome()), 0.1)
    dispatch.receive(GATEWAY_CHANNEL, submit("z"), 4.0)
    assert frames(dispatch.tick(4.9), CancelRun) == []
    steps = dispatch.tick(5.0)
    assert frames(steps, CancelRun, 10) == [CancelRun(1, ("a",))]
    assert frames(steps, Release, 10) == [Release(("b",))]


def test_w7_changes_of_leader_alone_run_no_job_twice() -> None:
    world = WorkWorld(7)
    for _ in range(15):
        world.elect()
        for node in (GATEWAY, *world.workers):
            world.connect(node)
        for _ in range(20):
            world.ask()
            for _ in range(world.rng.randrange(20)):
                world.deliver()
            world.advance(0.1)
            world.validate()
    world.heal()
    world.check_settled()
    assert len(world.starts) > 100
    assert set(world.starts.values()) == {1}


# --- W8 ----------------------------------------------------------------------------------------------


def test_w8_the_first_outcome_wins_and_the_later_one_is_released() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.channel_closed(10, "reset", 1.0)
    late = AttemptKey("a", 1, 1)
    steps = dispatch.receive(20, Finished(AttemptKey("a", 1, 2), outcome(stdout=b"first")), 2.0)
    steps += welcome_worker(dispatch, 1, now=3.0, kept=[late])
    steps += dispatch.receive(10, Finished(late, outcome(stdout=b"second")), 3.0)
    assert [result.outcome.runs[0].stdout for result in frames(steps, Result)] == [b"first"]
    assert frames(steps, Release, 10) == [Release(("a",))]
    assert dict(dispatch.snapshot().counters)["duplicates"] == 1


def test_w8_the_outcome_waits_for_the_gateway_and_the_acknowledgement_frees_the_worker() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.channel_closed(GATEWAY_CHANNEL, "reset", 1.0)
    assert frames(dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 1.5), Result) == []
    back = hello(GATEWAY, Role.GATEWAY, slots=0)
    assert [r.job for r in frames(dispatch.hello(91, GATEWAY, Role.GATEWAY, back, 2.0), Result, 91)] == ["a"]
    assert frames(dispatch.receive(91, submit("a", again=True), 2.0), Result) == [], "told already"
    assert frames(dispatch.receive(91, ResultAck(("a",)), 2.1), Release, 10) == [Release(("a",))]
    assert dispatch.snapshot().done == 0


def test_w8_unknown_jobs_are_acknowledged_and_stale_leaders_are_not_believed() -> None:
    submission = gateway()
    submission.welcomed(4, LEADER, Epoch(5), 0.0)
    submission.request(request(1, "a"), 0.0)
    assert frames(submission.receive(4, Result(5, "x", outcome()), 1.0), ResultAck) == [ResultAck(("x",))]
    assert submission.receive(4, Result(4, "a", outcome()), 1.0) == ()
    assert submission.snapshot().stale == 1
    steps = submission.receive(4, Result(6, "a", outcome()), 1.0)
    assert len(answers(steps)) == 1
    assert frames(steps, ResultAck) == [ResultAck(("a",))]
    late = submission.receive(4, Result(6, "a", outcome()), 1.1)
    assert answers(late) == []
    assert frames(late, ResultAck) == [ResultAck(("a",))]


@pytest.mark.parametrize("seed", range(16))
def test_w8_one_answer_to_every_request_whatever_breaks(seed: int) -> None:
    world = WorkWorld(seed)
    world.storm(1200)
    world.heal()
    world.check_settled()


# --- W9 ----------------------------------------------------------------------------------------------


def test_w9_a_client_that_goes_away_cancels_its_job_wherever_it_is() -> None:
    submission = gateway()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    assert frames(submission.abandon(1, 1.0), Withdraw, 4) == [Withdraw(("a",))]
    dispatch = leading(1)
    for name in "ab":
        dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0)
    steps = dispatch.receive(GATEWAY_CHANNEL, Withdraw(("a", "b")), 1.0)
    assert frames(steps, CancelRun, 10) == [CancelRun(1, ("a",))]
    assert dispatch.snapshot().queued == 0
    execution = executing()
    assign(execution, "a")
    assert quiet(execution.receive(7, LEADER, BOOT, CancelRun(1, ("a",)), 1.0)) == [StopRun("a")]
    stopped = execution.run_finished("a", Outcome(Verdict.CANCELLED), 1.1)
    assert frames(stopped, Finished) == []
    (returned,) = frames(stopped, Returned)
    dispatch.receive(10, returned, 1.2)
    assert [worker.running for worker in dispatch.snapshot().workers] == [0], "the slot is free"


@pytest.mark.parametrize(("leader", "epoch"), [(LEADER, EPOCH), (NodeId(6), Epoch(EPOCH + 1))])
def test_w9_a_client_that_leaves_while_no_leader_hears_of_it_cancels_at_the_next_word(
    leader: NodeId, epoch: Epoch
) -> None:
    """That may be the same leader, which still holds the job; one that it never got need not be told."""
    submission = gateway()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    for number, name in enumerate("abc", 1):
        submission.request(request(number, name, text=name), 0.0)
    submission.disconnected(0.5)
    submission.request(request(4, "d", text="d"), 0.6)
    for number in (3, 1, 4):
        assert not frames(submission.abandon(number, 1.0), Withdraw)
    submission.validate()
    steps = submission.welcomed(5, leader, epoch, 2.0)
    assert frames(steps, Withdraw, 5) == [Withdraw(("c", "a"))]
    assert [frame.job.id for frame in frames(steps, Submit, 5)] == ["b"]
    submission.disconnected(3.0)
    again = submission.welcomed(6, leader, epoch, 4.0)
    assert frames(again, Withdraw, 6) == [Withdraw(("c", "a"))], "it may be lost with its channel"
    submission.disconnected(30.0)
    assert not frames(submission.welcomed(7, leader, epoch, 31.0), Withdraw), "it has been told"


@pytest.mark.parametrize("how", ["absence", "failed", "restarted"])
def test_w9_a_gateway_that_is_gone_has_its_jobs_cancelled(how: str) -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.channel_closed(GATEWAY_CHANNEL, "reset", 1.0)
    assert frames(dispatch.tick(5.9), CancelRun) == []
    if how == "absence":
        steps = dispatch.tick(6.0)
    elif how == "failed":
        steps = dispatch.member_failed(GATEWAY, 5.9)
    else:
        steps = welcome_gateway(dispatch, now=5.9, boot=2)
    assert frames(steps, CancelRun, 10) == [CancelRun(1, ("a",))]


# --- W10 ---------------------------------------------------------------------------------------------


def test_w10_a_stopping_worker_finishes_what_runs_and_takes_nothing_new() -> None:
    execution = executing(slots=2)
    assign(execution, "a")
    assert frames(execution.drain(1.0), Slots, 7) == [Slots(2, draining=True)]
    assert frames(assign(execution, "b"), Returned) == [Returned(AttemptKey("b", 1, 1))]  # type: ignore[arg-type]
    assert frames(execution.run_finished("a", outcome(), 2.0), Finished)
    assert not execution.idle, "its result is not yet acknowledged"
    execution.receive(7, LEADER, BOOT, Release(("a",)), 2.1)
    assert execution.idle


def test_w10_what_outlives_the_drain_timeout_is_handed_back() -> None:
    execution = executing()
    assign(execution, "a")
    execution.drain(1.0)
    assert execution.tick(20.9) == ()
    steps = execution.tick(21.0)
    assert StopRun("a") in steps
    assert frames(steps, Returned, 7) == [Returned(AttemptKey("a", 1, 1))]
    assert execution.idle


def test_w10_a_job_handed_back_goes_to_another_worker_and_is_no_loss() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submit("a"), 0.0)
    dispatch.receive(10, Slots(1, draining=True), 1.0)
    steps = dispatch.receive(10, Returned(AttemptKey("a", 1, 1)), 1.0)
    assert assigned(steps) == [(20, "a")]
    assert frames(dispatch.channel_closed(10, "stopped", 1.1), LossCounted) == []
    assert frames(dispatch.tick(9.0), LossCounted) == []


def test_w10_a_stopping_gateway_refuses_what_is_new_and_answers_what_it_holds() -> None:
    submission = gateway()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    submission.drain(1.0)
    (refused,) = answers(submission.request(request(2, "b"), 1.0))
    assert isinstance(refused.result, Refusal)
    assert refused.result.reason is Reason.STOPPING
    assert not submission.idle
    assert answers(submission.receive(4, Result(1, "a", outcome()), 2.0))
    assert submission.idle


# --- W11 ---------------------------------------------------------------------------------------------


def test_w11_without_a_leader_clients_wait_the_queue_timeout_and_learn_the_reason() -> None:
    submission = gateway()
    submission.explain(Reason.NO_LEADER, "2 of 5 voters are heard, 3 are needed")
    submission.request(request(1, "a"), 0.0)
    assert answers(submission.tick(9.9)) == []
    (answer,) = answers(submission.tick(10.0))
    assert isinstance(answer.result, Refusal)
    assert answer.result.reason is Reason.NO_LEADER
    assert "3 are needed" in answer.result.message


def test_w11_losing_the_leader_sets_the_clock_anew() -> None:
    submission = gateway()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    assert answers(submission.tick(30.0)) == []
    submission.disconnected(30.0)
    assert answers(submission.tick(39.9)) == []
    assert len(answers(submission.tick(40.0))) == 1


@pytest.mark.parametrize(("workers", "reason"), [((), Reason.NO_WORKER), ((1,), Reason.QUEUE_TIMEOUT)])
def test_w11_without_a_free_worker_jobs_wait_the_queue_timeout(
    workers: tuple[int, ...], reason: Reason
) -> None:
    dispatch = leading(*workers)
    if workers:
        dispatch.receive(GATEWAY_CHANNEL, submit("z"), 0.0)
    dispatch.receive(GATEWAY_CHANNEL, submit("a", queue_s=3.0), 0.0)
    assert frames(dispatch.tick(2.9), Refused) == []
    (refused,) = frames(dispatch.tick(3.0), Refused, GATEWAY_CHANNEL)
    assert (refused.job, refused.refusal.reason) == ("a", reason)
    assert refused.refusal.message


def test_w11_past_the_deadline_a_client_is_answered_whatever_the_cluster_does() -> None:
    submission = gateway()
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    steps = submission.tick(60.0)
    (answer,) = answers(steps)
    assert isinstance(answer.result, Outcome)
    assert answer.result.verdict is Verdict.EXPIRED
    assert frames(steps, Withdraw, 4) == [Withdraw(("a",))]
