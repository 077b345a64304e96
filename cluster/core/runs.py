"""What a worker knows of each run and of each kept result, and what it tells of all of them (W5)."""

from __future__ import annotations

import attrs

from cluster.wire.jobs import Outcome
from cluster.wire.messages import AttemptKey


@attrs.define
class Run:
    """One job that the runner has.

    Attributes:
        key: the newest sending that it answers; began: the one that started it.
        deadline: when it is stopped.
        token: the write that its start waits for, or waited for; None when nothing held it back (N4).
        stop: the write that its stop waits for, behind that of its start.
        cancelled: its result is wanted no longer.
        expired: it was stopped at its deadline.
    """

    key: AttemptKey
    began: AttemptKey
    deadline: float
    token: int | None
    stop: int | None = None
    cancelled: bool = False
    expired: bool = False


@attrs.define
class Kept:
    """A result that waits for its `Release`; `at` is when it came."""

    key: AttemptKey
    outcome: Outcome
    at: float
    size: int


@attrs.frozen
class ExecutionSnapshot:
    """What status and metrics read.

    Attributes:
        fenced: orders refused because of an older epoch (L6).
        returned: jobs handed back unrun.
        dropped: kept results that fell to the bounds of W5.
        strays: ends of runs that nobody here had started.
    """

    slots: int
    running: tuple[AttemptKey, ...]
    kept: int
    kept_bytes: int
    draining: bool
    finished: int
    fenced: int
    returned: int
    dropped: int
    strays: int
