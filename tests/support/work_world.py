"""One gateway, three workers and a succession of leaders, wired without a network: the work cores alone.

Channels keep order and lose everything when they break. Whatever the seed does, a client gets one answer.
"""

from __future__ import annotations

import random
from collections import Counter, deque

import attrs
import msgspec

from cluster.config import CacheSettings, GatewaySettings, WorkSettings
from cluster.core.dispatch import Dispatch
from cluster.core.effects import (
    Answer,
    Close,
    Decision,
    Effect,
    Persist,
    RepeatProgress,
    SendFrame,
    ShowProgress,
    StartRun,
    StopRun,
)
from cluster.core.events import ChannelId, RunProgressed
from cluster.core.execution import Execution
from cluster.core.submission import Submission
from cluster.identity import Boot, Epoch, NodeId, Role
from cluster.wire.jobs import Outcome, Piece, Reason, Stream, Verdict
from cluster.wire.messages import (
    Assign,
    CancelRun,
    Fenced,
    Frame,
    Hello,
    LossCounted,
    Ping,
    Placed,
    Pong,
    Progressed,
    Recount,
    Refused,
    Release,
    Result,
    Welcome,
)
from tests.support.work import GATEWAY, hello, ledger, outcome, request

SLOTS = 2
SETTINGS = WorkSettings(queue_max=20, drain_s=5.0, window_bytes=1500)
"""The window is full after three jobs (W14)."""

Steps = tuple[Effect | Decision, ...]


@attrs.define
class Worker:
    """A worker's core, disk and runner; `ends` maps a job to when it ends and whether it was stopped."""

    node: NodeId
    execution: Execution
    boot: int = 1
    draining: bool = False
    ends: dict[str, tuple[float, bool]] = attrs.Factory(dict)
    writes: deque[Persist] = attrs.Factory(deque)


@attrs.define
class Wire:
    """A channel: frames under way up (to the leader) and down."""

    node: NodeId
    up: deque[Frame] = attrs.Factory(deque)
    down: deque[Frame] = attrs.Factory(deque)


class WorkWorld:
    """The simulated cluster."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 100.0
        self.epoch = 0
        self.dispatch: Dispatch | None = None
        self.leader = NodeId(50)
        self.gateway_boot = 1
        self.submission = Submission(SETTINGS, GatewaySettings(), CacheSettings(), GATEWAY)
        self.ledgers = {NodeId(n): ledger(node=n) for n in (1, 2, 3)}
        self.workers = {n: self._new_worker(n, 1) for n in self.ledgers}
        self.wires: dict[ChannelId, Wire] = {}
        self.answers: dict[int, list[Answer]] = {}
        self.abandoned: set[int] = set()
        self.shown: dict[int, tuple[int, int]] = {}
        self.told = 0
        self.starts: Counter[str] = Counter()
        self.requests = 0
        self.channels = 0

    def _new_worker(self, node: NodeId, boot: int) -> Worker:
        worker = Worker(node, Execution(SETTINGS, node, self.ledgers[node]), boot)
        worker.execution.capacity(SLOTS, self.now)
        return worker

    # --- events ------------------------------------------------------------------------------------

    def ask(self) -> None:
        """A client's request, now and then one that equals an earlier one."""
        self.requests += 1
        number = self.requests
        self.answers[number] = []
        text = f"p{self.rng.randrange(max(1, number // 2), number + 1)}"
        event = request(number, f"{number:032x}", text, use_cache=self.rng.random() < 0.3)
        event = msgspec.structs.replace(
            event, tenant=self.rng.choice(("", "one", "two")), share=self.rng.randrange(1, 4)
        )
        event = msgspec.structs.replace(event, progress=self.rng.random() < 0.3)
        self._gateway(self.submission.request(event, self.now))

    def abandon(self) -> None:
        """A client leaves."""
        waiting = [n for n, given in self.answers.items() if not given and n not in self.abandoned]
        if waiting:
            number = self.rng.choice(waiting)
            self.abandoned.add(number)
            self._gateway(self.submission.abandon(number, self.now))

    def elect(self) -> None:
        """Another leader, of a higher epoch."""
        self.depose()
        self.epoch += 1
        self.leader = NodeId(50 + self.epoch % 2)
        self.dispatch = Dispatch(
            SETTINGS, self.leader, Epoch(self.epoch), self.now, awaited=frozenset(self.workers)
        )
        self.submission.epoch_changed(Epoch(self.epoch))

    def depose(self) -> None:
        """No leader any longer."""
        self.dispatch = None
        for channel in list(self.wires):
            self.cut(channel)

    def cut(self, channel: ChannelId) -> None:
        """The channel breaks: everything under way is lost."""
        wire = self.wires.pop(channel, None)
        if wire is None:
            return
        if self.dispatch is not None:
            self._leader(self.dispatch.channel_closed(channel, "cut", self.now))
        if wire.node == GATEWAY:
            self._gateway(self.submission.disconnected(self.now))
        else:
            self._worker(self.workers[wire.node], self.workers[wire.node].execution.disconnected(self.now))

    def connect(self, node: NodeId) -> None:
        """A node without a channel dials the leader and says HELLO."""
        if self.dispatch is None or any(wire.node == node for wire in self.wires.values()):
            return
        self.channels += 1
        wire = self.wires[self.channels] = Wire(node)
        if node == GATEWAY:
            wire.up.append(hello(node, Role.GATEWAY, slots=0, boot=self.gateway_boot, epoch=self.epoch))
            return
        worker = self.workers[node]
        slots, running, kept, draining = worker.execution.hello_fields()
        wire.up.append(
            hello(
                node,
                slots=slots,
                boot=worker.boot,
                epoch=self.epoch,
                running=running,
                kept=kept,
                draining=draining,
            )
        )

    def crash(self, node: NodeId) -> None:
        """A worker dies with all that it ran and kept; its disk survives."""
        for channel in [c for c, wire in self.wires.items() if wire.node == node]:
            self.cut(channel)
        old = self.workers[node]
        for write in old.writes:
            self.ledgers[node].persisted(write.token)
        self.workers[node] = self._new_worker(node, old.boot + 1)

    def drain(self, node: NodeId) -> None:
        """A worker is asked to stop; when nothing is owed it ends and comes back in a new life (W10)."""
        worker = self.workers[node]
        worker.draining = True
        self._worker(worker, worker.execution.drain(self.now))

    def restart_gateway(self) -> None:
        """The gateway dies with all its clients, and lives again (W9)."""
        for channel in [c for c, wire in self.wires.items() if wire.node == GATEWAY]:
            self.cut(channel)
        self.abandoned |= {number for number, given in self.answers.items() if not given}
        self.gateway_boot += 1
        self.submission = Submission(SETTINGS, GatewaySettings(), CacheSettings(), GATEWAY)
        self.submission.epoch_changed(Epoch(self.epoch))

    def advance(self, seconds: float, *, disk_fails: bool = False) -> None:
        """Time passes: runs end, writes are done, deadlines ring."""
        self.now += seconds
        for worker in list(self.workers.values()):
            while worker.writes:
                self._write_done(
                    worker, worker.writes.popleft(), failed=disk_fails and self.rng.random() < 0.2
                )
            for job, (at, stopped) in sorted(worker.ends.items()):
                if at <= self.now:
                    del worker.ends[job]
                    result = Outcome(Verdict.CANCELLED) if stopped else outcome(stdout=job.encode())
                    self._worker(worker, worker.execution.run_finished(job, result, self.now))
            self._worker(worker, self.ledgers[worker.node].tick(self.now))
            self._worker(worker, worker.execution.tick(self.now))
            if worker.draining and worker.execution.idle:
                self.crash(worker.node)
        self._gateway(self.submission.tick(self.now))
        if self.dispatch is not None:
            self._leader(self.dispatch.tick(self.now))

    def deliver(self) -> bool:
        """One frame arrives somewhere; False when none is under way."""
        ready = [
            (c, up)
            for c, wire in self.wires.items()
            for up in (True, False)
            if (wire.up if up else wire.down)
        ]
        if not ready:
            return False
        channel, up = self.rng.choice(ready)
        wire = self.wires[channel]
        if up:
            self._to_leader(channel, wire.node, wire.up.popleft())
        else:
            self._to_node(channel, wire.node, wire.down.popleft())
        return True

    def validate(self) -> None:
        """Every core's own invariants."""
        self.submission.validate()
        if self.dispatch is not None:
            self.dispatch.validate()
        for worker in self.workers.values():
            worker.execution.validate()
            assert len(worker.ends) <= SLOTS, "more runs than slots (W4)"

    # --- performing ----------------------------------------------------------------------------------

    def _to_leader(self, channel: ChannelId, node: NodeId, frame: Frame) -> None:
        assert self.dispatch is not None
        if isinstance(frame, Hello):
            self._leader(self.dispatch.hello(channel, node, frame.role, frame, self.now))
        else:
            assert not isinstance(frame, Fenced), "no stale leader speaks here"
            self._leader(self.dispatch.receive(channel, frame, self.now))  # type: ignore[arg-type]

    def _to_node(self, channel: ChannelId, node: NodeId, frame: Frame) -> None:
        if isinstance(frame, Ping):
            self.wires[channel].up.append(Pong(frame.nonce))
        elif node == GATEWAY:
            if isinstance(frame, Welcome):
                self._gateway(self.submission.welcomed(channel, self.leader, Epoch(frame.epoch), self.now))
            else:
                assert isinstance(frame, Result | Refused | LossCounted | Placed | Progressed | Pong)
                self._gateway(self.submission.receive(channel, frame, self.now))
        else:
            worker = self.workers[node]
            if isinstance(frame, Welcome):
                self._worker(worker, worker.execution.welcomed(channel, Epoch(frame.epoch), self.now))
            elif isinstance(frame, Pong):
                self._worker(worker, worker.execution.read(frame.nonce))
            else:
                assert isinstance(frame, Assign | CancelRun | Recount | Release)
                self._worker(worker, worker.execution.receive(channel, self.leader, Boot(1), frame, self.now))

    def _leader(self, steps: Steps) -> None:
        for step in steps:
            if isinstance(step, SendFrame) and step.channel in self.wires:
                self.wires[step.channel].down.append(step.frame)
            elif isinstance(step, Close):
                self.cut(step.channel)

    def _gateway(self, steps: Steps) -> None:
        for step in steps:
            if isinstance(step, SendFrame) and step.channel in self.wires:
                self.wires[step.channel].up.append(step.frame)
            elif isinstance(step, Answer):
                assert step.request not in self.abandoned
                self.shown.pop(step.request, None)
                self.answers[step.request].append(step)
                assert len(self.answers[step.request]) == 1, "one answer (W8)"

            elif isinstance(step, ShowProgress):
                self._show(step)

    def _show(self, step: ShowProgress) -> None:
        attempt = (step.progress.key.epoch, step.progress.key.attempt)
        for number in step.requests:
            assert number not in self.abandoned
            assert not self.answers[number], "progress after the answer (W13)"
            assert attempt >= self.shown.get(number, attempt), "progress of an earlier attempt (W13)"
            self.shown[number] = attempt
        self.told += bool(step.progress.pieces)

    def _worker(self, worker: Worker, steps: Steps) -> None:
        for step in steps:
            if isinstance(step, SendFrame) and step.channel in self.wires:
                self.wires[step.channel].up.append(step.frame)
            elif isinstance(step, StartRun):
                assert step.job.id not in worker.ends, "one run of a job at a worker (W5)"
                self.starts[step.job.id] += 1
                worker.ends[step.job.id] = (self.now + self.rng.choice((0.0, 0.05, 0.3, 2.0)), False)
                if step.job.progress:
                    self._write(worker, step.job.id)
            elif isinstance(step, RepeatProgress):
                self._write(worker, step.job)
            elif isinstance(step, StopRun):
                if step.job in worker.ends:
                    worker.ends[step.job] = (self.now, True)
            elif isinstance(step, Persist):
                worker.writes.append(step)

    def _write(self, worker: Worker, job: str) -> None:
        """A program writes its name."""
        pieces = (Piece(0, Stream.STDOUT, 0, job.encode()),)
        self._worker(worker, worker.execution.run_progressed(RunProgressed(job, pieces=pieces)))

    def _write_done(self, worker: Worker, write: Persist, *, failed: bool) -> None:
        disk = self.ledgers[worker.node]
        if failed:
            disk.failed(write.token, self.now)
            self._worker(worker, worker.execution.persist_failed(write.token, self.now))
        else:
            self._worker(worker, write.then)
            disk.persisted(write.token)

    # --- a run ---------------------------------------------------------------------------------------

    def storm(self, steps: int) -> None:
        """Random faults."""
        for _ in range(steps):
            dice = self.rng.random()
            if dice < 0.55:
                self.deliver()
            elif dice < 0.75:
                self.advance(self.rng.choice((0.001, 0.02, 0.2, 1.0)), disk_fails=True)
            elif dice < 0.84:
                self.ask()
            elif dice < 0.86:
                self.abandon()
            elif dice < 0.95:
                self.connect(self.rng.choice([*self.workers, GATEWAY]))
            elif dice < 0.975 and self.wires:
                self.cut(self.rng.choice(list(self.wires)))
            elif dice < 0.985:
                self.crash(self.rng.choice(list(self.workers)))
            elif dice < 0.989:
                self.drain(self.rng.choice(list(self.workers)))
            elif dice < 0.991:
                self.restart_gateway()
            elif dice < 0.997:
                self.elect()
            elif self.dispatch is not None:
                nodes = frozenset(self.rng.sample(list(self.workers), 1))
                self.dispatch.suspect(nodes)
            self.validate()

    def heal(self) -> None:
        """No more faults: one leader, everybody connected, and time enough for every clock to ring."""
        self.elect()
        for _ in range(600):
            for node in (*self.workers, GATEWAY):
                self.connect(node)
            while self.deliver():
                pass
            self.advance(0.05)
            self.validate()

    def check_settled(self) -> None:
        """Every client has one answer, every slot is free, nothing is kept for ever."""
        for number, given in self.answers.items():
            assert len(given) == (number not in self.abandoned), f"request {number}: {given}"
            for answer in given:
                self._check_answer(answer)
        assert self.submission.idle
        assert self.dispatch is not None
        view = self.dispatch.snapshot()
        assert (view.queued, view.running, view.done, view.unclaimed) == (0, 0, 0, 0), view
        assert [(w.slots, w.running) for w in view.workers] == [(SLOTS, 0)] * 3, "a slot leaked"
        for worker in self.workers.values():
            assert not worker.execution.snapshot().running
            assert worker.execution.idle, "a result is kept for ever"

    def _check_answer(self, answer: Answer) -> None:
        if isinstance(answer.result, Outcome):
            assert answer.result.verdict in {Verdict.OK, Verdict.WORKER_LOST, Verdict.EXPIRED}
        else:
            assert answer.result.reason in {
                Reason.OVERLOADED,
                Reason.QUEUE_TIMEOUT,
                Reason.NO_WORKER,
                Reason.NO_LEADER,
            }
            assert answer.result.message
