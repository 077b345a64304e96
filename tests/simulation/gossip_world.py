"""Hundreds of `Membership` cores on a simulated network: gossip alone.

Each node has its own clock's phase; datagrams go through the codec; only what is needed to count is kept.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from cluster.config import GossipSettings
from cluster.core.effects import Log, MemberFailed, MemberRecovered, Send
from cluster.core.membership import Membership
from cluster.identity import Boot, NodeId, Role, Status
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire.codec import decode_datagram, encode_datagram
from cluster.wire.messages import FactsDelta, FactsWanted, Gossip, NodeFacts
from cluster.wire.sealing import DATAGRAM_MAX
from tests.simulation.chance import Chance
from tests.simulation.clock import MS, SECOND

OVERHEAD = DATAGRAM_MAX - DATAGRAM_PAYLOAD_MAX + 28
"""Bytes around a payload: our header and tag, UDP and IPv4."""

LAG_S = 0.05
BUFFER = 1000
"""Datagrams that wait for a node that stands still."""

Message = Gossip | FactsWanted | FactsDelta


@attrs.define(eq=False)
class Member:
    """One node."""

    core: Membership
    boot: Boot
    wake_at: int = -1
    still_until: int = 0
    inbox: list[tuple[int, Boot, bytes]] = attrs.Factory(list)
    sent_bytes: int = 0
    sent: int = 0


class GossipWorld:
    """Nodes that gossip.

    Attributes:
        verdicts: (true time, by whom, whom, FAILED or ALIVE), in order.
        cut: whether this direction is cut now.
        tap: called with each delivered datagram: (sender, to, message).
    """

    def __init__(
        self,
        seed: int,
        *,
        settings: GossipSettings,
        loss: float = 0.0,
        delay_us: tuple[int, int] = (200, 10_000),
        seeds: Iterable[int] = (),
    ) -> None:
        self.chance = Chance(seed)
        self.settings = settings
        self.loss = loss
        self.delay_us = delay_us
        self.seeds = tuple(seeds)
        self.now = 0
        self.members: dict[int, Member] = {}
        self.verdicts: list[tuple[int, int, int, Status]] = []
        self.cut: Callable[[int, int], bool] = lambda _sender, _to: False
        self.tap: Callable[[int, int, Message], None] | None = None
        self._net = self.chance.stream("gossip")
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, moment: int, action: Callable[..., object], *args: object) -> None:
        """Have something happen at a true time."""
        self._order += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._order, action, args))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + int(seconds * SECOND)
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action, args = heapq.heappop(self._heap)
            action(*args)
        self.now = end

    # --- nodes ------------------------------------------------------------------------------------------

    def start(self, node: int, *, boot: int = 1_700_000_000, configured: Iterable[int] | None = None) -> None:
        """A node begins a life, somewhere within a round."""
        known = self.seeds if configured is None else configured
        facts = NodeFacts(node, boot, 1, Role.WORKER, host="192.0.2.1", udp=7000, tcp=7001, java="17.0.12")
        rng = random.Random(self.chance.stream("core", node, boot).bits())
        begin = self.now + self.chance.stream("phase", node, boot).between(0, self._interval)
        others = frozenset(NodeId(n) for n in known if n != node)
        core = Membership(self.settings, facts, others, rng, begin / SECOND)
        self.members[node] = member = Member(core, Boot(boot))
        self._arm(node, member)

    def kill(self, node: int) -> None:
        """It is gone without a word."""
        del self.members[node]

    def pause(self, node: int, seconds: float) -> None:
        """It stands still; what arrives waits, as far as the buffer goes."""
        member = self.members[node]
        member.still_until = self.now + int(seconds * SECOND)
        self.at(member.still_until, self._resume, node, member)

    @property
    def _interval(self) -> int:
        return int(self.settings.interval_s * SECOND)

    def _resume(self, node: int, member: Member) -> None:
        if self.members.get(node) is not member:
            return
        late = self.now / SECOND - member.core.next_deadline()
        if late > LAG_S:
            member.core.lagged(late, self.now / SECOND)
        waiting, member.inbox = member.inbox, []
        for sender, boot, payload in waiting:
            self._deliver(sender, node, boot, payload)
        self._wake(node, member, member.wake_at)

    def _wake(self, node: int, member: Member, moment: int) -> None:
        if self.members.get(node) is not member or member.wake_at != moment or self.now < member.still_until:
            return
        now = self.now / SECOND
        if now >= member.core.next_deadline():
            self._perform(node, member, member.core.tick(now))
        self._arm(node, member)

    def _arm(self, node: int, member: Member) -> None:
        due = member.core.next_deadline()
        moment = int(due * SECOND)
        while moment / SECOND < due:
            moment += 1
        moment = max(moment, self.now)
        if moment != member.wake_at:
            member.wake_at = moment
            self.at(moment, self._wake, node, member, moment)

    # --- datagrams --------------------------------------------------------------------------------------

    def _perform(self, node: int, member: Member, steps: Iterable[object]) -> None:
        for step in steps:
            if isinstance(step, Send):
                self._send(node, member, step)
            elif isinstance(step, MemberFailed):
                self.verdicts.append((self.now, node, step.node, Status.FAILED))
            elif isinstance(step, MemberRecovered):
                self.verdicts.append((self.now, node, step.node, Status.ALIVE))
            else:
                assert isinstance(step, Log) or step is not None

    def _send(self, node: int, member: Member, step: Send) -> None:
        payload = encode_datagram(step.message)
        assert len(payload) <= DATAGRAM_PAYLOAD_MAX, "a payload is at most 1,200 bytes (G6)"
        member.sent += 1
        member.sent_bytes += len(payload) + OVERHEAD
        bits = self._net.bits()
        if (bits & 0xFFFFFFFF) / (1 << 32) < self.loss or self.cut(node, step.to):
            return
        low, high = self.delay_us
        delay = (low + (bits >> 32) % (high - low + 1)) * 1000
        self.at(self.now + delay, self._deliver, node, step.to, member.boot, payload)

    def _deliver(self, sender: int, to: int, boot: Boot, payload: bytes) -> None:
        member = self.members.get(to)
        if member is None:
            return
        if self.now < member.still_until:
            if len(member.inbox) < BUFFER:
                member.inbox.append((sender, boot, payload))
            return
        message = decode_datagram(payload)
        assert isinstance(message, Gossip | FactsWanted | FactsDelta)
        if self.tap is not None:
            self.tap(sender, to, message)
        self._perform(to, member, member.core.receive(NodeId(sender), boot, message, self.now / SECOND))
        self._arm(to, member)

    def replay(self, sender: int, to: int, boot: int, message: Message, after_ms: int) -> None:
        """An old datagram turns up once more (sealing forgets what it saw when a receiver starts anew)."""
        self.at(self.now + after_ms * MS, self._deliver, sender, to, Boot(boot), encode_datagram(message))

    # --- looking in -------------------------------------------------------------------------------------

    def status(self, by: int, of: int) -> Status:
        """What one node thinks of another."""
        return self.members[by].core.status(NodeId(of))

    def knows_all(self) -> bool:
        """Whether everybody thinks that everybody is alive."""
        return all(self.status(a, b) is Status.ALIVE for a in self.members for b in self.members if a != b)
