"""Throughput and latency of the last minutes, for the page (H7): bounded whatever comes."""

from __future__ import annotations

import math
from collections import Counter, deque

import attrs

from cluster.gateway.schemas import Interval, Stats

INTERVAL_S = 2.0
INTERVALS = 150
"""Five minutes."""

_SMALLEST_S = 1e-4
_GROWTH = 1.1
"""Latencies are counted in classes, each a tenth wider than the last: so far a percentile may be off."""
_CLASSES = 200


@attrs.define
class _Interval:
    number: int
    answers: int = 0
    failures: int = 0
    cached: int = 0
    classes: Counter[int] = attrs.field(factory=Counter)


class Recent:
    """Counts answers by the interval in which they went out."""

    def __init__(self) -> None:
        self._intervals: deque[_Interval] = deque(maxlen=INTERVALS)

    def add(self, now: float, seconds: float, ok: bool, cached: bool) -> None:
        """An answer went out `seconds` after its request came in."""
        number = math.floor(now / INTERVAL_S)
        if not self._intervals or self._intervals[-1].number != number:
            self._intervals.append(_Interval(number))
        interval = self._intervals[-1]
        interval.answers += 1
        interval.failures += not ok
        interval.cached += cached
        interval.classes[_class_of(seconds)] += 1

    def snapshot(self, now: float) -> Stats:
        """The intervals that had answers; the others had none."""
        first = math.floor(now / INTERVAL_S) - INTERVALS + 1
        return Stats(
            INTERVAL_S,
            tuple(
                Interval(
                    at_s=now - interval.number * INTERVAL_S,
                    answers=interval.answers,
                    failures=interval.failures,
                    cached=interval.cached,
                    p50_s=_percentile(interval.classes, 0.50),
                    p99_s=_percentile(interval.classes, 0.99),
                )
                for interval in self._intervals
                if interval.number >= first
            ),
        )


def _class_of(seconds: float) -> int:
    if seconds <= _SMALLEST_S:
        return 0
    return min(_CLASSES - 1, math.ceil(math.log(seconds / _SMALLEST_S, _GROWTH)))


def _percentile(classes: Counter[int], share: float) -> float:
    """The upper end of the class in which that share of all is reached."""
    wanted = math.ceil(share * classes.total())
    reached = 0
    for number in sorted(classes):
        reached += classes[number]
        if reached >= wanted:
            return float(_SMALLEST_S * _GROWTH**number)
    raise AssertionError("an interval without an answer")
