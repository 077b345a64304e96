"""Every parser keeps its promise whatever it is given: what is kept, what Hypothesis makes of it (X3).

The same targets as `make fuzz`, which looks for new code instead of for a minute (see `__main__.py`).
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.gateway import programs
from cluster.gateway.access import ANONYMOUS, Access
from cluster.gateway.door import Door
from cluster.java import classfile, frames
from cluster.limits import Limits
from cluster.wire import framing, keyring, sealing
from tests.fuzz.target import CORPUS, Broken, Target
from tests.fuzz.targets import TARGETS

EVERY = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)

INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"\x80",
    b"{",
    b"[",
    b'"',
    b"\r\n",
    b"1e999",
)


def inputs(target: Target) -> list[bytes]:
    """Real ones, and those that are kept."""
    return [*target.seeds(), *target.corpus()]


@st.composite
def damaged(draw: st.DrawFn, target: Target, known: list[bytes]) -> bytes:
    """A known input with a few places changed, cut out, doubled, or filled from another one."""
    data = bytearray(draw(st.sampled_from(known)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 8))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + size] = draw(st.binary(max_size=8))
            case 1:
                data[at:at] = draw(st.sampled_from(INTERESTING)) * draw(st.integers(1, 20))
            case 2:
                del data[at : at + 8 * size]
            case 3:
                data[at:at] = data[at : at + 8 * size]
            case _:
                other = draw(st.sampled_from(known))
                data[at : at + size] = other[at : at + 4 * size]
    return bytes(data[: target.bytes_max])


@EVERY
def test_the_promise_holds_for_what_is_kept(target: Target) -> None:
    """Real messages, what reached new code, and whatever once broke the promise."""
    for data in inputs(target):
        target.check(data)


@EVERY
def test_the_promise_holds_for_whatever_is_made_of_it(target: Target) -> None:
    known = inputs(target)

    @settings(suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(target, known), st.binary(max_size=200)))
    def hold(data: bytes) -> None:
        target.check(data)

    hold()


def _text_again(pool: classfile._Pool, index: int) -> str:
    return pool.texts[index].decode("utf-8", "replace")


def _shown(ring: keyring.Keyring) -> str:
    return " ".join(key.hex() for key in ring.keys.values())


def _feed_unbounded(decoder: framing.FrameDecoder, data: bytes) -> list[bytes]:
    decoder._buffer += data
    return []


PER_BYTE = 200
"""Bytes of memory that a byte of an input may come to: an object for each of the smallest fields."""

CONSTANT = 4 * 2**20
"""Whatever a target needs for itself."""


@EVERY
def test_what_is_kept_of_an_input_is_in_proportion_to_it(target: Target) -> None:
    for data in inputs(target):
        target.check(data)  # so that only what the input itself needs is counted
        tracemalloc.start()
        try:
            target.check(data)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < PER_BYTE * len(data) + CONSTANT, f"{most} bytes for {len(data)}: {data[:80]!r}"


def test_there_is_a_corpus_for_every_target_and_no_other() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize(
    ("name", "part", "attribute", "weaker"),
    [
        pytest.param("sealed", sealing._Life, "is_fresh", lambda *_: True, id="replays are opened"),
        pytest.param("runner", frames, "_sound", lambda _: True, id="a value that is no text is believed"),
        pytest.param("class", classfile._Pool, "text", _text_again, id="a text is made each time"),
        pytest.param("stream", framing.FrameDecoder, "feed", _feed_unbounded, id="frames have no bound"),
        pytest.param("keys", keyring.Keyring, "__repr__", _shown, id="keys are shown"),
        pytest.param("http", Access, "caller", lambda *_: ANONYMOUS, id="strangers run programs"),
        pytest.param("http", Door, "refusal", lambda *_: None, id="strangers' programs are read"),
        pytest.param("http", Door, "takes_bodies", lambda *_: True, id="bodies are read anywhere"),
        pytest.param("v1", programs, "_limits", lambda *_: Limits(wall_s=1e9), id="limits have no cap"),
    ],
)
def test_a_weaker_parser_breaks_its_promise(
    monkeypatch: pytest.MonkeyPatch, name: str, part: Any, attribute: str, weaker: Callable[..., Any]
) -> None:
    """The promises can fail: each of these mistakes is noticed by the inputs that are kept."""
    monkeypatch.setattr(part, attribute, weaker)
    target = TARGETS[name]

    def check_all() -> None:
        for data in inputs(target):
            target.check(data)

    with pytest.raises(Broken):
        check_all()
