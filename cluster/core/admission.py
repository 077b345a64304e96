"""How a node whose record is new gains the vote (N5).

A record made by `init` is either the first of a new cluster, or all that is left after a lost disk; the node
can't tell which. If it voted at once it could promise an epoch that it had promised to another before it
forgot. So it observes, and asks:

(a) every other voter, in this life, says that it has accepted no epoch: then there is nothing to forget; or
(b) one leader of one epoch answers fresh nonces for ten seconds without a gap of F: whatever was promised
    before is below that epoch by now, or will be refused by this node from then on. Only answers count, and
    from the moment in which they were asked for: silence, and what was long under way, prove nothing.
"""

from __future__ import annotations

import random

import attrs

from cluster.config import TimingSettings
from cluster.core.effects import Effect, Level, Log, Send, Steps
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.identity import MAX_EPOCH_JUMP, Epoch, NodeId
from cluster.wire.messages import Probe, ProbeReply

NONCES_KEPT = 64
"""Questions whose answers still count."""

NONCE_BITS = 63


@attrs.frozen
class AdmissionSnapshot:
    """For status and logs: who still has to answer (a), and how long (b) has been heard."""

    waiting_for: tuple[NodeId, ...]
    heard_s: float


class Admission:
    """Asks until the vote is gained; then it has nothing more to do."""

    def __init__(
        self,
        settings: TimingSettings,
        me: NodeId,
        electorate: Electorate,
        ledger: Ledger,
        rng: random.Random,
        now: float,
    ) -> None:
        self._settings = settings
        self._me = me
        self._electorate = electorate
        self._ledger = ledger
        self._rng = rng
        self.needed = me in electorate and not ledger.record.may_vote
        self._virgin: set[NodeId] = set()
        self._accepted: dict[NodeId, int] = {}
        self._asked: dict[int, float] = {}
        self._ask_at = now
        self._leader: tuple[NodeId, int] | None = None
        self._since = self._last = now

    def reply(self, sender: NodeId, message: Probe, leading_epoch: Epoch) -> Steps:
        """Answer another voter's question; only durable numbers leave (N4).

        `leading_epoch` is the epoch that this node leads with a lease, or 0.
        """
        if sender not in self._electorate or message.voters != self._electorate.hash:
            return ()
        accepted = self._ledger.durable.accepted
        return (Send(sender, ProbeReply(message.nonce, accepted, leading_epoch, self._electorate.hash)),)

    def answered(self, sender: NodeId, message: ProbeReply, now: float) -> Steps:
        """An answer to one of my nonces (X4)."""
        if not self.needed or sender not in self._electorate or message.nonce not in self._asked:
            return ()
        if message.voters != self._electorate.hash:
            return ()
        self._accepted[sender] = max(message.accepted, self._accepted.get(sender, 0))
        if message.accepted == 0:
            self._virgin.add(sender)
        if message.leading_epoch:
            self._heard_leader(sender, message.leading_epoch, self._asked[message.nonce], now)
        return self._conclude()

    def _heard_leader(self, sender: NodeId, epoch: int, asked: float, now: float) -> None:
        """It led at some moment from `asked` to `now`: as little as that says is taken."""
        gap = asked - self._last >= self._settings.follower_timeout_s
        if self._leader != (sender, epoch) or gap:
            self._leader = (sender, epoch)
            self._since = self._last = now
        self._last = max(self._last, asked)

    def _conclude(self) -> Steps:
        new_cluster = self._virgin.issuperset(self._electorate.others(self._me))
        if not (new_cluster or self._heard_s() >= self._settings.rejoin_s) or self._ledger.broken:
            return ()
        self.needed = False
        why = "every voter is new" if new_cluster else f"a leader was heard for {self._heard_s():.1f} s"
        text = f"{self._me}: gains the vote: {why}"
        return (Log(Level.SUMMARY, text), self._ledger.gain_vote(self._highest()))

    def _highest(self) -> Epoch:
        """The highest epoch heard, of those that are no further above the leader's than may be (N6)."""
        epoch = 0 if self._leader is None else self._leader[1]
        heard = (accepted for accepted in self._accepted.values() if accepted <= epoch + MAX_EPOCH_JUMP)
        return Epoch(max(epoch, *heard, 0))

    def _heard_s(self) -> float:
        """For how long the same leader has answered without a gap."""
        return 0.0 if self._leader is None else self._last - self._since

    def tick(self, now: float) -> Steps:
        """Ask again; with no other voter there is nobody to ask."""
        if not self.needed or now < self._ask_at:
            return ()
        self._ask_at = now + self._settings.resend_s
        nonce = self._rng.getrandbits(NONCE_BITS)
        self._asked[nonce] = now
        if len(self._asked) > NONCES_KEPT:
            del self._asked[next(iter(self._asked))]
        question = Probe(nonce, self._electorate.hash)
        asked: tuple[Effect, ...] = tuple(Send(v, question) for v in self._electorate.others(self._me))
        return (*asked, *self._conclude())

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._ask_at if self.needed else None

    def snapshot(self) -> AdmissionSnapshot | None:
        """What people see while the vote is missing; None once it is there."""
        if not self.needed:
            return None
        missing = tuple(v for v in self._electorate.others(self._me) if v not in self._virgin)
        return AdmissionSnapshot(missing, self._heard_s())
