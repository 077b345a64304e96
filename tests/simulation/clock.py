"""True time is an integer of nanoseconds; each node sees it through a clock of its own."""

from __future__ import annotations

import math

import attrs

MS = 1_000_000
SECOND = 1_000_000_000
MILLION = 1_000_000


@attrs.define
class Clock:
    """A monotonic clock that starts anywhere and goes too fast or too slow by `ppm`."""

    base: int
    ppm: int

    def seconds(self, at: int) -> float:
        """What it shows at this true time."""
        return (self.base + at * (MILLION + self.ppm) // MILLION) / SECOND

    def moment(self, shown: float) -> int:
        """The first true time at which it shows `shown` or more."""
        at = math.floor((shown * SECOND - self.base) * MILLION / (MILLION + self.ppm)) - 1
        while self.seconds(at) < shown:
            at += 1
        return at
