"""Datagrams between simulated nodes: lost, doubled, delayed, overtaken, cut off, dropped when too many.

Everything goes through the real codec, and so through the real bound on a datagram's size. Of sealing, the
rules that the cores rely on are the real ones: an older boot and a sequence already seen are dropped (N6).
"""

from __future__ import annotations

from collections import Counter, defaultdict

import attrs

from cluster.wire.codec import decode_datagram
from cluster.wire.messages import Datagram
from tests.simulation.chance import Chance, Stream, mix
from tests.simulation.clock import MS
from tests.simulation.schedule import Knobs, Pair

_UNIT = 1.0 / (1 << 32)
_LOW = (1 << 32) - 1


@attrs.define
class Path:
    """One direction between two nodes."""

    pair: Pair
    stream: Stream
    on_way: int = 0


@attrs.define(eq=False)
class Packet:
    """A datagram's payload, as often as it is on its way.

    A core that says the same to many makes one message of it, which is encoded once; whoever gets the payload
    first decodes it, the others get the same frozen message.
    """

    said: Datagram
    payload: bytes
    heard: Datagram | None = None

    def open(self) -> Datagram:
        """What whoever gets it decodes."""
        if self.heard is None:
            self.heard = decode_datagram(self.payload)
        return self.heard


class Network:
    """Says what becomes of a datagram; `cut`, `deaf` and `slow` count how many faults say so now."""

    def __init__(self, chance: Chance, knobs: Knobs) -> None:
        self.knobs = knobs
        self.cut: Counter[Pair] = Counter()
        self.deaf: Counter[Pair] = Counter()
        self.slow: defaultdict[Pair, int] = defaultdict(int)
        self.probes: Counter[str] = Counter()
        self._chance = chance
        self._paths: dict[Pair, Path] = {}

    def path(self, pair: Pair) -> Path:
        """This direction's own chance."""
        found = self._paths.get(pair)
        if found is None:
            found = self._paths[pair] = Path(pair, self._chance.stream("datagram", *pair))
        return found

    def delays(self, path: Path) -> tuple[int, ...]:
        """Nanoseconds until each copy of the next datagram arrives: none, one or two."""
        knobs = self.knobs
        bits = path.stream.bits()
        if (bits & _LOW) * _UNIT < knobs.loss or self.is_dropped(path.pair):
            return ()
        if path.on_way >= knobs.queue:
            self.probes["link queue overflowed"] += 1
            return ()
        more = mix(bits)
        low, high = knobs.delay_us
        delay = (low + (more & _LOW) % (high - low + 1)) * 1000
        if self.slow:
            delay += self.slow.get(path.pair, 0) * MS
        if (bits >> 32) * _UNIT < knobs.tail:
            delay += (more >> 32) % (knobs.tail_ms * MS)
        if knobs.duplicate:
            extra = mix(more)
            if (extra & _LOW) * _UNIT < knobs.duplicate:
                return delay, delay + (extra >> 32) % (knobs.tail_ms * MS)
        return (delay,)

    def is_dropped(self, pair: Pair) -> bool:
        """Whether no datagram gets through in this direction."""
        if not (self.cut or self.deaf):
            return False  # as nearly always
        return self.cut.get(pair, 0) > 0 or self.deaf.get(pair, 0) > 0

    def frame_delay(self, pair: Pair, stream: Stream) -> int:
        """Nanoseconds for a frame; a lost segment costs a retransmission, never the frame."""
        low, high = self.knobs.delay_us
        delay = stream.between(low, high) * 1000 + self.slow[pair] * MS
        return delay + 200 * MS if stream.is_lucky(self.knobs.loss / 4) else delay

    def is_up(self, one: int, other: int) -> bool:
        """Whether bytes get through both ways."""
        return not self.cut[one, other] and not self.cut[other, one]

    def heal(self) -> None:
        """Nothing is cut or slow any longer."""
        for table in (self.cut, self.deaf, self.slow):
            table.clear()
