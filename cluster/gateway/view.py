"""What a node shows of the cluster: a frozen value made from the core's snapshots, read by every page."""

from __future__ import annotations

import attrs

from cluster.identity import Role, State, Status


@attrs.frozen
class NodeView:
    """One node as this node sees it.

    Attributes:
        state: what that node last said of itself (G5); None when nothing was heard.
        status: this node's own verdict, by its own clock (G2, G3).
        host, udp, tcp, http: where it listens; 0 for a port it does not have.
        boot: count of its lives; 0 when unknown.
        heartbeat_age_s: seconds since its heartbeat last rose here; None when it never did.
        slots, running, queued: capacity, busy slots, and waiting jobs (at a leader).
        sandbox: the level that its probe found (S4).
        epoch: the epoch that it says it follows or leads; 0 when none.
        draining: it takes no new work (W10).
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
