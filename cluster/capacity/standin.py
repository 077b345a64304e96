"""Nodes that are whole but for their Java side; a gateway among them sends itself no-op programs."""

from __future__ import annotations

from typing import Any

import attrs

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from cluster.core.events import CapacityChanged
from cluster.gateway.relay import Answered
from cluster.identity import Role
from cluster.java.sandbox import SandboxReport
from cluster.service import Node
from cluster.wire.jobs import Job, Outcome, Program, Run, Source, Verdict

RETRY_S = 0.2
"""After a refusal, as there is no leader yet."""

OUTCOME = Outcome(Verdict.OK, runs=(Run(Verdict.OK, value=b"Hello world!"),))

PROGRAM = Program((Source("Hello.java", "public class Hello { public String run() { return null; } }"),))


@attrs.frozen
class _Counts:
    """What a stand-in tells the metrics."""

    ended: int


class StandIn:
    """In the place of the Java runner: every job has ended by the next turn of the reactor."""

    java_version = "stand-in"

    def __init__(self, reactor: IReactorTime, slots: int, on_capacity: Any) -> None:  # noqa: ANN401
        """Nothing happens before `start`; `slots` are announced then."""
        self._reactor = reactor
        self._slots = slots
        self._on_capacity = on_capacity
        self._ended = 0

    def start(self) -> Deferred[SandboxReport]:
        """Be ready at once."""
        self._on_capacity(self._slots)
        return succeed(
            SandboxReport(
                "none", namespaces=False, seccomp=False, cgroup2=False, text="a stand-in runs nothing"
            )
        )

    def run(self, job: Job, remaining_s: float) -> Deferred[Outcome]:
        """End a job without having run it."""
        del job, remaining_s
        self._ended += 1
        ended: Deferred[Outcome] = Deferred()
        self._reactor.callLater(0, ended.callback, OUTCOME)
        return ended

    def cancel(self, job: str) -> None:
        """Nothing runs long enough."""

    def snapshot(self) -> _Counts:
        """How many jobs have ended."""
        return _Counts(self._ended)

    def stop(self) -> None:
        """Nothing to stop."""


class StandInNode(Node):
    """A node that runs nothing; a gateway among them makes its own load."""

    def _make_runner(self) -> Any:  # noqa: ANN401  (has what `JavaRunner` has of use here)
        config = self._config
        if config.me.role is Role.GATEWAY:
            return None
        slots = config.work.slots if config.me.role is Role.WORKER else 0
        return StandIn(self._reactor, slots, lambda slots: self._feed(CapacityChanged(slots)))

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
