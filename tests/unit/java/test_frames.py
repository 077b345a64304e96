"""The bytes between the node and its Java mains: whole, bounded, proof against what a program may send."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import RemoteProtocolError
from cluster.java.frames import (
    ANSWER_MAX,
    NONCE_BYTES,
    AnswerBuffer,
    Record,
    RecordReader,
    decode_answer,
    encode_request,
)
from cluster.wire.jobs import Diagnostic, Source

NONCE, EXIT_NONCE = bytes(range(NONCE_BYTES)), b"e" * NONCE_BYTES


def packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def record(kind: bytes, payload: bytes, nonce: bytes = b"") -> bytes:
    return kind + packed((nonce or (EXIT_NONCE if kind == b"E" else NONCE)) + payload)


def test_an_answer_carries_diagnostics_and_classes() -> None:
    data = (
        struct.pack(">IB", 7, 1)
        + packed(b"")
        + struct.pack(">I", 1)
        + packed(b"A.java")
        + struct.pack(">II", 3, 9)
        + packed(b"error")
        + packed(b"some.code")
        + packed("größer".encode())
        + packed(b"all of it")
        + struct.pack(">I", 1)
        + packed(b"p/A")
        + packed(b"\xca\xfe")
    )
    answer = decode_answer(data)
    assert (answer.number, answer.status, answer.text) == (7, 1, "all of it")
    assert answer.diagnostics == (Diagnostic("A.java", 3, 9, "error", "some.code", "größer"),)
    assert answer.classes == {"p/A": b"\xca\xfe"}
    for cut in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            decode_answer(data[:cut])


@given(st.binary(max_size=200))
def test_random_answers_are_refused_or_read(data: bytes) -> None:
    try:
        decode_answer(data)
    except RemoteProtocolError:
        return


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 7))
def test_payloads_come_whole_however_the_stream_is_cut(payloads: list[bytes], step: int) -> None:
    stream = b"".join(map(packed, payloads))
    buffer = AnswerBuffer()
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert [found for piece in pieces for found in buffer.feed(piece)] == payloads


def test_an_answer_over_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(RemoteProtocolError):
        list(AnswerBuffer().feed(struct.pack(">I", ANSWER_MAX + 1)))


def test_a_request_survives_what_is_no_valid_text() -> None:
    assert b"?" in encode_request(1, [Source("", "\ud800")])


def reader() -> RecordReader:
    ready = RecordReader(64)
    assert list(ready.feed(b"R" + packed(b""))) == [Record("R", b"")]
    ready.allow(NONCE + EXIT_NONCE, 100)
    return ready


@given(st.integers(1, 30))
def test_records_come_whole_however_the_stream_is_cut(step: int) -> None:
    stream = record(b"V", b"value") + record(b"E", b"")
    subject = reader()
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    found = [each for piece in pieces for each in subject.feed(piece)]
    assert found == [Record("V", b"value"), Record("E", b"")]


@pytest.mark.parametrize(
    "forged",
    [
        record(b"V", b"mine", nonce=bytes(NONCE_BYTES)),
        record(b"V", b"mine", nonce=EXIT_NONCE),
        record(b"E", b"", nonce=NONCE),
        b"V" + packed(b"short"),
        b"Z" + packed(NONCE),
        b"V\xff\xff\xff\xff",
        record(b"V", bytes(101)),
    ],
)
def test_a_record_without_the_nonce_silences_the_channel(forged: bytes) -> None:
    """R2: what a program writes there by itself is not believed, and neither is what follows."""
    subject = reader()
    assert list(subject.feed(forged + record(b"V", b"late"))) == []
    assert subject.broken
    assert list(subject.feed(record(b"V", b"later"))) == []


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (record(b"E", b""), record(b"E", b"")),
        (record(b"V", b"one"), record(b"V", b"two")),
        (record(b"D", b""), record(b"X", b"\0other")),
        (record(b"E", b""), record(b"R", b"")),
        (record(b"E", b""), record(b"W", b"")),
        (record(b"E", b""), record(b"V", b"\xff")),
        (record(b"E", b""), record(b"X", b"")),
    ],
)
def test_what_no_launcher_writes_breaks_the_reader_though_the_nonce_is_right(
    first: bytes, more: bytes
) -> None:
    """R2: a program that dug up the nonce gets one outcome and one exit past the reader, no flood."""
    subject = reader()
    assert len(list(subject.feed(first + more * 1000 + record(b"D", b"")))) == 1
    assert subject.broken


@given(st.binary(max_size=200))
def test_random_records_never_crash(data: bytes) -> None:
    assert list(reader().feed(data)) == []


def test_a_byte_order_mark_before_the_source_is_taken_off() -> None:
    """Editors put it there and javac refuses it; elsewhere in the text it is the program's own."""
    plain = encode_request(1, [Source("A.java", 'class A { String s = "\ufeff"; }')])
    assert encode_request(1, [Source("A.java", '\ufeffclass A { String s = "\ufeff"; }')]) == plain
