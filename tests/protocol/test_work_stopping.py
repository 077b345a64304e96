"""W10 on whole nodes: each role is asked to go while it holds work, and nothing is lost or run twice."""

from __future__ import annotations

import pytest

from cluster.core import events as ev
from cluster.identity import NodeId
from cluster.wire.jobs import Outcome, Verdict
from tests.support.world import World

HANDOVER_S = 0.3


def serving(seed: int, peers: int = 3, gateways: int = 1) -> World:
    world = World(peers, seed=seed, gateways=gateways, slots=1)
    assert world.run_until(world.settled, 20)
    world.run(1.0)
    return world


def worker_of(world: World) -> tuple[NodeId, str]:
    """A node that runs something, and what."""
    node = next(node for node, life in world.lives.items() if life.running)
    return node, next(iter(world.lives[node].running))


def verdicts(world: World, *requests: int) -> list[Verdict]:
    results = [world.answers[request].result for request in requests]
    return [result.verdict for result in results if isinstance(result, Outcome)]


@pytest.mark.parametrize("seed", range(5))
def test_w10_a_worker_finishes_what_it_runs_and_takes_nothing_new(seed: int) -> None:
    world = serving(seed)
    first = world.ask("sleep 3 first")
    world.run(0.5)
    worker, job = worker_of(world)
    world.stop(worker)
    world.run(0.5)
    others = [world.ask(f"sleep 1 {number}") for number in range(2)]
    assert world.run_until(world.answered(first, *others), 5.0)
    assert verdicts(world, first, *others) == [Verdict.OK] * 3
    assert world.runs[job] == 1
    assert world.run_until(lambda: worker in world.stopped, 2.0), "with nothing left it goes"


@pytest.mark.parametrize("seed", range(5))
def test_w10_a_leader_hands_over_within_300_ms_and_jobs_run_on(seed: int) -> None:
    world = serving(seed, peers=5)
    running = world.ask("sleep 3 running")
    world.run(0.5)
    _, job = worker_of(world)
    leader = world.leader()
    assert leader is not None
    world.stop(leader)
    begin = world.now
    assert world.run_until(lambda: world.leader() not in {None, leader}, HANDOVER_S)
    assert world.run_until(world.answered(world.ask("new")), 1.0)
    assert world.now - begin <= HANDOVER_S + 0.2, "its worker is found and its answer is back"
    assert world.run_until(world.answered(running), 5.0)
    assert world.runs[job] == 1
    assert leader in world.stopped


@pytest.mark.parametrize("seed", range(5))
def test_w10_a_leader_that_still_runs_a_job_from_before_finishes_it(seed: int) -> None:
    world = serving(seed, peers=5)
    requests = [world.ask(f"sleep 4 {number}") for number in range(4)]
    world.run(0.5)
    first = world.leader()
    assert first is not None
    world.crash(first)
    assert world.run_until(lambda: world.leader() is not None, 3.0)
    world.run(0.3)
    second = world.leader()
    assert second is not None
    (job,) = world.lives[second].running
    world.stop(second)
    assert world.run_until(world.answered(*requests), 8.0)
    assert verdicts(world, *requests) == [Verdict.OK] * 4
    assert world.runs[job] == 1
    assert world.run_until(lambda: second in world.stopped, 2.0)


def test_w10_a_gateway_answers_what_it_holds_and_refuses_the_rest() -> None:
    world = serving(1, gateways=2)
    one, other = world.gateways
    held = world.ask("sleep 2 held", one)
    world.run(0.3)
    world.stop(one)
    late = world.ask("late", one)
    elsewhere = world.ask("elsewhere", other)
    assert world.run_until(world.answered(late, elsewhere), 1.0)
    assert verdicts(world, late, elsewhere) == [Verdict.OK], "refused at the one, answered at the other"
    assert world.run_until(world.answered(held), 3.0)
    assert world.run_until(lambda: one in world.stopped, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_w10_a_rolling_restart_loses_nothing(seed: int) -> None:
    world = serving(seed, peers=5)
    requests = []
    for node in list(world.peers):
        world.stop(node)
        requests += [world.ask(f"sleep 0.5 {node} {number}") for number in range(3)]
        assert world.run_until(lambda node=node: node in world.stopped, 10.0)  # type: ignore[misc]
        world.start(node)
        assert world.run_until(world.settled, 10.0)
    assert world.run_until(world.answered(*requests), 10.0)
    assert verdicts(world, *requests) == [Verdict.OK] * len(requests)


def test_w10_what_outlives_the_drain_is_handed_back_and_runs_elsewhere() -> None:
    world = serving(2)
    request = world.ask("sleep 25 long")
    world.run(0.5)
    worker, job = worker_of(world)
    world.stop(worker)
    assert world.run_until(lambda: worker in world.stopped, 21.0)
    assert world.run_until(lambda: world.runs[job] == 2, 1.0)
    assert world.run_until(world.answered(request), 30.0)
    assert verdicts(world, request) == [Verdict.OK]


def test_w9_a_client_that_leaves_frees_the_slot_within_100_ms() -> None:
    world = serving(3)
    request = world.ask("sleep 30 abandoned")
    world.run(0.5)
    worker, _ = worker_of(world)
    world.feed(world.gateways[0], ev.RequestAbandoned(request))
    assert world.run_until(lambda: not world.lives[worker].running, 0.1)
    leader = world.leader()
    assert leader is not None

    def slot_is_free() -> bool:
        dispatch = world.lives[leader].core.work.dispatch
        return dispatch is not None and all(view.running == 0 for view in dispatch.snapshot().workers)

    assert world.run_until(slot_is_free, 0.1)
