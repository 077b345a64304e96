"""What a new virtual machine is bounded by, set from outside while it is held before its start (S3, W12).

Two small programs do the same, `nice` outside the sandbox and `prlimit` inside; starting each costs more than
half a millisecond of processor time, for every program that is run. They are used where this node may not.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path

NICE = 5
"""Programs give way to the node (W12): by so much more than whatever it has itself."""
_LAST = 19

_KINDS = {
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
}


_SYS_NICE = 23
_SYS_RESOURCE = 24
"""The capabilities for what is another user's, by their places in what `/proc` writes."""


def may_renice_others() -> bool:
    """Whether this process may lower the priority of another user's."""
    return _may(_SYS_NICE)


def may_bound_others() -> bool:
    """Whether it may set another user's limits too; root in a container often may not."""
    return may_renice_others() and _may(_SYS_RESOURCE)


def _may(capability: int) -> bool:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    found = re.search(r"(?m)^CapEff:\s*([0-9a-f]+)$", status)
    return found is not None and bool(int(found[1], 16) >> capability & 1)


def give_way(pid: int) -> None:
    """Have a process of one thread, and what it starts from now on, come after this one (W12).

    Raises:
        OSError: it is gone, or this node may not.
    """
    own = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, pid, min(own + NICE, _LAST))


def lower(pid: int, name: str, most: int) -> None:
    """Set one of a process's limits for good; where it may have less already, that stays.

    Raises:
        OSError: it is gone, or this node may not.
    """
    kind = _KINDS[name]
    hard = resource.prlimit(pid, kind)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.prlimit(pid, kind, (value, value))


def bound(pid: int, limits: Mapping[str, int]) -> None:
    """Lower a process's priority and its limits, none of which it can raise again.

    It must have one thread as yet, to which the priority belongs, and which hands it down; and be in its user
    namespace: the kernel compares the number of threads with that of the user's processes in the innermost
    one alone, if the limit was lowered in there.

    Args:
        pid: the process, on this host.
        limits: by the names that `prlimit` has for them.

    Raises:
        OSError: it is gone, or this node may not.
    """
    give_way(pid)
    for name, most in limits.items():
        lower(pid, name, most)


def as_arguments(limits: Mapping[str, int]) -> list[str]:
    """The same for `prlimit`."""
    return [f"--{name}={most}" for name, most in limits.items()]
