"""The node's UDP socket: seals what leaves, opens what arrives, and survives whatever the network does."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from cluster.core.events import DatagramArrived
from cluster.errors import EnvironmentFault, LocalProtocolError, RemoteProtocolError
from cluster.identity import NodeId
from cluster.net.addresses import Addresses
from cluster.net.flood import FloodGuard
from cluster.net.loglimit import LimitedLog
from cluster.wire.keyring import Keyring
from cluster.wire.messages import Datagram
from cluster.wire.sealing import DATAGRAM_MAX, Opener, Sealer

PACKET_MAX = DATAGRAM_MAX + 1
"""What is read of a datagram: one byte more than any of ours, so that a longer one shows."""

REBIND_S = 0.2
"""After the reactor gave the socket up (a read failed), how long until it is bound again."""

Traffic = Callable[[str, NodeId, Datagram], None]
"""Told of every message: `"sent"` or `"received"`, the other node, the message."""


class DatagramPort(DatagramProtocol):
    """Sends and receives sealed datagrams; an error of any kind is counted, never fatal.

    Attributes:
        sent, received: datagrams, by the message's type.
        dropped: arrived and refused, by the reason of `Opener.open`.
        failed: not sent, by the name of the errno, or `unresolved`, `too_large`.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        me: NodeId,
        ports: Mapping[NodeId, int],
        addresses: Addresses,
        sealer: Sealer,
        opener: Opener,
        guard: FloodGuard,
        feed: Callable[[DatagramArrived], None],
        on_traffic: Traffic | None = None,
    ) -> None:
        """`ports` are the members' UDP ports; `feed` is the driver's."""
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._reactor = reactor
        self._me = me
        self._ports = dict(ports)
        self._strangers: dict[NodeId, tuple[str, int]] = {}
        self._addresses = addresses
        self._sealer = sealer
        self._opener = opener
        self._guard = guard
        self._feed = feed
        self._on_traffic = on_traffic
        self._logger = Logger(namespace="cluster.net.datagram")
        self._log = LimitedLog(reactor, self._logger)
        self._where: tuple[str, int] | None = None
        self._port: IListeningPort | None = None
        self._rebinding: IDelayedCall | None = None

    def listen(self, interface: str, port: int) -> None:
        """Bind; `interface` is an IP address.

        Raises:
            EnvironmentFault: the port is taken, or the address is not this machine's.
        """
        self._where = (interface, port)
        try:
            self._bind()
        except CannotListenError as error:
            self._where = None
            raise EnvironmentFault(
                f"UDP port {port} of {interface} can't be bound ({error.socketError}); "
                f"is another node running here, and is this address the machine's own?"
            ) from error

    def stop(self) -> Deferred[None]:
        """Close the socket."""
        self._where = None
        self._addresses.stop()
        if self._rebinding is not None and self._rebinding.active():
            self._rebinding.cancel()
        port, self._port = self._port, None
        return succeed(None) if port is None else port.stopListening() or succeed(None)

    def rekey(self, keyring: Keyring) -> None:
        """Accept this ring's keys, and send with its newest, from now on (X1)."""
        self._sealer.rekey(keyring)
        self._opener.rekey(keyring)

    def all_dropped(self) -> Counter[str]:
        """What arrived and was refused, by reason; `kernel`: by the kernel, in a flood or a full buffer."""
        return self.dropped + Counter(kernel=self._guard.dropped)

    def send(self, to: NodeId, message: Datagram) -> None:
        """Seal and send; a node does not talk to itself, and failing is the network's good right."""
        if to == self._me:
            return
        where = self._where_is(to)
        if where is None:
            self._count_failure("unresolved", to)
            return
        if self.transport is None:
            self._count_failure("unbound", to)
            return
        try:
            datagram = self._sealer.seal(to, message)
        except LocalProtocolError:
            self.failed["too_large"] += 1
            self._logger.failure("a message to node {to} is not sent", to=to)
            return
        try:
            self.transport.write(datagram, where)
        except MessageLengthError:
            self._count_failure("EMSGSIZE", to)
        except OSError as error:
            self._count_failure(errno.errorcode.get(error.errno or 0, "unknown"), to)
        except Exception as error:  # noqa: BLE001  (an address that this socket can't use)
            self._count_failure(type(error).__name__, to)
        else:
            self.sent[type(message).__name__] += 1
            self._tell("sent", to, message)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:  # noqa: N802
        """Open, count, and hand on to the core."""
        try:
            opened = self._opener.open(datagram)
        except RemoteProtocolError as error:
            self.dropped[error.reason] += 1
            self._guard.refused()
            self._log.warning(
                f"dropped {error.reason}",
                "dropped a datagram from {host}:{port}: {reason}",
                host=addr[0],
                port=addr[1],
                reason=str(error),
            )
            return
        self._guard.heard(opened.sender, addr)
        if opened.sender not in self._ports:  # a worker that joined: it is where it last spoke from
            self._strangers[opened.sender] = addr
        self.received[type(opened.message).__name__] += 1
        self._tell("received", opened.sender, opened.message)
        self._feed(DatagramArrived(opened.sender, opened.boot, opened.sequence, opened.message))

    def _where_is(self, node: NodeId) -> tuple[str, int] | None:
        """A member's configured place; that of any other node that has spoken to us."""
        if node not in self._ports:
            return self._strangers.get(node)
        address = self._addresses.get(node)
        return None if address is None else (address, self._ports[node])

    def stopProtocol(self) -> None:  # noqa: N802
        """The reactor closes a socket whose read failed; we bind it again."""
        self._guard.guard(None)
        if self._where is None:
            return
        self._port = None
        self.failed["port_lost"] += 1
        self._log.warning("port lost", "the UDP socket was lost; binding it again")
        self._rebinding = self._reactor.callLater(REBIND_S, self._rebind)

    def _rebind(self) -> None:
        try:
            self._bind()
        except Exception as error:  # noqa: BLE001  (whatever it is, the next try may work)
            self._log.warning("rebind", "the UDP socket can't be bound: {reason}", reason=str(error))
            self._rebinding = self._reactor.callLater(REBIND_S, self._rebind)

    def _bind(self) -> None:
        if self._where is None:
            return
        interface, port = self._where
        udp = IReactorUDP(self._reactor)
        self._port = udp.listenUDP(port, self, interface=interface, maxPacketSize=PACKET_MAX)
        self._guard.guard(getattr(self._port, "socket", None))  # Twisted's own port has one

    def _count_failure(self, name: str, to: NodeId) -> None:
        self.failed[name] += 1
        self._log.warning(
            f"failed {name} {to}", "a datagram to node {to} was not sent: {name}", to=to, name=name
        )

    def _tell(self, direction: str, other: NodeId, message: Datagram) -> None:
        if self._on_traffic is None:
            return
        try:
            self._on_traffic(direction, other, message)
        except Exception:  # noqa: BLE001  (a log must not stop the traffic)
            self._logger.failure("the observer of traffic failed")
