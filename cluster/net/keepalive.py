"""A connection whose other end is gone ends within seconds, also where nobody has anything to say (W2).

A reset that is lost leaves a connection open on one side only, and a node that then writes nothing would wait
for ever: it hears its leader by datagrams, and the leader has no channel to give it work by. TCP has the
means, but asks only after two hours, and repeats what is not acknowledged for a quarter of an hour.
"""

from __future__ import annotations

import socket

from twisted.internet.tcp import Connection

IDLE_S = 2
"""Silence after which the kernel asks whether the other end is there: where it is not, a reset comes back."""

INTERVAL_S = 1
"""Until the next question."""

PATIENCE_S = 8
"""How long questions, or bytes, may stay without an acknowledgement before the connection ends."""

OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PATIENCE_S // INTERVAL_S),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PATIENCE_S * 1000),
)


def keep_alive(transport: object) -> None:
    """Have the kernel watch over a TCP connection of Twisted; one in memory has nothing to watch over."""
    if isinstance(transport, Connection):
        for level, option, value in OPTIONS:
            transport.getHandle().setsockopt(level, option, value)
