"""Group commit: what is asked for while the disk is busy is one write, however much it is (N4)."""

from __future__ import annotations

from cluster.core.group_commit import GroupCommit


def test_n4_a_slow_disk_is_two_writes_behind_and_never_a_dozen() -> None:
    """With a second for each of a dozen promises, a voter kept the others without a leader for as long."""
    commit: GroupCommit[int] = GroupCommit()
    assert [commit.ask(epoch) for epoch in range(1, 13)] == [1] + 11 * [None]
    assert commit.done() == ([1], 12)
    assert commit.ask(13) is None
    assert commit.done() == (list(range(2, 13)), 13)
    assert commit.done() == ([13], None)
    assert commit.ask(14) == 14
