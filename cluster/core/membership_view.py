"""What may be seen of a node's table of the others from outside (G1-G5): frozen values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cluster.identity import Boot, NodeId, Status
from cluster.wire.messages import NodeFacts


class MemberView(msgspec.Struct, frozen=True):
    """One line of the table; `heartbeat_age_s` is by the local clock, excused silence left out (G4)."""

    node: NodeId
    status: Status
    boot: Boot
    heartbeat: int
    heartbeat_age_s: float
    facts: NodeFacts | None


class MembershipSnapshot(msgspec.Struct, frozen=True):
    """What one node knows of all, itself included, in order of node id.

    Attributes:
        stretch: factor on its timeouts; above 1 it doubts itself (G4).
        counters: rounds, refutations, facts fetched, and rows dropped by reason.
    """

    members: tuple[MemberView, ...]
    stretch: float
    counters: Mapping[str, int]
