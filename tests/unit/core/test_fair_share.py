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


def test_whoever_has_most_gives_way_with_what_came_first() -> None:
    """H9: as long as he has most."""
    room = FairRoom(100)
    things = [("a1", "a", 20), ("b1", "b", 30), ("a2", "a", 30), ("a3", "a", 10)]
    for _name, holder, size in things:
        room.take(holder, size)
    assert room.giving_way("c", 10, things) == set(), "there is room"
    assert room.giving_way("c", 15, things) == {"a1"}
    assert room.giving_way("c", 35, things) == {"a1", "a2"}
    assert room.giving_way("c", 45, things) is None, "he would have most"
    assert room.giving_way("c", 15, things, {"b1"}) == {"b1"}, "that is enough"


def test_nobody_gives_way_to_who_would_have_more() -> None:
    """H9: he makes room of what is his own, or gets none."""
    room = FairRoom(100)
    room.take("small", 20)
    room.take("large", 70)
    things = [("s", "small", 20), ("l1", "large", 10), ("l2", "large", 10)]
    assert room.giving_way("large", 20, things) == {"l1"}
    assert room.giving_way("large", 30, things) == {"l1", "l2"}
    assert room.giving_way("large", 31, things) is None
    assert room.giving_way("large", 20, things[:1]) is None


def test_of_a_full_table_only_the_first_things_are_looked_at() -> None:
    """It is asked for each new one, however many there are (H9)."""
    room = FairRoom(1000)
    for number in range(1000):
        room.take(f"t{number % 5}")
    things = iter([(number, f"t{number % 5}", 1) for number in range(1000)])
    assert room.giving_way("t0", 1, things) == {0}
    assert next(things)[0] < 5


class Counted(str):
    """A holder who counts how often he is looked up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self) -> int:
        Counted.lookups += 1
        return str.__hash__(self)

    __eq__ = str.__eq__


def test_each_holder_is_looked_at_a_few_times_though_the_one_who_gives_way_comes_last() -> None:
    """As many as there may be connections, each from an address of its own, then many from one (H9)."""
    holders = [Counted(f"t{number}") for number in range(1000)] + [Counted("most")] * 10
    room = FairRoom(len(holders))
    for holder in holders:
        room.take(holder)
    Counted.lookups = 0
    things = [(number, holder, 1) for number, holder in enumerate(holders)]
    assert room.giving_way("new", 1, things) == {1000}
    assert Counted.lookups < 10 * len(holders)
