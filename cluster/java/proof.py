"""Does it work here? Something is compiled and run as a job would be, before a node offers slots (S4)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks

from cluster.errors import EnvironmentFault, HostExhausted
from cluster.java.archive import Sample
from cluster.java.compiler import Compiler
from cluster.java.entry import Entry
from cluster.java.frames import Answer
from cluster.java.oneshot import Task
from cluster.java.pool import RunnerPool
from cluster.java.rehearsal import SAMPLE
from cluster.java.scarcity import fault_of
from cluster.limits import Limits
from cluster.wire.jobs import Input, Source, Verdict

_FIRST_COMPILE_S = 60.0
"""For one of the first compilations, however slow the machine is just now."""
_WARM_S = 3600.0
"""For the compiler's warming, too, which has deadlines of its own, from one answer to the next."""

_PROBE = Source("", 'public class Probe { public String run() { return "alive"; } }')
_STARVED = frozenset(
    {Verdict.TIME_LIMIT, Verdict.EXPIRED, Verdict.INTERNAL_ERROR, Verdict.SIGNALLED, Verdict.MEMORY_LIMIT}
)
"""How a program ends that does nothing, on a host that has no time or memory for it."""


@inlineCallbacks
def prove(
    pool: RunnerPool,
    compiler: Compiler,
    caps: Limits,
    prepare: Callable[[Sample], Deferred[bool]],
    *,
    namespaces: bool,
) -> Generator[Deferred[Any], Any, bool]:
    """Compile and run something: what works for this works for a job; whether there is an archive (J2).

    Fails with EnvironmentFault; with HostExhausted where another try may do better.
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
    source, main_class = SAMPLE
    sample = yield compiler.compile((source,), _FIRST_COMPILE_S, _WARM_S)
    archived = False
    if isinstance(sample, Answer) and sample.classes:
        archived = yield prepare(Sample(main_class, sample.classes))
    try:
        one = pool.take(caps)
    except OSError as error:
        raise fault_of(f"no process can be started: {error}", error) from error
    run = yield one.run(Task(Entry("Probe", "run"), answer.classes, Input(), caps), 60.0)
    if run.value != b"alive":
        said = f"a first program does not run: {run.verdict}: {run.message} {one.complaint}"
        starved = run.verdict in _STARVED and not one.complaint.strip()
        raise HostExhausted(said) if starved else fault_of(advice(said, namespaces))
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
