"""Rows of gossip are packed without loss, and whatever comes instead is refused (G6, X3)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import RemoteProtocolError
from cluster.identity import MAX_BOOT
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire import rows as r
from cluster.wire.codec import decode_datagram, encode_datagram
from cluster.wire.messages import Gossip, GossipEntry

encode = msgspec.msgpack.encode

ROOM = DATAGRAM_PAYLOAD_MAX - 32

numbers = st.integers(0, 2**62 - 1)
entries = st.builds(
    GossipEntry, numbers, st.integers(0, MAX_BOOT), numbers, st.integers(0, 2**64 - 1), st.booleans()
)
gossips = st.builds(
    Gossip,
    st.lists(entries, max_size=30).map(tuple),
    st.booleans(),
    st.booleans(),
    st.integers(1, 2**31),
)


@given(gossips)
def test_g6_rows_come_back_as_they_were(message: Gossip) -> None:
    assert decode_datagram(encode_datagram(message)) == message


@given(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=9), st.booleans())
def test_x3_any_numbers_are_rows_or_are_refused(numbers: list[int], ask: bool) -> None:
    try:
        message = decode_datagram(encode(r.PackedGossip(tuple(numbers), ask)))
    except RemoteProtocolError:
        return
    assert decode_datagram(encode_datagram(message)) == message


ROW = (2 * 7, 1000, 5, 1)


@pytest.mark.parametrize(
    "numbers",
    [
        (),
        (0,),
        (-1000,),
        (2**31 + 1,),
        (1000, *ROW[:3]),
        (1000, *ROW, 0),
        (1000, -2, 1000, 5, 1),
        (1000, 14, MAX_BOOT + 1, 5, 1),
        (1000, 14, -1, 5, 1),
        (1000, 14, 1000, -1, 1),
        (1000, 14, 1000, 5, -1),
        (1000, *ROW, -16, 0, 0, 1),
        (1000, *ROW, 2, -1001, 0, 1),
        (1000, *ROW, 2, 2, -4, 1),
        (1, *ROW, 2, 1, 2**63, 1),
        (1000, 2**63, 1000, 5, 1),
    ],
)
def test_x3_what_no_node_says_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(RemoteProtocolError, match="gossip"):
        decode_datagram(encode(r.PackedGossip(numbers)))


@given(st.lists(entries, max_size=100), entries, st.integers(1, 10_000))
def test_g6_a_cut_table_fits_and_lacks_nothing(
    table: list[GossipEntry], own: GossipEntry, interval: int
) -> None:
    table.sort(key=lambda row: row.node)
    parts = list(r.cut(own, table, interval, ROOM))
    assert all(part[0] == own for part in parts)
    assert [row for part in parts for row in part[1:]] == table
    assert all(
        len(encode_datagram(Gossip(part, True, True, interval))) <= DATAGRAM_PAYLOAD_MAX for part in parts
    )
    assert all(len(part) > 1 for part in parts) or len(parts) == 1


def test_g6_a_stretch_fits_also_where_own_row_is_long_and_far_from_the_next() -> None:
    own = GossipEntry(2**61, 2**40, 2**60, 2**40)
    for count in (*range(275, 290), *range(555, 575)):
        for part in r.cut(own, [GossipEntry(node, 2**40, 2**60, 1) for node in range(count)], 1000, ROOM):
            assert len(encode(r.pack(Gossip(part)).rows[1:])) - len("\xdc\x01\x00") <= ROOM


def test_g6_a_table_of_500_takes_two_datagrams_or_four_a_year_later() -> None:
    """Rounds of 250 ms, a few of them missed; lives that began within half a minute, or within a year."""
    now = 1_800_000_000
    for span_s, most in ((30, 2), (365 * 86_400, 4)):
        ages = [node * span_s // 500 for node in range(500)]
        table = [
            GossipEntry(node, now - age, age * 4 - min(age, node % 30), 1 + node % 100)
            for node, age in enumerate(ages)
        ]
        assert len(list(r.cut(table[0], table[1:], 250, ROOM))) == most
