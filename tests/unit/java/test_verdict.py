"""From evidence to a verdict (R2)."""

from __future__ import annotations

import pytest

from cluster.java.frames import Record
from cluster.java.verdict import Cause, Evidence, judge, killed_from_outside
from cluster.limits import Limits
from cluster.wire.jobs import Verdict

OOM = Record("X", b"hjava.lang.OutOfMemoryError: Java heap space")
THROWN = Record("X", b"\x00java.lang.IllegalStateException: no")


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(None, 0, None, Record("D", b"")), (Verdict.OK, "")),
        (Evidence(None, 0, None, exiting=True), (Verdict.OK, "")),
        (Evidence(None, 3, None, exiting=True), (Verdict.RUNTIME_ERROR, "")),
        (Evidence(None, 1, None, THROWN, exiting=True), (Verdict.RUNTIME_ERROR, "")),
        (Evidence(None, 1, None, OOM, exiting=True), (Verdict.MEMORY_LIMIT, "heap")),
        (Evidence(Cause.WALL, 137, None), (Verdict.TIME_LIMIT, "wall")),
        (Evidence(Cause.CPU, 137, None), (Verdict.TIME_LIMIT, "cpu")),
        (Evidence(Cause.MEMORY, 137, None), (Verdict.MEMORY_LIMIT, "native")),
        (Evidence(Cause.STDOUT, 137, None), (Verdict.OUTPUT_LIMIT, "stdout")),
        (Evidence(Cause.STDERR, 0, None), (Verdict.OUTPUT_LIMIT, "stderr")),
        (Evidence(Cause.CANCELLED, 137, None, OOM), (Verdict.CANCELLED, "")),
        (Evidence(Cause.EXPIRED, 137, None), (Verdict.EXPIRED, "")),
        (Evidence(None, None, 9, cpu_spent=True), (Verdict.TIME_LIMIT, "cpu")),
        (Evidence(None, 152, None), (Verdict.TIME_LIMIT, "cpu")),
        (Evidence(None, 134, None), (Verdict.SIGNALLED, "")),
        (Evidence(None, 134, None, data_full=True), (Verdict.MEMORY_LIMIT, "native")),
        (Evidence(None, 137, None, out_of_memory=True), (Verdict.MEMORY_LIMIT, "native")),
        (Evidence(Cause.WALL, 137, None, out_of_memory=True), (Verdict.MEMORY_LIMIT, "native")),
        (Evidence(Cause.CANCELLED, 137, None, out_of_memory=True), (Verdict.CANCELLED, "")),
        (Evidence(Cause.STDOUT, 137, None, out_of_memory=True), (Verdict.OUTPUT_LIMIT, "stdout")),
        (Evidence(None, 1, None, data_full=True), (Verdict.MEMORY_LIMIT, "native")),
        (Evidence(None, 1, None, exiting=True, data_full=True), (Verdict.RUNTIME_ERROR, "")),
        (Evidence(None, 1, None, Record("D", b""), data_full=True), (Verdict.RUNTIME_ERROR, "")),
        (Evidence(None, 127, None), (Verdict.SIGNALLED, "")),
        (Evidence(None, 127, None, exiting=True), (Verdict.RUNTIME_ERROR, "")),
        (Evidence(None, 0, None, Record("L", b"")), (Verdict.OUTPUT_LIMIT, "value")),
        (Evidence(None, 0, None, Record("D", b""), cpu_passed=True), (Verdict.TIME_LIMIT, "cpu")),
        (Evidence(None, 1, None, OOM, cpu_passed=True), (Verdict.MEMORY_LIMIT, "heap")),
        (Evidence(Cause.CANCELLED, 137, None, cpu_passed=True), (Verdict.CANCELLED, "")),
        # As plain java: another thread, or a handler of its own, says how it ends.
        (Evidence(None, 0, None, THROWN, exiting=True), (Verdict.OK, "")),
    ],
)
def test_each_piece_of_evidence_has_its_verdict(evidence: Evidence, expected: tuple[Verdict, str]) -> None:
    run = judge(evidence, Limits())
    assert (run.verdict, run.detail) == expected


def test_a_program_that_ran_out_of_memory_died_of_that_however_it_was_ended() -> None:
    run = judge(Evidence(Cause.WALL, 137, None, Record("X", b"tunable to create native thread")), Limits())
    assert (run.verdict, run.detail, run.signal) == (Verdict.MEMORY_LIMIT, "threads", 9)


def test_an_exit_code_above_128_after_an_orderly_exit_is_an_exit_code() -> None:
    run = judge(Evidence(None, 137, None, exiting=True), Limits())
    assert (run.verdict, run.exit_code, run.signal) == (Verdict.RUNTIME_ERROR, 137, None)


def test_a_value_is_given_back_and_a_null_is_none() -> None:
    assert judge(Evidence(None, 0, None, Record("V", b"")), Limits()).value == b""
    assert judge(Evidence(None, 0, None, Record("D", b"")), Limits()).value is None


def test_the_message_is_the_exception_itself() -> None:
    assert judge(Evidence(None, 1, None, THROWN), Limits()).message == "java.lang.IllegalStateException: no"


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(None, None, 9), True),
        (Evidence(None, 137, None), True),
        (Evidence(None, 137, None, exiting=True), False),
        (Evidence(None, 139, None), False),
        (Evidence(None, 137, None, Record("D", b"")), False),
        (Evidence(Cause.WALL, 137, None), False),
        (Evidence(None, 137, None, out_of_memory=True), False),
        (Evidence(None, 137, None, data_full=True), False),
        (Evidence(None, None, 9, cpu_spent=True), False),
    ],
)
def test_a_kill_by_nobody_we_know_is_no_doing_of_the_program(evidence: Evidence, expected: bool) -> None:
    assert killed_from_outside(evidence) is expected
