"""Rows of gossip, packed: what the nodes of a cluster have in common is said once in a datagram (G6).

The first row is whole; of each later one every number is told as its difference from what can be expected of
it: rows ascend by node, lives began about when the sender's did, and a heartbeat counts the rounds of a life.
MessagePack writes a small number in one byte. Rows of nodes that started together take 4 bytes instead of 11,
of lives within a year 8 instead of 16, and up to 13 where facts have had millions of versions; at most 36.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from cluster.identity import MAX_BOOT
from cluster.wire.messages import Gossip, GossipEntry, Message

NUMBERS = 4
"""What a row is made of: node with suspicion, boot, heartbeat, version."""

LARGEST = 2**62
"""Of a node or a heartbeat: every difference of two fits a MessagePack integer."""

INTERVAL_MAX_MS = 2**31

INTEGER_MAX = 9
"""Bytes of the longest integer in MessagePack."""

ROW_MAX = NUMBERS * INTEGER_MAX
"""Bytes of the longest row."""

Numbers = tuple[int, int, int, int]

_encode = msgspec.msgpack.Encoder().encode


class PackedGossip(Message, tag="G", frozen=True):
    """A `Gossip` on the wire: the sender's interval in milliseconds, then `NUMBERS` for each row."""

    rows: tuple[int, ...]
    ask: bool = False
    reply: bool = False


def pack(message: Gossip) -> PackedGossip:
    """As it goes on the wire."""
    rows = [message.interval_ms]
    for numbers in _differences(message.entries, message.interval_ms):
        rows += numbers
    return PackedGossip(tuple(rows), message.ask, message.reply)


def _differences(entries: Iterable[GossipEntry], interval_ms: int) -> Iterator[Numbers]:
    """Each row's difference from what is expected of it."""
    before = first_boot = first_heartbeat = 0
    first = True
    for entry in entries:
        later, rounds = entry.boot - first_boot, entry.heartbeat - first_heartbeat
        if first:
            first, first_boot, first_heartbeat = False, entry.boot, entry.heartbeat
        elif later:
            rounds -= -later * 1000 // interval_ms
        yield (entry.node - before) * 2 + entry.suspected, later, rounds, entry.version
        before = entry.node


def unpack(packed: PackedGossip) -> Gossip:
    """As it was meant.

    Raises:
        ValueError: it is no gossip, or says of somebody what no node says.
    """
    rows = packed.rows
    if len(rows) % NUMBERS != 1 or not 0 < rows[0] <= INTERVAL_MAX_MS:
        raise ValueError(f"rows of gossip are an interval and {NUMBERS} numbers each, not {len(rows)}")
    numbers = iter(rows)
    interval_ms = next(numbers)
    entries: list[GossipEntry] = []
    node = first_boot = first_heartbeat = 0
    for step, later, rounds, version in zip(numbers, numbers, numbers, numbers, strict=True):
        node += step >> 1
        boot, heartbeat = first_boot + later, first_heartbeat + rounds
        if not entries:
            first_boot, first_heartbeat = boot, heartbeat
        elif later:
            heartbeat += -later * 1000 // interval_ms
        if not (0 <= node < LARGEST and 0 <= boot <= MAX_BOOT and 0 <= heartbeat < LARGEST and version >= 0):
            raise ValueError(f"a row of gossip is out of range: {node}, {boot}, {heartbeat}, {version}")
        entries.append(GossipEntry(node, boot, heartbeat, version, bool(step & 1)))
    return Gossip(tuple(entries), packed.ask, packed.reply, interval_ms)


def cut(
    own: GossipEntry, rows: Sequence[GossipEntry], interval_ms: int, room: int
) -> Iterator[tuple[GossipEntry, ...]]:
    """All rows, ascending by node, in stretches of at most `room` bytes packed, `own` in front of each."""
    if (len(rows) + 1) * ROW_MAX + INTEGER_MAX <= room:
        yield (own, *rows)  # few enough, whatever they say
        return
    sizes = [len(_encode(numbers)) - 1 for numbers in _differences((own, *rows), interval_ms)]
    room -= sizes[0] + INTEGER_MAX  # the first node of a stretch is told from `own`, not from the one before
    start, left = 0, room
    for at, size in enumerate(sizes[1:]):
        if size > left:
            yield (own, *rows[start:at])
            start, left = at, room
        left -= size
    yield (own, *rows[start:])
