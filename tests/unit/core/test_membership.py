"""Whole groups of members in virtual time: convergence, failures, partitions, restarts (G1-G6)."""

from __future__ import annotations

import random

import pytest

from cluster.config import GossipSettings
from cluster.core.effects import Level
from cluster.core.membership import Membership
from cluster.identity import Boot, NodeId, Role, Status
from cluster.wire.messages import NodeFacts
from tests.support.gossip_net import GossipNet


@pytest.mark.parametrize(("count", "loss"), [(2, 0.0), (3, 0.0), (5, 0.2), (30, 0.0)])
def test_everybody_meets_everybody_and_learns_their_facts(count: int, loss: float) -> None:
    net = GossipNet(count, loss=loss)
    net.run(9.0)
    assert net.all_alive()
    assert not net.failed
    for node in net.nodes.values():
        assert all(view.facts is not None for view in node.snapshot(net.now).members)


def test_two_configured_neighbours_are_enough_to_meet_all() -> None:
    net = GossipNet(12, configured=lambda node: ((node + 1) % 12, (node - 1) % 12))
    net.run(12.0)
    assert net.all_alive()


@pytest.mark.parametrize(("count", "loss", "bound"), [(3, 0.0, 13), (5, 0.2, 16), (30, 0.0, 13)])
def test_a_crash_is_known_to_all_in_time_and_nobody_else_is_blamed(
    count: int, loss: float, bound: float
) -> None:
    for seed in range(4 if count < 30 else 2):
        net = GossipNet(count, seed=seed, loss=loss)
        net.run(15.0)
        net.kill(0)
        net.run(bound)
        assert {whom for _, _, whom in net.failed} == {0}
        assert {by for _, by, _ in net.failed} == set(range(1, count))
        net.run(15.0)
        assert len(net.failed) == count - 1, "the verdict is given once"


def test_a_restarted_node_is_alive_again_with_its_higher_boot() -> None:
    net = GossipNet(5)
    net.run(10.0)
    net.kill(3)
    net.run(15.0)
    assert net.statuses(1)[3] is Status.FAILED
    net.start(3, boot=2000)
    net.run(5.0)
    assert net.all_alive()
    assert "1: server 3 is ALIVE again" in [log.text for log in net.logs if log.level is Level.SUMMARY]
    view = next(view for view in net.nodes[1].snapshot(net.now).members if view.node == 3)
    assert view.boot == 2000
    assert view.facts is not None
    assert view.facts.boot == 2000


def test_a_quick_restart_is_no_failure() -> None:
    net = GossipNet(5)
    net.run(10.0)
    net.kill(3)
    net.run(2.0)
    net.start(3, boot=2000)
    net.run(20.0)
    assert not net.failed
    assert net.all_alive()


def test_a_configured_node_that_never_started_fails_and_then_simply_appears() -> None:
    net = GossipNet(4)
    net.kill(3)
    net.run(12.0)
    assert net.statuses(0)[3] is Status.FAILED
    net.start(3)
    net.run(10.0)
    assert net.all_alive()
    texts = [log.text for log in net.logs if log.level is Level.SUMMARY]
    assert "0: no heartbeat from server 3 - SERVER FAILED" in texts
    assert "0: server 3 is ALIVE" in texts
    assert "0: server 3 is ALIVE again" not in texts


def test_two_halves_find_each_other_after_a_partition_longer_than_cleanup() -> None:
    seeds = (0, 5)
    net = GossipNet(10, configured=lambda _node: seeds)
    net.run(10.0)
    net.cut = lambda sender, to: (sender < 5) != (to < 5)
    net.run(40.0)
    assert set(net.statuses(1)) == {0, 1, 2, 3, 4, 5}, "only the configured one of the other half is listed"
    assert net.statuses(1)[5] is Status.FAILED
    net.cut = lambda _sender, _to: False
    net.run(15.0)
    assert net.all_alive()


@pytest.mark.parametrize("pause", [3.0, 9.0, 60.0])
def test_a_node_that_was_paused_accuses_nobody_s37(pause: float) -> None:
    net = GossipNet(6)
    net.run(10.0)
    net.paused.add(2)
    net.run(pause)
    net.resume(2)
    net.run(25.0)
    assert not [whom for _, by, whom in net.failed if by == 2]
    assert net.all_alive()


def test_a_node_cut_off_for_a_while_accuses_nobody_and_is_missed_by_all() -> None:
    net = GossipNet(6)
    net.run(10.0)
    net.cut = lambda sender, to: 2 in (sender, to)
    net.run(40.0)
    assert {by for _, by, _ in net.failed} == {0, 1, 3, 4, 5}
    net.cut = lambda _sender, _to: False
    net.run(15.0)
    assert not [whom for _, by, whom in net.failed if by == 2]
    assert net.all_alive()


def test_a_lone_survivor_gives_its_verdict_late_but_gives_it() -> None:
    net = GossipNet(3)
    net.run(10.0)
    net.kill(1)
    net.kill(2)
    net.run(70.0)
    assert not net.failed
    net.run(20.0)
    assert {whom for _, _, whom in net.failed} == {1, 2}


def test_a_mass_restart_leaves_nobody_dead_s39() -> None:
    """Half restarts while the other half still holds, and spreads, their old rows with high heartbeats."""
    net = GossipNet(10)
    net.run(100.0)
    for node in range(5):
        net.kill(node)
        net.start(node, boot=1001)
    net.run(3.0)
    for node in range(5, 10):
        net.kill(node)
        net.start(node, boot=1001)
    net.run(20.0)
    assert not net.failed
    assert net.all_alive()


def test_the_same_seed_sends_the_same_messages() -> None:
    runs = []
    for _ in range(2):
        net = GossipNet(8, seed=7, loss=0.1)
        net.run(10.0)
        net.kill(4)
        net.run(25.0)
        runs.append((net.sent, net.failed, net.recovered))
    assert runs[0] == runs[1]


def test_status_speaks_for_strangers_and_for_the_node_itself() -> None:
    net = GossipNet(3)
    assert net.nodes[0].status(NodeId(0)) is Status.ALIVE
    assert net.nodes[0].status(NodeId(1)) is Status.UNKNOWN
    assert net.nodes[0].status(NodeId(99)) is Status.UNKNOWN


def test_what_stood_still_holds_that_time_against_nobody_g4() -> None:
    """A minute of our own standing still and four rounds of real silence are four rounds of silence."""
    other = NodeId(2)
    facts = NodeFacts(NodeId(1), Boot(1), 1, Role.PEER)
    mine = Membership(GossipSettings(interval_s=1.0), facts, frozenset({other}), random.Random(1), 0.0)
    mine.heard(other, Boot(1), 1.0)
    mine.lagged(60.0, 61.0)
    now = 61.0
    while now < 65.0:
        now = max(now, mine.next_deadline())
        mine.tick(now)
    assert mine.status(other) is Status.ALIVE
