"""S30-S42: what went wrong in other systems, told again to this one."""

from __future__ import annotations

import random

import pytest

from cluster.config import TimingSettings
from cluster.core.effects import MemberRecovered
from cluster.identity import Boot, NodeId, State, Status
from cluster.wire.messages import Gossip, GossipEntry, Propose
from tests.support.gossip_net import GossipNet, T, member
from tests.support.scenarios import (
    cut,
    cut_both,
    epoch_of,
    everybody_but,
    followers_of,
    gives_answers,
    hash_of,
    keeps_leader,
    leader_of,
    settled,
)
from tests.support.world import World

TIMING = TimingSettings()


def test_s30_a_pair_that_can_not_hear_each_other_causes_no_churn() -> None:
    """Cloudflare 2020-11-02: two nodes cut from each other, both heard by the rest."""
    world, _acting = settled(3)
    one, other = followers_of(world)
    cut_both(world, one, other)
    assert keeps_leader(world, 6)
    cut(world, (leader_of(world), one), (one, leader_of(world)))
    assert keeps_leader(world, 6), "one that hears nobody deposes nobody"


def test_s30_with_only_one_node_that_hears_a_quorum_that_one_leads() -> None:
    """Omni-Paxos' quorum-loss case: four of five hear only the fifth."""
    world, acting = settled(5)
    hub = followers_of(world)[0]
    for one in [peer for peer in world.peers if peer != hub]:
        cut_both(world, one, *(other for other in world.peers if other not in {one, hub}))
    assert world.run_until(lambda: world.leader() == hub, 6), f"{acting} lost its quorum, {hub} did not"
    assert keeps_leader(world, 5)


def test_s30_in_a_chain_the_middle_leads_and_stays() -> None:
    """1 - 2 - 3, and the leader is at an end that the other end does not hear."""
    world, acting = settled(3)
    middle, end = followers_of(world)
    cut_both(world, acting, end)
    assert keeps_leader(world, 4), "two of three hear it: that is enough"
    world.crash(acting)
    assert world.run_until(lambda: world.leader() in {middle, end}, 3)
    assert keeps_leader(world, 4)


def test_s31_a_follower_cut_only_from_the_leader_deposes_nobody_and_claims_nothing() -> None:
    """Etcd 8129."""
    world, acting = settled(5)
    lonely = followers_of(world)[-1]
    cut_both(world, acting, lonely)
    world.run(2)
    assert keeps_leader(world, 6)
    shot = world.lives[lonely].core.snapshot(world.now)
    assert (shot.leader, shot.state) == (None, State.LOOKING)
    assert gives_answers(world, "one")


def test_s32_a_leader_whose_disk_stalls_while_its_loop_stands_does_not_act() -> None:
    """Etcd 13527: the check for a quorum hung behind the disk, and two leaders were visible."""
    world, acting = settled(5)
    world.disks[acting].busy_until = world.now + 5
    world.freeze(acting, 3)
    assert world.run_until(lambda: world.leader() not in {None, acting}, 2)
    world.run(4)
    assert leader_of(world) != acting
    assert world.lives[acting].core.authority.state is State.FOLLOWING


@pytest.mark.parametrize("pause", [0.3, 0.45, 0.7, 1.5, 5.0, 12.0])
def test_s33_a_leader_that_stood_still_does_nothing_on_its_old_lease(pause: float) -> None:
    """Etcd 15247, 12528, 16822: it woke, ran its timers, and revoked leases before it noticed.

    The world asserts after every event that at most one may act, whatever order it wakes in.
    """
    world, acting = settled(5)
    requests = [world.ask(f"sleep 0.2 {i}") for i in range(6)]
    world.freeze(acting, pause)
    world.run(pause + 0.001)
    assert not world.lives[acting].core.authority.may_act(world.now) or leader_of(world) == acting
    assert world.run_until(world.settled, 3)
    assert world.run_until(world.answered(*requests), 8)


def test_s34_a_flapping_best_node_does_not_take_the_lead_back_and_forth() -> None:
    """Etcd 13665, 9241, 14893: leadership went to and fro for hours."""
    world, acting = settled(5)
    best = NodeId(5)
    others = everybody_but(world, best)
    if acting == best:
        cut_both(world, best, *others)
        assert world.run_until(lambda: world.leader() not in {None, best}, 3)
        world.heal()
        world.run(1)
    steady, epoch = leader_of(world), epoch_of(world)
    for _ in range(8):
        cut_both(world, best, *others)
        world.run(0.9)
        world.heal()
        world.run(0.4)
    assert leader_of(world) == steady
    assert epoch_of(world) <= epoch + 1


def test_s35_a_node_that_sends_and_hears_nothing_raises_nothing() -> None:
    """old-raft-rs 27: it raised terms for ever."""
    world, acting = settled(5)
    deaf = followers_of(world)[-1]
    cut(world, *((other, deaf) for other in everybody_but(world, deaf)))
    world.run(1)
    epoch = epoch_of(world)
    world.run(10)
    assert (leader_of(world), epoch_of(world)) == (acting, epoch)


def test_s36_a_winner_that_dies_before_its_first_heartbeat_is_not_waited_for() -> None:
    """Ceph's monitors waited for ever: their timer began with the first lease."""
    world = World(5)
    winner = NodeId(5)
    assert world.run_until(lambda: world.lives[winner].core.authority.leadership.in_handshake, 3)
    world.crash(winner)
    assert world.run_until(world.has_leader, 3)


def test_s37_an_answer_after_a_pause_is_the_right_one_or_none() -> None:
    """Etcd robustness 20418: stale answers of a node that had stood still."""
    world, acting = settled(5)
    requests = [world.ask(f"sleep 0.3 {i}") for i in range(4)]
    world.run(0.1)
    world.freeze(acting, 2)
    world.run(0.1)
    more = [world.ask(f"sleep 0.3 {i}") for i in range(10, 14)]
    assert world.run_until(world.answered(*requests, *more), 10)
    for request, text in zip(more, range(10, 14), strict=True):
        result = world.answers[request].result
        assert result.runs[0].value == f"sleep 0.3 {text}".encode()  # type: ignore[union-attr]


def test_s38_gossip_goes_on_whatever_comes_in() -> None:
    """Told by chitchat 183 and 184: one error ended the loop. The socket's own: `tests/unit/net`."""
    node = member()
    draw = random.Random(38)
    now = 0.0
    for _ in range(300):
        now += 0.01
        entries = tuple(
            GossipEntry(
                draw.choice((1, 2, 3, -1, 2**40)), draw.randint(-5, 2**50), draw.randint(-5, 2**60), 0
            )
            for _ in range(draw.randint(0, 3))
        )
        node.receive(NodeId(draw.randint(1, 4)), Boot(draw.randint(0, 2**50)), Gossip(entries), now)
        if now >= node.next_deadline():
            node.tick(now)
        node.validate()
    assert node.next_deadline() < now + 2 * T


def test_s39_a_mass_restart_leaves_nobody_dead() -> None:
    """Memberlist 311: `dead, incarnation 100` outlived restarts and killed whoever began at 1 again."""
    net = GossipNet(8, seed=39)
    net.run(6 * T)
    for node in range(1, 8):
        net.kill(node)
    net.run(100 * T)  # whoever hears nobody at all doubts itself first (G4)
    assert {net.statuses(0)[node] for node in range(1, 8)} == {Status.FAILED}
    for node in range(1, 8):
        net.start(node, boot=1001)
    net.run(10 * T)
    assert net.all_alive()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_s40_in_a_tiny_cluster_each_peer_is_told_each_round(count: int) -> None:
    """Memberlist 350: independent draws miss the only eligible peer now and then."""
    net = GossipNet(count, seed=40)
    net.run(3 * T)
    began = net.now
    net.run(20 * T)
    for one in range(count):
        for other in range(count):
            if one != other:
                told = [s for s in net.sent if s.at > began and (s.sender, s.to) == (one, other)]
                assert len(told) >= 19


def test_s41_absurd_numbers_and_long_messages_change_nothing() -> None:
    """Told by memberlist 357, 358, 361, 363, 369. Of lengths on the wire: `tests/unit/wire`."""
    net = GossipNet(4, seed=41)
    net.run(5 * T)
    rows = (GossipEntry(1, 1000, 50, 0), GossipEntry(2, 2**62, 2**62, 0), GossipEntry(3, 1000, 2**61, 0))
    net.nodes[0].receive(NodeId(1), Boot(1000), Gossip(rows), net.now)
    net.run(5 * T)
    assert net.all_alive()
    world, acting = settled(3)
    liar = followers_of(world)[0]
    world.forge(liar, acting, Propose(2**40, 1, hash_of(world)))
    assert keeps_leader(world, 1)
    assert world.disks[acting].record.accepted == 1


def test_s42_a_replayed_first_heartbeat_does_not_make_the_dead_alive() -> None:
    """Chitchat 133, 123: a node known to be dead was briefly alive again. 2 is in nobody's configuration."""
    net = GossipNet(3, seed=42, configured=lambda _node: (0, 1))
    net.run(5 * T)
    assert net.all_alive()
    old = [s.message.entries[0] for s in net.sent if s.sender == 2 and isinstance(s.message, Gossip)]
    net.kill(2)

    def replay(*rows: GossipEntry) -> Status | None:
        """What node 0 thinks of 2 when 1 has told it of these once more."""
        for row in rows:
            told = Gossip((GossipEntry(1, 1000, 500, 0), row))
            steps = net.nodes[0].receive(NodeId(1), Boot(1000), told, net.now)
            assert not any(isinstance(step, MemberRecovered) and step.node == 2 for step in steps)
        return net.statuses(0).get(2)

    net.run(14 * T)
    assert net.statuses(0)[2] is Status.FAILED
    assert replay(*old) is Status.FAILED
    net.run(14 * T)
    assert 2 not in net.statuses(0), "only its tombstone is left (G3)"
    assert replay(*old) is None
    net.kill(0)
    net.start(0, boot=1001)
    net.run(5 * T)
    assert replay(old[0]) is Status.UNKNOWN, "first sight after a start, which has forgotten even that (G2)"
    assert replay(old[0]) is Status.UNKNOWN
