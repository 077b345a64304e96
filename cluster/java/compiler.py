"""The warm compiler (J1): one long-lived virtual machine that compiles and never runs what it compiled.

Losing it never loses a job: what it was compiling is given once more to the next one, and what waits,
waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cluster.errors import HostExhausted, RemoteProtocolError
from cluster.java.frames import CRASHED, Answer, AnswerBuffer, decode_answer, encode_request
from cluster.java.jvm import Ending, Jvm
from cluster.java.rehearsal import PROGRAMS
from cluster.java.sandbox import STDERR, STDIN, STDOUT
from cluster.java.scarcity import fault_of, says_so
from cluster.wire.jobs import Source

WARM_ROUNDS = 8
"""How often the representative programs are compiled before the node reports ready."""
START_S = 120.0
"""From starting the process to the first answer of its warming, and from each to the next."""
TRIES = 2
"""How many compilers one source may bring down; then the source is to blame."""
FIRST_TRIES = 1
"""Repetitions granted to a machine on which no compiler ever started, unless what it lacks may pass."""

UNAVAILABLE = "unavailable"
"""Instead of an answer: there is no compiler now, and no other could be started."""

_RETRY_S = 0.5
_RETRY_MAX_S = 10.0
_COMPLAINT_MAX = 2000


class Spawn(Protocol):
    """Starts a compiler's process."""

    def __call__(self, jvm: Jvm) -> None:
        """Raise OSError when there is none to be had."""


@attrs.define(eq=False)
class _Ticket:
    """One compilation that somebody waits for."""

    sources: Sequence[Source]
    limit_s: float
    deadline: float
    result: Deferred[Answer | str]
    tries: int = 0


class _Instance:
    """One compiler process: warming, then ready, then busy by turns, then gone."""

    def __init__(self, clock: IReactorTime, jvm: Jvm) -> None:
        self._clock = clock
        self._buffer = AnswerBuffer()
        self._number = 0
        self._warming = 0
        self._timer: IDelayedCall = clock.callLater(START_S, self._stuck)
        self.jvm = jvm
        self.ready = False
        self.compilations = 0
        self.ticket: _Ticket | None = None
        self.overdue = False
        self.asked = False
        self.complaint = ""
        self.on_ready: Callable[[], None] = lambda: None
        self.on_answer: Callable[[_Ticket, Answer], None] = lambda _ticket, _answer: None
        jvm.on_data = self._received
        jvm.ended.addCallback(self._ended)

    def warm(self) -> None:
        """Compile the next representative program, or be ready."""
        if self._warming == WARM_ROUNDS * len(PROGRAMS):
            self._timer.cancel()
            self.ready = True
            self.on_ready()
            return
        self._timer.reset(START_S)
        self._ask((PROGRAMS[self._warming % len(PROGRAMS)],))
        self._warming += 1

    def compile(self, ticket: _Ticket) -> None:
        """Begin; `on_answer` follows, or the end of the process."""
        self.ticket = ticket
        ticket.tries += 1
        left = min(ticket.limit_s, ticket.deadline - self._clock.seconds())
        self._timer = self._clock.callLater(max(left, 0), self._late)
        self._ask(ticket.sources)

    def _ask(self, sources: Sequence[Source]) -> None:
        self._number += 1
        self.jvm.write(STDIN, encode_request(self._number, sources))

    def _stuck(self) -> None:
        self.complaint += f"it did not answer for {START_S:g} s while it warmed up"
        self.kill()

    def _late(self) -> None:
        self.overdue = True
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.asked = True
        self.ready = False
        self.jvm.kill()

    def _received(self, descriptor: int, data: bytes) -> None:
        if descriptor == STDERR:
            self.complaint = (self.complaint + data.decode("utf-8", "replace"))[-_COMPLAINT_MAX:]
        elif descriptor == STDOUT:
            try:
                for payload in self._buffer.feed(data):
                    self._answered(decode_answer(payload))
            except RemoteProtocolError as error:
                self.complaint = f"it sent nonsense ({error})"
                self.kill()

    def _answered(self, answer: Answer) -> None:
        if answer.number != self._number:
            raise RemoteProtocolError("unexpected_number")
        if not self.ready:
            self.warm()
            return
        if self._timer.active():
            self._timer.cancel()
        ticket, self.ticket = self.ticket, None
        self.compilations += 1
        if ticket is not None:
            self.on_answer(ticket, answer)

    def _ended(self, ending: Ending) -> Ending:
        if self._timer.active():
            self._timer.cancel()
        self.ready = False
        return ending


@attrs.frozen
class CompilerSnapshot:
    """Counters since the start.

    Attributes:
        lost: processes that ended without being asked to, whatever they were doing.
    """

    ready: bool
    queued: int
    compilations: int
    recycles: int
    crashes: int
    timeouts: int
    lost: int


class Compiler:
    """Compiles one program after the other, and keeps a process ready for that.

    Args:
        clock: a reactor's timers.
        spawn: starts a process.
        confined: whether bubblewrap stands between.
        recycle_after: compilations after which a process is replaced by a spare that was warmed meanwhile.

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
        self._queue: deque[_Ticket] = deque()
        self._active: _Instance | None = None
        self._spare: _Instance | None = None
        self._all: set[_Instance] = set()
        self._stopping = False
        self._told = False
        self._failures = self._lasting = 0
        self._proven = False
        self._retry: IDelayedCall | None = None
        self._compilations = self._recycles = self._crashes = self._timeouts = self._gone = 0
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

        That is `compile` (its limit), `expired`, or `UNAVAILABLE`.

        Cancelling the Deferred takes the request out of the queue, or ignores its answer.
        """
        ticket: _Ticket

        def forget(_: object) -> None:
            if ticket in self._queue:
                self._queue.remove(ticket)

        ticket = _Ticket(sources, limit_s, self._clock.seconds() + remaining_s, Deferred(forget))
        expiry = self._clock.callLater(max(remaining_s, 0), self._expire, ticket)

        def settle(result: object) -> object:
            if expiry.active():
                expiry.cancel()
            return result

        ticket.result.addBoth(settle)
        self._queue.append(ticket)
        self._next()
        return ticket.result

    def _expire(self, ticket: _Ticket) -> None:
        if ticket in self._queue:
            self._queue.remove(ticket)
            ticket.result.callback("expired")

    def _next(self) -> None:
        active = self._active
        if active is None or not active.ready or active.ticket is not None:
            return
        if active.compilations >= self._recycle_after:
            if self._spare is None and self._retry is None:
                self._start_spare()
            elif self._spare is not None and self._spare.ready:
                self._recycles += 1
                active.kill()
                return
        if self._queue:
            active.compile(self._queue.popleft())

    def _start_spare(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()  # one chain of tries
        self._retry = None
        if self._stopping or self._spare is not None:
            return
        jvm = Jvm(confined=self._confined)
        instance = _Instance(self._clock, jvm)
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
        instance.on_answer = self._answered
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
        delay = min(_RETRY_S * 2**self._failures, _RETRY_MAX_S)
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
        self._tell()
        self._next()

    def _tell(self) -> None:
        ready = self._active is not None and self._active.ready
        if ready != self._told:
            self._told = ready
            if ready:
                self.on_trouble("")
            self.on_ready(ready)

    def _answered(self, ticket: _Ticket, answer: Answer) -> None:
        self._compilations += 1
        if answer.status == CRASHED:
            self._crashes += 1
            if self._active is not None:
                # It survived, but is not trusted for long: it serves until a fresh one is warm.
                self._active.compilations = self._recycle_after
        if not ticket.result.called:
            ticket.result.callback(answer)
        self._next()

    def _ended(self, ending: Ending, instance: _Instance) -> Ending:
        self._all.discard(instance)
        self._gone += not instance.asked
        if instance is self._spare:
            self._spare = None
            self.complaint = instance.jvm.complaint or instance.complaint
            if not self._stopping:
                self._log.error("a compiler did not start: {why}", why=self.complaint.strip())
                self._again(passing=says_so(self.complaint) or ending.killed)
            return ending
        if instance is self._active:
            self._active = None
        ticket = instance.ticket
        if ticket is not None and not ticket.result.called:
            self._lost(ticket, instance)
        if not self._stopping:
            self._promote()
            if self._spare is None and self._active is None:
                self._start_spare()
        return ending

    def _lost(self, ticket: _Ticket, instance: _Instance) -> None:
        """A compiler ended while it worked on this."""
        if instance.overdue:
            self._timeouts += 1
            late = self._clock.seconds() >= ticket.deadline
            ticket.result.callback("expired" if late else "compile")
        elif ticket.tries >= TRIES:
            self._crashes += 1
            ticket.result.callback(Answer(0, CRASHED, "the compiler crashed on this source", (), "", {}))
        else:
            self._queue.appendleft(ticket)

    def stop(self) -> Deferred[None]:
        """Kill it; fires when it is reaped. Nobody may wait for a compilation any more."""
        self._stopping = True
        if self._retry is not None:
            self._retry.cancel()
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
            queued=len(self._queue),
            compilations=self._compilations,
            recycles=self._recycles,
            crashes=self._crashes,
            timeouts=self._timeouts,
            lost=self._gone,
        )


def _pass_on(ending: Ending, to: Deferred[Ending]) -> Ending:
    to.callback(ending)
    return ending
