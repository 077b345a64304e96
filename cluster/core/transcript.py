"""One job's story, put together from what its runs told on the way and from its outcome (W13).

What comes on the way may be lost, repeated or late. What comes out of here is whole, in order and of one
attempt: each stream's output follows on what was there before, byte by byte. A gap stays open until the
progress is told again or the outcome, which has everything, closes it. A later attempt begins a new story,
and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from cluster.wire.jobs import Compilation, Outcome, Run, Stream
from cluster.wire.messages import Progressed

WROTE_MAX = 64 * 1024
"""Bytes that are told at once: whoever tells them has to make JSON of them, and others wait meanwhile."""
_CHARACTER_MAX = 4
"""Bytes of the longest character in UTF-8."""


@attrs.frozen
class Assigned:
    """A worker was given the job."""

    worker: int
    epoch: int
    attempt: int


@attrs.frozen
class Restarted:
    """What was told of runs and output so far counts no longer: it was another attempt's."""


@attrs.frozen
class Compiled:
    """What the compiler said."""

    compilation: Compilation


@attrs.frozen
class Wrote:
    """So many bytes of a run's stream, from `offset` on; `Transcript.text` has them."""

    run: int
    stream: Stream
    offset: int
    length: int


Happening = Assigned | Restarted | Compiled | Wrote


class Transcript:
    """Takes progress and, once, the outcome; gives what is new, in order.

    Invariants: of each stream a prefix is held, and a prefix of that was given out.
    """

    def __init__(self, runs: int, stream_max: int, room: Callable[[int], bool] = lambda _size: True) -> None:
        """Begin.

        Args:
            runs: how many inputs the job has.
            stream_max: bytes that one run may write to a stream.
            room: asked before so many bytes more are held, and told, by a negative number, of those that are
                held no longer; without room they come with the outcome.
        """
        self._runs = runs
        self._stream_max = stream_max
        self._room = room
        self._attempt = (0, 0)
        self._compiled = False
        self._ended = False
        self._held: dict[tuple[int, Stream], bytearray | bytes] = {}
        self._given: dict[tuple[int, Stream], int] = {}
        self._live = 0

    def take(self, progress: Progressed) -> tuple[Happening, ...]:
        """Something came on the way."""
        attempt = (progress.key.epoch, progress.key.attempt)
        if self._ended or attempt < self._attempt:
            return ()
        found: list[Happening] = []
        if attempt > self._attempt:
            if self._attempt != (0, 0):
                found.extend(self._restart())
            self._attempt = attempt
            found.append(Assigned(progress.worker, *attempt))
        if progress.compilation is not None and not self._compiled:
            self._compiled = True
            found.append(Compiled(progress.compilation))
        for piece in progress.pieces:
            if piece.run < self._runs and self._hold(
                (piece.run, Stream(piece.stream)), piece.offset, piece.data
            ):
                found.extend(self._give((piece.run, Stream(piece.stream)), final=False))
        return tuple(found)

    def end(self, outcome: Outcome | None) -> tuple[Happening, ...]:
        """It is over: everything that was not told yet; None when there is no outcome at all."""
        if self._ended:
            return ()
        self._ended = True
        found: list[Happening] = []
        if outcome is not None:
            if not all(self._continues(number, run) for number, run in enumerate(outcome.runs)):
                found.extend(self._restart())
            if outcome.compilation is not None and not self._compiled:
                found.append(Compiled(outcome.compilation))
            for number, run in enumerate(outcome.runs):
                for stream, data in _streams(run):
                    self._held[number, stream] = data
        self._let_go()
        for key in sorted(self._held):
            found.extend(self._give(key, final=True))
        return tuple(found)

    def text(self, wrote: Wrote) -> bytes:
        """The bytes that it speaks of."""
        held = self._held.get((wrote.run, wrote.stream), b"")
        return bytes(memoryview(held)[wrote.offset : wrote.offset + wrote.length])

    def _restart(self) -> Iterator[Happening]:
        self._held.clear()
        self._given.clear()
        self._compiled = False
        self._let_go()
        yield Restarted()

    def _hold(self, key: tuple[int, Stream], offset: int, data: bytes) -> bool:
        held = self._held.setdefault(key, bytearray())
        assert isinstance(held, bytearray)
        have = len(held)
        fresh = data[have - offset : self._stream_max - offset] if offset <= have else b""
        if not fresh or not self._room(len(fresh)):
            return False
        held += fresh
        self._live += len(fresh)
        return True

    def _let_go(self) -> None:
        """Give back what came on the way and is held no longer; what the outcome replaced it holds itself."""
        kept = sum(len(data) for data in self._held.values() if isinstance(data, bytearray))
        if self._live > kept:
            self._room(kept - self._live)
            self._live = kept

    def _give(self, key: tuple[int, Stream], *, final: bool) -> Iterator[Happening]:
        held, start = self._held[key], self._given.get(key, 0)
        end = len(held) if final else start + whole_characters(bytes(memoryview(held)[start:]))
        while start < end:
            step = end - start
            if step > WROTE_MAX:
                step = whole_characters(bytes(memoryview(held)[start : start + WROTE_MAX]))
            self._given[key] = start + step
            yield Wrote(*key, start, step)
            start += step

    def _continues(self, number: int, run: Run) -> bool:
        return all(data.startswith(self._held.get((number, stream), b"")) for stream, data in _streams(run))


def whole_characters(data: bytes) -> int:
    """How much of it can be told without cutting a character of UTF-8 in two."""
    for back in range(1, min(_CHARACTER_MAX, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:  # noqa: PLR2004  (ASCII)
            break
        if byte >= 0xC0:  # noqa: PLR2004  (the first byte of a longer character)
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4  # noqa: PLR2004  (by its highest bits)
            return len(data) - back if length > back else len(data)
    return len(data)


def _streams(run: Run) -> tuple[tuple[Stream, bytes], ...]:
    return (Stream.STDOUT, run.stdout), (Stream.STDERR, run.stderr)
