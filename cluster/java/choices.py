"""Where compiled programs start: looked for in short turns of the reactor, kept with what was compiled."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

from cluster.java.entry import Entry, NoEntry, choosing
from cluster.java.frames import Answer

AT_ONCE = 16
"""Steps that are taken in one turn; a program of many classes needs more turns."""
KEPT = 8
"""Choices that are kept of one compilation, for callers that name different classes of it."""


class Choices:
    """Finds the entries of programs without holding up whatever else the node does.

    Args:
        clock: a reactor's timers.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._turns = Cooperator(scheduler=partial(clock.callLater, 0.0))

    @inlineCallbacks
    def choose(self, answer: Answer, wanted: str) -> Generator[Deferred[Any], Any, Entry | NoEntry]:
        """As `entry.choose`; at once if it was asked before, or there is little to look at."""
        if wanted not in answer.chosen:
            steps = self._steps(answer, wanted)
            for _ in islice(steps, AT_ONCE):
                pass
            if wanted not in answer.chosen:
                yield self._turns.coiterate(steps)
        return answer.chosen[wanted]

    def _steps(self, answer: Answer, wanted: str) -> Generator[None, None, None]:
        chosen = yield from choosing(answer.classes.values(), wanted)
        if len(answer.chosen) >= KEPT:
            answer.chosen.clear()
        answer.chosen[wanted] = chosen
