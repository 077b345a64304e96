"""Replies as plain values, and the one table that turns blame into HTTP statuses (A5, H1).

| what | status |
| --- | --- |
| the program's own doing: compile error, exception, any limit, a signal | 400 |
| a bad request (`JobError`) | 400 |
| what time may cure (`Unavailable`, every `Reason`), a job that was cancelled | 503, `Retry-After` |
| past the deadline | 504 |
| `worker_lost`: what lies behind this gateway failed, three times | 502 |
| `internal_error`, and every error that should not have got here | 500 |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import chain

import attrs
import msgspec

from cluster.core.sizes import outcome_bytes
from cluster.errors import ClusterError, JobError, RemoteProtocolError, Unavailable
from cluster.gateway.pieces import LARGE, Pieces, pieces_of, text_of
from cluster.gateway.relay import Answered
from cluster.gateway.schemas import Problem
from cluster.wire.jobs import Outcome, Reason, Refusal, Run, Verdict

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
PROBLEM = "application/problem+json"

RETRY_AFTER_MAX_S = 60
CANCELLED_RETRY_S = 1.0

STATUS_OF_VERDICT: Mapping[Verdict, HTTPStatus] = {
    Verdict.OK: HTTPStatus.OK,
    Verdict.COMPILE_ERROR: HTTPStatus.BAD_REQUEST,
    Verdict.RUNTIME_ERROR: HTTPStatus.BAD_REQUEST,
    Verdict.TIME_LIMIT: HTTPStatus.BAD_REQUEST,
    Verdict.MEMORY_LIMIT: HTTPStatus.BAD_REQUEST,
    Verdict.OUTPUT_LIMIT: HTTPStatus.BAD_REQUEST,
    Verdict.SIGNALLED: HTTPStatus.BAD_REQUEST,
    Verdict.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
    Verdict.WORKER_LOST: HTTPStatus.BAD_GATEWAY,
    Verdict.CANCELLED: HTTPStatus.SERVICE_UNAVAILABLE,
    Verdict.EXPIRED: HTTPStatus.GATEWAY_TIMEOUT,
}

STATUS_OF_REASON: Mapping[Reason, HTTPStatus] = dict.fromkeys(Reason, HTTPStatus.SERVICE_UNAVAILABLE)

STATUS_OF_ERROR: tuple[tuple[type[ClusterError], HTTPStatus], ...] = (
    (JobError, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (RemoteProtocolError, HTTPStatus.BAD_GATEWAY),
    (ClusterError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""First match wins."""


@attrs.frozen
class Reply:
    """One HTTP answer; the length is the body's, unless that is told in pieces."""

    status: int
    body: bytes = b""
    content_type: str = TEXT
    headers: Mapping[str, str] = attrs.field(factory=dict)
    pieces: Pieces | None = None


class HttpProblem(ClusterError):
    """A request that gets an error; `detail` says what to do about it.

    Attributes:
        status: the HTTP status.
        headers: what goes with it, such as `Allow`.
        path: the place in the request's JSON, or empty.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, path: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.detail = detail
        self.headers = headers or {}
        self.path = path


def problem_of(error: ClusterError) -> HttpProblem:
    """One of our errors as an answer; the text of what should not have got here stays inside."""
    if isinstance(error, HttpProblem):
        return error
    status = next(status for kind, status in STATUS_OF_ERROR if isinstance(error, kind))
    headers = {"Retry-After": _retry_after(error.retry_after_s)} if isinstance(error, Unavailable) else {}
    hidden = status == HTTPStatus.INTERNAL_SERVER_ERROR
    return HttpProblem(status, "an error inside this node; its log has it" if hidden else str(error), headers)


def problem_reply(problem: HttpProblem, plain: bool) -> Reply:
    """As a line of text where the original's interface is spoken, else as `application/problem+json`."""
    if plain:
        return Reply(problem.status, f"{problem.detail}\n".encode(), TEXT, problem.headers)
    details = Problem(
        title=problem.status.phrase, status=problem.status, detail=problem.detail, path=problem.path
    )
    return Reply(problem.status, msgspec.json.encode(details), PROBLEM, problem.headers)


def job_headers(answered: Answered) -> dict[str, str]:
    """What every answer that concerns a job carries."""
    result = answered.result
    headers = {"Cached-Response": "true" if answered.cached else "false"}
    if answered.job:
        headers["X-Job-Id"] = answered.job
    if answered.cached:
        headers["Age"] = str(max(0, int(answered.age_s)))
    if isinstance(result, Refusal):
        headers["X-Job-Verdict"] = result.reason.value
        headers["Server-Timing"] = _timing(0.0, 0.0, 0.0)
    else:
        compile_s = result.compilation.seconds if result.compilation else 0.0
        headers["X-Job-Verdict"] = result.verdict.value
        headers["Server-Timing"] = _timing(result.queue_s, compile_s, sum(r.wall_s for r in result.runs))
        if answered.cached:
            headers["Server-Timing"] += ", cache;desc=hit"
    if status_of(result) == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = _retry_after(
            result.retry_after_s if isinstance(result, Refusal) else CANCELLED_RETRY_S
        )
    return headers


def status_of(result: Outcome | Refusal) -> HTTPStatus:
    """By the one table."""
    if isinstance(result, Refusal):
        return STATUS_OF_REASON[result.reason]
    return STATUS_OF_VERDICT[result.verdict]


def job_reply(answered: Answered) -> Reply:
    """The answer of `POST /compileandrun` (H1)."""
    headers, result = job_headers(answered), answered.result
    status = status_of(result)
    if isinstance(result, Refusal):
        return Reply(status, f"{result.reason.value}: {result.message}\n".encode(), TEXT, headers)
    run = _telling_run(result)
    if truncated := _truncated(run):
        headers["X-Output-Truncated"] = truncated
    if outcome_bytes(result) > LARGE:
        parts = _result(result, run) if result.verdict is Verdict.OK else _failure_text(result, run)
        return Reply(status, b"", TEXT, headers, Pieces(parts, result, outcome_bytes(result)))
    body = b"".join(_result(result, run) if result.verdict is Verdict.OK else _failure_text(result, run))
    return Reply(status, body, TEXT, headers)


def _telling_run(outcome: Outcome) -> Run:
    """The run that gave the outcome its verdict; an empty one where nothing ran."""
    for run in outcome.runs:
        if run.verdict is outcome.verdict:
            return run
    return outcome.runs[0] if outcome.runs else Run(outcome.verdict)


def _result(outcome: Outcome, run: Run) -> Iterator[bytes]:
    """Exactly what `run()` returned, or what `main` printed; bytes that are not UTF-8 are replaced (R3)."""
    entry = outcome.compilation.entry if outcome.compilation else ""
    if entry == "main":
        return text_of(run.stdout)
    return iter((b"null",)) if run.value is None else pieces_of(run.value).parts


def _failure_text(outcome: Outcome, run: Run) -> Iterator[bytes]:
    """First line: the message, for limits with the verdict. Then javac's text or the stack trace."""
    message = outcome.message or run.message
    if outcome.verdict is Verdict.COMPILE_ERROR:
        first = message or "Code did not compile"
        rest = iter((outcome.compilation.text.encode(errors="replace") if outcome.compilation else b"",))
    elif outcome.verdict is Verdict.RUNTIME_ERROR:
        first, rest = message or f"exit code {run.exit_code}", text_of(run.stderr)
    else:
        first = f"{outcome.verdict.value}: {message}" if message else outcome.verdict.value
        rest = text_of(run.stderr)
    return chain((f"{' '.join(first.splitlines())}\n".encode(errors="replace"),), rest)


def _truncated(run: Run) -> str:
    streams = (("stdout", run.stdout_truncated), ("stderr", run.stderr_truncated))
    return ", ".join(name for name, cut in streams if cut)


def _timing(queue_s: float, compile_s: float, run_s: float) -> str:
    """`Server-Timing`, in milliseconds."""
    phases = (("queue", queue_s), ("compile", compile_s), ("run", run_s))
    return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in phases)


def _retry_after(seconds: float) -> str:
    """Whole seconds, at least one: a client that comes back at once only makes it worse."""
    return str(max(1, min(RETRY_AFTER_MAX_S, math.ceil(seconds))))
