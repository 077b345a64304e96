"""Frames in a byte stream (W2)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import LocalProtocolError, RemoteProtocolError
from cluster.limits import FRAME_MAX
from cluster.wire.framing import FrameDecoder, prefix


def framed(*bodies: bytes) -> bytes:
    return b"".join(prefix(body) + body for body in bodies)


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 30))
def test_frames_come_out_whole_and_in_order_however_they_are_cut(bodies: list[bytes], step: int) -> None:
    stream = framed(*bodies)
    decoder = FrameDecoder()
    got = [frame for at in range(0, len(stream), step) for frame in decoder.feed(stream[at : at + step])]
    assert got == bodies
    assert decoder.buffered == 0


def test_the_bound_is_checked_on_the_length_before_anything_is_kept() -> None:
    decoder = FrameDecoder(first_max=10)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.feed(struct.pack(">I", 11) + b"x" * 4)
    assert caught.value.reason == "frame_too_long"
    assert decoder.buffered == 0


def test_a_broken_stream_stays_broken() -> None:
    decoder = FrameDecoder(first_max=10)
    for data in (struct.pack(">I", 11), framed(b"fine")):
        with pytest.raises(RemoteProtocolError):
            decoder.feed(data)


def test_only_the_first_frame_has_the_smaller_bound() -> None:
    """Also when HELLO and a large frame arrive in the same bytes."""
    decoder = FrameDecoder(first_max=5, frame_max=100)
    assert decoder.feed(framed(b"hello", b"x" * 100)) == [b"hello", b"x" * 100]
    with pytest.raises(RemoteProtocolError):
        decoder.feed(struct.pack(">I", 101))


def test_a_frame_larger_than_a_frame_may_be_never_leaves() -> None:
    with pytest.raises(LocalProtocolError):
        prefix(bytes(FRAME_MAX + 1))
