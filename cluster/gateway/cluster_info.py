"""`/cluster-info`: what may honestly be said of the cluster, as JSON or in the original's lines (H2).

A statement older than its owner's death is no statement: a node that failed shows no state, and nobody
shows `LEADING` but the leader that this node itself follows, or this node while it holds its lease (L3).
"""

from __future__ import annotations

import msgspec

from cluster.gateway.view import ClusterView, NodeView
from cluster.identity import Role, State, Status

_LIVE = frozenset({Status.ALIVE, Status.SUSPECT})

_WORDS = {State.FOLLOWING: "FOLLOWER", State.OBSERVING: "OBSERVER", State.LOOKING: "LOOKING"}


class NodeInfo(msgspec.Struct, frozen=True):
    """One node of the JSON form; units as in `NodeView`."""

    id: int
    role: Role
    state: State | None
    status: Status
    host: str
    udp: int
    tcp: int
    http: int
    boot: int
    heartbeat_age_s: float | None
    slots: int
    running: int
    queued: int
    java: str
    software: str
    sandbox: str
    epoch: int
    draining: bool
    trouble: str


class ClusterInfo(msgspec.Struct, frozen=True):
    """The JSON form."""

    cluster: str
    leader: int | None
    epoch: int
    node: int
    role: Role
    state: State | None
    ready: bool
    not_ready_reason: str
    nodes: tuple[NodeInfo, ...]


def leader_of(view: ClusterView) -> int | None:
    """Who leads, as far as this node may claim it."""
    if view.leader == view.me and not view.may_act:
        return None
    return view.leader


def state_of(view: ClusterView, node: NodeView) -> State | None:
    """What may be said of a node's state; None when there is no statement that still counts."""
    if node.id != view.me and node.status not in _LIVE:
        return None
    state = view.state if node.id == view.me else node.state
    if state is State.LEADING and leader_of(view) != node.id:
        return None
    return state


def as_json(view: ClusterView) -> bytes:
    """All nodes, failed ones too, in the order of their ids."""
    own = None if view.state is State.LEADING and leader_of(view) != view.me else view.state
    info = ClusterInfo(
        cluster=view.cluster,
        leader=leader_of(view),
        epoch=view.epoch,
        node=view.me,
        role=view.role,
        state=own,
        ready=view.ready,
        not_ready_reason=view.not_ready_reason,
        nodes=tuple(_node_info(view, node) for node in _in_order(view)),
    )
    return msgspec.json.encode(info) + b"\n"


def as_text(view: ClusterView) -> bytes:
    """`Server 3 - LEADER`, one line for each node that lives; failed ones are absent, as in the original."""
    lines = [
        f"Server {node.id} - {_word(view, node)}\n"
        for node in _in_order(view)
        if node.id == view.me or node.status in _LIVE
    ]
    return "".join(lines).encode()


def _in_order(view: ClusterView) -> list[NodeView]:
    return sorted(view.nodes, key=lambda node: node.id)


def _word(view: ClusterView, node: NodeView) -> str:
    if leader_of(view) == node.id:
        return "LEADER"
    state = state_of(view, node)
    return "UNKNOWN" if state is None else _WORDS[state]


def _node_info(view: ClusterView, node: NodeView) -> NodeInfo:
    own = {name: getattr(node, name) for name in NodeInfo.__struct_fields__ if name != "state"}
    return NodeInfo(state=state_of(view, node), **own)
