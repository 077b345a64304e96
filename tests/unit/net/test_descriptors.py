"""Clients get the descriptors that everything else leaves (H8)."""

from __future__ import annotations

import pytest

from cluster.errors import EnvironmentFault
from cluster.net.descriptors import LEAST, connections_within


def test_what_is_configured_is_allowed_where_there_is_room() -> None:
    assert connections_within(20_000, 4000, members=5, slots=2) == 4000


@pytest.mark.parametrize(("members", "slots"), [(4, 0), (4, 2), (100, 0)])
def test_what_others_need_is_never_theirs(members: int, slots: int) -> None:
    allowed = connections_within(1024, 4000, members=members, slots=slots)
    assert LEAST <= allowed <= 1024 - 4 * members - 16 * slots


def test_a_node_that_could_serve_nobody_says_what_to_raise() -> None:
    with pytest.raises(EnvironmentFault, match=r"may have 200 files open and needs .* raise `ulimit -n`"):
        connections_within(200, 4000, members=4, slots=2)
