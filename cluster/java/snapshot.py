"""What may be seen of the Java side from outside."""

from __future__ import annotations

import attrs

from cluster.java.classes import CompiledClasses
from cluster.java.compiler import Compiler
from cluster.java.pool import RunnerPool


@attrs.frozen
class JavaSnapshot:
    """What status and metrics show of the Java side; counters since the start."""

    compiler_ready: bool
    compiler_spare: bool
    """Whether another compiler is warm, to take its place."""
    running: int
    compilations: int
    recycles: int
    crashes: int
    timeouts: int
    abandoned: int
    """Compilers that were ended because whoever they compiled for had left."""
    classes_hits: int
    classes_joined: int
    warm_starts: int
    cold_starts: int
    waiting: int
    rehearsed: int
    lost: int
    """Machines that died by themselves before they had a program."""
    struck: int
    """Programs whose machine something outside killed; they ran once more."""
    compilers_lost: int
    archived: bool
    """Whether waiting machines map their classes from the archive."""
    troubled: bool
    """Whether the host lacks something to run programs; its facts say what."""


def snapshot_of(
    compiler: Compiler | None,
    pool: RunnerPool | None,
    classes: CompiledClasses | None,
    *,
    running: int,
    struck: int,
    archived: bool,
    troubled: bool,
) -> JavaSnapshot:
    """The figures of the parts; a part that is not there yet has none."""
    compiling = compiler.snapshot() if compiler else None
    machines = pool.snapshot() if pool else None
    return JavaSnapshot(
        compiler_ready=bool(compiling and compiling.ready),
        compiler_spare=bool(compiling and compiling.spare),
        running=running,
        compilations=compiling.compilations if compiling else 0,
        recycles=compiling.recycles if compiling else 0,
        crashes=compiling.crashes if compiling else 0,
        timeouts=compiling.timeouts if compiling else 0,
        abandoned=compiling.abandoned if compiling else 0,
        classes_hits=classes.hits if classes else 0,
        classes_joined=classes.joined if classes else 0,
        warm_starts=machines.warm_starts if machines else 0,
        cold_starts=machines.cold_starts if machines else 0,
        waiting=machines.waiting if machines else 0,
        rehearsed=machines.rehearsed if machines else 0,
        lost=machines.lost if machines else 0,
        struck=struck,
        compilers_lost=compiling.lost if compiling else 0,
        archived=archived,
        troubled=troubled,
    )
