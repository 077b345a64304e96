"""Random small gossip clusters whose members come, go and come back, with old datagrams replayed.

I12 from outside: what one node shows of another never goes back, also not across its removal; nobody that is
dead when a node begins its life is ever alive there; whoever is dead is FAILED everywhere in time; whoever
came back is ALIVE everywhere in time; and with no fault at all nobody is accused.
"""

from __future__ import annotations

from cluster.config import GossipSettings
from cluster.identity import NodeId, Status
from cluster.wire.messages import FactsDelta, FactsWanted, Gossip
from tests.simulation.clock import MS, SECOND
from tests.simulation.gossip_world import GossipWorld
from tests.simulation.violation import Violation, demand

T = 0.25
SETTINGS = GossipSettings(interval_s=T)
FAILED_ROUNDS = 20
"""A dead node is FAILED everywhere by then: `fail_rounds` after the last news of it has spread."""

BACK_ROUNDS = 24
LIVES_S = 8.0

Message = Gossip | FactsWanted | FactsDelta


class GossipRun:
    """One seed."""

    def __init__(self, seed: int) -> None:
        draw = self.draw = GossipWorld(seed, settings=SETTINGS).chance.stream("gossip shape")
        count = draw.between(4, 14)
        loss = (0.0, 0.1, 0.2)[draw.between(0, 2)]
        self.world = GossipWorld(seed, settings=SETTINGS, loss=loss, seeds=(1, 2))
        self.ids = list(range(1, count + 1))
        self.heard: list[tuple[int, Message, int]] = []
        self.floors: dict[tuple[int, int], tuple[int, int]] = {}
        self.born: dict[int, int] = {}
        self.died: dict[int, int] = {}
        self.boots = dict.fromkeys(self.ids, 1_700_000_000)
        self.world.tap = self._tap
        self._kept = draw.between(3, 40)

    def run(self) -> None:
        """One dies for good, one comes back anew, one joins late; old datagrams turn up."""
        world, draw = self.world, self.draw
        for node in self.ids:
            self._start(node)
        world.run(LIVES_S)
        self._look()
        accused = [v for v in world.verdicts if v[3] is Status.FAILED]
        demand(not accused or world.loss, f"G3 accused without a fault: {accused[:3]}")
        demand(world.knows_all(), "G2 not everybody is known after a quiet start")
        dead, back = draw.some(tuple(self.ids[2:]), 2)
        self._kill(dead)
        self._kill(back)
        self._run_looking(FAILED_ROUNDS * T)
        for node in world.members:
            seen = world.status(node, dead)
            demand(seen not in (Status.ALIVE, Status.SUSPECT), f"G3 node {node} still shows {dead} as {seen}")
        self._replay_old(dead)
        late = len(self.ids) + 1
        self.boots[late] = 1_700_000_000
        self._start(late)
        self.boots[back] += 9
        self._start(back)
        self._replay_old(dead)
        self._replay_to(late, dead)
        self._run_looking(BACK_ROUNDS * T)
        for node in world.members:
            for other in world.members:
                ok = node == other or world.status(node, other) is Status.ALIVE
                demand(ok, f"G2 node {node} shows {other} as {world.status(node, other)}")
            seen = world.status(node, dead)
            demand(seen is not Status.ALIVE, f"I12 node {node} shows the dead {dead} as {seen}")
        self._run_looking(30 * T)

    def _start(self, node: int) -> None:
        self.world.start(node, boot=self.boots[node])
        self.born[node] = self.world.now
        self.died.pop(node, None)
        self.floors = {pair: floor for pair, floor in self.floors.items() if pair[0] != node}

    def _kill(self, node: int) -> None:
        self.world.kill(node)
        self.died[node] = self.world.now

    def _tap(self, sender: int, to: int, message: Message) -> None:
        del to
        if len(self.heard) < 4000:
            self.heard.append((sender, message, self.boots[sender]))

    def _replay_old(self, dead: int) -> None:
        """Old rows about the dead, said by those that still live, to those that knew it when it lived.

        (A node that began its life later has nothing to tell old rows from news by; sealing protects it.)
        """
        for sender, message, boot in self.heard[:: self._kept]:
            if sender in self.world.members and self.boots[sender] == boot and sender != dead:
                for to in list(self.world.members):
                    if to != sender and self.born[to] < self.died[dead]:
                        self.world.replay(sender, to, boot, message, self.draw.between(0, 4000))

    def _replay_to(self, late: int, dead: int) -> None:
        """The newcomer hears one old row about the dead, once: a first sight (S42)."""
        old = [
            (sender, message, boot)
            for sender, message, boot in self.heard
            if isinstance(message, Gossip)
            and sender not in (dead, late)
            and boot == self.boots[sender]
            and any(entry.node == dead for entry in message.entries)
        ]
        for sender, message, boot in old[-1:]:
            self.world.replay(sender, late, boot, message, 20)

    def _run_looking(self, seconds: float) -> None:
        for _ in range(int(seconds / T)):
            self.world.run(T)
            self._look()

    def _look(self) -> None:
        """Nothing goes back; the dead stay dead."""
        for node, member in self.world.members.items():
            member.core.validate()
            for view in member.core.snapshot(self.world.now / SECOND).members:
                if view.node == node:
                    continue
                pair, key = (node, int(view.node)), (int(view.boot), view.heartbeat)
                floor = self.floors.get(pair, (0, 0))
                demand(
                    key >= floor or key == (0, 0), f"I12 node {node} shows {view.node} at {key}: was {floor}"
                )
                revived = key == floor and view.status is Status.ALIVE and self._long_dead(view.node)
                demand(not revived, f"I12 node {node} shows the dead {view.node} as alive again")
                self.floors[pair] = max(key, floor)

    def _long_dead(self, node: NodeId) -> bool:
        died = self.died.get(int(node))
        return died is not None and self.world.now - died > FAILED_ROUNDS * int(T * 1000) * MS


def run_seed(seed: int) -> str:
    """The violation of one seed, or nothing."""
    try:
        GossipRun(seed).run()
    except AssertionError as error:
        return str(error) if isinstance(error, Violation) else f"core: {error}"
    return ""
