"""A host that can't run programs still votes, and may lead: capacity is not authority (N1, L5)."""

from __future__ import annotations

from cluster.core import events as ev
from cluster.core.node import TROUBLE_MAX
from cluster.identity import NodeId
from cluster.wire.jobs import Outcome, Verdict
from tests.support.world import World


def trouble_of(world: World, of: NodeId, seen_by: NodeId) -> str:
    members = world.lives[seen_by].core.snapshot(world.now).membership.members
    facts = next(view.facts for view in members if view.node == of)
    assert facts is not None
    return facts.trouble


def test_a_leader_whose_host_can_run_nothing_leads_on_and_everybody_knows() -> None:
    world = World(3)
    assert world.run_until(lambda: world.leader() is not None, 5.0)
    leader = world.leader()
    assert leader is not None
    world.feed(leader, ev.CapacityChanged(0))
    world.feed(leader, ev.RunnerTroubled("no process can be started: " + "x" * 1000))
    world.run(10.0)
    assert world.leader() == leader
    said = trouble_of(world, leader, world.gateways[0])
    assert said.startswith("no process can be started: x")
    assert len(said) == TROUBLE_MAX
    request = world.ask("hello")
    assert world.run_until(world.answered(request), 5.0)
    world.feed(leader, ev.RunnerTroubled(""))
    world.feed(leader, ev.CapacityChanged(2))
    world.run(5.0)
    assert trouble_of(world, leader, world.gateways[0]) == ""
    assert world.leader() == leader


def test_a_job_that_can_begin_nowhere_ends_by_its_deadline_and_says_so() -> None:
    """W10: it is handed back by every worker, again and again, for as long as its client waits."""
    world = World(3)
    assert world.run_until(lambda: world.leader() is not None, 5.0)
    world.run(2.0)
    request = world.ask("sleep 5")
    begun: list[NodeId] = []

    def handed_back() -> bool:
        for node, life in world.lives.items():
            for job in tuple(life.running):
                begun.append(node)
                life.running.pop(job)
                world.feed(node, ev.RunUnstarted(job))
        return request in world.answers

    assert world.run_until(handed_back, 600.0)
    outcome = world.answers[request].result
    assert isinstance(outcome, Outcome)
    assert outcome.verdict is Verdict.EXPIRED
    assert outcome.message == "no outcome within 60 s"
    assert len(set(begun)) == 2, "both followers"
    assert len(begun) < 3 * 20 * world.now, "no worker is asked again at once"


def test_a_worker_that_can_not_begin_hands_back_and_another_answers() -> None:
    world = World(3)
    assert world.run_until(lambda: world.leader() is not None, 5.0)
    world.run(2.0)
    request = world.ask("sleep 5")
    assert world.run_until(lambda: any(life.running for life in world.lives.values()), 5.0)
    worker, life = next((node, life) for node, life in world.lives.items() if life.running)
    (job,) = life.running
    life.running.clear()
    world.feed(worker, ev.CapacityChanged(0))
    world.feed(worker, ev.RunUnstarted(job))
    assert world.run_until(lambda: any(life.running for life in world.lives.values()), 2.0)
    assert not world.lives[worker].running
    assert world.run_until(world.answered(request), 10.0)
