"""Who leads, as one node sees it: ballot, promises, lease, and the vote itself (N, E and L rules).

Composes `election.py`, `allegiance.py`, `leadership.py` and `admission.py` around one ledger, and deals with
what crosses between them: a ballot won opens a handshake, a promise to another ends mine, a higher epoch ends
my office. The state (LOOKING, FOLLOWING, LEADING, OBSERVING) is never stored by a part: it follows from whom
the node follows and what it leads.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ParamSpec

from cluster.config import TimingSettings
from cluster.core.admission import Admission
from cluster.core.allegiance import Allegiance
from cluster.core.effects import Elected, HandshakeFailed, Level, Log, Steps
from cluster.core.election import Election
from cluster.core.events import DatagramArrived
from cluster.core.leadership import Leadership
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.identity import NO_EPOCH, Boot, Epoch, NodeId, State
from cluster.wire.messages import (
    Heartbeat,
    HeartbeatAck,
    Notification,
    Probe,
    ProbeReply,
    Promise,
    Propose,
    Refuse,
    Resign,
)

P = ParamSpec("P")

OF_A_LIST = (Notification, Propose, Promise, Probe, ProbeReply)
"""Datagrams that carry the hash of their sender's voter list (N1)."""


class Authority:
    """One node's part in deciding who leads."""

    def __init__(
        self,
        timing: TimingSettings,
        me: NodeId,
        electorate: Electorate,
        ledger: Ledger,
        audience: tuple[NodeId, ...],
        rng: random.Random,
        now: float,
    ) -> None:
        self._me = me
        self._electorate = electorate
        self._ledger = ledger
        self.election = Election(timing, me, electorate, ledger, rng)
        self.allegiance = Allegiance(timing, me, electorate, ledger, now)
        self.leadership = Leadership(timing, me, electorate, ledger, audience, rng)
        self.admission = Admission(timing, me, electorate, ledger, rng, now)
        self._parts = (self._ledger, self.allegiance, self.leadership, self.admission, self.election)
        self._state = State.OBSERVING
        self.other_lists = 0
        self._misled: dict[NodeId, Boot] = {}

    # --- what is so now -------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What this node does now; follows from its parts."""
        if self.leadership.leading:
            return State.LEADING
        if not self.allegiance.may_vote:
            return State.OBSERVING
        return State.LOOKING if self.allegiance.leader is None else State.FOLLOWING

    def may_act(self, now: float) -> bool:
        """Whether this node may act as the leader at this instant (L3)."""
        return self.leadership.may_act(now)

    def shown(self, now: float) -> tuple[State, NodeId | None, Epoch]:
        """What others are told: `shown_state` and `vouched_leader`, at once."""
        if self.leadership.may_act(now):
            return State.LEADING, self._me, self.leadership.epoch
        state = State.LOOKING if self.leadership.leading else self.state
        leader = self.allegiance.leader
        return (state, None, NO_EPOCH) if leader is None else (state, leader, self.allegiance.epoch)

    def shown_state(self, now: float) -> State:
        """The state for statuses: never LEADING without the lease (I11)."""
        return self.shown(now)[0]

    def vouched_leader(self, now: float) -> tuple[NodeId | None, Epoch]:
        """The leader that this node can vouch for: itself while it may act, or whom it follows (I11)."""
        return self.shown(now)[1:]

    def settle(self, now: float) -> Steps:
        """After each event: say that the state changed, and start or end the ballot."""
        old, new = self._state, self.state
        if old is new:
            return ()
        self._state = new
        log = Log(Level.SUMMARY, f"{self._me}: switching from {old} to {new}")
        if new is State.LOOKING:
            return (log, *self.election.start(now))
        self.election.stop()
        if new is State.LEADING:
            self.allegiance.forget_proposal()
        return (log,)

    # --- datagrams ------------------------------------------------------------------------------------

    def receive(self, event: DatagramArrived, now: float) -> Steps:
        """An election or leadership datagram. Of another voter list it is shown; the parts drop it (N1)."""
        message = event.message
        if isinstance(message, OF_A_LIST) and message.voters != self._electorate.hash:
            return (*self._show_other_list(event.sender, event.boot), *self._dispatch(event, now))
        return self._dispatch(event, now)

    def _show_other_list(self, sender: NodeId, boot: Boot) -> Steps:
        """Counted each time, and told once in each life of the sender."""
        self.other_lists += 1
        if self._misled.get(sender) == boot:
            return ()
        self._misled[sender] = boot
        text = f"server {sender} has another list of voters and is not heard: give all nodes the same members"
        return (Log(Level.SUMMARY, f"{self._me}: WARNING: {text} (N1)"),)

    def _dispatch(self, event: DatagramArrived, now: float) -> Steps:
        sender, boot, message = event.sender, event.boot, event.message
        match message:
            case Notification():
                return self._on_notification(sender, boot, event.sequence, message, now)
            case Propose():
                return self._on_propose(sender, boot, message, now)
            case Promise():
                return self.leadership.promised(sender, message, now)
            case Refuse():
                self.leadership.refused(sender, message)
            case Heartbeat():
                return self._on_heartbeat(sender, boot, message, now)
            case HeartbeatAck():
                self.leadership.acknowledged(sender, message)
            case Resign():
                return self._as_voter(self.allegiance.resigned, sender, message, now)
            case Probe():
                leading = self.leadership.epoch if self.may_act(now) else NO_EPOCH
                return self.admission.reply(sender, message, leading)
            case ProbeReply():
                return self.admission.answered(sender, message, now)
            case _:
                pass
        return ()

    def _on_notification(
        self, sender: NodeId, boot: Boot, sequence: int, note: Notification, now: float
    ) -> Steps:
        """A ballot goes on, or a LOOKING voter wants to know whom I follow (E2, E6, L5)."""
        if not self.allegiance.may_vote:
            return ()
        steps = self.election.receive(sender, boot, sequence, note, now)
        votes = sender in self._electorate
        if votes and note.voters != self._electorate.hash:
            return steps
        if votes:
            self.allegiance.believes(sender, note.accepted, now)
            self.leadership.saw_epoch(note.accepted)
        if self.state is State.LOOKING:
            return steps
        if votes and note.state is State.LOOKING:
            steps = (*steps, *self.leadership.outrun(note.accepted, now))
        if self.allegiance.leader is None and not self.leadership.leading:
            return steps  # it resigned just now; its ballot begins when the event is settled
        # Only here: whoever has just begun to renew itself no longer claims to lead (I11).
        leader, epoch = self.vouched_leader(now)
        reply = self.election.notification(self.state, leader, epoch)
        return (*steps, *self.election.answer(sender, note, reply, now))

    def _on_propose(self, sender: NodeId, boot: Boot, message: Propose, now: float) -> Steps:
        """A LEADING node grants nothing while its lease holds; without it, it resigns first (L1)."""
        if sender not in self._electorate or message.voters != self._electorate.hash:
            return ()
        if self.may_act(now):
            return self.allegiance.refuse(sender, message)
        steps: Steps = ()
        if self.leadership.leading and message.epoch > self._ledger.record.accepted:
            steps = self.leadership.resign(f"server {sender} proposes epoch {message.epoch}")
        return (*steps, *self._as_voter(self.allegiance.proposed, sender, boot, message, now))

    def _as_voter(self, step: Callable[P, Steps], *args: P.args, **kwargs: P.kwargs) -> Steps:
        """A step of the voter's side; if it promised another, my own handshake is over (L1)."""
        accepted = self._ledger.record.accepted
        steps = step(*args, **kwargs)
        return (*self.leadership.cancel(), *steps) if self._ledger.record.accepted > accepted else steps

    def _on_heartbeat(self, sender: NodeId, boot: Boot, message: Heartbeat, now: float) -> Steps:
        """A leader of a higher epoch ends mine (L5); a lower one is ignored."""
        if not self.leadership.leading:
            return self.allegiance.heartbeat(sender, boot, message, now)
        epoch = self.leadership.epoch
        if sender not in self._electorate or message.epoch <= epoch:
            return ()
        if not self.allegiance.believes(sender, message.epoch, now):
            return ()
        steps = self.leadership.resign(f"server {sender} leads epoch {message.epoch}")
        return (*steps, *self.allegiance.heartbeat(sender, boot, message, now))

    # --- what the parts decided, and what the rest of the node found out ------------------------------

    def elected(self, decision: Elected, now: float) -> Steps:
        """The ballot is over; if it chose me, I open the handshake (E5, L1)."""
        if decision.candidate != self._me:
            return ()
        return self.leadership.open(now, self.allegiance.guard_until)

    def handshake_failed(self, _decision: HandshakeFailed, now: float) -> Steps:
        """Let others try first (E4)."""
        return self.election.cool_down(now)

    def higher_epoch(self, epoch: Epoch) -> Steps:
        """A channel frame proved a higher established epoch (L5, L6)."""
        self.leadership.saw_epoch(epoch)
        return self.leadership.resign(f"epoch {epoch} is established")

    def suspect_leader(self, leader: NodeId, reason: str) -> Steps:
        """Its channel broke, or gossip gave it up: LOOKING at once; the guard still holds (L7, L4)."""
        return self.allegiance.abandon(reason) if self.allegiance.leader == leader else ()

    def stop(self, reason: str) -> Steps:
        """Never a candidate again; a leader hands over (W10, L5)."""
        self.election.stopping = True
        return self.leadership.resign(reason)

    def persisted(self, token: int, now: float) -> Steps:
        """A record is durable."""
        self._ledger.persisted(token)
        return self.leadership.persisted(token, now)

    def persist_failed(self, token: int, reason: str, now: float) -> Steps:
        """It is not: resign, promise nothing (N4)."""
        self._ledger.failed(token, now)
        text = f"{self._me}: the durable record can't be written: {reason}"
        return (Log(Level.SUMMARY, text), *self.leadership.storage_failed())

    # --- time -----------------------------------------------------------------------------------------

    def tick(self, now: float) -> Steps:
        """Let every part see the time."""
        return (
            *self._ledger.tick(now),
            *self._as_voter(self.allegiance.tick, now),
            *self.leadership.tick(now),
            *self.admission.tick(now),
            *self.election.tick(now),
        )

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        soonest = None
        for part in self._parts:
            moment = part.next_deadline()
            if moment is not None and (soonest is None or moment < soonest):
                soonest = moment
        return soonest

    def validate(self) -> None:
        """Assert every part's invariants, and those between them."""
        for part in (self._ledger, self.election, self.allegiance, self.leadership):
            part.validate()
        assert not (self.leadership.leading and self.allegiance.leader is not None), "leads and follows"
        assert self.election.looking == (self._state is State.LOOKING)
