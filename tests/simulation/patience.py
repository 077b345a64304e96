"""How long each client waited, by the clock of its gateway, and what it was told then (W4, W11)."""

from __future__ import annotations

from collections import Counter

import attrs

from cluster.config import WorkSettings
from cluster.core import effects as fx
from cluster.core.submission import SHARE_LEAST
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from tests.simulation.violation import demand

LATE_S = 0.2
"""A gateway that did not stand still answers within this of the end of a client's time."""

PACE = 0.93
"""How much sooner a worker's clock is over than a gateway's, when both keep to rho of 3 %."""


@attrs.define(eq=False)
class Patience:
    """Of all clients of a cluster.

    Attributes:
        bounded: clocks keep to rho; else a worker may stop a run at any time.
    """

    work: WorkSettings
    probes: Counter[str]
    bounded: bool
    _since: dict[int, tuple[float, bool]] = attrs.Factory(dict)

    def asked(self, request: int, now: float, *, shared: bool) -> None:
        """A gateway heard of a client; one that shares a run has that run's deadline (C4)."""
        self._since[request] = now, shared

    def answered(self, effect: fx.Answer, now: float, still_s: float) -> None:
        """And answers it; `still_s`: how long ago the gateway last stood still."""
        since, shared = self._since.pop(effect.request, (now, False))
        waited, deadline = now - since, self.work.deadline_s
        told = effect.result
        in_time = waited <= deadline + LATE_S or still_s < LATE_S
        demand(in_time, f"W4 request {effect.request} is answered after {waited:.3f} s of {deadline:g} s")
        if isinstance(told, Refusal) and told.reason is Reason.NO_LEADER:
            least = self.work.queue_timeout_s
            demand(waited >= least - 1e-6, f"W11 request {effect.request} was given up after {waited:.3f} s")
            self.probes["client gave up for want of a leader"] += 1
        elif isinstance(told, Outcome) and told.verdict is Verdict.EXPIRED:
            least = deadline * (SHARE_LEAST if shared else 1) * PACE
            good = waited >= least or not self.bounded
            demand(good, f"W4 request {effect.request} expired after {waited:.3f} s of {deadline:g} s")
            stopped = told.message.startswith("stopped")
            self.probes["run stopped at its deadline" if stopped else "client's deadline passed"] += 1
