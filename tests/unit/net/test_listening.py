"""A port is taken over only when it is the one that the configuration names."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import pytest

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor

from cluster.errors import EnvironmentFault
from cluster.net.descriptors import OWN
from cluster.net.listening import ACCEPTS_MAX, listen


@attrs.define
class Reactor:
    """Notes how it was asked to listen."""

    asked: list[Any] = attrs.Factory(list)

    def adoptStreamPort(self, descriptor: int, family: int, factory: Factory) -> object:  # noqa: N802
        del factory
        with socket.socket(fileno=os.dup(descriptor)) as port:
            self.asked.append(port.getsockname())
        assert family == socket.AF_INET
        return object()


@pytest.fixture
def kept() -> Iterator[socket.socket]:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen()
        yield port


def test_the_kept_port_is_taken_over_and_its_descriptor_closed(kept: socket.socket) -> None:
    reactor = Reactor()
    host, port = kept.getsockname()
    descriptor = os.dup(kept.fileno())
    assert listen(reactor, host, port, Factory(), descriptor)[1]
    assert reactor.asked == [(host, port)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_another_address_than_the_kept_one_is_bound(kept: socket.socket) -> None:
    reactor = Reactor()
    assert not listen(reactor, "127.0.0.1", 0, Factory(), os.dup(kept.fileno()))[1]
    ((host, port),) = reactor.asked
    assert host == "127.0.0.1"
    assert port != kept.getsockname()[1]


def test_what_is_no_socket_is_not_taken_over() -> None:
    read, write = os.pipe()
    os.close(write)
    assert not listen(Reactor(), "127.0.0.1", 0, Factory(), read)[1]


def test_d4_clients_wait_at_a_port_that_we_bound_and_stopped_while_somebody_holds_it() -> None:
    """Twisted shuts a port down that it bound itself: then everybody is refused, whoever holds a copy."""
    reactor = SelectReactor()
    listening, kept_already = listen(reactor, "127.0.0.1", 0, Factory(), None)
    assert not kept_already
    with socket.socket(fileno=os.dup(listening.fileno())) as held:  # type: ignore[attr-defined]
        listening.stopListening()
        reactor.runUntilCurrent()
        assert listening.fileno() == -1  # type: ignore[attr-defined]
        socket.create_connection(held.getsockname(), timeout=5).close()


def test_h8_a_crowd_is_let_in_a_few_at_a_time() -> None:
    """However many wait: who goes for them keeps his descriptor as long as the turn lasts."""
    made: list[object] = []

    class Counted(Factory):
        def buildProtocol(self, addr: object) -> Protocol:  # noqa: N802
            made.append(addr)
            return Protocol()

    reactor = SelectReactor()
    listening: Any
    listening, _ = listen(reactor, "127.0.0.1", 0, Counted(), None)
    address = listening.getHost()
    with ExitStack() as stack:
        for _ in range(5 * ACCEPTS_MAX):
            stack.enter_context(socket.create_connection((address.host, address.port), timeout=5))
        for turn in range(1, 6):
            listening.doRead()
            assert len(made) == turn * ACCEPTS_MAX
    reactor.disconnectAll()
    assert ACCEPTS_MAX < OWN // 2


def test_a_taken_port_is_told_in_one_line(kept: socket.socket) -> None:
    host, port = kept.getsockname()
    with pytest.raises(EnvironmentFault, match=rf"TCP port {port} of 127.0.0.1 can't be bound"):
        listen(Reactor(), host, port, Factory(), None)
