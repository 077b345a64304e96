"""What became of a submission, in Judge0's attributes and fourteen statuses. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from cluster.gateway.compat.judge0 import KB, Submission, encoded
from cluster.gateway.compat.judge0_info import (
    ACCEPTED,
    COMPILATION_ERROR,
    INTERNAL_ERROR,
    NZEC,
    OTHER,
    PROCESSING,
    SIGABRT,
    SIGFPE,
    SIGSEGV,
    SIGXFSZ,
    STATUSES,
    TIME_LIMIT,
    WRONG_ANSWER,
    language_name,
)
from cluster.gateway.relay import Answered
from cluster.wire.jobs import Outcome, Refusal, Run, Verdict

_BY_SIGNAL: Mapping[int, int] = {11: SIGSEGV, 25: SIGXFSZ, 8: SIGFPE, 6: SIGABRT}
_FILE_SIZE_SIGNAL = 25

DEFAULT_FIELDS = ("token", "time", "memory", "stdout", "stderr", "compile_output", "message", "status")

TEXTS = ("source_code", "stdin", "expected_output", "stdout", "stderr", "compile_output", "message")
"""The attributes that `base64_encoded=true` encodes."""

NOT_TEXT = "some attributes for {what} cannot be converted to UTF-8, use base64_encoded=true query parameter"


class NotText(Exception):
    """Bytes that JSON can't hold, and no base64 was asked for."""


@attrs.frozen
class Moments:
    """When a submission came and ended, in seconds since 1970; None while it has not."""

    created: float
    finished: float | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended. Memory in kilobytes, times in seconds; averages over its runs."""

    status: int
    stdout: bytes | None = None
    stderr: bytes | None = None
    compile_output: bytes | None = None
    message: bytes | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    time: float | None = None
    wall_time: float | None = None
    memory: int | None = None


def ended_of(answered: Answered, submission: Submission) -> Ended:
    """How Judge0 would call that ending."""
    result = answered.result
    if isinstance(result, Refusal):
        return Ended(status=INTERNAL_ERROR, message=result.message.encode())
    compiled = result.compilation.text.encode() if result.compilation and result.compilation.text else None
    run = _telling(result)
    if result.verdict is Verdict.COMPILE_ERROR:
        told = compiled or result.message.encode()
        return Ended(status=COMPILATION_ERROR, compile_output=told)
    if run is not None and run.detail == "compile":
        late = b"Compilation time limit exceeded."
        return Ended(status=COMPILATION_ERROR, compile_output=late)
    if run is None:
        told = (result.message or result.verdict.value).encode()
        return Ended(status=INTERNAL_ERROR, message=told)
    merged = submission.redirect_stderr_to_stdout
    stdout, stderr = _written(run, merged=merged), b"" if merged else run.stderr
    status = _status(run)
    if status == ACCEPTED and not _as_expected(result, submission):
        status = WRONG_ANSWER
    memory = sum(one.peak_memory_bytes for one in result.runs) // len(result.runs) // KB
    return Ended(
        status=status,
        stdout=stdout or None,
        stderr=stderr or None,
        compile_output=compiled,
        message=_message(run, status),
        exit_code=run.exit_code if run.exit_code is not None else 0,
        exit_signal=_FILE_SIZE_SIGNAL if status == SIGXFSZ else run.signal,
        time=sum(one.cpu_s for one in result.runs) / len(result.runs),
        wall_time=sum(one.wall_s for one in result.runs) / len(result.runs),
        memory=memory or None,
    )


def document(
    token: str,
    submission: Submission,
    ended: Ended | None,
    moments: Moments,
    fields: Sequence[str],
    *,
    base64: bool,
    version: str = "",
) -> dict[str, Any]:
    """The attributes that were asked for, in that order.

    Raises:
        NotText: one of them is no UTF-8, and `base64` is False.
    """
    status = PROCESSING if ended is None else ended.status
    told = ended or Ended(status=status)
    every: dict[str, Any] = {
        **{name: getattr(submission, name) for name in _ASKED},
        "token": token,
        "language_id": submission.language_id,
        "language": {"id": submission.language_id, "name": language_name(submission.language_id, version)},
        "cpu_time_limit": str(submission.cpu_time_limit),
        "cpu_extra_time": str(submission.cpu_extra_time),
        "wall_time_limit": str(submission.wall_time_limit),
        "enable_per_process_and_thread_time_limit": False,
        "enable_per_process_and_thread_memory_limit": False,
        "enable_network": False,
        "compiler_options": None,
        "callback_url": submission.callback_url or None,
        "additional_files": encoded(submission.additional_files),
        "status_id": status,
        "status": {"id": status, "description": STATUSES[status]},
        "exit_code": told.exit_code,
        "exit_signal": told.exit_signal,
        "time": _decimal(told.time),
        "wall_time": _decimal(told.wall_time),
        "memory": told.memory,
        "created_at": _moment(moments.created),
        "finished_at": _moment(moments.finished),
    }
    for name in TEXTS:
        data = getattr(submission if name in _SENT else told, name)
        every[name] = encoded(data) if base64 else data
    chosen = {name: every[name] for name in fields}
    for name, value in chosen.items():
        if isinstance(value, bytes):
            try:
                chosen[name] = value.decode()
            except UnicodeDecodeError as error:
                raise NotText from error
    return chosen


ALL_FIELDS = (
    *("source_code", "language_id", "stdin", "expected_output", "stdout", "status_id", "created_at"),
    *("finished_at", "time", "memory", "stderr", "token", "number_of_runs", "cpu_time_limit"),
    *("cpu_extra_time", "wall_time_limit", "memory_limit", "stack_limit", "max_processes_and_or_threads"),
    *("enable_per_process_and_thread_time_limit", "enable_per_process_and_thread_memory_limit"),
    *("max_file_size", "compile_output", "exit_code", "exit_signal", "message", "wall_time"),
    *("compiler_options", "command_line_arguments", "redirect_stderr_to_stdout", "callback_url"),
    *("additional_files", "enable_network", "status", "language"),
)
"""What can be asked for, and no more: Judge0's own client breaks on an attribute that it does not know."""

_SENT = ("source_code", "stdin", "expected_output")
_ASKED = (
    "command_line_arguments",
    "memory_limit",
    "stack_limit",
    "max_processes_and_or_threads",
    "max_file_size",
    "number_of_runs",
    "redirect_stderr_to_stdout",
)


def fields_of(asked: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The attributes that a `fields` parameter names, `*` for all; and those of them that do not exist."""
    names = tuple(name for name in asked.split(",") if name)
    if "*" in names:
        return ALL_FIELDS, ()
    return names or DEFAULT_FIELDS, tuple(name for name in names if name not in ALL_FIELDS)


def _telling(outcome: Outcome) -> Run | None:
    """The first run that did not end well, else the last."""
    for run in outcome.runs:
        if run.verdict is not Verdict.OK:
            return run
    return outcome.runs[-1] if outcome.runs else None


def _status(run: Run) -> int:
    if run.verdict is Verdict.OK:
        return ACCEPTED
    if run.verdict is Verdict.TIME_LIMIT:
        return TIME_LIMIT
    if run.verdict is Verdict.OUTPUT_LIMIT:
        return SIGXFSZ
    if run.verdict is Verdict.RUNTIME_ERROR or (
        run.verdict is Verdict.MEMORY_LIMIT and run.exit_code is not None
    ):
        return NZEC
    if run.verdict in {Verdict.SIGNALLED, Verdict.MEMORY_LIMIT}:
        return _BY_SIGNAL.get(run.signal or 0, OTHER)
    return INTERNAL_ERROR


def _message(run: Run, status: int) -> bytes | None:
    """Isolate's words, which clients show; ours where isolate could not tell."""
    if status in {ACCEPTED, WRONG_ANSWER}:
        return None
    if status == TIME_LIMIT:
        return b"Time limit exceeded" + (b" (wall clock)" if run.detail == "wall" else b"")
    if run.verdict is Verdict.MEMORY_LIMIT:
        return f"Memory limit exceeded: {run.message or run.detail}".encode()
    if status == NZEC:
        return f"Exited with error status {run.exit_code}".encode()
    if run.verdict is Verdict.SIGNALLED:
        return f"Caught fatal signal {run.signal}".encode()
    return (run.message or run.verdict.value).encode()


def _written(run: Run, *, merged: bool) -> bytes:
    """Standard output, with standard error behind it where they are to be one."""
    return run.stdout + (run.value or b"") + (run.stderr if merged else b"")


def _as_expected(outcome: Outcome, submission: Submission) -> bool:
    """Whether every run wrote what was expected, white space at the ends of lines and of the text aside."""
    expected, merged = submission.expected_output, submission.redirect_stderr_to_stdout
    return expected is None or all(
        _stripped(_written(run, merged=merged)) == _stripped(expected) for run in outcome.runs
    )


def _stripped(text: bytes) -> bytes:
    return b"\n".join(line.rstrip() for line in text.split(b"\n")).rstrip()


def _decimal(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.3f}"


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
