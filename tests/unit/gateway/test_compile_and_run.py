"""`POST /compileandrun`: H1, C3 and H8, through a client and the real HTTP code."""

from __future__ import annotations

import pytest

from twisted.web.client import ResponseFailed

from cluster.core.events import RequestAbandoned
from cluster.wire.jobs import (
    Compilation,
    Outcome,
    Program,
    Reason,
    Refusal,
    Run,
    Source,
    Verdict,
)
from tests.conftest import LoggedFailures
from tests.support.deferreds import assert_no_result, failure_result_of
from tests.unit.gateway.fakes import JAVA, JOB, Gateway, header, returned


def printed(stdout: bytes, **changes: object) -> Outcome:
    run = Run(Verdict.OK, stdout=stdout, exit_code=0, **changes)  # type: ignore[arg-type]
    return Outcome(Verdict.OK, compilation=Compilation(entry="main"), runs=(run,))


def ended(verdict: Verdict, message: str = "", stderr: bytes = b"", **changes: object) -> Outcome:
    run = Run(verdict, message=message, stderr=stderr, **changes)  # type: ignore[arg-type]
    return Outcome(verdict, message, Compilation(entry="run"), (run,))


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        (returned(b"hello"), 200, b"hello"),
        (returned(b""), 200, b""),
        (returned("grüße\n".encode()), 200, "grüße\n".encode()),
        (returned(None), 200, b"null"),
        (printed(b"line\n"), 200, b"line\n"),
        (printed(b"\xff!"), 200, "\ufffd!".encode()),
        (
            Outcome(Verdict.COMPILE_ERROR, "1 error", Compilation(text="A.java:1: error: x\n")),
            400,
            b"1 error\nA.java:1: error: x\n",
        ),
        (Outcome(Verdict.COMPILE_ERROR), 400, b"Code did not compile\n"),
        (
            ended(Verdict.RUNTIME_ERROR, "java.lang.Error: no", b"java.lang.Error: no\n\tat A.run\n"),
            400,
            b"java.lang.Error: no\njava.lang.Error: no\n\tat A.run\n",
        ),
        (ended(Verdict.RUNTIME_ERROR, exit_code=3), 400, b"exit code 3\n"),
        (ended(Verdict.RUNTIME_ERROR, "two\nlines"), 400, b"two lines\n"),
        (
            ended(Verdict.TIME_LIMIT, "more than 10 s", b"so far\n"),
            400,
            b"time_limit: more than 10 s\nso far\n",
        ),
        (ended(Verdict.MEMORY_LIMIT, "heap"), 400, b"memory_limit: heap\n"),
        (ended(Verdict.OUTPUT_LIMIT, "stdout"), 400, b"output_limit: stdout\n"),
        (ended(Verdict.SIGNALLED), 400, b"signalled\n"),
        (Outcome(Verdict.INTERNAL_ERROR, "no runner"), 500, b"internal_error: no runner\n"),
        (Outcome(Verdict.WORKER_LOST, "lost three"), 502, b"worker_lost: lost three\n"),
        (Outcome(Verdict.CANCELLED), 503, b"cancelled\n"),
        (Outcome(Verdict.EXPIRED, "after 60 s"), 504, b"expired: after 60 s\n"),
        *(
            (Refusal(reason, "try later", 2.5), 503, f"{reason.value}: try later\n".encode())
            for reason in Reason
        ),
    ],
)
def test_each_verdict_has_its_status_and_text(
    gateway: Gateway, result: Outcome | Refusal, status: int, body: bytes
) -> None:
    """H1."""
    sent = gateway.run()
    gateway.answer(result)
    response, text = gateway.result(sent)
    assert (response.code, text) == (status, body)
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"
    assert header(response, "Cached-Response") == "false"
    assert header(response, "X-Job-Id") == JOB
    expected = result.reason if isinstance(result, Refusal) else result.verdict
    assert header(response, "X-Job-Verdict") == expected.value
    assert "queue;dur=" in (header(response, "Server-Timing") or "")
    assert (header(response, "Retry-After") is not None) == (status == 503)
    assert gateway.observer.answers[-1][0] == result
    assert gateway.observer.responses == [("/compileandrun", status)]


def test_every_verdict_and_reason_has_a_status() -> None:
    """A new word must be given its status before it can be answered."""
    from cluster.gateway.replies import STATUS_OF_REASON, STATUS_OF_VERDICT  # noqa: PLC0415

    assert set(STATUS_OF_VERDICT) == set(Verdict)
    assert set(STATUS_OF_REASON) == set(Reason)


def test_retry_after_is_whole_seconds_and_at_least_one(gateway: Gateway) -> None:
    for asked, said in ((0.0, "1"), (2.5, "3"), (1e9, "60")):
        sent = gateway.run()
        gateway.answer(Refusal(Reason.OVERLOADED, "full", asked))
        assert header(gateway.result(sent)[0], "Retry-After") == said


def test_timing_is_told_by_phase_in_milliseconds(gateway: Gateway) -> None:
    sent = gateway.run()
    gateway.answer(returned(b"x"))
    timing = header(gateway.result(sent)[0], "Server-Timing")
    assert timing == "queue;dur=1.000, compile;dur=4.000, run;dur=20.000"


def test_an_answer_from_the_cache_says_so_and_its_age(gateway: Gateway) -> None:
    """C3."""
    sent = gateway.run()
    gateway.answer(returned(b"x"), cached=True, age_s=12.9)
    response, _ = gateway.result(sent)
    assert header(response, "Cached-Response") == "true"
    assert header(response, "Age") == "12"
    assert (header(response, "Server-Timing") or "").endswith("cache;desc=hit")
    assert gateway.observer.answers[0][1] is True


def test_truncated_output_is_said_in_a_header(gateway: Gateway) -> None:
    """R3."""
    sent = gateway.run()
    gateway.answer(printed(b"x", stdout_truncated=True, stderr_truncated=True))
    assert header(gateway.result(sent)[0], "X-Output-Truncated") == "stdout, stderr"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/x-java-source",
        "text/x-java-source; charset=utf-8",
        'Text/X-Java-Source;charset="UTF-8"',
        "text/x-java-source; charset=utf-8; format=flowed",
    ],
)
def test_parameters_of_the_type_are_allowed(gateway: Gateway, content_type: str) -> None:
    """H1."""
    gateway.run("class Ä {}".encode(), Content_Type=content_type)
    assert gateway.arrived().program == Program(sources=(Source("", "class Ä {}"),))
    assert gateway.arrived().job_id == JOB


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b"class A {}", {"Content-Type": "text/plain"}, 400, b"text/x-java-source"),
        (b"class A {}", {}, 400, b'got "none"'),
        (b"class A {}", {"Content-Type": "text/x-java-source-x"}, 400, b"not supported"),
        (b"class A {}", {"Content-Type": "text/x-java-source; charset=latin-1"}, 400, b"utf-8"),
        (b"class A {}", JAVA | {"Content-Encoding": "gzip"}, 400, b"gzip"),
        (b"", JAVA, 400, b"empty"),
        (b" \n", JAVA, 400, b"empty"),
        (b"class \xff {}", JAVA, 400, b"byte 0xff at offset 6"),
        (b"x" * 1001, JAVA, 413, b"1000 bytes"),
    ],
)
def test_a_bad_request_is_refused_in_clear_words(
    gateway: Gateway, body: bytes, headers: dict[str, str], status: int, says: bytes
) -> None:
    """H1: nothing of it reaches the core."""
    response, text = gateway.fetch("POST", "/compileandrun", data=body, headers=headers)
    assert response.code == status
    assert says in text
    assert header(response, "Cached-Response") == "false"
    assert header(response, "Content-Type") == "text/plain; charset=utf-8"
    assert not gateway.events


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_405_with_allow(gateway: Gateway, method: str) -> None:
    """H1: `Cached-Response` is on that answer too."""
    response, _ = gateway.fetch(method, "/compileandrun")
    assert response.code == 405
    assert header(response, "Allow") == "POST"
    assert header(response, "Cached-Response") == "false"


@pytest.mark.parametrize("path", ["/compileandrunXYZ", "/compileandrun/", "/compileandrun/x"])
def test_a_path_with_that_prefix_is_another_path(gateway: Gateway, path: str) -> None:
    response, body = gateway.fetch("POST", path, data=b"class A {}", headers=JAVA)
    assert response.code == 404
    assert header(response, "Cached-Response") == "false"
    assert b'"status":404' in body
    assert not gateway.events
    assert gateway.observer.responses == [("other", 404)]


@pytest.mark.parametrize(
    ("cache_control", "use_cache", "keep"),
    [
        (None, True, True),
        ("max-age=60", True, True),
        ("no-cache", False, True),
        ("No-Store", False, False),
        ("max-age=0, no-cache", False, True),
        ("no-cache,no-store", False, False),
    ],
)
def test_a_client_may_decline_the_cache(
    gateway: Gateway, cache_control: str | None, use_cache: bool, keep: bool
) -> None:
    """C3."""
    headers = {} if cache_control is None else {"Cache_Control": cache_control}
    gateway.run(b"class A {}", **headers)
    assert (gateway.arrived().use_cache, gateway.arrived().keep) == (use_cache, keep)


def test_a_client_that_disconnects_abandons_its_own_request_only(gateway: Gateway) -> None:
    """H8, W9, C4: each waiter has its own Deferred."""
    staying = gateway.run()
    first = gateway.arrived().request
    leaving = gateway.run()
    second = gateway.arrived().request
    leaving.cancel()
    gateway.client.flush()
    failure_result_of(leaving, ResponseFailed)
    assert gateway.events[-1] == RequestAbandoned(second)
    assert first != second
    assert gateway.requests.pending == 1
    assert_no_result(staying)


def test_an_answer_that_comes_too_late_is_counted_and_dropped(gateway: Gateway) -> None:
    """W8."""
    leaving = gateway.run()
    arrived = gateway.arrived()
    leaving.cancel()
    gateway.client.flush()
    failure_result_of(leaving, ResponseFailed)
    gateway.events.append(arrived)
    gateway.answer(returned(b"x"))
    assert gateway.requests.late == 1


def test_an_error_of_ours_is_500_without_its_trace(gateway: Gateway, logged_failures: LoggedFailures) -> None:
    """H8: the log has it, the client does not."""

    class SecretError(Exception):
        pass

    def fail(_event: object) -> None:
        raise SecretError("inside")

    gateway.requests._feed = fail
    response, body = gateway.result(gateway.run())
    assert response.code == 500
    assert b"inside" not in body.replace(b"an error inside this node", b"")
    assert header(response, "Cached-Response") == "false"
    assert gateway.requests.pending == 0
    assert logged_failures.take(SecretError)
