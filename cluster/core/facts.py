"""What nodes say of themselves: versioned, owned by the speaker, relayed by everyone (G5).

A digest (the `version` of a gossip row) only ever advertises facts that this node holds and can hand on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cluster.identity import NodeId
from cluster.limits import DATAGRAM_PAYLOAD_MAX, FACTS_MAX
from cluster.wire.messages import FactsDelta, FactsWanted, NodeFacts

Known = tuple[int, int, int]
"""(node, boot, version) of facts held; boot and version are 0 for none."""

TRIMMED = ("trouble", "sandbox", "software", "java", "host")
"""Texts that give way when facts are too long, in the order of what people miss least."""

ENVELOPE_MAX = 32
"""Bytes of a gossip message around its rows, facts or known versions."""

_encoder = msgspec.msgpack.Encoder()


def encoded_size(value: object) -> int:
    """Bytes that this takes on the wire."""
    return len(_encoder.encode(value))


def trim(facts: NodeFacts) -> NodeFacts:
    """Shorten texts until the facts fit `FACTS_MAX`; numbers are never touched."""
    for name in TRIMMED:
        while encoded_size(facts) > FACTS_MAX and (text := getattr(facts, name)):
            facts = msgspec.structs.replace(facts, **{name: text[: len(text) // 2]})
    return facts


def fitting(items: Iterable[Any], room: int = DATAGRAM_PAYLOAD_MAX - ENVELOPE_MAX) -> tuple[Any, ...]:
    """The first of these that fit one datagram together (G6)."""
    taken = []
    for item in items:
        room -= encoded_size(item)
        if room < 0:
            break
        taken.append(item)
    return tuple(taken)


class FactsStore:
    """This node's own facts, and the newest known of everybody else's."""

    def __init__(self, own: NodeFacts) -> None:
        """Start with the facts of this life."""
        self.own = trim(own)
        self._others: dict[NodeId, NodeFacts] = {}

    def update(self, changes: Mapping[str, object]) -> bool:
        """Change own facts; the version rises only when something is different."""
        assert not {"node", "boot", "version"} & changes.keys(), "a node's identity is no fact to change"
        if all(getattr(self.own, name) == value for name, value in changes.items()):
            return False  # asked after every event: only a change is worth measuring
        changed = trim(msgspec.structs.replace(self.own, **changes))
        if changed == self.own:
            return False
        self.own = trim(msgspec.structs.replace(changed, version=self.own.version + 1))
        return True

    def get(self, node: NodeId) -> NodeFacts | None:
        """The newest facts held about a node."""
        return self.own if node == self.own.node else self._others.get(node)

    def version(self, node: NodeId, boot: int) -> int:
        """The version to advertise for this life of a node: 0 when its facts are not held."""
        facts = self._others.get(node) or self.get(node)
        return facts.version if facts is not None and facts.boot == boot else 0

    def lacks(self, node: NodeId, boot: int, version: int) -> bool:
        """Whether somebody who advertises this has news for us."""
        facts = self._others.get(node)
        if facts is None or boot > facts.boot:
            return version > 0
        return boot == facts.boot and version > facts.version

    def accept(self, facts: NodeFacts) -> bool:
        """Keep newer facts of another node; ignore older or too long ones, and claims about ourselves."""
        if facts.node == self.own.node or encoded_size(facts) > FACTS_MAX:
            return False
        node = NodeId(facts.node)
        if not self.lacks(node, facts.boot, facts.version):
            return False
        self._others[node] = facts
        return True

    def forget(self, node: NodeId) -> None:
        """Its row is gone."""
        self._others.pop(node, None)

    def known(self, nodes: Iterable[NodeId]) -> tuple[Known, ...]:
        """What is held about these."""
        held = ((node, self.get(node)) for node in nodes)
        return tuple((node, f.boot, f.version) if f else (node, 0, 0) for node, f in held)

    def newer_than(self, known: Iterable[Known]) -> tuple[NodeFacts, ...]:
        """Everything held that is newer than these; nodes not listed count as unknown."""
        theirs = {node: (boot, version) for node, boot, version in known}
        everything = (self.own, *self._others.values())
        return tuple(f for f in everything if (f.boot, f.version) > theirs.get(f.node, (0, 0)))

    def wanted(self, nodes: Sequence[NodeId]) -> tuple[FactsWanted, bool]:
        """Ask for as many of these as one datagram can answer, unknown ones first; say if that leaves any.

        Nodes say much the same of themselves, so our own facts measure the others'.
        """
        ordered = sorted(self.known(nodes), key=lambda held: held[1:] != (0, 0))
        most = max(1, (DATAGRAM_PAYLOAD_MAX - ENVELOPE_MAX) // encoded_size(self.own))
        return FactsWanted(fitting(ordered[:most])), len(ordered) > most

    def delta(self, wanted: FactsWanted) -> FactsDelta | None:
        """Answer, with as much as fits, and only about the nodes asked for."""
        found = []
        for node, boot, version in wanted.known:
            facts = self.get(NodeId(node))
            if facts is not None and (facts.boot, facts.version) > (boot, version):
                found.append(facts)
        return FactsDelta(fitting(found)) if found else None

    def validate(self, nodes: Iterable[NodeId]) -> None:
        """Assert the bounds: facts only of nodes with a row, each fit for a datagram."""
        assert encoded_size(self.own) <= FACTS_MAX
        assert set(self._others) <= set(nodes), "facts go with their row"
