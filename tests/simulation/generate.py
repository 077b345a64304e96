"""A seed becomes a schedule: swarm testing, each seed with some classes of faults and not the others."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.chance import Chance, Stream
from tests.simulation.long_chaos import lengthen
from tests.simulation.schedule import (
    LEADER,
    Ask,
    BadDisk,
    Crash,
    Cut,
    DiskFault,
    Fault,
    Freeze,
    Knobs,
    Reset,
    Schedule,
    Slow,
    Stop,
    WallStep,
    both_ways,
)

RHO_PPM = 30_000
"""The drift that the shipped profiles allow for: 3 %."""

WILD_PPM = 400_000
"""Beyond it, in seeds that promise only I5."""

CHAOS_MS = 7000
"""But for a small share of the seeds: `long_chaos`."""

THIN = 0.08
"""In a fifth of the seeds a class is there this seldom, so that one cause stands alone."""


def generate(seed: int, *, peers: int = 0) -> Schedule:
    """The schedule of a seed; `peers` is 3 or 5 when not given."""
    chance = Chance(seed)
    draw = chance.stream("shape")
    peers = peers or (5 if draw.is_lucky(0.6) else 3)
    bare = Schedule(
        seed=seed,
        peers=peers,
        workers=draw.between(0, 1),
        gateways=draw.between(1, 2),
        new=draw.is_lucky(0.05),
    )
    bounded = not draw.is_lucky(0.1)
    faults = _faults(chance, bare)
    broken = draw.some(bare.peer_ids, (peers - 1) // 2) if draw.is_lucky(0.15) else ()
    if broken and draw.is_lucky(0.5):
        broken = (LEADER, *broken[1:])
    if bare.new or any(isinstance(fault, Crash) and fault.wipe for fault in faults):
        broken = ()  # a missing vote and a broken node together may be more than a minority
    short = Schedule(
        seed=seed,
        peers=peers,
        workers=bare.workers,
        gateways=bare.gateways,
        knobs=_knobs(chance.stream("knobs"), len(bare.node_ids), bounded=bounded),
        faults=faults,
        asks=_asks(chance.stream("asks"), bare),
        chaos_ms=CHAOS_MS,
        broken=broken,
        bounded=bounded,
        new=bare.new,
    )
    return lengthen(chance, short)


def _knobs(draw: Stream, nodes: int, *, bounded: bool) -> Knobs:
    drift = RHO_PPM if bounded else WILD_PPM
    still = draw.is_lucky(0.3) and bounded  # wild clocks that stand still would be tame
    lazy = draw.is_lucky(0.15)
    return Knobs(
        loss=(0.0, 0.0, 0.02, 0.1, 0.2, 0.3)[draw.between(0, 5)],
        duplicate=(0.0, 0.0, 0.02, 0.2)[draw.between(0, 3)],
        delay_us=((150, 500), (150, 500), (200, 3000), (1000, 30_000))[draw.between(0, 3)],
        tail=(0.0, 0.001, 0.02)[draw.between(0, 2)],
        tail_ms=(50, 400, 3000)[draw.between(0, 2)],
        queue=(500, 500, 20)[draw.between(0, 2)],
        buffer=(200, 200, 10)[draw.between(0, 2)],
        disk_us=((800, 1400), (800, 1400), (5000, 30_000))[draw.between(0, 2)],
        drift_ppm=tuple(0 if still else _drift(draw, drift, bounded=bounded) for _ in range(nodes)),
        event_us=tuple(draw.between(50, 600) if lazy else 0 for _ in range(nodes)),
        stuck_s=(8, 3)[draw.between(0, 1)],
    )


def _drift(draw: Stream, most: int, *, bounded: bool) -> int:
    """Parts per million; a clock without a bound is as fast or as slow as it gets."""
    return draw.between(-most, most) if bounded else draw.pick((-most, most))


def _asks(draw: Stream, shape: Schedule) -> tuple[Ask, ...]:
    count = draw.between(2, 24)
    return tuple(
        Ask(
            at_ms=draw.between(50, CHAOS_MS - 50),
            gateway=draw.pick(shape.gateway_ids),
            run_ms=(5, 50, 400, 1500)[draw.between(0, 3)],
            leave_ms=draw.between(1, 1500) if draw.is_lucky(0.15) else 0,
            like=draw.between(1, 3) if draw.is_lucky(0.15) else 0,
        )
        for _ in range(count)
    )


def _faults(chance: Chance, shape: Schedule) -> tuple[Fault, ...]:
    draw = chance.stream("swarm")
    found: list[Fault] = []
    share = THIN if draw.is_lucky(0.2) else 0.35
    for name, make in _CLASSES.items():
        active, most = draw.is_lucky(share), draw.between(1, 4)
        if active and not (shape.new and name == "wipe"):  # N5: a vote can't be lost before it is gained
            stream = chance.stream(name)
            for _ in range(most):
                found.extend(make(stream, shape))
    return tuple(sorted(found, key=lambda fault: fault.at_ms))


def _when(draw: Stream) -> int:
    return draw.between(20, CHAOS_MS - 400)


def _peer(draw: Stream, shape: Schedule) -> int:
    """A voter: often the one that leads by then, for that is where it hurts."""
    return LEADER if draw.is_lucky(0.5) else draw.pick(shape.peer_ids)


def _crash(draw: Stream, shape: Schedule) -> list[Fault]:
    node = draw.pick(shape.node_ids) if draw.is_lucky(0.3) else _peer(draw, shape)
    return [Crash(_when(draw), node, draw.between(20, 2500), power=draw.is_lucky(0.5))]


def _crash_all(draw: Stream, shape: Schedule) -> list[Fault]:
    """A power cut: many at nearly the same time, which is what finds a write that was not durable."""
    at, power = _when(draw), draw.is_lucky(0.7)
    some = draw.some(shape.peer_ids, draw.between(2, shape.peers))
    return [Crash(at + draw.between(0, 5), node, draw.between(20, 300), power=power) for node in some]


def _wipe(draw: Stream, shape: Schedule) -> list[Fault]:
    """A lost disk: the same voter each time, so that the others are a majority with the vote."""
    return [Crash(_when(draw), 1 + shape.seed % shape.peers, draw.between(20, 1800), power=True, wipe=True)]


def _stop(draw: Stream, shape: Schedule) -> list[Fault]:
    """Also of a gateway: who asks it meanwhile is refused (W10)."""
    node = draw.pick(shape.gateway_ids) if draw.is_lucky(0.2) else _peer(draw, shape)
    return [Stop(_when(draw), node, draw.between(50, 1500))]


def _freeze(draw: Stream, shape: Schedule) -> list[Fault]:
    length = (60, 300, 700, 1500, 3500)[draw.between(0, 4)]
    node = draw.pick(shape.node_ids) if draw.is_lucky(0.3) else _peer(draw, shape)
    return [Freeze(_when(draw), node, draw.between(length // 2, length), timers_first=draw.is_lucky(0.5))]


def _hiccups(draw: Stream, shape: Schedule) -> list[Fault]:
    """One node's loop is late again and again."""
    node, start = _peer(draw, shape), _when(draw)
    return [Freeze(start + 150 * i, node, draw.between(20, 120), timers_first=i % 2 == 0) for i in range(5)]


def _length(draw: Stream) -> int:
    return (100, 450, 800, 1500, 4000)[draw.between(0, 4)] * draw.between(60, 100) // 100


def _one_way(draw: Stream, shape: Schedule) -> list[Fault]:
    one = _peer(draw, shape)
    some = draw.some(tuple(n for n in shape.node_ids if n != one), draw.between(1, len(shape.node_ids) - 1))
    pairs = tuple((one, n) if draw.is_lucky(0.5) else (n, one) for n in some)
    return [Cut(_when(draw), _length(draw), pairs, datagrams_only=draw.is_lucky(0.4))]


def _deaf(draw: Stream, shape: Schedule) -> list[Fault]:
    """A node hears nobody, or is heard by nobody."""
    one, hears = _peer(draw, shape), draw.is_lucky(0.5)
    pairs = tuple((one, n) if hears else (n, one) for n in shape.node_ids if n != one)
    return [Cut(_when(draw), _length(draw), pairs, datagrams_only=draw.is_lucky(0.4))]


def _partition(draw: Stream, shape: Schedule) -> list[Fault]:
    some = draw.some(shape.node_ids, draw.between(1, len(shape.node_ids) - 1))
    rest = tuple(n for n in shape.node_ids if n not in some)
    return [Cut(_when(draw), _length(draw), both_ways(some, rest))]


def _bridge(draw: Stream, shape: Schedule) -> list[Fault]:
    """Two halves that only one node hears both of."""
    mixed = draw.some(shape.peer_ids, shape.peers)
    half = shape.peers // 2
    return [Cut(_when(draw), _length(draw), both_ways(mixed[:half], mixed[half + 1 :]))]


def _pair(draw: Stream, shape: Schedule) -> list[Fault]:
    one, other = draw.some(shape.peer_ids, 2)
    return [Cut(_when(draw), _length(draw), ((one, other), (other, one)))]


def _slow(draw: Stream, shape: Schedule) -> list[Fault]:
    one = _peer(draw, shape)
    pairs = both_ways((one,), tuple(n for n in shape.node_ids if n != one))
    return [Slow(_when(draw), _length(draw), pairs, (20, 120, 350, 700)[draw.between(0, 3)])]


def _reset(draw: Stream, shape: Schedule) -> list[Fault]:
    one, other = draw.some(shape.node_ids, 2)
    one = LEADER if draw.is_lucky(0.5) else one
    return [Reset(_when(draw), (one, other)) for _ in range(draw.between(1, 4))]


def _siege(draw: Stream, shape: Schedule) -> list[Fault]:
    """Each voter loses the leader at a moment of its own, for about as long as leases and guards last.

    What breaks a lease is no long fault: it is a voter whose guard is over, another that has only just
    acknowledged, and a third that begins anew in between.
    """
    at, found = _when(draw), list[Fault]()
    for peer in shape.peer_ids:
        start, length = at + draw.between(0, 900), draw.between(250, 1100)
        found.append(Cut(start, length, ((LEADER, peer),), datagrams_only=draw.is_lucky(0.8)))
        how, later = draw.between(0, 3), start + draw.between(0, 150)
        if how <= 1:
            found.append(Reset(later, (LEADER, peer)))
        elif how == 2:
            found.append(Crash(later, peer, draw.between(20, 80)))
    return found


def _last_straw(draw: Stream, shape: Schedule) -> list[Fault]:
    """A minority has long lost the leader; then those that its lease rests on lose it, and know at once.

    Whoever has waited for long may ask those that have only just acknowledged: their guard must hold (L4).
    """
    at, second = _when(draw), draw.between(620, 1000)
    mixed = draw.some(shape.peer_ids, shape.peers)
    found: list[Fault] = []
    for place, peer in enumerate(mixed):
        long_lost = place < (shape.peers + 1) // 2  # the leader may be among them
        start = at if long_lost else at + second
        found.append(Cut(start, 1600 if long_lost else 700, ((LEADER, peer),), datagrams_only=True))
        if not long_lost:
            found.append(Reset(start + draw.between(0, 20), (LEADER, peer)))
    return found


def _half_open(draw: Stream, shape: Schedule) -> list[Fault]:
    """What a node says no longer reaches the leader, though it hears it; then the channel is reset."""
    at, length = _when(draw), draw.between(100, 1200)
    nodes = shape.gateway_ids if draw.is_lucky(0.7) else shape.node_ids
    one = draw.pick(nodes)
    return [Cut(at, length, ((one, LEADER),)), Reset(at + length - 10, (LEADER, one))]


def _resets(draw: Stream, shape: Schedule) -> list[Fault]:
    """The leader's channels to all others break again and again, though nobody is lost (M13)."""
    at, every = _when(draw), draw.between(100, 400)
    others = (*shape.peer_ids, *shape.worker_ids)
    return [Reset(at + every * i, (LEADER, other)) for i in range(4) for other in others]


def _disk(draw: Stream, shape: Schedule) -> list[Fault]:
    kinds: tuple[DiskFault, ...] = ("error", "full", "slow")
    kind = kinds[draw.between(0, 2)]
    return [BadDisk(_when(draw), draw.between(200, 2500), _peer(draw, shape), kind)]


def _wall(draw: Stream, shape: Schedule) -> list[Fault]:
    return [WallStep(_when(draw), draw.pick(shape.node_ids), draw.between(0, 7200))]


_CLASSES: dict[str, Callable[[Stream, Schedule], list[Fault]]] = {
    "crash": _crash,
    "crash_all": _crash_all,
    "wipe": _wipe,
    "stop": _stop,
    "freeze": _freeze,
    "hiccups": _hiccups,
    "one_way": _one_way,
    "deaf": _deaf,
    "partition": _partition,
    "bridge": _bridge,
    "pair": _pair,
    "slow": _slow,
    "reset": _reset,
    "resets": _resets,
    "siege": _siege,
    "last_straw": _last_straw,
    "half_open": _half_open,
    "disk": _disk,
    "wall": _wall,
}
