"""Virtual machines started ahead of the programs that they will run (J2).

An empty pool is a cold start, never an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cluster.java.archive import STEPS
from cluster.java.flags import program_allowance, program_flags
from cluster.java.harness import LAUNCHER
from cluster.java.jvm import Ending, Jvm
from cluster.java.oneshot import OneShot
from cluster.java.sandbox import Sandbox
from cluster.limits import Limits

AFTER_S = 0.002
"""After a machine was taken, and after its job: first leaves what others wait for, as a start holds up the
node for a millisecond."""
PATIENCE_S = 0.05
"""How long a running program is left alone before the machine that it took is replaced beside it, on a host
whose processors are all busy."""
CALM_S = 0.25
"""How long a node must have been without work before a machine rehearses. Under steady load a rehearsal costs
more processor time than it saves: the next programs would wait for machines that are yet to start."""
LOOK_S = 0.01
"""Between two looks whether there is time for the rehearsal."""
QUIET_LOOK_S = 0.25
"""The same once that has not been so for `LOOKS` looks: a machine under load is asked rarely."""
LOOKS = 20
ADOPT = 3
"""So many programs in a row of another shape than the waiting machines, and these are made in that shape."""

DEAD = 2
"""So many in a row that died before they were ready, and none that is: something is wrong with the host."""

_RETRY_S = 1.0
"""After a waiting machine died by itself, or none could be started, before the next is tried."""


@attrs.frozen
class PoolSnapshot:
    """Counters since the start, and how many wait now.

    Attributes:
        lost: machines that died by themselves before they had a program, also one that a job had taken.
        rehearsed: how many of the waiting have done the whole rehearsal.
    """

    waiting: int
    warm_starts: int
    cold_starts: int
    lost: int
    rehearsed: int = 0


def machine_idle() -> bool:
    """Whether a processor has nothing to do: the rehearsal takes what would be lost, and nothing else."""
    try:
        runnable = Path("/proc/loadavg").read_bytes().split()[3].partition(b"/")[0]
    except OSError:
        return True
    return int(runnable) <= (os.cpu_count() or 1)  # this process is one of them


def _shape(limits: Limits) -> tuple[int, int, int]:
    """What of the limits is fixed when a machine starts; the rest is set when it gets its program."""
    return limits.memory_bytes, limits.tmp_bytes, limits.processes


class RunnerPool:
    """Keeps `size` machines of one shape waiting; starts others when asked.

    Processor time is what bounds a node, so that nothing here competes with a program: machines are
    started one at a time, in a program's first moments only beside it on another processor, and rehearse only
    while the host is idle.

    Args:
        clock: a reactor's timers.
        sandbox: starts processes.
        size: how many wait.
        limits: the shape of those that wait at first; it follows what programs ask for, if
            machines of that shape start.
        idle: whether the host has processor time to spare.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        sandbox: Sandbox,
        size: int,
        limits: Limits,
        idle: Callable[[], bool] = machine_idle,
    ) -> None:
        self._clock = clock
        self._sandbox = sandbox
        self._size = size
        self._limits = self._first = limits
        self._idle = idle
        self._waiting: list[OneShot] = []
        self._live: dict[Jvm, OneShot] = {}
        self._stopping = False
        self._timer: IDelayedCall | None = None
        self._busy = 0
        self._taken = 0.0
        self._worked = -CALM_S
        self._refused = 0.0
        self._looks = 0
        self._strangers = 0
        self._warm = self._cold = self._lost = 0
        self._dead = 0
        self.trouble = ""
        """Why no machine can be started now; empty: they can, as far as is known."""
        self.on_trouble: Callable[[str], None] = lambda _why: None

    def fill(self) -> None:
        """Begin to start what is missing."""
        self._tend_in(0)

    def begin(self) -> None:
        """A job is being worked on, from its compilation on."""
        self._busy += 1

    def end(self) -> None:
        """It is done."""
        self._busy -= 1
        self._worked = self._clock.seconds()
        if not self._busy:
            self._looks = 0
            self._tend_in(AFTER_S)

    def take(self, limits: Limits, *, fresh: bool = False) -> OneShot:
        """One for a program with these limits: a waiting one, if it has their shape.

        Args:
            limits: the program's.
            fresh: only one that starts now: what killed a machine may have killed those that wait, which are
                still dying.

        Raises:
            OSError: none waits and no process can be made.
        """
        self._taken = self._clock.seconds()
        self._tend_in(AFTER_S)
        if not fresh and (found := self._waiting_for(limits)):
            self._warm += 1
            return found
        self._cold += 1
        try:
            return self._start(limits)
        except OSError as error:
            self._refused = self._clock.seconds()
            self._tell(f"no process can be started: {error}")
            raise

    def _waiting_for(self, limits: Limits) -> OneShot | None:
        """The one that would begin soonest, of their shape, no longer among those that wait."""
        if _shape(limits) != _shape(self._limits):
            self._follow(limits)
            return None
        self._strangers = 0
        for found in sorted(self._waiting, key=lambda one: (one.resting, one.warmed), reverse=True):
            self._waiting.remove(found)
            if found.alive:
                return found
        return None

    def _follow(self, limits: Limits) -> None:
        """Programs of another shape have become the rule: the waiting machines take it on."""
        self._strangers += 1
        if self._strangers >= ADOPT:
            self._strangers = 0
            self._limits = limits
            for one in self._waiting:
                one.cancel()
            self._waiting.clear()

    def _tend_in(self, delay: float) -> None:
        """Look after the waiting machines, at the latest then."""
        if self._stopping:
            return
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= self._clock.seconds() + delay:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(delay, self._tend)

    def _tend(self) -> None:
        if self._stopping or any(not one.ready for one in self._waiting):
            return  # the one that starts reports
        if len(self._waiting) >= self._size:
            self._recover()
            self._rehearse()
            return
        patience = self._taken + PATIENCE_S - self._clock.seconds()
        if self._busy and patience > 0 and not self._idle():
            self._tend_in(patience)
            return
        try:
            one = self._start(self._limits)
        except OSError as error:
            self._log.error("can't start a virtual machine: {error}", error=error)
            if not self._waiting:
                self._tell(f"no process can be started: {error}")
            self._tend_in(_RETRY_S)
            return
        self._waiting.append(one)
        one.on_ready = self._is_ready

    def _recover(self) -> None:
        """All are ready, so that no start will prove anything: a while without refusal has to do."""
        pause = self._refused + _RETRY_S - self._clock.seconds()
        if self.trouble and pause > 0:
            self._tend_in(pause)
        else:
            self._tell("")

    def _is_ready(self) -> None:
        self._dead = 0
        self._tell("")
        self._tend_in(0)

    def _tell(self, trouble: str) -> None:
        """Say it when it changes."""
        if trouble != self.trouble:
            self.trouble = trouble
            self.on_trouble(trouble)

    def _rehearse(self) -> None:
        """The next step of the machine that is furthest: one is whole before the next begins."""
        unfinished = [one for one in self._waiting if one.warmed < STEPS]
        if not unfinished:
            return
        calm = self._worked + CALM_S - self._clock.seconds()
        if self._busy or calm > 0:
            self._tend_in(max(calm, LOOK_S))
            return
        if not self._idle():
            self._looks += 1
            self._tend_in(LOOK_S if self._looks < LOOKS else QUIET_LOOK_S)
            return
        self._looks = 0
        max(unfinished, key=lambda one: one.warmed).warm()

    def _start(self, limits: Limits) -> OneShot:
        jvm = Jvm(confined=self._sandbox.confined)
        one = OneShot(self._clock, jvm)
        jvm.place = self._sandbox.spawn(
            jvm, (*program_flags(limits), LAUNCHER), program_allowance(limits), boot=True
        )
        self._live[jvm] = one
        jvm.ended.addCallback(self._gone, jvm)
        return one

    def _gone(self, ending: Ending, jvm: Jvm) -> Ending:
        one = self._live.pop(jvm)
        self._lost += one.lost and not self._stopping
        if one in self._waiting:
            self._waiting.remove(one)
            if not self._stopping:
                self._log.warn("a waiting virtual machine died: {why}", why=one.complaint.strip())
                self._dead += not one.ready
                if self._dead >= DEAD and not any(other.ready for other in self._waiting):
                    self._despair(one.complaint.strip() or "a virtual machine was killed while it started")
                self._tend_in(_RETRY_S)
        return ending

    def _despair(self, why: str) -> None:
        """None starts: of a shape that programs asked for, that may be the shape; of the first, the host."""
        if _shape(self._limits) == _shape(self._first):
            self._tell(why)
        else:
            self._limits, self._dead = self._first, 0

    def stop(self) -> Deferred[None]:
        """Kill all, waiting or running; fires when all are reaped."""
        self._stopping = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
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
        rehearsed = sum(one.warmed >= STEPS for one in self._waiting)
        return PoolSnapshot(len(self._waiting), self._warm, self._cold, self._lost, rehearsed)


def _pass_on(ending: Ending, to: Deferred[Ending]) -> Ending:
    to.callback(ending)
    return ending
