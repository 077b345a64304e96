"""Who may lead: the candidate's and the leader's side (L1-L3, L5).

    IDLE --elected--> GUARDED --own guard over--> WRITING --durable--> PROPOSING --quorum--> LEADING
                                                                                   |          |
    IDLE <--promised another, or deadline (cool-down)------------------------------+          |
    IDLE <--resigned: lease lost for F, storage error, higher epoch, stop---------------------+
                         LEADING --a voter accepted a higher epoch--> WRITING, and so on (renewal)

LEADING says that a quorum promised the epoch to this very life of this node; it is the only one that ever
led it. Whether it may *act* is another question, answered by `may_act(now)` at each use: only while a
quorum has acknowledged a heartbeat that was **sent** less than L ago.
"""

from __future__ import annotations

import enum
import math
import random

import attrs

from cluster.config import TimingSettings
from cluster.core.effects import (
    BecameLeader,
    Effect,
    HandshakeFailed,
    Level,
    Log,
    LostLeadership,
    Send,
    Steps,
)
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.identity import EPOCH_STEP, MAX_EPOCH_JUMP, NO_EPOCH, Boot, Epoch, NodeId
from cluster.wire.messages import Heartbeat, HeartbeatAck, Promise, Propose, Refuse, Resign

LEAP_WAITS = 2
"""Between two renewals for an epoch far above, in times of what N5 and N6 wait for (`rejoin_s`)."""

SENT_KEPT = 256
"""Heartbeats whose sending time is remembered; an acknowledgement of an older one is worthless anyway."""

RESIGN_REPEATS = 3
"""RESIGN is a datagram: it is sent this often, a heartbeat period apart."""

NONCE_BITS = 63


class Phase(enum.Enum):
    """Where the handshake stands."""

    IDLE = "idle"
    GUARDED = "guarded"
    WRITING = "writing"
    PROPOSING = "proposing"
    LEADING = "leading"


@attrs.frozen
class LeadershipSnapshot:
    """For status, metrics and logs; `lease_s` is what is left of it, negative when lost."""

    phase: Phase
    epoch: Epoch
    lease_s: float
    handshakes: int
    established: int
    resigned: int


class Leadership:
    """Opens handshakes, holds the lease, resigns."""

    def __init__(
        self,
        settings: TimingSettings,
        me: NodeId,
        electorate: Electorate,
        ledger: Ledger,
        audience: tuple[NodeId, ...],
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._me = me
        self._electorate = electorate
        self._ledger = ledger
        self._rng = rng
        self.audience = audience
        self.phase = Phase.IDLE
        self.epoch = NO_EPOCH
        self.handshakes = self.established = self.resigned = 0
        self._heard_epoch = NO_EPOCH
        # the handshake
        self._proposed = NO_EPOCH
        self._nonce = 0
        self._token = 0
        self._promises: set[NodeId] = set()
        self._start_at = 0.0
        self._propose_at = 0.0
        self._deadline = math.inf
        self._renewing = False
        self._leap_at = -math.inf
        # the lease
        self._since = 0.0
        self._seq = 0
        self._sent: dict[int, float] = {}
        self._acked: dict[NodeId, float] = {}
        self._lease_end = -math.inf
        self._heartbeat_at = 0.0
        self._resigning: tuple[Epoch, int, float] | None = None

    @property
    def leading(self) -> bool:
        """Whether a quorum promised `epoch` and it was not resigned; a renewal counts (L5)."""
        return self.phase is Phase.LEADING or self._renewing

    @property
    def in_handshake(self) -> bool:
        """Whether a handshake is under way."""
        return self.phase in {Phase.GUARDED, Phase.WRITING, Phase.PROPOSING}

    def lease_until(self) -> float:
        """When the lease ends, from the sending of acknowledged heartbeats (L3)."""
        return self._lease_end if self.phase is Phase.LEADING else -math.inf

    def may_act(self, now: float) -> bool:
        """Whether this node may act as the leader at this instant (L3): asked several times an event."""
        return self.phase is Phase.LEADING and now < self._lease_end

    def _reckon_lease(self) -> None:
        """When the lease ends; it changes with the acknowledgements, and is looked at far more often."""
        reached = self._electorate.reached_by_quorum([math.inf, *self._acked.values()])
        self._lease_end = -math.inf if reached is None else reached + self._settings.lease_s

    def saw_epoch(self, epoch: int) -> None:
        """An accepted epoch was reported; mine must be above every one heard (L1); in steps (N6)."""
        near = min(epoch, self._ledger.record.accepted + EPOCH_STEP)
        self._heard_epoch = Epoch(max(self._heard_epoch, near))

    # --- the handshake --------------------------------------------------------------------------------

    def open(self, now: float, guard_until: float) -> Steps:
        """The ballot chose me: propose myself as soon as my own guard is over (L1)."""
        if self.phase is not Phase.IDLE:
            return ()
        self.handshakes += 1
        self.phase = Phase.GUARDED
        self._start_at = guard_until
        return self.tick(now)

    def cancel(self) -> Steps:
        """Another was promised, or is followed: this handshake is over, without a cool-down (L1)."""
        if self._renewing:
            return self._resign("promised another")
        if self.in_handshake:
            self.phase = Phase.IDLE
        return ()

    def _propose_myself(self, now: float) -> Steps:
        """Pick the epoch, and put my own promise on disk first (N4)."""
        if self._ledger.broken:
            self.phase = Phase.IDLE
            return ()
        epoch = Epoch(max(self._ledger.record.accepted, self._heard_epoch) + 1)
        self.phase = Phase.WRITING
        self._proposed = epoch
        self._deadline = now + self._settings.handshake_s
        persist = self._ledger.accept(epoch, self._me, Boot(self._ledger.record.boot))
        self._token = persist.token
        return (persist,)

    def persisted(self, token: int, now: float) -> Steps:
        """My own promise is durable: ask the others."""
        if self.phase is not Phase.WRITING or token != self._token:
            return ()
        self.phase = Phase.PROPOSING
        self._nonce = self._rng.getrandbits(NONCE_BITS)
        self._promises = {self._me}
        self._deadline = now + self._settings.handshake_s
        return (*self._send_proposals(now), *self._count(now))

    def promised(self, sender: NodeId, message: Promise, now: float) -> Steps:
        """A voter's durable promise; counted only within the handshake's age (L2)."""
        expected = (self._proposed, self._nonce, self._electorate.hash)
        if self.phase is not Phase.PROPOSING or (message.epoch, message.nonce, message.voters) != expected:
            return ()
        if now >= self._deadline or sender not in self._electorate:
            return ()
        self._promises.add(sender)
        return self._count(now)

    def refused(self, sender: NodeId, message: Refuse) -> None:
        """A voter's refusal does not end the handshake (L1); its accepted epoch is worth knowing."""
        if sender in self._electorate:
            self.saw_epoch(message.accepted)

    def _count(self, now: float) -> Steps:
        if not self._electorate.is_quorum(self._promises):
            return ()
        self.phase = Phase.LEADING
        self.epoch = self._proposed
        self._renewing = False
        self.established += 1
        self._since = now
        self._sent.clear()
        self._acked.clear()
        self._reckon_lease()
        self._resigning = None
        fence = self._ledger.fence(self.epoch, self._me, Boot(self._ledger.record.boot))
        return (BecameLeader(self.epoch), fence, *self._send_heartbeats(now))

    def _send_proposals(self, now: float) -> Steps:
        self._propose_at = now + self._settings.propose_every_s
        message = Propose(self._proposed, self._nonce, self._electorate.hash)
        waiting = (v for v in self._electorate.others(self._me) if v not in self._promises)
        return tuple(Send(voter, message) for voter in waiting)

    # --- leading --------------------------------------------------------------------------------------

    def _send_heartbeats(self, now: float) -> tuple[Effect, ...]:
        self._heartbeat_at = now + self._settings.heartbeat_s
        self._seq += 1
        self._sent[self._seq] = now
        if len(self._sent) > SENT_KEPT:
            del self._sent[min(self._sent)]
        message = Heartbeat(self.epoch, self._seq, self._settings.lease_s)
        return tuple(Send(node, message) for node in self.audience)

    def acknowledged(self, sender: NodeId, message: HeartbeatAck) -> None:
        """A voter has that heartbeat: its *sending* time counts for the lease (L3)."""
        sent = self._sent.get(message.seq)
        if self.phase is not Phase.LEADING or message.epoch != self.epoch or sent is None:
            return
        if sender in self._electorate and sender != self._me and sent > self._acked.get(sender, -math.inf):
            self._acked[sender] = sent
            self._reckon_lease()

    def outrun(self, accepted: int, now: float) -> Steps:
        """A LOOKING voter has accepted a higher epoch than mine (L5, M7).

        One far above (N6) is approached so rarely that the others have time to follow, and who lost its disk
        to see one epoch for long enough (N5): what its record says may be out of reach for ever.
        """
        self.saw_epoch(accepted)
        if self.phase is not Phase.LEADING or accepted <= self.epoch:
            return ()
        if accepted > self.epoch + MAX_EPOCH_JUMP:
            if now < self._leap_at:
                return ()
            self._leap_at = now + LEAP_WAITS * self._settings.rejoin_s
        if not self.may_act(now):
            return self._resign(f"epoch {accepted} was accepted elsewhere")
        self._renewing = True
        self.handshakes += 1
        text = f"{self._me}: renewing: a voter has accepted epoch {accepted}, above {self.epoch}"
        return (Log(Level.SUMMARY, text), *self._propose_myself(now))

    def resign(self, reason: str) -> Steps:
        """Stop leading, and say so once nothing is done as leader any more (L5)."""
        if self.leading:
            return self._resign(reason)
        return self.cancel()

    def _resign(self, reason: str) -> Steps:
        epoch = self.epoch
        self.phase = Phase.IDLE
        self._renewing = False
        self.resigned += 1
        self._resigning = (epoch, RESIGN_REPEATS - 1, self._heartbeat_at)
        # LostLeadership comes first: the node stops acting before anybody hears of it.
        return (LostLeadership(epoch, reason), *self._send_resign(epoch))

    def _send_resign(self, epoch: Epoch) -> tuple[Effect, ...]:
        return tuple(Send(node, Resign(epoch)) for node in self.audience)

    def storage_failed(self) -> Steps:
        """A leader resigns, a candidate gives up (N4, L5)."""
        return self.resign("storage error")

    # --- time -----------------------------------------------------------------------------------------

    def tick(self, now: float) -> Steps:
        """Guard over, proposals again, deadline, heartbeats, lease, repeated RESIGN."""
        match self.phase:
            case Phase.GUARDED if now >= self._start_at:
                return self._propose_myself(now)
            case Phase.WRITING | Phase.PROPOSING if now >= self._deadline:
                return self._handshake_over()
            case Phase.PROPOSING if now >= self._propose_at:
                return self._send_proposals(now)
            case Phase.LEADING:
                return self._tick_leading(now)
            case _:
                return self._repeat_resign(now)

    def _handshake_over(self) -> Steps:
        if self._renewing:
            return self._resign("the renewal was not promised in time")
        self.phase = Phase.IDLE
        return (HandshakeFailed(),)

    def _tick_leading(self, now: float) -> Steps:
        if now - max(self.lease_until(), self._since) > self._settings.follower_timeout_s:
            return self._resign("lease lost")
        return self._send_heartbeats(now) if now >= self._heartbeat_at else ()

    def _repeat_resign(self, now: float) -> Steps:
        if self._resigning is None or now < self._resigning[2]:
            return ()
        epoch, left, _ = self._resigning
        self._resigning = (epoch, left - 1, now + self._settings.heartbeat_s) if left > 1 else None
        return self._send_resign(epoch)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        match self.phase:
            case Phase.IDLE:
                return self._resigning[2] if self._resigning else None
            case Phase.LEADING:
                return self._heartbeat_at
            case Phase.GUARDED:
                return self._start_at
            case Phase.WRITING:
                return self._deadline
            case Phase.PROPOSING:
                return min(self._propose_at, self._deadline)

    def snapshot(self, now: float) -> LeadershipSnapshot:
        """What people and metrics see."""
        until = self.lease_until()
        return LeadershipSnapshot(
            self.phase,
            self.epoch if self.leading else NO_EPOCH,
            until - now if until > -math.inf else -1.0,
            self.handshakes,
            self.established,
            self.resigned,
        )

    def validate(self) -> None:
        """Assert what must hold between events."""
        record = self._ledger.record
        if self.phase is Phase.LEADING:
            assert record.accepted >= self.epoch == record.fence_epoch
            assert record.fence_leader == self._me
            assert self._electorate.is_quorum(self._promises), "established by a quorum (I4)"
            reckoned = self._lease_end
            self._reckon_lease()
            assert reckoned == self._lease_end, "the lease follows from the acknowledgements (L3)"
        if self._renewing:
            assert self.phase in {Phase.WRITING, Phase.PROPOSING}
