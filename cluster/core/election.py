"""Who should lead: ZooKeeper's fast leader election, made safe for UDP (E1-E5).

Nothing here gives authority. A ballot only chooses the one candidate that opens the handshake of
`leadership.py`; safety lives there. Votes follow what is *heard now*: a vote may go only to a candidate
whose own word was heard lately and that hears a quorum itself, and is withdrawn when that ceases (E4), so
that neither the dead nor the half-connected win again and again.

Theory of operation: while LOOKING, every voter repeats one `Notification` to all others. Whatever arrives
updates `_heard` (the newest word of each voter) and `_tally` (its vote, if it is of this round). After each
change `_settle` recomputes the vote from what is heard, says so if it changed, and starts, keeps or drops the
fixed deadline of E5. The clock is an argument; chance is a `random.Random`.
"""

from __future__ import annotations

import math
import random

import attrs

from cluster.config import TimingSettings
from cluster.core.effects import Elected, Level, Log, Send, Steps
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.identity import Boot, NodeId, Round, State
from cluster.wire.messages import Notification

HORIZON_PERIODS = 3
"""E4: a voter's word counts for three of its own resend periods."""

ROUND_STEP = 2**20
"""A round rises by no more for one word (N6). They live in memory, so that a newcomer may have far to go."""

STEP_EVERY_S = 1.0
"""And so rarely by that much: a new round empties the tally, and E5 needs a while without one."""

JITTER = 0.2
"""E3: resend periods vary by this share, so that voters do not speak in step."""

BACK_OFF = 1.5
"""E3: growth of the period while nobody is heard."""

FOREIGN_ANSWER_S = 1.0
"""E3: a node that does not vote is answered at most this often."""

FOREIGN_MAX = 256
"""Nodes without a vote that are remembered for that."""


@attrs.frozen
class Heard:
    """The newest word of one voter, and until when it counts."""

    boot: Boot
    sequence: int
    until: float
    note: Notification


@attrs.frozen
class ElectionSnapshot:
    """For status, metrics and logs.

    Attributes:
        dropped: words of voters that were old, repeated or implausible.
    """

    looking: bool
    round: Round
    vote: NodeId
    hears_quorum: bool
    cooling: bool
    ballots: int
    dropped: int


class Election:
    """One voter's part in the ballot."""

    def __init__(
        self,
        settings: TimingSettings,
        me: NodeId,
        electorate: Electorate,
        ledger: Ledger,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._me = me
        self._electorate = electorate
        self._ledger = ledger
        self._rng = rng
        self.looking = False
        self.stopping = False
        self.round = Round(0)
        self.vote = me
        self.ballots = 0
        self.dropped = 0
        self._heard: dict[NodeId, Heard] = {}
        self._tally: dict[NodeId, NodeId] = {}
        self._said: tuple[NodeId, bool, bool] | None = None
        self._period = settings.resend_s
        self._resend_at = 0.0
        self._cool_until = 0.0
        self._finalize_at: float | None = None
        self._wait_until: float | None = None
        self._step_at = -math.inf
        self._foreign: dict[NodeId, float] = {}

    # --- what the node tells us -----------------------------------------------------------------------

    def start(self, now: float) -> Steps:
        """Become LOOKING: a new round, a vote for myself (E1)."""
        self.looking = True
        self._period = self._settings.resend_s
        return self._new_round(Round(self.round + 1), now)

    def stop(self) -> None:
        """A leader was found; the ballot is over for this node."""
        self.looking = False
        self._tally.clear()
        self._finalize_at = self._wait_until = None

    def cool_down(self, now: float) -> Steps:
        """My handshake reached its deadline: let others try first (E4)."""
        low, high = self._settings.cool_down_min_s, self._settings.cool_down_max_s
        self._cool_until = now + self._rng.uniform(low, high)
        return self._new_round(Round(self.round + 1), now) if self.looking else ()

    # --- words from others ----------------------------------------------------------------------------

    def receive(self, sender: NodeId, boot: Boot, sequence: int, note: Notification, now: float) -> Steps:
        """A notification from a voter (E2). Only LOOKING nodes come here; others `answer`."""
        if note.voters != self._electorate.hash:
            return ()  # another list's: counted and told by who dispatches (N1)
        if not self._is_news(sender, boot, sequence, note):
            self.dropped += 1
            return ()
        until = now + HORIZON_PERIODS * min(note.resend_s, self._settings.resend_max_s * (1 + JITTER))
        self._heard[sender] = Heard(boot, sequence, until, note)
        if not self.looking:
            return ()
        self._hurry(now)
        if note.state is not State.LOOKING:
            self._tally.pop(sender, None)
            return self._settle(now)
        if note.round < self.round:
            return (Send(sender, self.notification()), *self._settle(now))
        steps: Steps = ()
        if note.round > self.round + ROUND_STEP:
            if now < self._step_at:
                return ()  # between two steps those who are near get to the end of their ballot
            self._step_at = now + STEP_EVERY_S
            return self._new_round(Round(self.round + ROUND_STEP), now)
        if note.round > self.round:
            steps = self._new_round(Round(note.round), now)
        self._tally[sender] = NodeId(note.vote)
        return (*steps, *self._settle(now))

    def answer(self, sender: NodeId, note: Notification, reply: Notification, now: float) -> Steps:
        """FOLLOWING and LEADING nodes answer a LOOKING one with what they follow (E6, E3)."""
        if note.state is not State.LOOKING:
            return ()
        if note.voters != self._electorate.hash:
            return ()  # another list's: counted and told by who dispatches (N1)
        if sender not in self._electorate:
            if now < self._foreign.get(sender, 0.0):
                return ()
            if len(self._foreign) >= FOREIGN_MAX:
                self._foreign.clear()
            self._foreign[sender] = now + FOREIGN_ANSWER_S
        return (Send(sender, reply),)

    def _is_news(self, sender: NodeId, boot: Boot, sequence: int, note: Notification) -> bool:
        """Whether the word is of a voter, plausible, and newer than what I have (N6)."""
        if sender not in self._electorate or note.vote not in self._electorate:
            return False
        if not note.resend_s > 0:  # also NaN
            return False
        known = self._heard.get(sender)
        return known is None or (boot, sequence) > (known.boot, known.sequence)

    def _hurry(self, now: float) -> None:
        """A sign of life: what was put off is said soon (E3)."""
        self._period = self._settings.resend_s
        if self._resend_at > now + self._period * (1 + JITTER):
            self._resend_at = self._next_resend(now)

    # --- time -----------------------------------------------------------------------------------------

    def tick(self, now: float) -> Steps:
        """Resend, expire, finalize, give up waiting."""
        if not self.looking:
            return ()
        if self._wait_until is not None and now >= self._wait_until:
            return self._new_round(Round(self.round + 1), now)
        steps = self._settle(now)
        if self.looking and now >= self._resend_at:
            steps = (*steps, *self._say(now))
            self._period = min(self._period * BACK_OFF, self._settings.resend_max_s)
        return steps

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if not self.looking:
            return None
        moments = [self._resend_at, *(heard.until for heard in self._heard.values())]
        moments += [m for m in (self._finalize_at, self._wait_until) if m is not None]
        if self._cool_until:
            moments.append(self._cool_until)
        return min(moments)

    # --- the ballot -----------------------------------------------------------------------------------

    def _new_round(self, number: Round, now: float) -> Steps:
        self.round = number
        self.vote = self._me
        self._tally.clear()
        self._finalize_at = self._wait_until = None
        self._said = None
        return self._settle(now)

    def _settle(self, now: float) -> Steps:
        """Recompute everything that follows from what is heard; say and decide what changed."""
        for voter in [v for v, heard in self._heard.items() if heard.until <= now]:
            del self._heard[voter]
            self._tally.pop(voter, None)
        if self._cool_until and now >= self._cool_until:
            self._cool_until = 0.0
        best = self._best_candidate()
        if best != self.vote:
            self.vote = best
            self._finalize_at = self._wait_until = None
        steps: Steps = ()
        if self._said != (self.vote, self.hears_quorum(), self.is_eligible()):
            steps = self._say(now)
        return (*steps, *self._decide(now))

    def _best_candidate(self) -> NodeId:
        """The best that I may vote for, by (epoch last followed or led, node id); else myself (E1, E4)."""
        ranked = [
            (heard.note.last_epoch, voter)
            for voter, heard in self._heard.items()
            if heard.note.state is State.LOOKING and heard.note.hears_quorum and heard.note.eligible
        ]
        if self._is_candidate():
            ranked.append((self._ledger.durable.fence_epoch, self._me))
        return max(ranked)[1] if ranked else self._me

    def _decide(self, now: float) -> Steps:
        """E5: a quorum for my proposal, a fixed deadline, and the count once more."""
        supporters = [voter for voter, vote in self._tally.items() if vote == self.vote]
        carried = self._electorate.is_quorum([*supporters, self._me])
        if not carried or (self.vote == self._me and not self._is_candidate()):
            self._finalize_at = None
            return ()
        if self._wait_until is not None:
            return ()
        if self._finalize_at is None:
            self._finalize_at = now + self._settings.finalize_s
        if now < self._finalize_at:
            return ()
        self._finalize_at = None
        self._wait_until = now + self._settings.handshake_s
        self.ballots += 1
        text = f"{self._me}: round {self.round} is decided for server {self.vote}"
        return (Log(Level.VERBOSE, text), Elected(self.vote))

    def _say(self, now: float) -> Steps:
        """The notification to all other voters, and when to repeat it (E3)."""
        self._said = (self.vote, self.hears_quorum(), self.is_eligible())
        self._resend_at = self._next_resend(now)
        note = self.notification()
        return tuple(Send(voter, note) for voter in self._electorate.others(self._me))

    def _next_resend(self, now: float) -> float:
        return now + self._period * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def notification(
        self, state: State = State.LOOKING, leader: NodeId | None = None, epoch: int = 0
    ) -> Notification:
        """What I say of myself; only durable numbers leave the node (N4)."""
        durable = self._ledger.durable
        return Notification(
            round=self.round,
            vote=self.vote,
            state=state,
            accepted=durable.accepted,
            last_epoch=durable.fence_epoch,
            hears_quorum=self.hears_quorum(),
            eligible=self.is_eligible(),
            leader=-1 if leader is None else leader,
            epoch=epoch,
            resend_s=self._period * (1 + JITTER),
            voters=self._electorate.hash,
        )

    def hears_quorum(self) -> bool:
        """Whether the voters heard lately, with me, are a quorum (E1)."""
        return self._electorate.is_quorum([*self._heard, self._me])

    def is_eligible(self) -> bool:
        """Whether others may vote for me (E4)."""
        ledger = self._ledger
        return not (self._cool_until or self.stopping or ledger.broken or not ledger.durable.may_vote)

    def _is_candidate(self) -> bool:
        return self.is_eligible() and self.hears_quorum()

    def snapshot(self) -> ElectionSnapshot:
        """What people and metrics see."""
        return ElectionSnapshot(
            self.looking,
            self.round,
            self.vote,
            self.hears_quorum(),
            bool(self._cool_until),
            self.ballots,
            self.dropped,
        )

    def validate(self) -> None:
        """Assert what must hold between events."""
        assert self._me not in self._heard
        assert self.vote in self._electorate or not self.looking
        assert all(voter in self._electorate for voter in (*self._heard, *self._tally))
        assert self.looking or not (self._tally or self._finalize_at or self._wait_until)
