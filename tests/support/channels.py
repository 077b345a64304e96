"""Nodes' channels joined in memory: real TLS, real certificates, no sockets, no running reactor."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test import iosim
from zope.interface import implementer

from cluster.config import TlsFiles
from cluster.core.events import Event
from cluster.identity import NodeId, Role
from cluster.net.authority import AUTHORITY, NODE, NODE_KEY, create_authority, issue
from cluster.net.channels import Channels
from cluster.net.tls import contexts

MEMBERS = frozenset({NodeId(1), NodeId(2), NodeId(3), NodeId(100)})


def files_of(directory: Path) -> TlsFiles:
    return TlsFiles(
        authority=str(directory / AUTHORITY),
        certificate=str(directory / NODE),
        key=str(directory / NODE_KEY),
    )


class Certificates:
    """TLS contexts of any node of any cluster, made when first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[tuple[str, int, Role], CertificateOptions] = {}

    def of(self, node: int, role: Role = Role.PEER, cluster: str = "c") -> CertificateOptions:
        key = (cluster, node, role)
        if key not in self._made:
            authority = self._directory / cluster
            create_authority(authority, cluster)
            own = self._directory / f"{cluster}-{role.value}-{node}"
            issue(authority, cluster, NodeId(node), role, own)
            self._made[key] = contexts(files_of(own))
        return self._made[key]


class Raw(Protocol):
    """The inside of a TLS connection that speaks no protocol of ours."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002, N802
        self.lost = True


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, connect: Callable[[Any], Deferred[Any]]) -> None:
        self._connect = connect

    def connect(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803
        return self._connect(protocolFactory)


class Node:
    """One node's channels, and the events that its core would have been fed."""

    def __init__(self, net: Net, number: int, tls: CertificateOptions, joined_max: int = 1000) -> None:
        self.events: list[Event] = []
        self.number = number
        self.channels = Channels(
            net.reactor,
            "c",
            NodeId(number),
            {node: _Endpoint(lambda factory, node=node: net.connect(node, factory)) for node in (1, 2, 3)},  # type: ignore[misc]
            MEMBERS,
            tls,
            random.Random(number),
            self.events.append,
            joined_max,
        )
        servers = len(net.reactor.tcpServers)
        self.channels.listen("127.0.0.1", 9000 + number)
        self.factory = net.reactor.tcpServers[servers][1]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Net:
    """Every connection there is, and the clock."""

    def __init__(self, certificates: Certificates) -> None:
        self.reactor = MemoryReactorClock()
        self.certificates = certificates
        self.nodes: dict[int, Node] = {}
        self.pumps: list[iosim.IOPump] = []
        self.refusing = False
        self.attempts = 0

    def node(self, number: int, role: Role = Role.PEER, *, joined_max: int = 1000, **other: Any) -> Node:
        tls = self.certificates.of(other.pop("certificate_of", number), role, **other)
        self.nodes[number] = Node(self, number, tls, joined_max)
        return self.nodes[number]

    def connect(self, to: int, factory: Any) -> Deferred[Any]:
        self.attempts += 1
        if self.refusing or to not in self.nodes:
            return fail(Refused())
        return succeed(self.join(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)), self.nodes[to]))

    def join(self, client: Any, server: Node, address: str = "127.0.0.1") -> Any:
        """Connect a client's protocol to a node."""
        accepting = server.factory.buildProtocol(IPv4Address("TCP", address, 2))
        self.pumps.append(
            iosim.connect(
                accepting,
                iosim.makeFakeServer(accepting),
                client,
                iosim.makeFakeClient(client),
                greet=False,
            )
        )
        return client

    def raw_tls(self, server: Node, tls: CertificateOptions) -> tuple[Raw, Any]:
        """A TLS client that is none of ours: its inside, and its outside."""
        raw = Raw()
        factory = TLSMemoryBIOFactory(tls, True, Factory.forProtocol(lambda: raw), self.reactor)
        return raw, self.join(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)), server)

    def settle(self) -> None:
        """Carry bytes until none are left."""
        busy = True
        while busy:
            self.reactor.advance(0)
            busy = sum(pump.pump() for pump in self.pumps) > 0

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        self.settle()
