"""Does it work here? Something is compiled and run as a job would be, before a node offers slots (S4)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from signal import SIGKILL
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks

from cluster.errors import EnvironmentFault, HostExhausted
from cluster.java.compiler import Compiler
from cluster.java.entry import Entry
from cluster.java.frames import Answer
from cluster.java.oneshot import Task
from cluster.java.pool import RunnerPool
from cluster.java.scarcity import fault_of
from cluster.limits import Limits
from cluster.wire.jobs import Input, Run, Source, Verdict

_FIRST_COMPILE_S = 60.0
"""For one of the first compilations, however slow the machine is just now."""
_WARM_S = 3600.0
"""For the compiler's warming, too, which has deadlines of its own, from one answer to the next."""

_PROBE = Source("", 'public class Probe { public String run() { return "alive"; } }')
_LATE = frozenset({Verdict.TIME_LIMIT, Verdict.EXPIRED})
"""How a program ends that does nothing, on a host that has no time for it."""
_KILLED = frozenset({Verdict.SIGNALLED, Verdict.INTERNAL_ERROR})
"""How on one without memory, whose kernel kills: before it has its program, or later."""
_DOUBTFUL = frozenset({*_KILLED, Verdict.MEMORY_LIMIT})
"""How on one without memory, or where the call filter forbids it or its cap is too small: for ever."""
ALIKE = 4
"""So many doubtful ends alike in a row, with growing pauses between them, are for ever."""


class Doubt:
    """Tells from how a first program ended whether another try may do better (S4, decision 9)."""

    def __init__(self) -> None:
        self._end: object = None
        self._alike = 0

    def fault(self, run: Run, complaint: str, *, namespaces: bool) -> EnvironmentFault:
        """What it amounts to: a HostExhausted while that may pass.

        Args:
            run: how it ended.
            complaint: what the virtual machine wrote before it had the program.
            namespaces: whether they are used, and may be to blame.
        """
        said = f"a first program does not run: {run.verdict}: {run.message} {complaint}".strip()
        for output in (run.stderr, run.stdout):  # the program writes nothing
            said += f" {output.decode('utf-8', 'replace')}".rstrip()
        end = run.verdict, run.detail, run.signal, run.exit_code, run.message
        self._alike = self._alike + 1 if end == self._end else 1
        self._end = end
        late = run.verdict in _LATE or (run.verdict in _KILLED and run.signal == SIGKILL)
        doubtful = run.verdict in _DOUBTFUL and self._alike < ALIKE
        if not complaint.strip() and (late or doubtful):
            return HostExhausted(" ".join(said.split()))
        return fault_of(advice(said, namespaces))


@inlineCallbacks
def prove(
    pool: RunnerPool,
    compiler: Compiler,
    caps: Limits,
    prepare: Callable[[], Deferred[bool]],
    doubt: Doubt,
    *,
    namespaces: bool,
) -> Generator[Deferred[Any], Any, bool]:
    """Compile and run something: what works for this works for a job; whether there is an archive (J2).

    Fails with EnvironmentFault; with HostExhausted where another try may do better; `doubt` remembers
    the ones before.
    """
    compiler.start()
    first = compiler.compile((_PROBE,), _FIRST_COMPILE_S, _WARM_S)
    compiler.on_hopeless = first.cancel
    try:
        answer = yield first
    except CancelledError:
        raise fault_of(advice(f"the compiler does not start: {compiler.complaint}", namespaces)) from None
    if not isinstance(answer, Answer):
        raise HostExhausted(f"a first compilation did not end ({answer})")
    if not answer.classes:
        raise EnvironmentFault(
            advice(f"the compiler does not work: {answer.text or answer.crash}", namespaces)
        )
    archived = yield prepare()
    try:
        one = pool.take(caps)
    except OSError as error:
        raise fault_of(f"no process can be started: {error}", error) from error
    run = yield one.run(Task(Entry("Probe", "run"), answer.classes, Input(), caps), 60.0)
    if run.value != b"alive":
        raise doubt.fault(run, one.complaint, namespaces=namespaces)
    return bool(archived)


def advice(problem: str, namespaces: bool) -> str:
    """The problem on one line, with what to do about it where that may be the namespaces."""
    problem = " ".join(problem.split())[:1500]
    if not namespaces:
        return problem
    return (
        f"{problem}. If that is about namespaces: sysctl kernel.unprivileged_userns_clone=1 "
        "user.max_user_namespaces=10000 and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0; "
        "or, for trusted programs only, sandbox.mode: none"
    )
