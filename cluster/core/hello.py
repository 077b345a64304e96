"""The terms on which two nodes work together: what HELLO says, and what is wrong with one (W2, X2, G7)."""

from __future__ import annotations

import attrs

from cluster.core.quorum import Electorate
from cluster.identity import NodeId, Role
from cluster.version import PROTOCOL_VERSION
from cluster.wire.messages import AttemptKey, Hello


@attrs.frozen
class Peer:
    """The other end of a channel, as its certificate names it (X2)."""

    node: NodeId
    role: Role
    dialled: bool


@attrs.frozen
class Terms:
    """What must agree between two nodes.

    Attributes:
        cluster: its name; me, role: this node.
        timing: digest of the intervals (G7).
        electorate: who votes (N1).
    """

    cluster: str
    me: NodeId
    role: Role
    timing: str
    electorate: Electorate

    def hello(
        self,
        *,
        boot: int,
        epoch: int,
        slots: int,
        java: str,
        running: tuple[AttemptKey, ...],
        kept: tuple[AttemptKey, ...],
        draining: bool,
    ) -> Hello:
        """This node's HELLO to the leader of `epoch`."""
        return Hello(
            protocol=PROTOCOL_VERSION,
            cluster=self.cluster,
            node=self.me,
            boot=boot,
            role=self.role,
            epoch=epoch,
            voters=self.electorate.hash,
            timing=self.timing,
            slots=slots,
            java=java,
            running=running,
            kept=kept,
            draining=draining,
        )

    def problem_with(self, peer: Peer, hello: Hello) -> str:
        """Why the sender can't be taken on, for people on both sides; empty when it can."""
        if hello.protocol != PROTOCOL_VERSION:
            mine = f"this server {PROTOCOL_VERSION}"
            return f"it speaks protocol {hello.protocol}, {mine}: upgrade the older one"
        if hello.cluster != self.cluster:
            return f"it belongs to cluster {hello.cluster}"
        if (hello.node, hello.role) != (peer.node, peer.role):
            return f"its certificate is that of {peer.role} {peer.node}"
        if hello.voters != self.electorate.hash:
            return "its list of voters differs: give all nodes the same members (N1)"
        if hello.timing != self.timing:
            return "its intervals differ: give all nodes the same timing and gossip settings (G7)"
        if (hello.role is Role.PEER) != (hello.node in self.electorate):
            return "its role does not agree with the list of voters"
        return ""
