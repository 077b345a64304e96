"""What a bubblewrap leaves that dies too young: a process that waits for ever to be let in.

Between making its child and telling its number, bubblewrap sets the child's user up; only then does the child
ask the kernel to end it with its parent. A bubblewrap that is killed in between leaves a child that nobody
has a number of, and that holds every pipe of the machine open, so that its end is never told. A node ends
what its own bubblewraps leave at once (`end_holders`), and at its start what nodes that were killed have left
(`end_abandoned`).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

_NAME = b"bwrap\n"
"""As the kernel names it until it becomes what it is to run, which is after its number was told."""


def end_holders(descriptors: Iterable[int]) -> int:
    """Kill what was to become a machine and holds the other end of one of these pipes; how many.

    Looks through `/proc`: a few milliseconds, for what does not happen unless somebody kills our processes.

    Args:
        descriptors: of pipes of ours that the machine has the other end of.
    """
    pipes = {f"pipe:[{os.fstat(descriptor).st_ino}]" for descriptor in descriptors}
    return _end_all(lambda process: _holds(process, pipes))


def end_abandoned(directory: Path) -> int:
    """Kill what was to become a machine of a node that is gone; how many.

    Such a one is the first process of its namespace, and its parent is no bubblewrap any more: nobody will
    ever let it in. Those of living nodes, also of others that share the directory, have their parents.

    Args:
        directory: what machines start from lies in it, and in their bubblewraps' arguments.
    """
    return _end_all(lambda process: _abandoned(process, f"{directory}/".encode()))


def _end_all(unwanted: Callable[[Path], bool]) -> int:
    return sum(_end(entry, unwanted) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _end(process: Path, unwanted: Callable[[Path], bool]) -> bool:
    """Kill it if it is one; by a descriptor, so that nobody else can have its number meanwhile."""
    with contextlib.suppress(OSError):
        if not _unborn(process):
            return False
        pidfd = os.pidfd_open(int(process.name))
        try:
            if _unborn(process) and unwanted(process):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return True
        finally:
            os.close(pidfd)
    return False


def _unborn(process: Path) -> bool:
    return (process / "comm").read_bytes() == _NAME


def _holds(process: Path, pipes: set[str]) -> bool:
    return any(str(held.readlink()) in pipes for held in (process / "fd").iterdir())


def _abandoned(process: Path, directory: bytes) -> bool:
    status = (process / "status").read_bytes()
    parent = re.search(rb"(?m)^PPid:\t([1-9]\d*)$", status)
    if parent is None or not re.search(rb"(?m)^NSpid:(\t\d+)+\t1$", status):
        return False
    if not any(word.startswith(directory) for word in (process / "cmdline").read_bytes().split(b"\0")):
        return False
    return not _unborn(process.with_name(parent[1].decode()))
