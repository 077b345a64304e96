"""The rules of gossip, one by one (G1-G6), and the scenarios that they are there for."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pytest

from cluster.core.effects import FetchFacts, Level, Log, MemberFailed, MemberRecovered, Send
from cluster.core.membership import Membership
from cluster.identity import Boot, NodeId, State, Status
from cluster.limits import FACTS_MAX
from cluster.wire.codec import encode_datagram
from cluster.wire.messages import FactsDelta, FactsWanted, Gossip, GossipEntry, NodeFacts
from tests.support.gossip_net import SETTINGS, GossipNet, T, facts_of, member, round_trip

BOOT = Boot(1000)


def entry(node: int, heartbeat: int, *, boot: int = 1000, version: int = 0, **more: bool) -> GossipEntry:
    return GossipEntry(node, boot, heartbeat, version, **more)


def say(
    mine: Membership, sender: int, *entries: GossipEntry, now: float, ask: bool = False, reply: bool = False
) -> tuple[object, ...]:
    """`sender` gossips these rows."""
    return mine.receive(NodeId(sender), Boot(entries[0].boot), Gossip(entries, ask, reply), now)


def sends(steps: tuple[object, ...]) -> list[Send]:
    return [step for step in steps if isinstance(step, Send)]


def rows(send: Send) -> dict[int, GossipEntry]:
    assert isinstance(send.message, Gossip)
    return {row.node: row for row in send.message.entries}


def run_to(mine: Membership, until: float) -> list[object]:
    """Tick whenever due."""
    steps: list[object] = []
    while mine.next_deadline() <= until:
        steps.extend(mine.tick(mine.next_deadline()))
    mine.validate()
    return steps


def keep_talking(mine: Membership, node: int, until: float, start: float = 0.5) -> list[object]:
    """`node` speaks once a round, and the clock runs."""
    steps: list[object] = []
    for beat in itertools.count(1):
        now = start + (beat - 1) * T
        if now > until:
            return steps + run_to(mine, until)
        steps.extend(run_to(mine, now))
        steps.extend(mine.heard(NodeId(node), BOOT, now))
    raise AssertionError


def crowded(count: int, *silent: int, now: float = 0.1) -> Membership:
    """A node that hears of so many, whose rows are long, from node 2, and nothing of the silent."""
    mine = member(1, (2, *silent))
    keep_talking(mine, 2, now)
    for start in range(3, 3 + count, 20):
        news = [entry(n, 2**40 + n**4, boot=1000 + 7**n % 2**28) for n in range(start, start + 20)]
        say(mine, 2, entry(2, start), *news, now=now)
    return mine


def test_g1_each_round_raises_the_heartbeat_and_reaches_three_peers_own_row_first() -> None:
    mine = member(1, range(2, 12))
    for beat in range(1, 5):
        sent = sends(mine.tick(mine.next_deadline()))
        assert len({send.to for send in sent}) == len(sent) == 3
        for send in sent:
            assert isinstance(send.message, Gossip)
            assert send.message.entries[0] == entry(1, beat, version=1)
    assert mine.next_deadline() == 4 * T


def test_g1_who_says_less_than_is_known_gets_that_in_reply() -> None:
    mine = member(1, range(2, 12))
    say(mine, 2, entry(2, 7), entry(3, 9), entry(4, 6, boot=1001), entry(5, 3), now=0.1)
    behind = entry(3, 8), entry(4, 50), entry(2, 7), entry(6, 1), entry(1, 0)
    [reply] = sends(say(mine, 5, entry(5, 4), *behind, now=0.2))
    assert reply == Send(
        NodeId(5), Gossip((entry(1, 0, version=1), entry(3, 9), entry(4, 6, boot=1001)), reply=True)
    )


def test_g1_who_knows_as_much_gets_no_reply_and_nobody_replies_to_a_reply() -> None:
    mine = member(1, range(2, 12))
    say(mine, 2, entry(2, 7), entry(3, 9), now=0.1)
    assert not sends(say(mine, 2, entry(2, 8), entry(3, 9), now=0.2))
    assert not sends(say(mine, 2, entry(2, 9), entry(3, 10), now=0.3))
    assert not sends(say(mine, 2, entry(2, 10), entry(3, 1), now=0.4, reply=True))


def test_g1_nobody_replies_where_three_rounds_reach_everybody() -> None:
    for others in (9, 10):
        mine = member(1, range(2, 2 + others))
        say(mine, 2, entry(2, 7), entry(3, 9), now=0.1)
        assert len(sends(say(mine, 2, entry(2, 8), entry(3, 1), now=0.2))) == (others > 9)


def test_g3_a_failed_node_is_not_passed_on_in_a_reply_either() -> None:
    mine = member(1, range(2, 12))
    say(mine, 2, entry(2, 1), entry(3, 9), now=0.1)
    keep_talking(mine, 2, 11 * T)
    assert mine.status(NodeId(3)) is Status.FAILED
    assert not sends(say(mine, 2, entry(2, 50), entry(3, 8), now=11.2 * T))


def test_g1_who_is_behind_of_a_row_twice_or_disorderly_gets_it_once_in_order() -> None:
    mine = member(1, range(2, 12))
    say(mine, 2, entry(2, 7), entry(3, 9), entry(4, 9), now=0.1)
    [reply] = sends(say(mine, 2, entry(2, 8), entry(4, 1), entry(3, 1), entry(4, 2), now=0.2))
    assert isinstance(reply.message, Gossip)
    assert [row.node for row in reply.message.entries] == [1, 3, 4]


def test_g1_who_asks_gets_an_answer_and_no_reply_beside_it() -> None:
    mine = member(1, range(2, 12))
    say(mine, 2, entry(2, 7), entry(3, 9), now=0.1)
    [answer] = sends(say(mine, 2, entry(2, 8), entry(3, 1), now=0.5, ask=True))
    assert isinstance(answer.message, Gossip)
    assert not answer.message.reply


def test_g1_an_older_life_and_a_node_without_a_row_get_no_reply() -> None:
    full = member(1, range(2, 12), settings=msgspec.structs.replace(SETTINGS, table_max=10))
    say(full, 2, entry(2, 7), entry(3, 9), now=0.1)
    assert not sends(say(full, 99, entry(99, 1), entry(3, 1), now=0.2))
    assert not sends(say(full, 2, entry(2, 50, boot=999), entry(3, 1), now=0.2))
    assert sends(say(full, 2, entry(2, 8), entry(3, 1), now=0.2))


def test_g6_a_round_and_the_replies_until_the_next_have_a_price() -> None:
    """However much a node is told that it knows better (amplification)."""
    mine = member(1, range(2, 12))
    say(mine, 2, entry(2, 7), entry(3, 9), now=0.1)
    for beat in (1, 2):
        said = len(sends(mine.tick(mine.next_deadline())))
        told = [say(mine, 2, entry(2, 7), entry(3, 1), now=beat - 0.9) for _ in range(50)]
        assert said + sum(len(sends(steps)) for steps in told) == 18


def test_g6_a_reply_is_one_datagram_however_far_behind_the_other_is() -> None:
    mine = member(1, (2,))
    for start in range(3, 303, 20):
        news = [entry(n, 2**40 + n**4, boot=1000 + 7**n % 2**28) for n in range(start, start + 20)]
        say(mine, 2, entry(2, start), *news, now=0.1)
    assert len(mine.snapshot(0.1).members) == 302
    [reply] = sends(say(mine, 2, entry(2, 400), *(entry(n, 1, boot=1) for n in range(3, 303)), now=0.2))
    message = round_trip(reply.message)  # type: ignore[arg-type]
    assert isinstance(message, Gossip)
    assert 50 < len(message.entries) < 250


@pytest.mark.parametrize("count", range(980, 1_240, 20))
def test_g6_answers_take_no_rows_turn_in_the_rounds(count: int) -> None:
    """Of 16 datagrams, twelve a round and four to who asks between two rounds: all in turn nevertheless."""
    mine = crowded(count)
    seen: Counter[int] = Counter()
    for beat in range(1, 9):
        say(mine, 2, entry(2, 2_000 + beat), now=beat - 0.5, ask=True)
        for send in sends(mine.tick(float(beat))):
            if isinstance(send.message, Gossip) and not send.message.ask:
                seen.update(row.node for row in send.message.entries[1:])
    assert len(seen) == count + 1
    assert max(seen.values()) - min(seen.values()) <= 1


def test_g6_who_asks_gets_a_share_of_a_large_table_and_the_next_one_the_next() -> None:
    mine = crowded(1_160)
    first, second = (
        sends(say(mine, 2, entry(2, 2_000 + beat), now=float(beat), ask=True)) for beat in (1, 2)
    )
    assert len(first) == len(second) == 4
    told = [{node for send in answer for node in rows(send)} - {1} for answer in (first, second)]
    assert not told[0] & told[1]


def test_g6_one_datagram_is_enough_to_find_a_failed_node_again() -> None:
    lost = range(5_000, 5_400)
    mine = crowded(1_160, *lost, now=8.5)
    keep_talking(mine, 2, 14.0, 9.0)
    assert mine.status(NodeId(lost[0])) is Status.FAILED
    assert mine.status(NodeId(3)) is not Status.FAILED
    ticks = [sends(mine.tick(mine.next_deadline())) for _ in range(10)]
    tried = [sum(mine.status(send.to) is Status.FAILED for send in sent) for sent in ticks]
    assert max(tried) == 1


def test_g6_a_very_short_interval_can_be_told() -> None:
    mine = member(1, (2,), settings=msgspec.structs.replace(SETTINGS, interval_s=0.0004))
    [send] = sends(mine.tick(mine.next_deadline()))
    assert isinstance(send.message, Gossip)
    assert send.message.interval_ms == 1


def test_g6_rows_ascend_and_are_told_in_rounds_of_the_senders_interval() -> None:
    mine = member(1, (9, 4, 6), settings=msgspec.structs.replace(SETTINGS, interval_s=0.25))
    say(mine, 9, entry(9, 1), entry(4, 1), entry(7, 1), entry(3, 1), now=0.1)
    for send in sends(mine.tick(mine.next_deadline())):
        assert isinstance(send.message, Gossip)
        assert [row.node for row in send.message.entries] == [1, 3, 4, 7, 9]
        assert send.message.interval_ms == 250


def test_g3_a_suspicion_travels_with_the_row() -> None:
    mine = member(1, (2, 3))
    for beat in (1, 2):
        say(mine, 2, entry(2, beat), entry(3, beat), now=0.1)
    keep_talking(mine, 2, 7 * T)
    assert mine.status(NodeId(3)) is Status.SUSPECT
    told = {n: row for send in sends(mine.tick(8 * T)) for n, row in rows(send).items()}
    assert (told[2].suspected, told[3].suspected) == (False, True)


def test_g1_nobody_gets_a_second_turn_before_all_had_one() -> None:
    mine = member(1, range(2, 11))
    turns = [send.to for _ in range(3) for send in sends(mine.tick(mine.next_deadline()))]
    assert sorted(turns) == list(range(2, 11))


def test_g1_a_tiny_cluster_never_misses_its_only_peers_s40() -> None:
    for others in ((2,), (2, 3), (2, 3, 4)):
        mine = member(1, others)
        for _ in range(9):
            gossip = [s for s in sends(mine.tick(mine.next_deadline())) if len(rows(s)) == 1]
            assert set(others) <= {send.to for send in gossip}


def test_g1_a_failed_peer_is_still_tried_now_and_then() -> None:
    mine = member(1, (2, 3))
    assert MemberFailed(NodeId(3)) in keep_talking(mine, 2, 11.0)
    steps = keep_talking(mine, 2, 40.0, start=11.5)
    tries = [step for step in steps if isinstance(step, Send) and step.to == 3]
    assert 5 <= len(tries) <= 25
    assert all(isinstance(send.message, Gossip) and send.message.ask for send in tries)


def test_g2_the_higher_boot_and_heartbeat_wins_and_is_logged_in_the_original_words() -> None:
    mine = member(2, (1, 3))
    say(mine, 1, entry(1, 5), entry(3, 40), now=123.0)
    steps = say(mine, 1, entry(1, 6), entry(3, 41), now=123.456)
    line = "2: updated 3's heartbeat sequence to 41 based on message from 1 at node time 123456"
    assert Log(Level.VERBOSE, line) in steps
    say(mine, 1, entry(1, 7), entry(3, 39), entry(3, 99, boot=999), now=124.0)
    view = mine.snapshot(124.0).members[2]
    assert (view.boot, view.heartbeat) == (1000, 41)
    say(mine, 1, entry(1, 8), entry(3, 0, boot=1001), now=125.0)
    view = mine.snapshot(125.0).members[2]
    assert (view.boot, view.heartbeat) == (1001, 0)


def test_g2_first_sight_is_unknown_until_it_rises_s42() -> None:
    mine = member(2, (1,))
    say(mine, 1, entry(1, 5), entry(3, 40), now=0.1)
    assert mine.status(NodeId(3)) is Status.UNKNOWN
    say(mine, 1, entry(1, 6), entry(3, 40), now=0.2)
    assert mine.status(NodeId(3)) is Status.UNKNOWN
    steps = say(mine, 1, entry(1, 7), entry(3, 41), now=0.3)
    assert mine.status(NodeId(3)) is Status.ALIVE
    assert MemberRecovered(NodeId(3)) in steps


def test_g2_who_speaks_directly_is_alive() -> None:
    mine = member(2, (1,))
    say(mine, 1, entry(1, 5), now=0.1)
    assert mine.status(NodeId(1)) is Status.ALIVE
    assert MemberRecovered(NodeId(4)) in mine.heard(NodeId(4), BOOT, 0.2)
    assert mine.status(NodeId(4)) is Status.ALIVE


def test_g2_a_replayed_heartbeat_does_not_wake_the_dead_s42() -> None:
    mine = member(2, (1, 3))
    say(mine, 1, entry(1, 5), entry(3, 1), now=0.1)
    say(mine, 1, entry(1, 6), entry(3, 2), now=0.2)
    keep_talking(mine, 1, 12.0)
    assert mine.status(NodeId(3)) is Status.FAILED
    say(mine, 1, entry(1, 7), entry(3, 3), now=12.1)
    assert mine.status(NodeId(3)) is Status.FAILED
    say(mine, 1, entry(1, 8), entry(3, 4), now=12.2)
    assert mine.status(NodeId(3)) is Status.ALIVE


def test_g2_nobodys_verdict_is_copied() -> None:
    mine = member(2, (1, 3))
    say(mine, 1, entry(1, 5), entry(3, 40), now=0.1)
    say(mine, 1, entry(1, 6), entry(3, 41, suspected=True), now=0.2)
    assert mine.status(NodeId(3)) is Status.ALIVE


def test_g3_suspect_after_six_rounds_and_asked_failed_after_ten_no_longer_passed_on() -> None:
    mine = member(2, (1, 3))
    mine.heard(NodeId(3), BOOT, 0.0)
    steps = keep_talking(mine, 1, 5.9, start=0.0)
    assert mine.status(NodeId(3)) is Status.ALIVE
    steps = keep_talking(mine, 1, 6.0, start=6.0)
    assert mine.status(NodeId(3)) is Status.SUSPECT
    questions = [s for s in steps if isinstance(s, Send) and s.to == 3 and rows(s).get(3)]
    assert any(s.message.ask and rows(s)[3].suspected for s in questions)  # type: ignore[union-attr]
    keep_talking(mine, 1, 9.9, start=6.5)
    assert mine.status(NodeId(3)) is Status.SUSPECT
    steps = keep_talking(mine, 1, 10.0, start=10.0)
    assert MemberFailed(NodeId(3)) in steps
    assert Log(Level.SUMMARY, "2: no heartbeat from server 3 - SERVER FAILED") in steps
    later = keep_talking(mine, 1, 15.0, start=10.5)
    assert all(3 not in rows(s) for s in later if isinstance(s, Send))


def test_g3_after_twenty_rounds_a_tombstone_is_left_that_only_more_can_lift() -> None:
    mine = member(2, (1,))
    say(mine, 1, entry(1, 1), entry(9, 40), now=0.1)
    keep_talking(mine, 1, 19.9)
    assert mine.status(NodeId(9)) is Status.FAILED
    keep_talking(mine, 1, 21.0, start=20.0)
    assert [view.node for view in mine.snapshot(21.0).members] == [1, 2]
    say(mine, 1, entry(1, 2), entry(9, 40), now=21.1)
    assert [view.node for view in mine.snapshot(21.0).members] == [1, 2]
    say(mine, 1, entry(1, 3), entry(9, 41), now=21.2)
    assert mine.status(NodeId(9)) is Status.UNKNOWN
    assert [view.node for view in mine.snapshot(21.2).members] == [1, 2, 9]
    mine.validate()


def test_g3_a_configured_member_stays_listed_as_failed() -> None:
    mine = member(2, (1, 3))
    mine.heard(NodeId(3), BOOT, 0.0)
    keep_talking(mine, 1, 60.0)
    assert mine.snapshot(60.0).members[2].status is Status.FAILED


def test_g4_a_node_that_sees_itself_suspected_answers_at_once() -> None:
    mine = member(2, (1, 3))
    mine.tick(0.0)
    (answer,) = sends(say(mine, 1, entry(1, 5), entry(2, 1, suspected=True), now=0.1, ask=True))
    assert answer.to == 1
    assert rows(answer) == {2: entry(2, 2, version=1)}
    assert not sends(say(mine, 1, entry(1, 6), entry(2, 1, suspected=True), now=0.2, ask=True)), "rate limit"
    assert sends(say(mine, 1, entry(1, 7), entry(2, 1, suspected=True), now=0.4, ask=True))


def test_g4_a_node_rises_above_whatever_is_said_of_this_life_of_it() -> None:
    mine = member(2, (1, 3))
    (answer,) = sends(say(mine, 1, entry(1, 5), entry(2, 70, suspected=True), now=0.1))
    assert rows(answer)[2].heartbeat == 71


def test_g4_a_late_tick_accuses_nobody() -> None:
    mine = member(2, (1, 3))
    mine.heard(NodeId(1), BOOT, 0.0)
    mine.heard(NodeId(3), BOOT, 0.0)
    mine.tick(0.0)
    steps = mine.tick(60.0)
    assert not [step for step in steps if isinstance(step, MemberFailed)]
    assert mine.status(NodeId(1)) is mine.status(NodeId(3)) is Status.ALIVE
    assert mine.snapshot(60.0).stretch == 2.0
    mine.lagged(0.7, 60.5)
    assert mine.snapshot(60.5).stretch == 4.0


def test_g4_hearing_nobody_stretches_the_timeouts_up_to_eight_times() -> None:
    mine = member(2, (1, 3))
    mine.heard(NodeId(1), BOOT, 0.0)
    mine.heard(NodeId(3), BOOT, 0.0)
    assert not [step for step in run_to(mine, 40.0) if isinstance(step, MemberFailed)]
    assert mine.snapshot(40.0).stretch == 8.0
    keep_talking(mine, 1, 45.0, start=40.5)
    assert mine.snapshot(45.0).stretch == 1.0
    assert mine.status(NodeId(3)) is Status.ALIVE
    assert MemberFailed(NodeId(3)) in keep_talking(mine, 1, 56.0, start=45.5)


def test_g5_the_stale_side_asks_and_gets_the_delta() -> None:
    one, two = member(1, (2,)), member(2, (1,))
    one.update_facts(0.0, running=3)
    (gossip,) = sends(one.tick(0.0))
    (wanted,) = [s for s in sends(two.receive(NodeId(1), BOOT, gossip.message, 0.1)) if s.to == 1][1:]  # type: ignore[arg-type]
    assert wanted.message == FactsWanted(((1, 0, 0),))
    (delta,) = sends(one.receive(NodeId(2), BOOT, wanted.message, 0.2))
    assert isinstance(delta.message, FactsDelta)
    two.receive(NodeId(1), BOOT, delta.message, 0.3)
    held = two.snapshot(0.3).members[0].facts
    assert held is not None
    assert (held.running, held.version) == (3, 2)
    again = two.receive(NodeId(1), BOOT, gossip.message, 5.0)  # type: ignore[arg-type]
    assert not [s for s in sends(again) if isinstance(s.message, FactsWanted)]


def test_g5_the_version_rises_only_when_something_changed() -> None:
    mine = member(1, (2,))
    mine.update_facts(0.0, running=0, state=State.LOOKING)
    assert mine.snapshot(0.0).members[0].facts == facts_of(1)
    mine.update_facts(0.0, running=1)
    assert mine.snapshot(0.0).members[0].facts == facts_of(1, running=1, version=2)


def test_g5_urgent_news_brings_the_next_round_forward_but_not_without_end() -> None:
    mine = member(1, (2,))
    mine.tick(0.0)
    mine.update_facts(0.1, running=1)
    assert mine.next_deadline() == T
    mine.update_facts(0.1, state=State.LEADING)
    assert mine.next_deadline() == T / 2
    mine.update_facts(0.8, epoch=4)
    assert mine.next_deadline() == T / 2


def test_g5_a_gap_larger_than_a_datagram_is_fetched_over_a_channel() -> None:
    mine = member(1, (2,))
    news = [entry(node, 1, version=1) for node in range(2, 60)]
    steps = say(mine, 2, *news, now=0.1)
    fetches = [step for step in steps if isinstance(step, FetchFacts)]
    assert [fetch.peer for fetch in fetches] == [2]
    assert len(fetches[0].known) == 59
    (wanted,) = [send.message for send in sends(steps) if isinstance(send.message, FactsWanted)]
    assert isinstance(round_trip(wanted), FactsWanted)
    assert 3 < len(wanted.known) < 12, "what one datagram can answer is asked for all the same"
    everything = [facts_of(node) for node in range(1, 60)]
    mine.merge_facts(everything, 0.2)
    assert mine.facts_newer_than(fetches[0].known) == tuple(everything[1:])
    assert not mine.facts_newer_than([(f.node, f.boot, f.version) for f in everything])


def test_g5_a_delta_is_cut_to_one_datagram() -> None:
    mine = member(1, range(2, 40))
    mine.heard(NodeId(2), BOOT, 0.0)
    mine.merge_facts([facts_of(node, host="h" * 200) for node in range(2, 40)], 0.0)
    asked = FactsWanted(tuple((node, 0, 0) for node in range(2, 40)))
    (send,) = sends(mine.receive(NodeId(2), BOOT, asked, 0.1))
    delta = round_trip(send.message)  # type: ignore[arg-type]
    assert isinstance(delta, FactsDelta)
    assert 2 <= len(delta.facts) < 10
    assert not sends(mine.receive(NodeId(2), BOOT, asked, 0.2)), "rate limit"


def test_g5_older_facts_strangers_facts_and_claims_about_the_node_itself_are_ignored() -> None:
    mine = member(1, (2,))
    new = facts_of(2, version=5, slots=4)
    mine.merge_facts([new], 0.0)
    mine.merge_facts(
        [
            facts_of(2, version=4),
            facts_of(2, boot=999, version=9),
            facts_of(2, boot=2**60, version=9),
            facts_of(2, version=6, host="x" * FACTS_MAX),
            facts_of(1, version=9, slots=7),
            facts_of(77),
        ],
        0.0,
    )
    assert [view.facts for view in mine.snapshot(0.0).members] == [facts_of(1), new]
    assert mine.snapshot(0.0).counters["facts_ignored"] == 6
    mine.validate()


def test_g5_facts_too_long_are_trimmed_by_their_owner() -> None:
    mine = member(1, (2,))
    mine.update_facts(0.0, host="h" * 250, java="é" * 500, software="s" * 500, sandbox="b" * 500, slots=9)
    own = mine.snapshot(0.0).members[0].facts
    assert isinstance(own, NodeFacts)
    assert len(msgspec.msgpack.encode(own)) <= FACTS_MAX
    assert own.host == "h" * 250
    assert own.slots == 9


@pytest.mark.parametrize("rows", [500, 1_300, 1_900])
def test_g6_a_large_table_goes_out_in_datagrams_that_stand_alone_and_the_round_has_a_price(rows: int) -> None:
    mine = member(1, (2,), boot=1_790_000_000)
    for start in range(3, 3 + rows, 20):
        news = [entry(n, 40_000, boot=1_790_000_000, version=300) for n in range(start, start + 20)]
        say(mine, 2, entry(2, start, boot=1_790_000_000), *news, now=0.5)
    mine.tick(0.0)
    seen: Counter[int] = Counter()
    price = 0
    for beat in range(1, 11):
        mine.heard(NodeId(2), Boot(1_790_000_000), float(beat))
        for send in sends(mine.tick(float(beat))):
            message = round_trip(send.message)  # type: ignore[arg-type]
            assert isinstance(message, Gossip)
            assert message.entries[0].node == 1
            assert len(message.entries) > 1 or send.to == 2
            if not any(row.suspected and row.node == send.to for row in message.entries):
                price += len(encode_datagram(message)) + 90
                seen.update(row.node for row in message.entries[1:])
    assert len(seen) == rows + 1
    assert max(seen.values()) - min(seen.values()) <= 1, "every row travels equally often"
    assert price / 10 <= 20_000, "bytes a second at T = 1 s, headers included"


def test_g6_nothing_grows_beyond_the_table() -> None:
    settings = msgspec.structs.replace(SETTINGS, table_max=10)
    mine = member(1, (2,), settings=settings)
    for start in range(3, 100, 10):
        say(mine, 2, entry(2, start), *(entry(n, 1) for n in range(start, start + 10)), now=0.1)
    assert len(mine.snapshot(0.1).members) == 11
    assert mine.snapshot(0.1).counters["table_full"] == 91
    mine.validate()


def test_g6_a_message_that_is_not_the_senders_own_is_not_merged_s41() -> None:
    mine = member(2, (1, 3))
    for message in (Gossip(()), Gossip((entry(3, 9),)), Gossip((entry(1, 9, boot=5000), entry(3, 9)))):
        mine.receive(NodeId(1), BOOT, message, 0.1)
    mine.receive(NodeId(2), BOOT, Gossip((entry(2, 9),)), 0.1)
    assert mine.snapshot(0.1).members[2].heartbeat == 0
    assert mine.snapshot(0.1).counters["not_own_entry_first"] == 3


def test_i12_views_only_move_up_while_nodes_come_and_go() -> None:
    """`GossipNet.run` validates every member each time: rows, tombstones, bounds."""
    net = GossipNet(7, seed=3, loss=0.2)
    for step in range(12):
        net.run(7.0)
        node = step % 7
        if node in net.nodes:
            net.kill(node)
        if step % 3:
            back = (step - 1) % 7
            if back not in net.nodes:
                net.start(back, boot=1000 + step)
    for node in range(7):
        if node not in net.nodes:
            net.start(node, boot=2000)
    net.run(25.0)
    assert net.all_alive()
