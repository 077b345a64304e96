"""Clauses that no scenario shows by itself, as another rule would hide their absence (L1-L5, N4-N6)."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from cluster.config import WorkSettings
from cluster.core.admission import Admission
from cluster.core.authority import Authority
from cluster.core.effects import Persist, Send
from cluster.core.events import DatagramArrived
from cluster.core.ledger import Ledger
from cluster.core.record import Record
from cluster.identity import MAX_EPOCH_JUMP, Boot, NodeId, State
from cluster.wire.messages import (
    Datagram,
    Heartbeat,
    Notification,
    Probe,
    ProbeReply,
    Promise,
    Propose,
    Refuse,
    Resign,
)
from tests.support.scenarios import cut_both, followers_of, said_by, settled
from tests.support.voter import ME, THREE, TIMING, TWO, VOTERS, Voter
from tests.support.world import World


def test_n4_l5_a_leader_resigns_at_the_storage_error_not_when_its_lease_is_over() -> None:
    """A renewal is what a leader writes; its disk fails, its lease would hold on."""
    voter = Voter()
    voter.establish()
    voter.disk = "fails"
    voter.note(accepted=voter.core.leadership.epoch + 3)
    assert voter.lost()
    assert voter.sayings(Resign)
    assert not voter.core.leadership.leading


def test_n4_a_voter_whose_disk_is_broken_promises_nothing_and_says_so_at_once() -> None:
    """Its next write might succeed; until it is known to, a promise would hang on it."""
    voter = Voter()
    voter.until(5)
    voter.disk = "fails"
    voter.hear(TWO, Propose(3, 77, VOTERS.hash))
    accepted, voter.disk = voter.ledger.record.accepted, "waits"
    voter.hear(TWO, Propose(9, 78, VOTERS.hash))
    assert voter.ledger.record.accepted == accepted
    assert [m for m in voter.sayings(Refuse) if isinstance(m, Refuse) and m.epoch == 9]


def test_l5_a_leader_that_renews_itself_does_not_act_meanwhile() -> None:
    """Its lease is of the old epoch, whose voters may have promised another by now."""
    voter = Voter()
    voter.establish()
    voter.disk = "waits"
    voter.note(accepted=voter.core.leadership.epoch + 3)
    assert voter.core.leadership.leading
    assert not voter.core.may_act(voter.now)
    assert voter.core.vouched_leader(voter.now)[0] is None


def test_i11_e6_a_leader_that_renews_itself_names_no_leader_in_a_ballot() -> None:
    """Not even to the voter whose word made it renew itself."""
    voter = Voter()
    voter.establish()
    voter.disk = "waits"
    voter.said.clear()
    voter.note()
    voter.note(accepted=voter.core.leadership.epoch + 3)
    voter.note()
    answers = [said for said in voter.sayings(Notification) if isinstance(said, Notification)]
    assert [(said.leader, said.epoch) for said in answers] == 2 * [(ME, 1)] + 4 * [(-1, 0)]


def test_l5_what_a_voter_that_follows_has_accepted_disturbs_no_leader() -> None:
    """It has a leader; only who is LOOKING could find none for ever."""
    voter = Voter()
    voter.establish()
    epoch = voter.core.leadership.epoch
    voter.note(accepted=epoch + 3, state=State.FOLLOWING)
    assert voter.core.may_act(voter.now)
    assert voter.core.leadership.epoch == voter.ledger.record.accepted == epoch


def test_l5_without_its_lease_a_higher_accepted_epoch_makes_it_resign() -> None:
    """It could not renew itself: a quorum no longer hears it."""
    voter = Voter()
    voter.establish()
    voter.until(voter.now + TIMING.lease_s + 0.05)
    assert voter.core.leadership.leading
    assert not voter.core.may_act(voter.now)
    voter.note(accepted=voter.core.leadership.epoch + 3)
    assert voter.lost()
    assert not voter.core.leadership.leading


@pytest.mark.parametrize("holds", [True, False])
def test_l5_who_has_accepted_the_leaders_own_epoch_disturbs_no_leader(holds: bool) -> None:
    """A follower that has just lost it, of whom no other was accepted: with the lease, and without."""
    voter = Voter()
    voter.establish()
    if not holds:
        voter.until(voter.now + TIMING.lease_s + 0.05)
    epoch, writes = voter.core.leadership.epoch, [e for e in voter.effects if isinstance(e, Persist)]
    voter.note(accepted=epoch)
    assert not voter.lost()
    assert voter.core.may_act(voter.now) == holds
    assert [e for e in voter.effects if isinstance(e, Persist)] == writes


def test_n1_l5_what_a_voter_of_another_list_has_accepted_disturbs_no_leader() -> None:
    voter = Voter()
    voter.establish()
    epoch = voter.core.leadership.epoch
    voter.note(accepted=epoch + 3, voters="another")
    assert not voter.lost()
    assert voter.core.may_act(voter.now)
    assert voter.core.leadership.epoch == voter.ledger.record.accepted == epoch


def test_n1_l5_what_who_has_no_vote_has_accepted_disturbs_no_leader() -> None:
    voter = Voter()
    voter.establish()
    epoch = voter.core.leadership.epoch
    word = voter.core.election.notification(State.LOOKING)
    voter.hear(NodeId(100), replace(word, accepted=epoch + 3))
    assert voter.core.may_act(voter.now)
    assert voter.core.leadership.epoch == voter.ledger.record.accepted == epoch


@pytest.mark.parametrize(
    ("sender", "higher", "voters"),
    [(TWO, 3, "another"), (NodeId(100), 3, VOTERS.hash), (TWO, 0, VOTERS.hash)],
    ids=["of another list", "of no voter", "of no higher epoch"],
)
def test_l1_a_leader_without_its_lease_resigns_for_no_proposal_that_it_could_not_grant(
    sender: NodeId, higher: int, voters: str
) -> None:
    voter = Voter()
    voter.establish()
    voter.until(voter.now + TIMING.lease_s + 0.05)
    assert not voter.core.may_act(voter.now)
    voter.hear(sender, Propose(voter.core.leadership.epoch + higher, 77, voters))
    assert not voter.lost()
    assert voter.core.leadership.leading
    assert not voter.sayings(Promise)


def test_n1_who_is_no_voter_any_longer_does_not_vote_whatever_its_record_says() -> None:
    """It voted once, and the list was changed with `init --voters`."""
    old = Record("c", NodeId(100), VOTERS.hash, boot=1, may_vote=True)
    core = Authority(TIMING, NodeId(100), VOTERS, Ledger(old), (), random.Random(1), 0.0)
    beat = DatagramArrived(TWO, Boot(1), 1, Heartbeat(1, 1, TIMING.lease_s))
    assert core.settle(10.0) == ()
    steps = core.receive(beat, 10.0)
    assert core.allegiance.leader == TWO
    assert core.state is State.OBSERVING
    writes = [step for step in steps if isinstance(step, Persist)]
    assert [then for write in writes for then in write.then] == []
    assert not [step for step in steps if isinstance(step, Send)]


def test_l1_the_epoch_is_above_every_one_that_a_refusal_told_of() -> None:
    voter = Voter()
    proposal = voter.propose()
    voter.hear(TWO, Refuse(proposal.epoch, proposal.nonce, 41, -1, 0))
    while voter.core.leadership.in_handshake:
        voter.until(voter.now + 0.05)
    voter.said.clear()
    assert voter.propose().epoch == 42


def test_l1_the_epoch_is_above_every_one_that_a_ballot_told_of() -> None:
    """Also when its voter is not for me any longer, or says something lower later."""
    voter = Voter()
    voter.note(accepted=41)
    voter.note(accepted=7)
    assert voter.propose().epoch == 42


def test_l1_who_promises_another_at_the_end_of_its_guard_proposes_itself_no_more() -> None:
    """The proposal had waited for the guard, as my own had (L4)."""
    voter = Voter()
    while not voter.core.leadership.in_handshake:
        voter.note()
        voter.until(voter.now + 0.05)
    voter.hear(TWO, Propose(5, 77, VOTERS.hash))
    assert not voter.sayings(Promise)
    voter.until(voter.core.allegiance.guard_until + 0.02)
    assert voter.sayings(Promise)
    assert not voter.sayings(Propose)


def test_l1_who_follows_another_in_its_handshake_is_made_no_leader_by_later_promises() -> None:
    """The others' promises were under way as it heard of a leader; both are of epochs that it may follow."""
    world = World(3)
    assert world.run_until(lambda: any(isinstance(sent.message, Propose) for sent in world.sent), 3)
    candidate = world.sent[-1].sender
    leader, other = [peer for peer in world.peers if peer != candidate]
    proposal = world.sent[-1].message
    assert isinstance(proposal, Propose)
    cut_both(world, candidate, leader, other)

    def hears(sender: NodeId, sequence: int, message: Datagram) -> None:
        boot = world.lives[sender].boot
        world.feed(candidate, DatagramArrived(sender, boot, sequence, message))

    hears(leader, 10_001, Heartbeat(proposal.epoch + 1, 1, TIMING.lease_s))
    world.run(0.01)
    world.sent.clear()
    for sequence, sender in enumerate((leader, other), 10_002):
        hears(sender, sequence, Promise(proposal.epoch, proposal.nonce, proposal.voters))
    world.run(TIMING.follower_timeout_s / 2)
    assert not [said for said in said_by(world, candidate) if isinstance(said, Heartbeat | Propose)]
    assert world.lives[candidate].core.snapshot(world.now).leader == leader


def test_l1_who_leads_by_the_end_of_its_guard_has_forgotten_what_waited_for_it() -> None:
    """The loop is late: the guard's end is seen only after the handshake is won."""
    voter = Voter()
    voter.now = 0.40
    voter.hear(TWO, Propose(9, 77, VOTERS.hash))
    assert not voter.sayings(Promise)
    for voter.now in (0.41, 0.47):
        voter.note()
    proposal = voter.sayings(Propose)[-1]
    assert isinstance(proposal, Propose)
    voter.hear(THREE, Promise(proposal.epoch, proposal.nonce, VOTERS.hash))
    voter.acknowledge()
    voter.until(0.5)
    assert voter.core.may_act(voter.now)
    assert not voter.sayings(Promise)
    assert voter.ledger.record.accepted == proposal.epoch


def test_l5_each_of_the_epochs_that_a_node_resigned_is_void() -> None:
    voter = Voter()
    for epoch in (5, 6):
        voter.hear(TWO, Resign(epoch))
    for epoch in (5, 6):
        voter.hear(TWO, Heartbeat(epoch, 1, TIMING.lease_s))
        assert voter.core.allegiance.leader is None
    voter.hear(TWO, Heartbeat(7, 1, TIMING.lease_s))
    assert voter.core.allegiance.leader == TWO


def test_l7_a_leader_below_the_accepted_epoch_is_told_of_only_while_it_is_heard() -> None:
    voter = Voter(accepted=9)
    voter.hear(TWO, Heartbeat(5, 1, TIMING.lease_s))
    assert voter.core.allegiance.lower_leader(voter.now) == (TWO, 5)
    voter.until(TIMING.follower_timeout_s + 0.1)
    assert voter.core.allegiance.lower_leader(voter.now) is None


def test_n6_one_heartbeat_far_above_ends_no_office() -> None:
    voter = Voter()
    voter.establish()
    voter.hear(THREE, Heartbeat(2**40, 1, TIMING.lease_s))
    assert voter.core.may_act(voter.now)


@pytest.mark.parametrize("seconds", [8, 11])
def test_n6_what_a_voter_says_for_long_of_what_it_accepted_counts_for_what_it_leads(seconds: int) -> None:
    """Its ballots came before its office: whoever heard them follows it at once."""
    voter = Voter()
    far = MAX_EPOCH_JUMP + 5
    for second in range(seconds + 1):
        voter.until(float(second))
        voter.note(accepted=far, vote=TWO)
    voter.hear(TWO, Heartbeat(far, 1, TIMING.lease_s))
    assert (voter.core.allegiance.leader == TWO) == (seconds >= TIMING.rejoin_s)


def test_l1_who_promises_another_as_its_leader_resigns_proposes_itself_no_more() -> None:
    """The RESIGN ends the guard, for which both the other's proposal and my own had waited (L4, L5)."""
    voter = Voter()
    voter.until(5)
    voter.hear(TWO, Heartbeat(1, 1, TIMING.lease_s))
    voter.perform(voter.core.suspect_leader(TWO, "its channel broke"))
    voter.perform(voter.core.settle(voter.now))
    while not voter.core.leadership.in_handshake:
        voter.note()
        voter.until(voter.now + 0.01)
    voter.hear(THREE, Propose(7, 77, VOTERS.hash))
    assert not voter.sayings(Promise)
    voter.hear(TWO, Resign(1))
    assert voter.sayings(Promise)
    voter.until(voter.now + 1)
    assert not voter.sayings(Propose)


def test_l3_a_leader_that_resigns_closes_the_channels_that_others_dialled() -> None:
    """Who has dialled learns at once, and says everything again to the next leader."""
    world, acting = settled(3)
    world.run(1)
    others = [link for link in world.links.values() if link.listener == acting and link.open]
    assert others
    world.stop(acting)
    world.run(0.05)
    assert not [link for link in others if link.open and acting in world.lives]


def test_l3_a_leader_without_its_lease_holds_no_more_than_it_is_set_to() -> None:
    """Whose frame finds no room has its channel closed, and says it again."""
    world, acting = settled(3, work=replace(WorkSettings(), held_max=6))
    world.run(1)
    world.cut_datagrams = {(follower, acting) for follower in followers_of(world)}
    assert world.run_until(lambda: world.leader() is None, 0.6)
    for number in range(40):
        world.ask(f"hello {number}")
    world.run(0.05)
    assert world.lives[acting].core.work._office.dispatch is not None
    assert len(world.lives[acting].core.work._office) <= 8  # and closings


@pytest.mark.parametrize(("told", "kept"), [(9, 9), (2**60, 5)])
def test_n5_the_vote_is_gained_with_the_highest_epoch_heard(told: int, kept: int) -> None:
    """What was promised before the disk was lost may be as high as any voter's; absurd it was not (N6)."""
    ledger = Ledger(Record("c", ME, VOTERS.hash, boot=1, may_vote=False))
    core = Admission(TIMING, ME, VOTERS, ledger, random.Random(1), 0.0)
    now = 0.0
    while ledger.record.accepted == 0 and now < 20:
        due = core.next_deadline()
        assert due is not None
        now = due
        for step in core.tick(now):
            if isinstance(step, Send) and isinstance(step.message, Probe):
                higher = step.to == TWO
                answer = ProbeReply(
                    step.message.nonce, told if higher else 5, 0 if higher else 5, VOTERS.hash
                )
                core.answered(step.to, answer, now)
    assert (ledger.record.accepted, ledger.record.may_vote) == (kept, True)
    assert now >= 10


def test_n5_a_leader_without_its_lease_answers_no_probe_as_one() -> None:
    """It may be the old one, of a partition, whose epoch tells nothing of what was promised since."""
    voter = Voter()
    voter.establish()
    voter.hear(TWO, Probe(1, VOTERS.hash))
    voter.until(voter.now + TIMING.lease_s + 0.05)
    assert voter.core.leadership.leading
    voter.hear(TWO, Probe(2, VOTERS.hash))
    leads = [message.leading_epoch for message in voter.said if isinstance(message, ProbeReply)]
    assert leads == [voter.core.leadership.epoch, 0]


@pytest.mark.parametrize("above", [MAX_EPOCH_JUMP, MAX_EPOCH_JUMP + 1])
def test_n6_a_proposal_of_an_epoch_far_above_is_promised_to_nobody(above: int) -> None:
    voter = Voter()
    voter.until(5)
    voter.hear(TWO, Propose(above, 77, VOTERS.hash))
    assert (voter.ledger.record.accepted == above) == (above <= MAX_EPOCH_JUMP)
