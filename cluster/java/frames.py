"""The bytes between the node and its two Java mains.

Numbers are big-endian; a text is its UTF-8 with four bytes of length before it. The other ends are
`harness/Compiler.java` and `harness/Launcher.java`. What comes from there is bounded and checked here: the
runner's side shares its machine with the program that it runs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from cluster.errors import RemoteProtocolError
from cluster.java.entry import Entry, NoEntry
from cluster.limits import MIB
from cluster.wire.jobs import DataFile, Diagnostic, Source

ANSWER_MAX = 32 * MIB
"""Bytes of one compilation's answer; the compiler itself stops at 24 MiB of classes."""
NONCE_BYTES = 16
"""Of each of a task's two nonces: the outcome's, which no program finds, and the exit's, which one might."""
WARM_ORDER, RUN_ORDER = b"w", b"t"
"""What a waiting runner is told: perform the next step of the rehearsal; or read your task, which follows."""
_LENGTH = 4

SUCCEEDED, FAILED, CRASHED = range(3)


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _text(text: str) -> bytes:
    return _packed(text.encode("utf-8", "replace"))


class _Cursor:
    """Reads an answer without running past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise RemoteProtocolError("truncated")
        self._at += count
        return bytes(self._data[self._at - count : self._at])

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def text(self) -> str:
        return self.take(self.number()).decode("utf-8", "replace")


@attrs.frozen
class Answer:
    """What one compilation came to.

    Attributes:
        number: the request's own.
        status: `SUCCEEDED`, `FAILED`, or `CRASHED` (the compiler gave up; `crash` says why).
        classes: class file by internal name (`demo/Main`).
        chosen: where such a program starts, by the class that its caller named; kept, so that it is looked
            for once however often the answer is used.
    """

    number: int
    status: int
    crash: str
    diagnostics: tuple[Diagnostic, ...]
    text: str
    classes: Mapping[str, bytes]
    chosen: dict[str, Entry | NoEntry] = attrs.field(factory=dict, eq=False, repr=False)


def first_error(answer: Answer) -> str:
    """The first thing that is wrong with a source, on one line."""
    for found in answer.diagnostics:
        if found.severity == "error":
            return (
                f"{found.file}:{found.line}: {found.message.splitlines()[0] if found.message else found.code}"
            )
    return "the source does not compile"


def encode_request(number: int, sources: Sequence[Source]) -> bytes:
    """A request to the compiler, with its length.

    A byte order mark, which some editors put before a text, is taken off: javac would refuse it.
    """
    parts = [struct.pack(">II", number, len(sources))]
    parts.extend(_text(source.name) + _text(source.text.removeprefix("\ufeff")) for source in sources)
    return _packed(b"".join(parts))


def decode_answer(data: bytes) -> Answer:
    """Read an answer's payload.

    Raises:
        RemoteProtocolError: the bytes are no answer.
    """
    cursor = _Cursor(data)
    number, status, crash = cursor.number(), cursor.take(1)[0], cursor.text()
    if status > CRASHED:
        raise RemoteProtocolError("bad_status")
    diagnostics = tuple(_diagnostic(cursor) for _ in range(cursor.number()))
    text = cursor.text()
    classes = {cursor.text(): cursor.take(cursor.number()) for _ in range(cursor.number())}
    return Answer(number, status, crash, diagnostics, text, classes)


def _diagnostic(cursor: _Cursor) -> Diagnostic:
    return Diagnostic(
        file=cursor.text(),
        line=cursor.number(),
        column=cursor.number(),
        severity=cursor.text(),
        code=cursor.text(),
        message=cursor.text(),
    )


class AnswerBuffer:
    """Cuts the compiler's stream into payloads."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add what arrived; yield each whole payload.

        Raises:
            RemoteProtocolError: one is announced that is larger than `ANSWER_MAX`.
        """
        self._data += data
        while len(self._data) >= _LENGTH:
            length = int.from_bytes(self._data[:_LENGTH], "big")
            if length > ANSWER_MAX:
                raise RemoteProtocolError("oversize")
            if len(self._data) < _LENGTH + length:
                return
            payload = bytes(self._data[_LENGTH : _LENGTH + length])
            del self._data[: _LENGTH + length]
            yield payload


def encode_task(
    nonces: bytes,
    kind: str,
    value_max: int,
    main_class: str,
    args: Iterable[str],
    classes: Mapping[str, bytes],
    files: Sequence[DataFile] = (),
) -> bytes:
    """What a waiting runner is to run: both nonces, `run` or `main`, and the files of its directory."""
    arguments = [_text(argument) for argument in args]
    parts = [
        RUN_ORDER,
        nonces,
        b"r" if kind == "run" else b"m",
        struct.pack(">I", min(value_max, 2**31 - 1)),
        _text(main_class),
        struct.pack(">I", len(arguments)),
        *arguments,
        struct.pack(">I", len(classes)),
    ]
    for name, data in classes.items():
        parts.append(_text(name) + _packed(data))
    parts.append(struct.pack(">I", len(files)))
    parts.extend(_text(file.name) + _packed(file.data) for file in files)
    return b"".join(parts)


@attrs.frozen
class Record:
    """What a runner says.

    Attributes:
        kind: `R` ready, `W` a step of the rehearsal is done; then `V` value, `L` value too long, `D` done,
            `X` uncaught exception, `E` exiting.
        payload: of `V` the value's UTF-8; of `X` one byte for the kind of memory that ended, and a message.
    """

    kind: str
    payload: bytes


_BEFORE, _OUTCOMES, _EXIT = b"RW", b"VLDX", b"E"
_HEADER = 5


class RecordReader:
    """Cuts a runner's stream into records, and drops everything that the nonce does not vouch for.

    A program shares its virtual machine with the launcher, which hides the outcome's nonce as well as that
    allows, so that a valid record proves little (R2). What no launcher writes breaks the reader: after the
    hand-over there is one outcome and one exit, in either order, a value is UTF-8, and an exception's record
    has its byte for the memory.

    Args:
        payload_max: bytes of the longest record that will be believed.
    """

    def __init__(self, payload_max: int) -> None:
        self._data = bytearray()
        self._max = payload_max
        self._kinds = _BEFORE
        self._outcome = self._exit = b""
        self.broken = False
        """Something arrived that no launcher writes: nothing more is read."""

    def allow(self, nonces: bytes, payload_max: int) -> None:
        """From here on every record begins with its nonce and is at most so long; see above for which."""
        self._outcome, self._exit = nonces[:NONCE_BYTES], nonces[NONCE_BYTES:]
        self._kinds = _OUTCOMES + _EXIT
        self._max = payload_max + NONCE_BYTES

    def feed(self, data: bytes) -> Iterator[Record]:
        """Add what arrived; yield each whole record."""
        if self.broken:
            return
        self._data += data
        while len(self._data) >= _HEADER:
            kind, length = self._data[0], int.from_bytes(self._data[1:_HEADER], "big")
            nonce = self._exit if kind in _EXIT else self._outcome
            if kind not in self._kinds or length > self._max or length < len(nonce):
                self._break()
                return
            end = _HEADER + length
            if len(self._data) < end:
                return
            payload = bytes(self._data[_HEADER:end])
            del self._data[:end]
            record = Record(chr(kind), payload[len(nonce) :])
            if payload[: len(nonce)] != nonce or not _sound(record):
                self._break()
                return
            if nonce:
                used = _EXIT if kind in _EXIT else _OUTCOMES
                self._kinds = bytes(other for other in self._kinds if other not in used)
            yield record

    def _break(self) -> None:
        self.broken = True
        self._data.clear()


def _sound(record: Record) -> bool:
    if record.kind == "V":
        try:
            record.payload.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return record.kind != "X" or bool(record.payload)
