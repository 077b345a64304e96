"""What a node shows of the cluster: a frozen value made from the core's snapshots, read by every page."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from cluster.config import Member
from cluster.core.views import NodeSnapshot
from cluster.identity import NodeId, Role, State, Status
from cluster.wire.messages import NodeFacts


@attrs.frozen
class NodeView:
    """One node as this node sees it.

    Role and addresses of a configured member are those of the configuration, whatever it says of itself.

    Attributes:
        configured: it is a member in this node's own configuration, and not known by hearsay alone.
        state: what that node last said of itself (G5); None when nothing was heard.
        status: this node's own verdict, by its own clock (G2, G3).
        host, udp, tcp, http: where it listens; 0 for a port it does not have.
        boot: count of its lives; 0 when unknown.
        heartbeat_age_s: seconds since its heartbeat last rose here; None when it never did.
        slots, running, queued: capacity, busy slots, and waiting jobs (at a leader).
        sandbox: the level that its probe found (S4).
        epoch: the epoch that it says it follows or leads; 0 when none.
        draining: it takes no new work (W10).
        trouble: what its host lacks to run programs, as it says; empty when nothing.
    """

    id: int
    role: Role
    state: State | None = None
    status: Status = Status.UNKNOWN
    host: str = ""
    udp: int = 0
    tcp: int = 0
    http: int = 0
    boot: int = 0
    heartbeat_age_s: float | None = None
    slots: int = 0
    running: int = 0
    queued: int = 0
    java: str = ""
    software: str = ""
    sandbox: str = ""
    epoch: int = 0
    draining: bool = False
    trouble: str = ""
    configured: bool = False


@attrs.frozen
class ClusterView:
    """The cluster as one node sees it at one moment.

    Attributes:
        me, role, state: this node.
        leader, epoch: whom it follows or leads; None and 0 when nobody.
        cluster: the cluster's name.
        may_act: it leads and holds its lease (L3); without it nobody here claims to lead.
        nodes: every known node, this one included.
        ready: it can do what its role is for.
        not_ready_reason: for people, what is missing; empty when ready.
    """

    me: int
    role: Role
    state: State
    leader: int | None
    epoch: int
    cluster: str
    may_act: bool
    nodes: tuple[NodeView, ...]
    ready: bool
    not_ready_reason: str = ""

    def node(self, node_id: int) -> NodeView | None:
        """The row of a node, if it is known."""
        return next((node for node in self.nodes if node.id == node_id), None)


def view_of(snapshot: NodeSnapshot, cluster: str, members: Sequence[Member]) -> ClusterView:
    """What this node shows, from its core's snapshot and the configured members.

    A node that was never heard is listed with its configured addresses and nothing else; one that gossip
    knows beyond the configuration is listed with what it says of itself.
    """
    seen = {view.node: view for view in snapshot.membership.members}
    configured = {member.id: member for member in members}
    rows = []
    for node in sorted(seen.keys() | configured.keys()):
        member, view = configured.get(node), seen.get(NodeId(node))
        facts = view.facts if view is not None else None
        if facts is None and member is None:
            continue
        said = facts or NodeFacts(node, 0, 0, member.role if member else Role.WORKER)
        me = node == snapshot.me
        rows.append(
            NodeView(
                id=node,
                role=member.role if member else said.role,
                state=_state_of(node, facts, snapshot),
                status=Status.ALIVE if me else view.status if view is not None else Status.UNKNOWN,
                host=member.host if member else said.host,
                udp=member.udp if member else said.udp,
                tcp=member.tcp if member else said.tcp,
                http=member.http if member else said.http,
                boot=view.boot if view is not None else 0,
                heartbeat_age_s=view.heartbeat_age_s if view is not None and view.boot else None,
                slots=said.slots,
                running=said.running,
                queued=said.queued,
                java=said.java,
                software=said.software,
                sandbox=said.sandbox,
                epoch=said.epoch,
                draining=said.draining,
                trouble=said.trouble,
                configured=member is not None,
            )
        )
    reason = _not_ready(snapshot, next((row.trouble for row in rows if row.id == snapshot.me), ""))
    return ClusterView(
        me=snapshot.me,
        role=snapshot.role,
        state=snapshot.state,
        leader=snapshot.leader,
        epoch=snapshot.epoch,
        cluster=cluster,
        may_act=snapshot.may_act,
        nodes=tuple(rows),
        ready=not reason,
        not_ready_reason=reason,
    )


def _state_of(node: int, facts: NodeFacts | None, snapshot: NodeSnapshot) -> State | None:
    """What a node does: of itself and of its leader this node knows more than gossip has told (I11)."""
    if node == snapshot.me:
        return snapshot.state
    if node == snapshot.leader:
        return State.LEADING  # its own heartbeats say so (E6)
    if facts is None or facts.state is State.LEADING:
        return None  # an old claim: that leader is not the one followed
    return facts.state


def _not_ready(snapshot: NodeSnapshot, trouble: str) -> str:
    """Why this node can't do what its role is for; empty when it can."""
    if snapshot.stopping:
        return "stopping"
    if not snapshot.storage_ok:
        return "the durable record can't be written: is the disk full?"
    if snapshot.leader is None:
        return "no leader: fewer than a quorum of peers can be reached, or an election is under way"
    execution = snapshot.work.execution
    if execution is not None and execution.slots == 0:
        return f"this host can't run programs: {trouble}" if trouble else "the compiler is starting"
    leads = snapshot.leader == snapshot.me
    return "" if leads or snapshot.work.welcomed else "not connected to the leader yet"
