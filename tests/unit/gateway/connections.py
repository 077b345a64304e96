"""One client's connection to a site, byte by byte, without a network."""

# mypy: allow-untyped-calls
# Twisted's StringTransport is not annotated.

from __future__ import annotations

import socket
import sys

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from cluster.gateway.channel import STALL_LOOKS, STALLED_S
from cluster.gateway.site import BoundedSite

STALLING = [STALLED_S / STALL_LOOKS] * STALL_LOOKS
"""As long as a client may take nothing, look by look."""


class Transport(StringTransport):
    """Also remembers an abort, and stops writing after it."""

    error = 0
    taken = 0

    def getHandle(self) -> Transport:  # noqa: N802
        """The socket: asked for its error, and for what the other side has taken."""
        return self

    def getsockopt(self, level: int, _option: int, size: int = 0) -> int | bytes:
        """What has come back from the other side."""
        if level == socket.IPPROTO_TCP:
            return self.taken.to_bytes(8, sys.byteorder).rjust(size, b"\0")
        return self.error

    def abortConnection(self) -> None:  # noqa: N802
        """Cut."""
        self.aborting = True
        self.disconnecting = True


class Connection:
    """One client's connection to a site."""

    def __init__(
        self, site: BoundedSite, transport: Transport | None = None, address: IPv4Address | None = None
    ) -> None:
        self.transport = transport or Transport()
        self.transport.aborting = False
        self.protocol = site.buildProtocol(address)
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send bytes; what has come back so far."""
        self.protocol.dataReceived(data)
        return bytes(self.transport.value())

    def send_nothing(self) -> bytes:
        """What has come back so far."""
        return bytes(self.transport.value())

    def close_sending(self) -> None:
        """The client will send nothing more."""
        IHalfCloseableProtocol(self.protocol).readConnectionLost()

    def gone(self) -> None:
        """The client is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
