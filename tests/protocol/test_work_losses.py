"""A worker lost together with the leader that knew of it counts all the same: poison ends (W6, W7)."""

from __future__ import annotations

import pytest

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Effects
from cluster.core.submission import Submission
from cluster.identity import Epoch, NodeId, Role
from cluster.wire.jobs import Outcome, Verdict
from cluster.wire.messages import AttemptKey, Finished, LossCounted, Place, Placed, Result, Submit
from tests.support.work import (
    EPOCH,
    GATEWAY,
    GATEWAY_CHANNEL,
    LEADER,
    frames,
    hello,
    job,
    outcome,
    request,
    submit,
    welcome_gateway,
    welcome_worker,
)
from tests.support.world import World

NEXT = Epoch(2)
LATER = NodeId(6)


def gateway() -> Submission:
    submission = Submission(WorkSettings(), GatewaySettings(), CacheSettings(), GATEWAY)
    submission.welcomed(4, LEADER, EPOCH, 0.0)
    submission.request(request(1, "a"), 0.0)
    return submission


def sent_again(submission: Submission) -> Submit:
    """What the next leader is told of the one job."""
    submission.disconnected(2.0)
    (again,) = frames(submission.welcomed(5, LATER, NEXT, 3.0), Submit)
    return again


def next_leader(place: Place, *workers: int, losses: int = 0, boot: int = 7) -> tuple[Dispatch, Effects]:
    """It has these workers when a gateway tells it where job `a` was."""
    dispatch = Dispatch(WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    for worker in workers:
        welcome_worker(dispatch, worker, boot=boot)
    again = Submit(job("a"), True, losses, 10.0, 60.0, placed=place)
    return dispatch, dispatch.receive(GATEWAY_CHANNEL, again, 0.0)


# --- the leader tells, the gateway keeps, the next leader learns -------------------------------------


def test_a_gateway_is_told_which_worker_has_a_job_that_takes_a_while() -> None:
    dispatch = Dispatch(WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    welcome_worker(dispatch, 1, slots=2, boot=7)
    dispatch.receive(GATEWAY_CHANNEL, submit("short"), 0.0)
    steps = dispatch.receive(10, Finished(AttemptKey("short", 1, 1), outcome()), 0.01)
    dispatch.receive(GATEWAY_CHANNEL, submit("long"), 0.02)
    while (deadline := dispatch.next_deadline()) is not None and deadline < 0.5:
        steps += dispatch.tick(deadline)
    assert frames(steps, Placed) == [Placed(1, (("long", Place(1, 7)),))], "once, and only the long one"


def test_so_it_is_of_a_job_that_ran_before_this_leader_led() -> None:
    dispatch = Dispatch(WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_worker(dispatch, 1, boot=7, running=[AttemptKey("a", 0, 1)])
    welcome_gateway(dispatch)
    steps = dispatch.receive(GATEWAY_CHANNEL, submit("a", again=True), 1.0)
    steps += dispatch.tick(1.5)
    assert frames(steps, Placed, GATEWAY_CHANNEL) == [Placed(1, (("a", Place(1, 7)),))]


def test_the_gateway_tells_the_next_leader_where_the_job_was() -> None:
    submission = gateway()
    submission.receive(4, Placed(1, (("a", Place(1, 7)), ("unknown", Place(2, 7)))), 1.0)
    assert sent_again(submission).placed == Place(1, 7)


def test_a_place_told_by_an_old_leader_is_not_believed() -> None:
    submission = gateway()
    submission.disconnected(1.0)
    submission.welcomed(5, LATER, NEXT, 1.5)
    submission.receive(4, Placed(1, (("a", Place(1, 7)),)), 1.6)
    assert sent_again(submission).placed is None


@pytest.mark.parametrize(("worker", "left"), [(1, None), (2, Place(1, 7))])
def test_a_loss_that_was_counted_is_not_counted_again(worker: int, left: Place | None) -> None:
    submission = gateway()
    submission.receive(4, Placed(1, (("a", Place(1, 7)),)), 1.0)
    submission.receive(4, LossCounted(1, "a", 1, worker), 1.5)
    again = sent_again(submission)
    assert (again.losses, again.placed) == (1, left)


# --- the next leader counts --------------------------------------------------------------------------


def test_a_worker_that_does_not_come_back_counts_after_five_seconds() -> None:
    dispatch, steps = next_leader(Place(1, 7), 2)
    steps += dispatch.tick(4.9)
    assert frames(steps, LossCounted) == []
    assert frames(dispatch.tick(5.0), LossCounted, GATEWAY_CHANNEL) == [LossCounted(1, "a", 1, 1)]


def test_a_worker_that_comes_back_in_another_life_counts_at_once() -> None:
    dispatch, _ = next_leader(Place(1, 7), 2)
    steps = dispatch.hello(10, NodeId(1), Role.WORKER, hello(1, boot=8), 1.0)
    assert frames(steps, LossCounted) == [LossCounted(1, "a", 1, 1)]
    assert frames(dispatch.tick(6.0), LossCounted) == [], "once"


def test_a_worker_that_is_back_in_another_life_already_counts_at_once() -> None:
    _, steps = next_leader(Place(1, 7), 1, 2, boot=8)
    assert frames(steps, LossCounted) == [LossCounted(1, "a", 1, 1)]


@pytest.mark.parametrize("before", [True, False])
def test_a_worker_in_the_same_life_is_no_loss(before: bool) -> None:
    dispatch, steps = next_leader(Place(1, 7), *([1] if before else []), boot=7)
    if not before:
        steps += dispatch.hello(10, NodeId(1), Role.WORKER, hello(1, boot=7), 1.0)
    steps += dispatch.tick(9.0)
    assert frames(steps, LossCounted) == [], "it had handed the job back, or never got it"


def test_a_job_that_runs_elsewhere_has_lost_nobody() -> None:
    dispatch = Dispatch(WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    welcome_worker(dispatch, 2, running=[AttemptKey("a", 0, 2)])
    steps = dispatch.receive(GATEWAY_CHANNEL, Submit(job("a"), True, 0, 10.0, 60.0, placed=Place(1, 7)), 0.0)
    steps += dispatch.tick(9.0)
    assert frames(steps, LossCounted) == []


@pytest.mark.parametrize("back", [True, False])
def test_w6_one_life_of_a_worker_is_one_loss_though_leader_and_gateway_both_know_of_it(back: bool) -> None:
    """Its HELLO told the next leader of the job; it was lost; then the gateway told where the job was."""
    dispatch = Dispatch(WorkSettings(), LEADER, EPOCH, 0.0, awaited=frozenset())
    welcome_gateway(dispatch)
    welcome_worker(dispatch, 1, boot=7, slots=2, running=[AttemptKey("a", 0, 1), AttemptKey("b", 0, 1)])
    dispatch.channel_closed(10, "closed by the peer", 0.1)
    again = Submit(job("a"), True, 0, 10.0, 60.0, placed=Place(1, 7))
    assert frames(dispatch.receive(GATEWAY_CHANNEL, again, 0.2), LossCounted) == []
    steps = welcome_worker(dispatch, 1, 1.0, boot=8) if back else dispatch.tick(5.2)
    assert frames(steps, LossCounted) == [LossCounted(1, "a", 1, 1)]
    dispatch.validate()


def test_the_third_such_loss_ends_the_job() -> None:
    dispatch, _ = next_leader(Place(1, 7), 2, losses=2)
    verdicts = [result.outcome.verdict for result in frames(dispatch.tick(5.0), Result)]
    assert verdicts == [Verdict.WORKER_LOST]


def test_a_poison_job_that_takes_its_leader_along_each_time_is_given_up() -> None:
    world = World(5, seed=11, slots=2)
    assert world.run_until(world.settled, 20)
    poisoned = world.ask("sleep 30")
    for _ in range(3):
        assert world.run_until(lambda: len(_running(world)) == 1, 20), "it runs somewhere"
        world.run(0.3)
        (worker,) = _running(world)
        leader = world.leader()
        assert leader is not None
        for node in (worker, leader):
            world.crash(node)
        world.run(1.0)
        for node in (worker, leader):
            world.start(node)
        assert world.run_until(world.settled, 20)
    assert world.run_until(world.answered(poisoned), 15)
    result = world.answers[poisoned].result
    assert isinstance(result, Outcome)
    assert result.verdict is Verdict.WORKER_LOST


def _running(world: World) -> list[NodeId]:
    return [node for node, life in world.lives.items() if life.running]


# --- whom a new leader waits for (W7) ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_w7_a_worker_that_is_merely_suspected_is_waited_for(seed: int) -> None:
    """It was starved for two seconds, and its leader died meanwhile: what it runs is not started again."""
    world = World(5, seed=seed, slots=2)
    assert world.run_until(world.settled, 20)
    asked = world.ask("sleep 8")
    assert world.run_until(lambda: len(_running(world)) == 1, 5)
    (worker,), leader = _running(world), world.leader()
    assert leader is not None
    (job,) = world.lives[worker].running
    world.freeze(worker, 2.2)
    world.run(1.7)
    world.crash(leader)
    assert world.run_until(world.answered(asked), 15)
    assert world.runs[job] == 1
