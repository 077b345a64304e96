"""What a run has come to, told in batches (W13)."""

from __future__ import annotations

from twisted.internet.task import Clock

from cluster.core.events import RunProgressed
from cluster.java.progress import BATCH_MAX, PAUSE_S, Progress
from cluster.wire.jobs import Compilation, Piece, Stream

COMPILED = Compilation(main_class="A", entry="main")


class Watched:
    """A run that is watched, and what was told of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[RunProgressed] = []
        self.out = bytearray()
        self.progress = Progress(self.clock, "a", self.told.append)
        self.progress.runs(0, {Stream.STDOUT: self.out, Stream.STDERR: bytearray()})

    def write(self, data: bytes) -> None:
        self.out += data
        self.progress.changed()

    def take(self) -> list[RunProgressed]:
        told, self.told[:] = self.told[:], []
        return told


def piece(offset: int, data: bytes) -> RunProgressed:
    return RunProgressed("a", pieces=(Piece(0, Stream.STDOUT, offset, data),))


def test_the_first_word_is_told_at_once_and_the_rest_in_batches() -> None:
    run = Watched()
    run.write(b"one ")
    assert run.take() == [piece(0, b"one ")]
    run.write(b"two ")
    run.write(b"three ")
    assert run.take() == []
    run.clock.advance(PAUSE_S)
    assert run.take() == [piece(4, b"two three ")]
    run.clock.advance(PAUSE_S)
    assert run.take() == []
    assert run.clock.getDelayedCalls() == []
    run.write(b"four")
    assert run.take() == [piece(14, b"four")]


def test_a_message_is_bounded_and_nothing_is_left_out() -> None:
    run = Watched()
    run.write(bytes(2 * BATCH_MAX + 5))
    run.clock.pump([PAUSE_S] * 4)
    assert [len(told.pieces[0].data) for told in run.take()] == [BATCH_MAX, BATCH_MAX, 5]


def test_the_compilation_is_told_once_and_everything_again_on_request() -> None:
    run = Watched()
    run.progress.compiled(COMPILED)
    run.clock.advance(PAUSE_S)
    run.write(b"x")
    assert run.take() == [RunProgressed("a", COMPILED), piece(0, b"x")]
    run.clock.advance(PAUSE_S)
    run.progress.again()
    assert run.take() == [RunProgressed("a", COMPILED, (Piece(0, Stream.STDOUT, 0, b"x"),))]


def test_each_input_has_streams_of_its_own() -> None:
    run = Watched()
    run.write(b"first")
    run.clock.advance(PAUSE_S)
    run.progress.runs(0, {Stream.STDOUT: b"first", Stream.STDERR: b""})
    second = bytearray(b"second")
    run.progress.runs(1, {Stream.STDOUT: second, Stream.STDERR: bytearray()})
    run.progress.changed()
    assert run.take()[-1].pieces == (Piece(1, Stream.STDOUT, 0, b"second"),)


def test_after_the_end_nothing_is_told() -> None:
    run = Watched()
    run.write(b"one ")
    run.write(b"two ")
    run.progress.end()
    run.write(b"three")
    run.progress.again()
    run.clock.advance(1.0)
    assert run.take() == [piece(0, b"one ")]
    assert run.clock.getDelayedCalls() == []


def test_a_message_is_bounded_whatever_its_streams() -> None:
    """W13: both together, and neither keeps the other from coming."""
    run = Watched()
    run.progress.runs(0, {stream: bytes(BATCH_MAX * 3 // 4) for stream in Stream})
    run.progress.changed()
    run.clock.pump([PAUSE_S] * 3)
    told = run.take()
    assert [sum(len(part.data) for part in one.pieces) for one in told] == [BATCH_MAX, BATCH_MAX // 2]
    assert {part.stream for part in told[0].pieces} == set(Stream)
