"""What scripted scenarios say again and again about a `World`."""

from __future__ import annotations

from cluster.core.quorum import Electorate
from cluster.identity import NodeId
from cluster.wire.messages import Datagram
from tests.support.world import World


def settled(peers: int = 5, **options: object) -> tuple[World, NodeId]:
    """A world that follows one leader, and that leader."""
    world = World(peers, **options)  # type: ignore[arg-type]
    assert world.run_until(world.settled, 5)
    return world, leader_of(world)


def leader_of(world: World) -> NodeId:
    """Who may act now; there is somebody."""
    acting = world.leader()
    assert acting is not None
    return acting


def epoch_of(world: World) -> int:
    """The epoch of whoever may act now."""
    return int(world.lives[leader_of(world)].core.authority.leadership.epoch)


def followers_of(world: World) -> list[NodeId]:
    """Every peer but the leader, in order."""
    acting = leader_of(world)
    return [peer for peer in world.peers if peer != acting]


def said_by(world: World, node: NodeId) -> list[Datagram]:
    """What left this node, in order; `world.sent.clear()` says from when on."""
    return [sent.message for sent in world.sent if sent.sender == node]


def hash_of(world: World) -> str:
    """The name of its voter list."""
    return Electorate.of(world.cluster, world.peers).hash


def cut(world: World, *pairs: tuple[NodeId, NodeId]) -> None:
    """Nothing gets through in these directions any more."""
    world.cut.update(pairs)


def cut_both(world: World, one: NodeId, *others: NodeId) -> None:
    """Nothing gets through between one node and these, either way."""
    for other in others:
        cut(world, (one, other), (other, one))


def everybody_but(world: World, *nodes: NodeId) -> list[NodeId]:
    """All other nodes, gateways included."""
    return [node for node in [*world.peers, *world.gateways] if node not in nodes]


def keeps_leader(world: World, seconds: float) -> bool:
    """Whether the same node leads the same epoch all the while, looked at each 50 ms."""
    before = (leader_of(world), epoch_of(world))
    for _ in range(int(seconds / 0.05)):
        world.run(0.05)
        if world.leader() is None or (leader_of(world), epoch_of(world)) != before:
            return False
    return True


def gives_answers(world: World, *texts: str) -> bool:
    """Whether these programs are answered within two seconds."""
    return world.run_until(world.answered(*(world.ask(text) for text in texts)), 2)
