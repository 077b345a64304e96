"""The jobs that a leader knows, and the order in which they wait (W4, W7, W8)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import attrs

from cluster.config import WorkSettings
from cluster.core.events import ChannelId
from cluster.core.fair_queue import FairQueue
from cluster.core.sizes import outcome_bytes, program_bytes
from cluster.identity import NodeId
from cluster.wire.jobs import Job, Outcome

SETTLED_MAX = 10_000
"""Ids of ended jobs remembered, so that what comes later of them is released at once (W8)."""

OUTCOMES_FACTOR = 4
"""Outcomes held at the leader, in units of what one worker may keep (`work.kept_bytes`)."""


@attrs.define
class Claim:
    """A gateway wants the answer.

    Attributes:
        queue_until: when it has waited long enough for a slot (W4).
        deadline: when its client stops waiting.
        tenant, share: whose turn it takes in the queue, and that one's weight.
        told: the channel on which the gateway was told the outcome.
        size: bytes of the job.
    """

    job: Job
    gateway: NodeId
    queue_until: float
    deadline: float
    tenant: str = ""
    share: int = 1
    told: ChannelId | None = None
    size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.size = program_bytes(self.job.program)


@attrs.define
class Entry:
    """One job as this leader sees it.

    Attributes:
        claim: None while no gateway has asked for it: a worker reported it (W7).
        attempt: number of the last sending.
        losses: workers that it has lost (W6).
        workers: who has it now, cancelled runs left out.
        outcome: its final outcome, kept until the gateway acknowledges it (W8).
        holders: workers that keep a result of it.
        given: workers that have or had it, as this leader gave it or they reported it.
    """

    claim: Claim | None = None
    attempt: int = 0
    losses: int = 0
    workers: dict[NodeId, None] = attrs.Factory(dict)
    outcome: Outcome | None = None
    holders: dict[NodeId, None] = attrs.Factory(dict)
    given: set[NodeId] = attrs.Factory(set)
    size: int = 0


class Board:
    """Entries by job id, the queue, and what waits for the workers' reports (W7).

    Invariants: a job is in the queue or held back iff it is claimed, has no outcome and is at no worker;
    outcomes stay within `OUTCOMES_FACTOR` x `kept_bytes`, the newest excepted.
    """

    def __init__(self, settings: WorkSettings, *, collecting: bool) -> None:
        self._settings = settings
        self.collecting = collecting
        self.jobs: dict[str, Entry] = {}
        self.queue = FairQueue()
        self.held: OrderedDict[str, None] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()
        self.outcome_bytes = 0

    def waiting(self) -> int:
        """Jobs that wait, for a slot or for reports."""
        return len(self.queue) + len(self.held)

    def full(self, slots: int, tenant: str, share: int, *, again: bool) -> bool:
        """Whether one more job of this tenant can't be taken (W4).

        A job that an earlier leader had taken finds twice the room, so that a change of leader refuses
        nobody who waited already.
        """
        room = self._settings.queue_max
        if len(self.jobs) >= 2 * room + slots:
            return True
        return not again and not self.queue.admits(tenant, share, room, len(self.held))

    def enqueue(self, job: str, *, head: bool = False) -> None:
        """Let it wait for a slot, at the end of its tenant's lane, or at the head (W6)."""
        claim = self.jobs[job].claim
        assert claim is not None, "only claimed jobs wait"
        self.queue.push(job, claim.tenant, claim.share, head=head)

    def hold(self, job: str) -> None:
        """Let it wait until the workers have said what runs (W7)."""
        self.held[job] = None

    def end_collecting(self) -> None:
        """What nobody reported goes to the head of the queue, the oldest first (W7)."""
        self.collecting = False
        for job in reversed(self.held):
            self.enqueue(job, head=True)
        self.held.clear()

    def unqueue(self, job: str) -> None:
        """It waits no longer."""
        self.queue.discard(job)
        self.held.pop(job, None)

    def finish(self, job: str, outcome: Outcome) -> list[str]:
        """Keep its outcome; returns the jobs, the oldest first, whose outcomes no longer fit."""
        entry = self.jobs[job]
        entry.outcome = outcome
        entry.size = outcome_bytes(outcome)
        self.outcome_bytes += entry.size
        self._done[job] = None
        excess = self.outcome_bytes - OUTCOMES_FACTOR * self._settings.kept_bytes
        crowded = []
        for other in self._done:
            if excess <= 0 or other == job:
                break
            excess -= self.jobs[other].size
            crowded.append(other)
        return crowded

    def forget(self, job: str) -> None:
        """Drop everything known of it."""
        entry = self.jobs.pop(job)
        self.unqueue(job)
        if job in self._done:
            del self._done[job]
            self.outcome_bytes -= entry.size

    def settle(self, job: str) -> None:
        """It has ended for good: forget it, and remember that."""
        self.forget(job)
        self._settled[job] = None
        if len(self._settled) > SETTLED_MAX:
            self._settled.popitem(last=False)

    def is_settled(self, job: str) -> bool:
        """Whether it ended a while ago."""
        return job in self._settled

    def reopen(self, job: str) -> None:
        """The same id is submitted anew."""
        self._settled.pop(job, None)

    def of_gateway(self, gateway: NodeId) -> list[str]:
        """The jobs that this gateway claims."""
        return [job for job, e in self.jobs.items() if e.claim is not None and e.claim.gateway == gateway]

    def counts(self) -> tuple[int, int, int, int]:
        """Jobs waiting, running, done (unacknowledged), unclaimed."""
        done = len(self._done)
        unclaimed = sum(entry.claim is None for entry in self.jobs.values())
        return self.waiting(), len(self.jobs) - self.waiting() - done, done, unclaimed

    def validate(self, flights: Iterable[tuple[str, NodeId]]) -> None:
        """Assert the invariants, given the live flights (job, worker) of all workers."""
        at: dict[str, set[NodeId]] = {}
        for job, node in flights:
            at.setdefault(job, set()).add(node)
        self.queue.validate()
        queued = set(self.queue)
        assert not queued & self.held.keys()
        assert queued | self.held.keys() <= self.jobs.keys()
        assert len(self._settled) <= SETTLED_MAX
        assert self._done.keys() == {job for job, e in self.jobs.items() if e.outcome is not None}
        assert self.outcome_bytes == sum(self.jobs[job].size for job in self._done)
        for job, entry in self.jobs.items():
            waits = job in self.queue or job in self.held
            assert set(entry.workers) == at.pop(job, set()), f"job {job}: who has it"
            assert waits == (entry.claim is not None and entry.outcome is None and not entry.workers)
            assert waits or entry.workers or entry.outcome is not None, f"job {job} is nowhere"
            assert entry.outcome is None or not entry.workers
        assert not at, "a live flight of an unknown job"
