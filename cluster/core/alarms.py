"""Many deadlines, one timer: the earliest of them is what a part of the core reports (architecture A4)."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

COMPACT_ABOVE = 64
"""Heap entries below which dead ones are not worth sweeping out."""


class Alarms(Generic[K]):
    """Named deadlines in seconds of the monotonic clock; equal times ring in the order they were set.

    Moving or clearing a deadline leaves a dead entry in the heap; the heap is rebuilt once these prevail,
    so that its size stays within twice the living ones.
    """

    def __init__(self) -> None:
        self._when: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def set(self, key: K, when: float) -> None:
        """Ring for `key` at `when`, and no longer when it was set to before."""
        self._count += 1
        self._when[key] = (when, self._count)
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > COMPACT_ABOVE + 2 * len(self._when):
            self._heap = [(when, number, key) for key, (when, number) in self._when.items()]
            heapq.heapify(self._heap)

    def clear(self, key: K) -> None:
        """Do not ring for `key`."""
        self._when.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._when

    def pop_due(self, now: float) -> K | None:
        """The next key whose time has come, removed; None when there is none."""
        self._drop_dead()
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._when[key]
        return key

    def next(self) -> float | None:
        """The earliest deadline."""
        if not self._heap:
            return None
        self._drop_dead()
        return self._heap[0][0] if self._heap else None

    def _drop_dead(self) -> None:
        while self._heap and self._when.get(self._heap[0][2], (0.0, -1))[1] != self._heap[0][1]:
            heapq.heappop(self._heap)
