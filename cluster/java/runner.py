"""The Java side of a worker: jobs in, outcomes out. What it composes: the compiler, the pool, the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.config import JavaSettings, SandboxSettings
from cluster.errors import HostExhausted
from cluster.java import cells, harness, jdk
from cluster.java.choices import Choices
from cluster.java.classes import CompiledClasses
from cluster.java.compiler import UNAVAILABLE, Compiler
from cluster.java.entry import Entry, NoEntry
from cluster.java.flags import compiler_allowance, compiler_flags
from cluster.java.frames import CRASHED, FAILED, first_error
from cluster.java.jvm import Jvm
from cluster.java.oneshot import OneShot, Task
from cluster.java.pool import RunnerPool
from cluster.java.progress import Progress, Tell
from cluster.java.proof import Doubt, prove
from cluster.java.sandbox import Sandbox, SandboxReport
from cluster.java.scarcity import START_FAULTS, start_fault
from cluster.java.snapshot import JavaSnapshot, snapshot_of
from cluster.java.threads import in_thread
from cluster.limits import Limits, bounded
from cluster.wire.jobs import Compilation, Job, Outcome, Program, Run, Stream, Verdict

T = TypeVar("T")

TRIES = 4
"""How many virtual machines a program is given, if they die before they have it."""
STRIKES = 1
"""How often a program runs again whose machine something outside killed."""

AGAIN_S = 5.0
AGAIN_MAX_S = 60.0
"""Between two tries to start on a host that lacks something: doubled up to this."""


class Unstarted(Exception):
    """A job that this host can't work on now; who gets it begins it anew, whatever ran of it here."""


@attrs.define(eq=False)
class _Work:
    """A job that is being worked on; `progress` if somebody wants to see that (W13)."""

    progress: Progress | None = None
    cancelled: bool = False
    stop: Callable[[], None] = lambda: None


class JavaRunner:
    """Compiles and runs the jobs of one node.

    Args:
        reactor: timers, processes and threads.
        java, sandbox: settings.
        state_directory: for the compiled harness; the only place on the host that is written to.
        slots: how many programs run at once, and how many virtual machines wait for one.
        caps: the most that a job's limits may ask; also the shape of the waiting virtual machines.
        on_capacity: called with the number of jobs that can be taken when it changes: 0 without a compiler.
        on_progress: called with what a job that asks for it has come to, while it runs (W13).
        on_trouble: called with what this host lacks to run programs, and with nothing when it has it again.

    Attributes:
        java_version: such as `17.0.15`; empty before `start` is done.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401  (timers, processes and threads: no one interface has them all)
        java: JavaSettings,
        sandbox: SandboxSettings,
        state_directory: Path,
        slots: int,
        caps: Limits,
        on_capacity: Callable[[int], None],
        on_progress: Tell = lambda _progress: None,
        on_trouble: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self._reactor = reactor
        self._in_thread = partial(in_thread, reactor)
        self._choices = Choices(reactor)
        self._java = java
        self._settings = sandbox
        self._directory = state_directory
        self._slots = slots
        self._caps = caps
        self._on_capacity = on_capacity
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._troubles: dict[str, str] = {}
        self._told = ""
        self._offered = -1
        self._pause: Deferred[None] | None = None
        self._stopping = False
        self._sandbox: Sandbox | None = None
        self._compiler: Compiler | None = None
        self._classes: CompiledClasses | None = None
        self._pool: RunnerPool | None = None
        self._works: dict[str, _Work] = {}
        self._serving = False
        self._archived = False
        self._struck = 0
        self._doubt = Doubt()
        self.java_version = ""

    @inlineCallbacks
    def start(self) -> Generator[Deferred[Any], Any, SandboxReport]:
        """Find the JDK, build the harness, warm the compiler, prove the sandbox by a real run (S4).

        A host that lacks what may come back, such as memory, is tried again until there is enough or `stop`
        is called. Fails with EnvironmentFault, whose text says what to install or change.
        """
        entered = None if self._settings.mode == "bubblewrap" else (None, "")
        wait = AGAIN_S
        while True:
            try:
                # First: a group with another process in it can't be divided, and what follows starts some.
                entered = entered or (yield self._in_thread(cells.enter))
                report: SandboxReport = yield self._try_to_start(*entered)
            except START_FAULTS as error:
                yield self._take_down()
                fault = start_fault(error)
                if self._stopping or not isinstance(fault, HostExhausted):
                    raise fault from error
                self._note("start", f"{fault}; trying again in {wait:g} s")
                self._pause = deferLater(self._reactor, wait)
                yield self._pause
                wait = min(2 * wait, AGAIN_MAX_S)
            else:
                return report

    @inlineCallbacks
    def _try_to_start(
        self, group: Path | None, no_cells: str
    ) -> Generator[Deferred[Any], Any, SandboxReport]:
        kit = yield self._in_thread(jdk.find, self._java.home)
        kept = yield self._in_thread(harness.directory, Path(self._java.cache_directory or self._directory))
        jar = yield self._in_thread(harness.build, kit, kept)
        subtree = cells.Subtree(group, self._in_thread) if group is not None else None
        sandbox = self._sandbox = Sandbox(self._reactor, self._settings, kit, jar, self._directory, subtree)
        report = sandbox.report(kit.version, no_cells)
        pool = self._pool = RunnerPool(self._reactor, sandbox, self._slots, self._caps)
        compiler = self._compiler = Compiler(
            self._reactor,
            self._spawn_compiler,
            confined=sandbox.confined,
            recycle_after=self._java.compiler_recycle_after,
        )
        self._classes = CompiledClasses(self._reactor, compiler)
        compiler.on_trouble = partial(self._note, "compiler")
        self._archived = yield prove(
            pool,
            compiler,
            self._caps,
            partial(self._in_thread, sandbox.prepare),
            self._doubt,
            namespaces=sandbox.confined,
        )
        self.java_version = kit.version
        if not sandbox.confined:
            self._log.critical("{text}", text=report.text)
        self._serving = True
        compiler.on_ready = lambda _ready: self._capacity()
        pool.on_trouble = partial(self._note, "pool")
        pool.fill()
        self._note("start", "")
        self._capacity()
        return report

    def _spawn_compiler(self, jvm: Jvm) -> None:
        sandbox = _there(self._sandbox)
        java = (*compiler_flags(self._java.compiler_memory_bytes), harness.COMPILER)
        jvm.place = sandbox.spawn(jvm, java, compiler_allowance(self._java.compiler_memory_bytes), boot=False)

    def _capacity(self) -> None:
        if self._serving:
            able = _there(self._compiler).snapshot().ready and not _there(self._pool).trouble
            slots = self._slots if able else 0
            if slots != self._offered:
                self._offered = slots
                self._on_capacity(slots)

    def _note(self, part: str, trouble: str) -> None:
        """What keeps this host from running programs; empty: that part of it does not."""
        self._troubles[part] = " ".join(trouble.split())
        if part == "pool":
            self._capacity()  # before any job is handed back for it
        told = "; ".join(filter(None, self._troubles.values()))
        if told != self._told:
            self._told = told
            self._on_trouble(told)

    def run(self, job: Job, remaining_s: float) -> Deferred[Outcome | None]:
        """Compile and run; never fails. None: this host can't work on it now, somebody else may.

        Args:
            job: at most one of an id at a time.
            remaining_s: until the job's deadline; then it ends as `expired`.
        """
        work = _Work(Progress(self._reactor, job.id, self._on_progress) if job.progress else None)
        self._works[job.id] = work
        pool = _there(self._pool)
        pool.begin()
        done: Deferred[Outcome | None] = self._perform(job, work, remaining_s)

        def broken(failure: Failure) -> Outcome | None:
            if failure.check(Unstarted):
                return None
            self._log.failure("a job could not be performed", failure)
            return Outcome(Verdict.INTERNAL_ERROR, "the worker failed; its log says why")

        def settled(outcome: Outcome | None) -> Outcome | None:
            pool.end()
            if work.progress is not None:
                work.progress.end()
            if self._works.get(job.id) is work:
                del self._works[job.id]
            return outcome

        return done.addErrback(broken).addCallback(settled)

    def cancel(self, job_id: str) -> None:
        """End a job that runs; its Deferred fires with `cancelled` once everything of it is dead."""
        if work := self._works.get(job_id):
            work.cancelled = True
            work.stop()

    def repeat(self, job_id: str) -> None:
        """Tell the progress of a job that runs from its beginning."""
        work = self._works.get(job_id)
        if work is not None and work.progress is not None:
            work.progress.again()

    @inlineCallbacks
    def _perform(
        self, job: Job, work: _Work, remaining_s: float
    ) -> Generator[Deferred[Any], Any, Outcome | None]:
        deadline = self._reactor.seconds() + remaining_s
        limits = bounded(job.program.limits, self._caps)
        compiled = yield self._compile(job.program, limits, work, remaining_s)
        if isinstance(compiled, Outcome):
            return compiled
        compilation, classes = compiled
        if work.progress is not None:
            work.progress.compiled(compilation)
        runs: list[Run] = []
        for given in job.program.inputs:
            if work.cancelled:
                runs.append(Run(Verdict.CANCELLED, message="cancelled"))
                break
            entry = Entry(compilation.main_class, compilation.entry)
            task = Task(entry, classes, given, limits, job.program.files)
            run = yield self._run_one(task, work, deadline, len(runs))
            runs.append(run)
            if work.progress is not None:
                work.progress.runs(len(runs) - 1, {Stream.STDOUT: run.stdout, Stream.STDERR: run.stderr})
            if run.verdict in _FINAL:
                break
        first = next((run for run in runs if run.verdict is not Verdict.OK), None)
        if first is None:
            return Outcome(Verdict.OK, compilation=compilation, runs=tuple(runs))
        return Outcome(first.verdict, first.message, compilation, tuple(runs))

    @inlineCallbacks
    def _compile(
        self, program: Program, limits: Limits, work: _Work, remaining_s: float
    ) -> Generator[Deferred[Any], Any, Outcome | tuple[Compilation, Mapping[str, bytes]]]:
        began = self._reactor.seconds()
        waiting = _there(self._classes).compile(program.sources, limits.compile_s, remaining_s)
        work.stop = waiting.cancel
        try:
            answer = yield waiting
        except CancelledError:
            return Outcome(Verdict.CANCELLED, "cancelled")
        finally:
            work.stop = lambda: None
        compilation = Compilation(seconds=self._reactor.seconds() - began)
        if answer == UNAVAILABLE:
            raise Unstarted
        if answer == "expired":
            return Outcome(Verdict.EXPIRED, "the job's deadline passed before it was compiled", compilation)
        if answer == "compile":
            run = Run(Verdict.TIME_LIMIT, "compile", f"compiling took longer than {limits.compile_s:g} s")
            return Outcome(run.verdict, run.message, compilation, (run,))
        compilation = msgspec.structs.replace(
            compilation, diagnostics=answer.diagnostics, text=answer.text or answer.crash
        )
        if answer.status == CRASHED:
            compilation = msgspec.structs.replace(compilation, crashed=True)
            return Outcome(Verdict.COMPILE_ERROR, answer.crash, compilation)
        if answer.status == FAILED:
            return Outcome(Verdict.COMPILE_ERROR, first_error(answer), compilation)
        chosen = yield self._choices.choose(answer, program.main_class)
        if isinstance(chosen, NoEntry):
            text = f"{answer.text}error: {chosen.message}\n"
            compilation = msgspec.structs.replace(compilation, text=text)
            return Outcome(Verdict.COMPILE_ERROR, chosen.message, compilation)
        compilation = msgspec.structs.replace(compilation, main_class=chosen.main_class, entry=chosen.kind)
        return compilation, answer.classes

    def _run_one(
        self,
        task: Task,
        work: _Work,
        deadline: float,
        number: int,
        tries: int = TRIES,
        strikes: int = STRIKES,
    ) -> Deferred[Run]:
        """Run once, and once more on another machine if the first died of nothing that the program did.

        So no job is lost to whoever kills processes. A program has no effect outside its machine that could
        happen twice.
        """
        remaining = deadline - self._reactor.seconds()
        if remaining <= 0:
            return succeed(Run(Verdict.EXPIRED, message="the job's deadline passed"))
        try:
            one: OneShot = _there(self._pool).take(task.limits, fresh=strikes < STRIKES)
        except OSError:
            return fail(Unstarted())
        work.stop = one.cancel
        if work.progress is not None:
            work.progress.runs(number, {stream: one.written(stream) for stream in Stream})
            one.on_output = work.progress.changed

        def again(run: Run) -> Run | Deferred[Run]:
            unborn = run.verdict is Verdict.INTERNAL_ERROR and not one.handed
            left = tries - unborn, strikes - one.struck
            if unborn and left[0] < 1:  # as an answer it would come at once, and draw the next job here
                self._log.error("no virtual machine lives to take a job: {why}", why=run.message)
                raise Unstarted
            if not (unborn or one.struck) or left[1] < 0 or work.cancelled:
                return run
            self._struck += one.struck
            self._log.warn("a virtual machine died of nothing that its program did: {why}", why=run.message)
            return self._run_one(task, work, deadline, number, *left)

        return one.run(task, remaining).addCallback(again)

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """End everything; fires when no process is left."""
        self._serving = False
        self._stopping = True
        if self._pause is not None:
            self._pause.cancel()
        for job_id in tuple(self._works):
            self.cancel(job_id)
        yield self._take_down()

    @inlineCallbacks
    def _take_down(self) -> Generator[Deferred[Any], Any, None]:
        compiler, pool, sandbox = self._compiler, self._pool, self._sandbox
        if compiler is not None:
            yield compiler.stop()
        if pool is not None:
            yield pool.stop()
        if sandbox is not None:
            yield sandbox.settled()
            sandbox.release()
        self._compiler = self._pool = self._sandbox = None

    def snapshot(self) -> JavaSnapshot:
        """Figures for status and metrics."""
        return snapshot_of(
            self._compiler,
            self._pool,
            self._classes,
            running=len(self._works),
            struck=self._struck,
            archived=self._archived,
            troubled=bool(self._told),
        )


_FINAL = frozenset({Verdict.CANCELLED, Verdict.EXPIRED, Verdict.INTERNAL_ERROR})
"""After one of these the remaining inputs are not tried."""


def _there(part: T | None) -> T:
    if part is None:
        raise RuntimeError("start() comes first")
    return part
