"""A small share of the seeds goes on for longer than patience lasts and than a vote takes to be regained.

Whatever else such a seed has is moved apart: what came first stays there, the rest comes at the end, and the
middle is long enough for ten seconds of one thing (W11, N5).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tests.simulation.chance import Chance, Stream
from tests.simulation.schedule import LEADER, Ask, Crash, Cut, Fault, Knobs, Schedule, both_ways

SHARE = 0.03

LONG_MS = 25_000

DEADLINE_S = 12
"""Of a job, in half of these seeds: a program that takes longer is stopped, and its client told so (W4)."""

ENDLESS_MS = 18_000

_Happening = TypeVar("_Happening", Fault, Ask)


def lengthen(chance: Chance, short: Schedule) -> Schedule:
    """The same schedule, or now and then a long one made of it; the draws are nobody else's."""
    draw = chance.stream("long")
    if not draw.is_lucky(SHARE):
        return short
    late, kind = draw.is_lucky(0.3), draw.between(0, 3)
    shift = LONG_MS - short.chaos_ms
    until = 0 if late else short.chaos_ms // 2
    faults = [_moved(fault, shift if fault.at_ms >= until else 0) for fault in short.faults]
    asks = [_moved(ask, shift if late else draw.between(0, shift)) for ask in short.asks]
    if kind >= 2 and not short.new:  # N5: a vote can't be lost before it is gained
        faults += _regained(draw, short)
        broken: tuple[int, ...] = ()  # a missing vote and a broken node may be more than a minority
    else:
        at, length = draw.between(1500, 10_000), draw.between(10_500, 14_000)
        faults += _in_vain(draw, short, at, length)
        asks += _some(draw, short, at + 300, 5, 50)
        broken = short.broken
    deadline_s = Knobs().deadline_s
    if draw.is_lucky(0.5):
        deadline_s = DEADLINE_S
        asks += _some(draw, short, 500, 2, ENDLESS_MS)
    return msgspec.structs.replace(
        short,
        knobs=msgspec.structs.replace(short.knobs, deadline_s=deadline_s),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_ms)),
        asks=tuple(asks),
        chaos_ms=LONG_MS,
        broken=broken,
    )


def _moved(happening: _Happening, by_ms: int) -> _Happening:
    return msgspec.structs.replace(happening, at_ms=happening.at_ms + by_ms)


def _some(draw: Stream, shape: Schedule, at: int, count: int, run_ms: int) -> list[Ask]:
    """Clients within two seconds."""
    gateways = shape.gateway_ids
    return [Ask(at + draw.between(0, 2000), draw.pick(gateways), run_ms) for _ in range(count)]


def _in_vain(draw: Stream, shape: Schedule, at: int, length: int) -> list[Fault]:
    """For longer than a client waits there is no majority, or none that its gateway hears of (W11)."""
    how, mixed = draw.between(0, 2), draw.some(shape.peer_ids, shape.peers)
    few = (shape.peers - 1) // 2
    if how == 0:
        return [Crash(at + draw.between(0, 200), node, length) for node in mixed[few:]]
    if how == 1:
        parts = (mixed[:few], mixed[few : 2 * few], mixed[2 * few :])
        pairs = tuple(p for i in range(3) for other in parts[i + 1 :] for p in both_ways(parts[i], other))
        return [Cut(at, length, pairs)]
    gateway = draw.pick(shape.gateway_ids)
    return [Cut(at, length, both_ways((gateway,), tuple(n for n in shape.node_ids if n != gateway)))]


def _regained(draw: Stream, shape: Schedule) -> list[Fault]:
    """A disk is lost early; late, so many others go that no epoch begins without that voter (N5)."""
    lost = 1 + shape.seed % shape.peers  # as the other faults have it: never two votes at once
    at = draw.between(18_000, 22_000)
    gone = (LEADER, *draw.some(tuple(n for n in shape.peer_ids if n != lost), (shape.peers - 1) // 2 - 1))
    return [
        Crash(draw.between(300, 2000), lost, draw.between(20, 1800), power=True, wipe=True),
        *(Crash(at, node, draw.between(1500, 4000), power=draw.is_lucky(0.5)) for node in gone),
    ]
