"""Answers from the cache: how many a second, and what one costs the gateway's process.

A client that costs as much as the gateway would measure itself. This one holds a few connections open, sends
the same bytes again on each as soon as it is answered, and reads no more of an answer than it must.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable
from typing import Self, cast

import msgspec

from cluster.bench import Spread
from cluster.errors import RemoteProtocolError, Unavailable

ANSWERS = 10_000
WARM_ANSWERS = 500
"""Before they count: a process that has just started is slower."""

PATIENCE_S = 30.0
"""How long nothing at all may come."""

_READ = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"
_CACHED = b"\r\nCached-Response: true\r\n"


class Hits(msgspec.Struct, frozen=True):
    """One kind of request, again and again.

    Attributes:
        path: what was posted to.
        per_s: answers a second, over all connections.
        connections: how many requests were under way at any time.
        waited: from sending a request to its answer's last byte.
        cpu_ms: processor time of the gateway for one answer.
        wrong: answers that were not cached, or not the right ones.
    """

    path: str
    connections: int
    per_s: float
    waited: Spread
    cpu_ms: float
    wrong: int


def post(path: str, content_type: str, body: bytes) -> bytes:
    """A request as it goes over the wire; the connection stays open."""
    headers = f"Host: gateway\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\n{headers}".encode() + _END + body


def whole(received: bytes) -> bool:
    """Whether all of an answer is here.

    Raises:
        RemoteProtocolError: it does not tell its length, or more than one came for one request.
    """
    head, end, body = received.partition(_END)
    if not end:
        return False
    length = _LENGTH.search(head + b"\r\n")
    if length is None or len(body) > int(length[1]):
        raise RemoteProtocolError("not an answer", repr(head[:200]))
    return len(body) == int(length[1])


def right(answer: bytes, told: bytes) -> bool:
    """Whether it says that, and came from the cache."""
    head, _end, body = answer.partition(_END)
    return head.startswith(b"HTTP/1.1 200 ") and _CACHED in head + b"\r\n" and told in body


def measure(
    address: tuple[str, int],
    connections: int,
    path: str,
    request: bytes,
    told: bytes,
    cpu_s: Callable[[], float],
) -> Hits:
    """Send a request that is in the cache, over and over.

    Args:
        address: the gateway's.
        connections: how many requests are under way at any time.
        path: for the report.
        request: its bytes.
        told: what an answer's body has in it.
        cpu_s: processor seconds of the gateway until now.

    Raises:
        Unavailable: nobody is there, or goes away.
        RemoteProtocolError: what comes is no answer.
    """
    with _Client(address, connections, request, told) as client:
        client.ask(WARM_ANSWERS)
        used, begin = cpu_s(), time.perf_counter()
        seconds, wrong = client.ask(ANSWERS)
        took = time.perf_counter() - begin
        cpu_ms = (cpu_s() - used) / ANSWERS * 1000
    return Hits(path, connections, round(ANSWERS / took, 1), Spread.of(seconds), round(cpu_ms, 3), wrong)


class _Client:
    """Some connections that all ask the same."""

    def __init__(self, address: tuple[str, int], connections: int, request: bytes, told: bytes) -> None:
        self._request = request
        self._told = told
        self._name = f"{address[0]}:{address[1]}"
        self._selector = selectors.DefaultSelector()
        self._open: list[socket.socket] = []
        try:
            for _ in range(connections):
                connection = socket.create_connection(address, PATIENCE_S)
                self._open.append(connection)
                self._selector.register(connection, selectors.EVENT_READ)
        except OSError as error:
            self.__exit__()
            raise Unavailable(f"no gateway at {self._name}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._selector.close()
        for connection in self._open:
            connection.close()

    def ask(self, times: int) -> tuple[list[float], int]:
        """Seconds that each answer took, and how many were wrong."""
        try:
            return self._ask(times)
        except OSError as error:
            raise Unavailable(f"the gateway at {self._name} went away: {error}") from error

    def _ask(self, times: int) -> tuple[list[float], int]:
        seconds: list[float] = []
        received, sent = dict.fromkeys(self._open, b""), dict.fromkeys(self._open, 0.0)
        wrong = 0
        for connection in self._open:
            sent[connection] = time.perf_counter()
            connection.sendall(self._request)
        left = times - len(self._open)
        while len(seconds) < times:
            ready = self._selector.select(PATIENCE_S)
            if not ready:
                raise Unavailable(f"{self._name} answered nothing for {PATIENCE_S:g} s")
            for key, _events in ready:
                connection = cast(socket.socket, key.fileobj)
                data = connection.recv(_READ)
                if not data:
                    raise Unavailable(f"{self._name} closed a connection")
                received[connection] += data
                if not whole(received[connection]):
                    continue
                now = time.perf_counter()
                seconds.append(now - sent[connection])
                answer, received[connection] = received[connection], b""
                wrong += not right(answer, self._told)
                if left > 0:
                    left -= 1
                    sent[connection] = now
                    connection.sendall(self._request)
        return seconds, wrong
