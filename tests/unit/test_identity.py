"""Two different ideas of who votes never look the same (N1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.identity import NodeId, voters_hash

VOTERS = st.lists(st.integers(0, 2**31 - 1).map(NodeId), min_size=1, max_size=9, unique=True)


@given(VOTERS, st.randoms())
def test_the_order_of_voters_does_not_matter(voters: list[NodeId], rng: st.DataObject) -> None:
    shuffled = list(voters)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis's Random, which it can replay
    assert voters_hash("c", shuffled) == voters_hash("c", voters)


@given(VOTERS, VOTERS)
def test_another_list_has_another_hash(one: list[NodeId], other: list[NodeId]) -> None:
    assert (voters_hash("c", one) == voters_hash("c", other)) == (set(one) == set(other))


def test_another_cluster_has_another_hash() -> None:
    assert voters_hash("c", [NodeId(1)]) != voters_hash("d", [NodeId(1)])


def test_ids_that_run_together_are_told_apart() -> None:
    assert voters_hash("c", [NodeId(1), NodeId(23)]) != voters_hash("c", [NodeId(12), NodeId(3)])
