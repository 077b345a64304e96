"""Whoever kills our processes, at whatever moment, loses no job, and the counters tell of it (J1, J2)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.bench.usage import tree
from cluster.wire.jobs import Program, Source, Verdict
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class

COMPILERS, MACHINES = b"internal.Compiler", b"internal.Launcher"
MOMENTS_S = (0.0, 0.01, 0.05, 0.2, 0.5)
"""After a job was sent: while it compiles, while it is handed over, while it runs."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaDriver]:
    """A node of its own: what it went through is nobody else's matter."""
    made = JavaDriver(tmp_path_factory.mktemp("killed"), slots=1)
    assert made.start.started, made.start.text
    yield made
    assert made.stop() == 0


def _kill(driver: JavaDriver, name: str, role: bytes) -> int:
    """Every process of that name that serves for that; how many."""
    killed = 0
    for process in tree([driver.pid]):
        try:
            if process.name == name and role in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
        except (ProcessLookupError, FileNotFoundError):
            continue
    return killed


def _counted(driver: JavaDriver) -> int:
    told = driver.snapshot().snapshot
    assert told is not None
    return int(told["lost"] + told["struck"] + told["compilers_lost"])


def _rested(driver: JavaDriver) -> None:
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while (told := driver.snapshot().snapshot) and not (told["compiler_ready"] and told["waiting"]):
        assert time.monotonic() < deadline, told  # noqa: TID251
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["java", "bwrap"])
@pytest.mark.parametrize("role", [COMPILERS, MACHINES], ids=["compilers", "machines"])
@pytest.mark.parametrize(
    "moment_s",
    [pytest.param(m, marks=[] if m == MOMENTS_S[2] else [pytest.mark.exhaustive]) for m in MOMENTS_S],
)
def test_a_killed_process_loses_no_job_and_is_counted(
    driver: JavaDriver, name: str, role: bytes, moment_s: float
) -> None:
    _rested(driver)
    before = _counted(driver)
    text = main_class(f"Thread.sleep(300); System.out.print({time.monotonic_ns()}L);")
    job = driver.submit(Program((Source("", text),)))
    time.sleep(moment_s)
    assert _kill(driver, name, role) > 0, "a resting node has one of each kind, whatever it does next"
    answer = driver.read()
    assert answer.id == job
    assert answer.outcome is not None
    assert answer.outcome.verdict is Verdict.OK, answer.outcome
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while _counted(driver) <= before:
        assert time.monotonic() < deadline  # noqa: TID251
        time.sleep(0.02)


def test_what_a_terminal_sends_to_all_of_a_job_is_for_the_node_alone(driver: JavaDriver) -> None:
    """Ctrl-C, and what a shell kills, reach every process of a job."""
    _rested(driver)
    before = _counted(driver)
    job = driver.submit(Program((Source("", main_class('Thread.sleep(300); System.out.print("whole");')),)))
    time.sleep(MOMENTS_S[-2])
    asked = [process.pid for process in tree([driver.pid]) if process.name == "bwrap"]
    for pid in asked:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(pid, number)
    answer = driver.read()
    assert asked
    assert answer.id == job
    assert answer.outcome is not None
    assert (answer.outcome.verdict, answer.outcome.runs[0].stdout) == (Verdict.OK, b"whole")
    assert _counted(driver) == before


def test_a_program_that_ends_like_a_kill_is_answered_all_the_same(java: JavaDriver) -> None:
    """It runs a second time, which nobody notices."""
    run = java.run(main_class('System.out.print("once"); Runtime.getRuntime().halt(137);'))
    assert (run.verdict, run.signal, run.stdout) == (Verdict.SIGNALLED, signal.SIGKILL, b"once")
