"""The UDP socket: sealed both ways, and nothing the network does stops it (N6, X1, X3)."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, DNSLookupError, MessageLengthError
from twisted.internet.interfaces import IReactorUDP
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from zope.interface import implementer

from cluster.core.events import DatagramArrived
from cluster.errors import EnvironmentFault
from cluster.identity import Boot, NodeId
from cluster.net import addresses as where
from cluster.net import datagram as udp
from cluster.net.addresses import Addresses
from cluster.net.datagram import DatagramPort
from cluster.net.flood import FloodGuard
from cluster.wire.keyring import Keyring
from cluster.wire.messages import Gossip, GossipEntry, Resign
from cluster.wire.sealing import DATAGRAM_MAX, Opener, Sealer
from tests.conftest import LoggedFailures
from tests.support.deferreds import success_result_of

KEYS = Keyring({1: bytes(32)})
MEMBERS = {NodeId(1): 9001, NodeId(2): 9002, NodeId(3): 9003}
LOCAL = ("127.0.0.1", 9002)


class Port:
    """A bound socket that records what is written, or fails as told."""

    def __init__(self, reactor: UdpClock, protocol: DatagramPort) -> None:
        self.reactor = reactor
        self.protocol = protocol

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        if self.reactor.error is not None:
            raise self.reactor.error
        self.reactor.written.append((data, address))

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        self.reactor.bound = None
        self.protocol.doStop()  # type: ignore[no-untyped-call]
        return succeed(None)


@implementer(IReactorUDP)
class UdpClock(Clock):
    """A clock that can bind UDP ports."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.refuse = 0
        self.written: list[tuple[bytes, tuple[str, int]]] = []
        self.bound: tuple[int, str, int] | None = None

    def listenUDP(self, port: int, protocol: Any, interface: str, maxPacketSize: int) -> Any:  # noqa: N802, N803
        if self.refuse:
            self.refuse -= 1
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.bound = (port, interface, maxPacketSize)
        made = Port(self, protocol)
        protocol.makeConnection(made)
        return made


class World:
    """Node 1's socket, and node 2 to talk to it."""

    def __init__(self, hosts: dict[NodeId, str] | None = None) -> None:
        self.reactor = UdpClock()
        self.names: dict[str, str] = {}
        self.events: list[DatagramArrived] = []
        self.traffic: list[Any] = []
        hosts = hosts or dict.fromkeys(MEMBERS, "127.0.0.1")
        self.addresses = Addresses(self.reactor, hosts, self.resolve)
        self.port = DatagramPort(
            self.reactor,
            NodeId(1),
            MEMBERS,
            self.addresses,
            Sealer(KEYS, "c", NodeId(1), Boot(5)),
            Opener(KEYS, "c", NodeId(1), MEMBERS, strangers_max=5),
            FloodGuard(self.reactor, "c", NodeId(1)),
            self.events.append,
            lambda *told: self.traffic.append(told),
        )
        self.peer = Sealer(KEYS, "c", NodeId(2), Boot(7))

    def resolve(self, host: str) -> Deferred[str]:
        return succeed(self.names[host]) if host in self.names else fail(DNSLookupError(host))

    def listening(self) -> World:
        self.port.listen("127.0.0.1", 9001)
        return self


@pytest.fixture
def world() -> World:
    return World().listening()


def test_what_is_sent_opens_at_the_other_node(world: World) -> None:
    world.port.send(NodeId(2), Resign(7))
    ((data, address),) = world.reactor.written
    assert address == ("127.0.0.1", 9002)
    assert Opener(KEYS, "c", NodeId(2), MEMBERS).open(data).message == Resign(7)
    assert world.port.sent == {"Resign": 1}
    assert world.traffic == [("sent", NodeId(2), Resign(7))]


def test_what_arrives_is_an_event(world: World) -> None:
    world.port.datagramReceived(world.peer.seal(NodeId(1), Resign(7)), LOCAL)
    assert world.events == [DatagramArrived(NodeId(2), Boot(7), 1, Resign(7))]
    assert world.port.received == {"Resign": 1}
    assert world.traffic == [("received", NodeId(2), Resign(7))]


def test_a_worker_that_joins_is_answered_where_it_last_spoke_from(world: World) -> None:
    world.port.send(NodeId(50), Gossip(()))
    assert world.port.failed == {"unresolved": 1}
    joining = Sealer(KEYS, "c", NodeId(50), Boot(7))
    for port in (7000, 7001):
        world.port.datagramReceived(joining.seal(NodeId(1), Gossip(())), ("127.0.0.9", port))
        world.port.send(NodeId(50), Gossip(()))
    assert [address for _, address in world.reactor.written] == [("127.0.0.9", 7000), ("127.0.0.9", 7001)]
    assert [event.sender for event in world.events] == [NodeId(50)] * 2


def test_a_member_is_where_the_configuration_says_wherever_it_speaks_from(world: World) -> None:
    world.port.datagramReceived(world.peer.seal(NodeId(1), Resign(7)), ("127.0.0.9", 7000))
    world.port.send(NodeId(2), Resign(7))
    assert world.reactor.written[0][1] == ("127.0.0.1", 9002)


def test_x1_what_is_not_authentic_is_counted_and_never_answered(world: World) -> None:
    sealed = world.peer.seal(NodeId(1), Resign(7))
    for data in (b"", b"x" * 100, sealed[:-1] + bytes([sealed[-1] ^ 1]), bytes(DATAGRAM_MAX + 1)):
        world.port.datagramReceived(data, LOCAL)
    world.port.datagramReceived(sealed, LOCAL)
    world.port.datagramReceived(sealed, LOCAL)
    assert world.port.dropped == {"truncated": 1, "magic": 1, "authenticity": 1, "too_long": 1, "replayed": 1}
    assert len(world.events) == 1
    assert world.reactor.written == []


def test_g6_the_socket_reads_one_byte_more_than_any_datagram_of_ours(world: World) -> None:
    """So that a longer one is refused, and not cut to something that looks whole."""
    assert world.reactor.bound == (9001, "127.0.0.1", DATAGRAM_MAX + 1)


@pytest.mark.parametrize(
    "name",
    ["EPERM", "ENETUNREACH", "EHOSTUNREACH", "ENOBUFS", "EAGAIN", "ECONNREFUSED", "EMSGSIZE", "EINVAL"],
)
def test_s38_no_errno_of_a_send_stops_the_node(world: World, name: str) -> None:
    number = getattr(errno, name)
    world.reactor.error = MessageLengthError("long") if name == "EMSGSIZE" else OSError(number, name)
    for _ in range(5):
        world.port.send(NodeId(2), Resign(7))
    assert world.port.failed == {name: 5}
    world.reactor.error = None
    world.port.send(NodeId(2), Resign(7))
    assert len(world.reactor.written) == 1
    assert world.port.sent == {"Resign": 1}


def test_a_failure_that_goes_on_is_logged_at_a_limited_rate(world: World) -> None:
    lines: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] is LogLevel.warn:
            lines.append(event)

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    world.reactor.error = OSError(errno.EPERM, "EPERM")
    for _ in range(100):
        world.port.send(NodeId(2), Resign(7))
    world.reactor.advance(11)
    world.port.send(NodeId(2), Resign(7))
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    assert [line.get("left_out") for line in lines] == [None, 99]


def test_an_address_that_the_socket_can_not_use_is_counted(world: World) -> None:
    world.reactor.error = ValueError("IPv6 port write() called with IPv4 address")
    world.port.send(NodeId(2), Resign(7))
    assert world.port.failed == {"ValueError": 1}


def test_a_message_that_is_too_large_is_our_bug_and_stays_here(
    world: World, logged_failures: LoggedFailures
) -> None:
    world.port.send(NodeId(2), Gossip(tuple(GossipEntry(i, 2**40, 2**40, 1) for i in range(400))))
    assert world.port.failed == {"too_large": 1}
    assert world.reactor.written == []
    assert len(logged_failures.take()) == 1


def test_a_node_does_not_talk_to_itself_nor_to_nobody(world: World) -> None:
    world.port.send(NodeId(1), Resign(7))
    world.port.send(NodeId(99), Resign(7))
    assert world.reactor.written == []
    assert world.port.failed == {"unresolved": 1}


def test_sending_before_the_socket_is_bound_is_counted() -> None:
    world = World()
    world.port.send(NodeId(2), Resign(7))
    assert world.port.failed == {"unbound": 1}


def test_an_observer_that_raises_does_not_stop_the_traffic(
    world: World, logged_failures: LoggedFailures
) -> None:
    world.port._on_traffic = lambda *_told: 1 / 0  # type: ignore[assignment]
    world.port.datagramReceived(world.peer.seal(NodeId(1), Resign(7)), LOCAL)
    assert len(world.events) == 1
    assert len(logged_failures.take(ZeroDivisionError)) == 1


def test_a_taken_port_says_what_to_do() -> None:
    world = World()
    world.reactor.refuse = 1
    with pytest.raises(EnvironmentFault, match=r"UDP port 9001 of 127\.0\.0\.1 can't be bound"):
        world.listening()


def test_a_socket_that_the_reactor_gave_up_is_bound_again(world: World) -> None:
    """Twisted closes a port whose read failed with an error that it does not know."""
    world.reactor.refuse = 2
    world.port.doStop()  # type: ignore[no-untyped-call]
    for _ in range(3):
        world.reactor.advance(udp.REBIND_S)
    world.port.send(NodeId(2), Resign(7))
    assert len(world.reactor.written) == 1
    assert world.port.failed == {"port_lost": 1}


def test_stopping_closes_the_socket_for_good(world: World) -> None:
    success_result_of(world.port.stop())
    assert world.reactor.bound is None
    world.reactor.advance(10)
    assert world.reactor.bound is None
    assert world.reactor.getDelayedCalls() == []


def test_names_are_resolved_again_and_keep_their_last_address() -> None:
    world = World({NodeId(1): "127.0.0.1", NodeId(2): "two.test", NodeId(3): "127.0.0.1"}).listening()
    success_result_of(world.addresses.start())
    world.port.send(NodeId(2), Resign(7))
    world.port.send(NodeId(3), Resign(7))
    assert world.port.failed == {"unresolved": 1}
    assert len(world.reactor.written) == 1, "one unknown name does not stop the others' traffic"
    seen = []
    for address in ("10.0.0.1", "10.0.0.2", None):
        world.names.pop("two.test", None)
        if address:
            world.names["two.test"] = address
        world.reactor.advance(where.RESOLVE_EVERY_S)
        seen.append(world.addresses.get(NodeId(2)))
    assert seen == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]
    world.addresses.stop()
    assert world.reactor.getDelayedCalls() == []


def test_literals_need_no_resolver_and_no_timer() -> None:
    world = World({NodeId(1): "::1", NodeId(2): "::2", NodeId(3): "10.0.0.3"})
    success_result_of(world.addresses.start())
    assert world.addresses.get(NodeId(2)) == "::2"
    assert world.reactor.getDelayedCalls() == []
