"""Large answers in pieces, each of them made when its client has room for it (H8).

A program may write megabytes, and as JSON they are several times as many: made at once, and for each who
asks, they would hold up everybody and fill the memory with what somebody does not read. So only the outcome
is held, which the gateway has anyway, and of its JSON a piece at a time. The pieces put together are, byte
for byte, what `msgspec` makes of the whole document.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator

import attrs
import msgspec

from cluster.gateway.schemas import RunResult
from cluster.wire.jobs import Outcome, Run

PIECE = 48 * 1024
"""Bytes of output that become one piece: a multiple of three, for base64."""
LARGE = 64 * 1024
"""An answer with more than this goes out in pieces."""

_NO_RUNS = b'"runs":[]'
_NO_TEXTS = b'"value":null,"stdout":"","stderr":""'
# Neither can be inside of a string, as its quotation marks would be escaped there.


@attrs.frozen
class Pieces:
    """A body in pieces.

    Attributes:
        parts: each once.
        holds: what they are made of: in memory until the last of them is made.
        size: the bytes of that.
    """

    parts: Iterator[bytes]
    holds: object
    size: int


def pieces_of(body: bytes) -> Pieces:
    """A body that is there already."""
    view = memoryview(body)
    return Pieces((bytes(view[at : at + PIECE]) for at in range(0, len(body), PIECE)), body, len(body))


def with_runs(document: bytes, outcome: Outcome) -> Iterator[bytes]:
    """A document in JSON whose `runs` are an empty list, with those of that outcome in their place."""
    head, _, tail = document.rpartition(_NO_RUNS)
    yield head + b'"runs":['
    for number, run in enumerate(outcome.runs):
        if number:
            yield b","
        yield from _run(run)
    yield b"]" + tail


def text_of(data: bytes) -> Iterator[bytes]:
    """As UTF-8, with replacement characters for what is none (R3)."""
    for text in _decoded(data):
        yield text.encode()


def run_result(run: Run) -> RunResult:
    """All that is told of a run but what it wrote."""
    return RunResult(
        verdict=run.verdict,
        detail=run.detail,
        message=run.message,
        stdout_truncated=run.stdout_truncated,
        stderr_truncated=run.stderr_truncated,
        exit_code=run.exit_code,
        signal=run.signal,
        wall_s=run.wall_s,
        cpu_s=run.cpu_s,
        peak_memory_bytes=run.peak_memory_bytes,
    )


def _run(run: Run) -> Iterator[bytes]:
    head, _, tail = msgspec.json.encode(run_result(run)).partition(_NO_TEXTS)
    yield head + b'"value":'
    if run.value is None:
        yield b"null"
    else:
        yield from _string(run.value)
    for name, data in ((b"stdout", run.stdout), (b"stderr", run.stderr)):
        yield b',"%b":' % name
        yield from _string(data)
    for name, data in ((b"stdout", run.stdout), (b"stderr", run.stderr)):
        if not _is_utf8(data):
            yield b',"%b_base64":"' % name
            for part in _slices(data):
                yield base64.b64encode(part)
            yield b'"'
    yield tail


def _string(data: bytes) -> Iterator[bytes]:
    yield b'"'
    for text in _decoded(data):
        yield msgspec.json.encode(text)[1:-1]
    yield b'"'


def _decoded(data: bytes) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for part in _slices(data):
        yield decoder.decode(part)
    yield decoder.decode(b"", final=True)


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for part in _slices(data):
            decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _slices(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[at : at + PIECE] for at in range(0, len(data), PIECE))
