"""HTTP clients of a measurement, in one process: `python -m cluster.capacity.clients HOST PORT COUNT`.

Until SIGTERM each keeps one connection and asks again when it is answered, with `Cache-Control: no-cache`.
They read no more of an answer than where it ends, so that they leave the machine to the gateway.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol

from cluster.capacity.outcome import PROGRAM
from cluster.net import reactor as monotonic

_SOURCE = PROGRAM.sources[0].text.encode()
REQUEST = (
    b"POST /compileandrun HTTP/1.1\r\nHost: gateway\r\nContent-Type: text/x-java-source\r\n"
    b"Cache-Control: no-cache\r\nContent-Length: %d\r\n\r\n%b" % (len(_SOURCE), _SOURCE)
)
_LENGTH = b"content-length:"


class Client(Protocol):
    """One connection, one request at a time."""

    transport: ITransport  # set before anything is called

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._received = b""

    def connectionMade(self) -> None:  # noqa: N802
        """Ask."""
        self.transport.write(REQUEST)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Once an answer is whole, ask again."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[len(_LENGTH) :]) for line in lines if line.startswith(_LENGTH))
        if len(body) >= length:
            self._received = body[length:]
            self.transport.write(REQUEST)


def main(host: str, port: int, clients: int) -> None:
    """Ask until SIGTERM."""
    reactor: Any = monotonic.install()

    def begin() -> None:
        for _ in range(clients):
            connectProtocol(HostnameEndpoint(reactor, host, port), Client())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
