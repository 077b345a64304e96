"""`worker` nodes join a running cluster by gossip: capacity grows, the quorum does not (W2, N1)."""

from __future__ import annotations

from cluster.identity import NodeId, State, Status
from tests.support.world import World

NEW = NodeId(50)


def grown(seed: int = 3, *joining: NodeId) -> World:
    """Three peers that serve, and workers that have come since."""
    world = World(3, seed=seed, slots=1)
    assert world.run_until(world.settled, 20)
    for node in joining or (NEW,):
        world.join(node)
    assert world.run_until(world.settled, 20), "the newcomers follow the leader, too"
    assert world.run_until(lambda: slots(world) == 2 + len(joining or (NEW,)), 10)
    return world


def slots(world: World) -> int:
    leader = world.leader()
    dispatch = world.lives[leader].core.work.dispatch if leader is not None else None
    return 0 if dispatch is None else sum(worker.slots for worker in dispatch.snapshot().workers)


def ran_at(world: World, node: NodeId) -> int:
    execution = world.lives[node].core.work.execution
    assert execution is not None
    return execution.snapshot().finished


def test_a_worker_in_nobodys_member_list_is_given_jobs() -> None:
    world = grown()
    requests = [world.ask(f"sleep 1 {number}") for number in range(3)]
    assert world.run_until(world.answered(*requests), 1.5), "three slots: nobody waits for a second round"
    assert ran_at(world, NEW) == 1


def test_it_never_votes_and_does_not_touch_the_quorum() -> None:
    world = grown(4, NodeId(50), NodeId(51), NodeId(52), NodeId(53))
    for node in (NodeId(50), NodeId(53)):
        assert world.lives[node].core.snapshot(world.now).state is State.OBSERVING
    dead = [node for node in world.peers if node != world.leader()][:2]
    for node in dead:
        world.crash(node)
    world.run(5.0)
    assert world.leader() is None, "four workers replace no voter"


def test_the_next_leader_finds_it_and_what_runs_there_runs_once() -> None:
    world = grown(5)
    requests = [world.ask(f"sleep 4 {number}") for number in range(3)]
    assert world.run_until(lambda: len(world.lives[NEW].running) == 1, 1.0)
    (job,) = world.lives[NEW].running
    leader = world.leader()
    assert leader is not None
    world.crash(leader)
    assert world.run_until(world.answered(*requests), 10.0)
    assert world.runs[job] == 1
    assert world.run_until(world.settled, 5.0), "it follows the next leader"


def test_its_death_moves_its_jobs_and_leaves_no_trace_for_ever() -> None:
    world = grown(6)
    requests = [world.ask(f"sleep 1 {number}") for number in range(3)]
    assert world.run_until(lambda: len(world.lives[NEW].running) == 1, 1.0)
    world.crash(NEW)
    assert world.run_until(world.answered(*requests), 4.0)
    world.run(10.0)
    leader = world.leader()
    assert leader is not None
    core = world.lives[leader].core
    assert core.membership.status(NEW) in {Status.UNKNOWN, Status.FAILED}
    assert NEW not in core.authority.leadership.audience


def test_silent_loss_of_a_worker_is_noticed_by_gossip_within_3_5_s() -> None:
    world = grown(7)
    requests = [world.ask(f"sleep 1 {number}") for number in range(3)]
    assert world.run_until(lambda: len(world.lives[NEW].running) == 1, 1.0)
    (job,) = world.lives[NEW].running
    world.cut |= {pair for node in world.lives for pair in ((NEW, node), (node, NEW)) if node != NEW}
    assert world.run_until(lambda: world.runs[job] == 2, 3.5), "assigned elsewhere (W6)"
    assert world.run_until(world.answered(*requests), 3.0)
