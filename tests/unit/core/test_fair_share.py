"""Shares of a table (H9): what one takes leaves room for who comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.fair_share import FairRoom


def filled(room: FairRoom, holder: str) -> int:
    """How much he gets who takes one after another as long as he may."""
    while room.admits(holder):
        room.take(holder)
    return room.of(holder)


def test_h9_each_gets_half_of_what_the_others_left() -> None:
    room = FairRoom(1000)
    assert [filled(room, holder) for holder in "abc"] == [500, 250, 125]
    assert filled(room, "a") == 500, "and no more later"
    room.validate()


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_an_empty_table_takes_whatever_fits(size: int, fits: bool) -> None:
    assert FairRoom(1000).admits("a", size) == fits


def test_what_is_given_back_is_free_again() -> None:
    room = FairRoom(1000)
    filled(room, "a")
    assert not room.admits("b", 300)
    room.give_back("a", 500)
    assert room.holders == {}
    assert room.admits("b", 300)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 400)), max_size=60))
def test_h9_no_greed_of_some_shuts_out_another(asked: list[tuple[str, int]]) -> None:
    """Four of them take what they can get: a fifth has room for the least part of five halvings."""
    room = FairRoom(3200)
    for holder, size in asked:
        if (room.held and room.admits(holder, size)) or (not room.held and size <= room.room // 2):
            room.take(holder, size)
    room.validate()
    assert room.held <= room.room
    assert room.admits("e", room.room // 32)
