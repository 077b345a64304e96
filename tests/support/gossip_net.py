"""A few dozen `Membership` objects on a simulated network in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable

import attrs
import msgspec

from cluster.config import GossipSettings
from cluster.core.effects import FetchFacts, Log, MemberFailed, MemberRecovered, Send
from cluster.core.membership import Membership
from cluster.identity import Boot, NodeId, Role, Status
from cluster.wire.codec import decode_datagram, encode_datagram
from cluster.wire.messages import FactsDelta, FactsWanted, Gossip, NodeFacts

T = 1.0
SETTINGS = GossipSettings(interval_s=T)

Message = Gossip | FactsWanted | FactsDelta


def facts_of(node: int, boot: int = 1000, **more: object) -> NodeFacts:
    """First facts of a life."""
    return msgspec.structs.replace(NodeFacts(node=node, boot=boot, version=1, role=Role.PEER), **more)


def member(
    node: int = 1,
    others: Iterable[int] = (2, 3),
    *,
    boot: int = 1000,
    seed: int = 0,
    now: float = 0.0,
    settings: GossipSettings = SETTINGS,
) -> Membership:
    """One node's gossip by itself."""
    configured = frozenset(NodeId(other) for other in others)
    return Membership(settings, facts_of(node, boot), configured, random.Random(seed), now)


def round_trip(message: Message) -> Message:
    """Through the wire and back, at a length that fits a datagram (G6)."""
    heard = decode_datagram(encode_datagram(message))
    assert isinstance(heard, Message)
    return heard


@attrs.define
class Sent:
    """One datagram that left a node."""

    at: float
    sender: int
    to: int
    message: Message


class GossipNet:
    """Delivers datagrams with delay and loss, and calls each node exactly when it asked to be.

    Attributes:
        failed, recovered: (time, by whom, whom) of every verdict.
        cut: says which (sender, receiver) pairs can't reach each other now.
        paused: nodes that stand still; their datagrams wait for them.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        loss: float = 0.0,
        configured: Callable[[int], Iterable[int]] | None = None,
    ) -> None:
        self.now = 0.0
        self.loss = loss
        self.seed = seed
        self.rng = random.Random(seed)
        self.nodes: dict[int, Membership] = {}
        self.boots: dict[int, int] = {}
        self.paused: set[int] = set()
        self.cut: Callable[[int, int], bool] = lambda _sender, _to: False
        self.sent: list[Sent] = []
        self.failed: list[tuple[float, int, int]] = []
        self.recovered: list[tuple[float, int, int]] = []
        self.logs: list[Log] = []
        self.fetches: list[FetchFacts] = []
        self._count = count
        self._configured = configured or (lambda _node: range(count))
        self._queue: list[tuple[float, int, int, int, Message | None]] = []
        self._waiting: dict[int, list[tuple[int, Message]]] = {}
        self._armed: dict[int, float] = {}
        self._order = itertools.count()
        for node in range(count):
            self.start(node, at=self.rng.random() * T)

    def start(self, node: int, *, boot: int = 1000, at: float | None = None) -> None:
        """Begin a life of a node."""
        self.boots[node] = boot
        self.nodes[node] = member(
            node,
            self._configured(node),
            boot=boot,
            seed=self.seed * 1000 + node,
            now=self.now if at is None else at,
        )
        self._arm(node)

    def kill(self, node: int) -> None:
        """It is gone without a word."""
        del self.nodes[node]
        self._armed.pop(node)

    def resume(self, node: int) -> None:
        """A paused node finds its late timer and what came meanwhile."""
        self.paused.discard(node)
        for sender, message in self._waiting.pop(node, []):
            self._deliver(sender, node, message)
        self._perform(node, self.nodes[node].tick(self.now))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            at, _, node, sender, message = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            if node not in self.nodes:
                continue
            if node in self.paused:
                if message is not None:
                    self._waiting.setdefault(node, []).append((sender, message))
            elif message is not None:
                self._deliver(sender, node, message)
            elif self._armed[node] == at:
                self._perform(node, self.nodes[node].tick(at))
        self.now = until
        for membership in self.nodes.values():
            membership.validate()

    def statuses(self, by: int) -> dict[int, Status]:
        """What one node thinks of all."""
        return {view.node: view.status for view in self.nodes[by].snapshot(self.now).members}

    def all_alive(self) -> bool:
        """Everybody that runs thinks that everybody that runs is alive."""
        return all(
            statuses.get(other) is Status.ALIVE
            for statuses in map(self.statuses, self.nodes)
            for other in self.nodes
        )

    def _deliver(self, sender: int, node: int, message: Message) -> None:
        boot = Boot(self.boots[sender])
        self._perform(node, self.nodes[node].receive(NodeId(sender), boot, message, self.now))

    def _perform(self, node: int, steps: Iterable[object]) -> None:
        for step in steps:
            if isinstance(step, Send):
                self._send(node, step)
            elif isinstance(step, MemberFailed):
                self.failed.append((self.now, node, step.node))
            elif isinstance(step, MemberRecovered):
                self.recovered.append((self.now, node, step.node))
            elif isinstance(step, FetchFacts):
                self.fetches.append(step)
            elif isinstance(step, Log):
                self.logs.append(step)
        self._arm(node)

    def _send(self, node: int, step: Send) -> None:
        assert isinstance(step.message, Gossip | FactsWanted | FactsDelta)
        message = round_trip(step.message)
        self.sent.append(Sent(self.now, node, step.to, message))
        if self.rng.random() < self.loss or self.cut(node, step.to):
            return
        delay = 0.001 + 0.01 * self.rng.random()
        heapq.heappush(self._queue, (self.now + delay, next(self._order), step.to, node, message))

    def _arm(self, node: int) -> None:
        deadline = self.nodes[node].next_deadline()
        if self._armed.get(node) != deadline:
            self._armed[node] = deadline
            heapq.heappush(self._queue, (deadline, next(self._order), node, node, None))
