"""Whom a round of gossip reaches and what it costs: the cycle of peers (G1), the cut into datagrams (G6)."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from cluster.core.facts import ENVELOPE_MAX
from cluster.identity import NodeId
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire.messages import Gossip, GossipEntry
from cluster.wire.rows import cut


class PeerCycle:
    """Everybody once, in shuffled order, then everybody again: no peer is missed by bad luck (G1, S40)."""

    def __init__(self, rng: random.Random) -> None:
        """Draw from `rng` alone, so that the same seed makes the same choices."""
        self._rng = rng
        self._cycle: list[NodeId] = []

    def __contains__(self, node: object) -> bool:
        return node in self._cycle

    def insert(self, node: NodeId) -> None:
        """A newcomer gets a turn in the cycle that runs."""
        if node not in self._cycle:
            self._cycle.insert(self._rng.randint(0, len(self._cycle)), node)

    def draw(self, count: int, candidates: Collection[NodeId]) -> tuple[NodeId, ...]:
        """The next `count` different peers; those that are no candidates any longer lose their turn."""
        eligible = set(candidates)
        chosen: list[NodeId] = []
        while len(chosen) < min(count, len(eligible)):
            if not self._cycle:
                order = sorted(eligible)
                self._rng.shuffle(order)
                # Drawn from the end: whoever is chosen already comes last in the new cycle.
                self._cycle = [n for n in order if n in chosen] + [n for n in order if n not in chosen]
            peer = self._cycle.pop()
            if peer in eligible:
                chosen.append(peer)
        return tuple(chosen)


class RowWindow:
    """Whose turn it is of a table's datagrams: where one peer's share ends, the next one's begins."""

    def __init__(self) -> None:
        """Begin with the first."""
        self._start = 0

    def share(self, whole: Sequence[Gossip], most: int) -> Sequence[Gossip]:
        """At most so many of a whole table's: every row travels equally often."""
        if len(whole) <= most:
            return whole
        start = self._start % len(whole)
        self._start = start + most
        return [whole[at % len(whole)] for at in range(start, start + most)]


def datagrams(
    own: GossipEntry,
    rows: Sequence[GossipEntry],
    interval_s: float,
    *,
    ask: bool = False,
    reply: bool = False,
) -> list[Gossip]:
    """All of these rows, ascending by node, `own` first in each datagram (G6)."""
    interval_ms = max(1, round(interval_s * 1000))
    room = DATAGRAM_PAYLOAD_MAX - ENVELOPE_MAX
    return [Gossip(part, ask, reply, interval_ms) for part in cut(own, rows, interval_ms, room)]
