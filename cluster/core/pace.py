"""How long jobs hold a slot of late, and what follows for those who would have to wait (W4, W11)."""

from __future__ import annotations

WEIGHT = 0.1
"""How much the newest job counts in the average."""

RETRY_MAX_S = 30.0
"""The longest `Retry-After` that an overloaded leader asks for."""

UNKNOWN_S = 1.0
"""What a job is taken to need before any has ended."""


class Pace:
    """A moving average of seconds that a job holds a slot; nothing is turned away before the first."""

    def __init__(self) -> None:
        self._held_s: float | None = None

    def note(self, held_s: float) -> None:
        """One more job held its slot for so long."""
        before = held_s if self._held_s is None else self._held_s
        self._held_s = before + WEIGHT * (held_s - before)

    def in_vain(self, ahead: int, slots: int, patience_s: float) -> bool:
        """Whether one who waits behind so many would give up before his turn."""
        return self._held_s is not None and slots > 0 and ahead * self._held_s / slots > patience_s

    def retry_after_s(self, waiting: int, slots: int) -> float:
        """When those who wait will have gone."""
        held_s = UNKNOWN_S if self._held_s is None else self._held_s
        return min(RETRY_MAX_S, 1.0 + held_s * waiting / max(1, slots))
