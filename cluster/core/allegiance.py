"""Whom this node follows, and to whom it may promise: the voter's side of leadership (E6, L1, L2, L4, L7).

Two clocks run here, and they must not be confused. *F* ends FOLLOWING: without a heartbeat for that long, or
when the channel breaks, the node looks for a leader. *G*, the guard, ends much less easily: it starts again
with every heartbeat acknowledged, and until it is over the node promises nothing to anybody, whatever it
believes about its leader. The leader's lease rests on G alone (L3, L4): only that leader's own RESIGN or
proposal ends it early. After a start the guard runs as if a heartbeat had just been acknowledged, and that
hold-off nothing ends early.

Observers (gateways, workers, voters without the vote) follow here too; they acknowledge and promise nothing.
"""

from __future__ import annotations

import attrs

from cluster.config import TimingSettings
from cluster.core.belief import Belief
from cluster.core.effects import Following, Level, Log, LostLeader, Send, Steps
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.identity import NO_EPOCH, Boot, Epoch, NodeId
from cluster.wire.messages import Heartbeat, HeartbeatAck, Promise, Propose, Refuse, Resign

VOIDED_KEPT = 4
"""Epochs that a voter resigned and whose heartbeats may still be under way."""


@attrs.frozen
class PendingProposal:
    """A proposal that came inside the guard; answered when that ends (L4)."""

    sender: NodeId
    boot: Boot
    message: Propose
    until: float


@attrs.frozen
class AllegianceSnapshot:
    """For status, metrics and logs; `heard_age_s` is None when nobody is followed."""

    leader: NodeId | None
    epoch: Epoch
    heard_age_s: float | None
    guard_s: float
    promises: int
    refusals: int


class Allegiance:
    """Follows a leader's own heartbeats; grants or refuses proposals."""

    def __init__(
        self,
        settings: TimingSettings,
        me: NodeId,
        electorate: Electorate,
        ledger: Ledger,
        now: float,
    ) -> None:
        self._settings = settings
        self._me = me
        self._electorate = electorate
        self._votes = me in electorate
        self._ledger = ledger
        self.believes = Belief(settings.rejoin_s, ledger)
        self.leader: NodeId | None = None
        self.leader_boot = Boot(0)
        self.epoch = NO_EPOCH
        self.promises = 0
        self.refusals = 0
        self._heard_at = 0.0
        self._hold_off_until = now + settings.guard_s
        self._guard_until = self._hold_off_until
        self._guard_for: tuple[NodeId, int] | None = None
        self._voided: dict[NodeId, tuple[int, ...]] = {}
        self._pending: PendingProposal | None = None
        self._lower: tuple[NodeId, int, float] | None = None

    @property
    def may_vote(self) -> bool:
        """Whether this node votes, durably (N5)."""
        return self._votes and self._ledger.durable.may_vote

    @property
    def guard_until(self) -> float:
        """Until when nothing may be promised (L4), also not to myself (L1)."""
        return self._guard_until

    def lower_leader(self, now: float) -> tuple[NodeId, int] | None:
        """Who was heard just now to lead an epoch below what is accepted here, and which."""
        heard = self._lower
        if heard is None or now - heard[2] > self._settings.follower_timeout_s:
            return None
        return heard[:2]

    # --- following ------------------------------------------------------------------------------------

    def heartbeat(self, sender: NodeId, boot: Boot, message: Heartbeat, now: float) -> Steps:
        """A leader's own heartbeat: follow it, acknowledge it (E6, L2)."""
        if not self._is_followable(sender, message, now):
            return ()
        steps: Steps = ()
        epoch = Epoch(message.epoch)
        ack = (Send(sender, HeartbeatAck(message.epoch, message.seq)),) if self.may_vote else ()
        if (self.leader, self.epoch) != (sender, epoch):
            self.leader, self.epoch = sender, epoch
            steps = (Following(sender, epoch),)
            if epoch > self._ledger.record.fence_epoch:
                steps = (*steps, self._ledger.fence(epoch, sender, boot, ack))
            else:
                steps = (*steps, *self._ledger.when_durable(ack))
        elif self._ledger.durable.fence_epoch == epoch:
            steps = ack  # else the acknowledgement of the first heartbeat waits for the disk (N4)
        self.leader_boot = boot
        self._heard_at = now
        if ack:
            drift = self._settings.drift
            guard = max(self._settings.guard_s, message.lease_s * (1 + drift) / (1 - drift))
            self._guard_until = max(self._guard_until, now + guard)
            self._guard_for = (sender, message.epoch)
        return steps

    def _is_followable(self, sender: NodeId, message: Heartbeat, now: float) -> bool:
        record = self._ledger.record
        if sender not in self._electorate or message.epoch in self._voided.get(sender, ()):
            return False
        if message.epoch < record.accepted:
            self._lower = sender, message.epoch, now
            return False
        if not self.believes(sender, message.epoch, now):
            return False
        if not 0 < message.lease_s <= self._settings.follower_timeout_s:
            return False
        # One leader an epoch: a second one is never followed, whatever it says (L6).
        return message.epoch != record.fence_epoch or record.fence_leader == sender

    def resigned(self, sender: NodeId, message: Resign, now: float) -> Steps:
        """RESIGN voids every heartbeat of that epoch, and ends G and FOLLOWING for exactly it (L5)."""
        if sender not in self._electorate:
            return ()
        others = [epoch for epoch in self._voided.get(sender, ()) if epoch != message.epoch]
        self._voided[sender] = (*others, message.epoch)[-VOIDED_KEPT:]
        if self._guard_for == (sender, message.epoch):
            self._guard_until = min(self._guard_until, max(now, self._hold_off_until))
            self._guard_for = None
        steps: Steps = ()
        if (self.leader, self.epoch) == (sender, message.epoch):
            steps = self.abandon("it resigned")
        return (*steps, *self._answer_pending(now))

    def abandon(self, reason: str) -> Steps:
        """Follow nobody any longer; the guard stays as it is (L4, L7)."""
        if self.leader is None:
            return ()
        lost = LostLeader(self.leader, self.epoch, reason)
        self.leader = None
        return (lost,)

    # --- promising ------------------------------------------------------------------------------------

    def proposed(self, sender: NodeId, boot: Boot, message: Propose, now: float) -> Steps:
        """PROPOSE: grant, refuse, or answer when the guard ends (L1, L4)."""
        record = self._ledger.record
        if sender not in self._electorate or message.voters != self._electorate.hash or not self.may_vote:
            return ()
        if not self.believes(sender, message.epoch, now):
            return ()
        if (message.epoch, sender, boot) == (record.accepted, record.promised_node, record.promised_boot):
            # A retransmission; while the first answer waits for the disk, that one will do.
            return (self._promise(sender, message),) if self._ledger.is_durable() else ()
        sticky = self.leader is not None and self.leader != sender
        if message.epoch <= record.accepted or sticky or self._ledger.broken:
            return self.refuse(sender, message)
        if self._guard_for is not None and self._guard_for[0] == sender:
            self._guard_until = min(self._guard_until, max(now, self._hold_off_until))
            self._guard_for = None
        if now < self._guard_until:
            self._pending = PendingProposal(sender, boot, message, now + self._settings.handshake_s)
            return ()
        self.promises += 1
        text = f"{self._me}: promising epoch {message.epoch} to server {sender}"
        promise = self._promise(sender, message)
        return (Log(Level.VERBOSE, text), self._ledger.accept(Epoch(message.epoch), sender, boot, (promise,)))

    def refuse(self, sender: NodeId, message: Propose) -> Steps:
        """Say no, and why: what is accepted here, and which leader is heard (L1)."""
        self.refusals += 1
        accepted = self._ledger.durable.accepted
        leader = -1 if self.leader is None else self.leader
        epoch = 0 if self.leader is None else self.epoch
        return (Send(sender, Refuse(message.epoch, message.nonce, accepted, leader, epoch)),)

    def _promise(self, sender: NodeId, message: Propose) -> Send:
        return Send(sender, Promise(message.epoch, message.nonce, self._electorate.hash))

    def forget_proposal(self) -> None:
        """The one that waits for the guard: a leader grants nothing (L1), and the candidate says it again."""
        self._pending = None

    def _answer_pending(self, now: float) -> Steps:
        pending = self._pending
        if pending is None or now < self._guard_until:
            return ()
        self._pending = None
        if now >= pending.until:
            return ()
        return self.proposed(pending.sender, pending.boot, pending.message, now)

    # --- time -----------------------------------------------------------------------------------------

    def tick(self, now: float) -> Steps:
        """F without a heartbeat (L7); the guard's end (L4)."""
        steps = self._answer_pending(now)
        if self.leader is not None and now >= self._heard_at + self._settings.follower_timeout_s:
            steps = (*self.abandon("no heartbeat"), *steps)
        return steps

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        timeout = None if self.leader is None else self._heard_at + self._settings.follower_timeout_s
        if self._pending is None:
            return timeout
        return self._guard_until if timeout is None else min(timeout, self._guard_until)

    def snapshot(self, now: float) -> AllegianceSnapshot:
        """What people and metrics see."""
        following = self.leader is not None
        return AllegianceSnapshot(
            self.leader,
            self.epoch if following else NO_EPOCH,
            now - self._heard_at if following else None,
            max(0.0, self._guard_until - now),
            self.promises,
            self.refusals,
        )

    def validate(self) -> None:
        """Assert what must hold between events."""
        record = self._ledger.record
        assert self.leader is None or self.leader in self._electorate
        assert self.epoch <= record.fence_epoch, "nobody is followed unfenced (L6)"
        assert self._guard_until >= self._hold_off_until
