"""Clients get the descriptors that everything else leaves (H8)."""

from __future__ import annotations

import pytest

from cluster.errors import EnvironmentFault
from cluster.net.descriptors import LEAST, connections_within, joined_within, slots_within


def test_what_is_configured_is_allowed_where_there_is_room() -> None:
    assert connections_within(20_000, 4000, members=5, joined=2500, slots=2) == 4000


@pytest.mark.parametrize(("members", "slots"), [(4, 0), (4, 2), (100, 0)])
def test_what_others_need_is_never_theirs(members: int, slots: int) -> None:
    allowed = connections_within(1024, 4000, members=members, joined=128, slots=slots)
    assert LEAST <= allowed <= 1024 - 4 * members - 128 - 16 * slots


def test_a_node_that_could_serve_nobody_says_what_to_change() -> None:
    with pytest.raises(
        EnvironmentFault, match=r"may have 200 files open and needs .* raise `ulimit -n`"
    ) as told:
        connections_within(200, 4000, members=4, joined=25, slots=2)
    assert "48 for `work.slots: 2`, 16 for members and 25 for workers that join" in str(told.value)
    assert "lower `work.slots`" in str(told.value)
    with pytest.raises(EnvironmentFault) as told:
        connections_within(100, 4000, members=4, joined=0, slots=0)
    assert "lower" not in str(told.value)


def test_workers_that_join_have_a_share() -> None:
    """Up to a thousand need no entry in the member list: what they open is counted, and bounded, too."""
    assert joined_within(1024) == 128
    assert joined_within(65_536) == 4000


@pytest.mark.parametrize(
    ("files_max", "processors", "slots"), [(1024, 2, 2), (1024, 200, 42), (65_536, 64, 64)]
)
def test_a_processor_is_a_slot_where_there_are_descriptors_for_it(
    files_max: int, processors: int, slots: int
) -> None:
    joined = joined_within(files_max)
    assert slots_within(files_max, processors, members=4, joined=joined) == slots
    assert connections_within(files_max, 4000, members=4, joined=joined, slots=slots) >= LEAST


def test_one_slot_at_least_is_asked_for() -> None:
    assert slots_within(100, 8, members=4, joined=12) == 1
