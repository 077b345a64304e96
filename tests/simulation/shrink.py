"""Makes a failing schedule smaller: delta debugging over its faults and clients, then over its knobs.

What is kept must fail by the same invariant (the first word of the violation), or one defect would turn into
another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from tests.simulation.schedule import Knobs, Schedule
from tests.simulation.simulation import run

T = TypeVar("T")
Fails = Callable[[Schedule], bool]

RUNS_MAX = 400
"""Tries of one shrinking."""

_CALM: dict[str, object] = {
    "loss": 0.0,
    "duplicate": 0.0,
    "tail": 0.0,
    "delay_us": (150, 500),
    "disk_us": (800, 1400),
    "drift_ppm": (),
    "event_us": (),
    "queue": 500,
    "buffer": 200,
}


def kind(violation: str) -> str:
    """Which invariant it was."""
    return violation.split(" ", 1)[0].rstrip(":")


def shrink(schedule: Schedule, fails: Fails | None = None, most: int = RUNS_MAX) -> Schedule:
    """The smallest schedule found that still fails in the same way.

    Args:
        schedule: one that fails.
        fails: whether another one does; when not given: by the same invariant.
        most: runs that it may take.

    Raises:
        ValueError: it does not fail.
    """
    if fails is None:
        wanted = kind(run(schedule, validate_every=1).violation)
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
        small = _calmer(small, still)
    return small


def _same(wanted: str) -> Fails:
    return lambda candidate: kind(run(candidate, validate_every=1).violation) == wanted


def _fewer_faults(schedule: Schedule, still: Fails) -> Schedule:
    def without(faults: tuple[object, ...]) -> Schedule:
        return msgspec.structs.replace(schedule, faults=faults)

    return without(ddmin(schedule.faults, lambda faults: still(without(faults))))


def _fewer_asks(schedule: Schedule, still: Fails) -> Schedule:
    def without(asks: tuple[object, ...]) -> Schedule:
        return msgspec.structs.replace(schedule, asks=asks)

    return without(ddmin(schedule.asks, lambda asks: still(without(asks))))


def _calmer(schedule: Schedule, still: Fails) -> Schedule:
    """One knob after the other back to what is usual; nobody left broken; no extra nodes."""
    for name, calm in _CALM.items():
        knobs: Knobs = msgspec.structs.replace(schedule.knobs, **{name: calm})
        candidate = msgspec.structs.replace(schedule, knobs=knobs)
        if candidate != schedule and still(candidate):
            schedule = candidate
    if schedule.broken:
        candidate = msgspec.structs.replace(schedule, broken=())
        if still(candidate):
            schedule = candidate
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
