"""The JSON of the modern interface (H4-H6): what decodes requests, encodes answers, and becomes OpenAPI.

Sizes are bytes, times are seconds. A field that a request leaves out is not the same as `null`, which is
refused like every other value of the wrong type.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cluster.limits import MIB
from cluster.wire.jobs import Diagnostic, Verdict

FILES_MAX = 100
"""Source files of one program."""
TESTS_MAX = 100
"""Inputs that one compilation is run with."""
ARGS_MAX = 1000
ARG_CHARACTERS_MAX = 64 * 1024
STDIN_MAX = 8 * MIB
"""Standard input of one run."""
MEMORY_MIN = 32 * MIB
"""A JVM does not start with less."""
KEY_CHARACTERS_MAX = 255
"""Of an `Idempotency-Key`."""

Seconds = Annotated[float, Meta(gt=0)]
Amount = Annotated[float, Meta(ge=1, multiple_of=1)]
"""A whole number: JSON has but one kind of number, so that `1.0` is as whole as `1`."""
Arg = Annotated[str, Meta(max_length=ARG_CHARACTERS_MAX, pattern=r"^[^\u0000]*$")]
Args = Annotated[tuple[Arg, ...], Meta(max_length=ARGS_MAX)]
NAME_CHARACTER = r"[^\u0000-#%-,./:-@\[-^`{-\u00a0\ue000-\uf8ff\ufffe\uffff]"
"""One of a source's name: of ASCII a letter, a digit, `_`, `$`, `-`, and all else that a class may be called.

By what it is not, since the pattern is published: a range beyond U+FFFF is an error to JavaScript that was
not asked to read Unicode. Surrogates are not named: a half alone is no text and does not decode, to such
JavaScript two are a character beyond U+FFFF, and what reads UTF-8 has no word for them.
"""
FileName = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=rf"^({NAME_CHARACTER}+/)*{NAME_CHARACTER}+\.java$",
        description="A relative path such as `Main.java` or `shapes/Circle.java`.",
        examples=["Main.java"],
    ),
]
Base64 = Annotated[
    str,
    Meta(
        max_length=(STDIN_MAX + 2) // 3 * 4,
        description="Bytes in standard base64.",
        # Published, and not matched: that takes eighty times as long as to decode it, which tells as much.
        extra_json_schema={
            "contentEncoding": "base64",
            "pattern": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
        },
    ),
]
Stdin = Annotated[str, Meta(max_length=STDIN_MAX)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what clients send: immutable, and a mistyped key is an error."""


class LimitsAsked(Asked, frozen=True):
    """What one run may use. What is left out is the gateway's own value, which is also the most."""

    wall_s: Seconds | UnsetType = UNSET
    cpu_s: Seconds | UnsetType = UNSET
    memory_bytes: Annotated[float, Meta(ge=MEMORY_MIN, multiple_of=1)] | UnsetType = UNSET
    output_bytes: Amount | UnsetType = UNSET
    processes: Amount | UnsetType = UNSET
    tmp_bytes: Amount | UnsetType = UNSET
    compile_s: Seconds | UnsetType = UNSET


class TestInput(Asked, frozen=True):
    """What one run of the compiled program is given (P3)."""

    __test__ = False  # its name is no wish to be collected by pytest

    args: Args = ()
    stdin: Stdin | UnsetType = UNSET
    stdin_base64: Base64 | UnsetType = UNSET


class RunRequest(Asked, frozen=True):
    """A program, what to feed it, and what it may use (H4).

    Exactly one of `source` and `files`; `tests` instead of `args` and standard input. With `progress` the
    events of a job tell where it runs and what it writes as it comes; without it they tell that in the end.
    """

    source: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    files: Annotated[dict[FileName, str], Meta(min_length=1, max_length=FILES_MAX)] | UnsetType = UNSET
    main_class: Annotated[str, Meta(max_length=1000)] = ""
    args: Args | UnsetType = UNSET
    stdin: Stdin | UnsetType = UNSET
    stdin_base64: Base64 | UnsetType = UNSET
    tests: Annotated[tuple[TestInput, ...], Meta(min_length=1, max_length=TESTS_MAX)] | UnsetType = UNSET
    limits: LimitsAsked = LimitsAsked()
    progress: bool = False
    tenant: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = ""


class CompilationResult(msgspec.Struct, frozen=True):
    """What the compiler said (R1).

    Attributes:
        text: javac's own rendering of the diagnostics.
        main_class: the class that was started; empty when there is none.
        entry: `run`, `main`, or empty.
    """

    diagnostics: tuple[Diagnostic, ...]
    text: str
    seconds: float
    main_class: str
    entry: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the compiled program (R1, R3).

    Attributes:
        detail: which limit was passed, or empty.
        message: one line for people.
        value: what `run()` returned; null when it returned null or when `main` was started.
        stdout, stderr: as text, with replacement characters where the bytes were not UTF-8.
        stdout_base64, stderr_base64: the bytes themselves, present only in that case.
        exit_code: null when a signal ended it.
        signal: its number; null when the process exited.
        peak_memory_bytes: 0 where the host could not tell.
    """

    verdict: Verdict
    detail: str = ""
    message: str = ""
    value: str | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_base64: str | UnsetType = UNSET
    stderr_base64: str | UnsetType = UNSET
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    exit_code: int | None = None
    signal: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0


class ProgramResult(msgspec.Struct, frozen=True, kw_only=True):
    """The whole outcome of a program.

    Attributes:
        job: the job's id.
        verdict: of the first run that is not `ok`, else `ok`; or the compilation's.
        cached: taken from the gateway's memory, and `age_s` old.
        worker: the node that ran it.
        queue_s: from the gateway's sending to the start at the worker.
        compilation: null when it never got so far.
        runs: one for each input that was run.
    """

    job: str
    verdict: Verdict
    message: str = ""
    cached: bool = False
    age_s: float = 0.0
    worker: int | None = None
    queue_s: float = 0.0
    compilation: CompilationResult | None = None
    runs: tuple[RunResult, ...] = ()


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457.

    Attributes:
        detail: what is wrong and what to do about it.
        path: the place in the request's JSON, such as `$.limits.wall_s`.
        job: the job that could not be finished.
        verdict: why, in one word.
    """

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    path: str = ""
    job: str = ""
    verdict: str = ""


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job as `/v1/jobs` tells it (H5).

    Attributes:
        status: `finished` has a `result`, `failed` a `problem`; a cancelled job has failed.
        age_s: since it was sent.
        expires_s: until a job that has ended is forgotten, at the latest.
    """

    job: str
    status: Literal["pending", "finished", "failed"]
    age_s: float
    expires_s: float | None = None
    result: ProgramResult | None = None
    problem: Problem | None = None


class QueuedEvent(msgspec.Struct, frozen=True):
    """Data of the event `queued`: the first one."""

    job: str
    age_s: float


class AssignedEvent(msgspec.Struct, frozen=True):
    """Data of the event `assigned`: a worker was given the job, by the leader of that epoch."""

    job: str
    worker: int
    epoch: int
    attempt: int


class RestartedEvent(msgspec.Struct, frozen=True):
    """Data of the event `restarted`: another attempt takes over; forget the output told so far."""

    job: str


class CompiledEvent(msgspec.Struct, frozen=True):
    """Data of the event `compiled`."""

    job: str
    seconds: float
    diagnostics: tuple[Diagnostic, ...]
    main_class: str


class OutputEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data of the event `output`: the next bytes of one stream, without gap or repetition.

    Attributes:
        run: which of the inputs, from 0.
        offset: how many bytes of that stream were told before.
        text: the bytes, where they are UTF-8; otherwise they are in `base64`.
    """

    job: str
    run: int
    stream: Literal["stdout", "stderr"]
    offset: int
    text: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class LimitsInfo(msgspec.Struct, frozen=True):
    """What a run gets that asks for nothing, and the most that it may ask for."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    output_bytes: int
    processes: int
    tmp_bytes: int
    compile_s: float


class RequestLimits(msgspec.Struct, frozen=True):
    """The most that one request may hold."""

    request_bytes: int
    source_bytes: int
    stdin_bytes: int = STDIN_MAX
    files: int = FILES_MAX
    tests: int = TESTS_MAX


class Runtime(msgspec.Struct, frozen=True):
    """A JDK, and the living nodes that have it."""

    language: str
    version: str
    nodes: tuple[int, ...]
    slots: int


class Runtimes(msgspec.Struct, frozen=True):
    """What programs run on, and within which limits (H6)."""

    runtimes: tuple[Runtime, ...]
    limits: LimitsInfo
    request: RequestLimits


class Interval(msgspec.Struct, frozen=True):
    """What was answered within one interval.

    Attributes:
        at_s: how long ago it began.
        answers: to clients.
        failures: those that were not `ok`.
        cached: those from the gateway's memory.
        p50_s, p99_s: latency; null without an answer.
    """

    at_s: float
    answers: int
    failures: int
    cached: int
    p50_s: float | None
    p99_s: float | None


class Stats(msgspec.Struct, frozen=True):
    """Throughput and latency over the last minutes, the oldest interval first."""

    interval_s: float
    intervals: tuple[Interval, ...]
