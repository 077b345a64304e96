"""Frames in a byte stream: a length of four bytes, most significant first, then as many bytes (W2)."""

from __future__ import annotations

import struct

from cluster.errors import LocalProtocolError, RemoteProtocolError
from cluster.limits import FRAME_MAX, MIB

FIRST_FRAME_MAX = MIB
"""Bytes of a channel's first frame: a HELLO, which lists what its sender runs and keeps."""

_LENGTH = struct.Struct(">I")


def prefix(body: bytes) -> bytes:
    """Give the length prefix of a frame's body.

    Raises:
        LocalProtocolError: the body is larger than a frame may be.
    """
    if len(body) > FRAME_MAX:
        raise LocalProtocolError(f"a frame of {len(body)} bytes; at most {FRAME_MAX} may be sent")
    return _LENGTH.pack(len(body))


class FrameDecoder:
    """Cuts a stream into frame bodies.

    The bound is checked on the length, before anything of that frame is kept; the first frame has a smaller
    bound of its own, so that a stranger can't make us hold much. Each byte is copied a fixed number of times,
    however small the pieces it arrives in.

    After an error the stream has no frame boundaries any more: feeding it again raises again.
    """

    def __init__(self, *, first_max: int = FIRST_FRAME_MAX, frame_max: int = FRAME_MAX) -> None:
        """Bounds are in bytes of a body, without its prefix."""
        self._bound = first_max
        self._frame_max = frame_max
        self._buffer = bytearray()
        self._broken = False

    @property
    def buffered(self) -> int:
        """Bytes held of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream and give back the bodies that they complete, in order.

        Raises:
            RemoteProtocolError: a frame longer than its bound was announced. Frames completed by the same
                bytes are lost with it, as the channel is.
        """
        if self._broken:
            raise RemoteProtocolError("frame_too_long", "after an earlier one")
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        with memoryview(self._buffer) as view:
            while len(view) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, start)
                if length > self._bound:
                    self._broken = True
                    break
                end = start + _LENGTH.size + length
                if end > len(view):
                    break
                frames.append(bytes(view[start + _LENGTH.size : end]))
                self._bound = self._frame_max
                start = end
        if self._broken:
            self._buffer.clear()
            raise RemoteProtocolError("frame_too_long", f"{length} bytes, at most {self._bound}")
        del self._buffer[:start]
        return frames
