"""W14: what goes out on a channel is bounded by what its other end has read, and loses nothing."""

from __future__ import annotations

import random

import msgspec
import pytest

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.board import OUTCOMES_FACTOR
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Effect, Effects
from cluster.core.events import RequestArrived
from cluster.core.execution import Execution
from cluster.core.submission import Submission
from cluster.core.window import Window
from cluster.identity import Epoch, NodeId, Role
from cluster.limits import MIB
from cluster.wire.jobs import Job, Reason, Refusal
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    Finished,
    Ping,
    Pong,
    Refused,
    Release,
    Result,
    ResultAck,
    Returned,
    Submit,
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
    program,
    request,
    sent,
    submit,
    welcome_gateway,
    welcome_worker,
)

SETTINGS = WorkSettings()
CHANNEL = 4


def gateway() -> Submission:
    return Submission(SETTINGS, GatewaySettings(), CacheSettings(), GATEWAY)


def large(number: int, size: int = 14 * MIB, tenant: str = "") -> RequestArrived:
    """A request for a program of its own with so much standard input."""
    one = request(number, f"{number:032x}", use_cache=False)
    return msgspec.structs.replace(one, program=program(f"p{number}", bytes(size)), tenant=tenant)


def submitted(steps: Effects) -> list[int]:
    return [int(frame.job.id, 16) for frame in frames(steps, Submit)]


def asked(steps: Effects) -> int:
    """The number of the ping that ends what was sent."""
    return frames(steps, Ping)[-1].nonce


def test_w14_a_new_leader_gets_what_it_reads_and_in_the_end_all_of_it() -> None:
    submission = gateway()
    for number in range(9):
        assert submission.request(large(number), 0.0) == ()
    steps = submission.welcomed(CHANNEL, LEADER, EPOCH, 1.0)
    seen = []
    while submitted(steps):
        assert len(submitted(steps)) == 1, "one is more than the window already"
        seen += submitted(steps)
        submission.validate()
        steps = submission.receive(CHANNEL, Pong(asked(steps)), 1.0)
    assert seen == list(range(9)), "the oldest first"


def test_w14_small_jobs_go_at_once_and_share_their_pings() -> None:
    submission = gateway()
    submission.welcomed(CHANNEL, LEADER, EPOCH, 0.0)
    steps: list[Effect] = []
    for number in range(10_000):
        steps += submission.request(large(number, 100), 0.0)
        if number % 100 == 0 and frames(steps, Ping):
            submission.receive(CHANNEL, Pong(asked(tuple(steps))), 0.0)
    assert len(frames(steps, Submit)) == 2000, "as many as may wait"
    assert len(frames(steps, Ping)) <= 2
    submission.validate()


def test_w14_another_tenants_job_overtakes_what_one_has_waiting() -> None:
    submission = gateway()
    submission.welcomed(CHANNEL, LEADER, EPOCH, 0.0)
    steps = submission.request(large(0, tenant="flood"), 0.0)
    for number in range(1, 9):
        assert submission.request(large(number, tenant="flood"), 0.0) == ()
    assert submission.request(large(9, 100, tenant="other"), 0.1) == ()
    order = []
    while submitted(steps):
        order += submitted(steps)
        steps = submission.receive(CHANNEL, Pong(asked(steps)), 0.2)
    assert order.index(9) <= 2, "one turn, not the flood"


def test_w14_the_times_of_a_job_that_waited_count_from_when_it_goes() -> None:
    submission = gateway()
    submission.welcomed(CHANNEL, LEADER, EPOCH, 0.0)
    first = submission.request(large(0), 0.0)
    submission.request(large(1), 0.0)
    (frame,) = frames(submission.receive(CHANNEL, Pong(asked(first)), 4.0), Submit)
    assert (frame.queue_s, frame.remaining_s) == (SETTINGS.queue_timeout_s - 4, SETTINGS.deadline_s - 4)


def test_w11_a_job_that_the_leader_has_no_room_for_is_refused_with_the_reason() -> None:
    submission = gateway()
    submission.welcomed(CHANNEL, LEADER, EPOCH, 0.0)
    submission.request(large(0), 0.0)
    submission.request(large(1), 0.0)
    (answer,) = answers(submission.tick(SETTINGS.queue_timeout_s))
    assert isinstance(answer.result, Refusal)
    assert (answer.request, answer.result.reason) == (1, Reason.OVERLOADED)
    assert "slow to read" in answer.result.message
    submission.validate()


def test_w9_a_job_withdrawn_before_it_went_never_goes() -> None:
    submission = gateway()
    submission.welcomed(CHANNEL, LEADER, EPOCH, 0.0)
    first = submission.request(large(0), 0.0)
    submission.request(large(1), 0.0)
    submission.request(large(2), 0.0)
    assert not frames(submission.abandon(1, 0.1), Withdraw)
    assert submitted(submission.receive(CHANNEL, Pong(asked(first)), 0.2)) == [2]


def test_w14_another_leader_begins_with_an_empty_channel() -> None:
    submission = gateway()
    submission.welcomed(CHANNEL, LEADER, EPOCH, 0.0)
    first = submission.request(large(0), 0.0)
    submission.request(large(1), 0.0)
    submission.disconnected(1.0)
    submission.validate()
    assert submission.receive(CHANNEL, Pong(asked(first)), 1.0) == (), "nobody to send it to"
    assert submitted(submission.welcomed(CHANNEL + 1, LEADER, Epoch(2), 1.1)) == [0]
    submission.validate()


def test_w14_a_leader_says_that_it_has_read_when_it_may_act_on_it() -> None:
    dispatch = Dispatch(SETTINGS, LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    assert sent(dispatch.receive(GATEWAY_CHANNEL, Ping(77), 0.0)) == [(GATEWAY_CHANNEL, Pong(77))]


# --- the leader's side -------------------------------------------------------------------------------


def leading(*workers: int, slots: int = 8, **settings: int) -> Dispatch:
    dispatch = Dispatch(WorkSettings(**settings), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    for node in workers:
        welcome_worker(dispatch, node, slots=slots)
    return dispatch


def large_submit(name: str) -> Submit:
    return Submit(Job(name, GATEWAY, program(name, bytes(14 * MIB))), False, 0, 10.0, 60.0)


def test_w14_a_worker_gets_what_it_reads_and_the_rest_waits_or_goes_to_others() -> None:
    dispatch = leading(1)
    steps = dispatch.receive(GATEWAY_CHANNEL, large_submit("a"), 0.0)
    assert assigned(steps) == [(10, "a")]
    for name in "bc":
        assert assigned(dispatch.receive(GATEWAY_CHANNEL, large_submit(name), 0.0)) == []
    assert dispatch.snapshot().queued == 2
    dispatch.validate()
    assert assigned(welcome_worker(dispatch, 2, slots=8)) == [(20, "b")], "another one has room"
    assert assigned(dispatch.receive(10, Pong(asked(steps)), 0.1)) == [(10, "c")]
    dispatch.validate()


def test_w14_what_a_worker_that_came_back_is_due_does_not_go_in_one_piece() -> None:
    dispatch = leading()
    for number in range(8):
        dispatch.receive(GATEWAY_CHANNEL, large_submit(str(number)), 0.0)
    steps = welcome_worker(dispatch, 1, slots=8)
    seen = []
    while assigned(steps):
        assert len(assigned(steps)) == 1
        seen += assigned(steps)
        steps = dispatch.receive(10, Pong(asked(steps)), 0.1)
    assert len(seen) == 8


def finish(dispatch: Dispatch, name: str, size: int = 14 * MIB) -> tuple[Effect, ...]:
    """The job is given, and done with so much output."""
    dispatch.receive(GATEWAY_CHANNEL, submit(name), 0.0)
    return dispatch.receive(10, Finished(AttemptKey(name, 1, 1), outcome(stdout=bytes(size))), 0.0)


def test_w14_a_gateway_gets_every_outcome_as_it_reads() -> None:
    dispatch = leading(1)
    steps = finish(dispatch, "a")
    assert [frame.job for frame in frames(steps, Result)] == ["a"]
    for name in "bcd":
        assert frames(finish(dispatch, name), Result) == []
    seen = []
    while frames(steps, Result):
        (told,) = frames(steps, Result)
        seen.append(told.job)
        dispatch.receive(GATEWAY_CHANNEL, ResultAck((told.job,)), 0.2)
        steps = dispatch.receive(GATEWAY_CHANNEL, Pong(asked(steps)), 0.2)
        dispatch.validate()
    assert "".join(seen) == "abcd"


def test_w14_a_gateway_that_is_back_gets_what_it_missed_as_it_reads() -> None:
    dispatch = leading(1)
    for name in "abc":
        finish(dispatch, name)
    dispatch.channel_closed(GATEWAY_CHANNEL, "broken", 1.0)
    seen = []
    steps = dispatch.hello(91, GATEWAY, Role.GATEWAY, hello(GATEWAY, Role.GATEWAY), 1.1)
    while frames(steps, Result):
        seen += [frame.job for frame in frames(steps, Result)]
        steps = dispatch.receive(91, Pong(asked(steps)), 1.2)
    assert "".join(seen) == "abc"


def test_w14_outcomes_that_a_gateway_does_not_read_are_bounded_and_refused_with_the_reason() -> None:
    dispatch = leading(1, kept_bytes=16 * MIB)
    refused: list[Refused] = []
    for number in range(8):
        refused += frames(finish(dispatch, str(number)), Refused, GATEWAY_CHANNEL)
        assert dispatch._board.outcome_bytes <= OUTCOMES_FACTOR * 16 * MIB
        dispatch.validate()
    assert [frame.job for frame in refused] == ["1", "2", "3"], "0 has been told, and the newest have room"
    assert refused[0].refusal.reason is Reason.OVERLOADED
    assert "read them" in refused[0].refusal.message


def test_w14_a_job_that_ended_while_its_outcome_waited_is_not_told() -> None:
    dispatch = leading(1)
    first = finish(dispatch, "a")
    finish(dispatch, "b")
    finish(dispatch, "c")
    dispatch.receive(GATEWAY_CHANNEL, Withdraw(("b",)), 0.1)
    told = frames(dispatch.receive(GATEWAY_CHANNEL, Pong(asked(first)), 0.2), Result)
    assert [frame.job for frame in told] == ["c"]


# --- the worker's side -------------------------------------------------------------------------------


def worker_with(*names: str, size: int = 14 * MIB, **settings: int) -> Execution:
    """It has run these jobs without a leader; each has written so much."""
    execution = Execution(WorkSettings(**settings), NodeId(1), ledger(fence=1, leader=LEADER))
    execution.capacity(len(names) or 8, 0.0)
    for at, name in enumerate(names):
        execution.receive(40, LEADER, BOOT, Assign(1, 1, job(name), 60.0), float(at))
        execution.run_finished(name, outcome(stdout=bytes(size)), float(at))
    return execution


def reported(steps: Effects) -> str:
    return "".join(frame.key.job for frame in frames(steps, Finished))


def test_w14_a_new_leader_gets_every_kept_result_as_it_reads() -> None:
    execution = worker_with("a", "b", "c", "d")
    steps = execution.welcomed(40, EPOCH, 5.0)
    seen = reported(steps)
    assert seen == "a"
    while seen != "abcd":
        execution.validate()
        steps = execution.read(asked(steps))
        assert len(reported(steps)) == 1
        seen += reported(steps)
    assert execution.read(asked(steps)) == ()


def test_w14_a_due_result_that_is_released_does_not_go() -> None:
    execution = worker_with("a", "b", "c")
    steps = execution.welcomed(40, EPOCH, 5.0)
    execution.receive(40, LEADER, BOOT, Release(("b",)), 5.0)
    execution.validate()
    assert reported(execution.read(asked(steps))) == "c"


def test_w14_a_result_that_no_room_is_left_for_before_it_went_is_handed_back() -> None:
    execution = worker_with("a", "b", kept_bytes=40 * MIB)
    execution.welcomed(40, EPOCH, 5.0)
    execution.receive(40, LEADER, BOOT, Assign(1, 1, job("c"), 60.0), 6.0)
    steps = execution.run_finished("c", outcome(stdout=bytes(14 * MIB)), 7.0)
    assert frames(steps, Returned) == [], "a has gone already"
    execution.receive(40, LEADER, BOOT, Assign(1, 1, job("d"), 60.0), 7.0)
    steps = execution.run_finished("d", outcome(stdout=bytes(14 * MIB)), 8.0)
    assert [frame.key.job for frame in frames(steps, Returned)] == ["b"]
    execution.validate()


def test_w7_a_kept_result_has_its_turn_while_others_of_its_worker_come() -> None:
    dispatch = Dispatch(SETTINGS, LEADER, EPOCH, 0.0, awaited=frozenset({NodeId(1)}))
    welcome_gateway(dispatch)
    kept = [AttemptKey(name, 0, 1) for name in "abc"]
    welcome_worker(dispatch, 1, kept=kept)
    for key in kept:
        dispatch.receive(GATEWAY_CHANNEL, submit(key.job, again=True), 0.0)
    late = SETTINGS.collect_s
    for at, key in enumerate(kept[:2]):
        assert assigned(dispatch.tick(0.9 * late * (at + 1))) == []
        dispatch.receive(10, Finished(key, outcome()), 0.9 * late * (at + 1))
    assert assigned(dispatch.tick(2.7 * late)) == [], "the last one came less than a second ago"
    assert assigned(dispatch.tick(2.9 * late)) == [(10, "c")], "now it does not come any more"


# --- whatever happens --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_w14_whatever_is_answered_when_a_window_bounds_and_opens_again(seed: int) -> None:
    rng = random.Random(seed)
    window, under_way, pings = Window(1000), 0, []
    for _ in range(500):
        if window.open and rng.random() < 0.7:
            assert under_way < 1000
            size = rng.randrange(1, 3000)
            under_way += size
            if (ping := window.sent(size)) is not None:
                pings.append((ping.nonce, under_way))
        elif pings:
            nonce, before = pings.pop(0)
            window.read(nonce)
            window.read(rng.choice((0, 1, nonce - 1, 10**9)))  # of no use, and no harm
            under_way -= before
            pings = [(later, upto - before) for later, upto in pings]
    for nonce, _ in pings:
        window.read(nonce)
    assert window.open, "nothing closes it for ever"
