"""Programs that are ended for a reason of ours: cancelled, or too late (W9, R2)."""

from __future__ import annotations

from cluster.wire.jobs import Verdict
from tests.support.java_driver import JavaDriver, main_class, program


def test_a_cancelled_job_ends_and_frees_its_slot(java: JavaDriver) -> None:
    """W9."""
    job = java.submit(program(main_class("while (true) Thread.sleep(1000);"), wall_s=10.0))
    before = java.snapshot()
    assert before.snapshot is not None
    java.send(op="cancel", id=job)
    answer = java.read()
    assert answer.id == job
    assert answer.outcome is not None
    assert answer.outcome.verdict is Verdict.CANCELLED


def test_a_job_past_its_deadline_expires(java: JavaDriver) -> None:
    outcome = java.outcome(program(main_class("Thread.sleep(100000);")), remaining_s=0.5)
    assert outcome.verdict is Verdict.EXPIRED
