"""The lease from outside: what really was sent, and whose acknowledgement really arrived (L3, L2).

A core that reckons its lease wrongly believes itself; here it is reckoned again, from the messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from cluster.identity import NodeId
from cluster.wire.messages import Heartbeat, HeartbeatAck
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.host import Host

BEATS_KEPT = 400
"""Heartbeats whose sending is remembered: far more than a lease lasts."""


@attrs.define(eq=False)
class LeaseWatch:
    """Of one life of one node.

    Attributes:
        promised: the highest epoch that it promised or proposed, in a message that left.
    """

    epoch: int = 0
    promised: int = 0
    _beats: dict[int, float] = attrs.Factory(dict)
    _acked: dict[int, float] = attrs.Factory(dict)

    def sent(self, message: Heartbeat, now: float) -> None:
        """A heartbeat left, by the leader's own clock."""
        if message.epoch != self.epoch:
            self.epoch = message.epoch
            self._beats.clear()
            self._acked.clear()
        self._beats.setdefault(message.seq, now)
        if len(self._beats) > BEATS_KEPT:
            del self._beats[next(iter(self._beats))]

    def acknowledged(self, voter: NodeId, message: HeartbeatAck) -> None:
        """A voter's acknowledgement reached the leader."""
        at = self._beats.get(message.seq) if message.epoch == self.epoch else None
        if at is not None:
            self._acked[voter] = max(at, self._acked.get(voter, at))

    def demand(self, host: Host, voters: tuple[NodeId, ...], lease_s: float, now: float) -> None:
        """Whoever may act has a quorum, itself included, that acknowledged what was sent less than L ago."""
        fresh = sum(now - at < lease_s for voter, at in self._acked.items() if voter in voters)
        if 1 + fresh <= len(voters) // 2:
            raise Violation(f"L3 node {host.id} may act in epoch {self.epoch} on {fresh} fresh answers")

    def acknowledges(self, host: Host, epoch: int) -> None:
        """Whoever promised a higher epoch acknowledges no lower one (L2)."""
        if epoch < self.promised:
            raise Violation(f"L2 node {host.id} acknowledges {epoch} after it promised {self.promised}")

    def leads(self, host: Host, epoch: int) -> None:
        """Whoever promised or proposed a higher epoch leads no lower one any longer (L1)."""
        if epoch < self.promised:
            raise Violation(f"L1 node {host.id} leads {epoch} after it promised {self.promised}")
