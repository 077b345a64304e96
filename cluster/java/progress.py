"""What a run has come to while it runs, for jobs that ask (W13): batched in time and in size.

Nothing is copied before it is sent: the streams are the virtual machine's own buffers, which only grow, and
what was sent of each is a number. To tell everything again, the numbers go back to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cluster.core.events import RunProgressed
from cluster.wire.jobs import Compilation, Piece, Stream

PAUSE_S = 0.05
"""Between two messages of one run: what it writes meanwhile goes out together."""

BATCH_MAX = 64 * 1024
"""Bytes of one message."""

Tell = Callable[[RunProgressed], None]


@attrs.define
class _Written:
    """One stream of one run, and how much of it was sent."""

    run: int
    stream: Stream
    data: bytes | bytearray
    sent: int = 0


class Progress:
    """One job's progress, told by `tell` as it comes, and not more often than every `PAUSE_S`."""

    def __init__(self, clock: IReactorTime, job: str, tell: Tell) -> None:
        """Nothing is told before something happens."""
        self._clock = clock
        self._job = job
        self._tell = tell
        self._compilation: Compilation | None = None
        self._compiled_told = False
        self._streams: dict[tuple[int, Stream], _Written] = {}
        self._timer: IDelayedCall | None = None
        self._ended = False

    def compiled(self, compilation: Compilation) -> None:
        """The program is compiled, and about to run."""
        self._compilation = compilation
        self.changed()

    def runs(self, run: int, streams: Mapping[Stream, bytes | bytearray]) -> None:
        """These are the streams of run number `run`, from its beginning or, at its end, as they stay."""
        for stream, data in streams.items():
            written = self._streams.setdefault((run, stream), _Written(run, stream, data))
            written.data = data

    def changed(self) -> None:
        """Something was written: told at once after a pause, else when the pause is over."""
        if self._timer is None and not self._ended:
            self._send()

    def again(self) -> None:
        """Tell everything from the beginning."""
        self._compiled_told = False
        for written in self._streams.values():
            written.sent = 0
        self.changed()

    def end(self) -> None:
        """The outcome says the rest."""
        self._ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _send(self) -> None:
        self._timer = None
        compilation = None if self._compiled_told else self._compilation
        pieces = self._pieces()
        if compilation is None and not pieces:
            return
        self._compiled_told = self._compilation is not None
        self._timer = self._clock.callLater(PAUSE_S, self._send)
        self._tell(RunProgressed(self._job, compilation, pieces))

    def _pieces(self) -> tuple[Piece, ...]:
        """What was written since, the streams in turn, at most a batch of it."""
        room = BATCH_MAX
        pieces = []
        for written in self._streams.values():
            data = bytes(memoryview(written.data)[written.sent : written.sent + room])
            if data:
                pieces.append(Piece(written.run, written.stream, written.sent, data))
                written.sent += len(data)
                room -= len(data)
            if not room:
                break
        return tuple(pieces)
