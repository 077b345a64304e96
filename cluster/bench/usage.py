"""What a tree of processes costs, read from `/proc`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import attrs

from cluster.limits import MIB

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@attrs.frozen
class Process:
    """One line of `/proc/PID/stat`.

    Attributes:
        cpu_s: processor seconds of its own and of the children that it has waited for.
    """

    pid: int
    parent: int
    name: str
    cpu_s: float
    threads: int


def processes() -> dict[int, Process]:
    """Every process of this machine, by number."""
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                head, _, tail = (entry / "stat").read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            fields = tail.split()
            pid = int(entry.name)
            cpu = sum(map(int, fields[11:15])) / _TICKS
            found[pid] = Process(pid, int(fields[1]), head.partition("(")[2], cpu, int(fields[17]))
    return found


def tree(roots: Iterable[int]) -> list[Process]:
    """The processes with these numbers and everything below them."""
    everything = processes()
    children: dict[int, list[Process]] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    todo = [everything[pid] for pid in roots if pid in everything]
    while todo:
        process = todo.pop()
        found.append(process)
        todo += children.get(process.pid, [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor seconds of a tree until now, those of what has ended in it included."""
    return sum(process.cpu_s for process in tree(roots))


def memory_mib(roots: Iterable[int]) -> float:
    """Memory of a tree; what processes share is counted once (the kernel's proportional set size)."""
    total = 0
    for process in tree(roots):
        try:
            text = (_PROC / str(process.pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        if found := re.search(r"(?m)^Pss:\s+(\d+) kB$", text):
            total += int(found[1]) * 1024
    return total / MIB


def descriptors(pid: int) -> int:
    """Open files of one process; 0 when it is gone."""
    try:
        return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return 0


def load() -> float:
    """The machine's load average of the last minute: how busy it was with everything."""
    return os.getloadavg()[0]
