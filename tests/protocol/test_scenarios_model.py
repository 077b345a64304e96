"""M1-M13: where the plain reading of a lease over ZooKeeper's election breaks, each told as it happened."""

from __future__ import annotations

import msgspec
import pytest

from cluster.config import TimingSettings
from cluster.core.allegiance import Allegiance
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import Boot, NodeId
from cluster.wire.jobs import Outcome, Verdict
from cluster.wire.messages import Heartbeat, HeartbeatAck, Promise, Propose, Refuse, Resign
from tests.simulation.schedule import Ask, Cut, Reset, Schedule
from tests.simulation.simulation import Simulation
from tests.support.scenarios import (
    cut_both,
    epoch_of,
    everybody_but,
    followers_of,
    hash_of,
    leader_of,
    said_by,
    settled,
)
from tests.support.world import World

ME, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
ELECTORATE = Electorate.of("c", (ME, TWO, THREE))
TIMING = TimingSettings()


def voter() -> Allegiance:
    """Voter 1 of three, started at time 0."""
    record = Record("c", ME, ELECTORATE.hash, boot=1, may_vote=True)
    return Allegiance(TIMING, ME, ELECTORATE, Ledger(record), 0.0)


def test_m1_a_leader_without_lease_that_promises_another_has_left_office() -> None:
    """Else a late acknowledgement renews it beside the new one: its followers are all there again."""
    world, acting = settled(3)
    rival, other = followers_of(world)
    world.cut_datagrams = {(rival, acting), (other, acting)}
    assert world.run_until(lambda: not world.has_leader(), 0.6), "no acknowledgement, no lease"
    world.run(0.05)  # until between two heartbeats
    world.heal()
    world.sent.clear()
    world.forge(rival, acting, Propose(9, 1, hash_of(world)))
    world.run(0.35)
    said = said_by(world, acting)
    promised = said.index(Promise(9, 1, hash_of(world)))
    assert Resign(1) in said[:promised]
    assert not any(isinstance(message, Heartbeat) and message.epoch < 9 for message in said[promised:])
    assert world.run_until(world.settled, 4)


@pytest.mark.parametrize("cut_s", [0.65, 0.76, 0.9, 1.1])
def test_m1_a_leader_that_is_not_heard_and_its_successor_never_act_at_once(cut_s: float) -> None:
    """The world watches I6, and that no promise to another leaves whoever is in office, at each event."""
    world, acting = settled(3)
    world.cut.update((acting, other) for other in everybody_but(world, acting))
    world.run(cut_s)
    world.heal()
    assert world.run_until(world.settled, 3)


def test_m2_a_voter_that_promised_a_higher_epoch_acknowledges_no_lower_one() -> None:
    """Two in forty scripted runs had two that could act."""
    world, acting = settled(3)
    other, candidate = followers_of(world)
    world.cut_datagrams = {(acting, other)}
    world.run(TIMING.follower_timeout_s + 0.05)  # it looks for a leader, and its guard is over
    world.forge(candidate, other, Propose(9, 1, hash_of(world)))
    assert world.run_until(lambda: Promise(9, 1, hash_of(world)) in said_by(world, other), 0.05)
    world.heal()
    world.sent.clear()
    world.forge(acting, other, Heartbeat(1, 7, TIMING.lease_s))
    assert world.run_until(world.settled, 1)
    acknowledged = {m.epoch for m in said_by(world, other) if isinstance(m, HeartbeatAck)}
    assert 1 not in acknowledged, "nothing of epoch 1 after the promise"
    assert acknowledged == {epoch_of(world)}, "but the next leader's"


def test_m3_a_restarted_candidate_promises_itself_nothing_inside_its_guard() -> None:
    world, acting = settled(3)
    back = followers_of(world)[-1]
    world.crash(back)
    world.start(back)
    began = world.now
    world.crash(acting)
    while world.now - began < TIMING.guard_s - 0.01:
        world.run(0.005)
        assert world.lives[back].core._ledger.record.accepted == 1, "not before its hold-off is over"
    assert world.run_until(world.has_leader, 2)


@pytest.mark.parametrize("silent_s", [0.32, 0.36, 0.4])
def test_m4_a_broken_channel_shortens_no_guard(silent_s: float) -> None:
    """A live leader whose datagrams are lost for a while, and whose channels break: 73 ms of two."""
    world, acting = settled(3)
    world.run(0.3)  # everybody has its channel
    others = everybody_but(world, acting)
    world.cut_datagrams.update((acting, other) for other in others)
    guards = {peer: world.lives[peer].core.authority.allegiance.guard_until for peer in followers_of(world)}
    for link in list(world.links.values()):
        if link.open:
            world._break(link, "reset")
    world.run(0.05)
    for peer, until in guards.items():
        allegiance = world.lives[peer].core.authority.allegiance
        assert allegiance.leader is None, "the hint makes it look"
        assert allegiance.guard_until >= until, "and promise nothing"
    world.run(silent_s)
    world.heal()
    assert world.run_until(world.settled, 3)


def test_m5_two_voter_lists_elect_no_two_leaders_of_one_epoch() -> None:
    """A rolling change from three voters to five: whoever has another list is not heard."""
    world = World(3)
    one, two, stranger = world.peers
    world.crash(two)
    cut_both(world, one, stranger)
    world.run(1)  # it follows nobody, and its guard is over
    world.heal()
    world.sent.clear()
    other = Electorate.of("world", [NodeId(n) for n in range(1, 6)]).hash
    world.forge(stranger, one, Propose(1, 7, other))
    world.run(0.01)
    assert not any(isinstance(message, Promise | Refuse) for message in said_by(world, one))
    world.forge(stranger, one, Propose(1, 7, hash_of(world)))
    world.run(0.01)
    assert Promise(1, 7, hash_of(world)) in said_by(world, one), "of its own list it promises at once"


def test_m6_a_wiped_voter_promises_no_epoch_twice() -> None:
    """3 leads epoch 1 with {3, 2}; 2 loses its disk; {1, 2} must not make another leader of epoch 1."""
    world = World(3)
    one, two, three = world.peers
    cut_both(world, one, two, three)
    assert world.run_until(lambda: world.leader() == three, 3)
    world.crash(two)
    world.disks[two].record = world.fresh_record(two, may_vote=False)
    world.heal()
    cut_both(world, three, one, two, *world.gateways)
    world.run(1.1)
    world.start(two)
    world.run(6)
    assert world.leader() is None
    world.heal()
    assert world.run_until(world.has_leader, 3)
    assert world.run_until(lambda: world.disks[two].record.may_vote, 15)


def test_m7_a_voter_above_the_leaders_epoch_does_not_look_for_ever() -> None:
    """Cuts of 0.56 to 1.3 s left one so in 17 to 25 of 555 runs. The same leader leads on, above it."""
    world, acting = settled(3)
    above = followers_of(world)[0]
    world.crash(above)
    disk = world.disks[above]
    disk.record = msgspec.structs.replace(disk.record, accepted=6, promised_node=above, promised_boot=1)
    world.start(above)
    assert world.run_until(lambda: world.settled() and epoch_of(world) > 6, 2)
    assert leader_of(world) == acting


def test_m8_a_resignation_voids_the_heartbeat_that_it_overtook() -> None:
    """Else the voters follow who has resigned for another F."""
    made = voter()
    made.heartbeat(THREE, Boot(1), Heartbeat(5, 1, TIMING.lease_s), 10.0)
    made.resigned(THREE, Resign(5), 10.1)
    assert made.leader is None
    assert made.heartbeat(THREE, Boot(1), Heartbeat(5, 2, TIMING.lease_s), 10.2) == ()
    assert made.leader is None
    assert made.heartbeat(THREE, Boot(1), Heartbeat(6, 3, TIMING.lease_s), 10.3) != ()


@pytest.mark.parametrize("seed", range(3))
def test_m9_a_vote_comes_down_when_its_candidate_dies(seed: int) -> None:
    """The leader is killed, and the best candidate 200 ms later."""
    world, acting = settled(5, seed=seed)
    world.crash(acting)
    world.run(0.2)
    world.crash(max(followers for followers in world.peers if followers in world.lives))
    assert world.run_until(world.has_leader, 1.2)


def test_m10_refusals_cool_no_candidate_down() -> None:
    """Stickiness refuses: counted as failures, three to six handshakes burn and everybody is cool."""
    world, acting = settled(3)
    one, other = followers_of(world)
    world.crash(acting)
    assert world.run_until(
        lambda: any(world.lives[n].core.authority.leadership.in_handshake for n in (one, other)), 2
    )
    candidate = next(n for n in (one, other) if world.lives[n].core.authority.leadership.in_handshake)
    voter_of_it = other if candidate == one else one
    for nonce in range(6):
        world.forge(voter_of_it, candidate, Refuse(2, nonce, 1, -1, 0))
    assert world.run_until(world.has_leader, 0.6)
    assert leader_of(world) == candidate
    assert not world.lives[candidate].core.authority.election.snapshot().cooling


def test_m11_results_that_come_while_the_lease_is_lost_are_held_not_dropped() -> None:
    """Dropped, they leak slots, and jobs hang."""
    world, acting = settled(3)
    requests = [world.ask(f"sleep 0.5 {i}") for i in range(4)]
    world.run(0.05)
    world.cut_datagrams.update((other, acting) for other in followers_of(world))
    world.run(0.5)
    assert world.leader() is None, "no acknowledgement, no lease"
    assert world.lives[acting].core.snapshot(world.now).work.held >= len(requests)
    assert not world.answers, "nothing is passed on without it"
    world.heal()
    assert world.run_until(world.answered(*requests), 0.15), "with the next acknowledgement"
    assert (leader_of(world), epoch_of(world)) == (acting, 1), "renewed, not elected again"
    assert all(world.runs[world.answers[request].job] == 1 for request in requests)
    for request in requests:
        result = world.answers[request].result
        assert isinstance(result, Outcome)
        assert result.verdict is Verdict.OK


def test_m12_a_new_leader_does_not_wait_for_the_hello_of_the_one_that_died() -> None:
    """Gossip thinks it alive for another 2.5 s: queued jobs waited 1.57 s for it, and 0.49 s without."""
    world, acting = settled(5, slots=1)
    requests = [world.ask(f"sleep 0.3 {i}") for i in range(8)]
    world.run(0.1)
    world.crash(acting)
    began = world.now
    assert world.run_until(world.has_leader, 2)
    new = leader_of(world)
    assert world.run_until(lambda: _all_given(world, new), 0.6)
    assert world.now - began < 1.2
    assert world.run_until(world.answered(*requests), 6)


def _all_given(world: World, leader: NodeId) -> bool:
    dispatch = world.lives[leader].core.work.dispatch
    return dispatch is not None and not dispatch.snapshot().collecting


def test_m13_channels_that_break_alone_lose_no_worker() -> None:
    """Resets only, nobody dies: 467 jobs of 200 seeds ended `worker_lost`."""
    resets = tuple(Reset(600 + 90 * i, (1 + i % 2, 3)) for i in range(20))
    asks = tuple(Ask(500 + 60 * i, 101, 400) for i in range(20))
    simulation = Simulation(Schedule(13, peers=3, faults=resets, asks=asks, chaos_ms=3500), quiet_ns=10**9)
    assert not simulation.run().violation, "the simulator refuses `worker_lost` without a lost worker"
    results = [request.result for request in simulation.cluster.checks.requests.values()]
    assert len(results) == 22
    assert all(isinstance(result, Outcome) and result.verdict is Verdict.OK for result in results)


def test_m13_a_worker_that_is_away_for_less_than_the_patience_is_forgiven() -> None:
    cut = Cut(1000, 1500, ((1, 3), (3, 1)))
    asks = tuple(Ask(700 + 50 * i, 101, 900) for i in range(6))
    simulation = Simulation(Schedule(14, peers=3, faults=(cut,), asks=asks, chaos_ms=4000), quiet_ns=10**9)
    assert not simulation.run().violation
    assert simulation.cluster.probes["worker's loss counted against a job"] == 0
    assert keeps_nothing(simulation)


def keeps_nothing(simulation: Simulation) -> bool:
    """Whether no worker still runs or keeps anything."""
    lives = [host.life for host in simulation.cluster.hosts.values()]
    works = [life.core.work.execution for life in lives if life is not None]
    return all(work is None or work.idle for work in works)
