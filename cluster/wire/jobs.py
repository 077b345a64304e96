"""What is run and what comes back: the values that travel from a client to a worker and home again.

Sizes are bytes, times are seconds. `java.md` P1-P4 (what a program may be) and R1-R3 (what comes back).
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from cluster.limits import RUNS_MAX, Limits


class Source(msgspec.Struct, frozen=True):
    """One source file.

    Attributes:
        name: a relative name such as `Main.java`, or empty where the caller sent bare text and the
            compiler is to name it after its public class (the original's interface, H1).
        text: the source itself.
    """

    name: str
    text: str


class Input(msgspec.Struct, frozen=True):
    """What one run of a compiled program is given (P3)."""

    args: tuple[str, ...] = ()
    stdin: bytes = b""


class DataFile(msgspec.Struct, frozen=True):
    """A file that a program finds in its working directory; its name is relative and stays below there."""

    name: str
    data: bytes


class Program(msgspec.Struct, frozen=True):
    """Sources, the class to start (empty: found by P2), what to feed it, its limits, and its data files."""

    sources: tuple[Source, ...]
    main_class: str = ""
    inputs: tuple[Input, ...] = (Input(),)
    limits: Limits = Limits()
    files: tuple[DataFile, ...] = ()


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A program with an identity; its gateway owns it until its client has the answer (W1).

    Attributes:
        id: 32 hexadecimal digits.
        gateway: the node that owes the answer.
        program: what to compile and run.
        progress: somebody wants to see what it comes to while it runs; nobody else pays for that.
    """

    id: str
    gateway: int
    program: Program
    progress: bool = False


class Verdict(enum.StrEnum):
    """How a run ended (R2). The last four are ours; the rest are the program's own doing."""

    OK = "ok"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    SIGNALLED = "signalled"
    INTERNAL_ERROR = "internal_error"
    WORKER_LOST = "worker_lost"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


DETERMINISTIC = frozenset({Verdict.OK, Verdict.COMPILE_ERROR, Verdict.RUNTIME_ERROR})
"""The verdicts that a cache may keep (C2); see `deterministic`."""


class Diagnostic(msgspec.Struct, frozen=True):
    """One message of the compiler; line and column count from 1, 0 where the compiler names no place."""

    file: str
    line: int
    column: int
    severity: str
    code: str
    message: str


class Compilation(msgspec.Struct, frozen=True):
    """What the compiler said (R1).

    Attributes:
        text: javac's own rendering of the diagnostics, truncated to 64 KiB.
        seconds: wall time.
        main_class: the class that P2 chose; empty when there is none.
        entry: `"run"`, `"main"`, or empty.
        crashed: the compiler gave up, for want of memory or stack or by a fault of its own.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    text: str = ""
    seconds: float = 0.0
    main_class: str = ""
    entry: str = ""
    crashed: bool = False


class Run(msgspec.Struct, frozen=True):
    """One run of the compiled program (R1).

    Attributes:
        verdict: how it ended.
        detail: which limit (`wall`, `cpu`, `heap`, `metaspace`, `direct`, `native`, `threads`, `stdout`,
            `stderr`, `value`), or empty.
        message: one line for people: the exception's own first line, or what limit was passed.
        value: what `run()` returned, as UTF-8 with unpaired surrogates as `?`; None when it returned null
            or when the entry is `main`.
        stdout, stderr: bytes as written, up to the limit (R3).
        exit_code: of the process, None when a signal ended it.
        signal: its number, None when the process exited.
        peak_memory_bytes: 0 where the host could not tell.
    """

    verdict: Verdict
    detail: str = ""
    message: str = ""
    value: bytes | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    exit_code: int | None = None
    signal: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0


class Stream(enum.IntEnum):
    """Where a program writes."""

    STDOUT = 1
    STDERR = 2


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Some of what one run has written.

    Attributes:
        run: counts a job's inputs from 0.
        offset: how many bytes that run had written to the stream before.
    """

    run: Annotated[int, msgspec.Meta(ge=0, lt=RUNS_MAX)]
    stream: Stream
    offset: Annotated[int, msgspec.Meta(ge=0)]
    data: bytes


class Outcome(msgspec.Struct, frozen=True):
    """The one final answer of a job (W8).

    Attributes:
        verdict: of the first run that is not `ok`, else `ok`; or the compilation's, or ours.
        message: one line for people.
        compilation: None when it never got so far.
        runs: one for each input that was run.
        worker: the node that produced it; -1 when none did.
        queue_s: seconds that the job neither compiled nor ran: waiting, and on the way; set by its gateway.
    """

    verdict: Verdict
    message: str = ""
    compilation: Compilation | None = None
    runs: tuple[Run, ...] = ()
    worker: int = -1
    queue_s: float = 0.0


def deterministic(outcome: Outcome) -> bool:
    """Whether it would be the same again, so that a cache may keep it (C2)."""
    crashed = outcome.compilation is not None and outcome.compilation.crashed
    return outcome.verdict in DETERMINISTIC and not crashed


class Reason(enum.StrEnum):
    """Why a job was refused or given up without an outcome (W4, W11): retryable, not the program's fault."""

    OVERLOADED = "overloaded"
    NO_LEADER = "no_leader"
    NO_WORKER = "no_worker"
    QUEUE_TIMEOUT = "queue_timeout"
    STOPPING = "stopping"


class Refusal(msgspec.Struct, frozen=True):
    """A job that the cluster could not take; its client may try again.

    Attributes:
        message: one line for people that says what was missing.
        retry_after_s: seconds, for `Retry-After`.
    """

    reason: Reason
    message: str
    retry_after_s: float = 1.0
