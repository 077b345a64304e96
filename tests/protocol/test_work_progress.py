"""W13, progress: what a run has come to is shown to who asks for it, and decides nothing."""

from __future__ import annotations

import msgspec
import pytest

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Effect, RepeatProgress, ShowProgress
from cluster.core.events import RequestArrived, RunProgressed
from cluster.core.execution import Execution
from cluster.core.submission import Submission
from cluster.identity import Epoch, NodeId, Role
from cluster.wire.codec import encode_frame
from cluster.wire.jobs import Job, Piece, Stream
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Fenced,
    Finished,
    Progress,
    Progressed,
    Recount,
    Result,
    Submit,
    Withdraw,
)
from tests.support.work import (
    BOOT,
    EPOCH,
    GATEWAY,
    GATEWAY_CHANNEL,
    LEADER,
    frames,
    hello,
    job,
    ledger,
    outcome,
    program,
    quiet,
    request,
    welcome_gateway,
    welcome_worker,
)
from tests.support.work_world import WorkWorld
from tests.support.world import World

SETTINGS = WorkSettings()
PIECES = (Piece(0, Stream.STDOUT, 0, b"so far"),)


def watched(name: str) -> Job:
    return msgspec.structs.replace(job(name), progress=True)


def leading(*workers: int) -> Dispatch:
    dispatch = Dispatch(SETTINGS, LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    for worker in workers:
        welcome_worker(dispatch, worker)
    return dispatch


def submitted(name: str) -> Submit:
    return Submit(watched(name), False, 0, 10.0, 60.0)


def executing() -> Execution:
    execution = Execution(SETTINGS, NodeId(1), ledger(1, LEADER))
    execution.capacity(1, 0.0)
    execution.welcomed(7, EPOCH, 0.0)
    execution.receive(7, LEADER, BOOT, Assign(1, 1, watched("a"), 60.0), 0.0)
    return execution


def waiting(*requests: RequestArrived) -> Submission:
    submission = Submission(SETTINGS, GatewaySettings(), CacheSettings(), GATEWAY)
    submission.epoch_changed(EPOCH)
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    for event in requests:
        submission.request(event, 0.0)
    return submission


def asking(number: int, name: str, text: str = "") -> RequestArrived:
    return msgspec.structs.replace(request(number, name, text), progress=True)


def progressed(attempt: int = 1, epoch: int = 1, key_epoch: int = 1) -> Progressed:
    return Progressed(epoch, 1, AttemptKey("a", key_epoch, attempt), pieces=PIECES)


# --- who does not ask pays nothing -------------------------------------------------------------------


def test_w13_a_job_that_does_not_ask_is_the_same_bytes_as_before_there_was_progress() -> None:
    assert b"progress" not in encode_frame(Submit(job("a"), False, 0, 10.0, 60.0))
    assert b"progress" in encode_frame(submitted("a"))


def test_w13_a_job_that_does_not_ask_sends_nothing_but_its_outcome() -> None:
    dispatch = leading(1)
    steps = dispatch.receive(GATEWAY_CHANNEL, Submit(job("a"), False, 0, 10.0, 60.0), 0.0)
    assert frames(steps, Assign)
    assert frames(steps, Progressed) == []


# --- worker ------------------------------------------------------------------------------------------


def test_w13_a_worker_tells_its_leader_under_the_sending_that_began_the_run() -> None:
    execution = executing()
    (told,) = frames(execution.run_progressed(RunProgressed("a", pieces=PIECES)), Progress, 7)
    assert told == Progress(AttemptKey("a", 1, 1), pieces=PIECES)
    execution.receive(7, LEADER, BOOT, Assign(1, 2, watched("a"), 60.0), 1.0)
    (told,) = frames(execution.run_progressed(RunProgressed("a", pieces=PIECES)), Progress, 7)
    assert told.key == AttemptKey("a", 1, 1), "the run is the same, whoever sends the job again"


def test_w13_nothing_is_told_without_a_leader_or_of_a_run_that_is_unknown_or_cancelled() -> None:
    execution = executing()
    assert execution.run_progressed(RunProgressed("b", pieces=PIECES)) == ()
    execution.disconnected(1.0)
    assert execution.run_progressed(RunProgressed("a", pieces=PIECES)) == ()
    execution.welcomed(8, EPOCH, 2.0)
    execution.receive(8, LEADER, BOOT, CancelRun(1, ("a",)), 2.0)
    assert execution.run_progressed(RunProgressed("a", pieces=PIECES)) == ()


def test_w13_a_recount_is_an_order_and_fenced_like_one() -> None:
    execution = executing()
    assert quiet(execution.receive(7, LEADER, BOOT, Recount(1, ("a", "b")), 1.0)) == [RepeatProgress("a")]
    refused = execution.receive(9, NodeId(3), BOOT, Recount(0, ("a",)), 1.0)
    assert frames(refused, Fenced, 9) == [Fenced(1)]
    assert not any(isinstance(step, RepeatProgress) for step in refused)


# --- leader ------------------------------------------------------------------------------------------


def test_w13_the_leader_tells_of_each_sending_and_passes_on_what_its_run_comes_to() -> None:
    dispatch = leading(1)
    steps = dispatch.receive(GATEWAY_CHANNEL, submitted("a"), 0.0)
    assert frames(steps, Progressed, GATEWAY_CHANNEL) == [Progressed(1, 1, AttemptKey("a", 1, 1))]
    steps = dispatch.receive(10, Progress(AttemptKey("a", 1, 1), pieces=PIECES), 0.1)
    assert frames(steps, Progressed, GATEWAY_CHANNEL) == [progressed()]


def test_w13_the_leader_drops_what_counts_no_longer() -> None:
    dispatch = leading(1, 2)
    dispatch.receive(GATEWAY_CHANNEL, submitted("a"), 0.0)
    stranger = dispatch.receive(20, Progress(AttemptKey("a", 1, 1), pieces=PIECES), 0.1)
    assert stranger == ()
    assert dispatch.receive(10, Progress(AttemptKey("b", 1, 1), pieces=PIECES), 0.1) == ()
    dispatch.receive(GATEWAY_CHANNEL, Withdraw(("a",)), 0.2)
    assert dispatch.receive(10, Progress(AttemptKey("a", 1, 1), pieces=PIECES), 0.3) == ()
    assert dict(dispatch.snapshot().counters)["progress_dropped"] == 3
    dispatch.validate()


def test_w13_progress_is_no_outcome() -> None:
    dispatch = leading(1)
    dispatch.receive(GATEWAY_CHANNEL, submitted("a"), 0.0)
    dispatch.receive(10, Progress(AttemptKey("a", 1, 1), pieces=PIECES), 0.1)
    assert (dispatch.snapshot().running, dispatch.snapshot().done) == (1, 0)
    steps = dispatch.receive(10, Finished(AttemptKey("a", 1, 1), outcome()), 0.2)
    assert [frame.job for frame in frames(steps, Result)] == ["a"]


@pytest.mark.parametrize("gateway_first", [True, False])
def test_w13_a_new_leader_has_a_run_that_goes_on_told_from_its_beginning(gateway_first: bool) -> None:
    dispatch = Dispatch(SETTINGS, LEADER, Epoch(2), 0.0, awaited=frozenset({NodeId(1)}))
    worker = hello(1, epoch=2, running=(AttemptKey("a", 1, 1),))
    steps: list[Effect] = []
    for is_gateway in (gateway_first, not gateway_first):
        if is_gateway:
            says = hello(9, Role.GATEWAY, epoch=2)
            steps += dispatch.hello(GATEWAY_CHANNEL, GATEWAY, Role.GATEWAY, says, 0.0)
            again = Submit(watched("a"), True, 0, 10.0, 60.0)
            steps += dispatch.receive(GATEWAY_CHANNEL, again, 0.0)
        else:
            steps += dispatch.hello(10, NodeId(1), Role.WORKER, worker, 0.0)
    assert frames(steps, Recount, 10) == [Recount(2, ("a",))]
    assert frames(steps, Assign) == []


# --- gateway -----------------------------------------------------------------------------------------


def test_w13_the_gateway_shows_it_to_those_who_asked() -> None:
    submission = waiting(asking(1, "a"), asking(2, "b", "a"), request(3, "c", "a"))
    shown = submission.receive(4, progressed(), 1.0)
    assert shown == (ShowProgress((1, 2), progressed()),)
    submission.abandon(1, 1.0)
    assert submission.receive(4, progressed(), 1.1) == (ShowProgress((2,), progressed()),)
    submission.validate()


def test_w13_a_leader_of_the_past_and_an_attempt_of_the_past_show_nothing() -> None:
    submission = waiting(asking(1, "a"))
    assert submission.receive(4, progressed(attempt=2), 1.0) != ()
    assert submission.receive(4, progressed(attempt=1), 1.1) == ()
    submission.epoch_changed(Epoch(3))
    assert submission.receive(4, progressed(attempt=3), 1.2) == ()
    run_goes_on = progressed(attempt=2, epoch=3)
    assert submission.receive(4, run_goes_on, 1.3) == (ShowProgress((1,), run_goes_on),)


def test_w13_what_comes_after_the_answer_is_shown_to_nobody() -> None:
    submission = waiting(asking(1, "a"))
    submission.receive(4, Result(1, "a", outcome()), 1.0)
    assert submission.receive(4, progressed(), 1.1) == ()


def test_w13_who_asks_shares_a_run_that_tells_and_only_before_it_began() -> None:
    submission = waiting(request(1, "a", "same"))
    assert [s.job.id for s in frames(submission.request(asking(2, "b", "same"), 0.1), Submit)] == ["b"]
    assert frames(submission.request(asking(3, "c", "same"), 0.2), Submit) == []
    begun = Progressed(1, 1, AttemptKey("b", 1, 1))
    assert submission.receive(4, begun, 0.3) == (ShowProgress((2, 3), begun),)
    assert [s.job.id for s in frames(submission.request(asking(4, "d", "same"), 0.4), Submit)] == ["d"]
    assert frames(submission.request(request(5, "e", "same"), 0.5), Submit) == []
    submission.validate()


def test_w13_progress_of_a_sending_that_never_was_is_dropped() -> None:
    """Passed on, it would hide what every later attempt comes to."""
    dispatch = Dispatch(WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    welcome_worker(dispatch, 1)
    asked = Job("a", GATEWAY, program("a"), progress=True)
    dispatch.receive(GATEWAY_CHANNEL, Submit(asked, False, 0, 10.0, 60.0), 0.0)
    for key in (AttemptKey("a", EPOCH + 1, 1), AttemptKey("a", EPOCH, 2)):
        assert frames(dispatch.receive(10, Progress(key), 0.1), Progressed) == []
    assert frames(dispatch.receive(10, Progress(AttemptKey("a", EPOCH, 1)), 0.1), Progressed)


# --- all together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 20, 5))
def test_w13_whatever_happens_progress_goes_forward_and_never_follows_the_answer(first: int) -> None:
    told = 0
    for seed in range(first, first + 5):
        world = WorkWorld(seed)
        world.storm(1500)
        world.heal()
        world.check_settled()
        told += world.told
    assert told > 0, "a storm may drown all of it, five do not"


def test_w13_output_goes_on_when_the_leader_dies() -> None:
    world = World(peers=3, seed=5)
    assert world.run_until(world.settled, 5.0)
    world.run(0.5)
    number = world.ask("sleep 3", progress=True)
    world.run(0.5)
    (begun,) = [shown for shown in world.shown if number in shown.requests]
    leader = world.leader()
    assert leader is not None
    world.crash(leader)
    assert world.run_until(lambda: bool(world.repeated), 3.0), "the new leader has it told again"
    assert world.repeated == [(NodeId(begun.progress.worker), begun.progress.key.job)]
    assert world.run_until(world.answered(number), 5.0)
    assert world.runs[begun.progress.key.job] == 1
