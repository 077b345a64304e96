"""What a node shows of others: of members what is configured, of nobody what somebody else made up (I11)."""

from __future__ import annotations

import msgspec

from cluster.config import Member
from cluster.gateway.view import view_of
from cluster.identity import NodeId, Role
from cluster.wire.messages import FactsDelta
from tests.support.world import World


def test_a_member_is_where_it_is_configured_whatever_its_facts_say() -> None:
    """Whoever has the cluster's key can speak for any node: requests and tokens would follow the lie."""
    world = World(3)
    world.run(3.0)
    gateway = world.gateways[0]
    core = world.lives[gateway].core
    seen = {view.node: view.facts for view in core.snapshot(world.now).membership.members}
    true = seen[NodeId(2)]
    assert true is not None
    lie = msgspec.structs.replace(
        true, version=true.version + 5, role=Role.GATEWAY, host="10.6.6.6", http=80, tcp=1, udp=2, slots=9
    )
    world.forge(NodeId(1), gateway, FactsDelta((lie,)))
    world.run(0.1)
    members = [Member(id=2, role=Role.PEER, host="10.0.0.2", udp=8020, tcp=8022, http=8023)]
    view = view_of(core.snapshot(world.now), "world", members)
    node, other = view.node(2), view.node(1)
    assert node is not None
    assert (node.role, node.host, node.udp, node.tcp, node.http) == (Role.PEER, "10.0.0.2", 8020, 8022, 8023)
    assert node.configured
    assert node.slots == 9, "the rest is its own word"
    assert other is not None
    assert not other.configured
