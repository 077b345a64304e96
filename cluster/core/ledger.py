"""Orders what a node has decided to remember and what is already on its disk (N3, N4).

Decisions read `record`, the newest value asked for; everything *sent* reads `durable`. A failed write sets
`broken`: a leader resigns, a voter stops promising (N4), and the write is tried again until one succeeds.
"""

from __future__ import annotations

import msgspec

from cluster.core.effects import Effect, Persist
from cluster.core.record import Record
from cluster.identity import Boot, Epoch, NodeId

RETRY_S = 1.0
"""After a failed write, how long until the next try."""


class Ledger:
    """The durable record seen from the core.

    Invariant: accepted and fence_epoch never decrease, in `record` and in `durable` (I3).
    """

    def __init__(self, record: Record) -> None:
        """Start from a record that is on disk, its boot already raised (N3)."""
        self.record = record
        self.durable = record
        self.broken = False
        self._token = 0
        self._asked: dict[int, Record] = {}
        self._retry_at: float | None = None

    def accept(self, epoch: Epoch, candidate: NodeId, boot: Boot, then: tuple[Effect, ...] = ()) -> Persist:
        """Promise `epoch` to this candidate's life; `then` leaves once that is durable (L1)."""
        assert epoch > self.record.accepted, "a promise never goes backwards (I3)"
        return self._write(
            msgspec.structs.replace(self.record, accepted=epoch, promised_node=candidate, promised_boot=boot),
            then,
        )

    def fence(self, epoch: Epoch, leader: NodeId, boot: Boot, then: tuple[Effect, ...] = ()) -> Persist:
        """Remember that this leader's epoch is followed, led or worked for (L6); acceptance rises with it."""
        assert epoch > self.record.fence_epoch, "the fence never goes backwards (I3)"
        record = msgspec.structs.replace(self.record, fence_epoch=epoch, fence_leader=leader)
        if epoch > record.accepted:
            record = msgspec.structs.replace(record, accepted=epoch, promised_node=leader, promised_boot=boot)
        return self._write(record, then)

    def gain_vote(self, accepted: Epoch) -> Persist:
        """May vote from now on (N5); acceptance becomes the highest epoch heard."""
        record = msgspec.structs.replace(self.record, may_vote=True)
        if accepted > record.accepted:
            record = msgspec.structs.replace(record, accepted=accepted, promised_node=-1, promised_boot=0)
        return self._write(record, ())

    def when_durable(self, then: tuple[Effect, ...]) -> tuple[Effect, ...]:
        """`then` at once if everything decided is on disk, else after it is (N4)."""
        return then if self.is_durable() else (self._write(self.record, then),)

    def in_turn(self, then: tuple[Effect, ...]) -> Persist:
        """`then` after everything that was asked for, whatever of that is durable already."""
        return self._write(self.record, then)

    def waits(self, token: int) -> bool:
        """Whether that write has yet to end."""
        return token in self._asked

    def persisted(self, token: int) -> None:
        """A write is on disk."""
        record = self._asked.pop(token)
        self.durable = record
        if not self._asked:
            self.broken = False
            self._retry_at = None

    def failed(self, token: int, now: float) -> None:
        """A write is not on disk; what was to follow it never happens."""
        self._asked.pop(token)
        self.broken = True
        self._retry_at = now + RETRY_S

    def tick(self, now: float) -> tuple[Persist, ...]:
        """Try a failed write again."""
        if self._retry_at is None or now < self._retry_at:
            return ()
        self._retry_at = None
        return (self._write(self.record, ()),)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._retry_at

    def is_durable(self) -> bool:
        """Whether everything decided is on disk."""
        return self.durable == self.record

    def _write(self, record: Record, then: tuple[Effect, ...]) -> Persist:
        self._token += 1
        self.record = record
        self._asked[self._token] = record
        return Persist(record, self._token, then)

    def validate(self) -> None:
        """Assert I2 and I3 as far as one node can see them."""
        assert self.durable.accepted <= self.record.accepted
        assert self.durable.fence_epoch <= self.record.fence_epoch
        assert self.record.fence_epoch <= self.record.accepted
