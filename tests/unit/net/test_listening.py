"""A port is taken over only when it is the one that the configuration names."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from cluster.errors import EnvironmentFault
from cluster.net.listening import listen


@attrs.define
class Reactor:
    """Notes how it was asked to listen."""

    asked: list[tuple[str, Any]] = attrs.Factory(list)
    taken: bool = False

    def adoptStreamPort(self, descriptor: int, family: int, factory: Factory) -> object:  # noqa: N802
        del factory
        with socket.socket(fileno=os.dup(descriptor)) as port:
            self.asked.append(("adopted", port.getsockname()))
        assert family == socket.AF_INET
        return object()

    def listenTCP(self, port: int, factory: Factory, interface: str) -> object:  # noqa: N802
        del factory
        if self.taken:
            raise CannotListenError(interface, port, OSError("in use"))
        self.asked.append(("bound", (interface, port)))
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
    assert reactor.asked == [("adopted", (host, port))]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_another_address_than_the_kept_one_is_bound(kept: socket.socket) -> None:
    reactor = Reactor()
    assert not listen(reactor, "127.0.0.1", 1, Factory(), os.dup(kept.fileno()))[1]
    assert reactor.asked == [("bound", ("127.0.0.1", 1))]


def test_what_is_no_socket_is_not_taken_over() -> None:
    reactor = Reactor()
    read, write = os.pipe()
    os.close(write)
    assert not listen(reactor, "127.0.0.1", 1, Factory(), read)[1]


def test_without_a_kept_port_one_is_bound() -> None:
    reactor = Reactor()
    assert not listen(reactor, "127.0.0.1", 8888, Factory(), None)[1]
    assert reactor.asked == [("bound", ("127.0.0.1", 8888))]


def test_a_taken_port_is_told_in_one_line() -> None:
    with pytest.raises(EnvironmentFault, match=r"TCP port 8888 of 127.0.0.1 can't be bound"):
        listen(Reactor(taken=True), "127.0.0.1", 8888, Factory(), None)
