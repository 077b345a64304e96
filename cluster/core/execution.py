"""The worker's side of work: what runs here, which results are kept, whose orders count (W2, W5, W10, L6).

It lives as long as its node. Losing the leader takes nothing away: jobs run on, results stay until a leader
releases them, and the next HELLO tells of both.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from cluster.config import WorkSettings
from cluster.core.alarms import Alarms
from cluster.core.effects import (
    Effect,
    Effects,
    Level,
    Log,
    Persist,
    RepeatProgress,
    SendFrame,
    StartRun,
    StopRun,
)
from cluster.core.events import OWN_CHANNEL, ChannelId, RunProgressed
from cluster.core.keep import Keep
from cluster.core.ledger import Ledger
from cluster.core.runs import ExecutionSnapshot, Kept, Run
from cluster.core.sizes import outcome_bytes
from cluster.identity import MAX_EPOCH_JUMP, Boot, Epoch, NodeId
from cluster.wire.jobs import Outcome, Verdict
from cluster.wire.messages import (
    Assign,
    AttemptKey,
    CancelRun,
    Fenced,
    Finished,
    Frame,
    Progress,
    Recount,
    Release,
    Returned,
    Slots,
)

SEEN_MAX = 10_000
"""Sendings remembered so that none runs twice (W5)."""

_DRAINED = ""
"""The alarm of the drain timeout; every other alarm is named by a job, and no job's id is empty."""


class Execution:
    """What this node runs, and the results that it keeps.

    Invariants: at most one run a job; a job is never both running and kept.
    """

    def __init__(self, settings: WorkSettings, me: NodeId, ledger: Ledger) -> None:
        self._settings = settings
        self._me = me
        self._ledger = ledger
        self._slots = 0
        self._channel: ChannelId | None = None
        self._runs: dict[str, Run] = {}
        self._kept = Keep(settings)
        self._seen: OrderedDict[AttemptKey, None] = OrderedDict()
        self._owed: deque[AttemptKey] = deque(maxlen=SEEN_MAX)
        self._alarms: Alarms[str] = Alarms()
        self._draining = False
        self._said = (0, False)
        self._drain_over = False
        self._finished = self._fenced = self._returned = self._strays = 0

    # --- what the node tells it --------------------------------------------------------------------

    def capacity(self, slots: int, now: float) -> Effects:
        """The runner can take `slots` jobs at once from now on."""
        del now
        if slots == self._slots:
            return ()
        self._slots = slots
        return self._tell_slots()

    def welcomed(self, channel: ChannelId, epoch: Epoch, now: float) -> Effects:
        """A leader took this node on: it learns which slots are free, and gets every kept result (W5)."""
        del epoch, now
        self._channel = channel
        self._kept.connected(itself=channel == OWN_CHANNEL)
        owed = tuple(self._to_leader(Returned(key)) for key in self._owed)
        self._owed.clear()
        news = self._tell_slots() if self._said != (self._slots, self._draining) else ()
        return news + owed + self._tell()

    def hello_fields(self) -> tuple[int, tuple[AttemptKey, ...], tuple[AttemptKey, ...], bool]:
        """Slots, attempts running, attempts whose results are kept, draining: for HELLO (W2)."""
        running = tuple(run.key for run in self._runs.values() if not run.cancelled)
        self._said = (self._slots, self._draining)  # what changes before the WELCOME is told after it
        return self._slots, running, self._kept.keys(), self._draining

    def disconnected(self, now: float) -> Effects:
        """The leader's channel is gone; jobs and results stay (W2)."""
        del now
        self._channel = None
        self._kept.disconnected()
        return ()

    def read(self, nonce: int) -> Effects:
        """The leader has read the results that it was sent before (W14)."""
        self._kept.read(nonce)
        return self._tell()

    def receive(
        self,
        channel: ChannelId,
        leader: NodeId,
        leader_boot: Boot,
        frame: Assign | CancelRun | Recount | Release,
        now: float,
    ) -> Effects:
        """An order of the leader at the other end of `channel`."""
        if isinstance(frame, Release):
            for job in frame.jobs:
                self._kept.forget(job)
            return ()
        fence = self._ledger.record
        implausible = frame.epoch > fence.accepted + MAX_EPOCH_JUMP  # followed once, it is for ever (N6)
        another = frame.epoch == fence.fence_epoch and leader != fence.fence_leader
        if frame.epoch < fence.fence_epoch or another or implausible:
            self._fenced += 1
            return self._ledger.when_durable((SendFrame(channel, Fenced(fence.fence_epoch)),))
        if isinstance(frame, CancelRun):
            return tuple(step for job in frame.jobs for step in self._cancel(job))
        if isinstance(frame, Recount):
            return tuple(RepeatProgress(job) for job in frame.jobs if job in self._runs)
        return self._assign(channel, leader, leader_boot, frame, now)

    def persist_failed(self, token: int, now: float) -> Effects:
        """A write failed: the starts that waited for it never happen, so these jobs are handed back (N4)."""
        del now
        lost = [job for job, run in self._runs.items() if run.token == token]
        steps: list[Effect] = []
        for job in lost:
            run = self._runs.pop(job)
            self._alarms.clear(job)
            steps.extend(self._hand_back(self._channel, run.key))
        for job, run in self._runs.items():
            if run.stop == token:
                steps.extend(self._stop(job))
        return tuple(steps)

    def run_progressed(self, event: RunProgressed) -> Effects:
        """A run came to something: told to the leader, if there is one, and kept by nobody (W13)."""
        run = self._runs.get(event.job)
        if run is None or run.cancelled or self._channel is None:
            return ()
        return (self._to_leader(Progress(run.began, event.compilation, event.pieces)),)

    def run_finished(self, job: str, outcome: Outcome, now: float) -> Effects:
        """The runner is done with a job: the result is kept, and sent if there is a leader (W5)."""
        run = self._runs.pop(job, None)
        if run is None:
            self._strays += 1
            return ()
        self._alarms.clear(job)
        if run.cancelled:
            return self._hand_back(self._channel, run.key)
        if run.expired and outcome.verdict is Verdict.CANCELLED:
            outcome = msgspec.structs.replace(
                outcome, verdict=Verdict.EXPIRED, message="stopped: the job's deadline passed while it ran"
            )
        outcome = msgspec.structs.replace(outcome, worker=self._me)
        self._finished += 1
        self._kept.add(Kept(run.key, outcome, now, outcome_bytes(outcome)))
        log = self._log(f"finished job {job[:8]}: {outcome.verdict}")
        return (log, *self._tell(), *self._make_room(now))

    def run_unstarted(self, job: str, now: float) -> Effects:
        """This host can't work on it now: another may (W10)."""
        run = self._runs.get(job)
        if run is not None and run.expired:
            return self.run_finished(job, Outcome(Verdict.CANCELLED), now)
        if run is None:
            self._strays += 1
            return ()
        del self._runs[job]
        self._alarms.clear(job)
        return (*self._hand_back(self._channel, run.key), self._log(f"job {job[:8]} can't be run here now"))

    def drain(self, now: float) -> Effects:
        """Take nothing new and finish what runs, for `drain_s` at most (W10)."""
        if self._draining:
            return ()
        self._draining = True
        self._alarms.set(_DRAINED, now + self._settings.drain_s)
        return self._tell_slots()

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing is kept, or draining took too long: the process may go (W10)."""
        return self._drain_over or not (self._runs or len(self._kept))

    def tick(self, now: float) -> Effects:
        """Stop what outlived its deadline, drop results that grew old, end a long drain."""
        steps: list[Effect] = []
        while (job := self._alarms.pop_due(now)) is not None:
            if job == _DRAINED:
                steps.extend(self._end_drain())
            elif job in self._runs:
                self._runs[job].expired = True
                steps.extend(self._stop(job))
                steps.append(self._log(f"job {job[:8]} passed its deadline: stopping it"))
        steps.extend(self._make_room(now))
        return tuple(steps)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        alarm, expiry = self._alarms.next(), self._kept.next_deadline()
        if alarm is None or expiry is None:
            return expiry if alarm is None else alarm
        return min(alarm, expiry)

    def load(self) -> tuple[int, int]:
        """Slots, and how many of them are busy."""
        return self._slots, len(self._runs)

    def snapshot(self) -> ExecutionSnapshot:
        """What is going on, for people and metrics."""
        return ExecutionSnapshot(
            slots=self._slots,
            running=tuple(run.key for run in self._runs.values()),
            kept=len(self._kept),
            kept_bytes=self._kept.bytes,
            draining=self._draining,
            finished=self._finished,
            fenced=self._fenced,
            returned=self._returned,
            dropped=self._kept.dropped,
            strays=self._strays,
        )

    def validate(self) -> None:
        """Assert the invariants of the class."""
        assert not any(job in self._kept for job in self._runs), "running and kept at once (W5)"
        self._kept.validate()
        assert len(self._seen) <= SEEN_MAX
        for job, run in self._runs.items():
            assert run.key.job == job
            assert run.key.epoch <= self._ledger.record.fence_epoch, "runs for an epoch above its fence (L6)"
            assert job in self._alarms or run.expired or run.cancelled

    # --- orders ------------------------------------------------------------------------------------

    def _assign(
        self, channel: ChannelId, leader: NodeId, leader_boot: Boot, frame: Assign, now: float
    ) -> Effects:
        """Run it, unless it runs, is kept, was run, or there is no room (W4, W5).

        Whatever becomes of the job, the order of a higher epoch raises the fence (L6).
        """
        key = AttemptKey(frame.job.id, frame.epoch, frame.attempt)
        steps = self._decide(channel, key, now, frame)
        if frame.epoch > self._ledger.record.fence_epoch:
            # Handing a job back depends on no record, and must not be lost with a write that fails.
            back = tuple(step for step in steps if _hands_back(step))
            rest = tuple(step for step in steps if not _hands_back(step))
            write = self._ledger.fence(Epoch(frame.epoch), leader, leader_boot, then=rest)
            self._note_write((write,), frame.job.id)
            return (write, *back)
        if any(isinstance(step, StartRun) for step in steps):
            steps = self._ledger.when_durable(steps)
            self._note_write(steps, frame.job.id)
        return steps

    def _decide(self, channel: ChannelId, key: AttemptKey, now: float, frame: Assign) -> Effects:
        run = self._runs.get(key.job)
        if run is not None:
            if run.cancelled:
                return self._hand_back(channel, key)
            run.key = max(run.key, key, key=_order)
            return ()
        kept = self._kept.get(key.job)
        if kept is not None:
            kept.key = max(kept.key, key, key=_order)
            if self._kept.is_due(key.job):
                return ()  # it is on its way
            return (SendFrame(channel, Finished(kept.key, kept.outcome)),)
        if key in self._seen or self._draining or len(self._runs) >= self._slots:
            return self._hand_back(channel, key)
        self._seen[key] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        self._runs[key.job] = Run(key, key, now + frame.remaining_s, token=None)
        self._alarms.set(key.job, now + frame.remaining_s)
        return (
            self._log(f"running job {key.job[:8]}, attempt {key.attempt}, epoch {key.epoch}"),
            StartRun(frame.job, frame.remaining_s),
        )

    def _note_write(self, steps: tuple[Effect, ...], job: str) -> None:
        """Remember which write the start of `job` waits for."""
        for step in steps:
            if isinstance(step, Persist) and any(
                isinstance(then, StartRun) and then.job.id == job for then in step.then
            ):
                self._runs[job].token = step.token

    def _cancel(self, job: str) -> Effects:
        """Stop and forget it: no result of it is kept or sent (W9)."""
        self._kept.forget(job)
        run = self._runs.get(job)
        if run is None or run.cancelled:
            return ()
        run.cancelled = True
        self._alarms.clear(job)
        return (*self._stop(job), self._log(f"job {job[:8]} cancelled: stopping it"))

    def _end_drain(self) -> Effects:
        """The drain timeout passed: hand back what still runs (W10)."""
        self._drain_over = True
        steps: list[Effect] = []
        for job, run in self._runs.items():
            if run.cancelled:
                continue
            run.cancelled = True
            self._alarms.clear(job)
            steps.extend(self._stop(job))
            steps.extend(self._hand_back(self._channel, run.key))
        return tuple(steps)

    # --- small steps -------------------------------------------------------------------------------

    def _stop(self, job: str) -> Effects:
        """Stop it, and never before a start that still waits for the disk: writes are done in order."""
        run = self._runs[job]
        if run.token is None or not self._ledger.waits(run.token):
            return (StopRun(job),)
        write = self._ledger.in_turn((StopRun(job),))
        run.stop = write.token
        return (write,)

    def _hand_back(self, channel: ChannelId | None, key: AttemptKey) -> Effects:
        """Also said of a cancelled run once it has stopped: the leader learns that the slot is free.

        Without a leader it is owed, and said with the next WELCOME: over the same channel the leader still
        counts the slot as busy.
        """
        self._returned += 1
        if channel is None:
            self._owed.append(key)
            return ()
        return (SendFrame(channel, Returned(key)),)

    def _tell(self) -> Effects:
        """Send results while the leader reads them (W14)."""
        steps: list[Effect] = []
        for kept, ping in self._kept.take_due():
            steps.append(self._to_leader(Finished(kept.key, kept.outcome)))
            if ping is not None:
                steps.append(self._to_leader(ping))
        return tuple(steps)

    def _make_room(self, now: float) -> Effects:
        """A result that is dropped before the leader got it is handed back: somebody runs the job anew."""
        return tuple(step for key in self._kept.crowded(now) for step in self._hand_back(self._channel, key))

    def _tell_slots(self) -> Effects:
        if self._channel is None:
            return ()
        self._said = (self._slots, self._draining)
        return (self._to_leader(Slots(self._slots, self._draining)),)

    def _to_leader(self, frame: Frame) -> SendFrame:
        assert self._channel is not None
        return SendFrame(self._channel, frame)

    def _log(self, text: str) -> Log:
        return Log(Level.VERBOSE, f"{self._me}: {text}")


def _hands_back(step: Effect) -> bool:
    return isinstance(step, SendFrame) and isinstance(step.frame, Returned)


def _order(key: AttemptKey) -> tuple[int, int]:
    return key.epoch, key.attempt
