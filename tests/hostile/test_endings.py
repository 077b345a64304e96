"""Programs that are ended for a reason of ours: cancelled, or too late (W9, R2)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cluster.wire.jobs import Input, Verdict
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class, program


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


_DOUBLED = "a"
for _ in range(8):
    _DOUBLED = f"pick(() -> {_DOUBLED}, () -> {_DOUBLED})"
SLOW = (
    "import java.util.function.*; public class Slow { "
    "static <T> T pick(Supplier<T> one, Supplier<T> other) { return null; } "
    "static <T> T pick(Supplier<T> one, Callable<T> other) { return null; } "
    "interface Callable<T> { T call() throws Exception; } "
    f"String a = null; Object x = {_DOUBLED}; }}"
)
"""Takes the compiler longer than any limit: each level doubles what it has to infer."""


def _told(java: JavaDriver) -> dict[str, Any]:
    told = java.snapshot().snapshot
    assert told is not None
    return told


def test_who_leaves_while_a_slow_source_is_compiled_leaves_no_compiler_at_it(java: JavaDriver) -> None:
    """W9, S5: its slot is given back at once, and whoever gets it needs the compiler."""
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while not (before := _told(java))["compiler_ready"]:
        assert time.monotonic() < deadline, before  # noqa: TID251
        time.sleep(0.02)
    job = java.submit(program(SLOW, compile_s=60.0))
    java.send(op="cancel", id=job)
    answer = java.read()
    assert answer.id == job
    assert answer.outcome is not None
    assert answer.outcome.verdict is Verdict.CANCELLED
    while _told(java)["abandoned"] == before["abandoned"]:
        assert time.monotonic() < deadline, _told(java)  # noqa: TID251
        time.sleep(0.02)
    run = java.run(main_class('System.out.print("next");'))
    assert (run.verdict, run.stdout) == (Verdict.OK, b"next")
    after = _told(java)
    assert (after["compilers_lost"], after["timeouts"]) == (before["compilers_lost"], before["timeouts"])


SLEEPS = 'Thread.sleep(Long.parseLong(args[0])); System.out.print("done");'
WORKS = (
    "var system = (com.sun.management.OperatingSystemMXBean)"
    " java.lang.management.ManagementFactory.getOperatingSystemMXBean();"
    " long end = system.getProcessCpuTime() + 1_000_000L * Long.parseLong(args[0]);"
    ' while (system.getProcessCpuTime() < end) { } System.out.print("done");'
)
CPU_LIMIT_S, WALL_LIMIT_S = 4.0, 3.0


@pytest.mark.exhaustive
@pytest.mark.parametrize("share", [0.95, 1.05])
@pytest.mark.parametrize(
    ("body", "limits", "limit_s", "detail"),
    [
        (SLEEPS, {"wall_s": WALL_LIMIT_S}, WALL_LIMIT_S, "wall"),
        (WORKS, {"cpu_s": CPU_LIMIT_S, "wall_s": 60.0}, CPU_LIMIT_S, "cpu"),
    ],
    ids=["wall", "cpu"],
)
def test_a_time_limit_holds_to_a_twentieth(
    java: JavaDriver, body: str, limits: dict[str, float], limit_s: float, detail: str, share: float
) -> None:
    """W9, R2, issue 4: what runs to 95 % of its limit passes, and what would run to 105 % does not."""
    given = Input(args=(str(round(1000 * share * limit_s)),))
    run = java.run(main_class(body), given, **limits)
    if share < 1:
        assert (run.verdict, run.stdout) == (Verdict.OK, b"done")
    else:
        assert (run.verdict, run.detail, run.stdout) == (Verdict.TIME_LIMIT, detail, b"")
