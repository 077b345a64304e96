"""Virtual machines started ahead of the programs that they will run (J2).

An empty pool is a cold start, never an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cluster.java.flags import program_bounds, program_flags
from cluster.java.harness import LAUNCHER
from cluster.java.jvm import Ending, Jvm
from cluster.java.oneshot import OneShot
from cluster.java.sandbox import Sandbox
from cluster.limits import Limits

_RETRY_S = 1.0
"""After a waiting machine died by itself, before the next is tried."""


@attrs.frozen
class PoolSnapshot:
    """Counters since the start, and how many wait now."""

    waiting: int
    warm_starts: int
    cold_starts: int
    lost: int


def _shape(limits: Limits) -> tuple[int, int, int]:
    """What of the limits is fixed when a machine starts; the rest is set when it gets its program."""
    return limits.memory_bytes, limits.tmp_bytes, limits.processes


class RunnerPool:
    """Keeps `size` machines of one shape waiting; starts others when asked.

    Args:
        clock: a reactor's timers.
        sandbox: starts processes.
        size: how many wait.
        limits: the shape of those that wait: what most programs ask for.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, sandbox: Sandbox, size: int, limits: Limits) -> None:
        self._clock = clock
        self._sandbox = sandbox
        self._size = size
        self._limits = limits
        self._waiting: deque[OneShot] = deque()
        self._live: dict[Jvm, OneShot] = {}
        self._stopping = False
        self._filling = False
        self._warm = self._cold = self._lost = 0
        self.on_change: Callable[[], None] = lambda: None

    def fill(self) -> None:
        """Start what is missing."""
        self._filling = False
        while len(self._waiting) < self._size and not self._stopping:
            try:
                self._waiting.append(self._start(self._limits))
            except OSError as error:
                self._log.error("can't start a virtual machine: {error}", error=error)
                self._fill_later(_RETRY_S)
                return

    def take(self, limits: Limits) -> OneShot:
        """One for a program with these limits: a waiting one, if it has their shape.

        Raises:
            OSError: none waits and no process can be made.
        """
        if _shape(limits) == _shape(self._limits):
            for found in sorted(self._waiting, key=lambda one: not one.ready):
                self._waiting.remove(found)
                self._fill_later(0)
                if found.alive:
                    self._warm += 1
                    return found
        self._cold += 1
        return self._start(limits)

    def _start(self, limits: Limits) -> OneShot:
        jvm = Jvm(confined=self._sandbox.confined)
        one = OneShot(self._clock, jvm)
        place = self._sandbox.spawn(
            jvm,
            (*program_flags(limits), LAUNCHER),
            program_bounds(limits),
            tmp_bytes=limits.tmp_bytes,
            boot=True,
        )
        jvm.clean = place.clean
        self._live[jvm] = one
        jvm.ended.addCallback(self._gone, jvm)
        return one

    def _gone(self, ending: Ending, jvm: Jvm) -> Ending:
        one = self._live.pop(jvm)
        if one in self._waiting:
            self._waiting.remove(one)
            if not self._stopping:
                self._lost += 1
                self._log.warn("a waiting virtual machine died: {why}", why=one.complaint.strip())
                self._fill_later(_RETRY_S)
        return ending

    def _fill_later(self, delay: float) -> None:
        if not self._filling:
            self._filling = True
            self._clock.callLater(delay, self.fill)

    def stop(self) -> Deferred[None]:
        """Kill all, waiting or running; fires when all are reaped."""
        self._stopping = True
        endings: list[Deferred[Ending]] = []
        for jvm, one in list(self._live.items()):
            ended: Deferred[Ending] = Deferred()
            jvm.ended.addCallback(_pass_on, ended)
            endings.append(ended)
            one.cancel()
        self._waiting.clear()
        return DeferredList(endings).addCallback(lambda _: None)

    def snapshot(self) -> PoolSnapshot:
        """Figures for status and metrics."""
        return PoolSnapshot(len(self._waiting), self._warm, self._cold, self._lost)


def _pass_on(ending: Ending, to: Deferred[Ending]) -> Ending:
    to.callback(ending)
    return ending
