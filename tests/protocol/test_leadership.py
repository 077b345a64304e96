"""Rules L1-L7: who may lead, and what it takes to act; scenarios of M1-M13 that one schedule can tell."""

from __future__ import annotations

import random

import msgspec
import pytest

from cluster.config import TimingSettings
from cluster.core.allegiance import Allegiance
from cluster.core.effects import BecameLeader, HandshakeFailed, LostLeadership, Persist, Send, Steps
from cluster.core.hello import Terms
from cluster.core.leadership import Leadership, Phase
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import Boot, NodeId, State
from cluster.wire.jobs import Outcome, Refusal
from cluster.wire.messages import (
    Fenced,
    Heartbeat,
    HeartbeatAck,
    Notification,
    Promise,
    Propose,
    Refuse,
    Resign,
)
from tests.support.scenarios import epoch_of, followers_of, leader_of, said_by, settled
from tests.support.world import World

ME, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
ELECTORATE = Electorate.of("c", (ME, TWO, THREE))
TIMING = TimingSettings()
LONG_UP = 100.0
"""A moment at which the hold-off after the start (at 0) is long over."""


def ledger(**changes: object) -> Ledger:
    base = Record("c", ME, ELECTORATE.hash, boot=1, may_vote=True)
    return Ledger(msgspec.structs.replace(base, **changes))


def voter(**record: object) -> Allegiance:
    """Voter 1, started at time 0."""
    return Allegiance(TIMING, ME, ELECTORATE, ledger(**record), 0.0)


def heartbeat(
    made: Allegiance, sender: NodeId, epoch: int, now: float, lease_s: float = TIMING.lease_s
) -> Steps:
    steps = made.heartbeat(sender, Boot(1), Heartbeat(epoch, 1, lease_s), now)
    _write(made._ledger, steps)
    return steps


def propose(made: Allegiance, sender: NodeId, epoch: int, now: float, boot: int = 1) -> list[object]:
    """What reaches the proposer, with the disk done at once."""
    steps = made.proposed(sender, Boot(boot), Propose(epoch, 77, ELECTORATE.hash), now)
    return _sent(_write(made._ledger, steps))


def _write(book: Ledger, steps: Steps) -> Steps:
    done: list[object] = []
    for step in steps:
        if isinstance(step, Persist):
            book.persisted(step.token)
            done.extend(step.then)
        else:
            done.append(step)
    return tuple(done)  # type: ignore[arg-type]


def _sent(steps: Steps) -> list[object]:
    return [step.message for step in steps if isinstance(step, Send)]


def candidate(now: float = LONG_UP, **record: object) -> tuple[Leadership, Propose]:
    """Voter 1 in its handshake: its own promise is durable, its proposals are out."""
    book = ledger(**record)
    made = Leadership(TIMING, ME, ELECTORATE, book, (TWO, THREE, NodeId(100)), random.Random(1))
    (write,) = made.open(now, now)
    assert isinstance(write, Persist)
    book.persisted(write.token)
    proposals = [m for m in _sent(made.persisted(write.token, now)) if isinstance(m, Propose)]
    assert len(proposals) == 2
    return made, proposals[0]


def leader(now: float = LONG_UP) -> Leadership:
    """Voter 1, established in epoch 1 at `now`, with no heartbeat acknowledged yet."""
    made, proposal = candidate(now)
    steps = made.promised(TWO, Promise(1, proposal.nonce, ELECTORATE.hash), now)
    assert any(isinstance(step, BecameLeader) for step in steps)
    return made


# --- L1 -----------------------------------------------------------------------------------------------


def test_l1_the_epoch_is_above_everything_accepted_or_heard() -> None:
    """Also above what was heard after another node chose (S09)."""
    made = Leadership(TIMING, ME, ELECTORATE, ledger(accepted=4), (TWO, THREE), random.Random(1))
    made.saw_epoch(9)
    (write,) = made.open(LONG_UP, LONG_UP)
    assert isinstance(write, Persist)
    assert (write.record.accepted, write.record.promised_node) == (10, ME)


def test_l1_nothing_is_proposed_before_the_own_promise_is_durable() -> None:
    """S10."""
    made = Leadership(TIMING, ME, ELECTORATE, ledger(), (TWO, THREE), random.Random(1))
    steps = made.open(LONG_UP, LONG_UP)
    assert [type(step) for step in steps] == [Persist]
    assert made.phase is Phase.WRITING


def test_l1_the_end_of_an_earlier_write_is_not_taken_for_the_own_promise() -> None:
    """N4: what was asked for before may be on disk long before it."""
    book = ledger()
    made = Leadership(TIMING, ME, ELECTORATE, book, (TWO, THREE), random.Random(1))
    earlier = book.in_turn(())
    (write,) = made.open(LONG_UP, LONG_UP)
    assert isinstance(write, Persist)
    book.persisted(earlier.token)
    assert made.persisted(earlier.token, LONG_UP) == ()
    book.persisted(write.token)
    assert len(_sent(made.persisted(write.token, LONG_UP))) == 2


def test_n4_whose_disk_is_broken_does_not_promise_itself_anything() -> None:
    book = ledger()
    made = Leadership(TIMING, ME, ELECTORATE, book, (TWO, THREE), random.Random(1))
    book.failed(book.in_turn(()).token, LONG_UP)
    assert made.open(LONG_UP, LONG_UP) == ()
    assert not made.in_handshake
    assert book.record.accepted == 0


def test_l1_each_handshake_has_a_nonce_of_its_own() -> None:
    """X4: an answer to the one before proves nothing."""
    made, first = candidate()
    over = LONG_UP + TIMING.handshake_s
    assert [type(step) for step in made.tick(over)] == [HandshakeFailed]
    (write,) = made.open(over, over)
    assert isinstance(write, Persist)
    made._ledger.persisted(write.token)
    (second, _) = _sent(made.persisted(write.token, over))
    assert isinstance(second, Propose)
    assert second.nonce != first.nonce


def test_l1_the_winner_waits_for_its_own_guard() -> None:
    """M3: a restarted candidate's promise to itself counts like any other."""
    made = Leadership(TIMING, ME, ELECTORATE, ledger(), (TWO, THREE), random.Random(1))
    assert made.open(1.0, guard_until=1.4) == ()
    assert made.tick(1.39) == ()
    assert any(isinstance(step, Persist) for step in made.tick(1.4))


def test_l1_a_voter_grants_a_higher_epoch_once_it_is_durable() -> None:
    made = voter(accepted=3)
    steps = made.proposed(TWO, Boot(1), Propose(4, 77, ELECTORATE.hash), LONG_UP)
    assert _sent(steps) == [], "the promise waits inside the write (N4)"
    assert _sent(_write(made._ledger, steps)) == [Promise(4, 77, ELECTORATE.hash)]


def test_l1_a_retransmission_is_granted_again_to_the_same_life_only() -> None:
    """The lost answer costs no epoch; another life of the same node gets nothing."""
    made = voter()
    assert propose(made, TWO, 4, LONG_UP) == [Promise(4, 77, ELECTORATE.hash)]
    assert propose(made, TWO, 4, LONG_UP) == [Promise(4, 77, ELECTORATE.hash)]
    assert isinstance(propose(made, TWO, 4, LONG_UP, boot=2)[0], Refuse)
    assert isinstance(propose(made, THREE, 4, LONG_UP)[0], Refuse)


def test_l1_a_refusal_tells_what_is_accepted_and_who_is_heard() -> None:
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP)
    assert propose(made, TWO, 9, LONG_UP + 0.01) == [Refuse(9, 77, 5, THREE, 5)]


def test_l1_refusals_do_not_end_the_handshake_but_its_deadline_does() -> None:
    """M10: only the deadline cools a candidate down."""
    made, proposal = candidate()
    made.refused(TWO, Refuse(1, proposal.nonce, 0, -1, 0))
    made.refused(TWO, Refuse(1, proposal.nonce, 0, -1, 0))
    assert made.in_handshake
    assert _sent(made.tick(LONG_UP + 0.05)), "it proposes again each 50 ms"
    assert made.tick(LONG_UP + 1.0) == (HandshakeFailed(),)
    assert not made.in_handshake


def test_l1_a_ballot_won_again_meanwhile_begins_no_other_handshake() -> None:
    """The promises that are under way count, and the deadline stays."""
    made, proposal = candidate()
    assert made.open(LONG_UP + 0.5, LONG_UP + 0.5) == ()
    assert made._ledger.record.accepted == proposal.epoch
    assert made.next_deadline() == pytest.approx(LONG_UP + TIMING.propose_every_s)
    steps = made.promised(TWO, Promise(proposal.epoch, proposal.nonce, ELECTORATE.hash), LONG_UP + 0.6)
    assert any(isinstance(step, BecameLeader) for step in steps)


@pytest.mark.parametrize("guard_s", [0.0, 0.4])
def test_l1_a_ballot_won_again_before_the_proposal_is_out_puts_it_off_no_further(guard_s: float) -> None:
    """While the own guard is waited for, and while the own promise is written."""
    book = ledger()
    made = Leadership(TIMING, ME, ELECTORATE, book, (TWO, THREE), random.Random(1))
    steps = made.open(LONG_UP, LONG_UP + guard_s)
    assert made.open(LONG_UP + 0.1, LONG_UP + 0.9) == ()
    (write,) = steps or made.tick(LONG_UP + guard_s)
    assert isinstance(write, Persist)
    book.persisted(write.token)
    assert len(_sent(made.persisted(write.token, LONG_UP + 0.5))) == 2


def test_l1_promising_another_ends_my_handshake() -> None:
    made, proposal = candidate()
    made.cancel()
    assert made.promised(TWO, Promise(1, proposal.nonce, ELECTORATE.hash), LONG_UP + 0.01) == ()


def test_l1_a_leader_with_its_lease_grants_nothing() -> None:
    """M1."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    rival = next(peer for peer in world.peers if peer != acting)
    accepted = world.disks[acting].record.accepted
    world.forge(rival, acting, Propose(accepted + 5, 1, Electorate.of("world", world.peers).hash))
    world.run(0.05)
    assert world.leader() == acting
    assert world.disks[acting].record.accepted == accepted


# --- L2 -----------------------------------------------------------------------------------------------


def test_l2_a_quorum_of_fresh_promises_establishes_and_nothing_less() -> None:
    made, proposal = candidate()
    wrong = (
        (TWO, Promise(1, proposal.nonce + 1, ELECTORATE.hash)),  # another question's answer (X4)
        (TWO, Promise(2, proposal.nonce, ELECTORATE.hash)),
        (NodeId(100), Promise(1, proposal.nonce, ELECTORATE.hash)),  # not a voter (S13)
        (TWO, Promise(1, proposal.nonce, "other voters")),
    )
    for sender, promise in wrong:
        assert made.promised(sender, promise, LONG_UP) == ()
    assert made.promised(TWO, Promise(1, proposal.nonce, ELECTORATE.hash), LONG_UP) != ()
    assert made.phase is Phase.LEADING


def test_l2_a_promise_after_the_deadline_is_not_counted() -> None:
    """S07: the age is checked whenever one is counted."""
    made, proposal = candidate()
    assert made.promised(TWO, Promise(1, proposal.nonce, ELECTORATE.hash), LONG_UP + 1.0) == ()
    assert made.phase is not Phase.LEADING


def test_l1_the_handshake_lasts_its_second_however_long_the_own_promise_took_to_write() -> None:
    book = ledger()
    made = Leadership(TIMING, ME, ELECTORATE, book, (TWO, THREE), random.Random(1))
    (write,) = made.open(LONG_UP, LONG_UP)
    assert isinstance(write, Persist)
    written = LONG_UP + 0.9 * TIMING.handshake_s
    book.persisted(write.token)
    made.persisted(write.token, written)
    assert _sent(made.tick(written + 0.5 * TIMING.handshake_s))
    assert [type(step) for step in made.tick(written + TIMING.handshake_s)] == [HandshakeFailed]


def test_l2_a_leader_tells_every_node_of_its_lease_with_each_heartbeat() -> None:
    """As often as it is set to, and the L that it counts on itself: all others guard that one (L4)."""
    made = leader()
    for count in range(1, 5):
        due = LONG_UP + count * TIMING.heartbeat_s
        assert made.next_deadline() == pytest.approx(due)
        beats = [step for step in made.tick(due + 1e-9) if isinstance(step, Send)]
        assert [step.to for step in beats] == [TWO, THREE, NodeId(100)]
        assert {step.message for step in beats} == {Heartbeat(1, count + 1, TIMING.lease_s)}


def test_l2_a_voter_that_promised_a_higher_epoch_acknowledges_no_lower_one() -> None:
    """M2."""
    made = voter()
    propose(made, TWO, 5, LONG_UP)
    assert heartbeat(made, THREE, 4, LONG_UP + 0.01) == ()
    assert made.leader is None


def test_l2_observers_follow_and_acknowledge_nothing() -> None:
    gateway = NodeId(100)
    book = Ledger(Record("c", gateway, ELECTORATE.hash, boot=1))
    made = Allegiance(TIMING, gateway, ELECTORATE, book, 0.0)
    steps = made.heartbeat(TWO, Boot(1), Heartbeat(3, 1, 0.4), LONG_UP)
    assert made.leader == TWO
    assert _sent(_write(book, steps)) == []


# --- L3 -----------------------------------------------------------------------------------------------


def test_l3_without_an_acknowledged_heartbeat_nothing_may_be_done() -> None:
    assert not leader().may_act(LONG_UP)


def test_l3_the_lease_counts_from_the_sending_of_the_acknowledged_heartbeat() -> None:
    made = leader()
    made.acknowledged(TWO, HeartbeatAck(1, 1))  # sent at LONG_UP, whenever it is acknowledged
    assert made.may_act(LONG_UP + 0.39)
    assert not made.may_act(LONG_UP + 0.4)


def test_l3_only_voters_and_only_this_epoch_extend_it() -> None:
    made = leader()
    made.acknowledged(NodeId(100), HeartbeatAck(1, 1))
    made.acknowledged(TWO, HeartbeatAck(2, 1))
    made.acknowledged(TWO, HeartbeatAck(1, 999))
    assert not made.may_act(LONG_UP + 0.01)


def test_l3_the_leader_itself_counts_once() -> None:
    """Whoever says in its name that it has acknowledged makes no quorum of one out of it."""
    made = leader()
    made.acknowledged(ME, HeartbeatAck(1, 1))
    assert not made.may_act(LONG_UP + 0.01)


def test_l3_an_acknowledgement_that_was_overtaken_takes_nothing_away() -> None:
    made = leader()
    made.tick(LONG_UP + TIMING.heartbeat_s)
    made.acknowledged(TWO, HeartbeatAck(1, 2))
    made.acknowledged(TWO, HeartbeatAck(1, 1))
    assert made.lease_until() == pytest.approx(LONG_UP + TIMING.heartbeat_s + TIMING.lease_s)


def test_l3_a_leader_without_its_lease_claims_nothing_and_holds_what_arrives() -> None:
    """M11: results that come meanwhile are neither acted on nor lost (I11)."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    request = world.ask("sleep 0.5 x")
    world.run(0.2)
    # Acknowledgements are lost for less than F: the lease goes, the office stays.
    world.cut_datagrams = {(peer, acting) for peer in world.peers if peer != acting}
    world.run(0.41)
    core = world.lives[acting].core
    assert not core.authority.may_act(world.now)
    assert core.snapshot(world.now).state is not State.LEADING
    world.heal()
    assert world.run_until(world.answered(request), 5)
    assert sum(world.runs.values()) == 1


def test_l3_a_paused_leader_does_nothing_stale_when_it_wakes() -> None:
    """S32, S33: the lease is read where it is used, not by a timer that was due long ago."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    world.freeze(acting, 2.0)
    world.run(0.1)
    requests = [world.ask(f"hello {i}") for i in range(3)]
    assert world.run_until(world.answered(*requests), 10)
    world.run(3)
    assert world.settled()
    assert world.leader() != acting
    assert all(world.runs[world.answers[r].job] == 1 for r in requests)


# --- L4 -----------------------------------------------------------------------------------------------


def test_l4_nothing_is_promised_for_g_after_the_last_acknowledgement() -> None:
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP)
    made.abandon("its channel broke")
    assert propose(made, TWO, 6, LONG_UP + 0.42) == []
    steps = made.tick(LONG_UP + TIMING.guard_s)
    assert _sent(_write(made._ledger, steps)) == [Promise(6, 77, ELECTORATE.hash)]


@pytest.mark.parametrize("follows", [False, True])
def test_l4_a_proposal_that_came_early_is_due_when_g_ends(follows: bool) -> None:
    """Of nobody's while it follows but its leader's, inside the hold-off after the start."""
    made = voter()
    if follows:
        heartbeat(made, TWO, 1, 0.1)
    assert propose(made, TWO, 6, 0.1) == []
    assert made.next_deadline() == made.guard_until
    steps = made.tick(made.guard_until)
    assert _sent(_write(made._ledger, steps)) == [Promise(6, 77, ELECTORATE.hash)]


def test_l4_g_counts_from_the_l_that_the_heartbeat_carries() -> None:
    """A leader with a longer lease than mine is waited for as long as it may act, by a slower clock."""
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP, lease_s=0.5)
    made.abandon("its channel broke")
    end = LONG_UP + 0.5 * (1 + TIMING.drift) / (1 - TIMING.drift)
    assert propose(made, TWO, 6, end - 0.001) == []
    steps = made.tick(end)
    assert _sent(_write(made._ledger, steps)) == [Promise(6, 77, ELECTORATE.hash)]


def test_l4_a_shorter_lease_of_the_next_leader_shortens_no_guard() -> None:
    """The one before may still hold the longer one."""
    made = voter()
    long = TIMING.follower_timeout_s
    heartbeat(made, TWO, 1, LONG_UP, lease_s=long)
    heartbeat(made, THREE, 2, LONG_UP + 0.001)
    assert made.guard_until >= LONG_UP + long * (1 + TIMING.drift) / (1 - TIMING.drift)


def test_l4_nothing_is_promised_for_g_after_a_start() -> None:
    """A voter that restarted has forgotten whom it acknowledged last."""
    made = voter()
    assert propose(made, TWO, 1, 0.1) == []
    assert propose(made, TWO, 1, TIMING.guard_s) != []


def test_l4_a_following_voter_refuses_every_proposal_but_its_own_leaders() -> None:
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP)
    assert isinstance(propose(made, TWO, 6, LONG_UP + 0.01)[0], Refuse)
    assert propose(made, THREE, 6, LONG_UP + 0.01) == [Promise(6, 77, ELECTORATE.hash)]


def test_l4_a_broken_channel_never_shortens_the_guard() -> None:
    """M4: resets only, the leader alive and its lease good: nobody else leads meanwhile."""
    for seed in range(20):
        world = World(3, seed=seed)
        assert world.run_until(world.settled, 5)
        acting = world.leader()
        assert acting is not None
        others = [peer for peer in world.peers if peer != acting]
        world.cut_datagrams = {(acting, other) for other in others}  # its datagrams are lost
        for link in list(world.links.values()):
            if link.open and link.listener == acting:
                world._break(link, "reset")
        world.run(0.36)
        world.heal()
        world.run(2)  # World asserts at every event that at most one node may act
        assert world.settled()


def test_l4_the_leader_timer_starts_on_entering_following() -> None:
    """S36: a winner that dies before its first lease is missed after F, not never."""
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP)
    assert made.leader == THREE
    made.tick(LONG_UP + TIMING.follower_timeout_s)
    assert made.leader is None


# --- L5 -----------------------------------------------------------------------------------------------


def test_l5_a_lease_lost_for_longer_than_f_ends_the_office() -> None:
    made = leader()
    made.acknowledged(TWO, HeartbeatAck(1, 1))
    end = LONG_UP + TIMING.lease_s + TIMING.follower_timeout_s
    assert not any(isinstance(step, LostLeadership) for step in made.tick(end - 0.01))
    steps = made.tick(end + 0.01)
    assert isinstance(steps[0], LostLeadership), "it stops acting before anybody hears of it"
    assert {type(message) for message in _sent(steps)} == {Resign}


def test_l5_resign_voids_every_heartbeat_of_its_epoch_whenever_it_arrives() -> None:
    """M8: RESIGN overtaken by the last heartbeat."""
    made = voter()
    made.resigned(THREE, Resign(5), LONG_UP)
    assert heartbeat(made, THREE, 5, LONG_UP + 0.01) == ()
    assert made.leader is None
    heartbeat(made, THREE, 6, LONG_UP + 0.02)
    assert made.leader == THREE


def test_l5_resign_ends_the_guard_for_exactly_that_leader_and_epoch() -> None:
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP)
    made.resigned(TWO, Resign(5), LONG_UP + 0.01)
    made.resigned(THREE, Resign(4), LONG_UP + 0.01)
    assert made.guard_until > LONG_UP + 0.4
    made.resigned(THREE, Resign(5), LONG_UP + 0.02)
    assert propose(made, TWO, 6, LONG_UP + 0.03) == [Promise(6, 77, ELECTORATE.hash)]


def test_l5_a_resignation_that_comes_late_ends_no_following_of_the_next_epoch() -> None:
    """The same node leads again."""
    made = voter()
    heartbeat(made, TWO, 2, LONG_UP)
    assert made.resigned(TWO, Resign(1), LONG_UP + 0.01) == ()
    assert (made.leader, made.epoch) == (TWO, 2)


def test_l5_not_even_resign_ends_the_hold_off_after_a_start() -> None:
    made = voter()
    heartbeat(made, THREE, 5, 0.1)
    made.resigned(THREE, Resign(5), 0.2)
    assert propose(made, TWO, 6, 0.3) == []


def test_l5_a_planned_hand_over_serves_within_300_ms() -> None:
    """W10, and the stopping leader is not elected again."""
    world = World(5)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    before = world.now
    world.stop(acting)
    assert world.run_until(lambda: world.leader() not in {None, acting}, 0.3)
    assert world.now - before < 0.3
    assert world.run_until(lambda: acting in world.stopped, 2)


@pytest.mark.parametrize("seed", range(5))
def test_l5_a_voter_with_a_higher_accepted_epoch_makes_the_same_leader_renew_itself(seed: int) -> None:
    """M7: it would look for ever otherwise; the leader leads on within milliseconds."""
    world = World(3, seed=seed)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    cut = next(peer for peer in world.peers if peer != acting)
    world.crash(cut)
    disk = world.disks[cut]
    disk.record = msgspec.structs.replace(disk.record, accepted=7, promised_node=cut, promised_boot=1)
    world.start(cut)
    assert world.run_until(world.settled, 2)
    assert world.leader() == acting
    assert world.lives[acting].core.authority.leadership.epoch == 8


def test_l5_a_higher_leaders_own_heartbeat_ends_the_office_and_is_followed() -> None:
    """Not one of my own epoch, nor that of a node that does not vote."""
    world, acting = settled(3)
    rival = followers_of(world)[0]
    world.sent.clear()
    world.forge(rival, acting, Heartbeat(1, 99, TIMING.lease_s))
    world.forge(world.gateways[0], acting, Heartbeat(5, 99, TIMING.lease_s))
    world.run(0.01)
    assert world.leader() == acting
    assert Resign(1) not in said_by(world, acting)
    world.forge(rival, acting, Heartbeat(5, 99, TIMING.lease_s))
    world.run(0.01)
    assert world.leader() is None
    said = said_by(world, acting)
    assert Resign(1) in said
    assert HeartbeatAck(5, 99) in said[said.index(Resign(1)) :]


def claims_an_epoch(world: World, node: NodeId, claim: str, epoch: int) -> None:
    """This node tells the leader on its channel that this epoch is established, be it so or not."""
    channel = world.lives[node].core.work.channel_to(leader_of(world))
    assert channel is not None
    electorate = Electorate.of(world.cluster, world.peers)
    terms = Terms(world.cluster, node, world.role(node), "same", electorate)
    hello = terms.hello(
        boot=world.lives[node].boot, epoch=epoch, slots=2, java="", running=(), kept=(), draining=False
    )
    world._send_frame(node, channel, Fenced(epoch) if claim == "FENCED" else hello)


@pytest.mark.parametrize("claim", ["HELLO", "FENCED"])
def test_l5_a_voter_that_proves_a_higher_established_epoch_deposes_the_leader(claim: str) -> None:
    """It is believed, and the next epoch is above it. An epoch that is not higher proves nothing."""
    world, acting = settled(3)
    world.run(0.3)  # everybody has its channel
    voter = followers_of(world)[0]
    world.sent.clear()
    for epoch in (0, 1):
        claims_an_epoch(world, voter, claim, epoch)
    world.run(0.1)
    assert Resign(1) not in said_by(world, acting)
    claims_an_epoch(world, voter, claim, 6)
    world.run(0.01)
    assert Resign(1) in said_by(world, acting)
    assert world.run_until(world.settled, 2)
    assert epoch_of(world) > 6
    assert world.run_until(world.answered(world.ask("and work goes on")), 5)


@pytest.mark.parametrize("claim", ["HELLO", "FENCED"])
@pytest.mark.parametrize("who", ["gateway", "worker"])
def test_l5_what_those_who_do_not_vote_say_of_epochs_deposes_no_leader(who: str, claim: str) -> None:
    """A worker's or a gateway's certificate is no voice in elections, on a channel neither (E3)."""
    world, acting = settled(3)
    joined = NodeId(50)
    world.join(joined)
    assert world.run_until(lambda: world.lives[joined].core.work.snapshot().welcomed, 20)
    claims_an_epoch(world, joined if who == "worker" else world.gateways[0], claim, 6)
    world.run(2)
    assert world.settled()
    assert (leader_of(world), epoch_of(world)) == (acting, 1)
    assert Resign(1) not in said_by(world, acting)
    assert world.lives[acting].core.work.snapshot().refused == 1
    assert world.run_until(world.answered(world.ask("and work goes on")), 5)


# --- L6, L7 -------------------------------------------------------------------------------------------


def test_l6_of_one_epoch_only_one_leader_is_ever_followed() -> None:
    made = voter()
    heartbeat(made, THREE, 5, LONG_UP)
    made.abandon("test")
    assert heartbeat(made, TWO, 5, LONG_UP + 0.01) == ()
    assert made.leader is None


def test_e6_a_heartbeat_of_one_who_has_no_vote_is_nobodys() -> None:
    made = voter()
    assert heartbeat(made, NodeId(100), 1, LONG_UP) == ()
    assert made.leader is None
    assert made._ledger.record.fence_epoch == 0


def test_l6_the_fence_survives_a_crash() -> None:
    world = World(3)
    assert world.run_until(world.settled, 5)
    world.run(0.1)
    follower = next(peer for peer in world.peers if peer != world.leader())
    epoch = world.disks[follower].record.fence_epoch
    world.crash(follower)
    world.start(follower)
    assert epoch == 1
    assert world.lives[follower].core._ledger.record.fence_epoch == epoch


def test_l7_a_killed_leader_is_replaced_at_the_guards_end() -> None:
    """The broken channel is a hint: LOOKING at once; the guard alone is waited for."""
    for seed in range(10):
        world = World(5, seed=seed)
        assert world.run_until(world.settled, 5)
        world.run(1.0)  # the channels, whose breaking is the hint, are open
        acting = world.leader()
        assert acting is not None
        world.crash(acting)
        assert world.run_until(world.has_leader, TIMING.guard_s + 0.1)


def test_l7_a_silent_leader_is_replaced_after_f() -> None:
    world = World(5)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    world.partition([acting], [n for n in [*world.peers, *world.gateways] if n != acting])
    assert world.run_until(lambda: world.leader() not in {None, acting}, 1.2)


def test_l7_gossips_verdict_on_the_leader_ends_following_and_not_the_guard() -> None:
    """With F and G so long that gossip is the first to notice: a hint, like a broken channel."""
    timing = TimingSettings(lease_s=3.0, guard_s=3.3, follower_timeout_s=6.0)
    world, acting = settled(3, timing=timing)
    world.sent.clear()
    world.run(0.5)
    began = world.now
    world.partition([acting], followers_of(world) + world.gateways)
    assert world.run_until(lambda: world.leader() not in {None, acting}, timing.follower_timeout_s)
    for peer in [peer for peer in world.peers if peer != acting]:
        said = [(s.at, s.message) for s in world.sent if s.sender == peer]
        looked = min(at for at, m in said if isinstance(m, Notification) and m.state is State.LOOKING)
        acknowledged = max(at for at, m in said if isinstance(m, HeartbeatAck) and m.epoch == 1)
        promised = min(at for at, m in said if isinstance(m, Promise | Propose))
        assert began + 2 < looked < began + 3
        assert promised >= acknowledged + timing.guard_s


def test_l7_a_follower_cut_only_from_the_leader_deposes_nobody() -> None:
    """S31, S35: it claims nothing, disturbs nobody, and is back when the link is."""
    world = World(5)
    assert world.run_until(world.settled, 5)
    acting = world.leader()
    assert acting is not None
    lonely = next(peer for peer in world.peers if peer != acting)
    world.cut = {(acting, lonely), (lonely, acting)}
    world.run(10)
    assert world.leader() == acting
    assert world.lives[lonely].core.snapshot(world.now).leader is None
    world.heal()
    assert world.run_until(world.settled, 2)
    assert world.leader() == acting


def test_l7_without_a_quorum_nobody_leads_and_clients_are_told_so() -> None:
    """W11: within the queue timeout, with the reason; and the cluster serves again by itself."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    world.crash(one := world.peers[0])
    world.crash(other := world.peers[1])
    world.run(2)
    assert world.leader() is None
    request = world.ask("hello")
    assert world.run_until(world.answered(request), 10.5)
    refusal = world.answers[request].result
    assert isinstance(refusal, Refusal)
    assert "no quorum: 1 of 3 peers" in refusal.message
    world.start(one)
    world.start(other)
    assert world.run_until(world.settled, 3)
    request = world.ask("hello again")
    assert world.run_until(world.answered(request), 2)
    assert isinstance(world.answers[request].result, Outcome)


def test_two_leaders_in_a_row_die_and_every_client_gets_one_answer() -> None:
    world = World(5)
    assert world.run_until(world.settled, 5)
    requests = [world.ask(f"sleep 3 {i}") for i in range(4)]
    world.run(0.2)
    for _ in range(2):
        acting = world.leader()
        assert acting is not None
        world.crash(acting)
        assert world.run_until(world.has_leader, 2)
    assert world.run_until(world.answered(*requests), 15)
    assert all(isinstance(world.answers[request].result, Outcome) for request in requests)
