"""Who may take how much of what several share (H9): nobody more than he leaves free.

One rule for every table in which a client takes places or bytes: with what he asks for, a holder has no
more than is still free then. So one alone gets half of it and the next one half of the rest; however much
the others want, somebody who comes new finds room, and nobody needs to be known beforehand. An empty table
takes whatever fits.
"""

from __future__ import annotations

from collections.abc import Mapping


class FairRoom:
    """Places, or bytes, and who holds how many of them.

    Invariants: holders hold something; together they hold `held`.
    """

    def __init__(self, room: int) -> None:
        """So much of it there is."""
        self.room = room
        self.held = 0
        self._by: dict[str, int] = {}

    @property
    def holders(self) -> Mapping[str, int]:
        """How much each of them holds."""
        return self._by

    def of(self, holder: str) -> int:
        """How much he holds."""
        return self._by.get(holder, 0)

    def admits(self, holder: str, size: int = 1) -> bool:
        """Whether he may have so much more."""
        if not self.held:
            return size <= self.room
        return self.of(holder) + size <= self.room - self.held - size

    def take(self, holder: str, size: int = 1) -> None:
        """He has so much more; whether he may was asked before, where that is a question."""
        self.held += size
        self._by[holder] = self.of(holder) + size
        if not self._by[holder]:
            del self._by[holder]

    def give_back(self, holder: str, size: int = 1) -> None:
        """He has so much less."""
        self.take(holder, -size)

    def validate(self) -> None:
        """Assert the invariants of the class."""
        assert all(held > 0 for held in self._by.values())
        assert self.held == sum(self._by.values())
