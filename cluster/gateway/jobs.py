"""The jobs that clients come back to (H5): kept in memory, bounded by number, bytes and time.

A job's id is random, or derived from its `Idempotency-Key` together with the program, so that one id never
stands for two programs, not even across a restart (W1). Who waits for a job waits on a Deferred of his own;
leaving ends his wait and nothing else. Only `delete` ends the job (W9).

Tenants share the room (H9): what is pending is admitted by `core.fair_share`, and where the rest has to make
room, whoever has most gives way, with what ended first; for nobody who has more himself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import attrs
import msgspec

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cluster.config import GatewaySettings
from cluster.core.fair_share import FairRoom
from cluster.core.sizes import outcome_bytes, program_bytes
from cluster.core.transcript import Transcript
from cluster.gateway.events import EventLog
from cluster.gateway.relay import Answered, Requests
from cluster.wire.jobs import Outcome, Program, Verdict

ID_DIGITS = 32


@attrs.define(eq=False)
class KeptJob:
    """One job and what is known of it.

    Attributes:
        program_digest: tells a repeated request from another one.
        key: what its client called it, or empty; tenant: whose it is.
        created, ended: by the node's clock; `ended` is None while it is pending.
        answered: what came of it.
        hidden: its client deleted it.
        log: what happened to it, for whoever follows its events.
        note: what another interface keeps with it.
    """

    id: str
    program_digest: str
    key: str
    tenant: str
    created: float
    size: int
    log: EventLog
    answered: Answered | None = None
    ended: float | None = None
    hidden: bool = False
    note: object = None
    leave: Callable[[], None] = lambda: None
    waiters: list[Deferred[None]] = attrs.field(factory=list)

    def wait(self) -> Deferred[None]:
        """Fires once it has ended; cancel it to stop waiting."""
        if self.answered is not None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self.waiters.remove)
        self.waiters.append(waiter)
        return waiter


class KeyConflict(Exception):
    """The idempotency key stands for another program, or for a deleted job; the text says which."""


class Full(Exception):
    """As many jobs of that tenant are pending as may be kept."""


class KeptJobs:
    """All jobs that this gateway remembers.

    Invariants: at most `jobs_max` jobs; `bytes` is the sum of their sizes, and at most `jobs_bytes` unless
    pending ones alone need more; a key leads to a job that is kept.
    """

    def __init__(
        self,
        requests: Requests,
        settings: GatewaySettings,
        clock: IReactorTime,
        me: int,
        ended: Callable[[Answered, float], None],
    ) -> None:
        """Send jobs by `requests`; `ended` hears what came of each, and after how many seconds."""
        self._requests = requests
        self._settings = settings
        self._clock = clock
        self._me = me
        self._on_end = ended
        self._jobs: dict[str, KeptJob] = {}
        self._ended: dict[str, KeptJob] = {}
        """The same jobs, as far as they have ended, the oldest end first."""
        self._keys: dict[str, str] = {}
        self._places, self._room = FairRoom(settings.jobs_max), FairRoom(settings.jobs_bytes)
        """All of them, in number and in bytes, by tenant."""
        self._pending = FairRoom(settings.jobs_max), FairRoom(settings.jobs_bytes)
        """Of these, those that are pending: they can't make room."""

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def bytes(self) -> int:
        """What they weigh together."""
        return self._room.held

    def get(self, job: str) -> KeptJob | None:
        """The job with that id, if it is still remembered; whose it is its asker sees to."""
        self._forget_old()
        known = self._jobs.get(job)
        return None if known is None or known.hidden else known

    def open(
        self,
        program: Program,
        use_cache: bool,
        keep: bool,
        key: str = "",
        tenant: str = "",
        *,
        share: int = 1,
        progress: bool = False,
        note: object = None,
        note_bytes: int = 0,
    ) -> KeptJob:
        """Send a tenant's program as a job, or find the one that his key stands for already.

        Args:
            program: what to run.
            use_cache: see `RequestArrived`; so are `keep` and `share`.
            keep: the answer may be kept for others.
            key: what the client calls the job, or empty.
            tenant: whose it is.
            share: his jobs a turn.
            progress: its log is to tell what it comes to while it runs (W13).
            note: is kept with the job, and weighs `note_bytes`.
            note_bytes: see there.

        Raises:
            KeyConflict: the key stands for another program, or for a job that was deleted.
            Full: no room for him, and nothing that may be forgotten for him.
        """
        self._forget_old()
        digest = hashlib.sha256(msgspec.msgpack.encode(program)).hexdigest()
        key = f"{tenant}\n{key}" if key else ""
        if key and (known := self._keys.get(key)) is not None:
            job = self._jobs[known]
            if job.program_digest != digest:
                raise KeyConflict("this Idempotency-Key was used for another program: send a new one")
            if job.hidden:
                raise KeyConflict("the job of this Idempotency-Key was deleted: send a new one")
            return job
        size = program_bytes(program) + note_bytes
        if not self._make_room(tenant, size, 1):
            raise Full
        job_id = self._requests.new_job_id()
        if key:
            text = f"{self._me}\n{digest}\n{key}"
            job_id = hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]
        stream_max = int(program.limits.output_bytes)
        log = EventLog(Transcript(len(program.inputs), stream_max, lambda more: self._grow(job, more)))
        job = KeptJob(job_id, digest, key, tenant, self._clock.seconds(), size, log, note=note)
        self._jobs[job.id] = job
        for number, weight in ((self._places, self._room), self._pending):
            number.take(tenant)
            weight.take(tenant, size)
        if job.key:
            self._keys[job.key] = job.id
        watch = log.take if progress else None
        answer, job.leave = self._requests.submit(program, use_cache, keep, job.id, tenant, share, watch)
        answer.addCallbacks(lambda answered: self._end(job, answered), lambda gone: self._gone(job, gone))
        return job

    def delete(self, job: KeptJob) -> None:
        """End it, if it has not ended (W9), and forget it.

        Its key goes on standing for it: a request that was only late must not start it anew, nor be told
        that a job is there.
        """
        job.leave()
        if job.key:
            job.hidden = True
        else:
            self.forget(job)

    def forget(self, job: KeptJob) -> None:
        """As if it had never been sent."""
        if self._jobs.get(job.id) is job:
            self._drop(job)

    def expires_s(self, job: KeptJob) -> float | None:
        """Until an ended job is forgotten at the latest; None while it is pending."""
        return (
            None if job.ended is None else max(0.0, job.ended + self._settings.jobs_s - self._clock.seconds())
        )

    def age_s(self, job: KeptJob) -> float:
        """Since it was sent."""
        return self._clock.seconds() - job.created

    def validate(self) -> None:
        """Assert the invariants of the class."""
        kept = self._jobs.values()
        assert len(kept) == self._places.held <= self._settings.jobs_max  # noqa: S101
        assert sum(job.size for job in kept) == self.bytes <= self._settings.jobs_bytes  # noqa: S101
        pending = [job for job in kept if job.answered is None]
        assert self._pending[0].held == len(pending)  # noqa: S101
        assert self._pending[1].held == sum(job.size for job in pending)  # noqa: S101
        for room in (self._places, self._room, *self._pending):
            room.validate()
        assert self._keys == {job.key: job.id for job in kept if job.key}  # noqa: S101
        assert {job.id for job in kept if job.answered is not None} == set(self._ended)  # noqa: S101

    def _gone(self, job: KeptJob, failure: Failure) -> None:
        failure.trap(CancelledError)
        self._end(job, Answered(job.id, Outcome(Verdict.CANCELLED, "cancelled by its client")))

    def _end(self, job: KeptJob, answered: Answered) -> None:
        # A shared answer carries the id of the job that ran; its client knows this one.
        job.answered = attrs.evolve(answered, job=job.id)
        job.ended = self._clock.seconds()
        outcome = answered.result if isinstance(answered.result, Outcome) else None
        job.log.end(outcome)
        if self._jobs.get(job.id) is job:  # a reader whose stream ended with it may have let it go
            grown = outcome_bytes(outcome) if outcome is not None else 0
            self._pending[0].give_back(job.tenant)
            self._pending[1].give_back(job.tenant, job.size)
            job.size += grown
            self._room.take(job.tenant, grown)
            self._ended[job.id] = job
            self._make_room(job.tenant, 0, 0)
        self._on_end(job.answered, job.ended - job.created)
        waiters, job.waiters = job.waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _grow(self, job: KeptJob, more: int) -> bool:
        """Hold so much more of what a job writes, if there is room (W13)."""
        if self._jobs.get(job.id) is not job or (more > 0 and not self._make_room(job.tenant, more, 0)):
            return False
        job.size += more
        self._room.take(job.tenant, more)
        self._pending[1].take(job.tenant, more)
        return True

    def _make_room(self, tenant: str, size: int, number: int) -> bool:
        """Let ended jobs go until so much more of this tenant fits; False, and none goes, if it can't."""
        pending_number, pending_bytes = self._pending
        if (number and not pending_number.admits(tenant, number)) or (
            size and not pending_bytes.admits(tenant, size)
        ):
            return False
        going: set[str] = set()
        for room, more, weight in ((self._places, number, _one), (self._room, size, _size)):
            ended = ((job.id, job.tenant, weight(job)) for job in self._ended.values())
            found = room.giving_way(tenant, more, ended, going)
            if found is None:
                return False
            going = found
        for job in going:
            self._drop(self._jobs[job])
        return True

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        while self._ended:
            job = next(iter(self._ended.values()))
            if job.ended is None or now < job.ended + self._settings.jobs_s:
                return
            self._drop(job)

    def _drop(self, job: KeptJob) -> None:
        del self._jobs[job.id]
        rooms = [(self._places, self._room)]
        if self._ended.pop(job.id, None) is None:
            rooms.append(self._pending)
        for number, weight in rooms:
            number.give_back(job.tenant)
            weight.give_back(job.tenant, job.size)
        job.log.close()
        if job.key:
            del self._keys[job.key]


def _one(_job: KeptJob) -> int:
    return 1


def _size(job: KeptJob) -> int:
    return job.size
