"""Sealed datagrams: who sent this, in which life, for whom, and was it seen before (N6, X1).

A sender's key is derived from the cluster key for one node and one boot, and the nonce is its send counter.
The boot is durable and rises with each life (N3), so a nonce is never used twice with one key. The whole
header is associated data: nothing in it can be changed, nor a datagram be sent on to another node.
Nothing that arrives changes any state here before it has proved to be authentic.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cluster.errors import RemoteProtocolError
from cluster.identity import MAX_BOOT, Boot, NodeId
from cluster.limits import DATAGRAM_PAYLOAD_MAX
from cluster.version import PROTOCOL_VERSION
from cluster.wire.codec import UNDECODABLE, decode_datagram, encode_datagram
from cluster.wire.keyring import KEY_BYTES, Keyring
from cluster.wire.messages import GOSSIP_KIND, Datagram, kind_of

MAGIC = b"jc"
HEADER = struct.Struct(">2sBB8sIQQIB")
"""Magic, version, key id, cluster, sender, boot, sequence, destination, kind."""

TAG_BYTES = 16
DATAGRAM_MAX = HEADER.size + DATAGRAM_PAYLOAD_MAX + TAG_BYTES
"""Bytes of the largest datagram that we send or accept."""

WINDOW = 1024
"""How far behind the highest sequence of a sender a datagram may arrive and still be told from a replay."""

_WINDOW_MASK = (1 << WINDOW) - 1
_NONCE = struct.Struct(">4xQ")


def cluster_hash(cluster: str) -> bytes:
    """Eight bytes that name a cluster in a header."""
    return hashlib.sha256(b"javacluster cluster " + cluster.encode()).digest()[:8]


def derive(keyring: Keyring, key_id: int, cluster: str, sender: int, boot: int) -> ChaCha20Poly1305:
    """The cipher of one sender's one life under one cluster key (X1)."""
    name = cluster.encode()
    info = b"javacluster datagram" + struct.pack(">BIQ", key_id, sender, boot) + name
    return ChaCha20Poly1305(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(keyring.keys[key_id]))


class Sealer:
    """Seals what this node sends, in this life."""

    def __init__(self, keyring: Keyring, cluster: str, me: NodeId, boot: Boot) -> None:
        """`boot` must be durable already and never have sealed anything before (N3)."""
        self._cluster = cluster
        self._hash = cluster_hash(cluster)
        self._me = me
        self._boot = boot
        self._sequence = 0
        self._last: Datagram | None = None
        self._payload = b""
        self.rekey(keyring)

    def rekey(self, keyring: Keyring) -> None:
        """Send with this ring's newest key from now on; the send counter goes on."""
        self._key_id = keyring.newest
        self._cipher = derive(keyring, self._key_id, self._cluster, self._me, self._boot)

    def seal(self, to: NodeId, message: Datagram) -> bytes:
        """Make the datagram that only `to` accepts, and only once.

        Raises:
            LocalProtocolError: the message is too large.
        """
        if message is not self._last:  # a round says the same to several; messages never change
            self._payload, self._last = encode_datagram(message), message
        self._sequence += 1
        header = HEADER.pack(
            MAGIC,
            PROTOCOL_VERSION,
            self._key_id,
            self._hash,
            self._me,
            self._boot,
            self._sequence,
            to,
            kind_of(message),
        )
        return header + self._cipher.encrypt(_NONCE.pack(self._sequence), self._payload, header)


@attrs.frozen
class Opened:
    """An authentic datagram that was not seen before."""

    sender: NodeId
    boot: Boot
    sequence: int
    message: Datagram


@attrs.define
class _Life:
    """What is known of one sender: its newest boot, and which sequences of it were seen."""

    boot: int
    ciphers: dict[int, ChaCha20Poly1305]
    highest: int = 0
    seen: int = 0
    """Bit i is set when sequence `highest - i` was seen."""

    def is_fresh(self, sequence: int) -> bool:
        """Whether this sequence is certainly no repetition."""
        behind = self.highest - sequence
        return behind < 0 or (behind < WINDOW and not self.seen >> behind & 1)

    def mark(self, sequence: int) -> None:
        """Remember it."""
        behind = self.highest - sequence
        if behind >= 0:
            self.seen |= 1 << behind
            return
        self.seen = (self.seen << -behind | 1) & _WINDOW_MASK if -behind < WINDOW else 1
        self.highest = sequence


class Lives:
    """The newest life of each sender, and which of its sequences were seen (N6)."""

    def __init__(self) -> None:
        """Nobody has said anything."""
        self._newest: dict[int, _Life] = {}

    def refusal(self, sender: int, boot: int, sequence: int) -> str:
        """Why a datagram is not news, `older_boot` or `replayed`; empty when it is, if it is authentic."""
        life = self._newest.get(sender)
        if life is None or boot > life.boot:
            return ""
        if boot < life.boot:
            return "older_boot"
        return "" if life.is_fresh(sequence) else "replayed"

    def life(self, sender: int, boot: int) -> _Life:
        """What is known of this life of a sender; of one that is new, nothing, and that is not kept yet."""
        life = self._newest.get(sender)
        return life if life is not None and life.boot == boot else _Life(boot, {})

    def heard(self, sender: int, life: _Life, sequence: int) -> None:
        """An authentic datagram of this life: from here on it is remembered."""
        self._newest[sender] = life
        life.mark(sequence)

    def forget_ciphers(self) -> None:
        """Keys have changed; what was seen stays seen."""
        for life in self._newest.values():
            life.ciphers.clear()


class Opener:
    """Opens what arrives; everything that is not a fresh word of a member to this node is dropped.

    The table of senders is bounded: by the members, and by `strangers_max` others that may gossip and no
    more: workers that join a running cluster. A sender's derived keys are kept for its newest boot.
    """

    def __init__(
        self,
        keyring: Keyring,
        cluster: str,
        me: NodeId,
        members: Collection[NodeId],
        strangers_max: int = 0,
    ) -> None:
        """`members` are the nodes that may speak to this one of anything; it never speaks to itself."""
        self._keyring = keyring
        self._cluster = cluster
        self._hash = cluster_hash(cluster)
        self._me = me
        self._members = frozenset(members) - {me}
        self._lives = Lives()
        self._strangers_max = strangers_max
        self._strangers: set[int] = set()

    def rekey(self, keyring: Keyring) -> None:
        """Accept exactly this ring's keys from now on; what was seen stays seen."""
        self._keyring = keyring
        self._lives.forget_ciphers()

    def open(self, datagram: bytes) -> Opened:
        """Check and decode one datagram.

        Raises:
            RemoteProtocolError: with the reason to count it under: `too_long`, `truncated`, `magic`,
                `version`, `cluster`, `not_for_me`, `sender`, `boot`, `key_id`, `older_boot`, `replayed`,
                `authenticity`, `undecodable`.
        """
        if len(datagram) > DATAGRAM_MAX:
            raise RemoteProtocolError("too_long")
        if len(datagram) < HEADER.size + TAG_BYTES:
            raise RemoteProtocolError("truncated")
        magic, version, key_id, cluster, sender, boot, sequence, to, kind = HEADER.unpack_from(datagram)
        self._refuse_foreign(magic, version, cluster, to)
        self._refuse_stranger(sender, kind)
        if boot > MAX_BOOT:  # believed, it would make every real life of this sender an older one
            raise RemoteProtocolError("boot")
        if key_id not in self._keyring.keys:
            raise RemoteProtocolError("key_id")
        if why := self._lives.refusal(sender, boot, sequence):
            raise RemoteProtocolError(why)
        life = self._lives.life(sender, boot)
        cipher = life.ciphers.get(key_id) or derive(self._keyring, key_id, self._cluster, sender, boot)
        try:
            payload = cipher.decrypt(_NONCE.pack(sequence), datagram[HEADER.size :], datagram[: HEADER.size])
        except InvalidTag:
            raise RemoteProtocolError("authenticity") from None
        # Only here is the datagram known to be the sender's own: from here on it may be remembered.
        self._lives.heard(sender, life, sequence)
        if sender not in self._members:
            self._strangers.add(sender)
        life.ciphers[key_id] = cipher
        message = decode_datagram(payload)
        if kind_of(message) != kind:
            raise RemoteProtocolError(UNDECODABLE, "its kind is not its header's")
        return Opened(NodeId(sender), Boot(boot), sequence, message)

    def _refuse_stranger(self, sender: int, kind: int) -> None:
        """Who is no member may gossip, if there is room for one more of its kind."""
        if sender in self._members:
            return
        room = sender in self._strangers or len(self._strangers) < self._strangers_max
        if sender == self._me or kind != GOSSIP_KIND or not room:
            raise RemoteProtocolError("sender")

    def _refuse_foreign(self, magic: bytes, version: int, cluster: bytes, to: int) -> None:
        if magic != MAGIC:
            raise RemoteProtocolError("magic")
        if version != PROTOCOL_VERSION:
            raise RemoteProtocolError("version")
        if cluster != self._hash:
            raise RemoteProtocolError("cluster")
        if to != self._me:
            raise RemoteProtocolError("not_for_me")
