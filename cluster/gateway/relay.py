"""From an HTTP handler's await to the core's events and back: one number and one Deferred a waiter.

The framework cancels a handler's Deferred when its client disconnects. As each waiter has its own, that
abandons this waiter's request and nobody else's (C4, W9); the core decides whether the job goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs

from twisted.internet.defer import Deferred

from cluster.core.effects import Answer, ShowProgress
from cluster.core.events import Event, RequestAbandoned, RequestArrived
from cluster.wire.jobs import Outcome, Program, Refusal
from cluster.wire.messages import Progressed


@attrs.frozen
class Answered:
    """What a waiter gets.

    Attributes:
        job: the job's id; empty when it never became one.
        cached: taken from the cache (C3), and `age_s` seconds old.
    """

    job: str
    result: Outcome | Refusal
    cached: bool = False
    age_s: float = 0.0


class Requests:
    """The requests that wait for an answer.

    Invariant: a number is in `_waiters` exactly while its Deferred has not fired; each fires once. Only who
    waits may watch.
    """

    def __init__(self, feed: Callable[[Event], None], new_job_id: Callable[[], str]) -> None:
        """Hand events to `feed`. How many may wait is the core's to say: it answers `OVERLOADED` (W4)."""
        self._feed = feed
        self.new_job_id = new_job_id
        """Makes 128 random bits in hexadecimal (W1)."""
        self._numbers = itertools.count(1)
        self._waiters: dict[int, Deferred[Answered]] = {}
        self._watchers: dict[int, Callable[[Progressed], None]] = {}
        self.late = 0
        """Answers that came when nobody waited any longer (W8)."""

    @property
    def pending(self) -> int:
        """How many wait now."""
        return len(self._waiters)

    def submit(
        self,
        program: Program,
        use_cache: bool,
        keep: bool,
        job_id: str = "",
        tenant: str = "",
        share: int = 1,
        watch: Callable[[Progressed], None] | None = None,
    ) -> tuple[Deferred[Answered], Callable[[], None]]:
        """Ask for a program's outcome; call the second value, or cancel the Deferred, to leave (W9).

        Args:
            program: what to run.
            use_cache: see `RequestArrived`.
            keep: see `RequestArrived`.
            job_id: the id to use if this becomes a job of its own; empty: a random one.
            tenant: who takes turns with others when jobs wait; empty: nobody in particular.
            share: how many jobs that tenant has a turn.
            watch: called with what its run comes to, until the answer (W13); None: nobody wants to see it.
        """
        number = next(self._numbers)
        waiter: Deferred[Answered] = Deferred(lambda _waiter: self._abandon(number))
        self._waiters[number] = waiter
        if watch is not None:
            self._watchers[number] = watch
        job_id = job_id or self.new_job_id()
        try:
            self._feed(
                RequestArrived(
                    number, job_id, program, use_cache, keep, tenant, share, progress=watch is not None
                )
            )
        except BaseException:
            self._waiters.pop(number, None)
            self._watchers.pop(number, None)
            raise
        return waiter, waiter.cancel

    def answered(self, effect: Answer) -> None:
        """Perform an `Answer`; one that nobody waits for is counted and dropped."""
        waiter = self._waiters.pop(effect.request, None)
        self._watchers.pop(effect.request, None)
        if waiter is None:
            self.late += 1
            return
        waiter.callback(Answered(effect.job, effect.result, effect.cached, effect.age_s))

    def show(self, effect: ShowProgress) -> None:
        """Perform a `ShowProgress`."""
        for number in effect.requests:
            if (watch := self._watchers.get(number)) is not None:
                watch(effect.progress)

    def _abandon(self, number: int) -> None:
        self._watchers.pop(number, None)
        if self._waiters.pop(number, None) is not None:
            self._feed(RequestAbandoned(number))
