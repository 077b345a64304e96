"""What becomes of each job at the leader: taken, assigned, attached to, passed on, given up (W3-W9)."""

from __future__ import annotations

from typing import Literal

import attrs

from cluster.config import WorkSettings
from cluster.core.alarms import Alarms
from cluster.core.board import Board, Claim, Entry
from cluster.core.counters import Counters
from cluster.core.effects import Level
from cluster.core.outbox import Outbox
from cluster.core.pace import Pace
from cluster.core.replies import Replies
from cluster.core.roster import Flight, Line, Roster, Worker
from cluster.identity import Epoch, NodeId
from cluster.limits import ATTEMPTS_BELIEVED
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Finished,
    LossCounted,
    Progress,
    Recount,
    Release,
    Submit,
)

PAUSE_S = 0.1
"""After a worker handed a job back, how long it gets none: its own count of slots is catching up."""

PLACES_S = 0.1
"""How often gateways are told where their jobs are (W6): most have ended by then, and cost nothing more."""

Kind = Literal[
    "collect", "queue", "deadline", "forget", "orphan", "kept", "absent", "gateway", "pause", "look", "places"
]
Alarm = tuple[Kind, str, int]
"""What rings, for which job (or empty), for which node (or 0)."""


@attrs.frozen
class Absence:
    """A worker that was lost: the life it was in, and the jobs that it had (W6)."""

    boot: int
    jobs: tuple[str, ...]


class Assignments:
    """The jobs of one leadership, moved between the board and the workers of the roster.

    It sees neither channels opening nor closing: `Dispatch` tells it what they mean for jobs.
    """

    def __init__(
        self,
        settings: WorkSettings,
        epoch: Epoch,
        roster: Roster,
        board: Board,
        alarms: Alarms[Alarm],
        out: Outbox,
    ) -> None:
        self._settings = settings
        self._epoch = epoch
        self._roster = roster
        self._board = board
        self._alarms = alarms
        self._out = out
        self._pace = Pace()
        self._placed: dict[str, None] = {}
        self.counters = Counters()
        self.replies = Replies(epoch, roster, board, out, self.counters)

    def submit(self, line: Line, frame: Submit, now: float) -> None:
        """A gateway's job, new or sent again (W4, W7)."""
        job = frame.job.id
        entry = self._board.jobs.get(job)
        if entry is not None and entry.claim is not None and entry.claim.gateway != line.node:
            owned = Refusal(Reason.OVERLOADED, "another gateway owns this job id")
            self.replies.refuse(line.node, job, owned)
            return
        if entry is None and self._too_much(frame):
            self.replies.refuse(line.node, job, self._overloaded())
            return
        self._board.reopen(job)
        patience, deadline = now + frame.queue_s, now + frame.remaining_s
        claim = Claim(frame.job, line.node, patience, deadline, frame.tenant, frame.share)
        known = entry is not None
        if entry is None:
            entry = self._board.jobs[job] = Entry()
        elif entry.claim is not None:
            claim.told = entry.claim.told
        entry.claim = claim
        entry.losses = max(entry.losses, frame.losses)
        self._alarms.clear(("orphan", job, 0))
        self._alarms.clear(("forget", job, 0))
        self._alarms.set(("deadline", job, 0), claim.deadline)
        if entry.outcome is not None:
            self.replies.tell(job, line.channel)
        elif not entry.workers:
            self._alarms.set(("queue", job, 0), claim.queue_until)
        else:
            self._note_place(job, now)
            if claim.job.progress:
                self._recount(job, entry)
        if not known:
            if frame.again and self._board.collecting:
                self._board.hold(job)
            else:
                self._board.enqueue(job)
            self._give_up_if_poison(job, now)

    def _too_much(self, frame: Submit) -> bool:
        """Whether there is no place for this job, or it would only wait in vain (W4, W11).

        What an earlier leader had taken is not turned away because others wait.
        """
        slots = self._roster.slots()
        whose = frame.tenant, frame.share
        full = self._board.full(slots, *whose, again=frame.again)
        ahead = self._board.queue.ahead  # looks at every tenant
        return full or (not frame.again and self._pace.in_vain(ahead(*whose), slots, frame.queue_s))

    def reported(self, worker: Worker, key: AttemptKey, now: float, *, kept: bool) -> None:
        """A worker runs this, or has finished it and will send the result."""
        if key.job in worker.flights:
            return
        entry = self._board.jobs.get(key.job)
        if entry is None and self._board.is_settled(key.job):
            if kept:
                self._out.send(worker.channel, Release((key.job,)))
            else:
                self._stop_duplicate(worker, key)
            return
        if entry is None:
            entry = self._board.jobs[key.job] = Entry()
            self._alarms.set(("orphan", key.job, 0), now + self._settings.absence_s)
        entry.given.add(worker.node)
        if entry.outcome is not None or (entry.workers and not kept):
            if not kept:  # a kept result comes by itself, and is released when it comes
                self._stop_duplicate(worker, key)
            return
        self._board.unqueue(key.job)
        self._alarms.clear(("queue", key.job, 0))
        entry.workers[worker.node] = None
        entry.attempt = max(entry.attempt, min(key.attempt, ATTEMPTS_BELIEVED))
        self._roster.put(worker, key.job, Flight(key, kept=kept))
        self._note_place(key.job, now)
        self.counters.attached += 1
        if kept:
            self._alarms.set(("kept", key.job, worker.node), now + self._settings.collect_s)
        elif entry.claim is not None and entry.claim.job.progress:
            self._recount(key.job, entry)
        word = "is finished at" if kept else "runs at"
        self._out.log(f"job {key.job[:8]} {word} server {worker.node} already: not assigned again")

    def _stop_duplicate(self, worker: Worker, key: AttemptKey) -> None:
        self._roster.put(worker, key.job, Flight(key, cancelled=True))
        self._out.send(worker.channel, CancelRun(self._epoch, (key.job,)))

    def _recount(self, job: str, entry: Entry) -> None:
        """Its gateway asks anew and may have missed something: have its progress told again (W13)."""
        for node in entry.workers:
            worker = self._roster.worker(node)
            assert worker is not None
            self._out.send(worker.channel, Recount(self._epoch, (job,)))

    def finished(self, worker: Worker, frame: Finished, now: float) -> None:
        """The first outcome wins, whichever attempt it is of, of a worker that was given the job (W8)."""
        job = frame.key.job
        flight = self._roster.take(worker, job)
        if flight is not None and flight.since is not None:
            self._pace.note(now - flight.since)
        self._alarms.clear(("kept", job, worker.node))
        entry = self._board.jobs.get(job)
        if entry is None and (self._board.is_settled(job) or (flight is not None and flight.cancelled)):
            self.counters.duplicates += 1
            self._out.send(worker.channel, Release((job,)))
            return
        if entry is None or (flight is None and worker.node not in entry.given):
            self.counters.strays += 1
            return
        worker.finished_at = now
        entry.workers.pop(worker.node, None)
        if entry.outcome is None:
            self.counters.finished += 1
            entry.holders[worker.node] = None
            self._out.log(f"job {job[:8]} finished by server {worker.node}: {frame.outcome.verdict}")
            self._finish(job, frame.outcome, now)
        elif worker.node not in entry.holders:
            self.counters.duplicates += 1
            self._out.send(worker.channel, Release((job,)))

    def overdue(self, job: str, node: NodeId, now: float) -> None:
        """A kept result has not come in time; while others of its worker do, it has its turn (W7, W14)."""
        worker = self._roster.worker(node)
        assert worker is not None
        wanted = self._board.jobs[job].claim is not None  # else one that comes late is owed to it for ever
        until = (worker.finished_at if wanted else now) + self._settings.collect_s
        if now < until:
            self._alarms.set(("kept", job, node), until)
            return
        self._roster.take(worker, job)
        del self._board.jobs[job].workers[node]
        self.requeue(job, now)

    def returned(self, worker: Worker, key: AttemptKey, now: float) -> None:
        """It stopped a cancelled run, or has no room: then it gets nothing more for a moment (W10)."""
        flight = worker.flights.get(key.job)
        if flight is None or flight.key != key:
            return
        self._roster.take(worker, key.job)
        self._alarms.clear(("kept", key.job, worker.node))
        if flight.cancelled:
            return
        self.counters.returned += 1
        self._roster.pause(worker, paused=True)
        self._alarms.set(("pause", "", worker.node), now + PAUSE_S)
        self._out.log(f"job {key.job[:8]} handed back by server {worker.node}", Level.VERBOSE)
        del self._board.jobs[key.job].workers[worker.node]
        self.requeue(key.job, now)

    def requeue(self, job: str, now: float) -> None:
        """A worker does not have it any longer: back to the head of the queue (W6)."""
        entry = self._board.jobs[job]
        if entry.workers or entry.outcome is not None:
            return
        if entry.claim is None:
            self._alarms.clear(("orphan", job, 0))
            self._board.forget(job)
        elif entry.claim.deadline <= now:
            self._expire(job, now)
        else:
            entry.claim.queue_until = now + self._settings.queue_timeout_s
            self._alarms.set(("queue", job, 0), entry.claim.queue_until)
            self._board.enqueue(job, head=True)

    def assign(self, now: float) -> None:
        """Give waiting jobs to ready workers, in circular order; tenants take turns (W3, W4)."""
        queue = self._board.queue
        while queue:
            job = queue.head()
            worker = self._roster.next_ready(job)
            if worker is None:
                return
            entry = self._board.jobs[job]
            assert entry.claim is not None
            queue.take()
            self._alarms.clear(("queue", job, 0))
            entry.attempt += 1
            entry.workers[worker.node] = None
            entry.given.add(worker.node)
            key = AttemptKey(job, self._epoch, entry.attempt)
            self._roster.put(worker, job, Flight(key, since=now))
            worker.given += 1
            self._note_place(job, now)
            self.counters.assigned += 1
            remaining = max(0.0, entry.claim.deadline - now)
            self._out.send(worker.channel, Assign(self._epoch, entry.attempt, entry.claim.job, remaining))
            if (ping := self._roster.sent(worker, entry.claim.size)) is not None:
                self._out.send(worker.channel, ping)
            if entry.claim.job.progress:
                self.replies.progressed(worker, Progress(worker.flights[job].key))
            sending = f"attempt {entry.attempt}, epoch {self._epoch}"
            self._out.log(f"job {job[:8]} assigned to server {worker.node}, {sending}")

    def _note_place(self, job: str, now: float) -> None:
        """Its gateway is told soon which worker has it."""
        if not self._placed:
            self._alarms.set(("places", "", 0), now + PLACES_S)
        self._placed[job] = None

    def take_placed(self) -> tuple[str, ...]:
        """The jobs that came to a worker since the last call."""
        placed = tuple(self._placed)
        self._placed.clear()
        return placed

    def count_losses(self, node: NodeId, absence: Absence, now: float) -> None:
        """That worker did not come back in the same life: it is lost to each job that it had (W6)."""
        for job in absence.jobs:
            entry = self._board.jobs.get(job)
            if entry is None or entry.outcome is not None:
                continue
            entry.losses += 1
            self.counters.losses += 1
            self._out.log(f"job {job[:8]} lost worker {node}, loss {entry.losses}")
            if entry.claim is not None:
                self.replies.to(entry.claim.gateway, LossCounted(self._epoch, job, entry.losses, node))
            self._give_up_if_poison(job, now)

    def _give_up_if_poison(self, job: str, now: float) -> bool:
        entry = self._board.jobs[job]
        if entry.losses < self._settings.losses_max or entry.claim is None:
            return False
        self.counters.worker_lost += 1
        text = f"{entry.losses} workers were lost while they ran this job"
        self._finish(job, Outcome(Verdict.WORKER_LOST, text), now)
        return True

    def give_up_waiting(self, job: str) -> None:
        """It waited long enough for a slot (W4, W11)."""
        entry = self._board.jobs[job]
        assert entry.claim is not None
        slots = self._roster.slots()
        reason, text = Reason.NO_WORKER, "no worker is connected to the leader"
        if slots:
            reason, text = Reason.QUEUE_TIMEOUT, f"all {slots} slots stayed busy: try again later"
        self.replies.refuse(entry.claim.gateway, job, Refusal(reason, text, self._retry_after()))
        self._forget(job)

    def past_deadline(self, job: str, now: float) -> None:
        """Waiting: expired. Running: its worker stops it and says so. Done: the gateway had its chance."""
        if job in self._board.queue or job in self._board.held:
            self._expire(job, now)
        else:
            self._alarms.set(("forget", job, 0), now + self._settings.absence_s)

    def _finish(self, job: str, outcome: Outcome, now: float) -> None:
        """This is the outcome: every other attempt is cancelled, and the gateway is told (W8)."""
        entry = self._board.jobs[job]
        self._board.unqueue(job)
        self._alarms.clear(("queue", job, 0))
        self._cancel_runs(job, entry)
        crowded = self._board.finish(job, outcome)
        if entry.claim is not None:
            channel = self._roster.channel_of(entry.claim.gateway)
            if channel is not None:
                self.replies.tell(job, channel)
            if entry.claim.deadline <= now:
                self._alarms.set(("forget", job, 0), now + self._settings.absence_s)
        for other in crowded:
            if self.replies.waits(other):
                self._give_up_telling(other)
            else:  # its worker keeps it, and its gateway has been told or will ask again
                self._forget(other)

    def _give_up_telling(self, job: str) -> None:
        """Its gateway reads too slowly for what it asks for: there is no place for this outcome (W14)."""
        claim = self._board.jobs[job].claim
        assert claim is not None
        text = "too many outcomes wait for this gateway to read them: try again later"
        self.replies.refuse(claim.gateway, job, Refusal(Reason.OVERLOADED, text, self._retry_after()))
        self.end(job)

    def end(self, job: str) -> None:
        """Nobody needs it any longer: stop it, free its results, remember its id."""
        entry = self._board.jobs[job]
        self._cancel_runs(job, entry)
        for node in entry.holders:
            worker = self._roster.worker(node)
            if worker is not None:
                self._out.send(worker.channel, Release((job,)))
        self._clear_alarms(job)
        self._board.settle(job)

    def drop(self, job: str) -> None:
        """Its gateway does not want it any longer, or is not there (W9)."""
        self.counters.cancelled += 1
        self.end(job)

    def _forget(self, job: str) -> None:
        self._clear_alarms(job)
        self._board.forget(job)

    def _clear_alarms(self, job: str) -> None:
        kinds: tuple[Kind, ...] = ("queue", "deadline", "forget", "orphan")
        for kind in kinds:
            self._alarms.clear((kind, job, 0))

    def _cancel_runs(self, job: str, entry: Entry) -> None:
        """Stop it wherever it runs; the slot is free when the worker says so."""
        for node in entry.workers:
            worker = self._roster.worker(node)
            assert worker is not None
            flight = worker.flights[job]
            self._alarms.clear(("kept", job, node))
            self._out.send(worker.channel, CancelRun(self._epoch, (job,)))
            if flight.kept:
                self._roster.take(worker, job)
            else:
                flight.cancelled = True
        entry.workers.clear()

    def _expire(self, job: str, now: float) -> None:
        self.counters.expired += 1
        self._finish(job, Outcome(Verdict.EXPIRED, "the job's deadline passed before a worker ran it"), now)

    def _overloaded(self) -> Refusal:
        text = f"{self._board.waiting()} jobs wait already: try again later"
        return Refusal(Reason.OVERLOADED, text, self._retry_after())

    def _retry_after(self) -> float:
        return self._pace.retry_after_s(self._board.waiting(), self._roster.slots())
