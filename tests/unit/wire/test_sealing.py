"""Sealed datagrams: authenticity, replays, older lives, rotation of keys (N6, X1)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from cluster.identity import MAX_BOOT, Boot, NodeId
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.wire import messages as m
from cluster.wire.codec import encode_datagram
from cluster.wire.keyring import Keyring
from cluster.wire.sealing import DATAGRAM_MAX, HEADER, WINDOW, Opened, Opener, Sealer

KEYS = Keyring({1: bytes(range(32))})
NEW = bytes(range(32, 64))
ME, PEER, OTHER = NodeId(1), NodeId(2), NodeId(3)
BOOT = Boot(1_700_000_000)


def sealer(*, keys: Keyring = KEYS, cluster: str = "c", me: NodeId = PEER, boot: int = BOOT) -> Sealer:
    return Sealer(keys, cluster, me, Boot(boot))


def opener(*, keys: Keyring = KEYS, cluster: str = "c", me: NodeId = ME) -> Opener:
    return Opener(keys, cluster, me, {ME, PEER, OTHER})


def dropped(receiver: Opener, datagram: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        receiver.open(datagram)
    return caught.value.reason


def test_what_was_sealed_opens_once_with_its_sender_life_and_sequence() -> None:
    sender, receiver = sealer(), opener()
    assert receiver.open(sender.seal(ME, m.Resign(7))) == Opened(PEER, BOOT, 1, m.Resign(7))
    second = sender.seal(ME, m.Resign(8))
    assert receiver.open(second).sequence == 2
    assert dropped(receiver, second) == "replayed"


def test_one_message_to_several_opens_for_each_and_does_not_outlive_the_next() -> None:
    """Also around a message that is too large: what was said before is not said in its place."""
    sender, same, large = sealer(), m.Resign(7), m.Probe(1, "x" * DATAGRAM_PAYLOAD_MAX)
    for node in (ME, OTHER):
        assert opener(me=node).open(sender.seal(node, same)).message == same
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            sender.seal(ME, large)
    assert opener().open(sender.seal(ME, m.Resign(8))).message == m.Resign(8)
    assert opener().open(sender.seal(ME, same)).message == same


def test_n6_each_foreign_datagram_has_its_own_reason() -> None:
    sealed = sealer().seal(ME, m.Resign(7))
    receiver = opener()
    assert dropped(receiver, bytes(DATAGRAM_MAX + 1)) == "too_long"
    assert dropped(receiver, sealed[: HEADER.size + 15]) == "truncated"
    assert dropped(receiver, b"") == "truncated"
    assert dropped(receiver, b"no" + sealed[2:]) == "magic"
    assert dropped(receiver, sealed[:2] + b"\xff" + sealed[3:]) == "version"
    assert dropped(receiver, sealed[:3] + b"\x09" + sealed[4:]) == "key_id"
    assert dropped(receiver, sealer(cluster="d").seal(ME, m.Resign(7))) == "cluster"
    assert dropped(receiver, sealer().seal(OTHER, m.Resign(7))) == "not_for_me"
    assert dropped(receiver, sealer(me=NodeId(99)).seal(ME, m.Resign(7))) == "sender"
    assert dropped(receiver, sealer(me=ME).seal(ME, m.Resign(7))) == "sender"
    assert dropped(receiver, sealer(keys=Keyring({1: NEW})).seal(ME, m.Resign(7))) == "authenticity"
    assert receiver.open(sealed).message == m.Resign(7)


@given(st.integers(0, HEADER.size + 40), st.integers(1, 255))
def test_x1_no_bit_of_header_or_payload_can_be_changed(at: int, change: int) -> None:
    sealed = bytearray(sealer().seal(ME, m.Resign(7)))
    sealed[at % len(sealed)] ^= change
    receiver = opener()
    dropped(receiver, bytes(sealed))
    assert receiver.open(sealer().seal(ME, m.Resign(7))).sequence == 1, "a forgery changes nothing"


@given(st.binary(max_size=DATAGRAM_MAX + 20))
def test_x3_random_bytes_are_dropped(data: bytes) -> None:
    dropped(opener(), data)


def test_n6_an_older_life_is_dropped_and_a_newer_one_starts_anew() -> None:
    receiver = opener()
    old = sealer()
    early, late = old.seal(ME, m.Resign(7)), old.seal(ME, m.Resign(7))
    receiver.open(early)
    assert receiver.open(sealer(boot=BOOT + 1).seal(ME, m.Resign(8))).boot == BOOT + 1
    assert dropped(receiver, late) == "older_boot"


def test_x1_a_boot_beyond_any_clock_is_refused_and_the_real_one_heard() -> None:
    receiver, real = opener(), sealer()
    assert dropped(receiver, sealer(boot=MAX_BOOT + 1).seal(ME, m.Resign(7))) == "boot"
    rows = m.Gossip((m.GossipEntry(PEER, MAX_BOOT + 1, 1, 1),))
    assert dropped(receiver, real.seal(ME, rows)) == "undecodable"
    assert receiver.open(real.seal(ME, m.Resign(7))).boot == BOOT


def test_a_forged_newer_life_does_not_shut_the_real_one_out() -> None:
    receiver, real = opener(), sealer()
    receiver.open(real.seal(ME, m.Resign(7)))
    forged = sealer(keys=Keyring({1: NEW}), boot=BOOT + 5).seal(ME, m.Resign(9))
    assert dropped(receiver, forged) == "authenticity"
    assert receiver.open(real.seal(ME, m.Resign(7))).sequence == 2


@pytest.mark.parametrize("seed", range(5))
def test_x1_reordering_inside_the_window_is_accepted_exactly_once(seed: int) -> None:
    rng = random.Random(seed)
    sender, receiver = sealer(), opener()
    datagrams = [sender.seal(ME, m.Resign(7)) for _ in range(WINDOW)]
    rng.shuffle(datagrams)
    assert sorted(receiver.open(datagram).sequence for datagram in datagrams) == list(range(1, WINDOW + 1))
    assert {dropped(receiver, datagram) for datagram in datagrams} == {"replayed"}


def test_x1_what_is_older_than_the_window_can_not_be_told_from_a_replay() -> None:
    sender, receiver = sealer(), opener()
    datagrams = [sender.seal(ME, m.Resign(7)) for _ in range(WINDOW + 1)]
    receiver.open(datagrams[WINDOW])
    assert dropped(receiver, datagrams[0]) == "replayed"
    assert receiver.open(datagrams[1]).sequence == 2


def test_x1_a_jump_over_the_whole_window_forgets_only_what_it_must() -> None:
    sender, receiver = sealer(), opener()
    first = sender.seal(ME, m.Resign(7))
    receiver.open(first)
    skipped = [sender.seal(ME, m.Resign(7)) for _ in range(3 * WINDOW)]
    receiver.open(skipped[-1])
    assert dropped(receiver, first) == "replayed"
    assert receiver.open(skipped[-2]).message == m.Resign(7)


def test_x1_keys_rotate_without_a_lost_datagram() -> None:
    accepting = Keyring.from_text(f"2 {NEW.hex()}\n1 {KEYS.keys[1].hex()}")
    sending = Keyring.from_text(f"1 {KEYS.keys[1].hex()}\n2 {NEW.hex()}")
    assert (accepting.newest, sending.newest) == (1, 2)
    sender, receiver = sealer(), opener()
    for ring, to in (
        (accepting, "receiver"),
        (accepting, "sender"),
        (sending, "sender"),
        (sending, "receiver"),
    ):
        (receiver if to == "receiver" else sender).rekey(ring)
        assert receiver.open(sender.seal(ME, m.Resign(7))).message == m.Resign(7)
    receiver.rekey(Keyring({2: NEW}))
    assert receiver.open(sender.seal(ME, m.Resign(7))).sequence == 5
    assert dropped(receiver, sealer(boot=BOOT + 1).seal(ME, m.Resign(7))) == "key_id"


def test_x1_what_was_seen_stays_seen_when_keys_change() -> None:
    sender, receiver = sealer(), opener()
    datagram = sender.seal(ME, m.Resign(7))
    receiver.open(datagram)
    receiver.rekey(Keyring({1: KEYS.keys[1], 2: NEW}))
    assert dropped(receiver, datagram) == "replayed"


def test_g6_the_largest_payload_fits_a_datagram() -> None:
    name = "x" * (DATAGRAM_PAYLOAD_MAX - len(encode_datagram(m.Probe(1, ""))) - 2)
    message = m.Probe(1, name)
    assert len(encode_datagram(message)) == DATAGRAM_PAYLOAD_MAX
    sealed = sealer().seal(ME, message)
    assert len(sealed) == DATAGRAM_MAX
    assert opener().open(sealed).message == message


def test_a_key_file_survives_the_round_trip_and_its_repr_keeps_the_secret() -> None:
    ring = Keyring.generate(NEW)
    assert Keyring.from_text(ring.to_text()) == ring
    assert NEW.hex() not in repr(ring)
    assert repr(NEW)[2:10] not in repr(ring)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no key in it"),
        ("1 abc", "line 1: expected `ID HEX64`"),
        (f"\n0 {NEW.hex()}", "line 2: key id 0"),
        (f"256 {NEW.hex()}", "line 1: key id 256"),
        (f"1 {NEW.hex()}\n1 {NEW.hex()} # again", "line 2: key id 1 appears twice"),
    ],
)
def test_a_bad_key_file_is_refused_with_its_line_and_without_its_secret(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Keyring.from_text(text)
    assert problem in str(caught.value)
    assert NEW.hex() not in str(caught.value)


# --- workers that join: in nobody's member list ---------------------------------------------------------


def strange(node: int) -> Sealer:
    return sealer(me=NodeId(node))


def test_x1_who_is_no_member_may_gossip_and_nothing_else() -> None:
    receiver = Opener(KEYS, "c", ME, {ME, PEER, OTHER}, strangers_max=10)
    joining = strange(99)
    assert dropped(receiver, joining.seal(ME, m.Resign(7))) == "sender"
    assert receiver.open(joining.seal(ME, m.Gossip(()))).sender == NodeId(99)
    assert dropped(receiver, joining.seal(ME, m.Heartbeat(1, 1, 0.4))) == "sender"
    assert dropped(receiver, sealer(me=ME).seal(ME, m.Gossip(()))) == "sender"


def test_x1_strangers_are_bounded_and_only_the_authentic_count() -> None:
    receiver = Opener(KEYS, "c", ME, {ME, PEER, OTHER}, strangers_max=2)
    for node in range(50, 60):
        forged = sealer(keys=Keyring({1: NEW}), me=NodeId(node))
        assert dropped(receiver, forged.seal(ME, m.Gossip(()))) == "authenticity"
    first, second, third = strange(97), strange(98), strange(99)
    for joining in (first, second):
        receiver.open(joining.seal(ME, m.Gossip(())))
    assert dropped(receiver, third.seal(ME, m.Gossip(()))) == "sender"
    assert receiver.open(first.seal(ME, m.Gossip(()))).sender == NodeId(97), "who was let in stays"
