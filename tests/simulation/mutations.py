"""The mutations themselves: what a careless change might do to a rule, in place of the real functions."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from cluster.config import TimingSettings, WorkSettings
from cluster.core.admission import Admission
from cluster.core.allegiance import Allegiance
from cluster.core.assignments import Absence, Assignments
from cluster.core.authority import Authority
from cluster.core.dispatch import Dispatch
from cluster.core.effects import Answer, Dial, Effect, Effects, Log, Persist, Send, SendFrame, Steps
from cluster.core.election import Election
from cluster.core.execution import Execution
from cluster.core.failure_detector import FailureDetector
from cluster.core.gossip_table import Rise, Row, Table
from cluster.core.group_commit import GroupCommit
from cluster.core.leadership import Leadership, Phase
from cluster.core.ledger import Ledger
from cluster.core.links import Links
from cluster.core.node import NodeCore
from cluster.core.office import Office
from cluster.core.pending import Pending
from cluster.core.quorum import Electorate, quorum_of
from cluster.core.submission import Submission
from cluster.identity import Boot, Epoch, NodeId, Round, State, Status, voters_hash
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    HeartbeatAck,
    Notification,
    Ping,
    Pong,
    Propose,
    Refuse,
    Release,
    Result,
)
from cluster.wire.sealing import Lives
from tests.simulation import mutations_disk

# --- the durable record --------------------------------------------------------------


def _boots_ignored(self: Lives, sender: int, boot: int, sequence: int) -> str:
    return "" if self.life(sender, boot).is_fresh(sequence) else "replayed"


def _oldest_written(self: GroupCommit[Any]) -> object:
    self.under_way, self._waiting = self._waiting, []
    return self.under_way[0]


def _promise_before_durable(
    self: Allegiance, sender: NodeId, boot: Boot, message: Propose, now: float
) -> Steps:
    steps = _real_proposed(self, sender, boot, message, now)
    loose: list[Any] = []
    for step in steps:
        if isinstance(step, Persist):
            loose += [*step.then, Persist(step.record, step.token, ())]
        else:
            loose.append(step)
    return tuple(loose)


_real_proposed = Allegiance.proposed


def _proposal_before_durable(self: Leadership, now: float) -> Steps:
    """The candidate asks the others while its own promise is still on its way to the disk."""
    steps = _real_propose_myself(self, now)
    if self.phase is not Phase.WRITING:
        return steps
    return (*steps, *self.persisted(self._token, now))


_real_propose_myself = Leadership._propose_myself


def _refusal_before_durable(self: Allegiance, sender: NodeId, message: Propose) -> Steps:
    """It tells what was decided, which may still be on its way to the disk."""
    accepted = self._ledger.record.accepted
    leader, epoch = (-1, 0) if self.leader is None else (self.leader, self.epoch)
    return (Send(sender, Refuse(message.epoch, message.nonce, accepted, leader, epoch)),)


def _refusal_names_promised(self: Allegiance, sender: NodeId, message: Propose) -> Steps:
    """It names whom it promised, who may never have led."""
    told = self._ledger.durable
    refusal = Refuse(message.epoch, message.nonce, told.accepted, told.promised_node, told.accepted)
    return (Send(sender, refusal),)


# --- quorum -----------------------------------------------------------------------------------------


def _electorate_one_less(_cls: type[Electorate], cluster: str, voters: Any) -> Electorate:
    ordered = tuple(sorted(set(voters)))
    return Electorate(ordered, max(1, quorum_of(len(ordered)) - 1), voters_hash(cluster, ordered))


_real_tick = NodeCore.tick


def _quorum_from_gossip(self: NodeCore, now: float) -> Effects:
    """A majority of those whom gossip believes alive."""
    electorate = self.authority._electorate
    alive = sum(self.membership.status(voter) is not Status.FAILED for voter in electorate.voters)
    object.__setattr__(electorate, "quorum", quorum_of(alive))
    return _real_tick(self, now)


# --- the lease and the guard ------------------------------------------------------------------------


def _lease_by_timer(self: Leadership, now: float) -> bool:
    """Looked at when a heartbeat is sent, not when it is used."""
    del now
    at = self._heartbeat_at - self._settings.heartbeat_s
    return at < self.lease_until()


def _lease_from_receipt(self: Leadership, sender: NodeId, message: HeartbeatAck) -> None:
    """Any acknowledgement counts as one of the newest heartbeat."""
    if self.phase is Phase.LEADING and message.epoch == self.epoch and sender in self._electorate:
        self._acked[sender] = max(self._sent.values(), default=-math.inf)
        self._reckon_lease()


def _no_stickiness(self: Allegiance, sender: NodeId, boot: Boot, message: Propose, now: float) -> Steps:
    """Whoever follows a leader promises another all the same, at once."""
    leader, self.leader = self.leader, None
    self._guard_until = self._hold_off_until
    steps = _real_proposed(self, sender, boot, message, now)
    self.leader = leader
    return steps


def _guard_ignored(self: Allegiance, sender: NodeId, boot: Boot, message: Propose, now: float) -> Steps:
    self._guard_until = max(self._hold_off_until, min(self._guard_until, now))
    return _real_proposed(self, sender, boot, message, now)


_real_abandon = Allegiance.abandon


def _hint_lifts_guard(self: Allegiance, reason: str) -> Steps:
    """M4: a broken channel ends the guard too."""
    if "channel" in reason:
        self._guard_until = self._hold_off_until
    return _real_abandon(self, reason)


_real_allegiance = Allegiance.__init__


def _no_hold_off(
    self: Allegiance, settings: TimingSettings, me: NodeId, electorate: Electorate, ledger: Ledger, now: float
) -> None:
    _real_allegiance(self, settings, me, electorate, ledger, now)
    self._hold_off_until = self._guard_until = now


_real_open = Leadership.open


def _own_promise_in_guard(self: Leadership, now: float, _guard_until: float) -> Steps:
    return _real_open(self, now, now)


def _ack_after_promise(self: Allegiance, sender: NodeId, message: Any, _now: float) -> bool:
    """M2: an epoch below the promised one is still followed."""
    if sender not in self._electorate or message.epoch in self._voided.get(sender, ()):
        return False
    record = self._ledger.record
    return message.epoch > record.fence_epoch or (
        message.epoch == record.fence_epoch and record.fence_leader == sender
    )


def _fence_below_accepted(self: Ledger, epoch: Epoch, leader: NodeId, boot: Boot, then: Any = ()) -> Persist:
    """What `_ack_after_promise` needs to go through with it."""
    record = msgspec.structs.replace(
        self.record, fence_epoch=max(epoch, self.record.fence_epoch), fence_leader=leader
    )
    if epoch > record.accepted:
        record = msgspec.structs.replace(record, accepted=epoch, promised_node=leader, promised_boot=boot)
    return self._write(record, then)


def _leader_grants(self: Any, sender: NodeId, boot: Boot, message: Propose, now: float) -> Steps:
    """M1: a leader without its lease promises another and stays in office."""
    if sender not in self._electorate or self.may_act(now):
        return ()
    return self.allegiance.proposed(sender, boot, message, now)  # type: ignore[no-any-return]


# --- election ---------------------------------------------------------------------------------------

_real_receive = Election.receive


def _wait_for_silence(
    self: Election, sender: NodeId, boot: Boot, sequence: int, note: Notification, now: float
) -> Steps:
    """Every word that comes puts the end of the ballot off."""
    steps = _real_receive(self, sender, boot, sequence, note, now)
    if self._finalize_at is not None:
        self._finalize_at = now + 4 * self._settings.finalize_s
    return steps


def _vote_never_withdrawn(self: Election) -> NodeId:
    """M9: a vote only ever goes up."""
    ranked = [
        (heard.note.last_epoch, voter)
        for voter, heard in self._heard.items()
        if heard.note.state is State.LOOKING
    ]
    ranked.append((self._ledger.durable.fence_epoch, self._me))
    return max(max(ranked)[1], self.vote)


def _vote_falls_back(self: Election) -> NodeId:
    """Now and then it is for oneself, whoever else is heard."""
    self.__dict__["asked"] = self.__dict__.get("asked", 0) + 1
    return self._me if self.__dict__["asked"] % 5 == 0 else _real_best(self)


_real_best = Election._best_candidate


def _never_outrun(_self: Leadership, _accepted: int, _now: float) -> Steps:
    """M7: a higher accepted epoch elsewhere is no reason for anything."""
    return ()


def _round_forgotten(self: Election, now: float) -> Steps:
    """Each ballot begins at round 1, as if the node had just been started."""
    self.round = Round(0)
    return _real_start(self, now)


_real_start = Election.start

# --- what is shown ----------------------------------------------------------------------------------


def _office_shown(self: Authority, now: float) -> tuple[State, NodeId | None, Epoch]:
    """Whoever was established and did not resign says that it leads, with its lease or without."""
    if self.leadership.leading:
        return State.LEADING, self._me, self.leadership.epoch
    return _real_shown(self, now)


_real_shown = Authority.shown

# --- admission --------------------------------------------------------------------------------------

_real_admission = Admission.__init__


def _amnesiac_votes(
    self: Admission, settings: Any, me: NodeId, electorate: Any, ledger: Ledger, *rest: Any
) -> None:
    """M6: an empty disk is as good as any."""
    if me in electorate:
        ledger.record = ledger.durable = msgspec.structs.replace(ledger.record, may_vote=True)
    _real_admission(self, settings, me, electorate, ledger, *rest)


_real_admission_tick = Admission.tick


def _silence_counts(self: Admission, now: float) -> Steps:
    """Whoever heard a leader once hears it until it hears another (N5 b)."""
    if self._leader is not None:
        self._last = max(self._last, now)
    return _real_admission_tick(self, now)


# --- work -------------------------------------------------------------------------------------------

_real_execution_receive = Execution.receive


def _no_fence(
    self: Execution,
    channel: int,
    leader: NodeId,
    leader_boot: Boot,
    frame: Assign | CancelRun | Release,
    now: float,
) -> Effects:
    """Work of any epoch is taken."""
    if isinstance(frame, Assign):
        return self._decide(channel, AttemptKey(frame.job.id, frame.epoch, frame.attempt), now, frame)
    return _real_execution_receive(self, channel, leader, leader_boot, frame, now)


def _old_epochs_taken(
    self: Execution,
    channel: int,
    leader: NodeId,
    leader_boot: Boot,
    frame: Assign | CancelRun | Release,
    now: float,
) -> Effects:
    """An order of a higher epoch raises the fence, and one of a lower is taken all the same."""
    if isinstance(frame, Assign):
        return self._assign(channel, leader, leader_boot, frame, now)
    return _real_execution_receive(self, channel, leader, leader_boot, frame, now)


def _old_leader_kept(self: Links, leader: NodeId, epoch: Epoch) -> Steps:
    """What `_old_epochs_taken` needs to be sent any: channels to earlier leaders stay as well."""
    steps = _real_follow(self, leader, epoch)
    if not steps:
        return ()
    self.dialled = next((c for c, peer in self._peers.items() if peer.node == leader and peer.dialled), None)
    return (Dial(leader),)


_real_follow = Links.follow


def _fence_not_durable(_self: Ledger, then: tuple[Effect, ...]) -> tuple[Effect, ...]:
    return then


_real_arrived = Office.arrived


def _dropped_without_lease(self: Office, event: Any, now: float, *, may_act: bool) -> Steps:
    """M11: what arrives while the lease is lost is forgotten."""
    if self.dispatch is not None and not may_act:
        return ()
    return _real_arrived(self, event, now, may_act=may_act)


def _acts_without_lease(self: Office, event: Any, now: float, *, may_act: bool) -> Steps:
    """What arrives at a leader is acted on, whether its lease holds or not."""
    del may_act
    return _real_arrived(self, event, now, may_act=True)


def _read_without_lease(self: Office, event: Any, now: float, *, may_act: bool) -> Steps:
    """A leader says at once that it has read what came before, and must hold it all (W14)."""
    if isinstance(event.frame, Ping) and self.dispatch is not None and not may_act:
        return (SendFrame(event.channel, Pong(event.frame.nonce)),)
    return _real_arrived(self, event, now, may_act=may_act)


def _results_not_offered(self: Execution, channel: int, _epoch: Epoch, _now: float) -> Effects:
    """Kept results are not sent to the next leader."""
    self._channel = channel
    return ()


def _attempt_not_checked(self: Execution, channel: int, key: Any, now: float, frame: Assign) -> Effects:
    """A job that runs or is kept is taken for a new one."""
    self._kept.forget(key.job)
    self._seen.clear()
    run = self._runs.pop(key.job, None)
    del run
    return _real_decide(self, channel, key, now, frame)


_real_decide = Execution._decide

_real_answer = Submission._answer
_real_submission_receive = Submission.receive


def _result_accepted_twice(self: Submission, channel: int, frame: Any, now: float) -> Effects:
    """Whatever comes for a job is passed on to whoever had asked for it."""
    if isinstance(frame, Result):
        asked = self.__dict__.setdefault("asked", {})
        pending = self._jobs.get(frame.job)
        if pending is None and frame.job in asked:
            return tuple(Answer(request, frame.job, frame.outcome) for request in asked[frame.job])
        if pending is not None:
            asked[frame.job] = tuple(pending.keep)
    return _real_submission_receive(self, channel, frame, now)


_real_let_wait = Submission._let_wait


def _not_sent_again(self: Submission, pending: Pending) -> None:
    """A new leader gets only jobs that no leader had before."""
    if pending.sent:
        self._alarms.clear(("wait", pending.job.id))
    else:
        _real_let_wait(self, pending)


_real_disconnected = Submission.disconnected


def _expired_with_its_leader(self: Submission, now: float) -> Effects:
    """A lost leader is answered as if each job's time were over."""
    if self._channel is None:
        return ()
    steps = list(_real_disconnected(self, now))
    for request in tuple(self._job_of):
        steps.extend(self._expire(request, now))
    return tuple(steps)


def _nothing_withdrawn(self: Submission, request: int, now: float) -> Effects:
    """A client's leaving is nobody's business but its gateway's."""
    return tuple(step for step in _real_abandon_request(self, request, now) if isinstance(step, Log))


_real_abandon_request = Submission.abandon


def _first_loss_is_one_too_many(self: Assignments, job: str, now: float) -> bool:
    """A job that has lost a worker is given up."""
    self._board.jobs[job].losses *= WorkSettings().losses_max
    return _real_give_up(self, job, now)


_real_give_up = Assignments._give_up_if_poison


def _poison_passed_on(_self: Assignments, _job: str, _now: float) -> bool:
    """A job may lose as many workers as there are."""
    return False


_real_lose = Dispatch._lose


def _reset_counts_as_loss(self: Dispatch, channel: int, reason: str, now: float) -> None:
    """M13: a broken channel is a lost worker."""
    line = self._roster.line(channel)
    worker = self._roster.worker(line.node) if line is not None else None
    jobs = tuple(worker.flights) if worker is not None else ()
    _real_lose(self, channel, reason, now)
    if line is not None and jobs:
        self._jobs.count_losses(line.node, Absence(line.boot, jobs), now)


def _forget_to_requeue(self: Dispatch, channel: int, reason: str, now: float) -> None:
    """A lost worker's jobs wait for it for ever."""
    del reason, now
    self._roster.remove(channel)


# --- gossip -----------------------------------------------------------------------------------------

_real_merge = Table.merge


def _first_sight_is_alive(
    self: Table, node: NodeId, key: tuple[int, int], now: float, detector: FailureDetector
) -> Rise | None:
    rise = _real_merge(self, node, key, now, detector)
    if rise is not None:
        self._revive(rise.row)
    return rise


def _tombstone_forgotten(self: Table, row: Row) -> None:
    del self.rows[row.node]


def _verdict_copied(
    self: Table, node: NodeId, key: tuple[int, int], now: float, detector: FailureDetector
) -> Rise | None:
    """Anything heard of a node counts as a sign of its life, risen or not."""
    rise = _real_merge(self, node, key, now, detector)
    row = self.rows.get(node)
    if row is not None:
        row.since = now
    return rise


def _all_is_news(_self: Table, _node: NodeId, _boot: int, _heartbeat: int) -> bool:
    """What `_verdict_copied` needs to be asked about rows that have not risen."""
    return False


AGAIN = "attempt not checked"
"""A leader sends a worker what it has already only when a gateway comes back as that is being stopped."""

GOSSIP = frozenset({"first sight is alive", "tombstone forgotten", "hearsay keeps alive"})

MUTATIONS: dict[str, tuple[str, tuple[tuple[Any, str, Any], ...]]] = {
    **mutations_disk.MUTATIONS,
    "boots ignored": ("N6", ((Lives, "refusal", _boots_ignored),)),
    "promise not durable": ("N4, L1", ((Allegiance, "proposed", _promise_before_durable),)),
    "proposal not durable": ("N4, L1", ((Leadership, "_propose_myself", _proposal_before_durable),)),
    "refusal not durable": ("N4, L1", ((Allegiance, "refuse", _refusal_before_durable),)),
    "refusal names the promised": ("E6, L1", ((Allegiance, "refuse", _refusal_names_promised),)),
    "oldest of a batch written": ("N4", ((GroupCommit, "_begin", _oldest_written),)),
    "quorum - 1": ("N1", ((Electorate, "of", classmethod(_electorate_one_less)),)),
    "quorum from gossip": ("N1", ((NodeCore, "tick", _quorum_from_gossip),)),
    "silence counts as a leader": ("N5", ((Admission, "tick", _silence_counts),)),
    "amnesiac votes": ("N5", ((Admission, "__init__", _amnesiac_votes),)),
    "no fence": ("L6", ((Execution, "receive", _no_fence),)),
    "lower epochs taken": (
        "L6",
        ((Execution, "receive", _old_epochs_taken), (Links, "follow", _old_leader_kept)),
    ),
    "work before the fence is durable": ("L6, N4", ((Ledger, "when_durable", _fence_not_durable),)),
    "lease by timer": ("L3", ((Leadership, "may_act", _lease_by_timer),)),
    "lease from receipt": ("L3", ((Leadership, "acknowledged", _lease_from_receipt),)),
    "no stickiness": ("L4", ((Allegiance, "proposed", _no_stickiness),)),
    "promise inside the guard": ("L4", ((Allegiance, "proposed", _guard_ignored),)),
    "hint lifts the guard": ("L4, L7", ((Allegiance, "abandon", _hint_lifts_guard),)),
    "no hold-off after start": ("L4", ((Allegiance, "__init__", _no_hold_off),)),
    "own promise inside the guard": ("L1, L4", ((Leadership, "open", _own_promise_in_guard),)),
    "acknowledgement after a promise": (
        "L2",
        ((Allegiance, "_is_followable", _ack_after_promise), (Ledger, "fence", _fence_below_accepted)),
    ),
    "leader grants": ("L1", ((Authority, "_on_propose", _leader_grants),)),
    "wait for silence": ("E5", ((Election, "receive", _wait_for_silence),)),
    "vote never withdrawn": ("E4", ((Election, "_best_candidate", _vote_never_withdrawn),)),
    "vote falls back": ("E2", ((Election, "_best_candidate", _vote_falls_back),)),
    "round forgotten": ("E1, N2", ((Election, "start", _round_forgotten),)),
    "never outrun": ("L5", ((Leadership, "outrun", _never_outrun),)),
    "office shown without lease": ("L3", ((Authority, "shown", _office_shown),)),
    "acts without lease": ("L3", ((Office, "arrived", _acts_without_lease),)),
    "frames dropped without lease": ("L3", ((Office, "arrived", _dropped_without_lease),)),
    "read without lease": ("L3, W14", ((Office, "arrived", _read_without_lease),)),
    "results not offered again": ("W5, W7", ((Execution, "welcomed", _results_not_offered),)),
    "pending jobs not sent again": ("W7", ((Submission, "_let_wait", _not_sent_again),)),
    AGAIN: ("W5", ((Execution, "_decide", _attempt_not_checked),)),
    "result accepted twice": ("W8", ((Submission, "receive", _result_accepted_twice),)),
    "reset counts as loss": ("W6", ((Dispatch, "_lose", _reset_counts_as_loss),)),
    "first loss is the last": ("W6", ((Assignments, "_give_up_if_poison", _first_loss_is_one_too_many),)),
    "poison passed on": ("W6", ((Assignments, "_give_up_if_poison", _poison_passed_on),)),
    "expired with its leader": ("W4", ((Submission, "disconnected", _expired_with_its_leader),)),
    "nothing withdrawn": ("W9", ((Submission, "abandon", _nothing_withdrawn),)),
    "lost worker's jobs stay": ("W6", ((Dispatch, "_lose", _forget_to_requeue),)),
    "first sight is alive": ("G2", ((Table, "merge", _first_sight_is_alive),)),
    "tombstone forgotten": ("G3", ((Table, "remove", _tombstone_forgotten),)),
    "hearsay keeps alive": ("G2", ((Table, "merge", _verdict_copied), (Table, "knows", _all_is_news))),
}
