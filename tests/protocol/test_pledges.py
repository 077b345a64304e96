"""What a voter owes whom, in orders of events that no scenario has (N4, N5, L1-L6)."""

from __future__ import annotations

import math

import pytest

from cluster.core.effects import Persist
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import NO_EPOCH, Boot, Epoch, NodeId, State
from cluster.wire.messages import (
    Heartbeat,
    HeartbeatAck,
    Notification,
    Probe,
    ProbeReply,
    Promise,
    Propose,
    Refuse,
    Resign,
)
from tests.support.voter import ME, THREE, TIMING, TWO, VOTERS, Voter

NONCE = 77


def proposal(epoch: int) -> Propose:
    return Propose(Epoch(epoch), NONCE, VOTERS.hash)


def beat(epoch: int, seq: int = 1, lease_s: float = TIMING.lease_s) -> Heartbeat:
    return Heartbeat(Epoch(epoch), seq, lease_s)


def free(**record: object) -> Voter:
    """Long after its start: nothing is guarded."""
    voter = Voter(**record)
    voter.until(2 * TIMING.guard_s)
    voter.said.clear()
    return voter


def regain(voter: Voter, leader: NodeId = TWO, epoch: int = 5, higher: int = 5) -> None:
    """Observe until the vote is asked for: this leader answers, and the other says what it accepted."""
    (other,) = {TWO, THREE} - {leader}
    seq = 1000
    while voter.core.admission.needed:
        assert voter.now < 2 * TIMING.rejoin_s
        seq += 1
        voter.hear(leader, beat(epoch, seq))
        voter.said.clear()
        voter.until(voter.now + TIMING.resend_s)
        for asked in voter.sayings(Probe)[:1]:
            assert isinstance(asked, Probe)
            voter.hear(other, ProbeReply(asked.nonce, Epoch(higher), NO_EPOCH, VOTERS.hash))
            voter.hear(leader, ProbeReply(asked.nonce, Epoch(epoch), Epoch(epoch), VOTERS.hash))
    voter.said.clear()


def test_n5_who_has_lost_its_vote_promises_nothing_and_refuses_nothing() -> None:
    voter = free(may_vote=False)
    voter.hear(TWO, proposal(5))
    voter.until(voter.now + 2 * TIMING.guard_s)
    assert not voter.sayings(Promise)
    assert not voter.sayings(Refuse)
    assert not [effect for effect in voter.effects if isinstance(effect, Persist)]


def test_n4_no_heartbeat_is_acknowledged_before_the_fence_is_durable() -> None:
    """Not the second one either, of a leader that is followed already."""
    voter = free()
    voter.disk = "waits"
    for seq in (1, 2, 3):
        voter.hear(TWO, beat(1, seq))
    assert not voter.sayings(HeartbeatAck)
    voter.disk = "works"
    for write in voter.writes:
        voter.write(write)
    voter.hear(TWO, beat(1, 4))
    assert [ack.seq for ack in voter.sayings(HeartbeatAck) if isinstance(ack, HeartbeatAck)] == [1, 4]


def test_n4_who_comes_back_to_its_leader_acknowledges_nothing_before_the_fence_is_durable() -> None:
    """It follows it a second time; what it decided the first time is not yet on disk."""
    voter = free()
    voter.disk = "waits"
    voter.hear(TWO, beat(1))
    voter.perform(voter.core.suspect_leader(TWO, "its channel broke"))
    voter.hear(TWO, beat(1, 2))
    assert voter.core.allegiance.leader == TWO
    assert not voter.sayings(HeartbeatAck)
    voter.disk = "works"
    for write in voter.writes:
        voter.write(write)
    assert [ack.seq for ack in voter.sayings(HeartbeatAck) if isinstance(ack, HeartbeatAck)] == [1, 2]


def test_n5_who_gains_its_vote_acknowledges_nothing_before_that_is_durable() -> None:
    """After a crash in between it would be one that may not vote, and had been counted (N4)."""
    voter = free(may_vote=False)
    voter.hear(TWO, beat(5))
    voter.disk = "waits"
    regain(voter)
    assert voter.ledger.record.may_vote
    for seq in (2001, 2002):
        voter.hear(TWO, beat(5, seq))
    assert voter.core.state is State.OBSERVING
    assert not voter.sayings(HeartbeatAck)
    voter.disk = "works"
    for write in voter.writes:
        voter.write(write)
    voter.hear(TWO, beat(5, 2003))
    assert [ack.seq for ack in voter.sayings(HeartbeatAck) if isinstance(ack, HeartbeatAck)] == [2003]


def test_n5_the_epoch_with_which_a_vote_is_gained_is_promised_to_nobody() -> None:
    """Also not to the leader that it followed meanwhile: before the loss it was perhaps another's."""
    voter = free(may_vote=False)
    regain(voter, epoch=5, higher=9)
    assert (voter.ledger.record.may_vote, voter.ledger.record.accepted) == (True, 9)
    voter.perform(voter.core.suspect_leader(TWO, "its channel broke"))
    voter.hear(TWO, proposal(9))
    voter.until(voter.now + 2 * TIMING.guard_s)
    assert not voter.sayings(Promise)
    assert voter.sayings(Refuse)


def test_n5_e6_who_has_lost_its_vote_takes_no_part_in_a_ballot() -> None:
    """Whom it follows it tells nobody: that is for those who vote."""
    voter = free(may_vote=False)
    voter.note()
    voter.hear(TWO, beat(1))
    voter.note()
    voter.until(voter.now + TIMING.follower_timeout_s / 2)
    assert voter.core.allegiance.leader == TWO
    assert not voter.sayings(Notification)


@pytest.mark.parametrize("lease_s", [0.0, -1.0, 1.01 * TIMING.follower_timeout_s, 1e9, math.inf, math.nan])
def test_l3_a_lease_longer_than_f_or_none_is_nobodys_heartbeat(lease_s: float) -> None:
    """A follower would guard it for as long (L4)."""
    voter = free()
    voter.hear(TWO, beat(1, lease_s=lease_s))
    assert voter.core.allegiance.leader is None
    assert not voter.sayings(HeartbeatAck)


def test_l1_a_refusal_tells_what_is_accepted_on_disk() -> None:
    """N4: what may yet be lost in a crash is said to nobody."""
    voter = free()
    voter.disk = "waits"
    voter.hear(TWO, proposal(5))
    voter.hear(THREE, proposal(4))
    assert [said.accepted for said in voter.sayings(Refuse) if isinstance(said, Refuse)] == [0]


def test_l6_a_follower_goes_over_to_the_leader_of_a_higher_epoch() -> None:
    voter = free()
    voter.hear(TWO, beat(1))
    voter.hear(THREE, beat(2))
    assert (voter.core.allegiance.leader, voter.core.allegiance.epoch) == (THREE, 2)
    voter.hear(TWO, beat(1, 2))
    assert voter.core.allegiance.leader == THREE


def test_l1_a_proposal_that_outlived_its_handshake_while_it_waited_is_not_answered() -> None:
    voter = Voter()
    voter.hear(THREE, proposal(9))
    seq = 0
    while voter.now < TIMING.handshake_s:
        seq += 1
        voter.hear(TWO, beat(1, seq))
        voter.until(voter.now + TIMING.heartbeat_s)
    voter.until(voter.now + 2 * TIMING.follower_timeout_s)
    assert not voter.sayings(Promise)
    assert not voter.sayings(Refuse)


def test_l4_not_even_the_own_leaders_proposal_ends_the_hold_off_after_a_start() -> None:
    voter = Voter()
    voter.hear(TWO, beat(1))
    voter.hear(TWO, proposal(2))
    voter.until(TIMING.guard_s - 0.02)
    assert not voter.sayings(Promise)
    voter.until(TIMING.guard_s + 0.02)
    assert voter.sayings(Promise)


def test_l5_resign_is_said_three_times_to_everybody() -> None:
    voter = free()
    voter.establish()
    voter.perform(voter.core.stop("stopping"))
    assert len(voter.sayings(Resign)) == 2
    voter.until(voter.now + 10 * TIMING.heartbeat_s)
    assert len(voter.sayings(Resign)) == 3 * 2


def test_l5_a_leader_whose_renewal_nobody_promises_resigns() -> None:
    voter = free()
    voter.establish()
    voter.note(accepted=voter.core.leadership.epoch + 3)
    assert not voter.lost()
    while not voter.lost():
        assert not voter.core.may_act(voter.now)
        voter.until(voter.now + 0.05)
    assert [loss.reason for loss in voter.lost()] == ["the renewal was not promised in time"]


def test_n4_a_candidate_whose_disk_fails_gives_up_at_once() -> None:
    voter = free()
    voter.disk = "fails"
    while not voter.core.leadership.handshakes:
        voter.note()
        voter.until(voter.now + 0.05)
    assert not voter.core.leadership.in_handshake
    assert not voter.sayings(Propose)


def test_l5_a_new_leader_has_f_for_its_first_acknowledgement() -> None:
    voter = free()
    voter.until(20 * TIMING.follower_timeout_s)
    voter.promise(voter.propose())
    voter.until(voter.now + 0.9 * TIMING.follower_timeout_s)
    assert voter.core.leadership.leading
    voter.until(voter.now + 0.2 * TIMING.follower_timeout_s)
    assert voter.lost()


def test_l1_who_promises_another_counts_no_promise_for_itself_any_longer() -> None:
    voter = free()
    mine = voter.propose()
    voter.hear(THREE, proposal(mine.epoch + 1))
    assert voter.sayings(Promise)
    voter.promise(mine)
    assert not voter.core.leadership.leading


def test_n5_a_vote_is_not_gained_while_the_disk_is_broken() -> None:
    voter = free(may_vote=False)
    voter.disk = "fails"
    voter.hear(TWO, beat(1))
    assert voter.ledger.broken
    voter.until(voter.now + 2 * TIMING.resend_s)
    asked = voter.sayings(Probe)[-1]
    assert isinstance(asked, Probe)
    for other in (TWO, THREE):
        voter.hear(other, ProbeReply(asked.nonce, Epoch(0), Epoch(0), VOTERS.hash))
    assert not [e for e in voter.effects if isinstance(e, Persist) and e.record.may_vote]


def test_n1_a_probe_of_another_list_of_voters_is_not_answered() -> None:
    voter = free()
    voter.hear(TWO, Probe(NONCE, Electorate.of("d", (ME, TWO, THREE)).hash))
    assert not voter.sayings(ProbeReply)
    voter.hear(TWO, Probe(NONCE, VOTERS.hash))
    assert voter.sayings(ProbeReply)


def test_n4_a_probe_is_answered_with_what_is_on_disk() -> None:
    voter = free()
    voter.disk = "waits"
    voter.hear(TWO, proposal(5))
    voter.hear(THREE, Probe(NONCE, VOTERS.hash))
    assert [said.accepted for said in voter.sayings(ProbeReply) if isinstance(said, ProbeReply)] == [0]


def test_n4_a_disk_is_mended_when_the_last_write_asked_for_is_there() -> None:
    ledger = Ledger(Record("c", ME, VOTERS.hash, boot=1, may_vote=True))
    lost, first, last = (ledger.accept(Epoch(number), TWO, Boot(1)) for number in (1, 2, 3))
    ledger.failed(lost.token, 0.0)
    ledger.persisted(first.token)
    assert ledger.broken
    ledger.persisted(last.token)
    assert not ledger.broken


def test_l1_what_a_node_without_a_vote_refuses_raises_no_epoch() -> None:
    """E3: it is never counted."""
    voter = free()
    for sender in (NodeId(9), TWO):
        voter.hear(sender, Refuse(Epoch(1), NONCE, Epoch(700 if sender == 9 else 70), -1, NO_EPOCH))
    assert voter.propose().epoch == 71


def test_n4_a_proposal_that_comes_again_is_not_promised_before_the_disk_is_done() -> None:
    voter = free()
    voter.disk = "waits"
    for _ in range(3):
        voter.hear(TWO, proposal(5))
    assert not voter.sayings(Promise)
    voter.disk = "works"
    for write in voter.writes:
        voter.write(write)
    assert voter.sayings(Promise)


def test_l7_what_is_said_of_another_than_its_leader_ends_no_following() -> None:
    voter = free()
    voter.hear(TWO, beat(1))
    voter.perform(voter.core.suspect_leader(THREE, "its channel broke"))
    assert voter.core.allegiance.leader == TWO
    voter.perform(voter.core.suspect_leader(TWO, "its channel broke"))
    assert voter.core.allegiance.leader is None
