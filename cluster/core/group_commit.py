"""One write at a time, and what waits for it is one write (group commit), of the newest record (N4)."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """What is to be made durable, in the order of asking; each holds all of those before it.

    Attributes:
        under_way: what the write that goes on will answer; empty while there is none.
    """

    def __init__(self) -> None:
        self.under_way: list[T] = []
        self._waiting: list[T] = []

    @property
    def newest(self) -> T | None:
        """The last that was asked for and not answered."""
        for asked in (self._waiting, self.under_way):
            if asked:
                return asked[-1]
        return None

    def ask(self, one: T) -> T | None:
        """Take it in; what is to be written now: None while a write goes on."""
        self._waiting.append(one)
        return None if self.under_way else self._begin()

    def done(self) -> tuple[list[T], T | None]:
        """The write has ended, well or not: what it answers, in order, and what is to be written next."""
        answered, self.under_way = self.under_way, []
        return answered, self._begin() if self._waiting else None

    def _begin(self) -> T:
        self.under_way, self._waiting = self._waiting, []
        return self.under_way[-1]
