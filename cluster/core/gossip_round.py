"""Whom a round of gossip reaches and what it costs: the cycle of peers (G1), the cut into datagrams (G6)."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence

from cluster.core.facts import ENVELOPE_MAX, encoded_size
from cluster.identity import NodeId
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire.messages import GossipEntry

ENTRY_MAX = 34
"""Bytes of the longest row: tables so small that they fit anyway are not measured."""

Rows = tuple[GossipEntry, ...]


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
    """Cuts rows into datagrams; what does not fit one peer's share is where the next one's begins."""

    def __init__(self) -> None:
        """Begin at the table's first row."""
        self._start = 0

    @staticmethod
    def holds(rows: Sequence[GossipEntry]) -> bool:
        """Whether all of them fit one datagram together, with one's own."""
        return len(rows) * ENTRY_MAX <= DATAGRAM_PAYLOAD_MAX - ENVELOPE_MAX - ENTRY_MAX

    def cut(self, own: GossipEntry, rows: Sequence[GossipEntry], most: int) -> Iterator[Rows]:
        """At most `most` datagrams, `own` first in each; every row travels equally often."""
        room = DATAGRAM_PAYLOAD_MAX - ENVELOPE_MAX - ENTRY_MAX
        if self.holds(rows):
            yield (own, *rows)
            return
        start = self._start % len(rows)
        batch, left, sent = [own], room, 0
        for row in (*rows[start:], *rows[:start]):
            size = encoded_size(row)
            if size > left:
                yield tuple(batch)
                batch, left, most = [own], room, most - 1
                if most == 0:
                    break
            batch.append(row)
            left -= size
            sent += 1
        else:
            yield tuple(batch)
        self._start = (start + sent) % len(rows)
