"""Which faults, in which order, how long apart: everything that a seed decides (pure).

A schedule is a deck of all kinds, shuffled and dealt again and again, so that none is left to luck; the kinds
that end a leadership are in it several times. What a fault hits is named by its role (`leader`, `follower`,
`gateway`); who that is shows only when it strikes.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator

import msgspec


class Kind(enum.StrEnum):
    """What happens to the cluster."""

    KILL_LEADER = "kill -9 leader"
    KILL_FOLLOWER = "kill -9 follower"
    KILL_BOTH = "kill -9 leader and follower"
    KILL_TWO_LEADERS = "kill -9 two leaders in a row"
    KILL_GATEWAY = "kill -9 gateway"
    PAUSE_LEADER = "SIGSTOP leader"
    PAUSE_FOLLOWER = "SIGSTOP follower"
    DRAIN_LEADER = "SIGTERM leader"
    DRAIN_FOLLOWER = "SIGTERM follower"
    DRAIN_GATEWAY = "SIGTERM gateway"
    ROLL = "rolling restart"


DECK: tuple[tuple[Kind, int], ...] = (
    (Kind.KILL_LEADER, 4),
    (Kind.KILL_FOLLOWER, 2),
    (Kind.KILL_BOTH, 1),
    (Kind.KILL_TWO_LEADERS, 1),
    (Kind.KILL_GATEWAY, 1),
    (Kind.PAUSE_LEADER, 2),
    (Kind.PAUSE_FOLLOWER, 2),
    (Kind.DRAIN_LEADER, 1),
    (Kind.DRAIN_FOLLOWER, 1),
    (Kind.DRAIN_GATEWAY, 1),
    (Kind.ROLL, 1),
)

TWO_PEERS = frozenset({Kind.KILL_BOTH, Kind.KILL_TWO_LEADERS})
"""Kinds that need a quorum of what two dead peers leave."""

GATEWAYS = frozenset({Kind.KILL_GATEWAY, Kind.DRAIN_GATEWAY, Kind.ROLL})
"""Kinds that take a gateway away: its clients must have another one."""

PAUSE_S = (1.0, 6.0)
"""Between a healed cluster and the next fault."""

OUTAGE_S = (0.5, 6.0)
"""How long what was hit stays away."""


class Fault(msgspec.Struct, frozen=True):
    """One entry of a schedule.

    Attributes:
        number: from 1.
        pause_s: after the cluster has healed from the fault before.
        outage_s: until what was hit comes back.
        pick: from 0 to below 1: which of several followers or gateways.
    """

    number: int
    kind: Kind
    pause_s: float
    outage_s: float
    pick: float


def faults(seed: int, *, peers: int, gateways: int) -> Iterator[Fault]:
    """The schedule of a seed, without end; only kinds that leave such a cluster able to serve."""
    rng = random.Random(seed)  # noqa: S311 - a schedule is to be repeated, not to be unguessable
    possible = [
        kind
        for kind, times in DECK
        for _ in range(times)
        if (peers >= 5 or kind not in TWO_PEERS) and (gateways >= 2 or kind not in GATEWAYS)  # noqa: PLR2004
    ]
    number = 0
    while True:
        rng.shuffle(possible)
        for kind in possible:
            number += 1
            yield Fault(
                number, kind, round(rng.uniform(*PAUSE_S), 2), round(rng.uniform(*OUTAGE_S), 2), rng.random()
            )
