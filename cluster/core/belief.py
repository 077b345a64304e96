"""Which epochs of others are believed (N6): one broken or hostile number must not use up the space.

A word about an epoch is believed up to `MAX_EPOCH_JUMP` above the highest that this node has accepted. That
alone would shut out for ever who was away while the epochs went further. So a voter is also believed that has
said such numbers for `rejoin_s`, without a gap and without a nearer one in between: that is no accident.
There is an end to that as well, as what was believed once is believed for ever.
"""

from __future__ import annotations

from cluster.core.ledger import Ledger
from cluster.identity import MAX_EPOCH_JUMP, NodeId

FAR_MAX = 2**52
"""What is further above mine is never believed: 64 bits must hold whatever a cluster goes on from."""

GAP_SHARE = 0.4
"""Two words of a voter that are further apart than this share of `rejoin_s` don't belong together. In each
profile that is three times as long as it is silent in a ballot."""


class Belief:
    """What voters said of epochs far above mine.

    Args:
        rejoin_s: for how long, in seconds, as for N5.
        ledger: has the highest epoch that was accepted here.
    """

    def __init__(self, rejoin_s: float, ledger: Ledger) -> None:
        self._rejoin_s = rejoin_s
        self._ledger = ledger
        self._far: dict[NodeId, tuple[float, float]] = {}

    def __call__(self, voter: NodeId, epoch: int, now: float) -> bool:
        """Whether that is believed of this voter; who is asked notes what it said."""
        if epoch <= self._ledger.record.accepted + MAX_EPOCH_JUMP:
            if self._far:
                self._far.pop(voter, None)
            return True
        if epoch > self._ledger.record.accepted + FAR_MAX:
            return False
        since, last = self._far.get(voter, (now, now))
        if now - last >= GAP_SHARE * self._rejoin_s:
            since = now
        self._far[voter] = since, now
        return now - since >= self._rejoin_s
