"""From evidence to a verdict (R2). Nothing here looks at a text that the program printed."""

from __future__ import annotations

import enum
import signal

import attrs
import msgspec

from cluster.java.frames import Record
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Run, Verdict


class Cause(enum.StrEnum):
    """Why the node ended a run."""

    WALL = "wall"
    CPU = "cpu"
    MEMORY = "native"
    STDOUT = "stdout"
    STDERR = "stderr"
    VALUE = "value"
    CHANNEL = "channel"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    BROKEN = "broken"


@attrs.frozen
class Evidence:
    """Everything known of a finished run, all of it from outside the program or vouched for by the nonce.

    Attributes:
        cause: why we ended it; None when it ended by itself.
        exit_code: as the process showed it: bubblewrap adds 128 to a signal's number.
        signal: of the process itself.
        outcome: the launcher's record of how the entry point ended, when there was one.
        exiting: the launcher saw an orderly exit begin.
        data_full: the last look saw private memory near its limit.
        cpu_spent: the last look saw the processor time near its limit.
        cpu_passed: it saw more than that.
        out_of_memory: the kernel killed it because its control group's memory was used up.
    """

    cause: Cause | None
    exit_code: int | None
    signal: int | None
    outcome: Record | None = None
    exiting: bool = False
    data_full: bool = False
    cpu_spent: bool = False
    cpu_passed: bool = False
    out_of_memory: bool = False


_MEMORY_KINDS = {b"h": "heap", b"m": "metaspace", b"d": "direct", b"t": "threads", b"n": "native"}
_AFTER_MEMORY = frozenset({None, Cause.WALL, Cause.CPU, Cause.MEMORY, Cause.EXPIRED})
"""However a program ends that has run out of memory: that is what it died of."""
_ABORTED = 127
"""How `abort()` ends the first process of a namespace, which signals of its own don't end."""

_SIGNAL_BASE = 128
_DEADLY = frozenset(
    {
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGXCPU,
        signal.SIGSYS,
    }
)


def judge(evidence: Evidence, limits: Limits) -> Run:
    """The verdict, its detail, message, value and exit; the caller fills in streams and figures."""
    outcome = evidence.outcome
    kind = outcome.kind if outcome else ""
    message = outcome.payload[1:].decode("utf-8", "replace") if outcome is not None and kind == "X" else ""
    memory = memory_kind(outcome)
    code, number = _exit(evidence)
    if memory and evidence.cause in _AFTER_MEMORY:
        return Run(Verdict.MEMORY_LIMIT, memory, message or _memory(limits), exit_code=code, signal=number)
    if evidence.out_of_memory and evidence.cause in _AFTER_MEMORY:
        return Run(Verdict.MEMORY_LIMIT, "native", _memory(limits), exit_code=code, signal=number)
    if evidence.cause is not None:
        return _ended_by_us(evidence.cause, limits)
    if evidence.cpu_passed:  # it ended by itself before anybody had looked
        return msgspec.structs.replace(_ended_by_us(Cause.CPU, limits), exit_code=code, signal=number)
    if number is not None:
        return _signalled(number, evidence, limits)
    if kind == "X" and code:
        return Run(Verdict.RUNTIME_ERROR, message=message, exit_code=code)
    if kind == "L":
        return Run(Verdict.OUTPUT_LIMIT, "value", _output("the value", limits), exit_code=code)
    if code:
        if not kind and not evidence.exiting and evidence.data_full:
            return Run(Verdict.MEMORY_LIMIT, "native", _memory(limits), exit_code=code)
        return Run(Verdict.RUNTIME_ERROR, message=f"exit code {code}", exit_code=code)
    value = outcome.payload if outcome is not None and kind == "V" else None
    return Run(Verdict.OK, value=value, exit_code=code)


def killed_from_outside(evidence: Evidence) -> bool:
    """Whether a SIGKILL ended it that neither this node sent nor the kernel for a limit of its own."""
    bounded = evidence.out_of_memory or evidence.data_full or evidence.cpu_spent
    ended = evidence.cause is not None or evidence.outcome is not None
    return _exit(evidence)[1] == signal.SIGKILL and not bounded and not ended


def memory_kind(record: Record | None) -> str:
    """Which part of the memory the entry point died of, by the launcher's record; empty when it did not."""
    return _MEMORY_KINDS.get(record.payload[:1], "") if record is not None and record.kind == "X" else ""


def _exit(evidence: Evidence) -> tuple[int | None, int | None]:
    """Exit code or signal.

    A code above 128 without an orderly exit is a signal that bubblewrap passed on, if it is one of those that
    can end the first process of a namespace: the kernel's own faults and SIGKILL. `halt` with one of these
    few can't be told from it; every other code is the program's.
    """
    code = evidence.exit_code
    if evidence.signal is not None:
        return None, evidence.signal
    if code == _ABORTED and not evidence.exiting and evidence.outcome is None:
        return None, signal.SIGABRT
    if code is not None and not evidence.exiting and code - _SIGNAL_BASE in _DEADLY:
        return None, code - _SIGNAL_BASE
    return code, None


def _ended_by_us(cause: Cause, limits: Limits) -> Run:
    match cause:
        case Cause.WALL:
            return Run(
                Verdict.TIME_LIMIT, "wall", f"ran longer than {limits.wall_s:g} s", signal=signal.SIGKILL
            )
        case Cause.CPU:
            message = f"used more than {limits.cpu_s:g} s of processor time"
            return Run(Verdict.TIME_LIMIT, "cpu", message, signal=signal.SIGKILL)
        case Cause.MEMORY:
            return Run(Verdict.MEMORY_LIMIT, "native", _memory(limits), signal=signal.SIGKILL)
        case Cause.STDOUT | Cause.STDERR | Cause.VALUE:
            what = {Cause.STDOUT: "standard output", Cause.STDERR: "standard error"}.get(cause, "the value")
            return Run(Verdict.OUTPUT_LIMIT, cause.value, _output(what, limits), signal=signal.SIGKILL)
        case Cause.CHANNEL:
            message = "the program wrote to the runner's own channel"
            return Run(Verdict.RUNTIME_ERROR, message=message, signal=signal.SIGKILL)
        case Cause.CANCELLED:
            return Run(Verdict.CANCELLED, message="cancelled", signal=signal.SIGKILL)
        case Cause.EXPIRED:
            return Run(Verdict.EXPIRED, message="the job's deadline passed", signal=signal.SIGKILL)
        case Cause.BROKEN:
            return Run(Verdict.INTERNAL_ERROR, message="the virtual machine could not be started")


def _signalled(number: int, evidence: Evidence, limits: Limits) -> Run:
    if number == signal.SIGXCPU or (number == signal.SIGKILL and evidence.cpu_spent):
        message = f"used more than {limits.cpu_s:g} s of processor time"
        return Run(Verdict.TIME_LIMIT, "cpu", message, signal=number)
    if evidence.data_full:
        return Run(Verdict.MEMORY_LIMIT, "native", _memory(limits), signal=number)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return Run(Verdict.SIGNALLED, message=f"the virtual machine died of {name}", signal=number)


def _memory(limits: Limits) -> str:
    return f"used more memory than {limits.memory_bytes / MIB:g} MiB"


def _output(what: str, limits: Limits) -> str:
    return f"{what} is longer than {limits.output_bytes} bytes"
