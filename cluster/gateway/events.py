"""A job's events (H5): a bounded log of what happened, and streams that readers follow at their own pace.

A log holds what happened, not what is sent: a reader is a place in it, so that a slow one costs nothing and
holds up nobody, and one that comes back with `Last-Event-ID` goes on where it was. The text of the output is
in the job's transcript, and after its end in its outcome. When another attempt takes over, what was told of
the one before leaves the log; `restarted` stands in its place.
"""

# ruff: noqa: N802
# IPushProducer's methods keep Twisted's spelling.
# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import chain

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from cluster.core.transcript import Assigned, Compiled, Happening, Restarted, Transcript, Wrote
from cluster.gateway.schemas import (
    AssignedEvent,
    CompiledEvent,
    OutputEvent,
    QueuedEvent,
    RestartedEvent,
)
from cluster.wire.jobs import Outcome, Stream
from cluster.wire.messages import Progressed

EVENTS = "text/event-stream"
STREAMS_MAX = 512
"""Streams of events open at once; one client may have half of them (`core.fair_share`)."""
EVENTS_MAX = 10_000
"""Events of one job; past it what more it writes comes with its outcome."""
KEEP_ALIVE_S = 10.0
"""A stream in which nothing happens says so this often, so that nobody takes it for dead."""
QUEUED_ID = 1
_COMMENT = b": still pending\n\n"


@attrs.frozen
class _Entry:
    """What happened; None is the end."""

    number: int
    happening: Happening | None


class EventLog:
    """What happened to one job so far; `queued` comes before everything else and needs no entry.

    Invariant: numbers rise; they are the events' ids, and none is used twice.
    """

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.ended = False
        self._entries: list[_Entry] = []
        self._last = QUEUED_ID
        self._readers: dict[EventStream, None] = {}

    def take(self, progress: Progressed) -> None:
        """A run came to something (W13)."""
        if len(self._entries) < EVENTS_MAX:
            self._add(self.transcript.take(progress))

    def end(self, outcome: Outcome | None) -> None:
        """It is over; None when the cluster refused it."""
        if not self.ended:
            self.ended = True
            self._add((*self.transcript.end(outcome), None))

    def close(self) -> None:
        """The job is forgotten: nothing more can be told of it."""
        for reader in tuple(self._readers):
            reader.finish()

    def after(self, number: int) -> _Entry | None:
        """The first entry with a higher number."""
        at = bisect_right(self._entries, number, key=lambda entry: entry.number)
        return self._entries[at] if at < len(self._entries) else None

    def seen(self, number: int) -> int:
        """As far as a reader can have come who says that he has seen the event of that number."""
        return min(number, self._last)

    def has_all(self, number: int) -> bool:
        """Nothing will ever follow what that reader has seen."""
        return self.ended and number >= self._last

    def follow(self, reader: EventStream) -> None:
        """Tell it when there is more."""
        self._readers[reader] = None

    def unfollow(self, reader: EventStream) -> None:
        """Tell it no longer."""
        self._readers.pop(reader, None)

    def _add(self, happenings: tuple[Happening | None, ...]) -> None:
        for happening in happenings:
            if isinstance(happening, Restarted):
                self._entries.clear()
            self._last += 1
            self._entries.append(_Entry(self._last, happening))
        if happenings:
            for reader in tuple(self._readers):
                reader.more()


@implementer(IPushProducer)
class EventStream:
    """One reader of a log: written to while it reads, and left alone while it does not.

    Attributes:
        done: fires once the last event is written, or the job forgotten; cancel it when the client is gone.
    """

    def __init__(
        self,
        request: Request,
        log: EventLog,
        after: int,
        job: str,
        age_s: float,
        document: Callable[[], Iterator[bytes]],
        clock: IReactorTime,
    ) -> None:
        """Begin behind event number `after`; `document` tells the job as it is in the end.

        It is as large as all that the job wrote, and so it comes in pieces.
        """
        self._request = request
        self._log = log
        self._at = after
        self._job = job
        self._document = document
        self._verdict: Iterator[bytes] | None = None
        """What is still to be written of it."""
        self._clock = clock
        self._paused = False
        self._over = False
        self._timer: IDelayedCall | None = None
        self.done: Deferred[None] = Deferred(lambda _done: self._stop())
        request.alive = _COMMENT  # type: ignore[attr-defined]  # of a request of ours (site.BoundedRequest)
        log.follow(self)
        request.registerProducer(self, True)
        self._set_timer(KEEP_ALIVE_S, self._keep_alive)
        if after < QUEUED_ID:
            self._write(QUEUED_ID, "queued", QueuedEvent(job, age_s))
        self.more()

    def more(self) -> None:
        """Write what is new, as far as the client reads."""
        while not self._paused and not self._over:
            if self._verdict is not None:
                piece = next(self._verdict, None)
                if piece is None:
                    self.finish()
                else:
                    self._request.write(piece)
            elif (entry := self._log.after(self._at)) is not None:
                self._tell(entry)
            else:
                return

    def finish(self) -> None:
        """The stream is over."""
        if self._over:
            return
        self._stop()
        self._request.unregisterProducer()
        self.done.callback(None)

    def pauseProducing(self) -> None:
        """The client does not keep up: everything stays in the log."""
        self._paused = True
        self._set_timer(None, self._keep_alive)

    def resumeProducing(self) -> None:
        """It does again."""
        if not self._over:
            self._paused = False
            self._set_timer(KEEP_ALIVE_S, self._keep_alive)
            self.more()

    def stopProducing(self) -> None:
        """The connection is closing; the cancelled `done` does the rest."""
        self._stop()

    def _tell(self, entry: _Entry) -> None:
        match entry.happening:
            case None:
                self._at = entry.number
                head = b"id: %d\nevent: verdict\ndata: " % entry.number
                self._request.moving = True  # type: ignore[attr-defined]  # no comment fits in between
                self._verdict = chain((head,), self._document(), (b"\n\n",))
            case Assigned(worker, epoch, attempt):
                event = AssignedEvent(self._job, worker, epoch, attempt)
                self._write(entry.number, "assigned", event)
            case Restarted():
                self._write(entry.number, "restarted", RestartedEvent(self._job))
            case Compiled(found):
                compiled = CompiledEvent(self._job, found.seconds, found.diagnostics, found.main_class)
                self._write(entry.number, "compiled", compiled)
            case Wrote() as wrote:
                self._write(entry.number, "output", self._output(wrote))

    def _output(self, wrote: Wrote) -> OutputEvent:
        data = self._log.transcript.text(wrote)
        text: str | UnsetType = UNSET
        encoded: str | UnsetType = UNSET
        try:
            text = data.decode()
        except UnicodeDecodeError:
            encoded = base64.b64encode(data).decode()
        return OutputEvent(
            job=self._job,
            run=wrote.run,
            stream="stdout" if wrote.stream is Stream.STDOUT else "stderr",
            offset=wrote.offset,
            text=text,
            base64=encoded,
        )

    def _write(self, number: int, name: str, data: msgspec.Struct) -> None:
        """JSON has no line ends of its own, so that one `data:` line holds it."""
        self._at = number
        line = b"id: %d\nevent: %b\ndata: %b\n\n"
        self._request.write(line % (number, name.encode(), msgspec.json.encode(data)))

    def _keep_alive(self) -> None:
        self._request.write(_COMMENT)
        self._set_timer(KEEP_ALIVE_S, self._keep_alive)

    def _stop(self) -> None:
        self._over = True
        self._verdict = None
        self._log.unfollow(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _set_timer(self, seconds: float | None, call: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.callLater(seconds, call)
