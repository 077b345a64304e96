"""Messages to bytes and back; random bytes raise nothing but `RemoteProtocolError` (A5, X3).

A datagram's payload stays under `DATAGRAM_PAYLOAD_MAX`, a frame under `FRAME_MAX`; a message of ours that
does not fit is our own bug, and says so before it leaves.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cluster.errors import LocalProtocolError, RemoteProtocolError
from cluster.limits import DATAGRAM_PAYLOAD_MAX, FRAME_MAX
from cluster.wire.messages import Datagram, Frame, Gossip, PlainDatagram
from cluster.wire.rows import PackedGossip, pack, unpack

UNDECODABLE = "undecodable"
"""The drop reason of bytes that are no message: broken, an unknown tag, a field of a wrong type."""

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_datagrams: msgspec.msgpack.Decoder[PlainDatagram | PackedGossip] = msgspec.msgpack.Decoder(
    PlainDatagram | PackedGossip
)
_frames: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def encode_datagram(message: Datagram) -> bytes:
    """Encode a datagram's plain payload.

    Raises:
        LocalProtocolError: it is larger than a datagram may be (G6).
    """
    return _encode(pack(message) if isinstance(message, Gossip) else message, DATAGRAM_PAYLOAD_MAX)


def decode_datagram(payload: bytes) -> Datagram:
    """Decode a datagram's plain payload.

    Raises:
        RemoteProtocolError: it is too long, or no message.
    """
    message = _decode(_datagrams, payload, DATAGRAM_PAYLOAD_MAX)
    if not isinstance(message, PackedGossip):
        return message
    try:
        return unpack(message)
    except ValueError as error:
        raise RemoteProtocolError(UNDECODABLE, str(error)) from error


def encode_frame(message: Frame) -> bytes:
    """Encode the body of a channel frame, without its length prefix.

    Raises:
        LocalProtocolError: it is larger than a frame may be.
    """
    return _encode(message, FRAME_MAX)


def decode_frame(body: bytes) -> Frame:
    """Decode the body of a channel frame.

    Raises:
        RemoteProtocolError: it is too long, or no message.
    """
    return _decode(_frames, body, FRAME_MAX)


def _encode(message: PlainDatagram | PackedGossip | Frame, most: int) -> bytes:
    try:
        encoded = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"a {type(message).__name__} can't be encoded: {error}") from error
    if len(encoded) > most:
        raise LocalProtocolError(
            f"a {type(message).__name__} of {len(encoded)} bytes; at most {most} may be sent"
        )
    return encoded


def _decode(decoder: msgspec.msgpack.Decoder[T], encoded: bytes, most: int) -> T:
    if len(encoded) > most:
        raise RemoteProtocolError("too_long", f"{len(encoded)} bytes, at most {most}")
    try:
        return decoder.decode(encoded)
    except (ValueError, RecursionError) as error:  # msgspec's own errors and a bad string's are ValueErrors
        raise RemoteProtocolError(UNDECODABLE, str(error)) from error
