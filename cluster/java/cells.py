"""A control group for each virtual machine (S3): the kernel bounds and counts what it takes.

A node that systemd gave a subtree (`Delegate=`) moves into a leaf of it, since a group with processes of its
own can bound no children, and makes a *cell* for each virtual machine beside it:

    the delegated group
      node/          this process, and every bubblewrap that waits for its machine's end
      machines/      all of them together weigh less than the node (W12)
        run-7/       one virtual machine: memory, swap, processes, processor time

Making, filling and removing a group waits for the kernel's locks, so that threads do it. A cell is only read
by the reactor itself, and that is quick.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed

from cluster.java.cgroup import (
    FIX,
    MACHINES_WEIGHT,
    NEEDED,
    NODE_WEIGHT,
    OPTIONAL,
    Bounds,
    Toll,
    count,
    limits_of,
    locate,
    obstacle,
    toll_of,
)

LEAF, MACHINES = "node", "machines"

_GONE_S = 1.0
"""How long the last of a killed group's processes may take to leave it."""
_GONE_LOOK_S = 0.002


class Cell:
    """The group of one virtual machine; made when its number is known, before it does anything.

    Args:
        path: of the directory to be made.
        in_thread: calls a function in a thread, and fires with what it returns.
    """

    def __init__(self, path: Path, bounds: Bounds, in_thread: Callable[..., Deferred[Any]]) -> None:
        self.path = path
        self._bounds = bounds
        self._in_thread = in_thread
        self._made: Deferred[Any] | None = None

    def admit(self, pid: int) -> Deferred[None]:
        """Make it and move a process in; fails with OSError."""
        made: Deferred[None] = Deferred()
        self._made = self._in_thread(self._admit, pid)
        self._made.addCallbacks(made.callback, made.errback)
        return made

    def _admit(self, pid: int) -> None:
        self.path.mkdir()
        for name, value in limits_of(self._bounds).items():
            try:
                _write(self.path / name, value)
            except FileNotFoundError:
                if name not in OPTIONAL:
                    raise
        _write(self.path / "cgroup.procs", str(pid))

    def toll(self) -> Toll:
        """What was counted until now; zeros before it is made."""
        texts = [
            _read(self.path / name) for name in ("memory.events", "pids.events", "cpu.stat", "memory.peak")
        ]
        return toll_of(*texts)

    def cpu_s(self) -> float:
        """Processor time until now, alone."""
        return count(_read(self.path / "cpu.stat"), "usage_usec") / 1e6

    def remove(self) -> Deferred[Any]:
        """Kill what is left in it, and take it away."""
        if self._made is None:
            return succeed(None)
        return self._made.addCallback(lambda _: self._in_thread(remove, self.path))


def remove(path: Path) -> None:
    """Kill everything in a group, and take it away; one that does not go is left to the next start."""
    deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + _GONE_S
    while path.exists():
        try:
            path.rmdir()
        except OSError:
            if time.clock_gettime(time.CLOCK_BOOTTIME) > deadline:
                return
            try:
                _write(path / "cgroup.kill", "1")
            except OSError:
                return
            time.sleep(_GONE_LOOK_S)  # in a thread of its own


class Subtree:
    """A delegated group, divided.

    Args:
        path: of the delegated group.
        in_thread: see `Cell`.
    """

    def __init__(self, path: Path, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._path = path
        self._in_thread = in_thread
        self._numbers = itertools.count(1)
        self._leaving: set[Deferred[Any]] = set()

    def cell(self, kind: str, bounds: Bounds) -> Cell:
        """A new one, not yet made; `kind` begins its name."""
        return Cell(self._path / MACHINES / f"{kind}-{next(self._numbers)}", bounds, self._in_thread)

    def give_up(self, cell: Cell) -> None:
        """Have a cell taken away whose machine is dead."""
        leaving = cell.remove()
        self._leaving.add(leaving)
        leaving.addBoth(lambda _: self._leaving.discard(leaving))

    def settled(self) -> Deferred[Any]:
        """Fires when every cell that was given up is gone."""
        waiting: list[Deferred[Any]] = []
        for leaving in self._leaving:
            gone: Deferred[Any] = Deferred()
            leaving.addBoth(partial(_tell, gone))
            waiting.append(gone)
        return DeferredList(waiting)


def _tell(gone: Deferred[Any], result: object) -> object:
    gone.callback(None)
    return result


def divide(path: Path, me: int) -> str:
    """Move into a leaf, and prepare for cells beside it; why that is not possible, or nothing.

    A failure leaves the process where it was. What a former life of this node left is ended and taken away.
    """
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        if not os.access(path / name, os.W_OK):
            return f"the control group is not this node's to divide: {FIX}"
    leaf, machines = path / LEAF, path / MACHINES
    members = f"{_read(path / 'cgroup.procs')} {_read(leaf / 'cgroup.procs')}"
    if problem := obstacle(_read(path / "cgroup.controllers"), members, me):
        return problem
    wanted = " ".join(f"+{name}" for name in NEEDED)
    try:
        if machines.is_dir():
            for old in machines.iterdir():
                if old.is_dir():
                    remove(old)
        for made in (leaf, machines):
            made.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", str(me))
        _write(path / "cgroup.subtree_control", wanted)
        _write(machines / "cgroup.subtree_control", wanted)
        _write(leaf / "cpu.weight", str(NODE_WEIGHT))
        _write(machines / "cpu.weight", str(MACHINES_WEIGHT))
    except OSError as error:
        with contextlib.suppress(OSError):  # or it stays in the leaf, which bounds nothing
            _write(path / "cgroup.procs", str(me))
        return f"the control group can't be divided: {error.strerror or error} ({error.filename})"
    return ""


def enter() -> tuple[Path | None, str]:
    """Find this process's delegated group and divide it: the group, or why there is none. Blocks."""
    path = locate(_read(Path("/proc/self/cgroup")), _read(Path("/proc/self/mountinfo")))
    if path is None:
        return None, "no control groups of version 2 here"
    if path.name == LEAF and (path.parent / MACHINES).is_dir():
        path = path.parent  # a former life of this process divided it
    problem = divide(path, os.getpid())
    return (None, problem) if problem else (path, "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _write(path: Path, value: str) -> None:
    """One write of the whole, which is what the kernel takes; never makes a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
