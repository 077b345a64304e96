"""What a host lacks only now: memory, processes, descriptors, space on a disk (issue 7).

A node that meets such a fault keeps its role in the protocol, offers no slots, says what is missing, and
tries again. Any other fault of its Java side at its start ends it: nothing but a person mends that.
"""

from __future__ import annotations

import errno

from cluster.errors import EnvironmentFault, HostExhausted

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.ETXTBSY,
    }
)
_WORDS = (
    "resource temporarily unavailable",
    "can't start new thread",
    "cannot allocate memory",
    "insufficient memory",
    "not enough space",
    "could not reserve",
    "could not allocate",
    "commit_memory",
    "unable to create native thread",
    "cannot create worker gc thread",
    "out of system resources",
    "too many open files",
    "no space left on device",
    "disk quota exceeded",
    "did not answer for",
)
"""How the C library, bubblewrap and the JDK's tools say it."""

START_FAULTS = (OSError, RuntimeError, MemoryError, EnvironmentFault)
"""What a start that lacks something fails with; "can't start new thread" is a RuntimeError."""


def fault_of(text: str, cause: OSError | None = None) -> EnvironmentFault:
    """The fault with this text: a `HostExhausted` if its cause, or what the text quotes, may pass."""
    passing = says_so(text) if cause is None else cause.errno in _PASSING
    return HostExhausted(text) if passing else EnvironmentFault(text)


def start_fault(error: Exception) -> EnvironmentFault:
    """What an error while the Java side starts amounts to."""
    if isinstance(error, EnvironmentFault):
        return error
    if isinstance(error, MemoryError):
        return HostExhausted("the Java side can't start: this process has no memory left")
    return fault_of(f"the Java side can't start: {error}", error if isinstance(error, OSError) else None)


def says_so(complaint: str) -> bool:
    """Whether a program's last words are about something that may be there again later."""
    said = complaint.lower()
    return any(word in said for word in _WORDS)
