"""A whole core, and members that say whatever they like: it goes on (X3), and what it says can be sent."""

from __future__ import annotations

import contextlib
import math
import random
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from cluster.config import CacheSettings, GatewaySettings, GossipSettings, TimingSettings, WorkSettings
from cluster.core import effects as fx
from cluster.core import events as ev
from cluster.core.belief import FAR_MAX
from cluster.core.node import NodeCore
from cluster.core.record import Record
from cluster.core.views import NodeSettings
from cluster.errors import RemoteProtocolError
from cluster.identity import Boot, NodeId, Role, voters_hash
from cluster.version import PROTOCOL_VERSION
from cluster.wire.codec import decode_datagram, decode_frame, encode_datagram, encode_frame
from cluster.wire.jobs import Outcome, Program, Source, Verdict
from cluster.wire.messages import Gossip, Heartbeat, Hello, NodeFacts
from tests.fuzz.target import Target, require
from tests.support.messages import DATAGRAMS, FRAMES, OUTCOME

CLUSTER = "fuzz"
ME, SECOND, THIRD, GATEWAY, WORKER = (NodeId(i) for i in (1, 2, 3, 100, 9))
SENDERS = (SECOND, THIRD, GATEWAY, WORKER)
ROLES = {SECOND: Role.PEER, THIRD: Role.PEER, GATEWAY: Role.GATEWAY, WORKER: Role.WORKER}
BOOT = Boot(1_700_000_000)
BEGIN = 1_000_000.0
STEPS_MAX = 40
TICKS_MAX = 2000
"""More of them for one step of time, and a deadline is never met."""

DATAGRAM, FRAME, OPEN, CLOSE, WAIT, ASK = range(6)
_STEP = struct.Struct(">BBH")
"""Who, what, and how many bytes follow."""


class _Mind:
    """One core, and the little that its driver would do."""

    def __init__(self, kind: int) -> None:
        """A lone voter, which leads at once; one of three; or a gateway."""
        voters = (ME,) if kind == 0 else (ME, SECOND, THIRD) if kind == 1 else (SECOND, THIRD)
        role = Role.PEER if kind < 2 else Role.GATEWAY
        hashed = voters_hash(CLUSTER, voters)
        self.record = Record(CLUSTER, ME, hashed, boot=BOOT, may_vote=role is Role.PEER)
        members = tuple(dict.fromkeys((*(v for v in voters if v != ME), GATEWAY)))
        settings = NodeSettings(
            cluster=CLUSTER,
            me=ME,
            role=role,
            voters=voters,
            members=members,
            workers=tuple(v for v in voters if v != ME),
            timing=TimingSettings(),
            gossip=GossipSettings(),
            work=WorkSettings(held_max=20),
            gateway=GatewaySettings(pending_max=5),
            cache=CacheSettings(),
            timing_digest="same",
        )
        facts = NodeFacts(ME, BOOT, 1, role, host="10.0.0.1", udp=1, tcp=2, http=3)
        self.now = BEGIN
        self.core = NodeCore(settings, self.record, facts, random.Random(1), self.now)
        self.channels: dict[NodeId, int] = {}
        self._numbers = iter(range(1, 1000))
        self.sequence = 0
        self.perform(self.core.start(self.now))
        if role is Role.PEER:
            self.feed(ev.CapacityChanged(2))

    def feed(self, event: ev.Event) -> None:
        self.perform(self.core.receive(event, self.now))

    def perform(self, effects: fx.Effects) -> None:
        for effect in effects:
            match effect:
                case fx.Send(to, message):
                    require(to != ME, "a node does not talk to itself")
                    encode_datagram(message)
                case fx.SendFrame(_channel, frame):
                    encode_frame(frame)
                case fx.Persist(record, token, then):
                    step = record.accepted - self.record.accepted
                    require(0 <= step <= FAR_MAX, "an epoch goes up, and by no more than may be (N6)")
                    require(record.boot == BOOT, "a boot stays for a life")
                    self.record = record
                    self.perform(then)
                    self.feed(ev.Persisted(token))
                case fx.StartRun(job):
                    self.feed(ev.RunFinished(job.id, OUTCOME))
                case fx.StopRun(job_id):
                    self.feed(ev.RunFinished(job_id, Outcome(Verdict.CANCELLED)))
                case fx.Close(channel, reason):
                    self.closed(channel, reason)
                case fx.Log(_level, text):
                    text.encode("utf-8", "surrogatepass")

    def closed(self, channel: int, reason: str) -> None:
        for node, number in list(self.channels.items()):
            if number == channel:
                del self.channels[node]
                self.feed(ev.ChannelClosed(channel, reason))

    def wait(self, seconds: float) -> None:
        """Let time pass, a deadline at a time."""
        until = self.now + seconds
        for _ in range(TICKS_MAX):
            due = self.core.next_deadline()
            require(due is None or math.isfinite(due), "a deadline is a moment")
            if due is None or due > until:
                self.now = until
                return
            self.now = max(self.now, due)
            self.perform(self.core.tick(self.now))
        require(False, "a deadline is never met")

    def step(self, sender: NodeId, what: int, payload: bytes) -> None:
        """One thing that others do."""
        if what == WAIT:
            self.wait((payload[0] if payload else 1) / 50)
        elif what == OPEN and sender not in self.channels:
            number = self.channels[sender] = next(self._numbers)
            self.feed(ev.ChannelOpened(number, sender, ROLES[sender], dialled=payload[:1] == b"d"))
        elif what == CLOSE and sender in self.channels:
            self.closed(self.channels[sender], "closed")
        elif what == ASK:
            self.sequence += 1
            program = Program((Source("", payload.decode("utf-8", "replace")),))
            self.feed(ev.RequestArrived(self.sequence, f"{self.sequence:032x}", program))
        elif what == DATAGRAM:
            message = decode_datagram(payload)
            stranger = sender == WORKER
            if stranger and not isinstance(message, Gossip):
                return  # the opener lets no other word of theirs through
            self.sequence += 1
            self.feed(ev.DatagramArrived(sender, BOOT, self.sequence, message))
        elif what == FRAME and sender in self.channels:
            self.feed(ev.FrameArrived(self.channels[sender], decode_frame(payload)))


def conversation(data: bytes) -> None:
    """The first byte says what this node is; then a step after another."""
    if not data:
        return
    mind = _Mind(data[0] % 3)
    at = 1
    for _ in range(STEPS_MAX):
        if at + _STEP.size > len(data):
            break
        sender, what, length = _STEP.unpack_from(data, at)
        at += _STEP.size
        with contextlib.suppress(RemoteProtocolError):  # the decoders' own targets hold them to theirs
            mind.step(SENDERS[sender % len(SENDERS)], what % 6, data[at : at + length])
        at += length
    mind.wait(3.0)
    mind.core.snapshot(mind.now)


def step(sender: NodeId, what: int, payload: bytes = b"") -> bytes:
    """As `conversation` reads it."""
    return _STEP.pack(SENDERS.index(sender), what, len(payload)) + payload


def _hello(node: NodeId, epoch: int, voters: tuple[NodeId, ...]) -> bytes:
    hashed = voters_hash(CLUSTER, voters)
    return encode_frame(
        Hello(PROTOCOL_VERSION, CLUSTER, node, BOOT, ROLES[node], epoch, hashed, "same", slots=2)
    )


_FLOATS = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e308)
_INTEGERS = (-1, -(2**63), 2**31, 2**63 - 1, 2**64 - 1)


def lies(message: msgspec.Struct) -> Iterator[bytes]:
    """The message with one number in it changed to one that nobody means, encoded, wherever it decodes."""
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    for path in _numbers(plain):
        held: Any = plain
        for key in path[:-1]:
            held = held[key]
        true = held[path[-1]]
        for false in _FLOATS if isinstance(true, float) else _INTEGERS:
            held[path[-1]] = false
            yield msgspec.msgpack.encode(plain)
        held[path[-1]] = true


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list | tuple):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in list(inner):
            yield from _numbers(one, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _lying() -> Iterator[bytes]:
    """Conversations in which everybody lies in one number at a time, as many lies as fit."""
    lead = step(SECOND, WAIT, b"\x64") * 2
    said = [step(SECOND, DATAGRAM, lie) for message in DATAGRAMS for lie in lies(message)]
    framed = [encode for message in FRAMES for encode in lies(message)]
    for kind in (b"\x00", b"\x01", b"\x02"):
        for batch in _batches(said, 12):
            yield kind + lead + b"".join(batch) + step(SECOND, WAIT, b"\x32")
    for node in (GATEWAY, WORKER):
        greeted = step(node, OPEN) + step(node, FRAME, _hello(node, 1, (ME,)))
        for batch in _batches([step(node, FRAME, one) for one in framed], 12):
            yield b"\x00" + lead + greeted + b"".join(batch) + step(SECOND, WAIT, b"\x32")
    beat = step(SECOND, DATAGRAM, encode_datagram(Heartbeat(8, 1, 0.4))) + step(SECOND, OPEN, b"d")
    for kind in (b"\x01", b"\x02"):
        for batch in _batches([step(SECOND, FRAME, one) for one in framed], 12):
            yield kind + beat + step(SECOND, ASK, b"class A {}") + b"".join(batch)


def _batches(every: list[bytes], size: int) -> Iterator[list[bytes]]:
    return (every[at : at + size] for at in range(0, len(every), size))


def _seeds() -> Iterator[bytes]:
    yield from _lying()
    said = [step(SECOND, DATAGRAM, encode_datagram(message)) for message in DATAGRAMS]
    framed = [step(GATEWAY, FRAME, encode_frame(message)) for message in FRAMES]
    for kind in (b"\x00", b"\x01", b"\x02"):
        yield kind + step(SECOND, WAIT, b"\x64") + b"".join(said)
        yield kind + step(SECOND, WAIT, b"\x64") + step(GATEWAY, OPEN) + b"".join(framed)
    lead = b"\x00" + step(SECOND, WAIT, b"\x64") * 2
    for node in (GATEWAY, WORKER):
        greeted = step(node, OPEN) + step(node, FRAME, _hello(node, 1, (ME,)))
        yield lead + greeted + b"".join(step(node, FRAME, encode_frame(message)) for message in FRAMES)
    beat = step(SECOND, DATAGRAM, encode_datagram(Heartbeat(8, 1, 0.4)))
    channel = step(SECOND, OPEN, b"d")
    for kind in (b"\x01", b"\x02"):
        frames = b"".join(step(SECOND, FRAME, encode_frame(message)) for message in FRAMES)
        yield kind + beat + channel + step(SECOND, ASK, b"class A {}") + frames + step(SECOND, CLOSE)


TARGETS = (
    Target("core", "goes on, says only what can be sent, meets its deadlines", conversation, _seeds, 8192),
)
