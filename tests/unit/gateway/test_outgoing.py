"""Large answers: made and sent as they are taken, bounded, and nobody's for ever (H8, H9)."""

# mypy: allow-untyped-calls
# Twisted's StringTransport is not annotated.

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from cluster.config import GatewaySettings
from cluster.core.effects import Level
from cluster.core.sizes import outcome_bytes
from cluster.errors import Unavailable
from cluster.gateway.app import node_resource
from cluster.gateway.outgoing import ANSWERS_MAX, PACE_BYTES, PACE_S, Outgoing
from cluster.gateway.pieces import LARGE, PIECE, pieces_of, text_of, with_runs
from cluster.gateway.relay import Answered
from cluster.gateway.replies import job_reply
from cluster.gateway.results import json_reply, result_of
from cluster.gateway.site import BoundedSite, make_site
from cluster.wire.jobs import Compilation, Outcome, Run, Verdict
from tests.unit.gateway.connections import Connection, Transport
from tests.unit.gateway.fakes import JOB, Gateway
from tests.unit.gateway.test_events import events_of, post

HELD = 64 * 1024
"""What Twisted's transports take before they ask for a pause."""
EACH = 128 * 1024
BINARY = Outcome(
    Verdict.OK,
    compilation=Compilation(main_class="A", entry="main"),
    runs=tuple(Run(Verdict.OK, stdout=b"\xff" * EACH, stderr=b"\xfe" * EACH) for _ in range(12)),
    worker=1,
)


class Unread(Transport):
    """A client that reads what `take` says, and no more."""

    def write(self, data: bytes) -> None:
        """Ask for a pause as a socket's transport does."""
        self.writeSequence([data])

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802
        """The same."""
        super().writeSequence(data)
        if len(self.value()) > HELD and self.producer is not None:
            self.producer.pauseProducing()

    def take(self) -> bytes:
        """All that is here; the rest may come."""
        data = bytes(self.value())
        self.clear()
        self.taken += len(data)
        if self.producer is not None:
            self.producer.resumeProducing()
        return data

    def take_all(self) -> bytes:
        """To the end."""
        return b"".join(iter(self.take, b""))


class Reader(Connection):
    """A connection whose client does not read by itself."""

    transport: Unread

    def __init__(self, site: BoundedSite, address: str = "192.0.2.1") -> None:
        peer = IPv4Address("TCP", address, 12345)
        super().__init__(site, Unread(peerAddress=peer, lenient=True), peer)

    def get(self, path: str, more: bytes = b"") -> None:
        """Ask."""
        self.protocol.dataReceived(b"GET %b HTTP/1.1\r\nHost: g\r\n%b\r\n" % (path.encode(), more))


def body_of(raw: bytes) -> bytes:
    """The body of an answer in chunks."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    body, at = [], 0
    while at < len(rest):
        line = rest.index(b"\r\n", at)
        size = int(rest[at:line], 16)
        body.append(rest[line + 2 : line + 2 + size])
        at = line + 4 + size
    return b"".join(body)


Connect = Callable[..., Reader]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connect(gateway: Gateway, clock: Clock) -> Connect:
    site = make_site(gateway.resource, GatewaySettings(), clock)
    return lambda *address: Reader(site, *address)


def ended(gateway: Gateway, connect: Connect, outcome: Outcome) -> None:
    """A job that came to that."""
    post(connect(), body=b'{"source": "class A {}"}')
    gateway.answer(outcome)


# --- the pieces ---------------------------------------------------------------------------------------

BYTES = st.binary(max_size=100) | st.text(max_size=50).map(str.encode)


@given(st.lists(st.tuples(BYTES, BYTES, st.none() | BYTES), max_size=3), st.integers(1, 4))
def test_pieces_are_the_document_cut_in_pieces(
    texts: list[tuple[bytes, bytes, bytes | None]], size: int
) -> None:
    """R3: byte for byte, wherever a character is cut in two."""
    runs = tuple(
        Run(Verdict.OK, stdout=out, stderr=err, value=value, message='"runs":[]') for out, err, value in texts
    )
    answered = Answered(JOB, Outcome(Verdict.OK, '"value":null,"stdout":"","stderr":""', runs=runs))
    bare = msgspec.json.encode(result_of(answered, runs=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cluster.gateway.pieces.PIECE", 3 * size)
        assert isinstance(answered.result, Outcome)
        pieces = list(with_runs(bare, answered.result))
        text = b"".join(text_of(texts[0][0])) if texts else b""
    assert b"".join(pieces) == msgspec.json.encode(result_of(answered))
    assert text == (texts[0][0].decode(errors="replace").encode() if texts else b"")


def test_a_large_result_is_never_in_one_piece() -> None:
    """H8: of bytes that are no text comes four times as much JSON, and no piece holds anybody up."""
    answered = Answered(JOB, BINARY)
    for reply in (json_reply(answered), job_reply(answered)):
        assert reply.pieces is not None
        assert reply.body == b""
        assert reply.pieces.size == outcome_bytes(BINARY)
        assert max(len(part) for part in reply.pieces.parts) < 6 * PIECE


@pytest.mark.parametrize("verdict", [Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.OUTPUT_LIMIT])
@pytest.mark.parametrize("entry", ["run", "main"])
def test_the_originals_answer_in_pieces_is_the_same(verdict: Verdict, entry: str) -> None:
    """H1: whatever its size."""
    for size in (10, LARGE):
        run = Run(
            verdict, value=b"v" * size, stdout=b"\xffo" * size, stderr=b"\xfee" * size, message="why\nnot"
        )
        outcome = Outcome(verdict, compilation=Compilation(main_class="A", entry=entry), runs=(run,))
        reply = job_reply(Answered(JOB, outcome))
        body = reply.body if reply.pieces is None else b"".join(reply.pieces.parts)
        assert (reply.pieces is None) == (size == 10)
        if verdict is Verdict.OK:
            assert body == (b"v" * size if entry == "run" else "\ufffdo".encode() * size)
        else:
            first = b"why not" if verdict is Verdict.RUNTIME_ERROR else b"output_limit: why not"
            assert body == first + b"\n" + "\ufffde".encode() * size


# --- on their way -------------------------------------------------------------------------------------


def test_an_answer_that_nobody_reads_is_not_even_made(gateway: Gateway, connect: Connect) -> None:
    """H8: each unread answer is a piece or two, however large it would be."""
    ended(gateway, connect, BINARY)
    readers = [connect() for _ in range(20)]
    for reader in readers:
        reader.get(f"/v1/jobs/{JOB}")
        assert reader.transport.value().startswith(b"HTTP/1.1 200 ")
        assert len(reader.transport.value()) < HELD + 6 * PIECE
    told = json.loads(body_of(readers[7].transport.take_all()))
    assert told["result"]["runs"][11]["stderr_base64"]
    assert len(told["result"]["runs"]) == 12
    assert readers[7].transport.producer is not None, "the connection waits for its next request"
    readers[7].get("/livez")
    assert readers[7].transport.take_all().endswith(b"alive\n")


@pytest.mark.parametrize("path", ["/v1/run", "/compileandrun"])
def test_so_is_the_answer_of_a_run(gateway: Gateway, connect: Connect, path: str) -> None:
    reader = connect()
    if path == "/v1/run":
        post(reader, path, b'{"source": "class A {}"}')
    else:
        reader.send(
            b"POST /compileandrun HTTP/1.1\r\nHost: g\r\nContent-Type: text/x-java-source\r\n"
            b"Content-Length: 10\r\n\r\nclass A {}"
        )
    gateway.answer(BINARY)
    assert len(reader.transport.value()) < HELD + 6 * PIECE
    body = body_of(reader.transport.take_all())
    if path == "/v1/run":
        assert json.loads(body)["runs"][0]["stdout"] == "\ufffd" * EACH
    else:
        assert body == "\ufffd".encode() * EACH


def test_the_verdict_of_a_stream_comes_as_it_is_read(gateway: Gateway, connect: Connect) -> None:
    """H8: and so does what the job wrote."""
    ended(gateway, connect, BINARY)
    reader, gone = connect(), connect()
    for one in (reader, gone):
        one.get(f"/v1/jobs/{JOB}/events")
    parts = list(iter(reader.transport.take, b""))
    assert max(map(len, parts)) < HELD + 6 * PIECE
    told = events_of(b"".join(parts))
    assert told[-1].data["result"]["runs"][11]["stdout"] == "\ufffd" * EACH
    written = sum(len(event.data["base64"]) for event in told if event.name == "output")
    assert written >= 24 * EACH * 4 // 3
    gone.gone()
    assert gateway.clock.getDelayedCalls() == []


def test_a_head_of_it_makes_nothing(gateway: Gateway, connect: Connect) -> None:
    ended(gateway, connect, BINARY)
    reader = connect()
    reader.protocol.dataReceived(b"HEAD /v1/jobs/%b HTTP/1.1\r\nHost: g\r\n\r\n" % JOB.encode())
    answer = bytes(reader.transport.value())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in answer


def test_a_client_that_closes_its_sending_side_gets_all_of_it(
    gateway: Gateway, connect: Connect, clock: Clock
) -> None:
    """H8: nothing is put in between its pieces to see whether it is there."""
    ended(gateway, connect, BINARY)
    reader = connect()
    reader.get(f"/v1/jobs/{JOB}")
    reader.close_sending()
    clock.pump([1.0] * 20)
    assert json.loads(body_of(reader.transport.take_all()))["status"] == "finished"
    assert reader.transport.disconnecting
    assert not reader.transport.aborting


def test_who_takes_too_little_of_a_large_answer_is_cut(gateway: Gateway, connect: Connect) -> None:
    """H8: a packet now and then is not reading."""
    ended(gateway, connect, BINARY)
    quick, slow = connect(), connect()
    for reader in (quick, slow):
        reader.get(f"/v1/jobs/{JOB}")
    for _ in range(3):
        taken = 0
        while taken < PACE_BYTES:
            taken += len(quick.transport.take())
        slow.transport.take()
        gateway.clock.advance(PACE_S)
    assert slow.transport.aborting
    assert not quick.transport.aborting
    slow.gone()
    quick.gone()
    assert gateway.clock.getDelayedCalls() == []


def test_unread_answers_of_one_client_are_bounded_and_shut_out_nobody(
    gateway: Gateway, connect: Connect
) -> None:
    """H8, H9: what they are made of is in memory as long as they are on their way."""
    gateway.resource.site._outgoing = Outgoing(gateway.clock, room=4 * outcome_bytes(BINARY) + LARGE)
    held = []
    for _ in range(3):
        reader = connect("192.0.2.1")
        post(reader, "/v1/run", b'{"source": "class A {}"}')
        gateway.answer(remade())
        held.append(reader)
    starts = [bytes(reader.transport.value())[:12] for reader in held]
    assert starts == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 503"]
    assert b"Retry-After: 2\r\n" in held[2].transport.value()
    other = connect("192.0.2.2")
    post(other, "/v1/run", b'{"source": "class A {}"}')
    gateway.answer(remade())
    assert other.transport.value().startswith(b"HTTP/1.1 200")
    assert gateway.resource.site._outgoing.held == 3 * outcome_bytes(BINARY)
    for reader in (*held, other):
        reader.gone()
    assert gateway.resource.site._outgoing.held == 0


def remade() -> Outcome:
    """Another outcome of that size."""
    return msgspec.structs.replace(BINARY)


def test_an_answer_counts_once_however_often_it_is_read(gateway: Gateway, connect: Connect) -> None:
    """H8: what counts is what is in memory."""
    ended(gateway, connect, BINARY)
    readers = [connect() for _ in range(40)]
    for reader in readers:
        reader.get(f"/v1/jobs/{JOB}")
    assert gateway.resource.site._outgoing.held == outcome_bytes(BINARY)
    for reader in readers:
        assert reader.transport.value().startswith(b"HTTP/1.1 200")
        reader.gone()
    assert gateway.resource.site._outgoing.held == 0


def test_large_answers_are_bounded_in_number() -> None:
    outgoing, large = Outgoing(Clock()), pieces_of(b"x")
    with ExitStack() as stack:
        for _ in range(ANSWERS_MAX // 2):
            stack.enter_context(outgoing.place("one", large))
        with pytest.raises(Unavailable):
            stack.enter_context(outgoing.place("one", large))
        stack.enter_context(outgoing.place("two", large))


@pytest.mark.parametrize("peer", [False, True])
def test_logs_that_nobody_reads_count_too(gateway: Gateway, clock: Clock, peer: bool) -> None:
    """H3, H8: also where nobody is asked for a token."""
    resource = node_resource(gateway.node_parts) if peer else gateway.resource
    gateway.logs.text[Level.VERBOSE] = b"a line\n" * 300_000
    resource.site._outgoing = outgoing = Outgoing(gateway.clock, room=1_400_000)
    site = make_site(resource, GatewaySettings(), clock)
    readers = [Reader(site) for _ in range(3)]
    for reader in readers:
        reader.get("/logs/verbose?lines=50000")
    starts = [bytes(reader.transport.value())[:12] for reader in readers]
    assert starts == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 503"]
    assert all(len(reader.transport.value()) < HELD + 2 * PIECE for reader in readers)
    assert outgoing.held == 2 * 350_000
    assert readers[0].transport.take_all().endswith(b"\r\n\r\n" + b"a line\n" * 50_000)
    assert outgoing.held == 350_000
