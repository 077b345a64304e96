"""The gateway's side of work: one answer to every request, whatever becomes of leaders and workers (W1, W8).

The gateway owns a job until its clients have the answer: it sends it to each leader that welcomes it, counts
the workers that it lost, and gives up by its own clock. Equal jobs in flight are run once and shared (C4).
"""

from __future__ import annotations

from collections import OrderedDict

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core import refusals
from cluster.core.alarms import Alarms
from cluster.core.cache import Cache, CacheKey, cache_key
from cluster.core.effects import Answer, Effect, Effects, Level, Log, SendFrame, ShowProgress
from cluster.core.events import ChannelId, RequestArrived
from cluster.core.fair_queue import OVERFLOW_FACTOR, FairQueue, Holdings
from cluster.core.fair_share import FairRoom
from cluster.core.pending import Pending, SubmissionSnapshot, submission_of, with_queue_time
from cluster.core.sizes import program_bytes
from cluster.core.window import Window
from cluster.core.withdrawals import Withdrawals
from cluster.identity import NO_EPOCH, Epoch, NodeId
from cluster.limits import SHARE_MAX, TENANT_MAX
from cluster.wire.jobs import Job, Outcome, Reason, Refusal, Verdict
from cluster.wire.messages import (
    Frame,
    LossCounted,
    Placed,
    Pong,
    Progressed,
    Refused,
    Result,
    ResultAck,
    Withdraw,
)

SHARE_LEAST = 0.5
"""A run in flight is shared while this part of its deadline is left; a later client gets a run of its own."""

_Alarm = tuple[str, int | str]


class Submission:
    """The requests that wait at this gateway, and the jobs that they wait for.

    Invariants: every request waits for exactly one job; every job has a request; both tables are bounded.
    """

    def __init__(
        self, work: WorkSettings, gateway: GatewaySettings, cache: CacheSettings, me: NodeId
    ) -> None:
        self._work = work
        self._settings = gateway
        self._me = me
        self._cache = Cache(cache)
        self.java = ""
        """The JDKs that may run what is asked for: part of every cache key (C1)."""
        self._epoch: Epoch = NO_EPOCH
        self._channel: ChannelId | None = None
        self._window = Window(work.window_bytes)
        self._unsent = FairQueue()
        self._jobs: OrderedDict[str, Pending] = OrderedDict()
        self._job_of: dict[int, str] = {}
        self._holdings = Holdings()
        self._shared: dict[tuple[CacheKey, str], str] = {}
        self._bytes = FairRoom(gateway.pending_bytes)
        self._alarms: Alarms[_Alarm] = Alarms()
        self._why = (Reason.NO_LEADER, "no leader is known")
        self._withdrawals = Withdrawals()
        self._draining = False
        self._answered = self._refused = self._expired = self._joined = self._stale = self._late = 0

    # --- clients -----------------------------------------------------------------------------------

    def request(self, event: RequestArrived, now: float) -> Effects:
        """A client wants an outcome: from the cache, from a run in flight, or from a job of its own."""
        if self._draining:
            return self._refuse(event, refusals.stopping())
        key = cache_key(event.program, self.java) if event.use_cache else None
        if key is not None and (hit := self._cache.get(key, now)) is not None:
            outcome, age = hit
            return (Answer(event.request, event.job_id, outcome, cached=True, age_s=age),)
        if not self._has_room(event):
            return self._refuse(event, refusals.crowded(len(self._job_of)))
        same = event.job_id if event.job_id in self._jobs else self._to_share(key, event, now)
        return self._open(event, key, now) if same is None else self._join(same, event, now)

    def abandon(self, request: int, now: float) -> Effects:
        """That client is gone; the last one of a job cancels it (W9, C4)."""
        return self._leave(request, now) if request in self._job_of else ()

    def drain(self, now: float) -> Effects:
        """Refuse what is new, answer what is held (W10)."""
        del now
        self._draining = True
        return ()

    @property
    def idle(self) -> bool:
        """Nobody waits any longer."""
        return not self._jobs

    # --- the leader --------------------------------------------------------------------------------

    def welcomed(self, channel: ChannelId, leader: NodeId, epoch: Epoch, now: float) -> Effects:
        """A leader took this gateway on: it gets every pending job, the oldest first (W7)."""
        self._follow(epoch)
        if self._channel is not None:
            self._unsure(now)
        self._channel, self._unsent = channel, FairQueue()
        self._window = Window(self._work.window_bytes)
        withdraw = self._withdraw(now)
        for pending in self._jobs.values():
            self._let_wait(pending)
        if not self._jobs:
            return withdraw
        log = self._log(f"sending {len(self._jobs)} pending jobs to leader {leader}, epoch {epoch}")
        return (*withdraw, log, *self._feed(now))

    def disconnected(self, now: float) -> Effects:
        """The leader's channel is gone: every job waits for the next one, its clock set anew (W11)."""
        if self._channel is None:
            return ()
        self._channel, self._unsent = None, FairQueue()
        self._unsure(now)
        for job, pending in self._jobs.items():
            self._alarms.set(("wait", job), pending.wait_until)
        return ()

    def epoch_changed(self, epoch: Epoch) -> None:
        """Another leader is followed, which empties the cache (C3)."""
        self._follow(epoch)

    def explain(self, reason: Reason, text: str) -> None:
        """Why jobs wait now; it becomes the message of a 503 (W11)."""
        self._why = (reason, text)

    def receive(
        self,
        channel: ChannelId,
        frame: Result | Refused | LossCounted | Placed | Progressed | Pong,
        now: float,
    ) -> Effects:
        """What a leader says of a job, or that it has read those that it was sent (W14)."""
        if isinstance(frame, Pong):
            self._window.read(frame.nonce)
            return self._feed(now)
        if isinstance(frame, Progressed):
            return self._progressed(frame)
        if isinstance(frame, Placed):
            return self._note_places(frame)
        job = frame.job
        if (pending := self._jobs.get(job)) is None:
            self._late += 1
            # Acknowledged all the same, so that the kept result is freed (W8).
            return (SendFrame(channel, ResultAck((job,))),) if isinstance(frame, Result) else ()
        if frame.epoch < self._epoch:
            self._stale += 1  # not acknowledged: the new leader may still want the kept result
            return ()
        if isinstance(frame, LossCounted):
            pending.losses = max(pending.losses, frame.losses)
            if pending.placed is not None and pending.placed.node == frame.worker:
                pending.placed = None
            return ()
        if isinstance(frame, Refused):
            return self._answer(pending, frame.refusal)
        outcome = with_queue_time(frame.outcome, now - (pending.deadline - self._work.deadline_s))
        if pending.key is not None and any(pending.keep.values()):
            self._cache.put(pending.key, outcome, now)
        return (SendFrame(channel, ResultAck((job,))), *self._answer(pending, outcome))

    def _progressed(self, frame: Progressed) -> Effects:
        """Shown to those who asked, unless a later attempt was; nobody misses what is dropped (W13)."""
        pending = self._jobs.get(frame.key.job)
        if pending is None or not pending.watchers or frame.epoch < self._epoch:
            return ()
        attempt = (frame.key.epoch, frame.key.attempt)
        if attempt < pending.shown:
            return ()
        pending.shown = attempt
        return (ShowProgress(tuple(pending.watchers), frame),)

    def _note_places(self, frame: Placed) -> Effects:
        """Kept for the next leader, should this one and that worker be lost together (W6)."""
        if frame.epoch < self._epoch:
            self._stale += 1
            return ()
        for job, place in frame.jobs:
            if (pending := self._jobs.get(job)) is not None:
                pending.placed = place
        return ()

    # --- time --------------------------------------------------------------------------------------

    def tick(self, now: float) -> Effects:
        """Give up for clients whose time is over (W4, W11)."""
        steps: list[Effect] = []
        while (alarm := self._alarms.pop_due(now)) is not None:
            kind, name = alarm
            if kind == "wait":
                steps.extend(self._answer(self._jobs[str(name)], self._waited()))
            else:
                steps.extend(self._expire(int(name), now))
        return tuple(steps)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._alarms.next()

    def snapshot(self) -> SubmissionSnapshot:
        """What is going on, for people and metrics."""
        return SubmissionSnapshot(
            requests=len(self._job_of),
            jobs=len(self._jobs),
            bytes=self._bytes.held,
            connected=self._channel is not None,
            draining=self._draining,
            answered=self._answered,
            refused=self._refused,
            expired=self._expired,
            shared=self._joined,
            stale=self._stale,
            late=self._late,
            cache=self._cache.snapshot(),
        )

    def validate(self) -> None:
        """Assert the invariants of the class."""
        self._cache.validate()
        assert len(self._job_of) <= OVERFLOW_FACTOR * self._settings.pending_max
        self._holdings.validate(self._job_of.keys())
        self._bytes.validate()
        assert self._bytes.held == sum(pending.size for pending in self._jobs.values())
        waiting = {request: job for job, pending in self._jobs.items() for request in pending.keep}
        assert waiting == self._job_of, "each request waits for exactly one job"
        for job, pending in self._jobs.items():
            assert pending.keep, "a job that nobody waits for"
            unsent = self._channel is None or job in self._unsent
            assert (("wait", job) in self._alarms) == unsent, "nothing may hang (W11)"
        assert not self._unsent or (self._channel is not None and not self._window.open)
        assert not self._withdrawals or self._channel is None, "a leader is there to be told (W9)"
        self._unsent.validate()
        assert all(("deadline", request) in self._alarms for request in self._job_of)
        assert set(self._shared.values()) <= self._jobs.keys()

    # --- jobs --------------------------------------------------------------------------------------

    def _refuse(self, event: RequestArrived, refusal: Refusal) -> Effects:
        self._refused += 1
        return (Answer(event.request, event.job_id, refusal),)

    def _has_room(self, event: RequestArrived) -> bool:
        new = event.job_id not in self._jobs
        if new and not self._bytes.admits(event.tenant[:TENANT_MAX], program_bytes(event.program)):
            return False
        return self._holdings.admits(event.tenant, event.share, self._settings.pending_max)

    def _to_share(self, key: CacheKey | None, event: RequestArrived, now: float) -> str | None:
        """An equal job of this tenant in flight (C4), unless too little is left of its deadline.

        A job waits in its tenant's lane and may be refused there: that is nobody else's to share (W4).
        Who wants to see its progress shares one that tells it, and only before it began (W13).
        """
        job = self._shared.get((key, event.tenant[:TENANT_MAX])) if key is not None else None
        until = now + SHARE_LEAST * self._work.deadline_s
        return job if job is not None and self._jobs[job].may_be_joined(until, event.progress) else None

    def _join(self, job: str, event: RequestArrived, now: float) -> Effects:
        """Wait for a job that is in flight (C4), or whose id the client repeated (W1)."""
        pending = self._jobs[job]
        if pending.job.program != event.program:
            text = "this job id is in use for another program: send a new idempotency key"
            return (Answer(event.request, job, Outcome(Verdict.INTERNAL_ERROR, text)),)
        self._joined += 1
        self._wait(pending, event, now)
        return ()

    def _open(self, event: RequestArrived, key: CacheKey | None, now: float) -> Effects:
        size = program_bytes(event.program)
        job = Job(event.job_id, self._me, event.program, event.progress)
        wait_until, deadline = now + self._work.queue_timeout_s, now + self._work.deadline_s
        tenant, share = event.tenant[:TENANT_MAX], min(max(event.share, 1), SHARE_MAX)
        pending = Pending(job, key, {}, deadline, wait_until, size, tenant, share)
        self._jobs[job.id] = pending
        self._withdrawals.wanted(job.id)
        self._bytes.take(tenant, size)
        if key is not None:
            self._shared[key, tenant] = job.id
        self._wait(pending, event, now)
        if self._channel is not None and self._window.open:
            return self._hand_on(pending, now)
        self._let_wait(pending)
        return ()

    def _wait(self, pending: Pending, event: RequestArrived, now: float) -> None:
        pending.keep[event.request] = event.keep
        if event.progress:
            pending.watchers[event.request] = None
        self._job_of[event.request] = pending.job.id
        self._holdings.add(event.request, event.tenant, event.share)
        self._alarms.set(("deadline", event.request), now + self._work.deadline_s)

    def _let_wait(self, pending: Pending) -> None:
        """For a leader, or until it has read what it was sent before; tenants take turns (W11, W14)."""
        if self._channel is not None:
            self._unsent.push(pending.job.id, pending.tenant, pending.share)
        self._alarms.set(("wait", pending.job.id), pending.wait_until)

    def _feed(self, now: float) -> Effects:
        """Hand on what the leader has read enough for."""
        steps: list[Effect] = []
        while self._unsent and self._window.open:
            pending = self._jobs[self._unsent.take()]
            self._alarms.clear(("wait", pending.job.id))
            steps.extend(self._hand_on(pending, now))
        return tuple(steps)

    def _hand_on(self, pending: Pending, now: float) -> Effects:
        """From now on its waiting is the leader's to judge (W4)."""
        submit = self._to_leader(submission_of(pending, now, self._work.collect_s))
        pending.sent = True
        ping = self._window.sent(pending.size)
        return (submit,) if ping is None else (submit, self._to_leader(ping))

    def _answer(self, pending: Pending, result: Outcome | Refusal) -> Effects:
        """The one answer, to each client that waits for this job (W8)."""
        requests = tuple(pending.keep)
        for request in requests:
            self._forget_request(request)
        self._forget_job(pending)
        if isinstance(result, Refusal):
            self._refused += len(requests)
            word = f"refused, {result.reason}: {result.message}"
        else:
            self._answered += len(requests)
            word = f"answered: {result.verdict}"
        log = Log(Level.SUMMARY, f"{self._me}: job {pending.job.id[:8]} {word}")
        return (*(Answer(request, pending.job.id, result) for request in requests), log)

    def _expire(self, request: int, now: float) -> Effects:
        """This client waited long enough; others of the same job may wait on (W4)."""
        self._expired += 1
        text = f"no outcome within {self._work.deadline_s:g} s"
        answer = Answer(request, self._job_of[request], Outcome(Verdict.EXPIRED, text))
        return (answer, *self._leave(request, now))

    def _leave(self, request: int, now: float) -> Effects:
        pending = self._jobs[self._job_of[request]]
        del pending.keep[request]
        pending.watchers.pop(request, None)
        self._forget_request(request)
        if pending.keep:
            return ()
        self._forget_job(pending)
        log = self._log(f"job {pending.job.id[:8]}: nobody waits for it any longer")
        if pending.sent:
            self._withdrawals.add(pending.job.id)
        return (log, *self._withdraw(now))

    def _withdraw(self, now: float) -> Effects:
        """Without a leader it is told later: when there is one it may be the same (W9)."""
        jobs = self._withdrawals.take(now) if self._channel is not None else ()
        return (self._to_leader(Withdraw(jobs)),) if jobs else ()

    def _follow(self, epoch: Epoch) -> None:
        if epoch > self._epoch:
            self._epoch = epoch
            self._cache.clear()

    def _unsure(self, now: float) -> None:
        """The channel is gone: what was said last may be lost, and waiting begins anew (W9, W11)."""
        self._withdrawals.channel_ended(now)
        for pending in self._jobs.values():
            pending.wait_until = now + self._work.queue_timeout_s

    def _waited(self) -> Refusal:
        without = refusals.without_leader(self._why, self._work.queue_timeout_s)
        return without if self._channel is None else refusals.unread()

    def _forget_request(self, request: int) -> None:
        del self._job_of[request]
        self._alarms.clear(("deadline", request))
        self._holdings.remove(request)

    def _forget_job(self, pending: Pending) -> None:
        del self._jobs[pending.job.id]
        self._bytes.give_back(pending.tenant, pending.size)
        self._alarms.clear(("wait", pending.job.id))
        self._unsent.discard(pending.job.id)
        if pending.key is not None and self._shared.get((pending.key, pending.tenant)) == pending.job.id:
            del self._shared[pending.key, pending.tenant]

    def _to_leader(self, frame: Frame) -> SendFrame:
        assert self._channel is not None
        return SendFrame(self._channel, frame)

    def _log(self, text: str) -> Log:
        return Log(Level.VERBOSE, f"{self._me}: {text}")
