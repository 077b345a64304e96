"""What channels do: dialling, frames in order, stalling while cut off, breaking when it lasts, resets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.core import effects as fx
from cluster.core import events as ev
from cluster.identity import NodeId
from cluster.net.keepalive import IDLE_S, INTERVAL_S
from cluster.wire.codec import decode_frame, encode_frame
from tests.simulation.channels import FRAMES_MAX, End, Link, Links
from tests.simulation.clock import MS, SECOND
from tests.simulation.dialling import Dialling
from tests.simulation.host import Host, Life

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

RETRANSMIT_NS = 200 * MS

CONNECT_S = 2
HANDSHAKE_S = 5
"""As the adapter's: for a connection to be made, and for a process that stands still to answer on it."""

SYN_NS = 100 * MS
"""How often an attempt to connect looks whether the way is free."""


class Wires:
    """All channels of a cluster; an end whose life is over takes nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.links = Links()
        self._made = 0
        self._dialling: dict[Life, Dialling] = {}

    def dial(self, host: Host, life: Life, to: NodeId) -> None:
        """Keep one channel to this node open, until `hang_up`."""
        self._dialling[life] = dialling = Dialling(host, life, to)
        self._try(dialling, self._cluster.now)

    def _try(self, dialling: Dialling, since: int) -> None:
        """Connect: a host that says nothing has a while to answer, a process that is gone refuses."""
        host, life, to = dialling.host, dialling.life, dialling.to
        if (
            life.is_over()
            or self._dialling.get(life) is not dialling
            or self.links.dialled(host.id, to, life)
        ):
            return
        now, target = self._cluster.now, self._cluster.hosts[to]
        there = target.life
        is_up = target.powered and self._cluster.network.is_up(host.id, to)
        if is_up and there is not None and now >= there.still_until:
            self._connect(dialling, target, there)
            return
        patience = CONNECT_S if not is_up else HANDSHAKE_S if there is not None else 0
        if now - since < patience * SECOND:
            self._cluster.at(now + SYN_NS, self._try, dialling, since)
            return
        self._cluster.probes["dialling failed"] += 1
        self._cluster.deliver(host, life, ev.DialFailed(to, "it timed out" if patience else "refused"))
        self._try_later(dialling)

    def _try_later(self, dialling: Dialling) -> None:
        moment = self._cluster.now + dialling.wait_ns()
        self._cluster.at(moment, self._try, dialling, moment)

    def _connect(self, dialling: Dialling, target: Host, there: Life) -> None:
        host, life, to = dialling.host, dialling.life, dialling.to
        stream = self._cluster.chance.stream
        self._made += 1
        link = self.links.add(
            (host.id, life, stream("frame", host.id, to, self._made)),
            (to, there, stream("frame", to, host.id, self._made)),
        )
        dialler, listener = link.ends
        opened = ev.ChannelOpened(listener.channel, host.id, host.role, dialled=False)
        self._cluster.deliver(target, there, opened)
        self._cluster.deliver(host, life, ev.ChannelOpened(dialler.channel, to, target.role, dialled=True))

    def send(self, host: Host, life: Life, effect: fx.SendFrame) -> None:
        """A frame to the other end."""
        link = self.links.find(host.id, effect.channel)
        self._cluster.checks.sent_frame(host, life, effect, link)
        if link is None or not link.end_of(host.id).open:
            return
        far = link.other(link.end_of(host.id))
        body = encode_frame(effect.frame)
        self._cluster.note(body, host.id, far.node)
        delay = self._cluster.network.frame_delay((host.id, far.node), far.stream)
        far.last_at = max(far.last_at, self._cluster.now + delay)
        self._cluster.at(far.last_at, self._frame_arrives, link, far, body)

    def _gets_through(self, one: End, other: End) -> bool:
        """Whether bytes of one side reach the host of the other now."""
        return not self._cluster.network.cut[one.node, other.node] and self._cluster.hosts[other.node].powered

    def _is_stuck(self, since: int) -> bool:
        """Whether a kernel that has heard nothing since then gives up."""
        return self._cluster.now - since > self._cluster.schedule.knobs.stuck_s * SECOND

    def _frame_arrives(self, link: Link, far: End, body: bytes) -> None:
        near = link.other(far)
        if not far.open and not near.open:
            return
        if far.stalled or not self._gets_through(near, far):
            if not far.stalled:
                far.stalled_since = self._cluster.now
                self._cluster.at(self._cluster.now + RETRANSMIT_NS, self._retransmit, link, far)
            far.stalled.append(body)
            if len(far.stalled) > FRAMES_MAX:
                self.close(link, near, "too much waits on it")
            return
        self._hand_over(link, far, body)

    def _hand_over(self, link: Link, far: End, body: bytes) -> None:
        host = self._cluster.hosts[far.node]
        if far.open and not far.life.is_over():
            self._cluster.deliver(host, far.life, ev.FrameArrived(far.channel, decode_frame(body)))
            if far is link.ends[0] and far.life in self._dialling:
                self._dialling[far.life].failures = 0
        near = link.other(far)
        if near.open and not near.unanswered:
            self._answer(link, near, self._cluster.now)

    def _answer(self, link: Link, near: End, since: int) -> None:
        """That its bytes arrived, or that nobody is there for them; it sends them again until it hears so."""
        far = link.other(near)
        near.unanswered = False
        if not near.open:
            return
        if self._gets_through(far, near):
            if not far.open or far.life.is_over():
                self._ended(link, near, "reset by the peer", tell=True)
        elif self._is_stuck(since):
            self._give_up(link, near)
        else:
            near.unanswered = True
            self._cluster.at(self._cluster.now + RETRANSMIT_NS, self._answer, link, near, since)

    def _retransmit(self, link: Link, far: End) -> None:
        near = link.other(far)
        if not near.open and not far.open:
            return
        if not self._gets_through(near, far):
            if self._is_stuck(far.stalled_since):
                self._give_up(link, near)
            else:
                self._cluster.at(self._cluster.now + RETRANSMIT_NS, self._retransmit, link, far)
            return
        self._cluster.probes["stalled channel went on"] += 1
        while far.stalled:
            self._hand_over(link, far, far.stalled.popleft())

    def _give_up(self, link: Link, near: End) -> None:
        """Whoever wrote learns that nobody answers; the other side learns nothing before it writes itself."""
        far = link.other(near)
        self._cluster.probes["stuck channel broke"] += 1
        far.stalled.clear()
        if near.open:
            self._ended(link, near, "timed out", tell=True)
        self._left(link, far)

    def close(self, link: Link, end: End, reason: str, *, tell_self: bool = True) -> None:
        """One side closes; the other hears of it if bytes get through before the kernel gives up."""
        far = link.other(end)
        if end.open:
            self._ended(link, end, reason, tell=tell_self)
        if far.open:
            now = self._cluster.now
            self._cluster.at(now + MS, self._far_closed, link, far, now)

    def _far_closed(self, link: Link, far: End, since: int) -> None:
        if not far.open:
            return
        if self._gets_through(link.other(far), far):
            self._ended(link, far, "closed by the peer", tell=True)
        elif self._is_stuck(since):
            self._left(link, far)
        else:
            self._cluster.at(self._cluster.now + RETRANSMIT_NS, self._far_closed, link, far, since)

    def break_off(self, link: Link, reason: str) -> None:
        """A reset on the way: a side that nothing gets through to learns of it when it writes."""
        heard = [end for end in link.ends if self._gets_through(link.other(end), end)]
        for end in heard:
            if end.open:
                self._ended(link, end, reason, tell=True)
        if len(heard) == 1:
            self._left(link, link.other(heard[0]))

    def _left(self, link: Link, end: End) -> None:
        """This side does not know that it is alone; its kernel asks when it has heard nothing for a while."""
        if end.open:
            self._cluster.probes["channel left half open"] += 1
            asks = self._cluster.now + IDLE_S * SECOND
            self._cluster.at(asks, self._ask, link, end, asks)

    def _ask(self, link: Link, end: End, since: int) -> None:
        """A probe of TCP's: whoever has no such connection resets it."""
        far = link.other(end)
        if not end.open:
            return
        if self._gets_through(end, far) and self._gets_through(far, end):
            self._cluster.probes["half open channel found out"] += 1
            self._ended(link, end, "reset by the peer", tell=True)
        elif self._is_stuck(since):
            self._ended(link, end, "timed out", tell=True)
        else:
            self._cluster.at(self._cluster.now + INTERVAL_S * SECOND, self._ask, link, end, since)

    def _ended(self, link: Link, end: End, reason: str, *, tell: bool) -> None:
        self.links.drop(end)
        host = self._cluster.hosts[end.node]
        if end.life.is_over():
            return
        if tell:
            self._cluster.at(
                self._cluster.now,
                self._cluster.deliver,
                host,
                end.life,
                ev.ChannelClosed(end.channel, reason),
            )
        dialling = self._dialling.get(end.life)
        if dialling is not None and end is link.ends[0] and dialling.to == link.ends[1].node:
            self._try_later(dialling)

    def hang_up(self, host: Host, life: Life, reason: str) -> None:
        """Stop dialling, and close what was dialled."""
        self._dialling.pop(life, None)
        for link in self.links.of(host.id):
            if link.ends[0].life is life:
                self.close(link, link.ends[0], reason)

    def close_channel(self, host: Host, channel: int, reason: str) -> None:
        """Close the channel that this node calls so."""
        link = self.links.find(host.id, channel)
        if link is not None:
            self.close(link, link.end_of(host.id), reason)

    def died(self, host: Host, life: Life, *, power: bool) -> None:
        """A process that dies resets its channels; a host that does says nothing to anybody."""
        self._dialling.pop(life, None)
        for link in self.links.of(host.id):
            end = link.end_of(host.id)
            if end.life is not life:
                continue
            if power:
                self.links.drop(end)
                self._left(link, link.other(end))
            else:
                self.close(link, end, "reset by the peer", tell_self=False)
