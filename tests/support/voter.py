"""The whole authority of one voter, hand-fed: its disk and the others do as the test says."""

from __future__ import annotations

import random

from msgspec.structs import replace

from cluster.config import TimingSettings
from cluster.core.authority import Authority
from cluster.core.effects import Elected, LostLeadership, Persist, Send, Steps
from cluster.core.events import DatagramArrived
from cluster.core.ledger import Ledger
from cluster.core.quorum import Electorate
from cluster.core.record import Record
from cluster.identity import Boot, NodeId, State
from cluster.wire.messages import Datagram, Heartbeat, HeartbeatAck, Promise, Propose

ME, TWO, THREE = NodeId(3), NodeId(2), NodeId(1)
VOTERS = Electorate.of("c", (ME, TWO, THREE))
TIMING = TimingSettings()


class Voter:
    """The whole authority of voter 3, whose disk does as the test says."""

    def __init__(self, **record: object) -> None:
        base = Record("c", ME, VOTERS.hash, boot=1, may_vote=True)
        self.ledger = Ledger(replace(base, **record))
        self.core = Authority(TIMING, ME, VOTERS, self.ledger, (TWO, THREE), random.Random(1), 0.0)
        self.now = 0.0
        self.said: list[Datagram] = []
        self.effects: list[object] = []
        self.writes: list[Persist] = []
        self.disk = "works"
        self._sequence = 0
        self.perform(self.core.settle(0.0))

    def perform(self, steps: Steps) -> None:
        for step in steps:
            self.effects.append(step)
            if isinstance(step, Elected):
                self.perform(self.core.elected(step, self.now))
            elif isinstance(step, Send):
                self.said.append(step.message)
            elif isinstance(step, Persist):
                self.write(step)

    def write(self, step: Persist) -> None:
        if self.disk == "works":
            self.perform(self.core.persisted(step.token, self.now))
            self.perform(step.then)
        elif self.disk == "fails":
            self.perform(self.core.persist_failed(step.token, "no space", self.now))
        else:
            self.writes.append(step)

    def hear(self, sender: NodeId, message: Datagram) -> None:
        self._sequence += 1
        arrived = DatagramArrived(sender, Boot(1), self._sequence, message)
        self.perform(self.core.receive(arrived, self.now))
        self.perform(self.core.settle(self.now))

    def until(self, moment: float) -> None:
        """Let time pass, in steps in which nothing is due twice."""
        while self.now < moment:
            self.now = min(moment, self.now + 0.01)
            self.perform(self.core.tick(self.now))
            self.perform(self.core.settle(self.now))

    def sayings(self, kind: type) -> list[Datagram]:
        return [message for message in self.said if isinstance(message, kind)]

    def note(self, **changes: object) -> None:
        """The others are for me, hear a quorum, and say so."""
        said = self.core.election.notification(State.LOOKING)
        word = replace(said, vote=ME, hears_quorum=True, eligible=True, state=State.LOOKING)
        for voter in (TWO, THREE):
            self.hear(voter, replace(word, **changes))

    def propose(self) -> Propose:
        """Win the ballot."""
        while not self.sayings(Propose):
            self.note()
            self.until(self.now + 0.05)
        proposal = self.sayings(Propose)[-1]
        assert isinstance(proposal, Propose)
        return proposal

    def promise(self, proposal: Propose) -> None:
        """Hear another voter's promise, which makes a quorum."""
        self.hear(TWO, Promise(proposal.epoch, proposal.nonce, VOTERS.hash))

    def establish(self) -> None:
        """Win the ballot and the handshake, and have a heartbeat acknowledged."""
        self.promise(self.propose())
        self.acknowledge()
        assert self.core.may_act(self.now)

    def acknowledge(self) -> None:
        beat = self.sayings(Heartbeat)[-1]
        assert isinstance(beat, Heartbeat)
        self.hear(TWO, HeartbeatAck(beat.epoch, beat.seq))

    def lost(self) -> list[LostLeadership]:
        return [effect for effect in self.effects if isinstance(effect, LostLeadership)]
