"""Rule N6 where a node meets the wire: what was recorded there and comes again moves no node."""

from __future__ import annotations

import contextlib

from cluster.config import TimingSettings
from cluster.core.events import DatagramArrived
from cluster.errors import RemoteProtocolError
from cluster.identity import NodeId
from cluster.wire.keyring import Keyring
from cluster.wire.messages import Gossip, Heartbeat, HeartbeatAck
from cluster.wire.sealing import Opener, Sealer
from tests.support.scenarios import followers_of, said_by, settled
from tests.support.world import World

KEYS = Keyring({1: bytes(32)})
TIMING = TimingSettings()


class Wire:
    """Sealed datagrams to one node of a world, opened as its socket does."""

    def __init__(self, world: World, to: NodeId) -> None:
        self.world = world
        self.to = to
        self.opener = Opener(KEYS, world.cluster, to, world.peers)

    def sealer(self, sender: NodeId) -> Sealer:
        """Of the life that this node leads now."""
        return Sealer(KEYS, self.world.cluster, sender, self.world.lives[sender].boot)

    def carry(self, datagram: bytes) -> None:
        """Bring it there; what sealing drops never reaches the node."""
        with contextlib.suppress(RemoteProtocolError):
            opened = self.opener.open(datagram)
            event = DatagramArrived(opened.sender, opened.boot, opened.sequence, opened.message)
            self.world.feed(self.to, event)


def test_n6_a_heartbeat_that_comes_again_and_again_keeps_nobody_following() -> None:
    """A leader that is gone is not kept in office by its last word."""
    world, acting = settled(3)
    follower = followers_of(world)[0]
    wire = Wire(world, follower)
    last = wire.sealer(acting).seal(follower, Heartbeat(1, 9999, TIMING.lease_s))
    world.crash(acting)
    for _ in range(40):
        wire.carry(last)
        world.run(0.05)
    assert world.has_leader(), "two of three have another one"


def test_n6_what_a_former_life_said_moves_nobody_once_the_next_one_has_spoken() -> None:
    """The leader started anew while heartbeats of its office were long under way."""
    world, acting = settled(3)
    world.run(0.1)  # until it is followed durably
    follower = followers_of(world)[0]
    wire = Wire(world, follower)
    former = wire.sealer(acting)
    early, *late = (former.seal(follower, Heartbeat(1, 9000 + i, TIMING.lease_s)) for i in range(20))
    wire.carry(early)
    assert HeartbeatAck(1, 9000) in said_by(world, follower)
    world.crash(acting)
    world.start(acting)
    wire.carry(wire.sealer(acting).seal(follower, Gossip(())))
    world.sent.clear()
    for datagram in late:
        wire.carry(datagram)
        world.run(0.05)
    assert not any(isinstance(m, HeartbeatAck) and m.epoch == 1 for m in said_by(world, follower))
