"""What the kernel bounds each virtual machine by, read from outside (S3, W12)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cluster.limits import MIB
from cluster.wire.jobs import Program, Source, Verdict
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class

_BEHIND = 5
"""How much later than the node everything that it starts has its turn."""
_LAST = 19


def _limits(pid: int) -> dict[str, list[str]]:
    """By the kernel's names: what holds, and what it could be raised to."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def _turns(pid: int) -> set[int]:
    """The priorities of a process's threads."""
    return {os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}


def _until(java: JavaDriver, wanted: Callable[[list[int]], bool]) -> list[int]:
    """The machines, as soon as they are what is wanted."""
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while True:
        machines = java.machines()
        try:
            if wanted(machines):
                return machines
        except OSError:  # one has ended meanwhile
            pass
        assert time.monotonic() < deadline, machines  # noqa: TID251
        time.sleep(0.02)


def test_each_machine_has_its_limits_and_can_not_raise_them(java: JavaDriver) -> None:
    """S3: the compiler's too."""
    for pid in _until(java, lambda machines: len(machines) > 1):
        limits = _limits(pid)
        assert limits["Max open files"] == ["512", "512"]
        assert limits["Max file size"] == [str(64 * MIB)] * 2
        assert limits["Max core file size"] == ["0", "0"]


def test_every_thread_of_a_machine_comes_after_the_node(java: JavaDriver) -> None:
    """W12: those that a program starts as well."""
    last = min(os.getpriority(os.PRIO_PROCESS, java.pid) + _BEHIND, _LAST)
    text = main_class(
        "for (int n = 0; n < 40; n++) { var t = new Thread(() -> { try { Thread.sleep(9000); }"
        " catch (Exception e) { } }); t.setDaemon(true); t.start(); } Thread.sleep(1500);"
    )
    job = java.submit(Program((Source("", text),)))

    def runs(machines: list[int]) -> bool:
        return any(len(list(Path(f"/proc/{pid}/task").iterdir())) > 40 for pid in machines)

    found = {pid: _turns(pid) for pid in _until(java, runs)}
    answer = java.read()
    assert answer.id == job
    assert answer.outcome is not None
    assert answer.outcome.verdict is Verdict.OK
    assert set().union(*found.values()) == {last}, found
