"""Control groups of version 2 (S3): what is decided about them, without touching any.

`cells.py` performs it. The files and their meaning: the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

NEEDED = ("cpu", "memory", "pids")
"""Controllers without which a cell would not bound what it must."""
FIX = "run the node as a service of its own with systemd's `Delegate=cpu memory pids`"
PERIOD_US = 100_000
"""Of `cpu.max`: the kernel's own."""
NODE_WEIGHT, MACHINES_WEIGHT = 500, 100
"""Shares of processor time when there is not enough: the node comes first (W12)."""

_ROOT, _POINT = 3, 4
"""Fields of a line in mountinfo: what of the file system is mounted, and where."""


@attrs.frozen
class Bounds:
    """What one virtual machine may take.

    Attributes:
        memory_bytes: everything it touches: its own pages, its memory file systems, the kernel's for it.
        processes: threads count as such.
        processors: of processor time at most; 0 is as much as there is.
    """

    memory_bytes: int
    processes: int
    processors: float = 0.0


@attrs.frozen
class Toll:
    """What the kernel counted of a cell.

    Attributes:
        out_of_memory: how many of its processes the kernel killed because the memory was used up.
        refused: threads and processes that it did not allow.
        peak: the most memory in use at once, in bytes; 0 where this kernel does not tell (before 5.19).
        cpu_s: seconds of processor time, of all that ever ran in it.
    """

    out_of_memory: int = 0
    refused: int = 0
    peak: int = 0
    cpu_s: float = 0.0


def limits_of(bounds: Bounds) -> Mapping[str, str]:
    """The files of a cell, and what is written to them."""
    quota = round(bounds.processors * PERIOD_US) if bounds.processors else "max"
    return {
        "memory.max": str(bounds.memory_bytes),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": str(bounds.processes),
        "cpu.max": f"{quota} {PERIOD_US}",
    }


OPTIONAL = frozenset({"memory.swap.max", "memory.oom.group"})
"""A kernel without swap has no such file; and the first process's death ends all of a machine anyway."""


def toll_of(memory_events: str, pids_events: str, cpu_stat: str, memory_peak: str) -> Toll:
    """Read the kernel's own counts; what is missing counts as nothing."""
    peak = memory_peak.strip()
    return Toll(
        out_of_memory=count(memory_events, "oom_kill"),
        refused=count(pids_events, "max"),
        peak=int(peak) if peak.isdigit() else 0,
        cpu_s=count(cpu_stat, "usage_usec") / 1e6,
    )


def count(text: str, name: str) -> int:
    """A number in one of the kernel's flat files; 0 where it has none of that name."""
    found = re.search(rf"(?m)^{name} (\d+)$", text)
    return int(found[1]) if found else 0


def locate(own: str, mounts: str) -> Path | None:
    """Where this process's group of version 2 is to be found.

    Args:
        own: `/proc/self/cgroup`.
        mounts: `/proc/self/mountinfo`; where several show the group, the closest one counts: a service
            manager mounts a delegated part writable over the rest, which is not.
    """
    member = re.search(r"(?m)^0::(/.*)$", own)
    if member is None:
        return None
    group = Path(member[1])
    best: tuple[int, Path] | None = None
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] != "cgroup2":
            continue
        parts = fields.split()
        root, point = Path(parts[_ROOT]), Path(parts[_POINT])
        if group.is_relative_to(root) and (best is None or len(root.parts) >= best[0]):
            best = len(root.parts), point / group.relative_to(root)
    return best[1] if best else None


def obstacle(controllers: str, members: str, me: int) -> str:
    """Why this group can't be divided for virtual machines; empty if it can.

    Args:
        controllers: its `cgroup.controllers`.
        members: its `cgroup.procs`.
        me: this process.
    """
    if missing := sorted(set(NEEDED) - set(controllers.split())):
        return f"the control group has no {', '.join(missing)} controller: {FIX}"
    if others := set(members.split()) - {str(me)}:
        return f"the control group is shared with {len(others)} other processes: {FIX}"
    return ""
