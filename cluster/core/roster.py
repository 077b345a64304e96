"""Who is connected to the leader, who of them works, and whose turn it is (W3, W6)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from math import inf

import attrs

from cluster.config import WorkSettings
from cluster.core.alarms import Alarms
from cluster.core.events import OWN_CHANNEL, ChannelId
from cluster.core.window import Window
from cluster.identity import NodeId, Role
from cluster.wire.messages import AttemptKey, Ping


@attrs.define
class Flight:
    """A job at a worker.

    Attributes:
        key: the sending that the worker answers.
        cancelled: nobody wants it; it holds its slot until the worker says that it stopped.
        kept: it is finished there and its result is under way; it holds no slot.
        since: when this leader gave it to the worker; None when it was reported.
    """

    key: AttemptKey
    cancelled: bool = False
    kept: bool = False
    since: float | None = None


@attrs.define
class Worker:
    """A connected worker; only its roster changes it, but for the marks on its flights.

    Attributes:
        flights: by job, in the order they were given.
        running: slots in use.
        paused: it handed a job back just now: it gets none for a moment.
        given: jobs assigned to it by this leader.
        window: jobs that it has not read yet (W14).
        finished_at: when a result of it last came.
    """

    node: NodeId
    boot: int
    channel: ChannelId
    slots: int
    draining: bool
    window: Window
    flights: dict[str, Flight] = attrs.Factory(dict)
    running: int = 0
    paused: bool = False
    given: int = 0
    finished_at: float = -inf

    def ready(self) -> bool:
        """Whether it can take a job now (W3, W4)."""
        return self.window.open and not self.draining and not self.paused and self.running < self.slots


@attrs.define
class Line:
    """A channel whose HELLO was taken.

    Attributes:
        heard: when a frame last came; missed: pings since.
        window: jobs, or outcomes, that the other end has not read yet (W14).
        untold: jobs whose outcomes wait for that, the oldest first.
    """

    node: NodeId
    role: Role
    boot: int
    channel: ChannelId
    heard: float
    window: Window
    missed: int = 0
    untold: dict[str, None] = attrs.Factory(dict)


class Roster:
    """The connected nodes and the round-robin pointer.

    Whose turn it is costs the same with one worker and with hundreds: those that are ready are kept in order.

    Invariants: one line a node; every worker has a line; `_ready` holds exactly the workers that can take a
    job and that nobody doubts.
    """

    def __init__(self, settings: WorkSettings) -> None:
        self._settings = settings
        self._lines: dict[ChannelId, Line] = {}
        self._channels: dict[NodeId, ChannelId] = {}
        self._workers: dict[NodeId, Worker] = {}
        self._order: list[NodeId] = []
        self._ready: list[NodeId] = []
        self._slots = 0
        self._pointer: NodeId | None = None
        self._alarms: Alarms[ChannelId] = Alarms()
        self._suspects: frozenset[NodeId] = frozenset()

    def add(self, node: NodeId, role: Role, boot: int, channel: ChannelId, now: float) -> None:
        """A node is connected; it is pinged when it falls silent, the node itself never."""
        window = Window(self._settings.window_bytes if channel != OWN_CHANNEL else inf)
        line = self._lines[channel] = Line(node, role, boot, channel, now, window)
        self._channels[line.node] = line.channel
        if line.channel != OWN_CHANNEL:
            self._alarms.set(line.channel, line.heard + self._settings.ping_s)

    def add_worker(self, line: Line, slots: int, *, draining: bool) -> Worker:
        """That node works."""
        worker = Worker(line.node, line.boot, line.channel, slots, draining, line.window)
        self._workers[worker.node] = worker
        self._slots += worker.slots
        insort(self._order, worker.node)
        self._sort_in(worker)
        return worker

    def remove(self, channel: ChannelId) -> tuple[Line, Worker | None] | None:
        """A channel is gone, and with it its node."""
        line = self._lines.pop(channel, None)
        if line is None:
            return None
        self._alarms.clear(channel)
        del self._channels[line.node]
        worker = self._workers.pop(line.node, None)
        if worker is not None:
            self._slots -= worker.slots
            self._order.remove(line.node)
            self._set_ready(line.node, ready=False)
        return line, worker

    def line(self, channel: ChannelId) -> Line | None:
        """Who is at the other end."""
        return self._lines.get(channel)

    def channel_of(self, node: NodeId) -> ChannelId | None:
        """The channel to a connected node."""
        return self._channels.get(node)

    def worker(self, node: NodeId) -> Worker | None:
        """A connected worker."""
        return self._workers.get(node)

    def workers(self) -> list[Worker]:
        """All connected workers, by id."""
        return [self._workers[node] for node in self._order]

    def slots(self) -> int:
        """Slots of all connected workers."""
        return self._slots

    # --- who can take a job ------------------------------------------------------------------------

    def put(self, worker: Worker, job: str, flight: Flight) -> None:
        """It has this job."""
        assert job not in worker.flights
        worker.flights[job] = flight
        worker.running += not flight.kept
        self._sort_in(worker)

    def take(self, worker: Worker, job: str) -> Flight | None:
        """It has this job no longer, if it had."""
        flight = worker.flights.pop(job, None)
        if flight is not None:
            worker.running -= not flight.kept
            self._sort_in(worker)
        return flight

    def offers(self, worker: Worker, slots: int, *, draining: bool) -> None:
        """It says how many slots it has, and whether it takes anything new."""
        self._slots += slots - worker.slots
        worker.slots, worker.draining = slots, draining
        self._sort_in(worker)

    def sent(self, worker: Worker, size: int) -> Ping | None:
        """A job of so many bytes goes there; returns what must follow it, if anything (W14)."""
        ping = worker.window.sent(size)
        if not worker.window.open:
            self._sort_in(worker)
        return ping

    def read(self, worker: Worker, nonce: int) -> None:
        """It has read what it was sent before (W14)."""
        worker.window.read(nonce)
        self._sort_in(worker)

    def pause(self, worker: Worker, *, paused: bool) -> None:
        """It gets nothing for a moment, or may get something again."""
        worker.paused = paused
        self._sort_in(worker)

    def suspect(self, nodes: frozenset[NodeId]) -> bool:
        """Gossip doubts these: they are skipped (W3). Returns whether that is news."""
        news = nodes ^ self._suspects
        self._suspects = nodes
        for node in news:
            if (worker := self._workers.get(node)) is not None:
                self._sort_in(worker)
        return bool(news)

    def _sort_in(self, worker: Worker) -> None:
        self._set_ready(worker.node, ready=worker.ready() and worker.node not in self._suspects)

    def _set_ready(self, node: NodeId, *, ready: bool) -> None:
        at = bisect_left(self._ready, node)
        known = at < len(self._ready) and self._ready[at] == node
        if ready and not known:
            self._ready.insert(at, node)
        elif known and not ready:
            del self._ready[at]

    def next_ready(self, job: str) -> Worker | None:
        """The next worker in circular id order that can take this job; the pointer moves on to it (W3).

        One that still has an earlier, cancelled run of the same job is skipped until that has stopped.
        """
        start = 0 if self._pointer is None else bisect_right(self._ready, self._pointer)
        for step in range(len(self._ready)):
            node = self._ready[(start + step) % len(self._ready)]
            worker = self._workers[node]
            if job not in worker.flights:
                self._pointer = node
                return worker
        return None

    def any_ready(self) -> bool:
        """Whether any worker can take a job."""
        return bool(self._ready)

    # --- pings ---------------------------------------------------------------------------------------

    def heard(self, channel: ChannelId, now: float) -> Line | None:
        """A frame came."""
        line = self._lines.get(channel)
        if line is not None:
            line.heard = now
            line.missed = 0
        return line

    def due(self, now: float, ping: Callable[[Line], None], dead: Callable[[Line], None]) -> None:
        """Ping the silent; report as dead who missed too many (W6).

        A leader that was away itself counts one missed ping at most, however late it comes.
        """
        while (channel := self._alarms.pop_due(now)) is not None:
            line = self._lines[channel]
            silent_from = line.heard + self._settings.ping_s
            if silent_from > now:
                self._alarms.set(channel, silent_from)
            elif line.missed >= self._settings.pings_missed_max:
                dead(line)
            else:
                line.missed += 1
                self._alarms.set(channel, now + self._settings.ping_s)
                ping(line)

    def next_deadline(self) -> float | None:
        """When `due` has something to do."""
        return self._alarms.next()

    def validate(self) -> None:
        """Assert the invariants of the class."""
        assert sorted(self._workers) == self._order
        assert self._slots == sum(worker.slots for worker in self._workers.values())
        assert self._ready == [
            node for node in self._order if self._workers[node].ready() and node not in self._suspects
        ]
        for worker in self._workers.values():
            assert worker.running == sum(not flight.kept for flight in worker.flights.values())
        assert {line.node: channel for channel, line in self._lines.items()} == self._channels
        for node, worker in self._workers.items():
            assert self._channels[node] == worker.channel
        for channel in self._lines:
            assert (channel in self._alarms) == (channel != OWN_CHANNEL)
