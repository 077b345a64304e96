"""One run of a schedule: chaos, then a healed core must converge, stay so, and owe nobody anything."""

from __future__ import annotations

import time
import traceback

import msgspec

from cluster.core.leadership import Phase
from cluster.wire.jobs import Outcome, Reason, Refusal, Verdict
from tests.simulation.clock import MS, SECOND
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Faults
from tests.simulation.schedule import Ask, Schedule
from tests.simulation.violation import Violation, demand

CONVERGE_NS = 5 * SECOND
"""Liveness: a healed majority has one leader within this."""

QUIET_NS = 30 * SECOND
"""And keeps it for this long."""

STEP_NS = 20 * MS

LEAVES_MS = 1000
"""In quiet times a client of each gateway goes away after this long, before its program is done."""

ENDLESS_MS = 100_000
"""What that program would take: longer than quiet times."""

CANCEL_NS = 100 * MS
"""W9: no worker runs it any longer by then."""

LEAVING_NS = 10 * SECOND
"""Quiet times that are shorter have no such clients: a leader takes 5 s to cancel what nobody claims (W7)."""

VALIDATE_EVERY = 16
"""In a sweep: events between two looks at a core's own tables. A replay looks after each."""


class Report(msgspec.Struct, frozen=True):
    """What came of a run.

    Attributes:
        violation: empty when all held.
        settled_ms: from the healing until one leader was followed by all.
        trace: a checksum over every datagram, frame, write and answer, with its time, node and order.
        cpu_s: processor time that the run took.
    """

    seed: int
    violation: str
    events: int
    settled_ms: int
    epochs: int
    trace: int
    probes: dict[str, int]
    where: str = ""
    cpu_s: float = 0.0


class Simulation:
    """A cluster and everything that happens to it."""

    def __init__(self, schedule: Schedule, *, validate_every: int = 1, quiet_ns: int = QUIET_NS) -> None:
        self.schedule = schedule
        self.cluster = Cluster(schedule, validate_every=validate_every)
        self.faults = Faults(self.cluster)
        self.settled_ms = -1
        self._quiet_ns = quiet_ns

    def run(self) -> Report:
        """All of it; an invariant that fails ends it."""
        violation, where = "", ""
        try:
            self._chaos()
            self._converge()
            self._stay_quiet()
        except AssertionError as error:
            violation = str(error) or "an assertion without words"
            if not isinstance(error, Violation):
                violation = f"core: {violation}"
            where = traceback.format_exc()
        except Exception as error:  # noqa: BLE001  (a core that raises is a finding like any other)
            violation, where = f"raised: {type(error).__name__}: {error}", traceback.format_exc()
        cluster = self.cluster
        return Report(
            seed=self.schedule.seed,
            violation=violation,
            events=cluster.events,
            settled_ms=self.settled_ms,
            epochs=len(cluster.checks.led),
            trace=cluster.trace,
            probes=dict(cluster.probes),
            where=where,
        )

    def _chaos(self) -> None:
        cluster = self.cluster
        stagger = cluster.chance.stream("start")
        for host in cluster.hosts.values():
            cluster.at(stagger.between(0, 100) * MS, cluster.start, host)
        self.faults.arm()
        cluster.run_until(self.schedule.chaos_ms * MS)

    def _core(self) -> list[int]:
        return [node for node in self.cluster.hosts if node not in self.cluster.broken]

    def leader(self) -> tuple[int, int] | None:
        """The node of the healed core that may act, with its epoch."""
        at = self.cluster.now
        for node in self._core():
            host = self.cluster.hosts[node]
            if host.life is not None and host.life.core.authority.may_act(host.now(at)):
                return node, host.life.core.authority.leadership.epoch
        return None

    def is_settled(self) -> bool:
        """One leader, and everybody in the core vouches for it."""
        leader = self.leader()
        if leader is None:
            return False
        at = self.cluster.now
        for node in self._core():
            host = self.cluster.hosts[node]
            if host.life is None or host.life.core.authority.vouched_leader(host.now(at)) != leader:
                return False
        return True

    def _converge(self) -> None:
        cluster = self.cluster
        healed_at = cluster.now
        self.faults.heal()
        while not self.is_settled():
            demand(
                cluster.now - healed_at < CONVERGE_NS,
                f"liveness: no settled leader {CONVERGE_NS // SECOND} s after healing: {self.states()}",
            )
            cluster.run_until(cluster.now + STEP_NS)
        self.settled_ms = (cluster.now - healed_at) // MS

    def _stay_quiet(self) -> None:
        """Nothing changes any more; what was pending ends, and new jobs go through."""
        cluster, checks = self.cluster, self.cluster.checks
        checks.quiet = True
        checks.strict = not self.schedule.broken
        asks = [Ask(0, gateway, run_ms) for gateway in self.schedule.gateway_ids for run_ms in (5, 200)]
        visits = {self.faults.ask(ask): (ask, cluster.now) for ask in asks}
        for gateway in self.schedule.gateway_ids if self._quiet_ns >= LEAVING_NS else ():
            number = self.faults.ask(Ask(0, gateway, ENDLESS_MS, leave_ms=LEAVES_MS))
            if checks.strict:  # else there may be another leader just then: it cancels what nobody claims
                cluster.at(cluster.now + LEAVES_MS * MS + CANCEL_NS, self._is_cancelled, number)
        end = cluster.now + self._quiet_ns
        while cluster.now < end:
            cluster.run_until(min(end, cluster.now + SECOND))
            visits = dict(self._again(number, ask, at) for number, (ask, at) in visits.items())
        demand(self.is_settled(), f"liveness: no longer settled after quiet times: {self.states()}")
        for number in visits:
            result = checks.requests[number].result
            good = isinstance(result, Outcome) and result.verdict is Verdict.OK
            demand(good, f"liveness: request {number} of quiet times ended with {result}")
        self._nothing_is_owed()

    def _again(self, number: int, ask: Ask, at: int) -> tuple[int, tuple[Ask, int]]:
        """A client whom the jobs of worse times are in the way of comes back when it was told to."""
        result, now = self.cluster.checks.requests[number].result, self.cluster.now
        if not isinstance(result, Refusal) or result.reason is not Reason.OVERLOADED:
            return number, (ask, at)
        late = now >= at + int(result.retry_after_s * SECOND)
        return (self.faults.ask(ask), (ask, now)) if late else (number, (ask, at))

    def _is_cancelled(self, number: int) -> None:
        """Whoever went away left nothing running (W9)."""
        request = self.cluster.checks.requests[number]
        if not request.abandoned:
            return  # it had been refused
        for node, host in self.cluster.hosts.items():
            runs = host.life is not None and request.job in host.life.running
            demand(not runs, f"W9 node {node} runs for request {number}, whose client left")

    def _nothing_is_owed(self) -> None:
        checks, hosts = self.cluster.checks, self.cluster.hosts
        for number, request in checks.requests.items():
            if not (request.lost or request.abandoned):
                demand(request.result is not None, f"liveness: request {number} got no answer")
        for node in self._core():
            life = hosts[node].life
            assert life is not None
            life.core.validate()
            execution, dispatch = life.core.work.execution, life.core.work.dispatch
            if execution is not None:
                shot = execution.snapshot()
                demand(not shot.running, f"liveness: node {node} still runs {shot.running}")
                demand(not shot.kept, f"W5 node {node} still keeps {shot.kept} results")
            if dispatch is not None and life.core.authority.leadership.phase is Phase.LEADING:
                view = dispatch.snapshot()
                demand(not (view.queued or view.running), f"liveness: the leader still holds {view}")

    def states(self) -> str:
        """Who does what, for a report."""
        found = []
        for node, host in self.cluster.hosts.items():
            if host.life is None:
                found.append(f"{node} down")
                continue
            authority = host.life.core.authority
            leader, epoch = authority.vouched_leader(host.now(self.cluster.now))
            accepted = host.life.core._ledger.record.accepted
            found.append(f"{node} {authority.state} of {leader}@{epoch} accepted {accepted}")
        return ", ".join(found)


def run(schedule: Schedule, *, validate_every: int = VALIDATE_EVERY) -> Report:
    """Run a schedule once."""
    began = time.process_time()
    report = Simulation(schedule, validate_every=validate_every).run()
    return msgspec.structs.replace(report, cpu_s=time.process_time() - began)
