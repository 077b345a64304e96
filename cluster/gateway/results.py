"""What the cluster answered, as the JSON of the modern interface (H4, R1): bytes become text without loss.

A large one is made in pieces, while it is sent (`pieces`).
"""

from __future__ import annotations

import base64
from http import HTTPStatus

import msgspec
from msgspec import UNSET, UnsetType

from cluster.core.sizes import outcome_bytes
from cluster.gateway.pieces import LARGE, Pieces, run_result, with_runs
from cluster.gateway.relay import Answered
from cluster.gateway.replies import (
    JSON,
    PROBLEM,
    STATUS_OF_VERDICT,
    Reply,
    job_headers,
    status_of,
)
from cluster.gateway.schemas import CompilationResult, Problem, ProgramResult, RunResult
from cluster.wire.jobs import Outcome, Refusal, Run

OURS = frozenset(
    verdict
    for verdict, status in STATUS_OF_VERDICT.items()
    if status not in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}
)
"""The endings that are no doing of the program: problems here, where the program's own are results."""


def large_outcome(answered: Answered | None) -> Outcome | None:
    """What is better told in pieces, if it is that."""
    result = None if answered is None else answered.result
    if not isinstance(result, Outcome) or result.verdict in OURS or outcome_bytes(result) <= LARGE:
        return None
    return result


def result_of(answered: Answered, *, runs: bool = True) -> ProgramResult | Problem:
    """The program's result; or, if it was the cluster that failed, the problem.

    Without `runs` there are none in it: where they are large, they are told in pieces.
    """
    result = answered.result
    if isinstance(result, Refusal) or result.verdict in OURS:
        return _problem(answered.job, result)
    compilation = result.compilation
    return ProgramResult(
        job=answered.job,
        verdict=result.verdict,
        message=result.message,
        cached=answered.cached,
        age_s=answered.age_s,
        worker=result.worker if result.worker >= 0 else None,
        queue_s=result.queue_s,
        compilation=None
        if compilation is None
        else CompilationResult(
            diagnostics=compilation.diagnostics,
            text=compilation.text,
            seconds=compilation.seconds,
            main_class=compilation.main_class,
            entry=compilation.entry,
        ),
        runs=tuple(_run(run) for run in result.runs) if runs else (),
    )


def json_reply(answered: Answered) -> Reply:
    """The answer of `POST /v1/run`: 200 whatever the verdict of the program."""
    large = large_outcome(answered)
    result = result_of(answered, runs=large is None)
    body = msgspec.json.encode(result)
    if large is not None:
        pieces = Pieces(with_runs(body, large), large, outcome_bytes(large))
        return Reply(HTTPStatus.OK, b"", JSON, job_headers(answered), pieces)
    if isinstance(result, Problem):
        return Reply(status_of(answered.result), body, PROBLEM, job_headers(answered))
    return Reply(HTTPStatus.OK, body, JSON, job_headers(answered))


def _problem(job: str, result: Outcome | Refusal) -> Problem:
    status = status_of(result)
    word = result.reason.value if isinstance(result, Refusal) else result.verdict.value
    detail = result.message or word
    return Problem(title=status.phrase, status=status, detail=detail, job=job, verdict=word)


def _run(run: Run) -> RunResult:
    stdout, stdout_base64 = _text(run.stdout)
    stderr, stderr_base64 = _text(run.stderr)
    return msgspec.structs.replace(
        run_result(run),
        value=None if run.value is None else run.value.decode(errors="replace"),
        stdout=stdout,
        stderr=stderr,
        stdout_base64=stdout_base64,
        stderr_base64=stderr_base64,
    )


def _text(data: bytes) -> tuple[str, str | UnsetType]:
    """As text, and in base64 where text would lose something."""
    try:
        return data.decode(), UNSET
    except UnicodeDecodeError:
        return data.decode(errors="replace"), base64.b64encode(data).decode()
