"""What nodes send each other, as somebody else would write it: datagrams and the frames of channels."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cluster.errors import LocalProtocolError, RemoteProtocolError
from cluster.identity import Boot, NodeId
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.version import PROTOCOL_VERSION
from cluster.wire.codec import decode_datagram, decode_frame, encode_datagram, encode_frame
from cluster.wire.framing import FrameDecoder, prefix
from cluster.wire.keyring import Keyring
from cluster.wire.messages import ELECTION_KIND, GOSSIP_KIND
from cluster.wire.sealing import DATAGRAM_MAX, HEADER, MAGIC, Opener, Sealer, cluster_hash, derive
from tests.fuzz.target import Target, require
from tests.support.messages import DATAGRAMS, FRAMES

CLUSTER, ME, PEER, WORKER = "fuzz", NodeId(1), NodeId(2), NodeId(9)
BOOT = Boot(1_700_000_000)
KEYS = Keyring({1: bytes(range(32)), 2: bytes(range(32, 64))})
FIRST_MAX, FRAME_MAX = 1000, 2000
"""Bounds small enough for a fuzzer to pass them."""


def _opener() -> Opener:
    return Opener(KEYS, CLUSTER, ME, {ME, PEER}, strangers_max=1)


def outer(data: bytes) -> None:
    """Bytes of an outsider."""
    receiver = _opener()
    try:
        receiver.open(data)
    except RemoteProtocolError as error:
        require(error.reason, "a refusal has a reason to count it under")
    else:
        require(data in _SEALED, "only what a holder of the key sealed is opened")
        return
    require(receiver.open(_SEALED[0]).sequence == 1, "what was refused changed nothing")


def _sealed(sender: NodeId) -> list[bytes]:
    sealer = Sealer(KEYS, CLUSTER, sender, BOOT)
    return [sealer.seal(ME, message) for message in DATAGRAMS]


_SEALED = _sealed(PEER) + _sealed(WORKER)


def _seeds_outer() -> Iterator[bytes]:
    yield from _SEALED
    yield Sealer(KEYS, "other", PEER, BOOT).seal(ME, DATAGRAMS[0])
    yield Sealer(Keyring({1: bytes(32)}), CLUSTER, PEER, BOOT).seal(ME, DATAGRAMS[0])
    yield bytes(DATAGRAM_MAX + 1)


_HEAD = struct.Struct(">BBIQQ")
"""Of an input: key id, kind, sender, boot, sequence."""


def sealed(data: bytes) -> None:
    """Bytes that a holder of the key seals with any header it likes: the inside is reached, and judged."""
    if len(data) < _HEAD.size:
        return
    key_id, kind, sender, boot, sequence = _HEAD.unpack_from(data)
    key_id = 1 + key_id % 2
    payload = data[_HEAD.size :]
    header = HEADER.pack(
        MAGIC, PROTOCOL_VERSION, key_id, cluster_hash(CLUSTER), sender, boot, sequence, ME, kind
    )
    cipher = derive(KEYS, key_id, CLUSTER, sender, boot)
    datagram = header + cipher.encrypt(struct.pack(">4xQ", sequence), payload, header)
    receiver = _opener()
    try:
        opened = receiver.open(datagram)
    except RemoteProtocolError:
        return
    require((opened.sender, opened.boot, opened.sequence) == (sender, boot, sequence), "its header's words")
    require(sender in {PEER, WORKER} or kind == GOSSIP_KIND, "a stranger may gossip and no more")
    try:
        receiver.open(datagram)
    except RemoteProtocolError as error:
        require(error.reason == "replayed", "and only once")
    else:
        require(False, "the same datagram twice")


def _seeds_sealed() -> Iterator[bytes]:
    for message in DATAGRAMS:
        for kind, sender in ((ELECTION_KIND, PEER), (GOSSIP_KIND, PEER), (GOSSIP_KIND, WORKER)):
            yield _HEAD.pack(0, kind, sender, BOOT, 1) + encode_datagram(message)


def payload(data: bytes) -> None:
    """A decoded message, once encoded, is the same message."""
    try:
        message = decode_datagram(data)
    except RemoteProtocolError:
        return
    try:
        encoded = encode_datagram(message)
    except LocalProtocolError:
        # A number may be written shorter than it must be, so what comes back may be a little longer.
        require(len(data) > DATAGRAM_PAYLOAD_MAX // 4, "a small message is encoded to a small one")
        return
    require(_same(decode_datagram(encoded), message), "round trip")


def _same(one: object, other: object) -> bool:
    """Equal, where a number that is none (NaN) equals itself."""
    return one == other or repr(one) == repr(other)


def frame(data: bytes) -> None:
    """The same of a frame's body."""
    try:
        message = decode_frame(data)
    except RemoteProtocolError:
        return
    require(_same(decode_frame(encode_frame(message)), message), "round trip")


def stream(data: bytes) -> None:
    """A byte stream means the same in whatever pieces it comes, and what is kept of it is bounded."""
    if not data:
        return
    step, rest = 1 + data[0], data[1:]
    whole, whole_error = _cut([rest])
    pieces, error = _cut([rest[at : at + step] for at in range(0, len(rest), step)])
    require(error == whole_error, "an error in one piece is an error in many")
    # What the piece with the error completed before it is lost with it.
    require(pieces[: len(whole)] == whole, "the same frames, in the same order")
    require(error or pieces == whole, "all of them")


def _cut(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    decoder = FrameDecoder(first_max=FIRST_MAX, frame_max=FRAME_MAX)
    bodies: list[bytes] = []
    for piece in pieces:
        try:
            found = decoder.feed(piece)
        except RemoteProtocolError as error:
            require(error.reason == "frame_too_long", "the one thing that a stream can do wrong")
            require(decoder.buffered == 0, "nothing of it is kept")
            return bodies, True
        bodies.extend(found)
        require(decoder.buffered < FRAME_MAX + 4, "no more than a frame is kept")
    require(all(len(body) <= FRAME_MAX for body in bodies), "each is within its bound")
    require(not bodies or len(bodies[0]) <= FIRST_MAX, "the first is within a smaller one")
    return bodies, False


def _seeds_stream() -> Iterator[bytes]:
    bodies = [encode_frame(message) for message in FRAMES]
    yield b"\x00" + b"".join(prefix(body) + body for body in bodies[:6])
    yield b"\x06" + b"".join(prefix(body) + body for body in bodies[6:12])
    yield b"\xff" + prefix(bytes(FIRST_MAX)) + bytes(FIRST_MAX)
    yield b"\x40" + struct.pack(">I", FIRST_MAX + 1) + bytes(20)
    yield b"\x01" + prefix(b"") * 20
    yield b"\xc8" + prefix(b"") + struct.pack(">I", FRAME_MAX + 1) + bytes(2 * FRAME_MAX)


TARGETS = (
    Target("datagram", "opens, or is refused with a reason and changes nothing", outer, _seeds_outer),
    Target(
        "sealed", "whatever a holder of the key seals opens once or is refused", sealed, _seeds_sealed, 1300
    ),
    Target(
        "message",
        "decodes and encodes to the same, or is the sender's fault",
        payload,
        lambda: map(encode_datagram, DATAGRAMS),
        1300,
    ),
    Target(
        "frame",
        "decodes and encodes to the same, or is the sender's fault",
        frame,
        lambda: map(encode_frame, FRAMES),
    ),
    Target("stream", "the same frames however it is cut, bounded, or one error", stream, _seeds_stream),
)
