"""Bytes to messages and back (A5, X3)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import LocalProtocolError, RemoteProtocolError
from cluster.identity import Role, State
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire import codec
from cluster.wire import messages as m
from cluster.wire.jobs import (
    Compilation,
    Job,
    Outcome,
    Piece,
    Program,
    Reason,
    Refusal,
    Run,
    Source,
    Stream,
    Verdict,
)

JOB = Job("ab" * 16, 100, Program((Source("Main.java", "class Main {}"),)))
OUTCOME = Outcome(Verdict.OK, runs=(Run(Verdict.OK, value="42 \N{SNOWMAN}".encode(), stdout=b"\xff\x00"),))
KEY = m.AttemptKey("ab" * 16, 7, 2)
FACTS = m.NodeFacts(3, 1_700_000_000, 4, Role.PEER, host="peer-3", udp=9000)

DATAGRAMS: list[m.Datagram] = [
    m.Notification(5, 3, State.LOOKING, 7, 6, True, True, -1, 0, 0.1, "ff00"),
    m.Propose(8, 2**63, "ff00"),
    m.Promise(8, 2**63, "ff00"),
    m.Refuse(8, 1, 9, 2, 9),
    m.Heartbeat(8, 1, 0.4),
    m.HeartbeatAck(8, 1),
    m.Resign(8),
    m.Probe(1, "ff00"),
    m.ProbeReply(1, 0, 0, "ff00"),
    m.Gossip((m.GossipEntry(1, 2, 3, 4, True), m.GossipEntry(2, 2, 3, 4)), ask=True),
    m.FactsWanted(((1, 2, 3),)),
    m.FactsDelta((FACTS,)),
]
FRAMES: list[m.Frame] = [
    m.Hello(1, "c", 3, 9, Role.WORKER, 8, "ff00", "aa", 2, "17", (KEY,), (KEY,)),
    m.Welcome(8),
    m.Fenced(9),
    m.Submit(JOB, True, 1, 10.0, 60.0, placed=m.Place(3, 7)),
    m.Withdraw(("a", "b")),
    m.Assign(8, 1, JOB, 60.0),
    m.CancelRun(8, ("a",)),
    m.Finished(KEY, OUTCOME),
    m.Progress(KEY, Compilation(main_class="A"), (Piece(0, Stream.STDERR, 5, b"\xff"),)),
    m.Progressed(8, 3, KEY),
    m.Recount(8, ("a",)),
    m.Release(("a",)),
    m.Returned(KEY),
    m.Slots(2, True),
    m.Result(8, "a", OUTCOME),
    m.ResultAck(("a",)),
    m.Refused(8, "a", Refusal(Reason.OVERLOADED, "the queue is full")),
    m.LossCounted(8, "a", 1, 3),
    m.Placed(8, (("a", m.Place(3, 7)),)),
    m.Ping(1),
    m.Pong(1),
    m.FactsRequest(((1, 2, 3),)),
    m.FactsReply((FACTS,)),
]


@pytest.mark.parametrize("message", DATAGRAMS, ids=lambda message: type(message).__name__)
def test_every_datagram_survives_the_round_trip(message: m.Datagram) -> None:
    assert codec.decode_datagram(codec.encode_datagram(message)) == message


@pytest.mark.parametrize("message", FRAMES, ids=lambda message: type(message).__name__)
def test_every_frame_survives_the_round_trip(message: m.Frame) -> None:
    assert codec.decode_frame(codec.encode_frame(message)) == message


def test_the_samples_name_every_message() -> None:
    """A message added to a union must be added to these tests."""
    assert {type(message) for message in DATAGRAMS} == set(m.Datagram.__args__)
    assert {type(message) for message in FRAMES} == set(m.Frame.__args__)


def refuse(decoder: object, data: bytes) -> None:
    """Decoding either works or blames the sender; nothing else is ever raised (X3)."""
    try:
        decoder(data)  # type: ignore[operator]
    except RemoteProtocolError:
        return


@given(st.binary(max_size=DATAGRAM_PAYLOAD_MAX + 10))
def test_x3_random_bytes_raise_only_the_senders_fault(data: bytes) -> None:
    refuse(codec.decode_datagram, data)
    refuse(codec.decode_frame, data)


@given(st.sampled_from(DATAGRAMS), st.data())
def test_x3_a_damaged_message_raises_only_the_senders_fault(message: m.Datagram, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode_datagram(message))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    refuse(codec.decode_datagram, bytes(encoded))
    refuse(codec.decode_datagram, bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x82\xa1t\xa1g\xa7entries\xdd\xff\xff\xff\xff", id="four thousand million entries"),
        pytest.param(b"\x82\xa1t\xa1g\xa3zzz" + b"\x91" * 1100, id="nested deeply"),
        pytest.param(b"\x84\xa1t\xa1b\xa5nonce\x01\xa6voters\xa2\xff\xfe", id="not UTF-8"),
        pytest.param(msgspec.msgpack.encode({"t": "no such tag"}), id="unknown tag"),
        pytest.param(msgspec.msgpack.encode({"t": "q", "epoch": "8"}), id="wrong type"),
        pytest.param(msgspec.msgpack.encode({"t": "q"}), id="missing field"),
    ],
)
def test_x3_hostile_bytes_are_undecodable(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_datagram(data)
    assert caught.value.reason == "undecodable"


def test_a5_fields_of_a_newer_sender_are_skipped() -> None:
    encoded = msgspec.msgpack.encode({"t": "q", "epoch": 8, "mood": "fine"})
    assert codec.decode_datagram(encoded) == m.Resign(8)


def test_g6_a_datagram_that_is_too_large_never_leaves() -> None:
    rows = tuple(m.GossipEntry(i, 2**40, 2**40, 1) for i in range(200))
    with pytest.raises(LocalProtocolError, match="Gossip of"):
        codec.encode_datagram(m.Gossip(rows))


def test_g6_a_datagram_that_is_too_large_is_not_even_decoded() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_datagram(bytes(DATAGRAM_PAYLOAD_MAX + 1))
    assert caught.value.reason == "too_long"


def test_a_message_that_can_not_be_encoded_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="Resign can't be encoded"):
        codec.encode_datagram(m.Resign(2**70))
