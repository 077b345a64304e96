"""What clients are owed: one answer each, the right one; any other than the program's needs a reason.

The reasons are reckoned here again, from what was asked and what was really sent and lost, so that a core
that gives up too soon can't excuse itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from cluster.core import effects as fx
from cluster.core.transcript import Wrote
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from cluster.wire.messages import Assign, LossCounted, Result, Submit
from tests.simulation.channels import Link
from tests.simulation.clock import SECOND
from tests.simulation.host import Host, Life
from tests.simulation.request import Request
from tests.simulation.violation import Violation, demand

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

MILLISECOND = 0.001

PATIENCE_S = 10.0
"""W11: a job is refused for want of a leader, a worker or a slot no sooner."""

ABSENCE_S = 5.0
"""W6: a worker that lives on counts as lost only when it was away for so long."""

LOSSES = 3
"""W6: a job that has lost so many workers ends as `worker_lost`, and no other does."""

MILLION = 1_000_000


@attrs.frozen
class Sending:
    """A job that was sent to a worker: to which of its lives (None: its channel was gone), and when."""

    to: Life | None
    at: int


class Clients:
    """Every request, and the jobs that became of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._probes = cluster.network.probes
        self._fastest = 1 + max((0, *cluster.schedule.knobs.drift_ppm)) / MILLION
        self.requests: dict[int, Request] = {}
        self._sendings: dict[str, list[Sending]] = {}
        self._poison: dict[str, tuple[int, int]] = {}

    def ended(self, host: Host, life: Life) -> None:
        """Clients of that gateway are gone with it."""
        for request in self.requests.values():
            if request.node == host.id and request.boot == life.boot:
                request.lost = True

    # --- jobs -------------------------------------------------------------------------------------------

    def assigned(self, host: Host, life: Life, frame: Assign, link: Link | None) -> None:
        """A leader gives a job to a worker: none that has lost as many as it may (W6)."""
        job = frame.job.id
        if self._poison.get(job) == (host.id, life.boot):
            raise Violation(f"W6 node {host.id} sends job {job} again, which lost {LOSSES} workers")
        to = None if link is None else link.other(link.end_of(host.id)).life
        self._sendings.setdefault(job, []).append(Sending(to, self._cluster.now))

    def loss_counted(self, host: Host, life: Life, frame: LossCounted) -> None:
        """A leader tells a gateway that a job has lost a worker: there must have been so many (W6)."""
        most = self._losses_at_most(frame.job)
        if frame.losses > most:
            raise Violation(f"W6 node {host.id} counts {frame.losses} losses of {frame.job}: at most {most}")
        if frame.losses >= LOSSES:
            self._poison[frame.job] = host.id, life.boot

    def submitted(self, frame: Submit) -> None:
        """A gateway sends a job; what it has not heard of is forgotten, should the leader know no longer."""
        if frame.losses < LOSSES:
            self._poison.pop(frame.job.id, None)

    def told(self, host: Host, life: Life, frame: Result) -> None:
        """A leader passes an outcome on: of a job that has lost as many as it may, that (W6)."""
        lost = self._poison.get(frame.job) == (host.id, life.boot)
        good = not lost or frame.outcome.verdict is Verdict.WORKER_LOST
        demand(good, f"W6 job {frame.job} lost {LOSSES} workers and ends with {frame.outcome.verdict}")

    def _losses_at_most(self, job: str) -> int:
        """Workers that a job may have lost by now.

        Each life that it was sent to and that is over, and one for each time that another may have been away.
        """
        found = 0
        for sending in self._sendings.get(job, ()):
            over = sending.to is None or sending.to.is_over()
            found += over + int(self._seconds_since(sending.at) // ABSENCE_S)
        return found

    def _seconds_since(self, moment: int) -> float:
        """By the fastest clock of the cluster: no node can have seen more of them go by."""
        return (self._cluster.now - moment) * self._fastest / SECOND

    # --- answers ----------------------------------------------------------------------------------------

    def answered(self, host: Host, effect: fx.Answer) -> None:
        """One answer a request, the right one, and none to a client that is gone (I10)."""
        request = self.requests.get(effect.request)
        demand(request is not None, f"I10 nobody asked {effect.request}")
        assert request is not None
        demand(request.node == host.id, f"I10 node {host.id} answers {request.node}'s request")
        demand(request.result is None, f"I10 request {effect.request} is answered twice")
        demand(not request.abandoned, f"I10 request {effect.request} was abandoned, and answered")
        request.result = effect.result
        if not isinstance(effect.result, Outcome):
            self._probes["request refused"] += 1
            self._is_refused_rightly(host, effect, effect.result)
            return
        if effect.cached:
            self._probes["answered from the cache"] += 1
        verdict = effect.result.verdict
        if verdict is Verdict.OK:
            value = effect.result.runs[0].value
            demand(value == request.text.encode(), f"I10 {request.text!r} is answered with {value!r}")
        else:
            self._ends_rightly(effect, verdict)

    def _opener(self, effect: fx.Answer) -> Request:
        """Whose request became the job: it is another's when that one's run was shared (C4)."""
        asked = self.requests[effect.request]
        for request in self.requests.values():
            if request.job == effect.job and (request.node, request.text) == (asked.node, asked.text):
                return request
        raise Violation(f"I10 request {effect.request} is answered by a job of something else")

    def _ends_rightly(self, effect: fx.Answer, verdict: Verdict) -> None:
        """Whether the rules let a job end so, that the program did not (W4, W6)."""
        opener, who = self._opener(effect), f"request {effect.request}"
        if verdict is Verdict.WORKER_LOST:
            self._probes["worker_lost answered"] += 1
            lost = self._losses_at_most(opener.job)
            demand(lost >= LOSSES, f"W6 {who}: worker_lost after {lost} lost workers")
            return
        demand(verdict is Verdict.EXPIRED, f"I10 {who} ends with {verdict}")
        after, deadline = self._seconds_since(opener.asked_at), self._cluster.schedule.knobs.deadline_s
        demand(after >= deadline - MILLISECOND, f"W4 {who} expired after {after:.3f} s of {deadline}")

    def _is_refused_rightly(self, host: Host, effect: fx.Answer, refusal: Refusal) -> None:
        """Whether there was a reason: its gateway stops, others wait, it waited long (W4, W10, W11)."""
        opener, who = self._opener(effect), f"request {effect.request}"
        reason = refusal.reason
        if reason is Reason.STOPPING:
            demand(host.restart is not None, f"W10 {who}: node {host.id} refuses, and nobody stops it")
            return
        after = self._seconds_since(opener.asked_at)
        if after >= PATIENCE_S:
            return
        demand(reason is Reason.OVERLOADED, f"W11 {who} is refused after {after:.3f} s: {reason}")
        # A job that nobody waits for any longer may still be where it was: its leader may not know that.
        ahead = any(
            other.job != opener.job and (other.result is None or other.abandoned)
            for other in self.requests.values()
        )
        demand(ahead, f"W4 {who} is refused: {reason}, and nobody else waits")

    # --- progress ---------------------------------------------------------------------------------------

    def shown(self, host: Host, effect: fx.ShowProgress) -> None:
        """Progress goes to whoever waits, never of an earlier attempt, and makes one whole text (W13)."""
        attempt = (effect.progress.key.epoch, effect.progress.key.attempt)
        for number in effect.requests:
            request = self.requests.get(number)
            demand(request is not None, f"W13 nobody asked {number}")
            assert request is not None
            waits = request.node == host.id and request.result is None and not request.abandoned
            demand(waits, f"W13 request {number} does not wait at node {host.id}")
            demand(attempt >= request.attempt, f"W13 request {number}: {attempt} after {request.attempt}")
            if request.attempt not in {(0, 0), attempt}:
                self._probes["progress of a second attempt shown"] += 1
            request.attempt = attempt
            for happening in request.story.take(effect.progress):
                if isinstance(happening, Wrote):
                    self._probes["output shown as it came"] += 1
                    text = request.text.encode()[happening.offset :][: happening.length]
                    demand(request.story.text(happening) == text, f"W13 request {number} is shown otherwise")
