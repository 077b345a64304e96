"""The bounds around every request: H8, byte by byte, with a clock and no network."""

# mypy: allow-untyped-calls
# Twisted's StringTransport is not annotated.

from __future__ import annotations

from collections.abc import Callable

import pytest

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock

from cluster.config import GatewaySettings
from cluster.core.events import RequestAbandoned
from cluster.gateway.channel import (
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    INTERIM,
    LINGER_S,
    LOOK_AGAIN_S,
    LOOKS_S,
    RECEIVE_S,
)
from cluster.gateway.log_access import FOLLOW_BACKLOG_MAX
from cluster.gateway.site import FLUSH_S, LEAVING_S, BoundedSite, make_site
from tests.unit.gateway.connections import STALLING, Connection
from tests.unit.gateway.fakes import Gateway, returned

HEAD = b"POST /compileandrun HTTP/1.1\r\nHost: g\r\nContent-Type: text/x-java-source\r\n"


Connect = Callable[[], Connection]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> GatewaySettings:
    return GatewaySettings(source_bytes=1000, pending_bytes=1500, connections_max=3, idle_timeout_s=75)


@pytest.fixture
def site(gateway: Gateway, clock: Clock, settings: GatewaySettings) -> BoundedSite:
    return make_site(gateway.resource, settings, clock, gateway.observer.responded)


@pytest.fixture
def connect(site: BoundedSite) -> Connect:
    return lambda: Connection(site)


def test_a_body_known_to_be_too_large_is_refused_before_it_comes(connect: Connect, gateway: Gateway) -> None:
    connection = connect()
    answer = connection.send(HEAD + b"Content-Length: 1001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Cached-Response: false\r\n" in answer
    assert b"Connection: close\r\n" in answer
    assert b"Server:" not in answer
    assert gateway.observer.responses == [("other", 413)]


def test_a_refused_client_can_read_the_answer_before_the_connection_closes(
    connect: Connect, clock: Clock
) -> None:
    patient, endless = connect(), connect()
    for connection in (patient, endless):
        connection.send(HEAD + b"Content-Length: 3000\r\n\r\n" + b"x" * 2000)
        assert not connection.transport.disconnecting
    patient.send(b"x" * 1000)
    assert patient.transport.disconnecting
    clock.advance(LINGER_S)
    assert endless.transport.aborting
    assert not patient.transport.aborting


def test_chunks_are_refused_as_soon_as_they_are_too_much(
    connect: Connect, gateway: Gateway, site: BoundedSite
) -> None:
    connection = connect()
    chunk = b"258\r\n" + b"x" * 600 + b"\r\n"
    assert connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk) == b""
    assert site.body_bytes == 600
    assert connection.send(chunk).startswith(b"HTTP/1.1 413 ")
    assert site.body_bytes == 0
    before = connection.send(b"")
    assert connection.send(chunk + b"0\r\n\r\n") == before
    assert connection.transport.disconnecting
    assert not gateway.events


def test_a_client_that_asks_first_is_refused_without_a_go_ahead(connect: Connect) -> None:
    connection = connect()
    answer = connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert connection.transport.disconnecting


def test_bodies_together_are_bounded(connect: Connect, gateway: Gateway, site: BoundedSite) -> None:
    """Those that wait for their answers count until they have them."""
    first, second = connect(), connect()
    whole = HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 900
    first.send(whole)
    assert second.send(whole).startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in second.send(b"")
    gateway.answer(returned(b"done"))
    assert first.send(b"").endswith(b"done")
    assert site.body_bytes == 0


def test_h9_bodies_of_one_client_shut_out_no_other(gateway: Gateway, clock: Clock) -> None:
    """Whether all of them comes or not: a tenant, or an address, has half of their room."""
    settings = GatewaySettings(source_bytes=1000, pending_bytes=4000)
    site = make_site(gateway.resource, settings, clock, tenant=lambda header: header("X-Tenant"))
    part = HEAD + b"X-Tenant: %b\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500
    answers = [Connection(site).send(part % b"greedy") for _ in range(8)]
    assert [answer[:12] for answer in answers] == [b""] * 4 + [b"HTTP/1.1 503"] * 4
    assert site.bodies.of("greedy") == 2000
    whole = HEAD + b"%bContent-Length: 500\r\n\r\n" + b"x" * 500
    for line in (b"X-Tenant: good\r\n", b""):
        other = Connection(site, address=IPv4Address("TCP", "192.0.2.7", 1))
        other.send(whole % line)
        gateway.answer(returned(b"done"))
        assert other.send_nothing().endswith(b"done")
    assert site.body_bytes == 2000


def test_a_connection_serves_one_request_after_another(connect: Connect, gateway: Gateway) -> None:
    connection = connect()
    for text in (b"one", b"two"):
        connection.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
        gateway.answer(returned(text))
        assert connection.send(b"").endswith(text)
    assert not connection.transport.disconnecting


MALFORMED = [
    (b"X: 1\r\n" * (HEADERS_MAX + 1) + b"\r\n", 431, b"more than 100 headers"),
    (b"X: " + b"y" * 9000 + b"\r\nY: " + b"y" * 9000 + b"\r\n\r\n", 431, b"larger than 16384 bytes"),
    (b"X: " + b"y" * (HEADER_BYTES_MAX + 1), 431, b"larger than 16384 bytes"),
    (b"Content-Length: -1\r\n\r\n", 400, b"length is no number"),
    (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, b"length is no number"),
    (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, b"given twice"),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, b"given twice"),
    (b"Transfer-Encoding: gzip\r\n\r\n", 400, b"not chunked"),
    (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, b"a chunk of the body"),
    (b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 2000, 400, b"a chunk of the body"),
    (b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd", 400, b"a chunk of the body"),
    (b"no colon\r\n\r\n", 400, b"malformed header"),
    (b"bad name: x\r\n\r\n", 400, b"malformed header"),
    (b"X: a\x00b\r\n\r\n", 400, b"malformed header"),
]


@pytest.mark.parametrize(("rest", "status", "reason"), MALFORMED)
@pytest.mark.parametrize("path", [b"/compileandrun", b"/v1/run"])
def test_what_can_not_be_parsed_gets_our_answer_with_a_reason(
    connect: Connect, clock: Clock, gateway: Gateway, path: bytes, rest: bytes, status: int, reason: bytes
) -> None:
    """H1, H8: `Cached-Response` on every answer, whatever was asked."""
    connection = connect()
    answer = connection.send(b"POST %b HTTP/1.1\r\n%b" % (path, rest))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nCached-Response: false\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    assert b"Content-Length: %d" % len(body) in head
    assert reason in body
    assert (b"problem+json" in head) == (path == b"/v1/run")
    assert gateway.observer.responses == [("other", status)]
    assert connection.send(b"anything else\r\n\r\n" * 100) == answer, "one answer"
    clock.advance(LINGER_S)
    assert connection.transport.aborting
    connection.gone()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "line", [b"nonsense", b"GET /", b"GET / HTTP/9", b"GET  / HTTP/1.1", b"\xff\x16\x03\x01"]
)
def test_a_first_line_that_is_none_is_shown_back(connect: Connect, line: bytes) -> None:
    answer = connect().send(line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Cached-Response: false" in answer
    assert b"can't be parsed at" in answer


def test_what_is_malformed_behind_a_refusal_gets_no_second_answer(connect: Connect, clock: Clock) -> None:
    connection = connect()
    answer = connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert connection.send(b"no chunk ends like this") == answer
    assert connection.transport.aborting
    connection.gone()
    assert clock.getDelayedCalls() == []


# --- a client that closes its sending side -----------------------------------------------------------


def half_closed(connect: Connect, version: bytes = b"1.1") -> Connection:
    connection = connect()
    connection.send(HEAD.replace(b"1.1", version) + b"Content-Length: 10\r\n\r\nclass A {}")
    connection.close_sending()
    return connection


def test_a_client_that_waits_with_its_sending_side_closed_gets_its_answer(
    connect: Connect, clock: Clock, gateway: Gateway
) -> None:
    """H8: and is told meanwhile that it is being dealt with, which proves that it is there."""
    connection = half_closed(connect)
    assert connection.send(b"") == INTERIM
    clock.pump(LOOKS_S)
    clock.advance(LOOK_AGAIN_S)
    assert connection.send(b"") == 2 * INTERIM
    gateway.answer(returned(b"42"))
    assert connection.send(b"").endswith(b"\r\n42")
    assert connection.transport.disconnecting
    connection.gone()
    assert clock.getDelayedCalls() == []


def test_a_client_that_is_gone_is_found_out_and_its_job_cancelled(
    connect: Connect, clock: Clock, gateway: Gateway
) -> None:
    """W9: its machine answers with a reset."""
    connection = half_closed(connect)
    connection.transport.error = 104
    clock.advance(LOOKS_S[0])
    assert connection.transport.aborting
    connection.gone()
    assert isinstance(gateway.events[-1], RequestAbandoned)
    assert clock.getDelayedCalls() == []


def test_who_does_not_know_interim_answers_is_taken_for_gone(connect: Connect) -> None:
    connection = half_closed(connect, version=b"1.0")
    assert connection.send(b"") == b""
    assert connection.transport.aborting


def test_an_end_before_or_between_requests_ends_the_connection(connect: Connect) -> None:
    for sent in (b"", b"POST /", HEAD + b"Content-Length: 10\r\n\r\nclass"):
        connection = connect()
        connection.send(sent)
        connection.close_sending()
        assert connection.transport.disconnecting


def test_all_that_was_asked_before_the_end_is_answered(connect: Connect, gateway: Gateway) -> None:
    connection = connect()
    one = HEAD + b"Content-Length: 10\r\n\r\nclass A {}"
    connection.send(one + one.replace(b"A", b"B"))
    connection.close_sending()
    for text in (b"first", b"second"):
        gateway.answer(returned(text))
    answer = connection.send(b"")
    assert answer.index(b"first") < answer.index(b"second")
    assert connection.transport.disconnecting


def test_a_bad_request_behind_a_good_one_is_400(connect: Connect) -> None:
    """H8: on the same connection."""
    connection = connect()
    first = connection.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert connection.send(b"nonsense\r\n\r\n")[len(first) :].startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", [b"\xff\xfe", b"a..b", b"x" * 300])
def test_a_malformed_host_is_400(connect: Connect, host: bytes) -> None:
    assert connect().send(b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", [b"Content-Type", b"Idempotency-Key", b"Cache-Control", b"Accept"])
def test_a_header_that_is_no_text_is_400(connect: Connect, name: bytes) -> None:
    head = b"POST /v1/run HTTP/1.1\r\nHost: g\r\n%b: \xd7\xd7\r\nContent-Length: 0\r\n\r\n" % name
    assert connect().send(head).startswith(b"HTTP/1.1 400 ")


def test_a_trickling_request_has_its_time(connect: Connect, clock: Clock) -> None:
    """However busy it keeps the connection."""
    connection = connect()
    connection.send(b"P")
    for byte in (b"O", b"S"):
        clock.advance(RECEIVE_S / 3)
        connection.send(byte)
    assert not connection.transport.disconnecting
    clock.advance(RECEIVE_S / 3)
    answer = connection.send(b"")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Cached-Response: false" in answer
    clock.advance(LINGER_S)
    assert connection.transport.aborting


def test_so_has_one_whose_beginning_came_with_the_end_of_another(connect: Connect, clock: Clock) -> None:
    connection = connect()
    first = connection.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\nPOST /compileandrun HTTP/1.1\r\nHo")
    assert first.startswith(b"HTTP/1.1 200 ")
    clock.advance(RECEIVE_S)
    assert connection.send(b"")[len(first) :].startswith(b"HTTP/1.1 408 ")


def test_a_request_that_is_whole_has_no_time_left_to_run_out(connect: Connect, clock: Clock) -> None:
    connection = connect()
    connection.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    clock.advance(RECEIVE_S)
    assert connection.send(b"") == b""


def test_an_idle_connection_is_closed_and_a_waiting_one_is_not(
    connect: Connect, clock: Clock, settings: GatewaySettings
) -> None:
    idle, waiting = connect(), connect()
    waiting.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    clock.advance(settings.idle_timeout_s)
    assert idle.transport.disconnecting
    assert not waiting.transport.disconnecting


def fill(connection: Connection) -> IPushProducer:
    """From now on the network takes no more than one write; gives what is then paused."""
    producer: IPushProducer | None = connection.transport.producer
    assert producer is not None
    write = connection.transport.write

    def full(data: bytes) -> None:
        write(data)
        producer.pauseProducing()

    connection.transport.write = full  # type: ignore[method-assign]
    return producer


def test_who_reads_no_answer_gets_no_more_of_them(connect: Connect, clock: Clock, site: BoundedSite) -> None:
    """H8: a small request has a large answer, and many fit one packet."""
    connection = connect()
    producer = fill(connection)
    one = b"GET /pages/page.css HTTP/1.1\r\nHost: g\r\n\r\n"
    connection.send(one * 20)
    assert connection.transport.value().count(b"HTTP/1.1 200") == 1
    producer.resumeProducing()
    assert connection.transport.value().count(b"HTTP/1.1 200") == 2
    assert len(site._idle) == 1, "it can make room for others"
    clock.pump(STALLING)
    assert connection.transport.aborting
    connection.gone()
    assert clock.getDelayedCalls() == []


def test_a_slow_reader_of_what_its_connection_holds_has_all_the_time_it_takes(
    connect: Connect, clock: Clock, gateway: Gateway
) -> None:
    """H8: who takes a packet a minute reads; who takes nothing does not. What is larger: `test_outgoing`."""
    connection = connect()
    fill(connection)
    connection.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    gateway.answer(returned(b"x" * 60_000))
    for _ in range(100):
        clock.pump(STALLING[1:])
        assert not connection.transport.aborting
        connection.transport.taken += 1448
        clock.advance(STALLING[0])
    clock.pump(STALLING)
    assert connection.transport.aborting
    connection.gone()
    assert clock.getDelayedCalls() == []


def test_connections_that_are_held_open_keep_nobody_out(connect: Connect, site: BoundedSite) -> None:
    """H8: the one that has been idle for longest goes; one that is owed an answer stays."""
    silent, owed, trickling = connect(), connect(), connect()
    owed.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    trickling.send(b"POST / HT")
    assert connect().send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n").endswith(b"alive\n")
    assert (silent.transport.aborting, trickling.transport.aborting) == (True, False)
    connect()
    assert trickling.transport.aborting
    assert not owed.transport.aborting
    assert (site.connections, site.evicted) == (3, 2)
    silent.gone()
    assert site.connections == 3


def test_connections_are_bounded(connect: Connect, site: BoundedSite, gateway: Gateway) -> None:
    """H8: when each is owed an answer, one more is told so."""
    open_ones = [connect() for _ in range(3)]
    for one in open_ones:
        one.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    one_too_many = connect()
    answer = bytes(one_too_many.transport.value())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Cached-Response: false" in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert gateway.observer.responses == [("other", 503)]
    open_ones[0].gone()
    assert site.connections == 2
    assert connect().transport.value() == b""


def test_h9_an_address_that_has_most_connections_gives_way(site: BoundedSite, gateway: Gateway) -> None:
    """When each is owed an answer: to one that has clearly fewer, and to none like itself."""
    first, second = (IPv4Address("TCP", f"192.0.2.{number}", 1) for number in (1, 2))
    greedy = [Connection(site, address=first) for _ in range(3)]
    for one in greedy:
        one.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    assert Connection(site, address=first).send_nothing().startswith(b"HTTP/1.1 503 ")
    honest = Connection(site, address=second)
    assert [one.transport.aborting for one in greedy] == [True, False, False]
    honest.send(HEAD + b"Content-Length: 10\r\n\r\nclass A {}")
    assert Connection(site, address=second).send_nothing().startswith(b"HTTP/1.1 503 ")
    gateway.answer(returned(b"done"))
    assert honest.send_nothing().endswith(b"done")
    greedy[0].gone()
    assert (site.connections, site.evicted) == (3, 1)


def test_nothing_is_left_when_clients_are_gone(connect: Connect, clock: Clock, site: BoundedSite) -> None:
    heads = (
        b"",
        b"POST",
        HEAD + b"Content-Length: 9000\r\n\r\n",
        HEAD + b"Content-Length: 10\r\n\r\nclass A {}",
    )
    for head in heads:
        connection = connect()
        connection.send(head)
        connection.gone()
    assert (site.connections, site.body_bytes, clock.getDelayedCalls()) == (0, 0, [])


def test_a_reader_of_the_logs_that_does_not_read_is_cut(
    connect: Connect, clock: Clock, gateway: Gateway
) -> None:
    """H3, H8."""
    connection = connect()
    connection.send(b"GET /logs/summary?follow=1 HTTP/1.1\r\nHost: g\r\n\r\n")
    producer = connection.transport.producer
    assert producer is not None
    producer.pauseProducing()
    line = b"x" * 1023 + b"\n"
    before = connection.send(b"")
    for _ in range(10):
        gateway.logs.callbacks[0](line)
    assert connection.send(b"") == before
    producer.resumeProducing()
    assert connection.send(b"").count(b"x" * 1023) == 10
    producer.pauseProducing()
    follower = gateway.logs.callbacks[0]
    for _ in range(FOLLOW_BACKLOG_MAX // 1024 + 1):
        follower(line)
    assert connection.transport.aborting
    assert not gateway.logs.callbacks
    connection.gone()
    assert clock.getDelayedCalls() == []


def test_following_ends_when_the_client_leaves(connect: Connect, gateway: Gateway) -> None:
    connection = connect()
    connection.send(b"GET /logs/verbose?follow=1 HTTP/1.1\r\nHost: g\r\n\r\n")
    assert len(gateway.logs.callbacks) == 1
    connection.gone()
    assert not gateway.logs.callbacks


WHOLE = HEAD + b"Content-Length: 10\r\n\r\nclass A {}"


def test_d4_who_is_connected_when_the_gateway_leaves_is_still_answered(
    connect: Connect, gateway: Gateway, site: BoundedSite
) -> None:
    """Also on a connection that served before: its client can't know yet."""
    new, used, trickling = connect(), connect(), connect()
    used.send(WHOLE)
    gateway.answer(returned(b"before"))
    trickling.send(WHOLE[:-5])
    asked = site.leave()
    assert not asked.called
    for connection, rest in ((new, WHOLE), (used, WHOLE), (trickling, WHOLE[-5:])):
        assert not connection.transport.disconnecting
        before = len(connection.send_nothing())
        connection.send(rest)
        gateway.answer(returned(b"after"))
        answer = connection.send_nothing()[before:]
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close\r\n" in answer
        assert connection.transport.disconnecting
    assert asked.called


def test_d4_an_answer_that_is_owed_says_that_it_is_the_last(
    connect: Connect, gateway: Gateway, site: BoundedSite
) -> None:
    connection = connect()
    connection.send(WHOLE)
    assert site.leave().called, "nobody else may ask"
    gateway.answer(returned(b"done"))
    assert b"Connection: close\r\n" in connection.send_nothing()
    assert connection.transport.disconnecting


def test_d4_a_gateway_that_leaves_waits_for_nobody_who_asks_nothing(
    connect: Connect, site: BoundedSite, clock: Clock
) -> None:
    idle = connect()
    asked = site.leave()
    clock.advance(LEAVING_S)
    assert asked.called
    flushed = site.flush()
    assert idle.transport.disconnecting
    assert not flushed.called
    idle.gone()
    assert flushed.called


def test_d4_a_client_that_does_not_take_its_answer_holds_up_nothing(
    connect: Connect, site: BoundedSite, clock: Clock
) -> None:
    connect()
    flushed = site.flush()
    clock.advance(FLUSH_S)
    assert flushed.called


def test_d4_a_gateway_without_clients_leaves_at_once(site: BoundedSite) -> None:
    assert site.leave().called
    assert site.flush().called
