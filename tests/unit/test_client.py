"""The client package: what it sends, what it makes of answers, and that sending again does not run twice."""

# mypy: allow-untyped-calls
# Twisted's web resources and treq's test tools are not annotated.

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.resource import Resource
from twisted.web.server import Request

from cluster.client import Client, LimitsAsked, Refused, Retry, Verdict, input_of
from cluster.client.answers import decoded, first_line, request_of, seconds_of
from cluster.client.on_twisted import TwistedClient
from cluster.errors import JobError, RemoteProtocolError, Unavailable
from cluster.gateway.schemas import JobDocument, ProgramResult, RunRequest
from tests.support.deferreds import assert_no_result, failure_result_of, success_result_of

JOB = "0123456789abcdef0123456789abcdef"
RESULT = {"job": JOB, "verdict": "ok", "runs": [{"verdict": "ok", "stdout": "hi\n"}]}
PENDING = {"job": JOB, "status": "pending", "age_s": 0.1}
FINISHED = {"job": JOB, "status": "finished", "age_s": 0.2, "result": RESULT}
FAILED = {
    "job": JOB,
    "status": "failed",
    "age_s": 0.2,
    "problem": {"title": "x", "status": 503, "detail": "no leader"},
}

Answer = tuple[int, dict[str, str], Any]


class Gateway:
    """Answers in order, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """The next answer; None breaks the connection."""
        self.asked.append((method, path, headers, json.loads(body) if body else None))
        answer = self.answers.pop(0)
        return None if answer[0] == 0 else answer


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def url(gateway: Gateway) -> Iterator[str]:
    """A real server in a thread, for the blocking client."""

    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = gateway.answer(self.command, self.path, dict(self.headers.items()), body)
            if found is None:
                self.close_connection = True
                return
            status, headers, value = found
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  (the server's names)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def client(url: str, slept: list[float], **settings: Any) -> Client:
    return Client(url, sleep=slept.append, **settings)


# --- what both share ---------------------------------------------------------------------------------


def test_a_request_is_what_the_gateway_decodes() -> None:
    """H4: by the very schema that decodes it there."""
    body = request_of("class A {}", {"stdin": "in", "args": ("x",), "limits": LimitsAsked(wall_s=1.5)})
    asked = msgspec.json.decode(body, type=RunRequest)
    assert (asked.source, asked.stdin_base64, asked.args) == ("class A {}", "aW4=", ("x",))
    assert asked.limits == LimitsAsked(wall_s=1.5)
    body = request_of(
        "", {"files": {"A.java": "class A {}"}, "tests": [input_of(b"\xff"), input_of(args=["y"])]}
    )
    asked = msgspec.json.decode(body, type=RunRequest)
    assert asked.files == {"A.java": "class A {}"}
    assert asked.tests == (input_of(b"\xff"), input_of("", ["y"]))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, JobError),
        (409, JobError),
        (413, JobError),
        (422, JobError),
        (429, Refused),
        (500, RemoteProtocolError),
        (502, Unavailable),
        (503, Refused),
        (504, Unavailable),
    ],
)
def test_every_status_blames_whom_it_should(status: int, error: type[Exception]) -> None:
    """A5."""
    body = b'{"title": "T", "detail": "what to do"}'
    with pytest.raises(error, match="what to do") as caught:
        decoded(status, "7", body, ProgramResult)
    assert type(caught.value) is error
    if isinstance(caught.value, Unavailable):
        assert caught.value.retry_after_s == 7


def test_what_is_no_answer_of_a_gateway_is_told() -> None:
    with pytest.raises(RemoteProtocolError, match="not a gateway's answer"):
        decoded(200, "", b"<html>", ProgramResult)
    assert first_line("plain text\nmore") == "plain text"
    assert [seconds_of(text) for text in ("3", "", "soon", "\u0663")] == [3, 1, 1, 1]


def test_pauses_grow_to_a_bound_and_the_gateways_wish_counts() -> None:
    retry = Retry(tries=6, first_s=0.5, longest_s=3.0)
    assert list(retry.pauses()) == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert retry.pause(0.5, Refused("x", 2.0)) == 2.0
    assert retry.pause(0.5, Refused("x", 60.0)) == 3.0


# --- blocking ----------------------------------------------------------------------------------------


def test_a_run_gives_a_typed_result(gateway: Gateway, url: str) -> None:
    gateway.answers = [(200, {}, RESULT)]
    result = client(url, [], token="secret").run("class A {}", stdin="in", tenant="me", fresh=True)  # noqa: S106
    assert (result.verdict, result.runs[0].stdout) == (Verdict.OK, "hi\n")
    ((method, path, headers, body),) = gateway.asked
    assert (method, path) == ("POST", "/v1/run")
    assert body == {"source": "class A {}", "stdin_base64": "aW4=", "tenant": "me"}
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Cache-Control"] == "no-cache"
    assert len(headers["Idempotency-Key"]) == 32


def test_what_was_lost_or_refused_is_sent_again_under_the_same_key(gateway: Gateway, url: str) -> None:
    gateway.answers = [(0, {}, None), (503, {"Retry-After": "2"}, {"detail": "no leader"}), (200, {}, RESULT)]
    slept: list[float] = []
    assert client(url, slept).run("class A {}").job == JOB
    assert slept == [1.0, 2.0]
    keys = {headers["Idempotency-Key"] for _method, _path, headers, _body in gateway.asked}
    assert len(keys) == 1
    assert len(gateway.asked) == 3


def test_it_gives_up_after_the_last_try(gateway: Gateway, url: str) -> None:
    gateway.answers = [(503, {}, {"detail": "no leader"})] * 3
    slept: list[float] = []
    with pytest.raises(Refused, match="no leader"):
        client(url, slept, retry=Retry(tries=3)).run("class A {}")
    assert (len(gateway.asked), len(slept)) == (3, 2)


@pytest.mark.parametrize("status", [400, 422, 500, 502, 504])
def test_what_another_try_does_not_cure_is_not_tried_again(gateway: Gateway, url: str, status: int) -> None:
    gateway.answers = [(status, {}, {"detail": "so"})]
    with pytest.raises((JobError, RemoteProtocolError, Unavailable), match="so"):
        client(url, []).run("class A {}")
    assert len(gateway.asked) == 1


def test_another_gateway_takes_over(gateway: Gateway, url: str) -> None:
    gateway.answers = [(200, {}, RESULT)]
    assert client(f"http://127.0.0.1:1, {url}", []).run("class A {}").job == JOB


def test_a_job_is_handed_in_watched_and_cancelled(gateway: Gateway, url: str) -> None:
    """H5."""
    gateway.answers = [(202, {}, PENDING), (200, {}, PENDING), (200, {}, FINISHED), (200, {}, FINISHED)]
    asking = client(url, [])
    job = asking.submit(files={"A.java": "class A {}"}, key="mine")
    assert (job.status, job.job) == ("pending", JOB)
    assert asking.result(job.job).verdict is Verdict.OK
    assert asking.cancel(job.job).status == "finished"
    asked = [(method, path) for method, path, _headers, _body in gateway.asked]
    assert asked == [
        ("POST", "/v1/jobs"),
        *[("GET", f"/v1/jobs/{JOB}?wait=30")] * 2,
        ("DELETE", f"/v1/jobs/{JOB}"),
    ]
    assert gateway.asked[0][2]["Idempotency-Key"] == "mine"


def test_a_job_that_failed_says_why(gateway: Gateway, url: str) -> None:
    gateway.answers = [(200, {}, FAILED)]
    with pytest.raises(Unavailable, match="no leader"):
        client(url, []).result(JOB)


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(RemoteProtocolError, match="not http://HOST:PORT"):
        client("ftp://x", []).cluster()


# --- on Twisted --------------------------------------------------------------------------------------


class Aborted(StringTransport):
    """Also remembers an abort, and is gone then."""

    disconnected = False
    protocol: Any = None

    def abortConnection(self) -> None:  # noqa: N802  (Twisted's name)
        """Cut."""
        self.disconnected = True
        self.protocol.connectionLost(Failure(ConnectionAborted()))


class Wire:
    """A client of its own on a reactor without a network, and what it sends there."""

    def __init__(self, **settings: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.client = TwistedClient(
            self.reactor,
            "http://gateway",
            http=HTTPClient(Agent.usingEndpointFactory(self.reactor, self)),
            **settings,
        )

    def endpointForURI(self, _uri: object) -> TCP4ClientEndpoint:  # noqa: N802  (Twisted's name)
        """Where the agent connects to."""
        return TCP4ClientEndpoint(self.reactor, "192.0.2.1", 80)

    def connect(self) -> Aborted:
        """The last connection is made."""
        factory = self.reactor.tcpClients[-1][2]
        protocol: Any = factory.buildProtocol(None)
        transport = Aborted()
        protocol.makeConnection(transport)
        transport.protocol = protocol
        return transport

    @property
    def tries(self) -> int:
        """How often it has begun to connect."""
        return len(self.reactor.tcpClients)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"


@pytest.mark.parametrize("stage", ["connecting", "sending", "asking", "reading", "pausing"])
def test_on_twisted_a_cancelled_call_is_over(stage: str) -> None:
    """Nothing is sent again, and the connection does not stay."""
    wire = Wire()
    running: Deferred[Any] = wire.client.run("class A {}") if stage == "sending" else wire.client.job(JOB)
    transport = None
    if stage != "connecting":
        transport = wire.connect()
        assert b" /v1/" in transport.value()
    if transport is not None and stage == "reading":
        transport.protocol.dataReceived(HEAD + b"{")
    if transport is not None and stage == "pausing":
        transport.protocol.connectionLost(Failure(ConnectionDone()))
    running.cancel()
    assert failure_result_of(running).check(CancelledError)
    if transport is not None and stage != "pausing":
        assert transport.disconnected or transport.disconnecting, (
            "at once: a silent gateway says nothing more"
        )
    if transport is not None and stage == "reading":
        transport.protocol.connectionLost(Failure(ConnectionDone()))
    wire.reactor.pump([1.0] * 200)
    assert wire.tries == 1
    assert wire.reactor.getDelayedCalls() == []


def test_on_twisted_a_gateway_that_falls_silent_in_its_answer_is_left() -> None:
    """Its connection is closed when patience ends, not with the next byte, which may never come."""
    wire = Wire(patience_s=10, retry=Retry(tries=1))
    running = wire.client.job(JOB)
    transport = wire.connect()
    transport.protocol.dataReceived(HEAD + b"{")
    wire.reactor.pump([1] * 11)
    assert transport.disconnecting
    assert failure_result_of(running).check(Refused)


def test_on_twisted_what_is_too_large_for_an_answer_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.client.on_twisted.ANSWER_MAX", 100)
    wire = Wire()
    running = wire.client.job(JOB)
    transport = wire.connect()
    transport.protocol.dataReceived(HEAD + b" " * 101)
    assert transport.disconnecting
    assert failure_result_of(running).check(RemoteProtocolError)


def test_on_twisted_patience_is_for_the_whole_answer() -> None:
    """One that trickles is given up, and asked for again under the same key."""
    wire = Wire(patience_s=10, retry=Retry(tries=2))
    running = wire.client.job(JOB)
    transport = wire.connect()
    transport.protocol.dataReceived(HEAD)
    for _ in range(9):
        wire.reactor.advance(1)
        transport.protocol.dataReceived(b" ")
    assert wire.tries == 1
    wire.reactor.pump([1, 1, 1])
    assert wire.tries == 2
    wire.reactor.pump([1] * 10)
    assert failure_result_of(running).check(Refused)
    assert wire.tries == 2
    assert wire.reactor.getDelayedCalls() == []


class _Site(Resource):
    """The same answers, in memory."""

    isLeaf = True  # noqa: N815  (Twisted's name)

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    def render(self, request: Request) -> bytes:
        headers = {
            name.decode(): value[0].decode() for name, value in request.requestHeaders.getAllRawHeaders()
        }
        assert request.content is not None
        found = self._gateway.answer(
            request.method.decode(), request.uri.decode(), headers, request.content.read()
        )
        assert found is not None
        status, more, value = found
        request.setResponseCode(status)
        for name, text in more.items():
            request.setHeader(name, text)
        return json.dumps(value).encode()


class Twisted:
    """A client on a stub, and its clock."""

    def __init__(self, gateway: Gateway, **settings: Any) -> None:
        self.clock = Clock()
        self.stub: Any = StubTreq(_Site(gateway))
        http: Any = self.stub
        self.client = TwistedClient(self.clock, "http://gateway", http=_as_client(http), **settings)

    def result(self, deferred: Any) -> Any:
        """What it fires with."""
        self.stub.flush()
        self.stub.flush()
        return success_result_of(deferred)


def _as_client(stub: Any) -> HTTPClient:
    client: HTTPClient = stub
    return client


def test_on_twisted_a_run_gives_a_typed_result(gateway: Gateway) -> None:
    gateway.answers = [(200, {}, RESULT)]
    twisted = Twisted(gateway, token="secret")  # noqa: S106
    result: ProgramResult = twisted.result(twisted.client.run("class A {}", args=["x"]))
    assert result.runs[0].stdout == "hi\n"
    ((method, path, headers, body),) = gateway.asked
    assert (method, path, body) == ("POST", "/v1/run", {"source": "class A {}", "args": ["x"]})
    assert headers["Authorization"] == "Bearer secret"


def test_on_twisted_a_refusal_is_sent_again_under_the_same_key(gateway: Gateway) -> None:
    gateway.answers = [(503, {"Retry-After": "2"}, {"detail": "no leader"}), (200, {}, RESULT)]
    twisted = Twisted(gateway)
    running = twisted.client.run("class A {}")
    twisted.stub.flush()
    twisted.clock.advance(1.9)
    assert_no_result(running)
    twisted.clock.advance(0.1)
    assert twisted.result(running).job == JOB
    assert gateway.asked[0][2]["Idempotency-Key"] == gateway.asked[1][2]["Idempotency-Key"]


def test_on_twisted_a_request_that_is_refused_fails(gateway: Gateway) -> None:
    gateway.answers = [(422, {}, {"detail": "$.source: no"})]
    twisted = Twisted(gateway)
    running = twisted.client.run("")
    twisted.stub.flush()
    assert failure_result_of(running).check(JobError)


def test_on_twisted_a_job_is_handed_in_watched_and_cancelled(gateway: Gateway) -> None:
    gateway.answers = [(202, {}, PENDING), (200, {}, PENDING), (200, {}, FINISHED), (200, {}, FINISHED)]
    twisted = Twisted(gateway)
    job: JobDocument = twisted.result(twisted.client.submit("class A {}"))
    result = twisted.client.result(job.job)
    twisted.stub.flush()
    assert twisted.result(result).verdict is Verdict.OK
    assert twisted.result(twisted.client.cancel(job.job)).status == "finished"
