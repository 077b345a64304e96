"""Requests are dealt with in short turns, so that a flood of them keeps no heartbeat waiting (H8, W12).

The event loop serves every socket that has something before it looks at its timers again. A few hundred
connections that all ask at once would hold it for seconds; here they wait in line, outside of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

TURN_S = 0.02
"""How much of each `WINDOW_S` requests may take before the rest of them waits for the loop's next round."""

WINDOW_S = 0.05


class Turns:
    """Does things at once while there is time, else in the order in which they came, a turn a round."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: deque[Callable[[], None]] = deque()
        self._began = reactor.seconds()
        self._spent = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def do(self, work: Callable[[], None]) -> None:
        """Do it now, or soon."""
        if self._reactor.seconds() - self._began > WINDOW_S:
            self._begin()
        if self._waiting or self._spent >= TURN_S:
            self._waiting.append(work)
            if len(self._waiting) == 1:
                self._reactor.callLater(0, self._turn)
        else:
            self._perform(work)

    def _turn(self) -> None:
        self._begin()
        try:
            while self._waiting and self._spent < TURN_S:
                self._perform(self._waiting.popleft())
        finally:
            if self._waiting:
                self._reactor.callLater(0, self._turn)

    def _begin(self) -> None:
        self._began = self._reactor.seconds()
        self._spent = 0.0

    def _perform(self, work: Callable[[], None]) -> None:
        began = self._reactor.seconds()
        try:
            work()
        finally:
            self._spent += self._reactor.seconds() - began
