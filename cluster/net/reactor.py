"""The one clock of a node, and the reactor whose timers run by it.

Twisted's own reactor asks the wall clock, so a step of that clock would stall every timer or fire all of
them at once. Leases and guards (L3, L4) need a clock that only runs forward, and that also counts the time
during which the machine was suspended: CLOCK_BOOTTIME.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.main import installReactor

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where the system has no CLOCK_BOOTTIME, time spent suspended is not counted."""


def monotonic_seconds() -> float:
    """Seconds of the node's clock; its zero is arbitrary."""
    return time.clock_gettime(CLOCK)


def utc() -> datetime:
    """The wall clock: for boots (N3), certificates and people; never for intervals."""
    return datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), UTC)


class BootTimeReactor(EPollReactor):
    """Epoll, with every timer on the node's clock."""

    def __init__(self) -> None:
        """Make the epoll object; `install` is what a process calls."""
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted does not annotate it

    seconds = staticmethod(monotonic_seconds)


def install() -> BootTimeReactor:
    """Make this the process's reactor.

    Must come before anything imports `twisted.internet.reactor`, as Klein does.

    Raises:
        ReactorAlreadyInstalledError: something did.
    """
    reactor = BootTimeReactor()
    installReactor(reactor)
    return reactor


def now(reactor: IReactorTime) -> float:
    """The node's clock, read at the point of use (L3)."""
    return float(reactor.seconds())


def unix_seconds() -> float:
    """The same in seconds since 1970."""
    return utc().timestamp()
