"""Channels between simulated nodes: ordered and reliable until they break."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs

from cluster.identity import NodeId
from tests.simulation.chance import Stream
from tests.simulation.host import Life

FRAMES_MAX = 5000
"""Frames that wait in one direction; one more breaks the channel."""


@attrs.define(eq=False)
class End:
    """One side of a channel: whose it is, in which life, and what waits to get there.

    Attributes:
        unanswered: what it sent arrived, and it waits to be told so.
    """

    node: NodeId
    life: Life
    channel: int
    stream: Stream
    open: bool = True
    last_at: int = 0
    stalled: deque[bytes] = attrs.Factory(deque)
    stalled_since: int = 0
    unanswered: bool = False


@attrs.define(eq=False)
class Link:
    """One connection; `ends[0]` dialled."""

    ends: tuple[End, End]

    def other(self, end: End) -> End:
        """The far side."""
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def end_of(self, node: int) -> End:
        """This node's side."""
        return self.ends[0] if self.ends[0].node == node else self.ends[1]


class Links:
    """Every open channel, by each of its ends."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, int], Link] = {}
        self._last = 0

    def add(self, dialler: tuple[NodeId, Life, Stream], listener: tuple[NodeId, Life, Stream]) -> Link:
        """Connect two lives."""
        ends = []
        for node, life, stream in (dialler, listener):
            self._last += 1
            ends.append(End(node, life, self._last, stream))
        link = Link((ends[0], ends[1]))
        for end in link.ends:
            self._ends[end.node, end.channel] = link
        return link

    def find(self, node: int, channel: int) -> Link | None:
        """The channel that this node calls so."""
        return self._ends.get((node, channel))

    def drop(self, end: End) -> None:
        """This side is closed."""
        end.open = False
        self._ends.pop((end.node, end.channel), None)

    def of(self, node: int) -> Iterator[Link]:
        """Every channel that has a live side at this node."""
        return iter([link for (owner, _), link in list(self._ends.items()) if owner == node])

    def between(self, one: int, other: int) -> list[Link]:
        """Every channel of this pair."""
        return [link for link in self.of(one) if {end.node for end in link.ends} == {one, other}]

    def dialled(self, node: int, to: int, life: Life) -> bool:
        """Whether this life has an open channel there that it dialled."""
        return any(
            link.ends[0].life is life and link.ends[0].open and link.ends[1].node == to
            for link in self.of(node)
        )
