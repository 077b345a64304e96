"""One compiler process: it warms up, then compiles by turns, then is gone (J1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cluster.errors import RemoteProtocolError
from cluster.java.frames import Answer, AnswerBuffer, decode_answer, encode_request
from cluster.java.jvm import Ending, Jvm
from cluster.java.rehearsal import PROGRAMS
from cluster.java.sandbox import STDERR, STDIN, STDOUT
from cluster.wire.jobs import Source

WARM_ROUNDS = 24
"""How often the representative programs are compiled before the node reports ready: after eight times, the
first hundred programs with streams still took an eighth longer."""
START_S = 120.0
"""From starting the process to the first answer of its warming, and from each to the next."""
SLOW_S = 2.0
"""A compilation that takes longer has no claim on being the only one."""
ABANDONED_S = 0.5
"""How long a compilation may go on that nobody waits for: most end by then, and leave a warm compiler."""
GROWN = 2.75
"""A compiler that has more than so many times the memory of its beginning is replaced. Two thousand ordinary
programs leave it with 2.4 times (88 to 212 MB), a few sources of a megabyte with three times."""
LOOK_AFTER_S = 0.5
"""From an answer to the look at the memory: whoever comes meanwhile does not wait for that."""

_COMPLAINT_MAX = 2000


@attrs.define(eq=False)
class Ticket:
    """One compilation that somebody waits for."""

    sources: Sequence[Source]
    limit_s: float
    deadline: float
    result: Deferred[Answer | str]
    tries: int = 0


class CompilerProcess:
    """One compiler process: warming, then ready, then busy by turns, then gone.

    Attributes:
        ready: it is warm, and was not killed.
        proven: it has been ready.
        ticket: what it is compiling.
        slow: what it compiles has taken `SLOW_S` already.
        overdue: it was killed for taking too long.
        abandoned: it was killed because nobody waited any more for what it compiled.
        asked: it was killed by us.
        worn: another is to take its place once that is warm.
        complaint: what it wrote to standard error.
    """

    def __init__(self, clock: IReactorTime, jvm: Jvm) -> None:
        self._clock = clock
        self._buffer = AnswerBuffer()
        self._number = 0
        self._warming = 0
        self._timer: IDelayedCall = clock.callLater(START_S, self._stuck)
        self._slow_timer: IDelayedCall | None = None
        self._leave_timer: IDelayedCall | None = None
        self._look_timer: IDelayedCall | None = None
        self._resident_first = 0
        self.jvm = jvm
        self.ready = self.proven = False
        self.compilations = 0
        self.ticket: Ticket | None = None
        self.slow = self.overdue = self.abandoned = False
        self.asked = self.worn = False
        self.complaint = ""
        self.on_ready: Callable[[], None] = lambda: None
        self.on_slow: Callable[[], None] = lambda: None
        self.on_worn: Callable[[], None] = lambda: None
        self.on_answer: Callable[[Ticket, Answer], None] = lambda _ticket, _answer: None
        jvm.on_data = self._received
        jvm.ended.addCallback(self._ended)

    def warm(self) -> None:
        """Compile the next representative program, or be ready."""
        if self._warming == WARM_ROUNDS * len(PROGRAMS):
            self._timer.cancel()
            self.ready = self.proven = True
            self._resident_first = self._resident()
            self.on_ready()
            return
        self._timer.reset(START_S)
        self._ask((PROGRAMS[self._warming % len(PROGRAMS)],))
        self._warming += 1

    def compile(self, ticket: Ticket) -> None:
        """Begin; `on_answer` follows, or the end of the process."""
        self.ticket = ticket
        ticket.tries += 1
        left = min(ticket.limit_s, ticket.deadline - self._clock.seconds())
        self._timer = self._clock.callLater(max(left, 0), self._late)
        self._slow_timer = self._clock.callLater(SLOW_S, self._slow)
        self._ask(ticket.sources)

    def abandon(self) -> None:
        """Nobody waits for what it compiles: it may end that within `ABANDONED_S`, or it is killed."""
        self._leave_timer = self._clock.callLater(ABANDONED_S, self._left)

    def _ask(self, sources: Sequence[Source]) -> None:
        self._number += 1
        self.jvm.write(STDIN, encode_request(self._number, sources))

    def _stuck(self) -> None:
        self.complaint += f"it did not answer for {START_S:g} s while it warmed up"
        self.kill()

    def _slow(self) -> None:
        self.slow = True
        self.on_slow()

    def _late(self) -> None:
        self.overdue = True
        self.kill()

    def _left(self) -> None:
        self.abandoned = True
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
        self._rest()
        ticket, self.ticket = self.ticket, None
        self.compilations += 1
        if ticket is not None:
            self.on_answer(ticket, answer)
        if self._look_timer is None:
            self._look_timer = self._clock.callLater(LOOK_AFTER_S, self._look)

    def _look(self) -> None:
        """Has it grown? What large sources took it does not give back."""
        self._look_timer = None
        if 0 < GROWN * self._resident_first < self._resident():
            self.worn = True
            self.on_worn()

    def _resident(self) -> int:
        used = self.jvm.usage()
        return used.resident if used is not None else 0

    def _rest(self) -> None:
        for timer in (self._timer, self._slow_timer, self._leave_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self.slow = False

    def _ended(self, ending: Ending) -> Ending:
        self._rest()
        if self._look_timer is not None:
            self._look_timer.cancel()
        self.ready = False
        return ending
