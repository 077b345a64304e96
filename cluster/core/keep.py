"""The results that a worker keeps until they are released, and which its leader has yet to get (W5, W14)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import inf

from cluster.config import WorkSettings
from cluster.core.runs import Kept
from cluster.core.window import Window
from cluster.wire.messages import AttemptKey, Ping

KEPT_MAX = 10_000
"""Results kept, so that a HELLO can list them in its first frame."""


class Keep:
    """Kept results, the oldest first.

    Invariants: at most `KEPT_MAX`, their sizes within `kept_bytes`, the newest excepted; what is due is kept;
    something is due only while the leader has not read what it was sent before (W14).

    Attributes:
        dropped: results that fell to the bounds.
    """

    def __init__(self, settings: WorkSettings) -> None:
        self._settings = settings
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._due: OrderedDict[str, None] = OrderedDict()
        self._window: Window | None = None
        self.bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def __contains__(self, job: object) -> bool:
        return job in self._kept

    def get(self, job: str) -> Kept | None:
        """The result of this job."""
        return self._kept.get(job)

    def keys(self) -> tuple[AttemptKey, ...]:
        """The sending that each answers."""
        return tuple(kept.key for kept in self._kept.values())

    def is_due(self, job: str) -> bool:
        """Whether the leader has yet to get it."""
        return job in self._due

    def connected(self, *, itself: bool) -> None:
        """There is a leader, or this node is `itself`: it is to get every result (W5)."""
        self._window = Window(inf if itself else self._settings.window_bytes)
        self._due = OrderedDict.fromkeys(self._kept)

    def disconnected(self) -> None:
        """There is none: whatever is kept is due to the next one."""
        self._window = None
        self._due.clear()

    def read(self, nonce: int) -> None:
        """The leader has read what it was sent before (W14)."""
        if self._window is not None:
            self._window.read(nonce)

    def add(self, kept: Kept) -> None:
        """One more; `crowded` says which do not fit any longer."""
        self._kept[kept.key.job] = kept
        self.bytes += kept.size
        if self._window is not None:
            self._due[kept.key.job] = None

    def forget(self, job: str) -> None:
        """It is needed no longer, if it is here."""
        self._due.pop(job, None)
        kept = self._kept.pop(job, None)
        if kept is not None:
            self.bytes -= kept.size

    def take_due(self) -> Iterator[tuple[Kept, Ping | None]]:
        """What may go to the leader now, each with what must follow it."""
        while self._window is not None and self._due and self._window.open:
            kept = self._kept[self._due.popitem(last=False)[0]]
            yield kept, self._window.sent(kept.size)

    def crowded(self, now: float) -> list[AttemptKey]:
        """Drop what is too much or too old; returns what of it the leader still waits for."""
        missed = []
        while len(self._kept) > 1:
            oldest = next(iter(self._kept.values()))
            fits = self.bytes <= self._settings.kept_bytes and len(self._kept) <= KEPT_MAX
            if fits and oldest.at + self._settings.kept_s > now:
                break
            if oldest.key.job in self._due:
                missed.append(oldest.key)
            self.forget(oldest.key.job)
            self.dropped += 1
        return missed

    def next_deadline(self) -> float | None:
        """When the oldest result grows too old; the newest never does."""
        if len(self._kept) <= 1:
            return None
        return next(iter(self._kept.values())).at + self._settings.kept_s

    def validate(self) -> None:
        """Assert the invariants of the class."""
        assert self.bytes == sum(kept.size for kept in self._kept.values())
        assert self.bytes <= self._settings.kept_bytes or len(self._kept) == 1
        assert len(self._kept) <= KEPT_MAX
        assert self._due.keys() <= self._kept.keys()
        assert not self._due or (self._window is not None and not self._window.open)
