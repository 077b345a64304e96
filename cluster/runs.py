"""Performs a core's orders about runs: by the Java side of a worker, or not at all at a gateway."""

from __future__ import annotations

import attrs

from cluster.core.events import RunFinished, RunUnstarted
from cluster.java.runner import JavaRunner
from cluster.net.driver import Driver
from cluster.wire.jobs import Job, Outcome


@attrs.define
class RunnerRuns:
    """Performs StartRun, StopRun and RepeatProgress, and tells the core how a run ended."""

    runner: JavaRunner
    driver: Driver | None = None

    def start(self, job: Job, remaining_s: float) -> None:
        """Compile and run; the core hears of the end."""

        def finished(outcome: Outcome | None) -> None:
            if self.driver is not None:
                self.driver.feed(RunUnstarted(job.id) if outcome is None else RunFinished(job.id, outcome))

        self.runner.run(job, remaining_s).addCallback(finished)

    def stop(self, job: str) -> None:
        """Stop it now."""
        self.runner.cancel(job)

    def repeat(self, job: str) -> None:
        """Tell its progress from the beginning."""
        self.runner.repeat(job)


class NoRuns:
    """A gateway is never told to run anything."""

    def start(self, job: Job, remaining_s: float) -> None:
        """Never."""
        raise AssertionError(f"a gateway was told to run job {job.id} ({remaining_s} s)")

    def stop(self, job: str) -> None:
        """Never."""
        raise AssertionError(f"a gateway was told to stop job {job}")

    def repeat(self, job: str) -> None:
        """Never."""
        raise AssertionError(f"a gateway was told to repeat the progress of job {job}")
