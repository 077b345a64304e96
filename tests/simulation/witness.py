"""What a voter without its record really heard of a leader (N5 b), reckoned from what arrived."""

from __future__ import annotations

import attrs

from cluster.wire.messages import Probe, ProbeReply


@attrs.define(eq=False)
class Witness:
    """Of one life of one node.

    Attributes:
        heard_s: for how long one leader of one epoch has been answering without a gap, as of its last answer.
    """

    gap_s: float
    heard_s: float = 0.0
    _asked: dict[int, float] = attrs.Factory(dict)
    _leader: tuple[int, int] = (0, 0)
    _since: float = 0.0
    _last: float = 0.0

    def sent(self, message: Probe, now: float) -> None:
        """A question left, by this node's clock."""
        self._asked.setdefault(message.nonce, now)

    def answered(self, sender: int, message: ProbeReply, now: float) -> None:
        """A leader's answer arrived: it led at some moment since it was asked."""
        asked = self._asked.get(message.nonce)
        if asked is None or not message.leading_epoch:
            return
        leader = (sender, message.leading_epoch)
        if leader != self._leader or asked - self._last >= self.gap_s:
            self._leader, self._since = leader, now
        self._last = max(now, self._last)
        self.heard_s = self._last - self._since
