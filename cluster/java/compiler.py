"""The warm compiler (J1): one long-lived virtual machine that compiles and never runs what it compiled.

Losing it never loses a job: what it was compiling is given once more to the next one, unless it filled the
heap, and what waits, waits for it. A spare is kept warm, so that it takes a moment and not the seconds of a
start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import attrs

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cluster.errors import HostExhausted
from cluster.java.compiler_process import CompilerProcess, Ticket
from cluster.java.flags import OUT_OF_MEMORY
from cluster.java.frames import CRASHED, Answer
from cluster.java.jvm import Ending, Jvm
from cluster.java.scarcity import fault_of, says_so
from cluster.wire.jobs import Source

SPARE_AFTER_S = 10.0
"""From the first compiler's being ready to the start of its spare: the first programs come before."""
TRIES = 2
"""How many compilers one source may bring down; then the source is to blame."""
FIRST_TRIES = 1
"""Repetitions granted to a machine on which no compiler ever started, unless what it lacks may pass."""

UNAVAILABLE = "unavailable"
"""Instead of an answer: there is no compiler now, and no other could be started."""

_RETRY_S = 0.5
_RETRY_MAX_S = 10.0
_SPARE_RETRY_MAX_S = 60.0


class Spawn(Protocol):
    """Starts a compiler's process."""

    def __call__(self, jvm: Jvm) -> None:
        """Raise OSError when there is none to be had."""


@attrs.frozen
class CompilerSnapshot:
    """Counters since the start.

    Attributes:
        spare: another one is warm.
        abandoned: processes that were ended because nobody waited any more for what they compiled.
        lost: processes that ended without being asked to, whatever they were doing.
    """

    ready: bool
    spare: bool
    queued: int
    compilations: int
    recycles: int
    crashes: int
    timeouts: int
    abandoned: int
    lost: int


class Compiler:
    """Compiles one program after the other, and keeps a process ready for that.

    Args:
        clock: a reactor's timers.
        spawn: starts a process.
        confined: whether bubblewrap stands between.
        recycle_after: compilations after which a process is replaced by the spare.

    Attributes:
        on_ready: called with whether there is a compiler now, when that changes.
        on_hopeless: called instead of trying again when none ever became ready, for no reason that may pass.
        on_trouble: called with why none could be started while none serves, and with nothing once one does.
        complaint: what the last one said that did not start.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, spawn: Spawn, *, confined: bool, recycle_after: int) -> None:
        self._clock = clock
        self._spawn = spawn
        self._confined = confined
        self._recycle_after = recycle_after
        self._queue: deque[Ticket] = deque()
        self._active: CompilerProcess | None = None
        self._spare: CompilerProcess | None = None
        self._relieved: CompilerProcess | None = None
        self._all: set[CompilerProcess] = set()
        self._stopping = False
        self._told = False
        self._failures = self._lasting = 0
        self._proven = False
        self._retry: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None
        self._compilations = self._recycles = self._crashes = self._timeouts = 0
        self._abandoned = self._gone = 0
        self.on_ready: Callable[[bool], None] = lambda _ready: None
        self.on_hopeless: Callable[[], None] = lambda: None
        self.on_trouble: Callable[[str], None] = lambda _why: None
        self.complaint = ""

    def start(self) -> None:
        """Start the first; `on_ready(True)` follows."""
        self._start_spare()

    def compile(
        self, sources: Sequence[Source], limit_s: float, remaining_s: float
    ) -> Deferred[Answer | str]:
        """Compile; fires with an answer, or with why there is none.

        That is `compile` (its limit), `expired`, or `UNAVAILABLE`: also when what killed its compilers came
        from outside.

        Cancelling the Deferred takes the request out of the queue. What is compiled already has `ABANDONED_S`
        left: who comes next must not wait for what nobody wants.
        """
        ticket: Ticket

        def forget(_: object) -> None:
            self._forget(ticket)

        ticket = Ticket(sources, limit_s, self._clock.seconds() + remaining_s, Deferred(forget))
        expiry = self._clock.callLater(max(remaining_s, 0), self._expire, ticket)

        def settle(result: object) -> object:
            if expiry.active():
                expiry.cancel()
            return result

        ticket.result.addBoth(settle)
        self._queue.append(ticket)
        self._next()
        return ticket.result

    def _forget(self, ticket: Ticket) -> None:
        if ticket in self._queue:
            self._queue.remove(ticket)
        for instance in self._all:
            if instance.ticket is ticket:
                instance.abandon()

    def _expire(self, ticket: Ticket) -> None:
        if ticket in self._queue:
            self._queue.remove(ticket)
            ticket.result.callback("expired")

    def _next(self) -> None:
        self._relieve()
        active = self._active
        if active is None or not active.ready or active.ticket is not None:
            return
        if active.worn or active.compilations >= self._recycle_after:
            if self._spare is None and self._retry is None:
                self._start_spare()
            elif self._spare is not None and self._spare.ready:
                self._recycles += 1
                active.kill()
                return
        if self._queue:
            active.compile(self._queue.popleft())

    def _relieve(self) -> None:
        """Who waits behind a slow compilation gets the spare; the other one ends with what it compiles."""
        active, spare = self._active, self._spare
        if active is None or spare is None or not (active.slow and spare.ready and self._queue):
            return
        if self._relieved is None:  # so that slow ones don't have all the memory
            self._relieved, self._active, self._spare = active, spare, None

    def _start_spare(self) -> None:
        for timer in (self._retry, self._soon):
            if timer is not None and timer.active():
                timer.cancel()  # one chain of tries
        self._retry = self._soon = None
        if self._stopping or self._spare is not None:
            return
        jvm = Jvm(confined=self._confined)
        instance = CompilerProcess(self._clock, jvm)
        try:
            self._spawn(jvm)
        except OSError as error:
            self._log.error("can't start a compiler: {error}", error=error)
            self.complaint = f"no process can be started: {error}"
            self._again(passing=isinstance(fault_of("", error), HostExhausted))
            return
        self._spare = instance
        self._all.add(instance)
        instance.on_ready = self._promote
        instance.on_slow = instance.on_worn = self._next
        instance.on_answer = partial(self._answered, instance)
        jvm.ended.addCallback(self._ended, instance)
        instance.warm()

    def _again(self, *, passing: bool) -> None:
        self._lasting += not passing
        if not self._proven and not passing and self._lasting > FIRST_TRIES:
            self.on_hopeless()
            return
        if self._active is None and (self._proven or passing):
            self.on_trouble(self.complaint.strip() or "the compiler was killed while it started")
        if self._proven and self._active is None:
            self._give_up_waiting()
        most = _RETRY_MAX_S if self._active is None else _SPARE_RETRY_MAX_S
        delay = min(_RETRY_S * 2**self._failures, most)
        self._failures = min(self._failures + 1, 10)
        if self._retry is None and not self._stopping:
            self._retry = self._clock.callLater(delay, self._start_spare)

    def _give_up_waiting(self) -> None:
        """What waits for a compiler may as well wait elsewhere."""
        while self._queue:
            self._queue.popleft().result.callback(UNAVAILABLE)

    def _promote(self) -> None:
        """A spare takes the place of an active one that is missing."""
        if self._spare is not None and self._spare.ready:
            self._failures = 0
            self._proven = True
            if self._active is None:
                self._active, self._spare = self._spare, None
                if self._soon is None and not self._stopping:
                    self._soon = self._clock.callLater(SPARE_AFTER_S, self._start_spare)
        self._tell()
        self._next()

    def _tell(self) -> None:
        ready = self._active is not None and self._active.ready
        if ready != self._told:
            self._told = ready
            if ready:
                self.on_trouble("")
            self.on_ready(ready)

    def _answered(self, instance: CompilerProcess, ticket: Ticket, answer: Answer) -> None:
        self._compilations += 1
        if answer.status == CRASHED:
            self._crashes += 1
            # It survived, but is not trusted for long: it serves until a fresh one is warm.
            instance.worn = True
        if not ticket.result.called:
            ticket.result.callback(answer)
        if instance is self._relieved:
            instance.kill()
        self._next()

    def _ended(self, ending: Ending, instance: CompilerProcess) -> Ending:
        self._all.discard(instance)
        self._gone += not instance.asked
        self._abandoned += instance.abandoned
        if instance is self._spare:
            self._spare = None
            if instance.proven and not self._stopping:
                self._start_spare()
                return ending
            self.complaint = instance.jvm.complaint or instance.complaint
            if not self._stopping:
                self._log.error("a compiler did not start: {why}", why=self.complaint.strip())
                self._again(passing=says_so(self.complaint) or ending.killed)
            return ending
        if instance is self._active:
            self._active = None
        if instance is self._relieved:
            self._relieved = None
        ticket = instance.ticket
        if ticket is not None and not ticket.result.called:
            self._lost(ticket, instance, ending)
        if not self._stopping:
            self._promote()
            if self._spare is None:
                self._start_spare()
        return ending

    def _lost(self, ticket: Ticket, instance: CompilerProcess, ending: Ending) -> None:
        """A compiler ended while it worked on this: the source is to blame, unless something killed it."""
        if instance.overdue:
            self._timeouts += 1
            late = self._clock.seconds() >= ticket.deadline
            ticket.result.callback("expired" if late else "compile")
        elif ending.exit_code == OUT_OF_MEMORY:  # no other compiler's heap is larger
            self._blame(ticket, "the compiler ran out of memory on this source")
        elif ticket.tries >= TRIES and ending.killed and not _full(instance.jvm):
            ticket.result.callback(UNAVAILABLE)
        elif ticket.tries >= TRIES:
            self._blame(ticket, "the compiler crashed on this source")
        else:
            self._queue.appendleft(ticket)

    def _blame(self, ticket: Ticket, why: str) -> None:
        self._crashes += 1
        ticket.result.callback(Answer(0, CRASHED, why, (), "", {}))

    def stop(self) -> Deferred[None]:
        """Kill it; fires when it is reaped. Nobody may wait for a compilation any more."""
        self._stopping = True
        for timer in (self._retry, self._soon):
            if timer is not None and timer.active():
                timer.cancel()
        for ticket in tuple(self._queue):
            ticket.result.cancel()
        endings: list[Deferred[Ending]] = []
        for instance in tuple(self._all):
            ended: Deferred[Ending] = Deferred()
            instance.jvm.ended.addCallback(_pass_on, ended)
            endings.append(ended)
            instance.kill()
        return DeferredList(endings).addCallback(lambda _: None)

    def snapshot(self) -> CompilerSnapshot:
        """Figures for status and metrics."""
        return CompilerSnapshot(
            ready=self._told,
            spare=self._spare is not None and self._spare.ready,
            queued=len(self._queue),
            compilations=self._compilations,
            recycles=self._recycles,
            crashes=self._crashes,
            timeouts=self._timeouts,
            abandoned=self._abandoned,
            lost=self._gone,
        )


def _full(jvm: Jvm) -> bool:
    """Whether the kernel killed it because its own control group's memory was used up."""
    return jvm.toll is not None and jvm.toll.out_of_memory > 0


def _pass_on(ending: Ending, to: Deferred[Ending]) -> Ending:
    to.callback(ending)
    return ending
