"""What `Dial` asked for, until `HangUp`: one attempt, or one channel, or one wait at a time (W2)."""

from __future__ import annotations

import attrs

from cluster.identity import NodeId
from tests.simulation.clock import SECOND
from tests.simulation.host import Host, Life

REDIAL_MIN_S = 0.02
REDIAL_MAX_S = 1.0
"""As the adapter's: a wait doubles with each failure, up to this."""


@attrs.define(eq=False)
class Dialling:
    """Of one life; `failures` in a row, none once a frame has come."""

    host: Host
    life: Life
    to: NodeId
    failures: int = 0

    def wait_ns(self) -> int:
        """How long to wait before the next attempt."""
        wait = min(REDIAL_MAX_S, REDIAL_MIN_S * 2 ** min(self.failures, 16))
        self.failures += 1
        return int(wait * SECOND)
