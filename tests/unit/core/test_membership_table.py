"""Merging rows (G2) and tombstones (G3), by themselves."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cluster.config import GossipSettings
from cluster.core.failure_detector import FailureDetector
from cluster.core.gossip_table import BOOT_AHEAD_MAX, BOOT_MAX, HEARTBEAT_MAX, Table
from cluster.identity import Boot, NodeId, Status

ME = NodeId(0)
DETECTOR = FailureDetector(GossipSettings(interval_s=1.0), 0.0)

Heard = tuple[int, tuple[int, int]]

heard = st.tuples(st.integers(1, 5), st.tuples(st.integers(1, 4), st.integers(0, 6)))


def table(size_max: int = 100, configured: tuple[int, ...] = ()) -> Table:
    return Table(ME, Boot(1), [NodeId(n) for n in configured], size_max, now=0.0)


def merge(mine: Table, news: list[Heard], now: float = 1.0) -> dict[NodeId, tuple[int, int]]:
    for node, key in news:
        mine.merge(NodeId(node), key, now, DETECTOR)
    mine.validate()
    return {row.node: row.key for row in mine}


@given(st.lists(heard, max_size=12), st.randoms(use_true_random=False))
def test_merging_is_commutative_and_associative_g2(news: list[Heard], rng: object) -> None:
    shuffled = list(news)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' own Random
    assert merge(table(), news) == merge(table(), shuffled)


@given(st.lists(heard, max_size=12))
def test_merging_is_idempotent_and_keeps_the_highest_g2(news: list[Heard]) -> None:
    mine = table()
    once = merge(mine, news)
    assert merge(mine, news) == once
    by_node = itertools.groupby(sorted(news), key=lambda item: item[0])
    assert once == {node: max(key for _, key in group) for node, group in by_node}


@given(st.lists(st.tuples(st.integers(), st.tuples(st.integers(), st.integers())), max_size=20))
def test_no_numbers_break_the_table_s41(news: list[Heard]) -> None:
    mine = table(size_max=5)
    merge(mine, [item for item in news if item[0] != ME])
    assert len(mine.rows) <= 5


def test_absurd_numbers_are_refused_and_counted_s41() -> None:
    mine = table()
    merge(
        mine,
        [
            (1, (2**41, 1)),
            (1, (2 + BOOT_AHEAD_MAX, 1)),
            (1, (0, 1)),
            (1, (1, HEARTBEAT_MAX + 1)),
            (1, (1, -1)),
            (-1, (1, 1)),
        ],
    )
    assert not mine.rows
    assert mine.drops == {"absurd_boot": 3, "absurd_heartbeat": 2, "absurd_node": 1}


def test_a_node_with_a_wrong_clock_still_meets_the_others() -> None:
    """Hearsay is measured by lives met; who speaks for itself is believed."""
    mine = table()
    assert mine.touch(NodeId(1), Boot(1_790_000_000), 1.0) is not None
    assert mine.merge(NodeId(2), (1_790_000_500, 4), 1.0, DETECTOR) is not None
    assert mine.touch(NodeId(3), Boot(BOOT_MAX + 1), 1.0) is None


def test_rows_beyond_the_largest_table_are_dropped_and_counted_g6() -> None:
    mine = table(size_max=3, configured=(1, 2))
    merge(mine, [(n, (1, 1)) for n in range(1, 10)])
    assert sorted(mine.rows) == [1, 2, 3]
    assert mine.drops["table_full"] == 6


def test_a_tombstone_yields_only_to_more_than_it_holds_g3() -> None:
    mine = table()
    merge(mine, [(1, (5, 40))])
    mine.remove(mine.rows[NodeId(1)])
    merge(mine, [(1, (5, 40)), (1, (4, 99)), (1, (5, 39))])
    assert not mine.rows
    assert mine.touch(NodeId(1), Boot(5), 2.0) is None
    assert merge(mine, [(1, (5, 41))]) == {1: (5, 41)}
    assert mine.rows[NodeId(1)].status is Status.UNKNOWN


def test_a_higher_life_that_speaks_for_itself_lifts_its_tombstone_g3() -> None:
    mine = table()
    merge(mine, [(1, (5, 40))])
    mine.remove(mine.rows[NodeId(1)])
    assert mine.touch(NodeId(1), Boot(6), 2.0) is not None
    assert mine.rows[NodeId(1)].status is Status.ALIVE
    mine.validate()


def test_tombstones_are_bounded_the_oldest_goes_first_g3() -> None:
    mine = table(size_max=2)
    for node in range(1, 8):
        merge(mine, [(node, (1, 1))])
        mine.remove(mine.rows[NodeId(node)])
        mine.validate()
    merge(mine, [(7, (1, 1)), (4, (1, 1)), (1, (1, 1))])
    assert list(mine.rows) == [1]


def test_an_older_life_of_a_sender_is_no_sign_of_life_n6() -> None:
    mine = table()
    mine.touch(NodeId(1), Boot(7), 1.0)
    assert mine.touch(NodeId(1), Boot(6), 5.0) is None
    assert mine.rows[NodeId(1)].since == 1.0
    assert mine.drops["older_boot"] == 1


def test_hearsay_of_a_life_ten_years_ahead_is_refused_s41() -> None:
    years = 10 * 366 * 86400
    mine = table()
    assert mine.merge(NodeId(2), (1 + years + 1, 1), 1.0, DETECTOR) is None
    assert mine.drops["absurd_boot"] == 1
    assert mine.merge(NodeId(2), (1 + years, 1), 1.0, DETECTOR) is not None


def fresh_table() -> Table:
    return Table(NodeId(1), Boot(10), (NodeId(2),), 10, 0.0)


def test_g2_a_new_life_begins_to_count_anew() -> None:
    """Its own small heartbeats are news, whatever the life before had come to."""
    mine, detector = fresh_table(), FailureDetector(GossipSettings(), 0.0)
    mine.touch(NodeId(2), Boot(20), 0.0)
    mine.merge(NodeId(2), (20, 900), 0.1, detector)
    mine.touch(NodeId(2), Boot(21), 0.2)
    assert mine.rows[NodeId(2)].key == (21, 0)
    assert mine.merge(NodeId(2), (21, 1), 0.3, detector) is not None
    assert mine.merge(NodeId(2), (21, 1), 0.4, detector) is None


def test_g2_two_signs_of_life_that_are_far_apart_are_no_two() -> None:
    """Somebody who hands on what it once heard does not make the dead alive."""
    settings = GossipSettings()
    for apart, status in ((0.5, Status.ALIVE), (1.0, Status.UNKNOWN)):
        mine, detector = fresh_table(), FailureDetector(settings, 0.0)
        mine.merge(NodeId(2), (10, 1), 0.0, detector)
        later = apart * settings.fail_rounds * settings.interval_s
        mine.merge(NodeId(2), (10, 2), later, detector)
        assert mine.rows[NodeId(2)].status is status


def test_g4_only_the_time_of_our_own_deafness_is_excused() -> None:
    mine = fresh_table()
    mine.excuse(1.0, 3.0)
    assert mine.rows[NodeId(2)].since == 2.0
    mine.rows[NodeId(2)].since = 2.5
    mine.excuse(1.0, 3.0)
    assert mine.rows[NodeId(2)].since == 3.0
