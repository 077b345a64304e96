"""Whether the end of a first program may pass is told by how it ended, and by how often (S4, decision 9)."""

from __future__ import annotations

import signal

import pytest

from cluster.errors import HostExhausted
from cluster.java.proof import ALIKE, Doubt
from cluster.wire.jobs import Run, Verdict

KILLED = Run(Verdict.SIGNALLED, message="the virtual machine died of SIGKILL", signal=signal.SIGKILL)
FILTERED = Run(Verdict.SIGNALLED, message="the virtual machine died of SIGSYS", signal=signal.SIGSYS)
TOO_SMALL = Run(Verdict.MEMORY_LIMIT, "native", message="used more memory than 32 MiB")
SILENT = Run(
    Verdict.INTERNAL_ERROR, message="the virtual machine did not start: it said nothing and ended with 1"
)


def passing(*runs: Run, complaint: str = "") -> list[bool]:
    """Of each of these ends of one node's tries."""
    doubt = Doubt()
    return [isinstance(doubt.fault(run, complaint, namespaces=True), HostExhausted) for run in runs]


@pytest.mark.parametrize(
    "run",
    [
        KILLED,
        Run(Verdict.TIME_LIMIT, "wall", signal=signal.SIGKILL),
        Run(Verdict.EXPIRED, signal=signal.SIGKILL),
        Run(Verdict.INTERNAL_ERROR, message="it was killed", signal=signal.SIGKILL),
        Run(Verdict.SIGNALLED, signal=signal.SIGABRT, stderr=b"# There is insufficient memory for the JRE"),
    ],
)
def test_a_host_without_time_or_memory_is_tried_for_ever(run: Run) -> None:
    assert passing(*[run] * 20) == [True] * 20


@pytest.mark.parametrize("run", [FILTERED, TOO_SMALL, SILENT])
def test_what_ends_alike_every_time_is_for_ever(run: Run) -> None:
    """A virtual machine that the call filter kills, or a cap that is too small for any, is no shortage."""
    assert passing(*[run] * ALIKE) == [True] * (ALIKE - 1) + [False]
    said = str(Doubt().fault(run, "bwrap: No permissions to create a new namespace", namespaces=True))
    assert run.message in said
    assert "sysctl" in said


def test_ends_that_differ_are_a_host_in_need() -> None:
    assert all(passing(*[FILTERED, KILLED, TOO_SMALL] * ALIKE))


def test_a_complaint_says_itself_whether_it_may_pass() -> None:
    assert passing(SILENT, complaint="Could not reserve enough space for object heap") == [True]
    assert passing(SILENT, complaint="Unrecognized VM option") == [False]
