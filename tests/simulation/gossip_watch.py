"""What one node shows of another, watched from outside (I12): it never goes back, and the dead stay dead."""

from __future__ import annotations

import attrs

from cluster.core.membership_view import MembershipSnapshot
from cluster.identity import Status
from tests.simulation.clock import SECOND
from tests.simulation.violation import Violation

BURIED_NS = 5 * SECOND
"""After so long nothing that a dead node sent is under way any more, whatever the seed."""


@attrs.define(eq=False)
class GossipWatch:
    """Of all pairs of observer and observed."""

    _died: dict[int, int] = attrs.Factory(dict)
    _shown: dict[tuple[int, int], tuple[tuple[int, int], Status]] = attrs.Factory(dict)

    def born(self, node: int) -> None:
        """A life begins: it knows nothing yet."""
        self._died.pop(node, None)
        for pair in [pair for pair in self._shown if pair[0] == node]:
            del self._shown[pair]

    def died(self, node: int, now: int) -> None:
        """A life is over, at this true time."""
        self._died[node] = now

    def look(self, observer: int, snapshot: MembershipSnapshot, now: int) -> None:
        """What it shows at this true time."""
        for view in snapshot.members:
            of = int(view.node)
            if of == observer:
                continue
            key = (int(view.boot), view.heartbeat)
            before, status = self._shown.get((observer, of), ((0, 0), Status.UNKNOWN))
            if key == (0, 0):
                continue  # removed, but for its tombstone
            if key < before:
                raise Violation(f"I12 node {observer} shows {of} at {key}: was {before}")
            died = self._died.get(of)
            revived = view.status is Status.ALIVE and status is not Status.ALIVE
            buried = died is not None and now - died > BURIED_NS
            if revived and buried:
                raise Violation(f"I12 node {observer} shows the dead {of} as alive again")
            self._shown[observer, of] = (key, view.status)
