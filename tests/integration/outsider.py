"""Somebody on the network with a cluster's secrets: a member that is gone, or never was (X1, X2)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from cluster.config import NodeConfig, load
from cluster.identity import Boot, NodeId, Role, voters_hash
from cluster.net.tls import load_keyring
from cluster.version import PROTOCOL_VERSION
from cluster.wire.codec import encode_frame
from cluster.wire.framing import FrameDecoder, prefix
from cluster.wire.keyring import Keyring
from cluster.wire.messages import Datagram, Frame, Hello
from cluster.wire.sealing import DATAGRAM_MAX, Sealer

HOST = "127.0.0.1"
AHEAD_S = 1000
"""A life later than any of the real node's."""


class Outsider:
    """Speaks as one node of a cluster whose files it has, from that node's own UDP port."""

    def __init__(self, directory: Path, node: int, *, life: int = AHEAD_S) -> None:
        """`life` is added to the clock, as the number of the life that it pretends to."""
        self.config: NodeConfig = load(directory / f"node-{node}" / "node.yml")
        self.keyring = load_keyring(Path(self.config.key_file))
        self.me = NodeId(node)
        self.boot = Boot(int(time.time()) + life)
        self.sealer = self.sealing()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        self.socket.bind((HOST, self.config.me.udp))
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def sealing(
        self,
        *,
        keyring: Keyring | None = None,
        me: int | None = None,
        boot: int | None = None,
        cluster: str = "",
    ) -> Sealer:
        """Something to seal with, in any name."""
        return Sealer(
            keyring or self.keyring,
            cluster or self.config.cluster,
            self.me if me is None else NodeId(me),
            self.boot if boot is None else Boot(boot),
        )

    def where(self, node: int) -> tuple[str, int]:
        """A node's UDP address."""
        return HOST, next(member.udp for member in self.config.members if member.id == node)

    def send(self, to: int, datagrams: Iterable[bytes]) -> None:
        """As they are, slowly enough to be no flood."""
        for datagram in datagrams:
            self.socket.sendto(datagram, self.where(to))
            time.sleep(0.002)

    def say(self, to: int, *messages: Datagram) -> None:
        """Sealed as it should be."""
        self.send(to, [self.sealer.seal(NodeId(to), message) for message in messages])

    def overheard(self, count: int, seconds: float = 20.0) -> list[tuple[bytes, int]]:
        """Datagrams that others sent to this node, and who sent each."""
        self.socket.settimeout(seconds)
        ports = {member.udp: member.id for member in self.config.members}
        found: list[tuple[bytes, int]] = []
        while len(found) < count:
            data, (_, port) = self.socket.recvfrom(DATAGRAM_MAX)
            if port in ports:
                found.append((data, ports[port]))
        return found

    @contextlib.contextmanager
    def channel(self, to: int) -> Iterator[ssl.SSLSocket]:
        """A work channel to a peer, with this node's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.config.tls.authority)
        context.load_cert_chain(self.config.tls.certificate, self.config.tls.key)
        port = next(member.tcp for member in self.config.members if member.id == to)
        with (
            socket.create_connection((HOST, port), timeout=20) as plain,
            context.wrap_socket(plain) as secure,
        ):
            yield secure

    def hello(self, epoch: int, *, node: int | None = None, role: Role | None = None) -> Hello:
        """What a node says first, in any name."""
        return Hello(
            protocol=PROTOCOL_VERSION,
            cluster=self.config.cluster,
            node=self.me if node is None else node,
            boot=self.boot,
            role=role or self.config.me.role,
            epoch=epoch,
            voters=voters_hash(self.config.cluster, self.config.voters),
            timing=self.config.timing_digest(),
            slots=4,
        )


def talk(channel: ssl.SSLSocket, *frames: Frame, most: int = 1000) -> list[bytes]:
    """Send frames; the bodies of what comes back, so many at most, until the other side hangs up."""
    decoder = FrameDecoder()
    bodies: list[bytes] = []
    with contextlib.suppress(ConnectionResetError, BrokenPipeError, ssl.SSLError):
        for frame in frames:
            body = encode_frame(frame)
            channel.sendall(prefix(body) + body)
        while len(bodies) < most and (data := channel.recv(65536)):
            bodies += decoder.feed(data)
    return bodies
