"""What comes out of the virtual machines: class files, the compiler's answers, a runner's records."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cluster.errors import RemoteProtocolError
from cluster.java.classfile import ClassFile, MalformedClass, parse
from cluster.java.entry import Entry, NoEntry, choose
from cluster.java.frames import AnswerBuffer, Record, RecordReader, decode_answer
from cluster.java.verdict import Evidence, judge
from cluster.limits import Limits
from cluster.wire.jobs import Verdict
from tests.fuzz.target import Target, require

NONCES = bytes(range(32))
OUTCOME, EXIT = NONCES[:16], NONCES[16:]
PAYLOAD_MAX = 200


def class_file(data: bytes) -> None:
    """Where does a program of this class start?"""
    try:
        found = parse(data)
    except MalformedClass:
        require(isinstance(choose([data]), NoEntry), "there is nothing to start")
        return
    _plain(found)
    for wanted in ("", found.name, "a.B"):
        chosen = choose([data], wanted)
        require(isinstance(chosen, Entry | NoEntry), "a decision")
        if isinstance(chosen, Entry):
            require(chosen == Entry(found.name, chosen.kind), "of the class that is there")
        else:
            require(chosen.message, "or why there is none")
            require(len(chosen.message) < 4 * len(data) + 1000, "in some words")


def _plain(found: ClassFile) -> None:
    """What is kept of a class is no larger than what it came from: each text is made once."""
    texts = [text for method in found.methods for text in (method.name, method.descriptor)]
    by_value: dict[str, str] = {}
    for text in texts:
        require(by_value.setdefault(text, text) is text, "one text, one string")


def answer(data: bytes) -> None:
    """The compiler's stream, cut as the first byte says, and what its answers hold."""
    if not data:
        return
    step, stream = 1 + data[0], data[1:]
    buffer = AnswerBuffer()
    cut: list[bytes] = []
    try:
        for at in range(0, len(stream), step):
            cut.extend(buffer.feed(stream[at : at + step]))
    except RemoteProtocolError as error:
        require(error.reason == "oversize", "the one thing that a stream can do wrong")
    require(b"".join(_packed(one) for one in cut) == stream[: sum(4 + len(one) for one in cut)], "in order")
    for one in cut:
        try:
            found = decode_answer(one)
        except RemoteProtocolError:
            continue
        chosen = choose(found.classes.values())
        require(isinstance(chosen, Entry | NoEntry), "a decision")


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def an_answer(classes: dict[str, bytes], diagnostics: int = 0) -> bytes:
    """As `harness/Compiler.java` writes it."""
    one = (
        _packed(b"A.java") + struct.pack(">II", 3, 7) + _packed(b"error") + _packed(b"code") + _packed(b"no")
    )
    parts = [struct.pack(">IB", 1, 0), _packed(b""), struct.pack(">I", diagnostics), one * diagnostics]
    parts += [_packed(b"text"), struct.pack(">I", len(classes))]
    parts += [_packed(name.encode()) + _packed(data) for name, data in classes.items()]
    return _packed(b"".join(parts))


def _seeds_answer() -> Iterator[bytes]:
    yield b"\xff" + an_answer({})
    yield b"\x02" + an_answer({}, diagnostics=2) + an_answer({})
    yield b"\x60" + an_answer({f"A{i}": data for i, data in enumerate(CLASS.corpus()[:3])})
    yield b"\x00" + struct.pack(">I", 2**31)


def runner(data: bytes) -> None:
    """A runner's stream: the launcher's word, or that of a program which shares its machine.

    The first byte says how it is cut, the second how many bytes come before the program is handed over.
    """
    head = 2
    if len(data) < head:
        return
    step, before, stream = 1 + data[0], data[1], data[head:]
    pieces = _read(stream, before, step)
    require(pieces == _read(stream, before, len(stream) or 1), "the same records however it is cut")
    records, broken = pieces
    vouched = [record for record in records if record.kind not in "RW"]
    require(sum(record.kind in "VLDX" for record in vouched) <= 1, "at most one outcome")
    require(sum(record.kind == "E" for record in vouched) <= 1, "and one exit")
    outcome = next((record for record in vouched if record.kind in "VLDX"), None)
    exiting = any(record.kind == "E" for record in vouched)
    require(outcome is None or OUTCOME in stream, "no outcome without its nonce")
    require(not exiting or EXIT in stream, "no exit without its own")
    for code in (0, 1, 137):
        run = judge(Evidence(None, code, None, outcome, exiting), Limits())
        require(run.verdict in Verdict, "a verdict")
        require(_is_text(run.value or b""), "a value is UTF-8")
        require(run.verdict is not Verdict.OK or code == 0, "no success without an orderly end")
    require(broken in {True, False}, "and whether more is read")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read(stream: bytes, before: int, step: int) -> tuple[list[Record], bool]:
    reader = RecordReader(PAYLOAD_MAX)
    records: list[Record] = []
    for at in range(0, before, step):
        records.extend(reader.feed(stream[:before][at : at + step]))
    reader.allow(NONCES, PAYLOAD_MAX)
    for at in range(before, len(stream), step):
        records.extend(reader.feed(stream[at : at + step]))
    for record in records:
        require(len(record.payload) <= PAYLOAD_MAX, "none is longer than allowed")
    return records, reader.broken


def a_record(kind: str, payload: bytes = b"", nonce: bytes = b"") -> bytes:
    """As `harness/Launcher.java` writes it."""
    return kind.encode() + _packed(nonce + payload)


def _seeds_runner() -> Iterator[bytes]:
    for outcome in (
        a_record("V", "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve".encode(), OUTCOME),
        a_record("L", b"", OUTCOME),
        a_record("D", b"", OUTCOME),
        a_record("X", b"hout of memory", OUTCOME),
        a_record("V", b"\xff", OUTCOME),
        a_record("V", b"forged", EXIT),
    ):
        first = a_record("R") + a_record("W")
        yield bytes([0, len(first)]) + first + outcome + a_record("E", b"", EXIT)
        yield bytes([30, len(first)]) + first + a_record("E", b"", EXIT) + outcome + outcome
    yield bytes([9, 5]) + a_record("R") + struct.pack(">cI", b"V", 2**31)


def _no_seeds() -> Iterable[bytes]:
    return ()  # classes are compiled: they are in the corpus


CLASS = Target(
    "class",
    "an entry point, or why there is none; keeps no more than it was given",
    class_file,
    _no_seeds,
    16384,
)
TARGETS = (
    CLASS,
    Target(
        "answer",
        "answers in order, a decision each, or a refusal",
        answer,
        _seeds_answer,
        16384,
    ),
    Target("runner", "at most one vouched outcome and exit, however it is cut", runner, _seeds_runner, 1024),
)
