"""Workers that were lost with jobs, until it is known whether that counts (W6).

A loss counts against a job only if its worker comes back in another life, or not in time: a broken cable is
not the job's fault. A worker may also be lost together with the leader that knew which jobs it had. So every
leader tells the gateways where their jobs are, and a gateway tells the next leader.
"""

from __future__ import annotations

from collections import defaultdict

from cluster.config import WorkSettings
from cluster.core.alarms import Alarms
from cluster.core.assignments import Absence, Alarm, Assignments
from cluster.core.board import Board
from cluster.core.outbox import Outbox
from cluster.core.roster import Roster
from cluster.identity import Epoch, NodeId
from cluster.wire.messages import Place, Placed


class Losses:
    """Who is away with which jobs, and which jobs' places their gateways have still to be told.

    Invariant: the alarm `absent` of a node is set exactly while it is away.
    """

    def __init__(
        self,
        settings: WorkSettings,
        epoch: Epoch,
        roster: Roster,
        board: Board,
        alarms: Alarms[Alarm],
        out: Outbox,
        jobs: Assignments,
    ) -> None:
        self._settings = settings
        self._epoch = epoch
        self._roster = roster
        self._board = board
        self._alarms = alarms
        self._out = out
        self._jobs = jobs
        self._away: dict[NodeId, list[Absence]] = {}

    def gone(self, node: NodeId, absence: Absence, now: float) -> None:
        """A worker that had these jobs is not there: it may yet come back.

        What a gateway says may be known already, from what the worker had said: one life is one loss.
        """
        if node not in self._away:
            self._away[node] = []
            self._alarms.set(("absent", "", node), now + self._settings.absence_s)
        known = {job for other in self._away[node] if other.boot == absence.boot for job in other.jobs}
        jobs = tuple(job for job in absence.jobs if job not in known)
        if jobs:
            self._away[node].append(Absence(absence.boot, jobs))

    def back(self, node: NodeId, boot: int, now: float) -> None:
        """It is here again: forgiven in the same life, counted in another."""
        self._alarms.clear(("absent", "", node))
        for absence in self._away.pop(node, ()):
            if boot > absence.boot:
                self._jobs.count_losses(node, absence, now)

    def overdue(self, node: NodeId, now: float) -> None:
        """It did not come back in time."""
        for absence in self._away.pop(node):
            self._jobs.count_losses(node, absence, now)

    def was_at(self, job: str, place: Place, now: float) -> None:
        """The leader before had given this job to that worker, and neither of the two can tell (W7)."""
        entry = self._board.jobs.get(job)
        if entry is None or entry.workers or entry.outcome is not None:
            return
        node, absence = NodeId(place.node), Absence(place.boot, (job,))
        worker = self._roster.worker(node)
        if worker is None:
            self.gone(node, absence, now)
        elif worker.boot > place.boot:
            self._jobs.count_losses(node, absence, now)

    def tell_places(self) -> None:
        """Tell every gateway which of its newly placed jobs are still at a worker, and at which."""
        told: dict[NodeId, list[tuple[str, Place]]] = defaultdict(list)
        for job in self._jobs.take_placed():
            entry = self._board.jobs.get(job)
            if entry is None or entry.claim is None or entry.outcome is not None:
                continue
            for node in entry.workers:
                worker = self._roster.worker(node)
                assert worker is not None
                told[entry.claim.gateway].append((job, Place(node, worker.boot)))
        for gateway, jobs in told.items():
            channel = self._roster.channel_of(gateway)
            if channel is not None:
                self._out.send(channel, Placed(self._epoch, tuple(jobs)))

    def validate(self) -> None:
        """Assert the invariant of the class."""
        assert all(("absent", "", node) in self._alarms for node in self._away)
        assert all(self._away.values())
