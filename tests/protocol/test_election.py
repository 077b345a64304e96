"""Rules E1-E6: who should lead. Nothing here gives authority; that is `test_leadership.py`."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import TimingSettings
from cluster.core.effects import Elected, Send, Steps
from cluster.core.election import Election
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import Boot, Epoch, NodeId, State
from cluster.wire.messages import Datagram, Notification, Propose
from tests.support.scenarios import cut_both, everybody_but, followers_of, hash_of, settled
from tests.support.world import World

ME, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
VOTERS = (ME, TWO, THREE)
ELECTORATE = Electorate.of("c", VOTERS)
OF_FIVE = Electorate.of("c", (*VOTERS, NodeId(4), NodeId(5)))
HASH = ELECTORATE.hash
TIMING = TimingSettings()


def election(voters: Electorate = ELECTORATE, seed: int = 1, **record: object) -> Election:
    """Voter 1 of these (three, unless said otherwise), LOOKING at time 0."""
    base = Record("c", ME, voters.hash, boot=1, may_vote=True)
    ledger = Ledger(msgspec.structs.replace(base, **record))
    made = Election(TIMING, ME, voters, ledger, random.Random(seed))
    made.start(0.0)
    return made


def note(vote: int, **changes: object) -> Notification:
    """What a healthy LOOKING voter of round 1 says."""
    base = Notification(
        round=1,
        vote=vote,
        state=State.LOOKING,
        accepted=0,
        last_epoch=0,
        hears_quorum=True,
        eligible=True,
        leader=-1,
        epoch=0,
        resend_s=0.1,
        voters=HASH,
    )
    return msgspec.structs.replace(base, **changes)


def said(steps: Steps) -> list[tuple[NodeId, Notification]]:
    return [(s.to, s.message) for s in steps if isinstance(s, Send) and isinstance(s.message, Notification)]


def decided(steps: Steps) -> list[NodeId]:
    return [s.candidate for s in steps if isinstance(s, Elected)]


def due(made: Election) -> float:
    """When it has something to do."""
    deadline = made.next_deadline()
    assert deadline is not None
    return deadline


def test_e1_a_looking_voter_raises_its_round_votes_for_itself_and_tells_all_voters() -> None:
    base = Record("c", ME, HASH, boot=1, may_vote=True, accepted=9, fence_epoch=7)
    made = Election(TIMING, ME, Electorate.of("c", VOTERS), Ledger(base), random.Random(1))
    messages = said(made.start(0.0))
    assert [to for to, _ in messages] == [TWO, THREE]
    first = messages[0][1]
    assert (first.round, first.vote, first.state) == (1, ME, State.LOOKING)
    assert (first.accepted, first.last_epoch) == (9, 7)
    assert not first.hears_quorum


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(VOTERS[1:])), min_size=1, max_size=6))
def test_e1_the_vote_goes_to_the_highest_epoch_then_the_highest_id(seen: list[tuple[int, NodeId]]) -> None:
    """The order is lexicographic and total, whatever the order of arrival (S02)."""
    made = election(fence_epoch=4, accepted=4)
    newest: dict[NodeId, int] = {}
    for sequence, (epoch, voter) in enumerate(seen, start=1):
        made.receive(voter, Boot(1), sequence, note(voter, last_epoch=epoch), 0.0)
        newest[voter] = epoch
    best = max([(4, ME), *((epoch, voter) for voter, epoch in newest.items())])
    assert made.vote == best[1]


def test_n4_e1_an_epoch_whose_fence_is_not_on_disk_is_neither_said_nor_weighs() -> None:
    """All compare the same number of each voter: the one that it says."""
    ledger = Ledger(Record("c", ME, HASH, boot=1, may_vote=True))
    made = Election(TIMING, ME, ELECTORATE, ledger, random.Random(1))
    fence = ledger.fence(Epoch(9), THREE, Boot(1))
    made.start(0.0)
    assert (made.notification().accepted, made.notification().last_epoch) == (0, 0)
    made.receive(TWO, Boot(1), 1, note(TWO, last_epoch=5), 0.0)
    assert made.vote == TWO
    ledger.persisted(fence.token)
    made.tick(0.01)
    assert (made.notification().accepted, made.notification().last_epoch, made.vote) == (9, 9, ME)


def test_e2_a_higher_round_is_adopted_and_clears_the_tally() -> None:
    """The proposal is then the best of what is heard and myself, not the stale one (S01)."""
    made = election(fence_epoch=5, accepted=5)
    made.receive(TWO, Boot(1), 1, note(TWO, last_epoch=6), 0.0)
    assert made.vote == TWO
    steps = made.receive(TWO, Boot(1), 2, note(TWO, round=7, last_epoch=2), 0.01)
    assert (made.round, made.vote) == (7, ME)
    assert {message.round for _, message in said(steps)} == {7}


def test_e2_a_vote_of_the_round_before_carries_nobody_in_the_next_one() -> None:
    """Of five voters two are for 3 in the new round: the third was in the old one."""
    made = election(OF_FIVE)
    made.receive(TWO, Boot(1), 1, note(THREE, voters=OF_FIVE.hash), 0.0)
    made.receive(THREE, Boot(1), 1, note(THREE, voters=OF_FIVE.hash, round=2), 0.01)
    assert (made.round, made.vote) == (2, THREE)
    assert not decided(made.tick(0.01 + TIMING.finalize_s))
    made.receive(TWO, Boot(1), 2, note(THREE, voters=OF_FIVE.hash, round=2), 0.1)
    assert decided(made.tick(0.1 + TIMING.finalize_s)) == [THREE]


def test_e2_a_lower_round_is_answered_with_mine_and_not_counted() -> None:
    made = election()
    made.receive(TWO, Boot(1), 1, note(TWO, round=5), 0.0)
    steps = made.receive(THREE, Boot(1), 1, note(THREE, round=3), 0.0)
    assert (THREE, 5) in [(to, message.round) for to, message in said(steps)]
    assert THREE not in made._tally


def test_e2_who_is_a_round_behind_is_answered_each_time_and_nobody_else_is() -> None:
    """Also when its word changes nothing here, which all would be told of (E3)."""
    made = election()
    made.receive(TWO, Boot(1), 1, note(TWO, round=5), 0.0)
    made.receive(THREE, Boot(1), 1, note(THREE, round=3), 0.0)
    for sequence in (2, 3):
        steps = made.receive(THREE, Boot(1), sequence, note(THREE, round=3), 0.01)
        assert [(to, message.round) for to, message in said(steps)] == [(THREE, 5)]


def test_e2_of_one_voter_only_the_newest_word_counts() -> None:
    """A reordered old vote does not overwrite a newer one: (boot, sequence) decides."""
    made = election()
    made.receive(TWO, Boot(1), 9, note(TWO), 0.0)
    made.receive(TWO, Boot(1), 8, note(THREE), 0.0)
    assert made._tally[TWO] == TWO
    made.receive(TWO, Boot(2), 1, note(THREE), 0.0)
    assert made._tally[TWO] == THREE


def test_e3_it_repeats_itself_and_slows_down_to_a_bound_while_nobody_answers() -> None:
    made = election()
    now, gaps = 0.0, []
    for _ in range(20):
        gaps.append(due(made) - now)
        now = due(made)
        made.tick(now)
    assert gaps[0] <= TIMING.resend_s * 1.2
    assert max(gaps) <= TIMING.resend_max_s * 1.2
    assert gaps[-1] >= TIMING.resend_max_s * 0.8


def test_e3_no_two_voters_speak_in_step() -> None:
    """Each gap is within 20 % of its period, above and below it, and of all voters another one.

    No later than was announced, too: so long the others wait for the next word (E4).
    """
    shares: list[list[float]] = []
    for seed in range(20):
        made = election(OF_FIVE, seed)
        shares.append([])
        while len(shares[-1]) < 10:
            now = due(made)
            longest = said(made.tick(now))[0][1].resend_s
            shares[-1].append((due(made) - now) * 1.2 / longest)
    of_all = [share for voter in shares for share in voter]
    assert 0.8 <= min(of_all) < 0.85
    assert 1.15 < max(of_all) <= 1.2
    for at_once in zip(*shares, strict=True):
        assert len(set(at_once)) == len(shares)


def test_e3_any_sign_of_life_makes_it_quick_again() -> None:
    made = election()
    for moment in range(1, 20):
        made.tick(float(moment))
    made.receive(TWO, Boot(1), 1, note(TWO), 20.0)
    assert due(made) - 20.0 <= TIMING.resend_s * 1.2


def test_e3_a_sign_of_life_brings_what_was_put_off_forward() -> None:
    """Also one that changes nothing: of five voters, hearing one more is no quorum."""
    made = election(OF_FIVE)
    moment = 0.0
    while made._period < TIMING.resend_max_s:
        made.tick(moment := due(made))
    made.tick(moment := due(made))
    word = note(TWO, voters=OF_FIVE.hash, hears_quorum=False)
    assert not said(made.receive(TWO, Boot(1), 1, word, moment))
    assert TIMING.resend_s * 0.8 <= due(made) - moment <= TIMING.resend_s * 1.2
    assert said(made.tick(due(made)))


def test_e3_the_next_ballot_begins_as_quick_as_the_first() -> None:
    """However slow the last one was when it ended."""
    made = election()
    for _ in range(20):
        made.tick(due(made))
    made.stop()
    made.start(100.0)
    assert TIMING.resend_s * 0.8 <= due(made) - 100.0 <= TIMING.resend_s * 1.2


def test_e3_a_change_is_said_at_once() -> None:
    """Hearing a quorum is told when it happens, not at the next resend (V4)."""
    made = election()
    steps = made.receive(TWO, Boot(1), 1, note(TWO), 0.01)
    assert {message.hears_quorum for _, message in said(steps)} == {True}


def test_e3_that_it_hears_a_quorum_or_none_is_said_at_once_also_when_its_vote_stays() -> None:
    """The others may vote for who hears one, and withdraw their vote from who does not (E4)."""
    mine = election()
    steps = mine.receive(TWO, Boot(1), 1, note(TWO, eligible=False), 0.01)
    assert [(to, message.vote, message.hears_quorum) for to, message in said(steps)] == [
        (TWO, ME, True),
        (THREE, ME, True),
    ]
    silent = 0.01 + 3 * 0.1
    while due(mine) < silent:
        mine.tick(due(mine))
    steps = mine.tick(silent)
    assert [(to, message.vote, message.hears_quorum) for to, message in said(steps)] == [
        (TWO, ME, False),
        (THREE, ME, False),
    ]


def test_e3_nodes_without_a_vote_are_answered_seldom_and_never_counted() -> None:
    made = election()
    stranger = NodeId(100)
    reply = made.notification(State.FOLLOWING, TWO, 3)
    assert said(made.answer(stranger, note(TWO), reply, 1.0))
    assert not said(made.answer(stranger, note(TWO), reply, 1.1))
    made.receive(stranger, Boot(1), 1, note(TWO), 1.2)
    assert stranger not in made._heard


def test_e4_only_a_healthy_candidate_that_hears_a_quorum_gets_a_vote() -> None:
    for fault in ({"hears_quorum": False}, {"eligible": False}, {"state": State.FOLLOWING}):
        made = election()
        made.receive(THREE, Boot(1), 1, note(THREE, **fault), 0.0)
        assert made.vote == ME, fault


def test_e4_a_vote_is_withdrawn_in_the_same_round_when_the_candidate_falls_silent() -> None:
    """The dead do not win again and again (M9)."""
    made = election()
    made.receive(THREE, Boot(1), 1, note(THREE), 0.0)
    made.receive(TWO, Boot(1), 1, note(THREE), 0.25)
    assert made.vote == THREE
    steps = made.tick(0.31)
    assert (made.vote, made.round) == (TWO, 1)
    assert {message.vote for _, message in said(steps)} == {TWO}


@pytest.mark.parametrize("announced", [1e9, float("inf")])
def test_e4_nobodys_word_counts_for_longer_than_the_longest_period_allows(announced: float) -> None:
    """A voter speaks at least each second (E3), whatever it announces."""
    made = election()
    made.receive(THREE, Boot(1), 1, note(THREE, resend_s=announced), 0.0)
    assert made.vote == THREE
    made.tick(3 * 1.2 * TIMING.resend_max_s + 0.001)
    assert made.vote == ME
    assert not made.hears_quorum()


def test_e4_a_failed_handshake_cools_its_candidate_down() -> None:
    """Nobody answers 3: it says that it is no candidate, for one second to two."""
    world = World(3)

    def said_at(*kinds: type[Datagram]) -> list[tuple[float, Datagram]]:
        return [(s.at, s.message) for s in world.sent if s.sender == THREE and isinstance(s.message, kinds)]

    assert world.run_until(lambda: bool(said_at(Propose)), 3)
    cut_both(world, THREE, *everybody_but(world, THREE))
    began = world.now
    world.run(4)
    words = [(at, m.eligible) for at, m in said_at(Notification) if isinstance(m, Notification)]
    cool_at = next(at for at, eligible in words if not eligible)
    again_at = next(at for at, eligible in words if eligible and at > cool_at)
    assert cool_at - began == pytest.approx(TIMING.handshake_s, abs=0.05)
    assert TIMING.cool_down_min_s <= again_at - cool_at <= TIMING.cool_down_max_s


def test_e4_who_cools_down_says_so_until_that_is_over() -> None:
    made = election()
    made.receive(TWO, Boot(1), 1, note(ME, last_epoch=0, eligible=False), 0.0)
    steps = made.cool_down(0.0)
    assert all(not message.eligible for _, message in said(steps))
    made.tick(0.9)
    assert not made.is_eligible()
    made.tick(2.1)
    assert made.is_eligible()


def test_e4_no_two_candidates_cool_down_for_the_same_time() -> None:
    """Or two that failed at once would come back at once, and for ever."""
    ends = set()
    for seed in range(20):
        made = election(seed=seed)
        made.cool_down(0.0)
        assert TIMING.cool_down_min_s <= made._cool_until <= TIMING.cool_down_max_s
        ends.add(made._cool_until)
    assert len(ends) == 20


def test_e4_who_stops_or_may_not_vote_announces_it_for_good() -> None:
    stopping = election()
    stopping.stopping = True
    assert not stopping.notification().eligible
    assert not election(may_vote=False).notification().eligible


def test_e5_a_quorum_waits_for_a_fixed_deadline_and_counts_again() -> None:
    made = election()
    assert not decided(made.receive(TWO, Boot(1), 1, note(TWO), 0.0))
    # A steady stream of words does not put the decision off (D2), and none of them is dropped (D1).
    for sequence in range(2, 6):
        assert not decided(made.receive(TWO, Boot(1), sequence, note(TWO), sequence * 0.009))
    assert decided(made.tick(0.051)) == [TWO]


def test_e5_a_better_candidate_starts_the_wait_anew() -> None:
    made = election()
    made.receive(TWO, Boot(1), 1, note(TWO), 0.0)
    made.receive(THREE, Boot(1), 1, note(THREE), 0.04)
    assert not decided(made.tick(0.06))
    assert decided(made.tick(0.091)) == [THREE]


def test_e5_nobody_waits_for_the_handshake_of_one_that_it_no_longer_votes_for() -> None:
    made = election()
    made.receive(TWO, Boot(1), 1, note(TWO), 0.0)
    assert decided(made.tick(0.051)) == [TWO]
    made.receive(THREE, Boot(1), 1, note(THREE), 0.1)
    assert made.vote == THREE
    assert decided(made.tick(0.151)) == [THREE]


def test_e5_a_quorum_that_was_gone_meanwhile_waits_anew() -> None:
    mine = election(accepted=5, fence_epoch=5)
    mine.receive(TWO, Boot(1), 1, note(ME), 0.0)
    mine.receive(TWO, Boot(1), 2, note(TWO), 0.02)
    mine.receive(TWO, Boot(1), 3, note(ME), 0.04)
    assert not decided(mine.tick(0.06))
    assert decided(mine.tick(0.091)) == [ME]


def test_e5_a_quorum_that_is_gone_at_the_deadline_decides_nothing() -> None:
    made = election()
    made.receive(TWO, Boot(1), 1, note(ME), 0.0)
    made.receive(TWO, Boot(1), 2, note(TWO, eligible=False), 0.04)
    assert not decided(made.tick(0.06))


def test_e5_the_vote_of_one_who_follows_meanwhile_counts_no_longer() -> None:
    mine = election(accepted=5, fence_epoch=5)
    mine.receive(TWO, Boot(1), 1, note(ME), 0.0)
    mine.receive(TWO, Boot(1), 2, note(ME, state=State.FOLLOWING), 0.01)
    assert not decided(mine.tick(TIMING.finalize_s + 0.01))


def test_e5_the_vote_of_one_who_fell_silent_counts_no_longer() -> None:
    """Also when another is heard, so that a quorum is (E1)."""
    mine = election(accepted=5, fence_epoch=5)
    mine.receive(THREE, Boot(1), 1, note(THREE, eligible=False), 0.0)
    mine.receive(TWO, Boot(1), 1, note(ME, resend_s=0.001), 0.0)
    assert not decided(mine.tick(TIMING.finalize_s + 0.01))


def test_e5_who_is_no_candidate_is_not_decided_for_by_others_votes() -> None:
    mine = election(accepted=5, fence_epoch=5)
    mine.cool_down(0.0)
    mine.receive(TWO, Boot(1), 1, note(ME, round=mine.round, eligible=False), 0.0)
    moment = TIMING.finalize_s + 0.001
    assert moment < TIMING.cool_down_min_s
    assert not decided(mine.tick(moment))


def test_e4_that_it_is_no_candidate_any_longer_is_said_at_once() -> None:
    mine = election()
    mine.stopping = True
    assert [message.eligible for _, message in said(mine.tick(0.001))] == [False, False]


def test_e5_without_a_proposal_within_a_second_the_next_round_begins() -> None:
    made = election()
    made.receive(TWO, Boot(1), 1, note(TWO), 0.0)
    assert decided(made.tick(0.051)) == [TWO]
    made.receive(TWO, Boot(1), 2, note(TWO), 1.0)
    made.tick(1.052)
    assert made.round == 2


def test_e6_a_looking_node_follows_a_leaders_own_heartbeat_without_an_election() -> None:
    """A late starter joins the live leader, also with a higher id (S04, course bug: it never did)."""
    world = World(5)
    world.crash(NodeId(5))
    assert world.run_until(world.settled, 5)
    leader = world.leader()
    epoch = world.lives[NodeId(4)].core.authority.leadership.epoch
    world.start(NodeId(5))
    assert world.run_until(world.settled, 1)
    assert world.leader() == leader == NodeId(4)
    assert world.lives[NodeId(4)].core.authority.leadership.epoch == epoch


def test_e6_a_restarted_voter_of_any_id_joins_within_a_second() -> None:
    """S06, S17."""
    world = World(5)
    assert world.run_until(world.settled, 5)
    for peer in [p for p in world.peers if p != world.leader()]:
        world.crash(peer)
        world.run(0.5)
        world.start(peer)
        assert world.run_until(world.settled, 1), peer


def test_e6_who_leads_or_follows_answers_a_ballot_with_what_it_follows() -> None:
    """And nothing but a ballot, or two that follow would answer each other for ever."""
    world, acting = settled(3)
    asking, follower = followers_of(world)
    world.sent.clear()
    for node in (acting, follower):
        world.forge(asking, node, note(asking, voters=hash_of(world)))
        world.forge(asking, node, note(asking, state=State.FOLLOWING, voters=hash_of(world)))
    world.run(0.005)
    answers = [(s.sender, s.to, s.message) for s in world.sent if isinstance(s.message, Notification)]
    assert {(node, to, m.state, m.leader, m.epoch) for node, to, m in answers} == {
        (acting, asking, State.LEADING, acting, 1),
        (follower, asking, State.FOLLOWING, acting, 1),
    }
    assert len(answers) == 2


def test_e6_nobody_follows_on_hearsay() -> None:
    """Others' words about a leader change nothing (S03, S05, S25)."""
    world = World(3)
    world.crash(THREE)
    world.crash(TWO)
    world.run(0.1)
    core = world.lives[ME].core
    for _ in range(5):
        world.start(TWO)
        world.forge(TWO, ME, note(THREE, state=State.FOLLOWING, leader=3, epoch=5, voters=hash_of(world)))
        world.crash(TWO)
        world.run(0.05)
    assert core.authority.allegiance.leader is None
