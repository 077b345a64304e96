"""The Java side of a worker: jobs in, outcomes out. What it composes: the compiler, the pool, the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.config import JavaSettings, SandboxSettings
from cluster.errors import EnvironmentFault
from cluster.java import cells, harness, jdk
from cluster.java.archive import Sample
from cluster.java.classes import CompiledClasses
from cluster.java.compiler import Compiler
from cluster.java.entry import Entry, NoEntry, choose
from cluster.java.flags import compiler_allowance, compiler_flags
from cluster.java.frames import CRASHED, FAILED, Answer
from cluster.java.jvm import Jvm
from cluster.java.oneshot import OneShot, Task
from cluster.java.pool import RunnerPool
from cluster.java.progress import Progress, Tell
from cluster.java.rehearsal import SAMPLE
from cluster.java.sandbox import Sandbox, SandboxReport
from cluster.java.snapshot import JavaSnapshot
from cluster.limits import Limits, bounded
from cluster.wire.jobs import Compilation, Input, Job, Outcome, Program, Run, Source, Stream, Verdict

T = TypeVar("T")

TRIES = 4
"""How many virtual machines a program is given, if they die before they have it."""
STRIKES = 1
"""How often a program runs again whose machine something outside killed."""

_FIRST_COMPILE_S = 60.0
"""For one of the first compilations, however slow the machine is just now."""
_WARM_S = 3600.0
"""For the compiler's warming, too, which has deadlines of its own, from one answer to the next."""

_PROBE = Source("", 'public class Probe { public String run() { return "alive"; } }')


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
    ) -> None:
        self._reactor = reactor
        self._java = java
        self._settings = sandbox
        self._directory = state_directory
        self._slots = slots
        self._caps = caps
        self._on_capacity = on_capacity
        self._on_progress = on_progress
        self._sandbox: Sandbox | None = None
        self._compiler: Compiler | None = None
        self._classes: CompiledClasses | None = None
        self._pool: RunnerPool | None = None
        self._works: dict[str, _Work] = {}
        self._serving = False
        self._archived = False
        self._struck = 0
        self.java_version = ""

    @inlineCallbacks
    def start(self) -> Generator[Deferred[Any], Any, SandboxReport]:
        """Find the JDK, build the harness, warm the compiler, prove the sandbox by a real run (S4).

        Fails with EnvironmentFault, whose text says what to install or change.
        """
        threads = self._reactor.getThreadPool()

        def in_thread(work: Callable[..., Any], *args: object) -> Deferred[Any]:
            return deferToThreadPool(self._reactor, threads, work, *args)

        # First of all: a group with another process in it can't be divided, and what follows starts some.
        group, no_cells = None, ""
        if self._settings.mode == "bubblewrap":
            group, no_cells = yield in_thread(cells.enter)
        kit = yield in_thread(jdk.find, self._java.home)
        kept = yield in_thread(harness.directory, self._directory)
        jar = yield in_thread(harness.build, kit, kept)
        subtree = cells.Subtree(group, in_thread) if group is not None else None
        self._sandbox = Sandbox(self._reactor, self._settings, kit, jar, self._directory, subtree)
        report = self._sandbox.report(kit.version, no_cells)
        self._pool = RunnerPool(self._reactor, self._sandbox, self._slots, self._caps)
        self._compiler = Compiler(
            self._reactor,
            self._spawn_compiler,
            confined=self._sandbox.confined,
            recycle_after=self._java.compiler_recycle_after,
        )
        self._classes = CompiledClasses(self._reactor, self._compiler)
        try:
            yield self._prove(self._sandbox, self._pool, self._compiler)
        except EnvironmentFault:
            yield self.stop()
            raise
        self.java_version = kit.version
        if not self._sandbox.confined:
            self._log.critical("{text}", text=report.text)
        self._serving = True
        self._compiler.on_ready = self._capacity
        self._pool.fill()
        self._capacity(self._compiler.snapshot().ready)
        return report

    @inlineCallbacks
    def _prove(
        self, sandbox: Sandbox, pool: RunnerPool, compiler: Compiler
    ) -> Generator[Deferred[Any], Any, None]:
        """Compile and run something: what works for this works for a job."""
        compiler.start()
        first = compiler.compile((_PROBE,), _FIRST_COMPILE_S, _WARM_S)
        compiler.on_hopeless = first.cancel
        try:
            answer = yield first
        except CancelledError:
            answer = None
        if not isinstance(answer, Answer) or not answer.classes:
            raise EnvironmentFault(self._advice(f"the compiler does not start: {compiler.complaint.strip()}"))
        source, main_class = SAMPLE
        sample = yield compiler.compile((source,), _FIRST_COMPILE_S, _WARM_S)
        threads = self._reactor.getThreadPool()
        if isinstance(sample, Answer) and sample.classes:
            found = Sample(main_class, sample.classes)
            self._archived = yield deferToThreadPool(self._reactor, threads, sandbox.prepare, found)
        try:
            one = pool.take(self._caps)
        except OSError as error:
            raise EnvironmentFault(self._advice(f"no process can be started: {error}")) from error
        run = yield one.run(Task(Entry("Probe", "run"), answer.classes, Input(), self._caps), 60.0)
        if run.value != b"alive":
            raise EnvironmentFault(
                self._advice(f"a first program does not run: {run.verdict}: {run.message}")
            )

    def _advice(self, problem: str) -> str:
        problem = " ".join(problem.split())[:1500]
        if self._settings.mode != "bubblewrap":
            return problem
        return (
            f"{problem}. If that is about namespaces: sysctl kernel.unprivileged_userns_clone=1 "
            "user.max_user_namespaces=10000 and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0; "
            "or, for trusted programs only, sandbox.mode: none"
        )

    def _spawn_compiler(self, jvm: Jvm) -> None:
        sandbox = _there(self._sandbox)
        java = (*compiler_flags(self._java.compiler_memory_bytes), harness.COMPILER)
        jvm.place = sandbox.spawn(jvm, java, compiler_allowance(self._java.compiler_memory_bytes), boot=False)

    def _capacity(self, ready: bool) -> None:
        if self._serving:
            self._on_capacity(self._slots if ready else 0)

    def run(self, job: Job, remaining_s: float) -> Deferred[Outcome]:
        """Compile and run; never fails.

        Args:
            job: at most one of an id at a time.
            remaining_s: until the job's deadline; then it ends as `expired`.
        """
        work = _Work(Progress(self._reactor, job.id, self._on_progress) if job.progress else None)
        self._works[job.id] = work
        pool = _there(self._pool)
        pool.begin()
        done: Deferred[Outcome] = self._perform(job, work, remaining_s)

        def broken(failure: Failure) -> Outcome:
            self._log.failure("a job could not be performed", failure)
            return Outcome(Verdict.INTERNAL_ERROR, "the worker failed; its log says why")

        def settled(outcome: Outcome) -> Outcome:
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
    def _perform(self, job: Job, work: _Work, remaining_s: float) -> Generator[Deferred[Any], Any, Outcome]:
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
            work.stop = _nothing
        compilation = Compilation(seconds=self._reactor.seconds() - began)
        if answer == "expired":
            return Outcome(Verdict.EXPIRED, "the job's deadline passed before it was compiled", compilation)
        if answer == "compile":
            run = Run(Verdict.TIME_LIMIT, "compile", f"compiling took longer than {limits.compile_s:g} s")
            return Outcome(run.verdict, run.message, compilation, (run,))
        compilation = msgspec.structs.replace(
            compilation, diagnostics=answer.diagnostics, text=answer.text or answer.crash
        )
        if answer.status == CRASHED:
            return Outcome(Verdict.COMPILE_ERROR, answer.crash, compilation)
        if answer.status == FAILED:
            return Outcome(Verdict.COMPILE_ERROR, _first_error(answer), compilation)
        chosen = choose(answer.classes.values(), program.main_class)
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
            one: OneShot = _there(self._pool).take(task.limits)
        except OSError as error:
            return succeed(Run(Verdict.INTERNAL_ERROR, message=f"no process can be started: {error}"))
        work.stop = one.cancel
        if work.progress is not None:
            work.progress.runs(number, {stream: one.written(stream) for stream in Stream})
            one.on_output = work.progress.changed

        def again(run: Run) -> Run | Deferred[Run]:
            unborn = run.verdict is Verdict.INTERNAL_ERROR and not one.handed
            left = tries - unborn, strikes - one.struck
            if not (unborn or one.struck) or left[0] < 1 or left[1] < 0 or work.cancelled:
                return run
            self._struck += one.struck
            self._log.warn("a virtual machine died of nothing that its program did: {why}", why=run.message)
            return self._run_one(task, work, deadline, number, *left)

        return one.run(task, remaining).addCallback(again)

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """End everything; fires when no process is left."""
        self._serving = False
        for job_id in tuple(self._works):
            self.cancel(job_id)
        if self._compiler is not None:
            yield self._compiler.stop()
        if self._pool is not None:
            yield self._pool.stop()
        if self._sandbox is not None:
            yield self._sandbox.settled()

    def snapshot(self) -> JavaSnapshot:
        """Figures for status and metrics."""
        compiler = self._compiler.snapshot() if self._compiler else None
        pool = self._pool.snapshot() if self._pool else None
        return JavaSnapshot(
            compiler_ready=bool(compiler and compiler.ready),
            running=len(self._works),
            compilations=compiler.compilations if compiler else 0,
            recycles=compiler.recycles if compiler else 0,
            crashes=compiler.crashes if compiler else 0,
            timeouts=compiler.timeouts if compiler else 0,
            classes_hits=self._classes.hits if self._classes else 0,
            classes_joined=self._classes.joined if self._classes else 0,
            warm_starts=pool.warm_starts if pool else 0,
            cold_starts=pool.cold_starts if pool else 0,
            waiting=pool.waiting if pool else 0,
            rehearsed=pool.rehearsed if pool else 0,
            lost=pool.lost if pool else 0,
            struck=self._struck,
            compilers_lost=compiler.lost if compiler else 0,
            archived=self._archived,
        )


_FINAL = frozenset({Verdict.CANCELLED, Verdict.EXPIRED, Verdict.INTERNAL_ERROR})
"""After one of these the remaining inputs are not tried."""


def _first_error(answer: Answer) -> str:
    for found in answer.diagnostics:
        if found.severity == "error":
            return (
                f"{found.file}:{found.line}: {found.message.splitlines()[0] if found.message else found.code}"
            )
    return "the source does not compile"


def _nothing() -> None:
    """Where there is nothing to stop."""


def _there(part: T | None) -> T:
    if part is None:
        raise RuntimeError("start() comes first")
    return part
