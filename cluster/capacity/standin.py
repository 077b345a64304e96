"""Nodes that are whole but for their Java side: a leader, and a gateway that makes its own load."""

from __future__ import annotations

from cluster.capacity.outcome import PROGRAM
from cluster.gateway.relay import Answered
from cluster.service import Node
from cluster.wire.jobs import Outcome

RETRY_S = 0.2
"""After a refusal, as there is no leader yet."""


class StandInNode(Node):
    """A node that runs nothing; a gateway among them makes its own load."""

    def _make_runner(self) -> None:
        """A leader among other workers runs nothing anyway (N1)."""

    def load(self, window: int) -> None:
        """Keep this many no-op jobs under way."""
        for _ in range(window):
            self._reactor.callLater(0, self._ask)

    def _ask(self) -> None:
        waiter, _leave = self._requests.submit(PROGRAM, False, False)
        waiter.addCallback(self._answered)

    def _answered(self, answered: Answered) -> None:
        wait = 0.0 if isinstance(answered.result, Outcome) else RETRY_S
        self._reactor.callLater(wait, self._ask)
