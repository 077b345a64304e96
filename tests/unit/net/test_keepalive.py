"""A connection that is open on one side only ends within seconds (W2), by the kernel."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from twisted.internet.protocol import Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Connection

from cluster.net.keepalive import OPTIONS, keep_alive

TCP_REPAIR = 19
"""Not in Python: who closes a socket so says nothing to the other end, as if a reset were lost."""

LONG_S = 60.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as port, socket.create_connection(port.getsockname()) as one:
        other, _address = port.accept()
        with other:
            yield one, other


def test_w2_an_idle_end_learns_that_the_other_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    keep_alive(Connection(one, Protocol(), SelectReactor()))
    try:
        other.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        pytest.skip("closing a socket without a word needs CAP_NET_ADMIN")
    other.close()
    assert select.select([one], [], [], LONG_S)[0], "the kernel should ask after two seconds"
    with pytest.raises(ConnectionResetError):
        one.recv(1)


def test_w2_nothing_is_waited_for_longer_than_seconds(pair: tuple[socket.socket, socket.socket]) -> None:
    """Nor are bytes that are written into a cut: a quarter of an hour is TCP's own patience."""
    one, _other = pair
    keep_alive(Connection(one, Protocol(), SelectReactor()))
    assert [one.getsockopt(level, option) for level, option, _ in OPTIONS] == [value for *_, value in OPTIONS]
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
