"""Large answers on their way to clients that read at their own pace, or not at all (H8).

Of each, only what a connection's buffer holds is there as bytes; what it is made of is counted until its
client has all of it, so that clients that do not read can't fill the memory: who would hold too much of it
is refused.
"""

# ruff: noqa: N802
# IPushProducer's methods keep Twisted's spelling.
# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from cluster.core.fair_share import FairRoom
from cluster.errors import Unavailable
from cluster.gateway.pieces import Pieces
from cluster.gateway.turns import Turns
from cluster.limits import MIB

ANSWERS_MAX = 256
"""Large answers on their way at once; one client has half of that (`core.fair_share`)."""
ANSWER_BYTES_MAX = 256 * MIB
"""What they may be made of together."""
PACE_BYTES = 2 * MIB
"""So much of a large answer must be taken in each `PACE_S`, all of the rest counts as well: 280 kbit/s."""
PACE_S = 60.0
RETRY_S = 2.0


class Outgoing:
    """The large answers that clients are taking now."""

    def __init__(self, clock: IReactorTime, room: int = ANSWER_BYTES_MAX) -> None:
        self._clock = clock
        self._turns = Turns(clock)
        self._places = FairRoom(ANSWERS_MAX)
        self._bytes = FairRoom(room)
        self._readers: Counter[tuple[str, int]] = Counter()
        """By holder and what an answer is made of: that counts once for him, however often he reads it."""

    @property
    def held(self) -> int:
        """Bytes of what they are made of."""
        return self._bytes.held

    @contextlib.contextmanager
    def place(self, holder: str, pieces: Pieces) -> Iterator[None]:
        """Count it as this client's, until he has it.

        Raises:
            Unavailable: he has too much that he did not take yet.
        """
        key = (holder, id(pieces.holds))
        first = not self._readers[key]
        if not self._places.admits(holder) or (first and not self._bytes.admits(holder, pieces.size)):
            raise Unavailable("take the large answers that are on their way to you first", RETRY_S)
        self._places.take(holder)
        if first:
            self._bytes.take(holder, pieces.size)
        self._readers[key] += 1
        try:
            yield
        finally:
            self._places.give_back(holder)
            self._readers[key] -= 1
            if not self._readers[key]:
                del self._readers[key]
                self._bytes.give_back(holder, pieces.size)

    def write(self, request: Request, pieces: Pieces) -> Deferred[None]:
        """Write it as its client takes it; fires once all is written, and is cancelled when he is gone."""
        return BodyStream(request, pieces.parts, self._turns, self._clock).done


@implementer(IPushProducer)
class BodyStream:
    """One body on its way.

    Attributes:
        done: fires once the last piece is written; cancel it when the client is gone.
    """

    def __init__(self, request: Request, parts: Iterator[bytes], turns: Turns, clock: IReactorTime) -> None:
        self._request = request
        self._parts = parts
        self._turns = turns
        self._clock = clock
        self._paused = False
        self._over = False
        self._waits = False
        self._written = 0
        self._look: IDelayedCall | None = None
        self.done: Deferred[None] = Deferred(lambda _done: self._stop())
        request.moving = True  # type: ignore[attr-defined]  # of a request of ours (site.BoundedRequest)
        request.registerProducer(self, True)
        self._watch()
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The client has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It has room for more."""
        self._paused = False
        if not self._waits and not self._over:
            self._waits = True
            self._turns.do(self._more)

    def stopProducing(self) -> None:
        """The connection is closing; the cancelled `done` does the rest."""
        self._stop()

    def _more(self) -> None:
        self._waits = False
        while not self._paused and not self._over:
            piece = next(self._parts, None)
            if piece is None:
                self._stop()
                self._request.unregisterProducer()
                self.done.callback(None)
            elif piece:
                self._written += len(piece)
                self._request.write(piece)

    def _watch(self) -> None:
        self._written = 0
        self._look = self._clock.callLater(PACE_S, self._look_for_pace)

    def _look_for_pace(self) -> None:
        self._look = None
        if self._written >= PACE_BYTES:
            self._watch()
        else:
            self._stop()
            self._request.channel.forceAbortClient()

    def _stop(self) -> None:
        self._over = True
        self._parts = iter(())
        if self._look is not None:
            self._look.cancel()
            self._look = None
