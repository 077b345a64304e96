"""When is silence a failure, and whose (G3, G4)?

Works on plain numbers: how long ago a node last gave a sign of life, by this node's own clock. It also
watches this node itself: time in which *it* did not run, or heard nobody, proves nothing against others.
"""

from __future__ import annotations

import math

from cluster.config import GossipSettings
from cluster.identity import Status

SILENT_ROUNDS = 3
"""Hearing nobody for longer than this many rounds is a fault of our own until shown otherwise (G4)."""

LAG_ROUNDS = 0.5
"""A loop that is later than this part of a round makes a node doubt itself (G4)."""

STRETCH_STEP = 2.0
"""Each bad round multiplies the timeouts by this, each good one divides them."""


class FailureDetector:
    """Judges others by their silence and itself by its own.

    A lone survivor hears nobody for ever; it accuses the others once their silence outlasts the longest
    stretch, so that a verdict comes late instead of never.
    """

    def __init__(self, settings: GossipSettings, now: float) -> None:
        """Start without doubts; nobody can have spoken before `now`."""
        interval = settings.interval_s
        self._suspect_s = settings.suspect_rounds * interval
        self._fail_s = settings.fail_rounds * interval
        self._cleanup_s = settings.cleanup_rounds * interval
        self._silent_s = SILENT_ROUNDS * interval
        self._lag_s = LAG_ROUNDS * interval
        self._stretch_max = settings.stretch_max
        self._heard_at = now
        self._excused_to = now
        self._lagging = False
        self._silent = False
        self.stretch = 1.0

    def heard(self, now: float) -> float:
        """Somebody spoke directly.

        Returns the time from which on the others' silence is to be excused; `now` for not at all.
        """
        deaf_since = self._heard_at
        self._heard_at = now
        self._silent = False
        return self._excuse(deaf_since, now) if now - deaf_since > self._silent_s else now

    def lagged(self, seconds: float, now: float) -> float:
        """Our own loop stood still for `seconds` until now; returns like `heard`."""
        if seconds <= self._lag_s:
            return now
        self._lagging = True
        self._doubt()
        start = self._excuse(now - seconds, now)
        self._heard_at += now - max(start, self._heard_at)
        return start

    def end_round(self, now: float) -> None:
        """Take stock once a round: doubt grows with silence, fades with a good round."""
        self._silent = now - self._heard_at > self._silent_s
        if self._silent:
            self._doubt()
        elif not self._lagging:
            self.stretch = max(1.0, self.stretch / STRETCH_STEP)
        self._lagging = False

    def may_accuse(self) -> bool:
        """Whether this node trusts itself enough to find fault with others (G4)."""
        return not self._lagging and (not self._silent or self.stretch >= self._stretch_max)

    def judge(self, status: Status, since: float, now: float) -> Status:
        """What a node has become that gave no sign of life since then (G3)."""
        if status is Status.FAILED or now >= self._fails_at(since):
            return Status.FAILED
        if status is Status.ALIVE and now >= self._suspect_at(since):
            return Status.SUSPECT
        return status

    def next_change(self, status: Status, since: float) -> float:
        """When `judge` will say something new, if no sign of life comes: then exactly, not an ulp later."""
        if status is Status.FAILED:
            return math.inf
        return self._suspect_at(since) if status is Status.ALIVE else self._fails_at(since)

    def to_be_asked(self, status: Status, silent_s: float) -> bool:
        """Whether to ask the node itself, before it is given up (G3)."""
        return status is not Status.FAILED and silent_s >= self._suspect_s

    def to_be_removed(self, silent_s: float) -> bool:
        """Whether its row may go, leaving a tombstone (G3)."""
        return silent_s >= self._cleanup_s * self.stretch

    def believes_in_a_return(self, silent_s: float) -> bool:
        """Whether two signs of life this far apart support each other (G2, after a failure)."""
        return silent_s < self._fail_s

    def validate(self) -> None:
        """Assert the bounds of doubt."""
        assert 1.0 <= self.stretch <= self._stretch_max, "stretch stays within its bounds (G4)"

    def _suspect_at(self, since: float) -> float:
        return since + self._suspect_s * self.stretch

    def _fails_at(self, since: float) -> float:
        return since + self._fail_s * self.stretch

    def _doubt(self) -> None:
        self.stretch = min(self._stretch_max, self.stretch * STRETCH_STEP)

    def _excuse(self, start: float, now: float) -> float:
        """Never excuse the same stretch of time twice."""
        start = min(now, max(start, self._excused_to))
        self._excused_to = now
        return start
