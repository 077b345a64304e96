"""Makes a failing schedule smaller: delta debugging over faults and clients, then nodes, knobs, length.

What is kept must fail in the same way (`kind`), or one defect would turn into another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TypeVar

import msgspec

from tests.simulation.schedule import LEADER, Cut, Fault, Knobs, Reset, Schedule, Slow
from tests.simulation.simulation import Report, run

T = TypeVar("T")
Fails = Callable[[Schedule], bool]

RUNS_MAX = 400
"""Tries of one shrinking."""

VOTERS_MIN = 3
"""Fewer are another cluster: one that no voter may leave."""

VARIES = re.compile(r"""b?'[^']*'|b?"[^"]*"|\([^()]*\)|\[[^][]*\]|\{[^{}]*\}""")
NUMBER = re.compile(r"-?\d[\w.]*")
PLACE = re.compile(r'File "(?:.*/)?([^"/]+)", (line \d+, in \w+)')


def kind(report: Report) -> str:
    """Which way of failing it was; empty when all held.

    That is what the violation says, without numbers and names of jobs, up to what it tells of the nodes. Of
    what a core raised or asserted, which may say nothing, it is the type and the place.
    """
    said = ": ".join(report.violation.split(": ", 2)[:2])
    while said != (shorter := VARIES.sub("", said)):
        said = shorter
    said = NUMBER.sub("#", said)
    if report.violation.startswith(("raised: ", "core: ")):
        places = PLACE.findall(report.where)
        said = " ".join((said, *(places[-1] if places else ())))
    return said


def shrink(schedule: Schedule, fails: Fails | None = None, most: int = RUNS_MAX) -> Schedule:
    """The smallest schedule found that still fails in the same way.

    Args:
        schedule: one that fails.
        fails: whether another one does; when not given: in the same way.
        most: runs that it may take.

    Raises:
        ValueError: it does not fail.
    """
    if fails is None:
        wanted = kind(run(schedule, validate_every=1))
        if not wanted:
            raise ValueError("all holds in this schedule: there is nothing to shrink")
        fails = _same(wanted)
    left = [most]

    def still(candidate: Schedule) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(candidate)

    small = schedule
    before = None
    while small != before:
        before = small
        small = _fewer_faults(small, still)
        small = _fewer_asks(small, still)
        small = _fewer_nodes(small, still)
        small = _calmer(small, still)
        small = _shorter(small, still)
    return small


def _same(wanted: str) -> Fails:
    return lambda candidate: kind(run(candidate, validate_every=1)) == wanted


def _fewer_faults(schedule: Schedule, still: Fails) -> Schedule:
    def only(faults: tuple[object, ...]) -> Schedule:
        return msgspec.structs.replace(schedule, faults=faults)

    return only(ddmin(schedule.faults, lambda faults: still(only(faults))))


def _fewer_asks(schedule: Schedule, still: Fails) -> Schedule:
    def only(asks: tuple[object, ...]) -> Schedule:
        return msgspec.structs.replace(schedule, asks=asks)

    return only(ddmin(schedule.asks, lambda asks: still(only(asks))))


def _fewer_nodes(schedule: Schedule, still: Fails) -> Schedule:
    """Without each worker and gateway, and each pair of voters, so that these stay odd, that it can spare."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller_clusters(schedule):
            if still(candidate):
                schedule, smaller = candidate, True
                break
    return schedule


def _smaller_clusters(schedule: Schedule) -> Iterator[Schedule]:
    for worker in schedule.worker_ids:
        yield without(schedule, worker)
    for gateway in schedule.gateway_ids if schedule.gateways > 1 else ():
        yield without(schedule, gateway)
    for pair in combinations(schedule.peer_ids, 2) if schedule.peers - 2 >= VOTERS_MIN else ():
        candidate = without(schedule, *pair)
        if len(candidate.broken) <= (candidate.peers - 1) // 2:  # those that are healed are a majority
            yield candidate


def without(schedule: Schedule, *gone: int) -> Schedule:
    """The schedule of a cluster that never had these nodes.

    Those after them move up, a client of a gateway that is gone asks the first, and what strikes only nodes
    that are gone does not happen.
    """
    nodes = schedule.node_ids
    left = [index for index, node in enumerate(nodes) if node not in gone]
    small = msgspec.structs.replace(
        schedule,
        peers=schedule.peers - len(set(gone) & set(schedule.peer_ids)),
        workers=schedule.workers - len(set(gone) & set(schedule.worker_ids)),
        gateways=schedule.gateways - len(set(gone) & set(schedule.gateway_ids)),
    )
    moved = {LEADER: LEADER, **{nodes[index]: new for index, new in zip(left, small.node_ids, strict=True)}}
    first = small.gateway_ids[0]
    knobs = schedule.knobs
    return msgspec.structs.replace(
        small,
        knobs=msgspec.structs.replace(
            knobs,
            drift_ppm=tuple(knobs.drift_ppm[index] for index in left) if knobs.drift_ppm else (),
            event_us=tuple(knobs.event_us[index] for index in left) if knobs.event_us else (),
        ),
        faults=tuple(kept for fault in schedule.faults if (kept := _aimed(fault, moved)) is not None),
        asks=tuple(msgspec.structs.replace(a, gateway=moved.get(a.gateway, first)) for a in schedule.asks),
        broken=tuple(moved[node] for node in schedule.broken if node in moved),
    )


def _aimed(fault: Fault, moved: dict[int, int]) -> Fault | None:
    """The fault where its nodes are now; None when one that it needs is gone."""
    match fault:
        case Cut() | Slow():
            there = [pair for pair in fault.pairs if set(pair) <= moved.keys()]
            pairs = tuple((moved[one], moved[other]) for one, other in there)
            return msgspec.structs.replace(fault, pairs=pairs) if pairs else None
        case Reset():
            one, other = fault.pair
            whole = {one, other} <= moved.keys()
            return msgspec.structs.replace(fault, pair=(moved[one], moved[other])) if whole else None
        case _:
            there_is = fault.node in moved
            return msgspec.structs.replace(fault, node=moved[fault.node]) if there_is else None


def _calmer(schedule: Schedule, still: Fails) -> Schedule:
    """All knobs back to what is usual, or one after the other; nobody left broken."""
    calm = Knobs()
    names = Knobs.__struct_fields__
    for some in (names, *((name,) for name in names)):
        knobs = msgspec.structs.replace(schedule.knobs, **{name: getattr(calm, name) for name in some})
        candidate = msgspec.structs.replace(schedule, knobs=knobs)
        if candidate != schedule and still(candidate):
            schedule = candidate
    candidate = msgspec.structs.replace(schedule, broken=())
    return candidate if candidate != schedule and still(candidate) else schedule


def _shorter(schedule: Schedule, still: Fails) -> Schedule:
    """Healed as soon after the last fault and the last client as it still fails."""
    least = 1 + max((one.at_ms for one in (*schedule.faults, *schedule.asks)), default=0)
    for quarters in range(4):
        chaos_ms = least + (schedule.chaos_ms - least) * quarters // 4
        candidate = msgspec.structs.replace(schedule, chaos_ms=chaos_ms)
        if chaos_ms < schedule.chaos_ms and still(candidate):
            return candidate
    return schedule


def ddmin(items: Sequence[T], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Zeller's delta debugging: a subset that fails and of which no part that was tried can be left out."""
    kept = tuple(items)
    if kept and fails(()):
        return ()
    parts = 2
    while len(kept) >= 2:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            if rest and fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(kept))
    return kept
