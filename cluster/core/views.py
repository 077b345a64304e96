"""What goes into a node's core at its making, and what may be seen of it from outside: frozen values."""

from __future__ import annotations

import attrs

from cluster.config import (
    CacheSettings,
    GatewaySettings,
    GossipSettings,
    NodeConfig,
    TimingSettings,
    WorkSettings,
)
from cluster.core.admission import AdmissionSnapshot
from cluster.core.allegiance import AllegianceSnapshot
from cluster.core.election import ElectionSnapshot
from cluster.core.leadership import LeadershipSnapshot
from cluster.core.membership_view import MembershipSnapshot
from cluster.core.record import Record
from cluster.core.work import WorkSnapshot
from cluster.identity import Epoch, NodeId, Role, State
from cluster.version import __version__
from cluster.wire.messages import NodeFacts


@attrs.frozen
class NodeSettings:
    """What the core needs of the configuration.

    Attributes:
        members: every configured node but this one.
        workers: those of them that work: all but the gateways.
        timing_digest: over the intervals that must agree (G7).
    """

    cluster: str
    me: NodeId
    role: Role
    voters: tuple[NodeId, ...]
    members: tuple[NodeId, ...]
    workers: tuple[NodeId, ...]
    timing: TimingSettings
    gossip: GossipSettings
    work: WorkSettings
    gateway: GatewaySettings
    cache: CacheSettings
    timing_digest: str

    @classmethod
    def of(cls, config: NodeConfig) -> NodeSettings:
        """The core's share of a whole configuration."""
        others = sorted((m for m in config.members if m.id != config.node), key=lambda m: m.id)
        return cls(
            cluster=config.cluster,
            me=NodeId(config.node),
            role=config.me.role,
            voters=config.voters,
            members=tuple(NodeId(m.id) for m in others),
            workers=tuple(NodeId(m.id) for m in others if m.role is not Role.GATEWAY),
            timing=config.timing,
            gossip=config.gossip,
            work=config.work,
            gateway=config.gateway,
            cache=config.cache,
            timing_digest=config.timing_digest(),
        )


@attrs.frozen
class NodeSnapshot:
    """Everything that status, metrics and logs may know at one instant.

    Attributes:
        state: never LEADING without the lease (I11).
        leader: the leader that this node can vouch for: itself while it may act, or whom it follows.
        epoch: that leader's; 0 without one.
        may_act: whether this node may act as leader right now (L3).
        storage_ok: false while the durable record can't be written (N4).
        other_lists: election datagrams of another voter list, dropped since the start (N1).
    """

    me: NodeId
    role: Role
    state: State
    leader: NodeId | None
    epoch: Epoch
    may_act: bool
    storage_ok: bool
    stopping: bool
    record: Record
    other_lists: int
    election: ElectionSnapshot
    allegiance: AllegianceSnapshot
    leadership: LeadershipSnapshot
    admission: AdmissionSnapshot | None
    membership: MembershipSnapshot
    work: WorkSnapshot


def facts_of(config: NodeConfig, boot: int) -> NodeFacts:
    """What a node says of itself when a life begins (G5)."""
    me = config.me
    return NodeFacts(
        node=me.id,
        boot=boot,
        version=1,
        role=me.role,
        host=me.host,
        udp=me.udp,
        tcp=me.tcp,
        http=me.http,
        software=__version__,
    )
