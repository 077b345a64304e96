"""One work channel: frames over TLS over TCP, both ways, bounded in every direction (W2, X2, X3)."""

from __future__ import annotations

from collections import deque
from typing import Protocol as Seam

from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from cluster.core.events import ChannelId
from cluster.errors import RemoteProtocolError
from cluster.identity import NodeId
from cluster.limits import MIB
from cluster.net.keepalive import keep_alive
from cluster.net.tls import Identity, identity_of
from cluster.wire.codec import decode_frame, encode_frame
from cluster.wire.framing import FrameDecoder, prefix
from cluster.wire.messages import Frame, Progress, Progressed

HANDSHAKE_S = 5.0
"""A connection whose TLS handshake takes longer is closed."""

FIRST_FRAME_S = 5.0
"""A peer that dialled us says HELLO within this time of the handshake, or is closed."""

CLOSE_S = 2.0
"""What is queued when a channel is closed has this long to leave."""

STALL_S = 5.0
"""A peer that takes none of what waits for it for so long does not read: the channel is closed."""

WAITING_MAX = 512 * MIB
"""Bytes that may wait on one channel, however its peer reads."""

MOVED_S = 0.5
"""How often the owner is told that bytes move, while no whole frame comes."""

DROPPABLE = (Progress, Progressed)
"""Frames that nothing rests on (W13)."""

DROPPED_PAST = MIB
"""Bytes waiting on a channel past which such a frame is dropped instead of queued."""

PIECE = 65536
"""Bytes handed to TLS at once, so that a large frame does not keep heartbeats waiting."""


class ChannelOwner(Seam):
    """Who keeps the channels: told once of each opening, then of each frame, then once of the end."""

    def channel_opened(self, channel: Channel, identity: Identity) -> None:
        """The handshake is done and the certificate names a node; the owner may still refuse it."""

    def channel_frame(self, channel: Channel, frame: Frame) -> None:
        """A frame arrived."""

    def channel_moved(self, channel: Channel) -> None:
        """The peer sent, or took, some of a frame that is under way."""

    def channel_dropped(self, frame: Frame) -> None:
        """A frame was not sent, because too much waits already and nothing rests on it."""

    def channel_broken(self, channel: Channel, reason: str, fault: str) -> None:
        """It broke, or was never opened; `fault` names what the peer did wrong, empty if nothing."""


@implementer(IHandshakeListener, IPushProducer)
class Channel(Protocol):
    """A TCP connection's life: connected, TLS handshake, open, closed.

    Attributes:
        number: its name in events (`ChannelId`).
        dialled: the node that we meant to reach; None if it came to us.
        address: where it came from; empty if we dialled.
        peer: the node that its certificate names, once open.
        heard: a frame has arrived.
        queued: bytes that wait to be sent.
    """

    transport: TLSMemoryBIOProtocol  # set before anything is called

    def __init__(
        self,
        number: ChannelId,
        owner: ChannelOwner,
        reactor: IReactorTime,
        dialled: NodeId | None,
        address: str = "",
    ) -> None:
        """Nothing happens before the connection is made."""
        self.number = number
        self.dialled = dialled
        self.address = address
        self.peer: NodeId | None = None
        self.heard = False
        self.queued = 0
        self._owner: ChannelOwner | None = owner
        self._reactor = reactor
        self._decoder = FrameDecoder()
        self._queue: deque[bytes] = deque()
        self._paused = False
        self._closing = False
        self._timer: IDelayedCall | None = None
        self._stall: IDelayedCall | None = None
        self._told_moving = 0.0

    # --- connection and handshake ------------------------------------------------------------------

    def connectionMade(self) -> None:  # noqa: N802
        """Wait for the handshake, not for ever."""
        self.transport.setTcpNoDelay(True)
        keep_alive(self.transport.transport)
        self._set_timer(HANDSHAKE_S, "no TLS handshake in time", "handshake_timeout")

    def handshakeCompleted(self) -> None:  # noqa: N802
        """Learn who it is; no frame reaches the owner before (X2)."""
        try:
            identity = identity_of(self.transport.getPeerCertificate().to_cryptography())
        except RemoteProtocolError as error:
            self.abort(str(error), error.reason)
            return
        self._clear_timer()
        if self.dialled is None:
            self._set_timer(FIRST_FRAME_S, "no HELLO in time", "hello_timeout")
        self.peer = identity.node
        self.transport.registerProducer(self, True)
        if self._owner is not None:
            self._owner.channel_opened(self, identity)

    # --- receiving ---------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Cut into frames, decode, hand on; bytes that are no frame end the channel (X3)."""
        try:
            bodies = self._decoder.feed(data)
            if not bodies and self.heard:
                self._moved()
            for body in bodies:
                owner = self._owner
                if owner is None:  # closed, perhaps by what the last frame caused
                    return
                frame = decode_frame(body)
                if not self.heard:
                    self.heard = True
                    self._clear_timer()
                owner.channel_frame(self, frame)
        except RemoteProtocolError as error:
            self.abort(str(error), error.reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """It is over, whoever ended it."""
        self._clear_timers()
        self._queue.clear()
        self.queued = 0
        self._report(reason.getErrorMessage(), "" if self.peer is not None else "handshake")

    # --- sending -----------------------------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        """Queue a frame; a channel that is closing swallows it.

        Raises:
            LocalProtocolError: the frame is larger than a frame may be.
        """
        if self.queued > DROPPED_PAST and isinstance(frame, DROPPABLE):
            if self._owner is not None:
                self._owner.channel_dropped(frame)
            return
        body = encode_frame(frame)
        if self._owner is None:
            return
        self.queued += len(body) + 4
        if self.queued > WAITING_MAX:
            self.abort("far too much waits for it", "unread")
            return
        self._queue.append(prefix(body) + body[:PIECE])
        self._queue.extend(body[at : at + PIECE] for at in range(PIECE, len(body), PIECE))
        self._pump()

    def pauseProducing(self) -> None:  # noqa: N802
        """The network takes no more for now; a peer that reads makes room again soon."""
        self._paused = True
        if self._stall is None:
            self._stall = self._reactor.callLater(STALL_S, self._stalled)

    def resumeProducing(self) -> None:  # noqa: N802
        """It does again."""
        self._paused = False
        self._clear_stall()
        self._moved()
        self._pump()

    def stopProducing(self) -> None:  # noqa: N802
        """It never will."""
        self._paused = True
        self._clear_stall()

    def _stalled(self) -> None:
        self._stall = None
        self.abort(f"it has read nothing of what is sent to it for {STALL_S:g} s", "unread")

    def _moved(self) -> None:
        """A frame that takes long is a sign of life all the while."""
        now = self._reactor.seconds()
        if self._owner is not None and self.peer is not None and now - self._told_moving >= MOVED_S:
            self._told_moving = now
            self._owner.channel_moved(self)

    def _pump(self) -> None:
        """Hand on what the network takes."""
        while self._queue and not self._paused:
            piece = self._queue.popleft()
            self.queued -= len(piece)
            self.transport.write(piece)
        if self._closing and not self._queue:
            self._finish()

    # --- ending ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is queued, then close; the owner hears no more of this channel."""
        if self._closing:
            return
        self._owner = None
        self._closing = True
        self._set_timer(CLOSE_S, "", "")
        self._pump()

    def abort(self, reason: str, fault: str) -> None:
        """Close now; the owner is told, once."""
        self._clear_timers()
        self._queue.clear()
        self.transport.abortConnection()
        self._report(reason, fault)

    def _finish(self) -> None:
        if self.peer is not None:
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _report(self, reason: str, fault: str) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.channel_broken(self, reason, fault)

    def _set_timer(self, seconds: float, reason: str, fault: str) -> None:
        self._clear_timer()
        self._timer = self._reactor.callLater(seconds, self.abort, reason, fault)

    def _clear_timers(self) -> None:
        self._clear_timer()
        self._clear_stall()

    def _clear_stall(self) -> None:
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        self._stall = None

    def _clear_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
