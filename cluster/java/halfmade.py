"""What a bubblewrap leaves that dies too young: a process that waits for ever to be let in.

Between making its child and telling its number, bubblewrap sets the child's user up; only then does the child
ask the kernel to end it with its parent. A bubblewrap that is killed in between leaves a child that nobody
has a number of, and that holds every pipe of the machine open, so that its end is never told.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
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
    return sum(_end(int(entry.name), pipes) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _end(pid: int, pipes: set[str]) -> bool:
    """Kill it if it is one; by a descriptor, so that nobody else can have its number meanwhile."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_bytes() != _NAME:
            return False
        pidfd = os.pidfd_open(pid)
        try:
            if any(str(held.readlink()) in pipes for held in Path(f"/proc/{pid}/fd").iterdir()):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return True
        finally:
            os.close(pidfd)
    return False
