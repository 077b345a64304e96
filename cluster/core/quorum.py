"""Majority arithmetic over the configured voters, and nothing else (N1, L3)."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from cluster.identity import NodeId, voters_hash


def quorum_of(voters: int) -> int:
    """How many of `voters` make a majority: any two such sets share a voter."""
    return voters // 2 + 1


@attrs.frozen
class Electorate:
    """Who votes: configured, never learnt (N1).

    Attributes:
        voters: in ascending order.
        quorum: the size of a majority.
        hash: names this list on the wire and in the record.
    """

    voters: tuple[NodeId, ...]
    quorum: int
    hash: str

    @classmethod
    def of(cls, cluster: str, voters: Iterable[NodeId]) -> Electorate:
        """The electorate of a cluster with these voters."""
        ordered = tuple(sorted(set(voters)))
        return cls(ordered, quorum_of(len(ordered)), voters_hash(cluster, ordered))

    def __contains__(self, node: int) -> bool:
        """Whether this node votes."""
        return node in self.voters

    def others(self, me: NodeId) -> tuple[NodeId, ...]:
        """Every voter but `me`."""
        return tuple(voter for voter in self.voters if voter != me)

    def is_quorum(self, nodes: Iterable[NodeId]) -> bool:
        """Whether these nodes hold a majority; nodes that don't vote are not counted."""
        return len(set(nodes) & set(self.voters)) >= self.quorum

    def reached_by_quorum(self, times: Iterable[float]) -> float | None:
        """The latest moment that a quorum has reached, given one moment for each voter that has any.

        With acknowledged heartbeats' sending times (the node itself counts with the present), this plus L is
        the end of the lease (L3). None while fewer than a quorum have a moment.
        """
        ordered = sorted(times, reverse=True)
        return ordered[self.quorum - 1] if len(ordered) >= self.quorum else None
