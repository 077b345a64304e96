"""Rules N1-N6: who votes, what is remembered, and how the vote is gained."""

from __future__ import annotations

import random

import msgspec
import pytest
from msgspec.structs import replace

from cluster.config import TimingSettings, parse
from cluster.core.effects import Log, Persist, Send
from cluster.core.election import Election
from cluster.core.events import DatagramArrived
from cluster.core.hello import Peer, Terms
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate, quorum_of
from cluster.core.record import Record
from cluster.errors import ConfigError
from cluster.identity import Boot, Epoch, NodeId, Role, Round, State, Status, voters_hash
from cluster.wire.messages import (
    Datagram,
    FactsDelta,
    Gossip,
    GossipEntry,
    Heartbeat,
    HeartbeatAck,
    Hello,
    NodeFacts,
    Notification,
    Probe,
    ProbeReply,
    Promise,
    Propose,
)
from tests.support.scenarios import settled
from tests.support.voter import TWO, VOTERS, Voter
from tests.support.world import World

NODE_YML = """
cluster: a
node: 1
key_file: k
tls: {authority: a, certificate: b, key: c}
members: [{id: 1, role: peer, host: 127.0.0.1, udp: 1, tcp: 2}]
"""


def record(**changes: object) -> Record:
    base = Record("c", 1, voters_hash("c", [NodeId(1), NodeId(2), NodeId(3)]), boot=7, may_vote=True)
    return msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(("voters", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_n1_quorum_is_a_strict_majority_of_the_configured_voters(voters: int, quorum: int) -> None:
    assert quorum_of(voters) == quorum
    assert 2 * quorum > voters


@pytest.mark.parametrize(("voters", "warned"), [(1, True), (2, True), (3, False), (4, True), (5, False)])
def test_n1_an_even_number_or_fewer_than_three_works_and_is_warned_about(voters: int, warned: bool) -> None:
    world = World(voters)
    assert any("WARNING" in text for _, _, text in world.logs) == warned
    assert world.run_until(world.has_leader, 5)


def test_n1_nodes_that_do_not_vote_are_never_counted() -> None:
    electorate = Electorate.of("c", [NodeId(1), NodeId(2), NodeId(3)])
    assert not electorate.is_quorum([NodeId(1), NodeId(100), NodeId(101)])
    assert electorate.is_quorum([NodeId(1), NodeId(3)])


def test_n1_gossip_changes_neither_the_voters_nor_the_quorum() -> None:
    """Three of five are given up, and rumours tell of four more peers: two of five are no quorum."""
    world, _acting = settled(5)
    one, other, *gone = world.peers
    for peer in gone:
        world.crash(peer)
    boot = world.lives[other].boot
    rumoured = [NodeId(number) for number in range(6, 10)]
    for beat in range(100, 400, 10):
        rows = (GossipEntry(node, boot, beat, 1) for node in (other, *rumoured))
        world.forge(other, one, Gossip(tuple(rows)))
        world.forge(other, one, FactsDelta(tuple(NodeFacts(node, boot, 1, Role.PEER) for node in rumoured)))
        world.run(0.3)
    members = world.lives[one].core.snapshot(world.now).membership.members
    alive = {view.node for view in members if view.status is Status.ALIVE}
    assert alive.issuperset(rumoured)
    assert alive.isdisjoint(gone)
    assert world.leader() is None
    asked = {s.to for s in world.sent if s.sender == one and isinstance(s.message, Notification)}
    assert asked == {other, *gone}
    world.start(gone[0])
    assert world.run_until(world.has_leader, 3), "three of five are one"


def test_n1_the_hash_names_the_list_whatever_its_order() -> None:
    one = Electorate.of("c", [NodeId(3), NodeId(1), NodeId(2)])
    assert one.hash == Electorate.of("c", [NodeId(1), NodeId(2), NodeId(3)]).hash
    assert one.hash != Electorate.of("c", [NodeId(1), NodeId(2), NodeId(4)]).hash
    assert one.hash != Electorate.of("d", [NodeId(1), NodeId(2), NodeId(3)]).hash


def test_n1_a_voter_with_another_list_is_not_heard() -> None:
    """Its election datagrams are dropped, so it neither votes nor is voted for."""
    world = World(3)
    stranger = world.lives[NodeId(3)].core.authority
    stranger.election._electorate = Electorate.of("world", [NodeId(2), NodeId(3), NodeId(4)])
    assert world.run_until(world.has_leader, 5)
    assert world.leader() == NodeId(2)


@pytest.mark.parametrize("looking", [True, False])
def test_n1_a_word_of_another_list_is_neither_counted_nor_answered(looking: bool) -> None:
    """Whether this node looks for a leader or has one."""
    voters = [NodeId(1), NodeId(2), NodeId(3)]
    electorate = Electorate.of("c", voters)
    ledger = Ledger(Record("c", NodeId(1), electorate.hash, boot=1, may_vote=True))
    election = Election(TimingSettings(), NodeId(1), electorate, ledger, random.Random(1))
    election.start(0.0)
    mine = election.notification()
    theirs = replace(mine, voters=Electorate.of("c", [*voters, NodeId(4)]).hash)
    if looking:
        assert election.receive(NodeId(2), Boot(1), 1, theirs, 0.0) == ()
    else:
        election.stop()
        assert election.answer(NodeId(2), theirs, mine, 0.0) == ()
    assert not election.hears_quorum()


OF_ANOTHER_LIST: list[Datagram] = [
    Propose(1, 1, "another"),
    Promise(1, 1, "another"),
    Probe(1, "another"),
    ProbeReply(1, 0, 0, "another"),
    replace(Voter().core.election.notification(), voters="another"),
]


@pytest.mark.parametrize("message", OF_ANOTHER_LIST, ids=lambda message: type(message).__name__)
def test_n1_a_datagram_of_another_list_is_counted_and_told_once(message: Datagram) -> None:
    """Who has given one node other members finds that in its log, and in what it counts."""
    voter = Voter()
    for _ in range(3):
        voter.hear(TWO, message)
    assert voter.core.other_lists == 3
    told = [effect.text for effect in voter.effects if isinstance(effect, Log) and "voters" in effect.text]
    assert len(told) == 1
    assert f"server {TWO} has another list of voters" in told[0]


def test_n1_another_list_is_told_of_again_in_the_next_life_of_its_node() -> None:
    """It was restarted, and is as wrong as before."""
    voter = Voter()
    for boot in (1, 1, 2, 2):
        arrived = DatagramArrived(TWO, Boot(boot), 1, OF_ANOTHER_LIST[0])
        voter.perform(voter.core.receive(arrived, voter.now))
    assert len([e for e in voter.effects if isinstance(e, Log) and "another list" in e.text]) == 2


def test_n1_a_datagram_of_the_same_list_is_not_shown_as_of_another() -> None:
    voter = Voter()
    for message in OF_ANOTHER_LIST:
        voter.hear(TWO, replace(message, voters=VOTERS.hash))
    assert voter.core.other_lists == 0


def test_n1_a_single_voter_leads_and_works() -> None:
    world = World(1, new=True)
    assert world.run_until(world.has_leader, 5)
    request = world.ask("hello")
    assert world.run_until(world.answered(request), 5)


def test_n2_boot_rises_with_every_life_and_with_the_clock() -> None:
    world = World(3)
    first = world.lives[NodeId(1)].boot
    world.crash(NodeId(1))
    world.start(NodeId(1))
    assert world.lives[NodeId(1)].boot > first
    assert world.lives[NodeId(1)].boot >= int(world.now)


def test_n2_a_round_is_forgotten_with_its_life_an_epoch_is_not() -> None:
    world = World(3)
    world.run(2.0)
    epoch = world.lives[NodeId(1)].core.authority._ledger.durable.accepted
    world.lives[NodeId(1)].core.authority.election.round = Round(77)
    world.crash(NodeId(1))
    world.start(NodeId(1))
    authority = world.lives[NodeId(1)].core.authority
    assert authority.election.round < 77
    assert authority._ledger.durable.accepted == epoch > 0


def test_n3_nothing_in_the_record_goes_backwards() -> None:
    ledger = Ledger(record(accepted=5, fence_epoch=4))
    with pytest.raises(AssertionError):
        ledger.accept(Epoch(5), NodeId(2), Boot(1))
    with pytest.raises(AssertionError):
        ledger.fence(Epoch(4), NodeId(2), Boot(1))


def test_n3_the_fence_raises_acceptance_with_it() -> None:
    ledger = Ledger(record())
    ledger.fence(Epoch(3), NodeId(2), Boot(1))
    assert (ledger.record.accepted, ledger.record.promised_node) == (3, 2)


def test_n4_what_depends_on_a_record_waits_for_the_disk() -> None:
    """The promise travels inside the write; what is said meanwhile shows the old numbers."""
    ledger = Ledger(record())
    promise = Send(NodeId(2), Promise(1, 9, "h"))
    write = ledger.accept(Epoch(1), NodeId(2), Boot(1), (promise,))
    assert isinstance(write, Persist)
    assert write.then == (promise,)
    assert ledger.durable.accepted == 0
    ledger.persisted(write.token)
    assert ledger.durable.accepted == 1


def test_n4_when_durable_adds_a_write_only_while_one_is_pending() -> None:
    ledger = Ledger(record())
    effect = Send(NodeId(2), HeartbeatAck(1, 1))
    assert ledger.when_durable((effect,)) == (effect,)
    ledger.accept(Epoch(1), NodeId(2), Boot(1))
    (held,) = ledger.when_durable((effect,))
    assert isinstance(held, Persist)


def test_n4_a_leader_with_a_storage_error_resigns_and_another_serves() -> None:
    world = World(3)
    assert world.run_until(world.settled, 5)
    leader = world.leader()
    assert leader is not None
    world.disks[leader].failing = True
    # The next thing that needs its disk: a proposal after it lost the others for a while.
    others = [peer for peer in world.peers if peer != leader]
    world.partition([leader], [*others, *world.gateways])
    assert world.run_until(lambda: world.leader() in others, 5)
    world.heal()
    world.run(3)
    assert world.leader() in others
    assert not world.lives[leader].core.snapshot(world.now).storage_ok


def test_n4_a_broken_disk_is_tried_again_and_the_voter_comes_back() -> None:
    world = World(3)
    world.disks[NodeId(1)].failing = True
    assert world.run_until(world.has_leader, 5)
    world.run(1)
    assert not world.lives[NodeId(1)].core.snapshot(world.now).storage_ok
    world.disks[NodeId(1)].failing = False
    world.run(3)
    assert world.lives[NodeId(1)].core.snapshot(world.now).storage_ok


def test_n5_a_new_cluster_gains_the_vote_when_every_voter_is_new() -> None:
    world = World(3, new=True)
    assert world.run_until(world.settled, 2)
    assert all(world.disks[peer].record.may_vote for peer in world.peers)


def test_n5_a_new_cluster_waits_for_every_configured_voter() -> None:
    """One that never answered might remember a promise that the others forgot."""
    world = World(3, new=True)
    world.crash(NodeId(3))
    world.run(5)
    assert world.leader() is None
    world.start(NodeId(3))
    assert world.run_until(world.settled, 5)


def test_n5_a_voter_that_lost_its_disk_observes_and_then_comes_back_by_itself() -> None:
    world = World(3)
    assert world.run_until(world.settled, 5)
    lost = next(peer for peer in world.peers if peer != world.leader())
    world.crash(lost)
    world.disks[lost].record = world.fresh_record(lost, may_vote=False)
    world.start(lost)
    world.run(5)
    core = world.lives[lost].core
    assert core.authority.state is State.OBSERVING
    assert core.authority.leadership.snapshot(world.now).handshakes == 0
    assert world.run_until(lambda: core.authority.state is State.FOLLOWING, 10)
    assert world.disks[lost].record.accepted >= 1


def test_n5_an_amnesiac_is_counted_in_no_quorum() -> None:
    """Two of three voters are needed; one of the two left has forgotten everything: nobody leads (M6)."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    leader = world.leader()
    assert leader is not None
    lost, other = (peer for peer in world.peers if peer != leader)
    world.crash(lost)
    world.disks[lost].record = world.fresh_record(lost, may_vote=False)
    world.crash(leader)
    world.start(lost)
    world.run(15)
    assert world.leader() is None
    assert not world.disks[lost].record.may_vote
    assert other in world.lives


def test_n5_while_observing_it_still_works() -> None:
    world = World(3)
    assert world.run_until(world.settled, 5)
    lost = next(peer for peer in world.peers if peer != world.leader())
    world.crash(lost)
    world.disks[lost].record = world.fresh_record(lost, may_vote=False)
    world.start(lost)
    world.run(1)
    requests = [world.ask(f"hello {i}") for i in range(4)]
    assert world.run_until(world.answered(*requests), 5)
    workers = {world.answers[request].result.worker for request in requests}  # type: ignore[union-attr]
    assert lost in workers


def test_n6_an_absurd_epoch_is_refused() -> None:
    """One hostile or broken number must not use up the space."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    follower = next(peer for peer in world.peers if peer != world.leader())
    core = world.lives[follower].core
    before = core.authority.allegiance.epoch
    other = next(peer for peer in world.peers if peer != follower)
    world.forge(other, follower, Heartbeat(2**40, 1, 0.4))
    world.run(0.01)
    assert core.authority.allegiance.epoch == before
    assert core._ledger.record.accepted < 2**20


def test_g7_the_slow_profile_is_the_lan_profile_times_four() -> None:
    lan, slow = parse(NODE_YML), parse(NODE_YML + "profile: slow\n")
    for name in ("heartbeat_s", "lease_s", "guard_s", "follower_timeout_s", "finalize_s", "rejoin_s"):
        assert getattr(slow.timing, name) == pytest.approx(4 * getattr(lan.timing, name))
    assert slow.timing_digest() != lan.timing_digest()


def test_g7_every_interval_is_in_what_nodes_compare() -> None:
    lan = parse(NODE_YML)
    for section in ("timing", "gossip"):
        settings = getattr(lan, section)
        for name in settings.__struct_fields__:
            other = msgspec.structs.replace(settings, **{name: getattr(settings, name) + 1})
            changed = msgspec.structs.replace(lan, **{section: other})
            assert changed.timing_digest() != lan.timing_digest(), f"{section}.{name}"


def test_g7_a_node_with_other_intervals_is_not_taken_on() -> None:
    electorate = Electorate.of("c", [NodeId(1), NodeId(2), NodeId(3)])
    leader = Terms("c", NodeId(1), Role.PEER, "lan", electorate)
    peer = Peer(NodeId(2), Role.PEER, dialled=False)

    def says(timing: str) -> Hello:
        terms = Terms("c", NodeId(2), Role.PEER, timing, electorate)
        return terms.hello(boot=1, epoch=Epoch(1), slots=1, java="17", running=(), kept=(), draining=False)

    assert not leader.problem_with(peer, says("lan"))
    assert "G7" in leader.problem_with(peer, says("slow"))


def test_l4_a_guard_shorter_than_the_lease_allows_is_refused() -> None:
    text = NODE_YML + "timing: {guard_s: 0.41}\n"
    with pytest.raises(ConfigError, match=r"timing.guard_s"):
        parse(text)
