"""A job's events (H5): output as it comes, to readers of every pace, and again to those who come back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from twisted.internet.task import Clock

from cluster.config import GatewaySettings
from cluster.core.events import RequestAbandoned
from cluster.gateway.api import Api
from cluster.gateway.events import EVENTS_MAX, KEEP_ALIVE_S
from cluster.gateway.jobs import KeptJob
from cluster.gateway.schemas import JobDocument
from cluster.gateway.site import BoundedSite, make_site
from cluster.wire.jobs import Compilation, Outcome, Piece, Reason, Refusal, Run, Stream, Verdict
from tests.unit.gateway.connections import STALLING, Connection
from tests.unit.gateway.fakes import JOB, Gateway

SOURCE = b'{"source": "class A {}", "progress": true}'


@attrs.frozen
class Event:
    """One event of a stream."""

    id: int
    name: str
    data: Any


def out(offset: int, data: bytes, run: int = 0) -> Piece:
    return Piece(run, Stream.STDOUT, offset, data)


def printed(stdout: bytes, stderr: bytes = b"") -> Outcome:
    run = Run(Verdict.OK, stdout=stdout, stderr=stderr, exit_code=0)
    return Outcome(Verdict.OK, compilation=Compilation(main_class="A", entry="main"), runs=(run,), worker=1)


def events_of(raw: bytes) -> list[Event]:
    """What a stream says, once its chunks are taken apart."""
    _head, _, body = raw.partition(b"\r\n\r\n")
    text = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        text += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    found = []
    for block in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append(Event(int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(gateway: Gateway, clock: Clock) -> BoundedSite:
    return make_site(gateway.resource, GatewaySettings(), clock)


@pytest.fixture
def connect(site: BoundedSite) -> Callable[[], Connection]:
    return lambda: Connection(site)


def post(connection: Connection, path: str = "/v1/jobs", body: bytes = SOURCE, extra: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n" % path.encode()
    return connection.send(head + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def follow(connection: Connection, last: int | None = None, job: str = JOB) -> bytes:
    line = b"" if last is None else b"Last-Event-ID: %d\r\n" % last
    return connection.send(b"GET /v1/jobs/%b/events HTTP/1.1\r\nHost: g\r\n%b\r\n" % (job.encode(), line))


def so_far(connection: Connection) -> list[Event]:
    return events_of(connection.send(b""))


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def text(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.name == "output")


Connect = Callable[[], Connection]


def test_a_job_tells_its_story_as_it_happens(gateway: Gateway, connect: Connect) -> None:
    """H5: queued, assigned, compiled, output as it comes, verdict."""
    post(connect())
    reader = connect()
    follow(reader)
    assert names(so_far(reader)) == ["queued"]
    gateway.progress()
    gateway.progress(compilation=Compilation(seconds=0.5, main_class="A"))
    gateway.progress(out(0, b"one "))
    gateway.progress(out(4, b"two"))
    assert [e.data["text"] for e in so_far(reader) if e.name == "output"] == ["one ", "two"]
    gateway.answer(printed(b"one two three"))
    told = so_far(reader)
    assert names(told) == ["queued", "assigned", "compiled", "output", "output", "output", "verdict"]
    assert [event.id for event in told] == [1, 2, 3, 4, 5, 6, 7]
    assert told[1].data == {"job": JOB, "worker": 1, "epoch": 12, "attempt": 1}
    assert told[2].data["seconds"] == 0.5
    assert told[5].data == {"job": JOB, "run": 0, "stream": "stdout", "offset": 7, "text": " three"}
    assert told[6].data["result"]["verdict"] == "ok"
    assert reader.send(b"").endswith(b"0\r\n\r\n"), "the stream is over"


def test_who_has_seen_the_end_is_told_that_no_more_will_come(gateway: Gateway, connect: Connect) -> None:
    """H5: a browser's EventSource comes back by itself after the end, and only 204 tells it not to."""
    post(connect())
    reader = connect()
    follow(reader)
    gateway.answer(printed(b"done"))
    last = so_far(reader)[-1].id
    for seen in (last, last + 1, 999_999_999):
        again = connect()
        head, _, body = follow(again, seen).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204 ")
        assert b"X-Job-Verdict: ok" in head
        assert body == b""
    assert names(events_of(follow(connect(), last - 1))) == ["verdict"]
    assert gateway.observer.open["/v1/jobs/<job>/events"] == 0


def test_who_claims_to_have_seen_what_is_still_to_come_sees_it(gateway: Gateway, connect: Connect) -> None:
    """H5: and its stream ends with the job."""
    post(connect())
    reader = connect()
    follow(reader, 999_999_999)
    assert so_far(reader) == []
    gateway.progress(out(0, b"one"))
    gateway.answer(printed(b"one"))
    assert names(so_far(reader)) == ["assigned", "output", "compiled", "verdict"]
    assert reader.send(b"").endswith(b"0\r\n\r\n")


def test_a_stream_is_counted_when_it_begins_and_timed_when_it_ends(
    gateway: Gateway, connect: Connect
) -> None:
    """H10: nobody waits a minute to learn that streams are open."""
    post(connect())
    reader, leaver = connect(), connect()
    follow(reader)
    follow(leaver)
    events = "/v1/jobs/<job>/events"
    assert gateway.observer.responses == [("/v1/jobs", 202), (events, 200), (events, 200)]
    assert gateway.observer.open[events] == 2
    leaver.gone()
    assert gateway.observer.open[events] == 1
    gateway.clock.advance(9)
    gateway.answer(printed(b"done"))
    assert gateway.observer.open[events] == 0
    assert [one for one in gateway.observer.durations if one[0] == events] == [(events, 0), (events, 9)]
    assert len(gateway.observer.responses) == 3, "each once"


def test_a_program_that_is_followed_is_counted_by_its_own_endpoint(
    gateway: Gateway, connect: Connect
) -> None:
    """H10."""
    post(connect(), "/v1/run", extra=b"Accept: text/event-stream\r\n")
    assert gateway.observer.responses == [("/v1/run", 200)]
    assert gateway.observer.open["/v1/run"] == 1
    gateway.answer(printed(b"done"))
    assert (gateway.observer.open["/v1/run"], len(gateway.observer.responses)) == (0, 1)


def test_only_who_asks_is_told_on_the_way(gateway: Gateway, connect: Connect) -> None:
    post(connect(), body=b'{"source": "class A {}"}')
    assert not gateway.arrived().progress
    reader = connect()
    follow(reader)
    gateway.answer(printed(b"all of it", b"and this"))
    told = so_far(reader)
    assert names(told) == ["queued", "compiled", "output", "output", "verdict"]
    assert [(e.data["stream"], e.data["text"]) for e in told[2:4]] == [
        ("stdout", "all of it"),
        ("stderr", "and this"),
    ]


def test_a_second_attempts_output_is_told_apart(gateway: Gateway, connect: Connect) -> None:
    """W13: who follows is told to forget; who comes later sees only what counts."""
    post(connect())
    early, late = connect(), connect()
    follow(early)
    gateway.progress(out(0, b"first"))
    gateway.progress(out(0, b"second"), attempt=2)
    gateway.progress(out(5, b" of the first"))
    assert names(so_far(early)) == ["queued", "assigned", "output", "restarted", "assigned", "output"]
    follow(late)
    assert names(so_far(late)) == ["queued", "restarted", "assigned", "output"]
    gateway.answer(printed(b"second"))
    assert text(so_far(late)) == "second"


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_who_comes_back_goes_on_where_he_was(gateway: Gateway, connect: Connect, last: int) -> None:
    """H5: `Last-Event-ID`, while the job runs and after it has ended."""
    post(connect())
    first = connect()
    follow(first)
    gateway.progress(out(0, b"one "))
    gateway.progress(out(4, b"two "))
    before = so_far(first)
    first.gone()
    back = connect()
    follow(back, last)
    assert so_far(back) == before[last:]
    gateway.answer(printed(b"one two three"))
    ended = connect()
    follow(ended, last)
    assert so_far(ended) == so_far(back)
    assert text(before[:last] + so_far(ended)) == "one two three"


@pytest.mark.parametrize("last", ["x", "-1", "1" * 20, "1.5"])
def test_an_id_that_is_none_is_refused(gateway: Gateway, connect: Connect, last: str) -> None:
    post(connect())
    response, _ = gateway.fetch("GET", f"/v1/jobs/{JOB}/events", headers={"Last-Event-ID": last})
    assert response.code == 400


def test_bytes_that_are_no_text_come_in_base64(gateway: Gateway, connect: Connect) -> None:
    """R3."""
    post(connect())
    reader = connect()
    follow(reader)
    gateway.progress(out(0, b"\xff\x00\xfe."))
    (event,) = [event for event in so_far(reader) if event.name == "output"]
    assert base64.b64decode(event.data["base64"]) == b"\xff\x00\xfe."
    assert "text" not in event.data


def test_a_reader_that_does_not_read_costs_nothing_and_stalls_nobody(
    gateway: Gateway, connect: Connect
) -> None:
    """H8: it is a place in the log."""
    post(connect())
    slow, quick = connect(), connect()
    follow(slow)
    follow(quick)
    producer = slow.transport.producer
    assert producer is not None
    producer.pauseProducing()
    before = slow.send(b"")
    for at in range(100):
        gateway.progress(out(at, b"."))
    assert slow.send(b"") == before
    assert text(so_far(quick)) == "." * 100
    producer.resumeProducing()
    assert so_far(slow) == so_far(quick)


def test_a_reader_that_takes_nothing_for_long_is_cut(
    gateway: Gateway, connect: Connect, clock: Clock
) -> None:
    """H8."""
    post(connect())
    reader = connect()
    follow(reader)
    producer = reader.transport.producer
    assert producer is not None
    producer.pauseProducing()
    clock.pump(STALLING)
    assert reader.transport.aborting
    reader.gone()
    gateway.answer(printed(b""))
    assert gateway.clock.getDelayedCalls() == []


def test_a_silent_stream_says_that_it_lives(gateway: Gateway, connect: Connect) -> None:
    post(connect())
    reader = connect()
    follow(reader)
    before = len(reader.send(b""))
    gateway.clock.advance(KEEP_ALIVE_S)
    assert reader.send(b"")[before:].count(b"\n: still pending\n\n") + reader.send(b"")[before:].count(
        b"\r\n: still pending\n\n"
    )
    reader.gone()
    assert gateway.clock.getDelayedCalls() == []


def test_what_a_log_holds_is_bounded_and_nothing_is_lost(gateway: Gateway, connect: Connect) -> None:
    post(connect())
    many = EVENTS_MAX + 50
    for at in range(many):
        gateway.progress(out(at, b"."))
    gateway.answer(printed(b"." * (many + 5)))
    reader = connect()
    follow(reader)
    told = so_far(reader)
    assert len(told) <= EVENTS_MAX + 5
    assert text(told) == "." * (many + 5)


def test_a_stream_ends_when_its_job_is_deleted(gateway: Gateway, connect: Connect) -> None:
    post(connect())
    reader = connect()
    follow(reader)
    gateway.fetch("DELETE", f"/v1/jobs/{JOB}")
    assert isinstance(gateway.events[-1], RequestAbandoned)
    assert so_far(reader)[-1].data["problem"]["verdict"] == "cancelled"
    assert reader.send(b"").endswith(b"0\r\n\r\n")


def test_a_jobs_document_is_not_built_anew_for_each_event(
    gateway: Gateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H8: it is as large as all the output, and a reader may come back again and again."""
    built: list[KeptJob] = []
    whole = Api._document

    def counted(self: Api, job: KeptJob) -> JobDocument:
        built.append(job)
        return whole(self, job)

    monkeypatch.setattr(Api, "_document", counted)
    post(connect())
    built.clear()
    for at in range(50):
        gateway.progress(out(at, b"."))
    gateway.answer(printed(b"." * 50))
    reader = connect()
    follow(reader)
    assert names(so_far(reader)).count("output") == 50
    assert len(built) == 1, "with the verdict"


# --- POST /v1/run with Accept: text/event-stream -----------------------------------------------------

STREAM = b"Accept: text/event-stream\r\n"


def test_a_run_may_be_told_as_it_happens(gateway: Gateway, connect: Connect) -> None:
    reader = connect()
    post(reader, "/v1/run", b'{"source": "class A {}"}', STREAM)
    assert gateway.arrived().progress
    gateway.progress(out(0, b"one "))
    gateway.answer(printed(b"one two"))
    told = so_far(reader)
    assert names(told) == ["queued", "assigned", "output", "compiled", "output", "verdict"]
    assert text(told) == "one two"
    response, _ = gateway.fetch("GET", f"/v1/jobs/{JOB}")
    assert response.code == 404, "nobody said that he would come back"


def test_a_run_that_nobody_follows_any_longer_is_cancelled(gateway: Gateway, connect: Connect) -> None:
    """H8, W9."""
    reader = connect()
    post(reader, "/v1/run", b'{"source": "class A {}"}', STREAM)
    reader.gone()
    assert isinstance(gateway.events[-1], RequestAbandoned)
    assert gateway.clock.getDelayedCalls() == []


def test_a_run_with_a_key_goes_on_without_its_reader(gateway: Gateway, connect: Connect) -> None:
    reader = connect()
    post(reader, "/v1/run", b'{"source": "class A {}"}', STREAM + b"Idempotency-Key: k\r\n")
    reader.gone()
    gateway.answer(printed(b"done"))
    back = connect()
    follow(back, job=gateway.arrived().job_id)
    assert text(so_far(back)) == "done"


def test_what_the_cluster_refuses_at_once_is_an_answer_and_no_stream(
    gateway: Gateway, connect: Connect
) -> None:
    reader = connect()
    given = gateway.events.append

    def refuse(event: Any) -> None:
        given(event)
        gateway.answer(Refusal(Reason.OVERLOADED, "full"))

    gateway.requests._feed = refuse
    answer = post(reader, "/v1/run", b'{"source": "class A {}"}', STREAM)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in answer


def test_a_refused_stream_may_be_sent_again_under_its_key(gateway: Gateway, connect: Connect) -> None:
    """H4: refused at once or once its stream is open, it never ran."""
    keyed = STREAM + b"Idempotency-Key: k\r\n"
    body = b'{"source": "class A {}"}'
    given = gateway.requests._feed

    def refuse(event: Any) -> None:
        given(event)
        gateway.answer(Refusal(Reason.OVERLOADED, "full"))

    gateway.requests._feed = refuse
    assert post(connect(), "/v1/run", body, keyed).startswith(b"HTTP/1.1 503 ")
    gateway.requests._feed = given
    late = connect()
    post(late, "/v1/run", body, keyed)
    gateway.answer(Refusal(Reason.NO_LEADER, "no leader"))
    assert names(so_far(late)) == ["queued", "verdict"]
    again = connect()
    post(again, "/v1/run", body, keyed)
    gateway.answer(printed(b"done"))
    assert text(so_far(again)) == "done"
