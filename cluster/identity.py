"""The words that every floor uses: who a node is, and what it is doing.

*Round* orders ballots and lives in memory; *epoch* is authority and is durable; *boot* counts a
node's lives and is durable (rule N2). Three names, never mixed.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from typing import NewType

NodeId = NewType("NodeId", int)
"""A configured node's number; it also breaks ties between votes (E1)."""

Round = NewType("Round", int)
Epoch = NewType("Epoch", int)
Boot = NewType("Boot", int)

JobId = NewType("JobId", str)
"""32 lower-case hexadecimal digits: 128 random bits made by a gateway (W1)."""

NO_EPOCH = Epoch(0)
"""What a record holds before any leader was accepted."""

MAX_EPOCH_JUMP = 2**20
"""A larger step above the highest epoch known is refused (N6): one bad number must not use up the space."""

EPOCH_STEP = MAX_EPOCH_JUMP // 2
"""A proposal rises by no more for what others said, so that whoever hears of it can still follow (N6)."""

MAX_BOOT = 2**33
"""A boot is UTC seconds or one more than the last (N3): one above this, of the year 2242, is refused (X1)."""


class Role(enum.StrEnum):
    """What a node is configured to be."""

    PEER = "peer"
    """Votes; works when it follows."""
    WORKER = "worker"
    """Works; never votes."""
    GATEWAY = "gateway"
    """Faces clients; neither votes nor works."""


class State(enum.StrEnum):
    """What a node does now."""

    LOOKING = "LOOKING"
    FOLLOWING = "FOLLOWING"
    LEADING = "LEADING"
    OBSERVING = "OBSERVING"


class Status(enum.StrEnum):
    """What one node thinks of another's health, by its own clock (G2, G3)."""

    UNKNOWN = "UNKNOWN"
    ALIVE = "ALIVE"
    SUSPECT = "SUSPECT"
    FAILED = "FAILED"


def voters_hash(cluster_id: str, voters: Iterable[NodeId]) -> str:
    """Sixteen hexadecimal digits that name a voter list (N1).

    Election datagrams and the durable record carry it, so that two different ideas of who votes never meet.
    """
    text = ",".join(str(voter) for voter in sorted(voters))
    return hashlib.sha256(f"{cluster_id}:{text}".encode()).hexdigest()[:16]
