"""Which faults, in which order, how long apart: everything that a seed decides (pure).

A schedule is a deck of all kinds, shuffled and dealt again and again, so that none is left to luck; the kinds
that end a leadership are in it several times. What a fault hits is named by its role (`leader`, `follower`,
`gateway`); who that is shows only when it strikes.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Iterator

import msgspec

from cluster.namespaces import Link


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
    CUT_LEADER = "cut off leader"
    CUT_FOLLOWER = "cut off follower"
    CUT_GATEWAY = "cut off gateway"
    MUTE_LEADER = "leader is not heard"
    DEAF_LEADER = "leader hears nobody"
    DEAF_FOLLOWER = "follower hears nobody"
    CUT_LINK = "cut between leader and follower"
    SPLIT = "split: leader, follower and gateway on one side"


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
    (Kind.CUT_LEADER, 2),
    (Kind.CUT_FOLLOWER, 1),
    (Kind.CUT_GATEWAY, 1),
    (Kind.MUTE_LEADER, 1),
    (Kind.DEAF_LEADER, 1),
    (Kind.DEAF_FOLLOWER, 1),
    (Kind.CUT_LINK, 1),
    (Kind.SPLIT, 1),
)

TWO_PEERS = frozenset({Kind.KILL_BOTH, Kind.KILL_TWO_LEADERS, Kind.SPLIT})
"""Kinds that need a quorum of what two dead peers leave."""

GATEWAYS = frozenset({Kind.KILL_GATEWAY, Kind.DRAIN_GATEWAY, Kind.ROLL, Kind.CUT_GATEWAY, Kind.SPLIT})
"""Kinds that take a gateway away: its clients must have another one."""

CUTS = frozenset(
    {
        Kind.CUT_LEADER,
        Kind.CUT_FOLLOWER,
        Kind.CUT_GATEWAY,
        Kind.MUTE_LEADER,
        Kind.DEAF_LEADER,
        Kind.DEAF_FOLLOWER,
        Kind.CUT_LINK,
        Kind.SPLIT,
    }
)
"""Kinds that cut the network: only where every node has a namespace of its own."""

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


class Hit(msgspec.Struct, frozen=True):
    """Whom a fault hits, should it be its turn."""

    leader: int
    follower: int
    gateway: int


def severed(kind: Kind, hit: Hit, nodes: Collection[int]) -> tuple[frozenset[int], frozenset[Link]]:
    """Which nodes a cut strikes, and the links (from, to) that it takes away."""

    def between(some: Collection[int], *, to: bool = True, back: bool = True) -> frozenset[Link]:
        others = [node for node in nodes if node not in some]
        there = {(a, b) for a in some for b in others} if to else set()
        return frozenset(there | ({(b, a) for a in some for b in others} if back else set()))

    match kind:
        case Kind.CUT_FOLLOWER | Kind.DEAF_FOLLOWER:
            struck = frozenset({hit.follower})
        case Kind.CUT_GATEWAY:
            struck = frozenset({hit.gateway})
        case Kind.CUT_LINK:
            struck = frozenset({hit.leader, hit.follower})
            return struck, frozenset({(hit.leader, hit.follower), (hit.follower, hit.leader)})
        case Kind.SPLIT:
            struck = frozenset({hit.leader, hit.follower, hit.gateway})
        case _:
            struck = frozenset({hit.leader})
    deaf = kind in {Kind.DEAF_LEADER, Kind.DEAF_FOLLOWER}
    return struck, between(struck, to=not deaf, back=kind is not Kind.MUTE_LEADER)


def faults(seed: int, *, peers: int, gateways: int, cuts: bool) -> Iterator[Fault]:
    """The schedule of a seed, without end; only kinds that leave such a cluster able to serve.

    Without `cuts` the network stays whole, and the schedule is another one.
    """
    rng = random.Random(seed)  # noqa: S311 - a schedule is to be repeated, not to be unguessable
    possible = [
        kind
        for kind, times in DECK
        for _ in range(times)
        if (peers >= 5 or kind not in TWO_PEERS)  # noqa: PLR2004
        and (gateways >= 2 or kind not in GATEWAYS)  # noqa: PLR2004
        and (cuts or kind not in CUTS)
    ]
    number = 0
    while True:
        rng.shuffle(possible)
        for kind in possible:
            number += 1
            yield Fault(
                number, kind, round(rng.uniform(*PAUSE_S), 2), round(rng.uniform(*OUTAGE_S), 2), rng.random()
            )
