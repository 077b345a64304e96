"""Who may take how much of what several share (H9): nobody more than he leaves free.

One rule for every table in which a client takes places or bytes: with what he asks for, a holder has no
more than is still free then. So one alone gets half of it and the next one half of the rest; however much
the others want, somebody who comes new finds room, and nobody needs to be known beforehand. An empty table
takes whatever fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


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

    def giving_way(
        self, holder: str, more: int, things: Iterable[tuple[Name, str, int]], gone: Collection[Name] = ()
    ) -> set[Name] | None:
        """What goes, together with what is `gone` already, so that he has so much more.

        Whoever has most, of equals any of them, gives way with what comes first of his; but not for somebody
        who would have more than he. None if that does not make enough room.

        Args:
            holder: who needs room; what he puts there is not asked about here (`admits`).
            more: how much of it.
            things: what may go: its name, its holder, its size; the first to go first. No more of them are
                looked at than must be: seldom many, as whoever has most tends to have one of the first.
            gone: the names of some of these.
        """
        going, over = set(gone), self.held + more - self.room
        if over <= 0 and not going:
            return going
        has = {**self._by, holder: self.of(holder) + more}
        left: dict[str, deque[tuple[Name, int]]] = {}
        unseen, source = set(gone), iter(things)

        def look() -> str | None:
            """Whose the next one is; None after the last."""
            nonlocal over
            name, other, size = next(source, (None, "", 0))
            if name is None:
                return None
            if name in unseen:
                unseen.discard(name)
                has[other] -= size
                over -= size
            else:
                left.setdefault(other, deque()).append((name, size))
            return other

        while unseen and look() is not None:
            pass
        while over > 0:
            top = max(has.values())
            found = any(has[other] == top for other in left)
            while not found and (seen := look()) is not None:
                found = has[seen] == top
            most = max(left, key=has.__getitem__, default=holder)
            if most not in left or has[most] < has[holder]:
                return None
            name, size = left[most].popleft()
            if not left[most]:
                del left[most]
            has[most] -= size
            over -= size
            going.add(name)
        return going

    def validate(self) -> None:
        """Assert the invariants of the class."""
        assert all(held > 0 for held in self._by.values())
        assert self.held == sum(self._by.values())
