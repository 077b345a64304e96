"""One node's whole mind: everything that it decides happens in this object (architecture A2).

It composes three parts and lets none of them see another: who leads (`authority.py`), who is alive
(`membership.py`), and the work (`work.py`). Events come in, each part answers with *steps*; effects among
them go out to the driver in order, decisions are dealt with here, in the one place that knows what a new
leader or a failed member means for the rest.

No Twisted, no clock, no I/O: a whole cluster of these runs in one process under a simulated network.
"""

from __future__ import annotations

import random
from typing import cast

from cluster.config import poor_number
from cluster.core import events
from cluster.core.authority import Authority
from cluster.core.effects import (
    DECISIONS,
    BecameLeader,
    Decision,
    Effect,
    Effects,
    Elected,
    FetchFacts,
    Following,
    HandshakeFailed,
    HigherEpochProven,
    LeaderChannelBroke,
    Level,
    Log,
    LostLeader,
    LostLeadership,
    MemberFailed,
    SendFrame,
    Steps,
    Stopped,
)
from cluster.core.hello import Terms
from cluster.core.ledger import Ledger
from cluster.core.membership import Membership
from cluster.core.quorum import Electorate, quorum_of
from cluster.core.record import Record
from cluster.core.views import NodeSettings, NodeSnapshot
from cluster.core.work import Work
from cluster.identity import NodeId, Role, Status
from cluster.wire.jobs import Reason
from cluster.wire.messages import FactsDelta, FactsReply, FactsRequest, FactsWanted, Gossip, NodeFacts

RESIGN_LINGER_PERIODS = 3
"""W10: heartbeat periods that a leader stays after its RESIGN, which it repeats meanwhile."""

TROUBLE_MAX = 160
"""Characters of what a host says that it lacks (G5); its log has all of it."""

WORTH_WAITING_FOR = frozenset({Status.ALIVE, Status.SUSPECT})
"""W7: whose report a new leader waits for. Whoever is suspected may be starved, and still run things."""


class NodeCore:
    """Events in, effects out."""

    def __init__(
        self, settings: NodeSettings, record: Record, facts: NodeFacts, rng: random.Random, now: float
    ) -> None:
        me = settings.me
        electorate = Electorate.of(settings.cluster, settings.voters)
        self._settings = settings
        self._me = me
        self._ledger = Ledger(record)
        self.authority = Authority(settings.timing, me, electorate, self._ledger, settings.members, rng, now)
        self.membership = Membership(settings.gossip, facts, frozenset(settings.members), rng, now)
        self.work = Work(
            terms=Terms(settings.cluster, me, settings.role, settings.timing_digest, electorate),
            ledger=self._ledger,
            settings=settings.work,
            gateway=settings.gateway,
            cache=settings.cache,
        )
        self._now = now
        self._last_leader: NodeId | None = None
        self._stopping_since: float | None = None
        self._linger_until = now
        self._stopped = False
        self._suspects_at = self._jdks_at = now
        self._published: object = None

    # --- in and out -----------------------------------------------------------------------------------

    def start(self, now: float) -> Effects:
        """Begin to live; the first call."""
        text = f"{self._me}: started as {self._settings.role}, boot {self._ledger.record.boot}"
        steps = [Log(Level.SUMMARY, text)]
        if warning := poor_number(len(self._settings.voters)):
            steps.append(Log(Level.SUMMARY, f"{self._me}: WARNING: {warning} (N1)"))
        return self._run(tuple(steps), now)

    def receive(self, event: events.Event, now: float) -> Effects:
        """One thing happened, at `now` (monotonic seconds, read when the event is handed in)."""
        return self._run(self._on_event(event, now), now)

    def tick(self, now: float) -> Effects:
        """`next_deadline` came."""
        effects = list(self._run((*self.authority.tick(now), *self.membership.tick(now)), now))
        # The lease is read again here: the first half may have ended it (L3).
        effects += self._run(self.work.tick(now, may_act=self.authority.may_act(now)), now)
        self._look_for_suspects(now)
        self._explain_waiting(now)
        self._learn_jdks(now)
        return tuple(effects)

    def next_deadline(self) -> float | None:
        """The one moment at which `tick` must be called next, if nothing happens before."""
        soonest = self.membership.next_deadline()
        for moment in (
            self.authority.next_deadline(),
            self.work.next_deadline(may_act=self.authority.may_act(self._now)),
            None if self._stopping_since is None else self._stop_deadline(),
        ):
            if moment is not None and moment < soonest:
                soonest = moment
        return soonest

    def _run(self, steps: Steps, now: float) -> Effects:
        """Deal with decisions, in place and in order, until only effects are left."""
        self._now = now
        effects: list[Effect] = []
        self._absorb(steps, effects, now)
        if self.work.holds and self.authority.may_act(now):
            self._absorb(self.work.release_held(now), effects, now)
        if changed := self.authority.settle(now):
            self._absorb(changed, effects, now)
        self._publish_facts(now)
        if self._stopping_since is not None:
            self._absorb(self._finish_stopping(now), effects, now)
        return tuple(effects)

    def _absorb(self, steps: Steps, effects: list[Effect], now: float) -> None:
        for step in steps:
            if type(step) in DECISIONS:
                self._absorb(self._on_decision(cast("Decision", step), now), effects, now)
            else:
                effects.append(cast("Effect", step))

    # --- events ---------------------------------------------------------------------------------------

    def _on_event(self, event: events.Event, now: float) -> Steps:
        may_act = self.authority.may_act(now)
        match event:
            case events.DatagramArrived():
                return self._on_datagram(event, now)
            case events.FrameArrived():
                return self._on_frame(event, now, may_act=may_act)
            case events.ChannelOpened():
                return self.work.opened(event)
            case events.ChannelClosed():
                return self.work.closed(event, now, may_act=may_act)
            case events.DialFailed():
                text = f"{self._me}: can't reach server {event.peer}: {event.reason}"
                return (Log(Level.VERBOSE, text),)
            case events.Persisted():
                return self.authority.persisted(event.token, now)
            case events.PersistFailed():
                failed = self.authority.persist_failed(event.token, event.reason, now)
                return (*failed, *self.work.persist_failed(event.token, now))
            case events.LoopLagged():
                self.membership.lagged(event.seconds, now)
                return ()
            case events.RunnerDescribed():
                self.work.java = event.java
                return self.membership.update_facts(now, java=event.java, sandbox=event.sandbox)
            case events.RunnerTroubled():
                return self._on_trouble(event.trouble, now)
            case events.StopRequested():
                return self._on_stop(now)
            case _:
                return self.work.local(event, now, may_act=may_act)

    def _on_trouble(self, trouble: str, now: float) -> Steps:
        """The host can't run programs, or can again: everybody may know; its part in the protocol stays."""
        said = f"can't run programs: {trouble}" if trouble else "can run programs again"
        changed = self.membership.update_facts(now, trouble=trouble[:TROUBLE_MAX])
        return (Log(Level.SUMMARY, f"{self._me}: this host {said}"), *changed)

    def _on_datagram(self, event: events.DatagramArrived, now: float) -> Steps:
        message = event.message
        if isinstance(message, Gossip | FactsWanted | FactsDelta):
            return self.membership.receive(event.sender, event.boot, message, now)
        heard = self.membership.heard(event.sender, event.boot, now)
        return (*heard, *self.authority.receive(event, now))

    def _on_frame(self, event: events.FrameArrived, now: float, *, may_act: bool) -> Steps:
        frame = event.frame
        if self.work.peer_of(event.channel) is None:
            return ()
        if isinstance(frame, FactsRequest):
            reply = FactsReply(self.membership.facts_newer_than(frame.known))
            return (SendFrame(event.channel, reply),)
        if isinstance(frame, FactsReply):
            return self.membership.merge_facts(frame.facts, now)
        return self.work.frame(event, now, may_act=may_act)

    # --- decisions ------------------------------------------------------------------------------------

    def _on_decision(self, decision: Decision, now: float) -> Steps:
        match decision:
            case Elected():
                return self.authority.elected(decision, now)
            case HandshakeFailed():
                return self.authority.handshake_failed(decision, now)
            case BecameLeader():
                return self._on_became_leader(decision, now)
            case LostLeadership():
                text = f"{self._me}: no longer leading epoch {decision.epoch}: {decision.reason}"
                return (*self.work.stop_leading(now), Log(Level.SUMMARY, text))
            case Following():
                return self._on_following(decision, now)
            case LostLeader():
                lost = f"lost leader {decision.leader} of epoch {decision.epoch}: {decision.reason}"
                return (Log(Level.SUMMARY, f"{self._me}: {lost}"), *self.work.leader_lost(now))
            case LeaderChannelBroke():
                reason = f"its channel broke ({decision.reason})"
                return self.authority.suspect_leader(decision.leader, reason)
            case HigherEpochProven():
                return self.authority.higher_epoch(decision.epoch)
            case MemberFailed():
                lost_leader = self.authority.suspect_leader(decision.node, "gossip declared it failed")
                may_act = self.authority.may_act(now)
                return (*lost_leader, *self.work.member_failed(decision.node, now, may_act=may_act))
            case FetchFacts():
                channel = self.work.channel_to(decision.peer)
                return () if channel is None else (SendFrame(channel, FactsRequest(decision.known)),)
            case _:
                return ()  # MemberRecovered: membership has logged it, and everybody asks it for the status

    def _on_following(self, decision: Following, now: float) -> Steps:
        leader, epoch = decision.leader, decision.epoch
        self._last_leader = leader
        text = f"{self._me}: following server {leader} in epoch {epoch}"
        boot = self.authority.allegiance.leader_boot
        return (
            Log(Level.SUMMARY, text),
            *self.authority.leadership.cancel(),
            *self.work.follow(leader, boot, epoch, now),
        )

    def _on_became_leader(self, decision: BecameLeader, now: float) -> Steps:
        """Stop following, and start counting who has what (W7)."""
        replaced, self._last_leader = self._last_leader, self._me
        self.authority.allegiance.leader = None
        awaited = frozenset(
            node
            for node in (*self._settings.workers, *self._joined())
            if node != replaced and self.membership.status(node) in WORTH_WAITING_FOR
        )
        self._suspects_at = now  # the next tick also looks for workers that joined under the last leader
        text = f"{self._me}: leading epoch {decision.epoch}"
        return (Log(Level.SUMMARY, text), *self.work.lead(decision.epoch, now, awaited))

    def _look_for_suspects(self, now: float) -> None:
        """Round robin skips suspects (W3)."""
        if self.work.dispatch is None or now < self._suspects_at:
            return
        self._suspects_at = now + self._settings.gossip.interval_s
        joined = self._joined()
        self.authority.leadership.audience = (*self._settings.members, *joined)
        workers = (*self._settings.workers, *joined)
        suspects = frozenset(n for n in workers if self.membership.status(n) is Status.SUSPECT)
        self.work.dispatch.suspect(suspects)

    def _joined(self) -> tuple[NodeId, ...]:
        """Workers that are in no member list and made themselves known by gossip: capacity, never votes."""
        return tuple(
            node
            for node in self.membership.strangers()
            if self.membership.status(node) is not Status.FAILED
            and (facts := self.membership.facts(node)) is not None
            and facts.role is Role.WORKER
        )

    def _learn_jdks(self, now: float) -> None:
        """A gateway's cache tells the outcomes of one JDK, or of one mixture of them, from another's (C1)."""
        submission = self.work.submission
        if submission is None or now < self._jdks_at:
            return
        self._jdks_at = now + self._settings.gossip.interval_s
        alive = (
            self.membership.facts(node)
            for node in (*self._settings.workers, *self._joined())
            if self.membership.status(node) is Status.ALIVE
        )
        jdks = {facts.java for facts in alive if facts is not None and facts.java}
        if jdks:
            submission.java = ", ".join(sorted(jdks))

    def _explain_waiting(self, now: float) -> None:
        """A gateway's clients are told what is missing (W11)."""
        submission = self.work.submission
        if submission is None:
            return
        voters = self._settings.voters
        alive = sum(self.membership.status(voter) is Status.ALIVE for voter in voters)
        leader, lower = self.authority.allegiance.leader, self.authority.allegiance.lower_leader(now)
        if leader is not None:
            text = f"leader {leader} does not take this gateway on"
        elif lower is not None:
            text = (
                f"server {lower[0]} leads epoch {lower[1]}, and this node has accepted "
                f"{self._ledger.record.accepted}: if the cluster was made anew, make this node's record "
                "anew as well (javacluster init)"
            )
        elif alive < quorum_of(len(voters)):
            text = f"no quorum: {alive} of {len(voters)} peers can be reached"
        else:
            text = "the peers have not elected one"
        submission.explain(Reason.NO_LEADER, text)

    def _publish_facts(self, now: float) -> None:
        """What this node says of itself in gossip: nothing that is not so (G5, I11)."""
        load, draining = self.work.load(), self._stopping_since is not None
        state, leader, epoch = self.authority.shown(now)
        published = (state, leader, epoch, load, draining)
        if published == self._published:
            return  # as after most events
        self._published = published
        self.membership.update_facts(
            now,
            state=state,
            leader=-1 if leader is None else leader,
            epoch=epoch,
            slots=load.slots,
            running=load.running,
            queued=load.queued,
            draining=draining,
        )

    # --- stopping -------------------------------------------------------------------------------------

    def _on_stop(self, now: float) -> Steps:
        """Hand over, drain, and stop (W10)."""
        if self._stopping_since is not None:
            return ()
        self._stopping_since = self._linger_until = now
        if self.authority.leadership.leading:
            self._linger_until += RESIGN_LINGER_PERIODS * self._settings.timing.heartbeat_s
        log = Log(Level.SUMMARY, f"{self._me}: stopping")
        return (log, *self.authority.stop("stopping"), *self.work.drain(now))

    def _stop_deadline(self) -> float | None:
        """When stopping must be looked at again: after the linger, and at the end of the drain."""
        if self._stopping_since is None or self._stopped:
            return None
        drained_by = self._stopping_since + self._settings.work.drain_s
        return drained_by if self._now >= self._linger_until else self._linger_until

    def _finish_stopping(self, now: float) -> Steps:
        if self._stopping_since is None or self._stopped or now < self._linger_until:
            return ()
        if not self.work.idle and now < self._stopping_since + self._settings.work.drain_s:
            return ()
        self._stopped = True
        return (Log(Level.SUMMARY, f"{self._me}: stopped"), Stopped())

    # --- looking in -----------------------------------------------------------------------------------

    def snapshot(self, now: float) -> NodeSnapshot:
        """Everything that may be shown of this node at `now`."""
        authority = self.authority
        leader, epoch = authority.vouched_leader(now)
        return NodeSnapshot(
            me=self._me,
            role=self._settings.role,
            state=authority.shown_state(now),
            leader=leader,
            epoch=epoch,
            may_act=authority.may_act(now),
            storage_ok=not self._ledger.broken,
            stopping=self._stopping_since is not None,
            record=self._ledger.record,
            other_lists=authority.other_lists,
            election=authority.election.snapshot(),
            allegiance=authority.allegiance.snapshot(now),
            leadership=authority.leadership.snapshot(now),
            admission=authority.admission.snapshot(),
            membership=self.membership.snapshot(now),
            work=self.work.snapshot(),
        )

    def validate(self) -> None:
        """Assert every invariant that one node can see; called after each step of a test."""
        for part in (self.authority, self.membership, self.work):
            part.validate()
