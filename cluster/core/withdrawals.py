"""Jobs that a gateway's clients want no longer, until a leader has surely heard so (W9)."""

from __future__ import annotations

from collections import OrderedDict

LOST_S = 10.0
"""What was said so shortly before a channel ended may be lost with it (W2)."""

TOLD_MAX = 10_000
"""Said so lately and remembered; the oldest go first."""


class Withdrawals:
    """The ids of such jobs: those that are to be told, and those that were, lately.

    A leader that hears one twice, or never had the job, does nothing.
    """

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._told: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many are to be told."""
        return len(self._due)

    def add(self, job: str) -> None:
        """Nobody waits for it any longer."""
        self._due[job] = None

    def wanted(self, job: str) -> None:
        """Somebody asks for it anew."""
        self._due.pop(job, None)
        self._told.pop(job, None)

    def take(self, now: float) -> tuple[str, ...]:
        """What is to be told; it is, now."""
        jobs = tuple(self._due)
        self._due.clear()
        self._told.update(dict.fromkeys(jobs, now))
        while self._told and (len(self._told) > TOLD_MAX or now - next(iter(self._told.values())) > LOST_S):
            self._told.popitem(last=False)
        return jobs

    def channel_ended(self, now: float) -> None:
        """Nobody knows whether what was told last has arrived."""
        self._due.update((job, None) for job, at in self._told.items() if now - at <= LOST_S)
        self._told.clear()
