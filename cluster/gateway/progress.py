"""How much of what was sent a client's machine has taken, as the kernel knows it (H8).

What a transport has handed to the kernel says little: a buffer of megabytes stands between, and it is emptied
in steps of a third. What the other side has acknowledged rises with every packet that it had room for.
"""

from __future__ import annotations

import socket
import struct

_INFO_BYTES = 128
_ACKNOWLEDGED = struct.Struct("=120xQ")
"""`tcpi_bytes_acked` of Linux's `struct tcp_info`, since 4.1."""


def acknowledged(connection: socket.socket) -> int:
    """Bytes that the other side has taken; always 0 where the kernel does not say."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return 0
    if len(info) < _INFO_BYTES:
        return 0
    taken: int = _ACKNOWLEDGED.unpack(info)[0]
    return taken
