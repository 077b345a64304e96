"""What a leader tells the gateways of their jobs: outcomes, as fast as they are read (W8, W14)."""

from __future__ import annotations

from cluster.core.board import Board
from cluster.core.counters import Counters
from cluster.core.events import ChannelId
from cluster.core.outbox import Outbox
from cluster.core.roster import Line, Roster, Worker
from cluster.identity import Epoch, NodeId
from cluster.wire.jobs import Refusal
from cluster.wire.messages import Frame, Progress, Progressed, Refused, Result


class Replies:
    """One leadership's words to gateways; outcomes that must wait do so on the board, which is bounded."""

    def __init__(self, epoch: Epoch, roster: Roster, board: Board, out: Outbox, counters: Counters) -> None:
        self._epoch = epoch
        self._roster = roster
        self._board = board
        self._out = out
        self._counters = counters

    def to(self, gateway: NodeId, frame: Frame) -> None:
        """A frame for a gateway; one that is away hears what matters when it is back (W8)."""
        channel = self._roster.channel_of(gateway)
        if channel is not None:
            self._out.send(channel, frame)

    def refuse(self, gateway: NodeId, job: str, refusal: Refusal) -> None:
        """The cluster gives no outcome of this job."""
        self._counters.refused += 1
        self._out.log(f"job {job[:8]} refused, {refusal.reason}: {refusal.message}")
        self.to(gateway, Refused(self._epoch, job, refusal))

    def progressed(self, worker: Worker, frame: Progress) -> None:
        """Pass on what a run has come to, if its job's gateway is there and the run still counts (W13)."""
        entry = self._board.jobs.get(frame.key.job)
        sending = (frame.key.epoch, frame.key.attempt)
        if (
            entry is None
            or entry.claim is None
            or worker.node not in entry.workers
            or sending > (self._epoch, entry.attempt)  # never given: it would hide what later ones come to
        ):
            self._counters.progress_dropped += 1
            return
        told = Progressed(self._epoch, worker.node, frame.key, frame.compilation, frame.pieces)
        self.to(entry.claim.gateway, told)

    def tell(self, job: str, channel: ChannelId) -> None:
        """Pass the outcome on, once a channel; the gateway's acknowledgement ends the job (W8)."""
        line = self._roster.line(channel)
        assert line is not None
        line.untold[job] = None
        self._go_on(line)

    def read(self, line: Line, nonce: int) -> None:
        """The gateway has read what it was told before (W14)."""
        line.window.read(nonce)
        self._go_on(line)

    def waits(self, job: str) -> bool:
        """Whether its gateway is there and has not been told its outcome yet."""
        claim = self._board.jobs[job].claim
        channel = None if claim is None else self._roster.channel_of(claim.gateway)
        return claim is not None and channel is not None and claim.told != channel

    def _go_on(self, line: Line) -> None:
        while line.untold and line.window.open:
            job = next(iter(line.untold))
            del line.untold[job]
            entry = self._board.jobs.get(job)
            if entry is None or entry.outcome is None or entry.claim is None:
                continue  # it has ended while it waited
            if entry.claim.gateway != line.node or entry.claim.told == line.channel:
                continue
            entry.claim.told = line.channel
            self._out.send(line.channel, Result(self._epoch, job, entry.outcome))
            if (ping := line.window.sent(entry.size)) is not None:
                self._out.send(line.channel, ping)
