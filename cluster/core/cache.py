"""The gateway's result cache: whole outcomes by what determines them (C1-C3)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs
import msgspec

from cluster.config import CacheSettings
from cluster.core.sizes import outcome_bytes
from cluster.wire.jobs import Outcome, Program, deterministic

CacheKey = bytes


def cache_key(program: Program, java: str) -> CacheKey:
    """SHA-256 over everything that decides a deterministic outcome (C1): the program, its limits, the JDK."""
    canonical = msgspec.msgpack.encode((program, java), order="deterministic")
    return hashlib.sha256(canonical).digest()


@attrs.frozen
class _Entry:
    outcome: Outcome
    at: float
    size: int


@attrs.frozen
class CacheSnapshot:
    """Entries and bytes now; look-ups that hit and missed, and entries evicted, so far."""

    entries: int
    bytes: int
    hits: int
    misses: int
    evictions: int


class Cache:
    """Least recently used, bounded by bytes; nothing of ours and nothing that time decided is kept (C2)."""

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evictions = 0

    def get(self, key: CacheKey, now: float) -> tuple[Outcome, float] | None:
        """The outcome and its age in seconds (C3)."""
        entry = self._entries.get(key)
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return entry.outcome, now - entry.at

    def put(self, key: CacheKey, outcome: Outcome, now: float) -> None:
        """Keep it if it is deterministic (C2) and fits."""
        size = outcome_bytes(outcome)
        if not deterministic(outcome) or size > self._settings.bytes_max:
            return
        self._drop(key)
        self._entries[key] = _Entry(outcome, now, size)
        self._bytes += size
        while self._bytes > self._settings.bytes_max:
            self._drop(next(iter(self._entries)))
            self._evictions += 1

    def clear(self) -> None:
        """Empty it: the leader changed (C3)."""
        self._entries.clear()
        self._bytes = 0

    def snapshot(self) -> CacheSnapshot:
        """Figures for people and metrics."""
        return CacheSnapshot(len(self._entries), self._bytes, self._hits, self._misses, self._evictions)

    def validate(self) -> None:
        """Assert the bound, and that only deterministic outcomes are in."""
        assert self._bytes == sum(entry.size for entry in self._entries.values())
        assert self._bytes <= self._settings.bytes_max
        assert all(deterministic(entry.outcome) for entry in self._entries.values())

    def _drop(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
