"""The gossip table: who was heard of, in which life, at which heartbeat (G1, G2), and the tombstones (G3).

Rows only ever move up in (boot, heartbeat). Merging is commutative, associative and idempotent as far as that
pair goes; what a row's status becomes depends on the local clock alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import attrs

from cluster.core.failure_detector import FailureDetector
from cluster.identity import Boot, NodeId, Status
from cluster.wire.messages import GossipEntry

BOOT_MAX = 2**40
HEARTBEAT_MAX = 2**48
"""No honest counter gets there; a larger number is a fault or an attack (S41)."""

BOOT_AHEAD_MAX = 10 * 366 * 86400
"""Boots are UTC seconds (N3): hearsay of a life ten years after the newest one met is refused."""

TOMBSTONES_PER_ROW = 2
"""Tombstones kept, as a multiple of the largest table."""

SIGNS_OF_LIFE = 2
"""First sight is one; a replayed heartbeat can't be the second (G2, S42)."""

Key = tuple[int, int]
"""(boot, heartbeat): what merging compares."""


@attrs.define
class Row:
    """What is known of another node.

    Attributes:
        boot, heartbeat: the highest pair seen; (0, 0) before the first.
        since: local time of the last sign of life (or of creation).
        signs: rises in favour of its being alive, counted while it is not.
        lived: it was ALIVE at some time here.
        asked_at, answered_at, served_at, wanted_at: when it was last asked for a sign, given an answer, given
            facts, and when its facts were last asked for: the rate limits.
    """

    node: NodeId
    since: float
    boot: int = 0
    heartbeat: int = 0
    status: Status = Status.UNKNOWN
    signs: int = 0
    lived: bool = False
    asked_at: float = -math.inf
    answered_at: float = -math.inf
    served_at: float = -math.inf
    wanted_at: float = -math.inf

    @property
    def key(self) -> Key:
        """What merging compares."""
        return self.boot, self.heartbeat


@attrs.frozen
class Rise:
    """A row got a sign of life.

    Attributes:
        was: its status before; None when it is new.
        lived: it was ALIVE at some time before.
        spread: (boot, heartbeat) rose, so that others will hear of it.
    """

    row: Row
    was: Status | None
    lived: bool
    spread: bool = True


STILL_ALIVE = Rise(Row(NodeId(-1), 0.0), Status.ALIVE, lived=True, spread=False)
"""What `touch` says of a node that was alive and is: by far the most frequent case, and nothing to report."""


class Table:
    """All rows but this node's own.

    Invariants (I12): a row's key never decreases; a removed node comes back only above its tombstone; both
    rows and tombstones are bounded.
    """

    def __init__(
        self, me: NodeId, boot: Boot, configured: Iterable[NodeId], size_max: int, now: float
    ) -> None:
        """Begin with a row, never seen, for every configured member; its silence counts from `now`."""
        self.me = me
        self.configured = tuple(sorted(set(configured) - {me}))
        self.rows = {node: Row(node, since=now) for node in self.configured}
        self.drops: Counter[str] = Counter()
        self._size_max = max(size_max, len(self.rows))
        self._newest_boot_met = int(boot)
        self._tombstones: dict[NodeId, Key] = {}
        self._floors: dict[NodeId, Key] = {}

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    def merge(self, node: NodeId, key: Key, now: float, detector: FailureDetector) -> Rise | None:
        """Hearsay: keep the higher of ours and theirs (G2); None when it says nothing new.

        The first sight of a node, or the first rise after its failure, only makes it heard of.
        """
        boot, heartbeat = key
        if not (0 < boot <= min(BOOT_MAX, self._newest_boot_met + BOOT_AHEAD_MAX)):
            self.drops["absurd_boot"] += 1
            return None
        if not 0 <= heartbeat <= HEARTBEAT_MAX:
            self.drops["absurd_heartbeat"] += 1
            return None
        row = self.rows.get(node)
        was = row.status if row else None
        row = row or self._add(node, key, now)
        if row is None or key <= row.key:
            return None
        if not detector.believes_in_a_return(now - row.since):
            row.signs = 0
        lived = row.lived
        row.boot, row.heartbeat = key
        row.since = now
        row.signs += 1
        if was in (Status.ALIVE, Status.SUSPECT) or row.signs >= SIGNS_OF_LIFE:
            self._revive(row)
        return Rise(row, was, lived)

    def knows(self, node: NodeId, boot: int, heartbeat: int) -> bool:
        """Whether this is no news of a node with a row: what most rows of most gossip are."""
        row = self.rows.get(node)
        if row is None or boot <= 0 or heartbeat < 0:
            return False
        return boot < row.boot or (boot == row.boot and heartbeat <= row.heartbeat)

    def newer_than(self, said: Iterable[GossipEntry]) -> list[Row]:
        """Our rows, by node, of those of whom less is said than we know and may pass on (G3)."""
        found = {}
        for entry in said:
            row = self.rows.get(NodeId(entry.node))
            if (
                row is not None
                and row.key > (entry.boot, entry.heartbeat)
                and row.status is not Status.FAILED
            ):
                found[row.node] = row
        return [found[node] for node in sorted(found)]

    def touch(self, node: NodeId, boot: Boot, now: float) -> Rise | None:
        """The node itself spoke, in this life: alive, whatever others say (G2).

        None when the datagram is of an older life, absurd, buried, or there is no room.
        """
        row = self.rows.get(node)
        if boot > self._newest_boot_met:
            self.met(boot)
        if row is not None and row.boot == boot and row.status is Status.ALIVE:
            row.since = now
            return STILL_ALIVE
        was = row.status if row else None
        if row is None or boot > row.boot:
            if not 0 < boot <= BOOT_MAX:
                self.drops["absurd_boot"] += 1
                return None
            row = row or self._add(node, (boot, 0), now)
            if row is None:
                return None
        elif boot < row.boot:
            self.drops["older_boot"] += 1
            return None
        lived, spread = row.lived, boot > row.boot
        if spread:
            row.boot, row.heartbeat = boot, 0
        row.since = now
        self._revive(row)
        return Rise(row, was, lived, spread)

    def met(self, boot: Boot) -> None:
        """A life that spoke for itself: the yardstick for hearsay about lives to come."""
        if boot <= BOOT_MAX:
            self._newest_boot_met = max(self._newest_boot_met, boot)

    def excuse(self, start: float, now: float) -> None:
        """Silence between `start` and now was our own deafness: it does not count (G4)."""
        if start < now:
            for row in self:
                row.since += now - max(start, row.since)

    def remove(self, row: Row) -> None:
        """Forget a failed node but for its tombstone; configured members stay listed, as FAILED (G3)."""
        del self.rows[row.node]
        self._tombstones[row.node] = row.key
        if len(self._tombstones) > TOMBSTONES_PER_ROW * self._size_max:
            self._tombstones.pop(next(iter(self._tombstones)))

    def validate(self) -> None:
        """Assert I12 since the last call, and the bounds."""
        assert self.me not in self.rows, "no node keeps a verdict on itself (I12)"
        assert len(self.rows) <= self._size_max
        assert len(self._tombstones) <= TOMBSTONES_PER_ROW * self._size_max
        floors: dict[NodeId, Key] = {}
        for row in self:
            assert row.key >= self._floors.get(row.node, (0, 0)), "a row never moves down (I12)"
            assert row.node not in self._tombstones, "a tombstone is lifted when its node returns (G3)"
            assert row.status is Status.UNKNOWN or row.boot or row.status is Status.FAILED
            floors[row.node] = row.key
        for node, key in self._tombstones.items():
            assert key >= self._floors.get(node, (0, 0)), "a tombstone never moves down (I12)"
            floors[node] = key
        self._floors = floors

    def _add(self, node: NodeId, key: Key, now: float) -> Row | None:
        tombstone = self._tombstones.get(node)
        if tombstone is not None and key <= tombstone:
            self.drops["buried"] += 1
            return None
        if len(self.rows) >= self._size_max or node < 0:
            self.drops["table_full" if node >= 0 else "absurd_node"] += 1
            return None
        self._tombstones.pop(node, None)
        row = self.rows[node] = Row(node, since=now)
        return row

    @staticmethod
    def _revive(row: Row) -> None:
        row.status = Status.ALIVE
        row.lived = True
