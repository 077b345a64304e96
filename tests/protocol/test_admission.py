"""Rule N5 (b): how long, and how well, a voter without its record must hear a leader before it votes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from cluster.config import TimingSettings
from cluster.core.admission import Admission
from cluster.core.effects import Persist, Send
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import NodeId
from cluster.wire.messages import Probe, ProbeReply
from tests.support.world import World

VOTERS = Electorate.of("c", [NodeId(1), NodeId(2), NodeId(3)])
LEADER = NodeId(3)
LONG_S = 40.0


def votes_at(
    reaches: Callable[[float], bool],
    late: Callable[[float], float] = lambda _at: 0.001,
    echoed: Callable[[int], int] = lambda nonce: nonce,
    epoch: Callable[[float], int] = lambda _at: 5,
    sender: NodeId = LEADER,
    voters: str = VOTERS.hash,
) -> float:
    """When node 1 gains its vote, 0 if never.

    Args:
        reaches: whether the leader's answer to what is asked at this moment arrives.
        late: how much later it does.
        echoed: the nonce in the answer to a question with this one.
        epoch: which it led when it was asked.
        sender: who answers.
        voters: the hash of its list of voters.
    """
    ledger = Ledger(Record("c", 1, VOTERS.hash, boot=1, may_vote=False))
    core = Admission(TimingSettings(), NodeId(1), VOTERS, ledger, random.Random(1), 0.0)
    now, coming = 0.0, list[tuple[float, ProbeReply]]()
    while now < LONG_S:
        coming.sort(key=lambda answer: answer[0])
        due = core.next_deadline()
        if due is not None and (not coming or due <= coming[0][0]):
            now, steps = due, core.tick(due)
        elif coming:
            now, answer = coming.pop(0)
            steps = core.answered(sender, answer, now)
        else:
            break
        for step in steps:
            if isinstance(step, Persist):
                return now
            if (
                isinstance(step, Send)
                and isinstance(step.message, Probe)
                and step.to == LEADER
                and reaches(now)
            ):
                leads = epoch(now)
                answer = ProbeReply(echoed(step.message.nonce), leads, leads, voters)
                coming.append((now + late(now), answer))
    return 0.0


def test_n5_a_leader_that_answers_all_the_time_is_enough_after_ten_seconds() -> None:
    assert 10.0 <= votes_at(lambda _at: True) < 10.5


def test_n5_a_leader_that_was_heard_once_is_not_enough() -> None:
    """Silence proves nothing: the majority may follow another by now, whom I promised this epoch (M6)."""
    assert votes_at(lambda at: at < 0.05) == 0
    assert votes_at(lambda at: at < 9.5) == 0


def test_n5_after_a_gap_of_f_the_ten_seconds_begin_anew() -> None:
    assert votes_at(lambda at: not 6.0 <= at < 6.65) >= 16.6
    assert votes_at(lambda at: not 9.9 <= at < 12.0) >= 22.0
    assert votes_at(lambda at: not 6.0 <= at < 6.35) < 10.5


def test_n5_answers_that_were_long_under_way_tell_of_when_they_were_asked_for() -> None:
    """A flood of old ones must not stand for a leader that is there now (X4)."""
    assert votes_at(lambda at: at < 5.0, late=lambda at: 2 * at) == 0
    assert votes_at(lambda at: 4.0 <= at < 9.9, late=lambda _at: 5.0) == 0


def test_n5_only_answers_to_its_own_fresh_questions_count() -> None:
    """X4: an answer from before, of this life or of an earlier one, proves nothing when it comes again."""
    assert votes_at(lambda _at: True, echoed=lambda nonce: nonce + 1) == 0
    asked: list[int] = []

    def those_of_five_seconds(nonce: int) -> int:
        asked.append(nonce)
        return asked[:50][-1]

    assert votes_at(lambda _at: True, echoed=those_of_five_seconds) == 0
    assert len(asked) > 100, "the last of them came again and again"


def test_n5_the_ten_seconds_are_of_one_epoch() -> None:
    """Between two of the same leader another may have led, to whom this voter had promised one."""
    assert votes_at(lambda _at: True, epoch=lambda at: 5 if at < 6.0 else 6) >= 16.0


def test_n5_the_ten_seconds_begin_when_the_first_answer_has_arrived() -> None:
    """A leader that answers late led at some moment since it was asked, perhaps only at the last one."""
    late = votes_at(lambda at: at < 0.05 or at > 4.9, late=lambda at: 5.0 if at < 0.05 else 0.001)
    assert late >= 15.0
    less_than_f = votes_at(lambda at: at < 0.05 or at > 0.45, late=lambda at: 0.5 if at < 0.05 else 0.001)
    assert less_than_f >= 10.5


def test_n5_an_answer_that_was_overtaken_takes_nothing_away() -> None:
    """It is no gap: what was asked for later has been answered already."""
    assert votes_at(lambda _at: True, late=lambda at: 3.0 if 3.0 <= at < 3.2 else 0.001) < 10.5


def test_n5_a_leader_all_of_whose_answers_take_longer_than_f_is_heard_without_a_gap() -> None:
    """A gap is between the moments in which was asked what it has answered."""
    late = 1.5 * TimingSettings().follower_timeout_s
    assert 10.0 + late <= votes_at(lambda _at: True, late=lambda _at: late) < 10.5 + 2 * late


def test_n5_the_highest_epoch_heard_is_no_lower_for_an_answer_that_was_overtaken() -> None:
    """What that voter has accepted never goes back (I3)."""
    ledger = Ledger(Record("c", 1, VOTERS.hash, boot=1, may_vote=False))
    core = Admission(TimingSettings(), NodeId(1), VOTERS, ledger, random.Random(1), 0.0)
    asked: list[int] = []
    while core.needed:
        now = core.next_deadline()
        assert now is not None
        assert now < LONG_S
        for step in core.tick(now):
            if isinstance(step, Send) and isinstance(step.message, Probe):
                if step.to == LEADER:
                    core.answered(LEADER, ProbeReply(step.message.nonce, 5, 5, VOTERS.hash), now)
                    continue
                asked.append(step.message.nonce)
                if len(asked) == 2:
                    core.answered(step.to, ProbeReply(asked[1], 9, 0, VOTERS.hash), now)
                    core.answered(step.to, ProbeReply(asked[0], 7, 0, VOTERS.hash), now)
    assert (ledger.record.may_vote, ledger.record.accepted) == (True, 9)


def test_n5_n1_only_a_voter_of_the_same_list_is_heard_as_the_leader() -> None:
    assert votes_at(lambda _at: True, sender=NodeId(100)) == 0
    assert votes_at(lambda _at: True, voters=Electorate.of("d", VOTERS.voters).hash) == 0


@pytest.mark.parametrize("voters", [VOTERS.hash, Electorate.of("d", VOTERS.voters).hash])
def test_n5_n1_that_every_voter_is_new_is_believed_of_those_of_the_same_list(voters: str) -> None:
    ledger = Ledger(Record("c", 1, VOTERS.hash, boot=1, may_vote=False))
    core = Admission(TimingSettings(), NodeId(1), VOTERS, ledger, random.Random(1), 0.0)
    for step in core.tick(0.0):
        assert isinstance(step, Send)
        assert isinstance(step.message, Probe)
        core.answered(step.to, ProbeReply(step.message.nonce, 0, 0, voters), 0.001)
    assert ledger.record.may_vote == (voters == VOTERS.hash)


@pytest.mark.parametrize("seed", range(1, 6))
def test_m6_who_heard_the_old_leader_once_and_then_nobody_promises_nothing_twice(seed: int) -> None:
    """N5: 2 promises epoch 2 to 3 and loses its disk while 5, who leads epoch 1, still has its lease.

    It hears 5 once more, is alone for longer than the wait, and is then asked for epoch 2 by 4 and 5. The
    world itself looks that an epoch has one leader.
    """
    two, five = NodeId(2), NodeId(5)
    world = World(5, seed=seed)
    assert world.run_until(world.settled, 5)
    assert world.leader() == five
    world.run(1.2)
    world.cut_datagrams |= between((2, 3), (4, 5))
    world.run(0.9)
    beats = world.lives[five].core.authority.leadership._acked
    acknowledged = beats[NodeId(1)]
    assert world.run_until(lambda: beats[NodeId(1)] > acknowledged, 0.2)
    world.cut_datagrams |= between((1,), (4, 5))
    for link in list(world.links.values()):
        if link.open and set(link.ends) == {1, 5}:
            world._break(link, "reset")
    assert world.run_until(lambda: world.disks[two].record.accepted == 2, 0.4)
    world.run(0.003)  # the promise arrives
    world.crash(two)
    world.disks[two].record = world.fresh_record(two, may_vote=False)
    world.cut_datagrams -= between((2,), (4, 5))
    world.run(0.02)
    world.start(two)
    admission = world.lives[two].core.authority.admission
    assert world.run_until(lambda: admission._leader is not None, 0.3), "5 is heard once"
    world.cut |= between((2,), (1, 3, 4, 5, 100)) | between((4, 5), (1, 3))
    world.run(15)
    assert not world.disks[two].record.may_vote
    world.cut -= between((2,), (4, 5))
    world.run(5)


def between(some: tuple[int, ...], others: tuple[int, ...]) -> set[tuple[NodeId, NodeId]]:
    """Both directions of each pair."""
    pairs = [(NodeId(one), NodeId(other)) for one in some for other in others]
    return {*pairs, *((other, one) for one, other in pairs)}
