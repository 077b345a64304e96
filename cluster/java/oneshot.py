"""A virtual machine that waits for one program, runs it, and is gone (J2)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from signal import SIGKILL

import attrs
import msgspec

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cluster.java.cgroup import Toll
from cluster.java.entry import Entry
from cluster.java.flags import data_limit, resident_limit
from cluster.java.frames import NONCE_BYTES, WARM_ORDER, Record, RecordReader, encode_task
from cluster.java.jvm import Ending, Jvm, Usage
from cluster.java.sandbox import CHANNEL, CONTROL, STDERR, STDIN, STDOUT
from cluster.java.verdict import Cause, Evidence, judge, killed_from_outside, memory_kind
from cluster.limits import Limits
from cluster.wire.jobs import DataFile, Input, Run, Stream, Verdict

START_S = 60.0
"""How long a virtual machine may take until it waits for its program."""
WATCH_S = 0.1
"""Between two looks at a running program's processor time and memory; deadlines have timers of their own."""
DYING_S = 0.25
"""What a program that ran out of memory has left to print its stack trace."""

_DESCRIPTORS = {Stream.STDOUT: STDOUT, Stream.STDERR: STDERR}
_MESSAGE_MAX = 4 * 4096 + 64
_COMPLAINT_MAX = 2000
_NEAR = 0.9


@attrs.frozen
class Task:
    """A compiled program with one input, what it may use, and what it finds in its working directory."""

    entry: Entry
    classes: Mapping[str, bytes]
    given: Input
    limits: Limits
    files: tuple[DataFile, ...] = ()


@attrs.define
class _Stream:
    """What a program wrote to one descriptor, up to its limit."""

    cause: Cause
    data: bytearray = attrs.Factory(bytearray)
    truncated: bool = False

    def take(self, data: bytes, limit: int) -> bool:
        """Keep what fits; False when something did not."""
        room = limit - len(self.data)
        self.data += data[:room] if room > 0 else b""
        self.truncated = self.truncated or len(data) > room
        return not self.truncated


class OneShot:
    """One waiting virtual machine.

    Args:
        clock: for deadlines.
        jvm: just started; its `on_data` is taken over.

    Attributes:
        ready: it waits for its program; `on_ready` is called when that becomes true, and after each step.
        warmed: how many steps of the rehearsal it has performed.
        on_output: called whenever its program has written something.
        complaint: what it wrote to standard error before it had a program: why it did not start.
        struck: something outside killed it while its program ran: no limit, no wish of ours, and nothing
            that the first process of a namespace can do to itself, save `halt(137)`.
    """

    def __init__(self, clock: IReactorTime, jvm: Jvm) -> None:
        self._clock = clock
        self._jvm = jvm
        self._reader = RecordReader(64)
        self._task: Task | None = None
        self._handed = False
        self._cause: Cause | None = None
        self._streams = {STDOUT: _Stream(Cause.STDOUT), STDERR: _Stream(Cause.STDERR)}
        self._outcome: Record | None = None
        self._ending: Ending | None = None
        self._exiting = False
        self._usage = Usage()
        self._base = Usage()
        self._cell_base = 0.0
        self._began = clock.seconds()
        self._deadline = 0.0
        self._timers: list[IDelayedCall] = []
        self._done: Deferred[Run] = Deferred()
        self.ready = False
        self.warmed = 0
        self._stepping = False
        self.on_ready: Callable[[], None] = lambda: None
        self.on_output: Callable[[], None] = lambda: None
        self.complaint = ""
        self.struck = False
        jvm.on_data = self._received
        jvm.ended.addCallback(self._ended)
        self._start_timer = clock.callLater(START_S, self._late)

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self._jvm.alive

    @property
    def resting(self) -> bool:
        """Whether a program would begin at once."""
        return self.ready and not self._stepping

    @property
    def handed(self) -> bool:
        """Whether it was given its program: from then on the program may have run."""
        return self._handed

    @property
    def lost(self) -> bool:
        """Whether it ended by itself before it had its program."""
        return not self._jvm.alive and not self._handed and self._cause in {None, Cause.BROKEN}

    @property
    def pid(self) -> int:
        """The virtual machine's number on this host; 0 until it is known."""
        return self._jvm.pid

    def run(self, task: Task, remaining_s: float) -> Deferred[Run]:
        """Run a program; never fails, and fires when everything is dead and reaped (S5)."""
        self._task = task
        self._deadline = self._clock.seconds() + remaining_s
        if not self._jvm.alive:
            self._clock.callLater(0, self._done.callback, self._broken())
        elif self.resting:
            self._hand_over()
        return self._done

    def warm(self) -> None:
        """Perform the next step of the rehearsal; `on_ready` follows (J2)."""
        if self.resting and self._task is None:
            self._stepping = True
            self._jvm.write(CONTROL, WARM_ORDER)

    def written(self, stream: Stream) -> bytearray:
        """What the program has written so far; it grows, up to the limit, and `on_output` is called."""
        return self._streams[_DESCRIPTORS[stream]].data

    def cancel(self) -> None:
        """End it, whether it has a program or not."""
        self._kill(Cause.CANCELLED)

    def _late(self) -> None:
        self.complaint += f" it did not answer for {START_S:g} s while it started"
        self._kill(Cause.BROKEN)

    def _received(self, descriptor: int, data: bytes) -> None:
        if descriptor == CHANNEL:
            for record in self._reader.feed(data):
                self._told(record)
            if self._reader.broken:
                self._kill(Cause.CHANNEL if self._handed else Cause.BROKEN)
        elif self._task is None or not self._handed:
            self.complaint = (self.complaint + data.decode("utf-8", "replace"))[:_COMPLAINT_MAX]
        elif stream := self._streams.get(descriptor):
            within = stream.take(data, self._task.limits.output_bytes)
            self.on_output()
            if not within:
                self._kill(stream.cause)

    def _told(self, record: Record) -> None:
        if not self._handed:
            self.ready = self.ready or record.kind == "R"
            self.warmed += record.kind == "W"
            self._stepping = False
            if self._start_timer.active():
                self._start_timer.cancel()
            if self._task is not None:
                self._hand_over()
            self.on_ready()
            return
        self._look()  # twice at most: the reader lets one outcome and one exit pass
        if record.kind == "E":
            self._exiting = True
        else:
            self._outcome = record
            if record.kind == "L":
                self._kill(Cause.VALUE)
            elif memory_kind(record):
                # Its other threads could go on for ever; what it prints of its death may still arrive.
                self._timers.append(self._clock.callLater(DYING_S, self._kill, Cause.MEMORY))

    def _hand_over(self) -> None:
        if self._task is None or self._cause is not None:
            return
        if self._jvm.gone():
            return  # it died while it waited: `_ended` comes, and the program may have another
        task, limits = self._task, self._task.limits
        nonces = secrets.token_bytes(2 * NONCE_BYTES)
        self._base = self._usage = self._jvm.usage() or Usage()
        self._jvm.bound_cpu(self._base.cpu_s + limits.cpu_s)
        self._cell_base = self._jvm.cell_cpu_s()
        self._reader.allow(nonces, max(limits.output_bytes, _MESSAGE_MAX))
        self._handed = True
        self._began = self._clock.seconds()
        self._jvm.write(
            CONTROL,
            encode_task(
                nonces,
                task.entry.kind,
                limits.output_bytes,
                task.entry.main_class,
                task.given.args,
                task.classes,
                task.files,
            ),
        )
        self._jvm.close(CONTROL)
        self._jvm.write(STDIN, task.given.stdin)
        self._jvm.close(STDIN)
        remaining = self._deadline - self._began  # less than at first, if it had yet to start
        late = Cause.WALL if limits.wall_s <= remaining else Cause.EXPIRED
        self._timers = [
            self._clock.callLater(max(min(limits.wall_s, remaining), 0), self._kill, late),
            self._clock.callLater(WATCH_S, self._watch),
        ]

    def _watch(self) -> None:
        """Processor time and memory, as the kernel counts them."""
        self._look()
        if self._task is None or not self._jvm.alive or self._cause is not None:
            return
        limits = self._task.limits
        left = limits.cpu_s - self._cpu()
        if left <= 0:
            self._kill(Cause.CPU)
        elif self._usage.resident + self._jvm.file_bytes() > resident_limit(limits):
            self._kill(Cause.MEMORY)
        else:
            self._timers[1] = self._clock.callLater(min(WATCH_S, max(left, 0.01)), self._watch)

    def _look(self) -> None:
        if now := self._jvm.usage():
            peak = max(self._usage.peak, now.peak)
            self._usage = attrs.evolve(now, peak=peak, cpu_s=max(now.cpu_s, self._usage.cpu_s))

    def _cpu(self) -> float:
        return max(self._usage.cpu_s - self._base.cpu_s, 0.0)

    def _kill(self, cause: Cause) -> None:
        if self._cause is None and self._jvm.alive:
            self._look()
            self._cause = cause
        self._jvm.kill()

    def _ended(self, ending: Ending) -> None:
        self._ending = ending
        for timer in (*self._timers, self._start_timer):
            if timer.active():
                timer.cancel()
        if self._task is None:
            return
        if not self._handed and self._cause not in {Cause.CANCELLED, Cause.EXPIRED}:
            self._done.callback(self._broken())
            return
        self._done.callback(self._finished(self._task, ending))

    def _broken(self) -> Run:
        why, number = self._jvm.complaint or self.complaint.strip(), None
        if not why and self._ending is not None and self._cause is None:
            code = self._ending.exit_code
            why = f"it said nothing and ended with {code}" if code else "it said nothing"
            if self._ending.killed:
                why, number = "it was killed", SIGKILL.value
        message = f"the virtual machine did not start: {why or 'it said nothing'}"
        return Run(Verdict.INTERNAL_ERROR, message=message, signal=number)

    def _settle(self, toll: Toll) -> None:
        """A control group knows to the end what was used; a look at the process only what it was then."""
        used = self._base.cpu_s + toll.cpu_s - self._cell_base if self._handed else 0.0
        self._usage = attrs.evolve(
            self._usage, cpu_s=max(used, self._usage.cpu_s), peak=toll.peak or self._usage.peak
        )

    def _finished(self, task: Task, ending: Ending) -> Run:
        limits = task.limits
        toll = self._jvm.toll or Toll()
        self._settle(toll)
        evidence = Evidence(
            cause=self._cause,
            exit_code=ending.exit_code,
            signal=ending.signal,
            outcome=self._outcome,
            exiting=self._exiting,
            data_full=self._usage.data > _NEAR * data_limit(limits),
            cpu_spent=self._cpu() > _NEAR * limits.cpu_s,
            cpu_passed=self._cpu() > limits.cpu_s,
            out_of_memory=toll.out_of_memory > 0,
        )
        self.struck = killed_from_outside(evidence)
        out, err = self._streams[STDOUT], self._streams[STDERR]
        return msgspec.structs.replace(
            judge(evidence, limits),
            stdout=bytes(out.data),
            stderr=bytes(err.data),
            stdout_truncated=out.truncated,
            stderr_truncated=err.truncated,
            wall_s=self._clock.seconds() - self._began if self._handed else 0.0,
            cpu_s=self._cpu(),
            peak_memory_bytes=self._usage.peak,
        )
