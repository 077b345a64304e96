"""What the kernel says of a reader: real sockets on loopback, and no reactor."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator

import pytest

from cluster.gateway.progress import acknowledged

PATIENCE_S = 30.0
BUFFER = 16 * 1024
SENDING = 256 * 1024
"""A fixed size, which the kernel doubles: what is read is far from the third that transports wait for."""
STILL_S = 0.25
"""What is on its way on loopback has arrived by then, or is waited for again."""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A gateway's end and a client's, with room for little between them."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        client.connect(server.getsockname())
        with server.accept()[0] as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENDING)
            ours.setblocking(False)
            yield ours, client


def fill(ours: socket.socket) -> tuple[int, int]:
    """Send until the kernel takes no more, and all has come of it that will; sent, and acknowledged."""
    sent, before = 0, -1
    for _ in range(int(PATIENCE_S / STILL_S)):
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += ours.send(b"x" * 65536)
        if (now := acknowledged(ours)) == before and not select.select([], [ours], [], 0)[1]:
            return sent, now
        before = now
        time.sleep(STILL_S)
    raise AssertionError("it never rests")


def test_what_a_slow_reader_takes_is_seen_and_nothing_else(ends: tuple[socket.socket, socket.socket]) -> None:
    """H8: long before its transport would be told that there is room."""
    ours, client = ends
    sent, before = fill(ours)
    assert 0 < before < sent
    assert acknowledged(ours) == before, "it reads nothing"
    taken = 0
    while acknowledged(ours) == before:
        assert select.select([client], [], [], PATIENCE_S)[0]
        taken += len(client.recv(4096))
        assert taken < sent
    assert not select.select([], [ours], [], 0)[1], "the transport knows nothing of it yet"


def test_a_connection_of_another_kind_tells_nothing() -> None:
    with contextlib.ExitStack() as stack:
        ours, _theirs = map(stack.enter_context, socket.socketpair())
        assert acknowledged(ours) == 0
