"""The modern interface through a client and the real HTTP code: H4, H5, H6, C3."""

from __future__ import annotations

import json
from typing import Any

import pytest

from twisted.internet.defer import Deferred
from twisted.web.client import ResponseFailed

from cluster.core.events import RequestAbandoned, RequestArrived
from cluster.gateway.results import OURS
from cluster.gateway.view import NodeView
from cluster.identity import Role, State, Status
from cluster.wire.jobs import Compilation, Diagnostic, Outcome, Program, Reason, Refusal, Run, Source, Verdict
from tests.conftest import LoggedFailures
from tests.support.deferreds import assert_no_result, failure_result_of
from tests.unit.gateway.fakes import JAVA, JOB, Gateway, a_view, header, returned

SENT = {"Content-Type": "application/json"}
PROGRAM = b'{"source":"class A {}"}'
PROBLEM = "application/problem+json"
NOBODY = "f" * 32


def post(gateway: Gateway, path: str, body: bytes = PROGRAM, **headers: str) -> Deferred[Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.send("POST", path, data=body, headers=SENT | named)


def document(gateway: Gateway, method: str, path: str) -> Any:
    response, body = gateway.fetch(method, path)
    assert response.code == 200
    return json.loads(body)


def test_a_run_answers_with_the_whole_result(gateway: Gateway) -> None:
    """H4, R1."""
    sent = post(gateway, "/v1/run")
    assert gateway.arrived().program == Program((Source("", "class A {}"),))
    gateway.answer(returned(b"hello"))
    response, body = gateway.result(sent)
    result = json.loads(body)
    assert response.code == 200
    assert header(response, "Content-Type") == "application/json"
    assert (header(response, "X-Job-Id"), header(response, "X-Job-Verdict")) == (JOB, "ok")
    assert header(response, "Cached-Response") == "false"
    assert (header(response, "Server-Timing") or "").startswith("queue;dur=")
    assert (result["job"], result["verdict"], result["worker"]) == (JOB, "ok", 1)
    assert result["runs"][0]["value"] == "hello"
    assert result["compilation"]["entry"] == "run"
    assert gateway.observer.responses == [("/v1/run", 200)]
    assert len(gateway.observer.answers) == 1


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - OURS))
def test_a_programs_own_failure_is_200(gateway: Gateway, verdict: Verdict) -> None:
    """H4: whatever its verdict."""
    sent = post(gateway, "/v1/run")
    gateway.answer(Outcome(verdict, "so it went", Compilation(), (Run(verdict),)))
    response, body = gateway.result(sent)
    assert response.code == 200
    assert json.loads(body)["verdict"] == verdict.value


@pytest.mark.parametrize(
    ("result", "status", "word"),
    [
        (Outcome(Verdict.INTERNAL_ERROR, "no runner"), 500, "internal_error"),
        (Outcome(Verdict.WORKER_LOST), 502, "worker_lost"),
        (Outcome(Verdict.CANCELLED), 503, "cancelled"),
        (Outcome(Verdict.EXPIRED), 504, "expired"),
        *((Refusal(reason, "try later", 2.5), 503, reason.value) for reason in Reason),
    ],
)
def test_the_clusters_failure_is_a_problem(
    gateway: Gateway, result: Outcome | Refusal, status: int, word: str
) -> None:
    """RFC 9457, with the job and one word to branch on."""
    sent = post(gateway, "/v1/run")
    gateway.answer(result)
    response, body = gateway.result(sent)
    problem = json.loads(body)
    assert response.code == problem["status"] == status
    assert header(response, "Content-Type") == PROBLEM
    assert (problem["job"], problem["verdict"]) == (JOB, word)
    assert (header(response, "Retry-After") is not None) == (status == 503)


def test_bytes_that_are_no_text_come_back_in_base64_too(gateway: Gateway) -> None:
    """R3."""
    sent = post(gateway, "/v1/run")
    run = Run(Verdict.OK, stdout=b"a\xffb", stderr="é".encode(), exit_code=0)
    gateway.answer(Outcome(Verdict.OK, compilation=Compilation(entry="main"), runs=(run,)))
    told = json.loads(gateway.result(sent)[1])["runs"][0]
    assert (told["stdout"], told["stdout_base64"]) == ("a\ufffdb", "Yf9i")
    assert told["stderr"] == "é"
    assert "stderr_base64" not in told


def test_diagnostics_come_with_their_places(gateway: Gateway) -> None:
    """R1."""
    sent = post(gateway, "/v1/run")
    found = Diagnostic("A.java", 3, 7, "error", "compiler.err.expected", "';' expected")
    gateway.answer(Outcome(Verdict.COMPILE_ERROR, "1 error", Compilation((found,), "text")))
    told = json.loads(gateway.result(sent)[1])["compilation"]["diagnostics"]
    assert told == [
        {
            "file": "A.java",
            "line": 3,
            "column": 7,
            "severity": "error",
            "code": "compiler.err.expected",
            "message": "';' expected",
        }
    ]


def test_a_tenant_is_told_to_the_core(gateway: Gateway) -> None:
    for path in ("/v1/run", "/v1/jobs"):
        post(gateway, path, b'{"source":"class A {}","tenant":"3b"}')
        assert gateway.arrived().tenant == "3b"


def test_a_client_may_decline_the_cache(gateway: Gateway) -> None:
    """C3."""
    post(gateway, "/v1/run", Cache_Control="no-store")
    assert (gateway.arrived().use_cache, gateway.arrived().keep) == (False, False)


def test_a_disconnect_cancels_a_run(gateway: Gateway, logged_failures: LoggedFailures) -> None:
    """H8, W9."""
    sent = post(gateway, "/v1/run")
    sent.cancel()
    gateway.client.flush()
    failure_result_of(sent, ResponseFailed)
    assert isinstance(gateway.events[-1], RequestAbandoned)
    logged_failures.take()


def test_a_keyed_run_goes_on_and_its_answer_waits(gateway: Gateway, logged_failures: LoggedFailures) -> None:
    """H4: its client said that it may come back."""
    sent = post(gateway, "/v1/run", Idempotency_Key="k")
    sent.cancel()
    gateway.client.flush()
    failure_result_of(sent, ResponseFailed)
    assert len(gateway.events) == 1
    again = post(gateway, "/v1/run", Idempotency_Key="k")
    assert len(gateway.events) == 1
    gateway.answer(returned(b"once"))
    assert json.loads(gateway.result(again)[1])["runs"][0]["value"] == "once"
    third = post(gateway, "/v1/run", Idempotency_Key="k")
    assert json.loads(gateway.result(third)[1])["runs"][0]["value"] == "once"
    assert len(gateway.events) == 1
    logged_failures.take()


def test_a_key_for_another_program_is_409_and_another_tenants_is_another_key(gateway: Gateway) -> None:
    post(gateway, "/v1/jobs", Idempotency_Key="k")
    response, body = gateway.result(
        post(gateway, "/v1/jobs", b'{"source":"class B {}"}', Idempotency_Key="k")
    )
    assert response.code == 409
    assert b"Idempotency-Key" in body
    response, _ = gateway.result(
        post(gateway, "/v1/jobs", b'{"source":"class B {}","tenant":"b"}', Idempotency_Key="k")
    )
    assert response.code == 202


@pytest.mark.parametrize("key", ["", "é", "x" * 256])
def test_a_key_that_is_none_is_400(gateway: Gateway, key: str) -> None:
    response, _ = gateway.result(post(gateway, "/v1/run", Idempotency_Key=key))
    assert response.code == 400
    assert not gateway.events


def test_a_job_is_taken_told_and_finished(gateway: Gateway) -> None:
    """H5."""
    response, body = gateway.result(post(gateway, "/v1/jobs"))
    where = header(response, "Location") or ""
    assert (response.code, where) == (202, f"/v1/jobs/{JOB}")
    assert header(response, "X-Job-Verdict") == "pending"
    assert json.loads(body)["status"] == "pending"
    assert document(gateway, "GET", where)["result"] is None
    gateway.answer(returned(b"done"))
    told = document(gateway, "GET", where)
    assert (told["status"], told["result"]["runs"][0]["value"]) == ("finished", "done")
    assert len(gateway.observer.answers) == 1


def test_a_long_poll_is_answered_as_soon_as_the_job_ends(gateway: Gateway) -> None:
    """H5."""
    post(gateway, "/v1/jobs")
    polls = [gateway.send("GET", f"/v1/jobs/{JOB}?wait=10") for _ in range(2)]
    gateway.clock.advance(9)
    assert_no_result(polls[0])
    assert gateway.observer.open["/v1/jobs/<job>"] == 2
    gateway.answer(returned(b"done"))
    for poll in polls:
        assert json.loads(gateway.result(poll)[1])["status"] == "finished"
    assert gateway.observer.responses[1:] == [("/v1/jobs/<job>", 200)] * 2
    assert gateway.observer.durations[1:] == [("/v1/jobs/<job>", 9)] * 2
    assert gateway.observer.open["/v1/jobs/<job>"] == 0
    assert gateway.clock.getDelayedCalls() == []


def test_a_long_poll_ends_with_its_time(gateway: Gateway) -> None:
    post(gateway, "/v1/jobs")
    poll = gateway.send("GET", f"/v1/jobs/{JOB}?wait=10")
    gateway.clock.advance(10)
    assert json.loads(gateway.result(poll)[1])["status"] == "pending"
    assert len(gateway.events) == 1


def test_a_deleted_job_is_cancelled_and_forgotten(gateway: Gateway) -> None:
    """H5, W9."""
    post(gateway, "/v1/jobs")
    poll = gateway.send("GET", f"/v1/jobs/{JOB}?wait=10")
    told = document(gateway, "DELETE", f"/v1/jobs/{JOB}")
    assert (told["status"], told["problem"]["verdict"]) == ("failed", "cancelled")
    assert json.loads(gateway.result(poll)[1])["status"] == "failed"
    assert gateway.fetch("DELETE", f"/v1/jobs/{JOB}")[0].code == 404
    assert [type(event) for event in gateway.events] == [RequestArrived, RequestAbandoned]


def test_a_job_refused_at_once_is_503_and_forgotten(gateway: Gateway) -> None:
    """W4."""
    feed = gateway.events.append

    def refuse(event: Any) -> None:
        feed(event)
        gateway.answer(Refusal(Reason.OVERLOADED, "full"))

    gateway.requests._feed = refuse
    response, _ = gateway.result(post(gateway, "/v1/jobs"))
    assert (response.code, header(response, "Retry-After")) == (503, "1")
    assert gateway.fetch("GET", f"/v1/jobs/{JOB}")[0].code == 404


def test_runtimes_are_those_of_living_nodes(gateway: Gateway) -> None:
    """H6."""
    nodes = (
        NodeView(0, Role.GATEWAY, State.OBSERVING, Status.ALIVE, java=""),
        NodeView(1, Role.PEER, State.LEADING, Status.ALIVE, java="17", slots=2),
        NodeView(2, Role.PEER, State.FOLLOWING, Status.ALIVE, java="21", slots=2),
        NodeView(3, Role.PEER, None, Status.FAILED, java="17", slots=2),
        NodeView(4, Role.PEER, State.FOLLOWING, Status.SUSPECT, java="17", slots=1),
    )
    gateway.view = a_view(nodes=nodes)
    told = document(gateway, "GET", "/v1/runtimes")
    assert told["runtimes"] == [
        {"language": "java", "version": "17", "nodes": [1, 4], "slots": 3},
        {"language": "java", "version": "21", "nodes": [2], "slots": 2},
    ]
    assert told["limits"]["wall_s"] == 10
    assert told["request"]["source_bytes"] == 1000


def test_statistics_count_both_interfaces(gateway: Gateway) -> None:
    """H7."""
    for path, body, headers in (("/compileandrun", b"class A {}", JAVA), ("/v1/run", PROGRAM, SENT)):
        sent = gateway.send("POST", path, data=body, headers=headers)
        gateway.answer(returned(b"x"), cached=True)
        gateway.result(sent)
    (interval,) = document(gateway, "GET", "/v1/stats")["intervals"]
    assert (interval["answers"], interval["failures"], interval["cached"]) == (2, 0, 2)


def test_the_description_is_made_from_the_schemas(gateway: Gateway) -> None:
    """H6: this gateway's limits are in it, and every reference leads somewhere."""
    told = document(gateway, "GET", "/openapi.json")
    assert told["openapi"] == "3.1.0"
    schemas = told["components"]["schemas"]
    limits = schemas["LimitsAsked"]["properties"]
    assert limits["wall_s"] == {"type": "number", "exclusiveMinimum": 0.0, "maximum": 10.0}
    text = json.dumps(told)
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas


TABLE = [
    # method, path, body, headers, status, type of the answer
    ("POST", "/v1/run", b"{", SENT, 400, PROBLEM),
    ("POST", "/v1/run", PROGRAM, {}, 415, PROBLEM),
    ("POST", "/v1/run", PROGRAM, JAVA, 415, PROBLEM),
    ("POST", "/v1/run", PROGRAM, SENT | {"Content-Encoding": "gzip"}, 415, PROBLEM),
    ("POST", "/v1/run", b"{}", SENT, 422, PROBLEM),
    ("POST", "/v1/run", b'{"source":"x","limits":{"wall_s":99}}', SENT, 422, PROBLEM),
    ("POST", "/v1/run", json.dumps({"source": "x" * 1001}).encode(), SENT, 413, PROBLEM),
    ("GET", "/v1/run", b"", {}, 405, PROBLEM),
    ("POST", "/v1/jobs", b"{", SENT, 400, PROBLEM),
    ("POST", "/v1/jobs", PROGRAM, SENT, 202, "application/json"),
    ("POST", "/v1/jobs", PROGRAM, JAVA, 415, PROBLEM),
    ("GET", "/v1/jobs", b"", {}, 405, PROBLEM),
    ("GET", f"/v1/jobs/{NOBODY}", b"", {}, 404, PROBLEM),
    ("GET", f"/v1/jobs/{NOBODY}?wait=1", b"", {}, 404, PROBLEM),
    ("GET", "/v1/jobs/short", b"", {}, 404, PROBLEM),
    ("DELETE", f"/v1/jobs/{NOBODY}", b"", {}, 404, PROBLEM),
    ("PUT", f"/v1/jobs/{NOBODY}", b"", {}, 405, PROBLEM),
    ("GET", f"/v1/jobs/{NOBODY}/events", b"", {}, 404, PROBLEM),
    ("POST", f"/v1/jobs/{NOBODY}/events", b"", {}, 405, PROBLEM),
    ("GET", "/v1/runtimes", b"", {}, 200, "application/json"),
    ("POST", "/v1/runtimes", b"", {}, 405, PROBLEM),
    ("GET", "/v1/stats", b"", {}, 200, "application/json"),
    ("GET", "/v1/cluster", b"", {}, 200, "application/json"),
    ("GET", "/v1/cluster?format=xml", b"", {}, 400, PROBLEM),
    ("GET", "/v1/cluster?format=", b"", {}, 400, PROBLEM),
    ("GET", "/openapi.json", b"", {}, 200, "application/json"),
    ("OPTIONS", "/v1/run", b"", {}, 204, None),
    ("GET", "/pages/page.css", b"", {}, 200, "text/css; charset=utf-8"),
    ("GET", "/pages/index.html", b"", {}, 404, PROBLEM),
    ("GET", "/pages/..%2Fapp.py", b"", {}, 404, PROBLEM),
    ("GET", "/v1", b"", {}, 404, PROBLEM),
    ("GET", "/v1/nothing", b"", {}, 404, PROBLEM),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "kind"), TABLE)
def test_each_endpoint_right_and_wrong(
    gateway: Gateway,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    kind: str | None,
) -> None:
    """The table of status codes of docs/http.md."""
    response, text = gateway.fetch(method, path, data=body, headers=headers)
    assert response.code == status
    assert header(response, "Content-Type") == kind
    assert (header(response, "Allow") is not None) == (status in {204, 405})
    if kind == PROBLEM:
        problem = json.loads(text)
        assert problem["status"] == status
        assert problem["title"]
        assert problem["detail"]


def test_answers_are_counted_by_route_and_not_by_job(gateway: Gateway) -> None:
    """H10."""
    post(gateway, "/v1/jobs")
    gateway.fetch("GET", f"/v1/jobs/{JOB}")
    gateway.fetch("GET", f"/v1/jobs/{NOBODY}")
    gateway.fetch("GET", f"/v1/jobs/{NOBODY}/events")
    gateway.fetch("GET", "/v1/other/x")
    assert gateway.observer.responses == [
        ("/v1/jobs", 202),
        ("/v1/jobs/<job>", 200),
        ("/v1/jobs/<job>", 404),
        ("/v1/jobs/<job>/events", 404),
        ("other", 404),
    ]


@pytest.mark.parametrize("wait", ["-1", "1.5", "61", "x", ""])
def test_a_wait_that_is_none_is_400(gateway: Gateway, wait: str) -> None:
    post(gateway, "/v1/jobs")
    assert gateway.fetch("GET", f"/v1/jobs/{JOB}?wait={wait}")[0].code == 400


def test_a_run_that_was_refused_may_be_sent_again_under_its_key(gateway: Gateway) -> None:
    """H4: a client that sends again what got 503 must not be given that 503 for ten minutes."""
    sent = post(gateway, "/v1/run", Idempotency_Key="k")
    gateway.answer(Refusal(Reason.NO_LEADER, "no leader"))
    assert gateway.result(sent)[0].code == 503
    sent = post(gateway, "/v1/run", Idempotency_Key="k")
    gateway.answer(returned(b"hello"))
    assert gateway.result(sent)[0].code == 200
