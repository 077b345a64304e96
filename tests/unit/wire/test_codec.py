"""Bytes to messages and back (A5, X3)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import LocalProtocolError, RemoteProtocolError
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire import codec
from cluster.wire import messages as m
from tests.support.messages import DATAGRAMS, FRAMES


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


@pytest.mark.parametrize(
    ("tag", "field", "value"),
    [
        ("hello", "slots", -3000),
        ("hello", "slots", 5000),
        ("slots", "slots", -1),
        ("submit", "queue_s", float("nan")),
        ("submit", "queue_s", -1.0),
        ("submit", "remaining_s", float("inf")),
        ("submit", "losses", -1),
        ("returned", "key", ["a", 1, 2**62]),
        ("returned", "key", ["a", 1, -1]),
    ],
)
def test_x3_numbers_that_would_harm_others_are_undecodable(tag: str, field: str, value: object) -> None:
    """A negative slot takes another's away, a time that is no number breaks the order of all alarms."""
    (sample,) = (frame for frame in FRAMES if type(frame).__struct_config__.tag == tag)
    fields = msgspec.msgpack.decode(codec.encode_frame(sample))
    assert codec.decode_frame(msgspec.msgpack.encode(fields)) == sample
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_frame(msgspec.msgpack.encode({**fields, field: value}))
    assert caught.value.reason == "undecodable"


def test_a5_fields_of_a_newer_sender_are_skipped() -> None:
    encoded = msgspec.msgpack.encode({"t": "q", "epoch": 8, "mood": "fine"})
    assert codec.decode_datagram(encoded) == m.Resign(8)


def test_g6_a_datagram_that_is_too_large_never_leaves() -> None:
    rows = tuple(m.GossipEntry(i, 2**40, 2**40, 1) for i in range(400))
    with pytest.raises(LocalProtocolError, match="Gossip of"):
        codec.encode_datagram(m.Gossip(rows))


def test_g6_a_datagram_that_is_too_large_is_not_even_decoded() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_datagram(bytes(DATAGRAM_PAYLOAD_MAX + 1))
    assert caught.value.reason == "too_long"


def test_a_message_that_can_not_be_encoded_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="Resign can't be encoded"):
        codec.encode_datagram(m.Resign(2**70))
