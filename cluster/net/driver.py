"""Runs one node's core: events in, effects performed in order, one timer (architecture A4).

The driver is never re-entered: an effect that causes an event queues it. An exception, wherever it comes
from, is logged and counted, the rest goes on, and the timer is always armed again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

import attrs

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.effects import (
    Answer,
    Close,
    Dial,
    Effect,
    Effects,
    HangUp,
    Log,
    Persist,
    RepeatProgress,
    Send,
    SendFrame,
    ShowProgress,
    StartRun,
    Stopped,
    StopRun,
)
from cluster.core.events import ChannelId, Event, LoopLagged, Persisted, PersistFailed, RunFinished
from cluster.core.record import Record
from cluster.identity import NodeId
from cluster.net.reactor import now
from cluster.wire.jobs import Job, Outcome, Verdict
from cluster.wire.messages import Datagram, Frame

LAG_S = 0.05
"""A timer later than this makes the node doubt itself (G4)."""

SPIN_S = 0.001
"""A deadline that is still past after a tick is tried again this much later, not at once."""

ERROR_PAUSE_S = 0.1
"""After a core that raised, how long until the next tick."""


class Core(Protocol):
    """What the driver drives: `core.node.NodeCore`."""

    def start(self, now: float) -> Effects:
        """Begin."""

    def receive(self, event: Event, now: float) -> Effects:
        """Something happened."""

    def tick(self, now: float) -> Effects:
        """A deadline came."""

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""


class Datagrams(Protocol):
    """Performs `Send`."""

    def send(self, to: NodeId, message: Datagram) -> None:
        """Send it; a failure is the network's affair, never raised."""


class Channels(Protocol):
    """Performs `SendFrame`, `Dial`, `HangUp` and `Close`."""

    def send(self, channel: ChannelId, frame: Frame) -> None:
        """Send a frame; a channel that is closed swallows it."""

    def dial(self, to: NodeId) -> None:
        """Keep a channel to this node open."""

    def hang_up(self, reason: str) -> None:
        """Stop that, and close it."""

    def close(self, channel: ChannelId, reason: str) -> None:
        """Close any channel."""


class Store(Protocol):
    """Performs `Persist`."""

    def write(self, record: Record) -> Deferred[None]:
        """Make it durable, in order."""


class Runs(Protocol):
    """Performs `StartRun`, `StopRun` and `RepeatProgress`."""

    def start(self, job: Job, remaining_s: float) -> None:
        """Compile and run."""

    def stop(self, job: str) -> None:
        """Stop it now."""

    def repeat(self, job: str) -> None:
        """Tell its progress again, from its beginning."""


@attrs.frozen
class Ports:
    """Everything that a node's effects act on."""

    datagrams: Datagrams
    channels: Channels
    store: Store
    runs: Runs
    answer: Callable[[Answer], None]
    log: Callable[[Log], None]
    stopped: Callable[[], None]
    show: Callable[[ShowProgress], None] = lambda _progress: None


class Driver:
    """Feeds one core and performs what it wants.

    Attributes:
        lag_s: how late the last timer was, in seconds; `lag_max_s`: the worst so far.
        counters: `events`, `lags`, `core_errors`, `effect_errors`, `persist_failures`.
    """

    _log = Logger()

    def __init__(self, core: Core, reactor: IReactorTime, ports: Ports, *, lag_s: float = LAG_S) -> None:
        """Nothing happens before `start`; `lag_s` is the lateness that is reported to the core."""
        self.lag_s = 0.0
        self.lag_max_s = 0.0
        self.counters: Counter[str] = Counter()
        self._core = core
        self._reactor = reactor
        self._ports = ports
        self._lag_threshold_s = lag_s
        self._queue: deque[Event] = deque()
        self._busy = False
        self._running = False
        self._timer: IDelayedCall | None = None
        self._due: float | None = None
        self._expected: float | None = None
        self._pause_until = 0.0

    def start(self) -> None:
        """Begin the node's life."""
        self._running = True
        self._turn(self._core.start)

    def stop(self) -> None:
        """No more events, effects or timers."""
        self._running = False
        self._queue.clear()
        self._disarm()

    def feed(self, event: Event) -> None:
        """Something happened; it reaches the core now, or when the core is done with what it has."""
        if not self._running:
            return
        self._queue.append(event)
        if not self._busy:
            self._note_lag()
            self._turn()

    def _fire(self) -> None:
        self._timer = None
        self._note_lag()
        self._turn(self._tick, ticked=True)

    def _turn(self, first: Callable[[float], Effects] | None = None, *, ticked: bool = False) -> None:
        """Feed everything queued, then `first` if there is one, then what that caused; arm the timer."""
        self._busy = True
        try:
            self._drain()
            if first is not None and self._running:
                self._step(first)
                self._drain()
        finally:
            self._busy = False
            self._arm(ticked=ticked)

    def _tick(self, at: float) -> Effects:
        self._pause_until = (
            at + ERROR_PAUSE_S
        )  # holds if the core raises: its deadline may stay past for ever
        effects = self._core.tick(at)
        self._pause_until = 0.0
        return effects

    def _drain(self) -> None:
        while self._queue:
            event = self._queue.popleft()
            self.counters["events"] += 1
            self._step(lambda at, event=event: self._core.receive(event, at))  # type: ignore[misc]

    def _step(self, ask: Callable[[float], Effects]) -> None:
        try:
            effects = ask(now(self._reactor))
        except Exception:  # noqa: BLE001  (A4: log, count, go on)
            self.counters["core_errors"] += 1
            self._log.failure("the core failed; the node goes on")
            return
        self._perform_all(effects)

    def _perform_all(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if not self._running:
                return
            try:
                self._perform(effect)
            except Exception:  # noqa: BLE001  (A4: log, count, go on)
                self.counters["effect_errors"] += 1
                self._log.failure("an effect failed: {kind}", kind=type(effect).__name__)

    def _perform(self, effect: Effect) -> None:
        ports = self._ports
        match effect:
            case Send(to, message):
                ports.datagrams.send(to, message)
            case SendFrame(channel, frame):
                ports.channels.send(channel, frame)
            case Dial(to):
                ports.channels.dial(to)
            case HangUp(reason):
                ports.channels.hang_up(reason)
            case Close(channel, reason):
                ports.channels.close(channel, reason)
            case Persist():
                self._persist(effect)
            case StartRun() | StopRun() | RepeatProgress():
                self._to_runner(effect)
            case Answer():
                ports.answer(effect)
            case ShowProgress():
                ports.show(effect)
            case Log():
                ports.log(effect)
            case Stopped():
                ports.stopped()

    def _persist(self, effect: Persist) -> None:
        """Hold `then` back until the record is durable (N4)."""

        def durable(_result: None) -> None:
            busy, self._busy = self._busy, True  # what one of these causes waits for the rest of them
            try:
                self._perform_all(effect.then)
            finally:
                self._busy = busy
            self.feed(Persisted(effect.token))

        def failed(failure: Failure) -> None:
            self.counters["persist_failures"] += 1
            self._log.error("the record could not be written: {reason}", reason=failure.getErrorMessage())
            self.feed(PersistFailed(effect.token, failure.getErrorMessage()))

        writing = maybeDeferred(self._ports.store.write, effect.record)
        writing.addCallbacks(durable, failed)
        writing.addErrback(lambda failure: self._log.failure("after a write", failure))

    def _to_runner(self, effect: StartRun | StopRun | RepeatProgress) -> None:
        match effect:
            case StartRun(job, remaining_s):
                self._start_run(job, remaining_s)
            case StopRun(job_id):
                self._ports.runs.stop(job_id)
            case RepeatProgress(job_id):
                self._ports.runs.repeat(job_id)

    def _start_run(self, job: Job, remaining_s: float) -> None:
        try:
            self._ports.runs.start(job, remaining_s)
        except Exception:
            # `RunFinished` follows a `StartRun` always, or its slot would be lost for good.
            self.feed(RunFinished(job.id, Outcome(Verdict.INTERNAL_ERROR, "the run could not be started")))
            raise

    def _note_lag(self) -> None:
        """Tell the core first if its deadline passed a while ago: whatever came in may be old (G4)."""
        if self._expected is None:
            return
        late = max(0.0, now(self._reactor) - self._expected)
        self._expected = None
        self.lag_s = late
        self.lag_max_s = max(self.lag_max_s, late)
        if late > self._lag_threshold_s:
            self.counters["lags"] += 1
            self._queue.appendleft(LoopLagged(late))

    def _arm(self, *, ticked: bool) -> None:
        """Exactly one timer, at the core's next deadline; most events leave that, and so the timer, alone."""
        if not self._running:
            self._disarm()
            return
        at = now(self._reactor)
        try:
            due = self._core.next_deadline()
        except Exception:  # noqa: BLE001  (A4: log, count, go on)
            self.counters["core_errors"] += 1
            self._log.failure("the core does not know its next deadline; the node goes on")
            due = at + ERROR_PAUSE_S
        if due is None:
            self._disarm()
            return
        delay = max(due - at, self._pause_until - at, SPIN_S if ticked else 0.0)
        if self._timer is None or due != self._due or delay > due - at:
            self._disarm()
            self._timer = self._reactor.callLater(delay, self._fire)
        self._due = due
        self._expected = at + delay

    def _disarm(self) -> None:
        self._expected = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
