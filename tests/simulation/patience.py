"""How long each client waited, by the clock of its gateway (W4, W11); why it was told so: `clients`."""

from __future__ import annotations

from collections import Counter

import attrs

from cluster.config import WorkSettings
from cluster.core import effects as fx
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from tests.simulation.violation import demand

LATE_S = 0.2
"""A gateway that did not stand still answers within this of the end of a client's time."""


@attrs.define(eq=False)
class Patience:
    """Of all clients of a cluster."""

    work: WorkSettings
    probes: Counter[str]
    _since: dict[int, float] = attrs.Factory(dict)

    def asked(self, request: int, now: float) -> None:
        """A gateway heard of a client."""
        self._since[request] = now

    def answered(self, effect: fx.Answer, now: float, still_s: float) -> None:
        """And answers it; `still_s`: how long ago the gateway last stood still."""
        waited, deadline = now - self._since.pop(effect.request, now), self.work.deadline_s
        told = effect.result
        in_time = waited <= deadline + LATE_S or still_s < LATE_S
        demand(in_time, f"W4 request {effect.request} is answered after {waited:.3f} s of {deadline:g} s")
        if isinstance(told, Refusal) and told.reason is Reason.NO_LEADER:
            least = self.work.queue_timeout_s
            demand(waited >= least - 1e-6, f"W11 request {effect.request} was given up after {waited:.3f} s")
            self.probes["client gave up for want of a leader"] += 1
        elif isinstance(told, Outcome) and told.verdict is Verdict.EXPIRED:
            stopped = told.message.startswith("stopped")
            self.probes["run stopped at its deadline" if stopped else "client's deadline passed"] += 1
