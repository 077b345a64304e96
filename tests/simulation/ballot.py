"""A voter's ballot from outside: whom it has really heard, and so whether its vote may come down (E2, E4)."""

from __future__ import annotations

import attrs

from cluster.config import TimingSettings
from cluster.identity import State
from cluster.wire.messages import Notification
from tests.simulation.violation import Violation

TIMING = TimingSettings()
PERIODS = 3
"""E4: for how many of its resend periods a voter's word counts, reckoned apart from the core."""

WORD_MAX_S = PERIODS * TIMING.resend_max_s * 1.2
"""However long a voter says that it will be silent, its word counts no longer; periods vary (E3)."""

Rank = tuple[int, int]
"""The order of votes (E1): the epoch last followed or led, and the node."""


@attrs.define(eq=False)
class Word:
    """The newest notification of one voter, and until when it counts; `sure`: no older one can instead."""

    order: tuple[int, int]
    until: float
    note: Notification
    sure: bool = True


@attrs.define(eq=False)
class BallotWatch:
    """Of one life of one voter; times are of its own clock."""

    _words: dict[int, Word] = attrs.Factory(dict)
    _round: int = -1
    _vote: int = -1

    def heard(self, sender: int, order: tuple[int, int], note: Notification, now: float) -> None:
        """A notification was handed to the core; `order` is the sender's boot and its sequence number."""
        known = self._words.get(sender)
        if known is not None and order < known.order:
            # Once the newer one has lapsed it may be forgotten, and then this one is taken.
            known.sure = known.sure and now < known.until
            return
        until = now + min(PERIODS * note.resend_s, WORD_MAX_S)
        self._words[sender] = Word(order, until, note)

    def votes(self, me: int, number: int, vote: int, mine: Rank | None, now: float) -> None:
        """It is LOOKING, in round `number`; `mine` is its own rank, None while it is no candidate.

        Within a round a vote comes down only from one that may be voted for no longer (E4).
        """
        before, same = self._vote, number == self._round
        self._round, self._vote = number, vote
        if not same or before in (vote, -1):
            return
        high, low = self._rank(before, me, mine, now), self._rank(vote, me, mine, now)
        if high is None or (low is None and vote != me):
            return
        if low is None or low < high:
            raise Violation(f"I9 node {me} takes its vote for {before} back in round {number}: {vote}")

    def _rank(self, node: int, me: int, mine: Rank | None, now: float) -> Rank | None:
        """None when it may not be voted for, or when that is not sure."""
        if node == me:
            return mine
        word = self._words.get(node)
        if word is None or not word.sure or word.until <= now:
            return None
        note = word.note
        good = note.state is State.LOOKING and note.hears_quorum and note.eligible
        return (note.last_epoch, node) if good else None
